"""A trained network in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rllib_biac.files.policy import NORM_EPSILON, Arrays, Convolution, NetworkDescription

_erf = np.vectorize(math.erf, otypes=[np.float64])  # scipy has a faster one; here numpy is to be enough

# Each may overwrite what it is given: for a single state, making arrays costs more than computing them.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
    "silu": lambda x: 0.5 * x * (1.0 + np.tanh(0.5 * x)),
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))),
}


class Network:
    """One agent's network, (..., *input shape) -> (..., outputs).

    It computes in float64: rounding differs with the size of a batch and from one processor to the next, and in
    float32 that could make two agents resolve a near tie in two ways.

    Args:
        description: how it is built.
        arrays: its weights, `<k>/weight` (outputs, inputs) or (channels out, channels in, height, width), and
            `<k>/bias`; and `atoms`, where outputs are means of histograms.

    Raises:
        KeyError, ValueError: if the arrays do not fit the description.
    """

    def __init__(self, description: NetworkDescription, arrays: Arrays) -> None:
        first = len(description.convolutions)
        self._convolutions = [
            (how, arrays[f"{k}/weight"].astype(np.float64), arrays[f"{k}/bias"].astype(np.float64))
            for k, how in enumerate(description.convolutions)
        ]
        self._layers = [
            (np.ascontiguousarray(arrays[f"{k}/weight"].T, np.float64), arrays[f"{k}/bias"].astype(np.float64))
            for k in range(first, first + description.num_layers)
        ]
        self._nonlinearity = ACTIVATIONS[description.activation]
        self._rms_norm = description.rms_norm
        self._atoms = arrays["atoms"].astype(np.float64) if description.num_atoms != 1 else None
        if self._atoms is not None and self._atoms.shape != (description.num_atoms,):
            raise ValueError(f"{description.num_atoms} atoms are described, and there are {self._atoms.shape}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Computes the network on float64 inputs; images come as (batch, height, width, channels)."""
        if self._convolutions:
            for convolution in self._convolutions:
                x = _convolve(x, *convolution)
            x = x.reshape(len(x), -1)
        for weight, bias in self._layers[:-1]:
            x = x @ weight
            x += bias
            if self._rms_norm:
                x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + NORM_EPSILON)
            x = self._nonlinearity(x)
        weight, bias = self._layers[-1]
        x = x @ weight + bias
        return x if self._atoms is None else _mean_of(x, self._atoms)


def _mean_of(logits: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Returns the means of histograms, (..., outputs · K) -> (..., outputs)."""
    logits = logits.reshape(*logits.shape[:-1], -1, len(atoms))
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    return likely @ atoms / likely.sum(-1)


def _convolve(x: np.ndarray, how: Convolution, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    top, bottom, left, right = how.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    # (batch, height, width, channels, kernel height, kernel width)
    windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))[:, :: how.stride[0], :: how.stride[1]]
    return np.maximum(np.tensordot(windows, weight, axes=((3, 4, 5), (1, 2, 3))) + bias, 0.0)
