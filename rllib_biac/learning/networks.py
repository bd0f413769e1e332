"""Networks: perceptrons, convolutions in front of them, and what is done with any network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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


class CNN(nn.Module):
    """Convolutions, each followed by a ReLU, on images (batch, height, width, channels).

    Args:
        input_shape: (height, width, channels).
        filters: [channels, kernel, stride] of each, padded like TensorFlow's `same`; kernel and stride are a number or
            one for each direction. A fourth entry, `valid`, says that it is not padded.
    """

    def __init__(self, input_shape: Sequence[int], filters: Sequence[Sequence[Any]]) -> None:
        super().__init__()
        *size, channels = (int(n) for n in input_shape)
        layers: list[nn.Module] = []
        for out_channels, kernel, stride, *padding in filters:
            kernels, strides = _pair(kernel), _pair(stride)
            if padding and padding[0] == "valid":
                size = [-(-(n - k + 1) // s) for n, k, s in zip(size, kernels, strides, strict=True)]
            else:
                after = [-(-n // s) for n, s in zip(size, strides, strict=True)]
                missing = [(m - 1) * s + k - n for n, m, k, s in zip(size, after, kernels, strides, strict=True)]
                (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in missing)
                layers.append(nn.ZeroPad2d((left, right, top, bottom)))
                size = after
            layers += [nn.Conv2d(channels, out_channels, kernels, strides), nn.ReLU()]
            channels = out_channels
        self.cnn = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (batch, height, width, channels), in and out
        return self.cnn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _pair(n: int | Sequence[int]) -> tuple[int, int]:
    rows, columns = (n, n) if isinstance(n, int) else n
    return rows, columns


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
    encoder = CNN(input_shape, model_config["conv_filters"])
    with torch.no_grad():
        features = encoder(torch.zeros(1, *input_shape)).flatten(1).shape[1]
    return nn.Sequential(encoder, nn.Flatten(), MLP([features, *hiddens, num_outputs], activation))


def call_frozen(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Computes a network through which gradients reach its input only."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (x,))


def follow(network: nn.Module) -> nn.Module:
    """Returns a target network: a copy that takes no gradients."""
    return copy.deepcopy(network).requires_grad_(False)
