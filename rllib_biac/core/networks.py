"""Networks over joint actions, and their grouping into one stacked computation where their shapes are equal.

Parameters belong to the networks. A `NetworkGroup` only decides where in memory they lie: row g of one matrix holds
network g, so that G equal networks are one batched matrix product, one fused Adam step runs over a row, and a soft
target update of all of them is one operation. State dicts, learning rates and export never see the grouping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

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
            f"the state is an image of shape {tuple(input_shape)}: say how to encode it, "
            "e.g. model_config: {conv_filters: [[16, 4, 2], [32, 4, 2]]} (channels, kernel, stride)."
        )
    from ray.rllib.core.models.torch.primitives import TorchCNN

    encoder = TorchCNN(input_dims=list(input_shape), cnn_filter_specifiers=list(model_config["conv_filters"]))
    with torch.no_grad():
        features = encoder(torch.zeros(1, *input_shape)).flatten(1).shape[1]
    return nn.Sequential(encoder, nn.Flatten(), MLP([features, *hiddens, num_outputs], activation))


class NetworkGroup:
    """Networks of one shape, computed together.

    After construction the parameters of network g are views of row g of `flat`, their gradients views of row g of
    `grad`. Equal `MLP`s are computed as one batched product; any other kind of network forms a group of one and is
    simply called (the plain form, to which the stacked one is equal).

    Args:
        networks: G networks, on their final device. Networks may not share parameters.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(networks)
        parameters = [list(network.parameters()) for network in self.networks]
        first = parameters[0][0]
        size = sum(p.numel() for p in parameters[0])
        self.flat = first.new_empty(len(self.networks), size).detach()  # (G, parameters of one network)
        self.grad = torch.zeros_like(self.flat)
        spans: list[tuple[int, torch.Size]] = []
        for row, ps in enumerate(parameters):
            start = 0
            for p in ps:
                view = self.flat[row, start : start + p.numel()].view_as(p)
                view.copy_(p.detach())
                p.data = view
                p.grad = self.grad[row, start : start + p.numel()].view_as(p)
                if row == 0:
                    spans.append((start, p.shape))
                start += p.numel()
        # One leaf per network for the optimizer: the whole row, with its gradient.
        self.rows = [self._leaf(self.flat[row], self.grad[row]) for row in range(len(self.networks))]
        self._stacked = len(self.networks) > 1
        if self._stacked:
            # Leaves are (G, ...) views that skip from row to row, so that autograd writes straight into `grad`.
            self._leaves = [
                self._leaf(self._columns(self.flat, start, shape), self._columns(self.grad, start, shape))
                for start, shape in spans
            ]
            self._nonlinearity = self.networks[0].nonlinearity

    @staticmethod
    def _leaf(data: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        leaf = data.detach().requires_grad_()
        leaf.grad = grad
        return leaf

    @staticmethod
    def _columns(flat: torch.Tensor, start: int, shape: torch.Size) -> torch.Tensor:
        columns = flat[:, start : start + math.prod(shape)]
        return columns.view(len(flat), *shape) if len(shape) > 1 else columns.unsqueeze(1)  # (G, out, in) or (G, 1, out)

    def __call__(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Computes every network on the same input.

        Args:
            x: (batch, *input shape).

        Returns:
            One (batch, outputs) tensor per network: a (G, batch, outputs) tensor where they are stacked.
        """
        if not self._stacked:
            return [network(x) for network in self.networks]
        h = x.expand(len(self.networks), *x.shape)  # (G, batch, in)
        last = len(self._leaves) - 2
        for layer in range(0, len(self._leaves), 2):
            weight, bias = self._leaves[layer], self._leaves[layer + 1]
            h = torch.baddbmm(bias, h, weight.transpose(1, 2))  # (G, batch, out)
            if layer < last:
                h = self._nonlinearity(h)
        return h


def group_networks(networks: Mapping[str, nn.Module]) -> list[tuple[list[str], NetworkGroup]]:
    """Groups networks by shape: equal `MLP`s together, everything else alone.

    Args:
        networks: name -> network. Targets are grouped by the same rule, so both groupings agree.

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
        alike = (network.sizes, network.activation) if isinstance(network, MLP) else name
        shapes.setdefault(alike, []).append(name)
    return [(names, NetworkGroup([networks[name] for name in names])) for names in shapes.values()]
