"""Networks over joint actions, and their grouping into one stacked computation where their shapes are equal.

Parameters belong to the networks. A `NetworkGroup` only decides where in memory they lie: row g of one matrix holds
network g, so that G equal networks are one batched matrix product, one fused Adam step runs over a row, and a soft
target update of all of them is one operation. State dicts, learning rates and export never see the grouping.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
}


class MLP(nn.Module):
    """A multi-layer perceptron with a linear output.

    Args:
        sizes: widths of all layers, input first, output last.
        activation: a key of `ACTIVATIONS`.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        self.sizes = tuple(int(size) for size in sizes)
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(self.sizes, self.sizes[1:], strict=False))
        self.nonlinearity = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (batch, sizes[0]) -> (batch, sizes[-1])
        for layer in self.layers[:-1]:
            x = self.nonlinearity(layer(x))
        return self.layers[-1](x)


def build_network(input_shape: Sequence[int], num_outputs: int, model_config: Mapping[str, Any]) -> nn.Module:
    """Builds the network a model config describes.

    Args:
        input_shape: (features,) for an `MLP`, or (height, width, channels) for convolutions in front of it.
        num_outputs: width of the linear output.
        model_config: RLlib's names: `fcnet_hiddens`, `fcnet_activation`, and for images `conv_filters`
            (a list of [channels, kernel, stride]).

    Raises:
        ValueError: if the input is an image and no `conv_filters` are given.
    """
    hiddens, activation = list(model_config["fcnet_hiddens"]), model_config["fcnet_activation"]
    if len(input_shape) == 1:
        return MLP([input_shape[0], *hiddens, num_outputs], activation)
    if not model_config.get("conv_filters"):
        raise ValueError(
            f"what the network sees is an image of shape {tuple(input_shape)}: say how to encode it, "
            "e.g. model_config: {conv_filters: [[16, 4, 2], [32, 4, 2]]} (channels, kernel, stride)."
        )
    from ray.rllib.core.models.torch.primitives import TorchCNN

    encoder = TorchCNN(input_dims=list(input_shape), cnn_filter_specifiers=list(model_config["conv_filters"]))
    with torch.no_grad():
        features = encoder(torch.zeros(1, *input_shape)).flatten(1).shape[1]
    return nn.Sequential(encoder, nn.Flatten(), MLP([features, *hiddens, num_outputs], activation))


def call_frozen(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Computes a network through which gradients reach its input only."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (x,))


class NetworkGroup:
    """Networks of one shape, computed together.

    After construction the parameters of network g are views of row g of `flat`, and `rows[g]` is that row as one leaf
    for an optimizer, with its gradient. Equal `MLP`s are computed as one batched product; any other kind of network
    forms a group of one and is simply called (the plain form, to which the stacked one is equal).

    Args:
        networks: G networks, on their final device. Networks may not share parameters.

    Attributes:
        flat, grad: (G, parameters of one network).
        rows: G leaves (parameters of one network,), whose `.grad` is the row of `grad`.
        leaves: what the networks' outputs are differentiated by.
        grads: views of `grad` in the leaves' shapes, for `torch.autograd.grad`'s results.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        parameters = [list(network.parameters()) for network in self.networks]
        shapes = [p.shape for p in parameters[0]]
        stops = list(itertools.accumulate(shape.numel() for shape in shapes))
        spans = [slice(stop - shape.numel(), stop) for stop, shape in zip(stops, shapes, strict=True)]
        self.flat = parameters[0][0].new_empty(len(self.networks), stops[-1]).detach()
        self.grad = torch.zeros_like(self.flat)
        for row, own in zip(self.flat, parameters, strict=True):
            for p, span in zip(own, spans, strict=True):
                row[span] = p.detach().flatten()
                p.data = row[span].view(p.shape)
        self.rows = [row.detach().requires_grad_() for row in self.flat]
        for leaf, grad in zip(self.rows, self.grad, strict=True):
            leaf.grad = grad
        self._stacked = len(self.networks) > 1
        if self._stacked:
            self.leaves = [self._columns(self.flat, *at).requires_grad_() for at in zip(spans, shapes, strict=True)]
            self.grads = [self._columns(self.grad, *at) for at in zip(spans, shapes, strict=True)]
            self._nonlinearity = ACTIVATIONS[self.networks[0].activation]()  # type: ignore[index]
        else:
            self.leaves = [p for p in parameters[0] if p.requires_grad]
            self.grads = [
                self.grad[0, span].view(p.shape)
                for p, span in zip(parameters[0], spans, strict=True)
                if p.requires_grad
            ]

    @staticmethod
    def _columns(flat: torch.Tensor, span: slice, shape: torch.Size) -> torch.Tensor:
        columns = flat[:, span].detach()
        # (G, out, in) or (G, out, 1)
        return columns.view(len(flat), *shape) if len(shape) > 1 else columns.unsqueeze(2)

    def __call__(
        self, x: torch.Tensor | Sequence[torch.Tensor], *, frozen: bool = False
    ) -> torch.Tensor | list[torch.Tensor]:
        """Computes every network, on the same input or each on its own.

        Args:
            x: (batch, *input shape), or one such tensor per network.
            frozen: whether gradients reach the inputs only, not the networks.

        Returns:
            One (batch, outputs) tensor per network: a (G, batch, outputs) tensor where they are stacked.
        """
        if not self._stacked:
            (network,), (own,) = self.networks, [x] if isinstance(x, torch.Tensor) else x
            return [call_frozen(network, own) if frozen else network(own)]
        # Features first, rows last: weights multiply, and their gradients come out, in the order in which they lie.
        if isinstance(x, torch.Tensor):
            h = x.T.expand(len(self.networks), *x.T.shape)  # (G, in, batch)
        else:
            h = torch.stack(list(x)).transpose(1, 2)
        leaves = [leaf.detach() for leaf in self.leaves] if frozen else self.leaves
        layers = list(zip(leaves[::2], leaves[1::2], strict=True))  # (G, out, in), (G, out, 1)
        for weight, bias in layers[:-1]:
            h = self._nonlinearity(torch.baddbmm(bias, weight, h))  # (G, out, batch)
        weight, bias = layers[-1]
        return torch.baddbmm(bias, weight, h).transpose(1, 2)


def group_networks(
    networks: Mapping[str, nn.Module], apart: Mapping[str, Hashable] | None = None
) -> list[tuple[list[str], NetworkGroup]]:
    """Groups networks by shape: equal `MLP`s together, everything else alone.

    Args:
        networks: name -> network. Targets are grouped by the same rule, so both groupings agree.
        apart: name -> a label; networks of different labels are never grouped.

    Returns:
        (names, group) pairs; names in the order of the group's rows.

    Raises:
        ValueError: if two networks share a parameter, which each would then update.
    """
    seen: dict[int, str] = {}
    shapes: dict[Any, list[str]] = {}
    for name, network in networks.items():
        for p in network.parameters():
            if (other := seen.setdefault(id(p), name)) != name:
                raise ValueError(
                    f"networks {other!r} and {name!r} share parameters; give each network its own (copy.deepcopy)."
                )
        # A subclass may compute something else from the same layers.
        alike = (network.sizes, network.activation) if type(network) is MLP else name
        shapes.setdefault((alike, apart and apart[name]), []).append(name)
    return [(names, NetworkGroup([networks[name] for name in names])) for names in shapes.values()]
