"""From networks to a policy file's description and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rllib_biac.envs.space_words import in_words
from rllib_biac.files.policy import Actions, Arrays, Convolution, Description, NetworkDescription, Play, Taken
from rllib_biac.learning.networks import CNN, MLP

Part = tuple[NetworkDescription, list[Any]]  # how a network is built, and its layers that have weights


def described_play(
    play: Play,
    levels: tuple[tuple[str, ...], ...],
    inputs: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    actions: dict[str, Actions],
    networks: Mapping[str, Part],
    masked: bool,
    history: int,
    tried: torch.Tensor | None = None,
) -> tuple[Description, Arrays]:
    """Describes one way to play.

    Args:
        play: how actions follow from networks.
        levels: the hierarchy, top first.
        inputs: `"state"`, or each agent -> mean and standard deviation of what is seen, by which it is normalised.
        actions: of each agent.
        networks: of each agent, as `described_network` returns them.
        masked: whether the game forbids actions at times.
        history: how many of the last looks an input holds.
        tried: (K, size), the actions that a continuous leader tries.

    Returns:
        The description and its arrays.
    """
    arrays: Arrays = {}
    for agent, (_, layers) in networks.items():
        for k, layer in enumerate(layers):
            arrays[f"{agent}/{k}/weight"], arrays[f"{agent}/{k}/bias"] = _array(layer.weight), _array(layer.bias)
    for name, (mean, std) in inputs.items():
        arrays[f"mean/{name}"], arrays[f"std/{name}"] = _array(mean), _array(std)
    if tried is not None:
        arrays["tried"] = _array(tried)
    description = Description(
        play=play,
        levels=levels,
        inputs={name: tuple(mean.shape) for name, (mean, _) in inputs.items()},
        actions=actions,
        networks={agent: own for agent, (own, _) in networks.items()},
        masked=masked,
        num_leader_actions=0 if tried is None else len(tried),
        history=history,
    )
    return description, arrays


def described_network(network: nn.Module, agent: str) -> Part:
    """Returns how an agent's network is built, and its layers that have weights.

    Raises:
        ValueError: if `build_network` does not build such a network.
    """
    front, perceptron = None, network
    if type(network) is nn.Sequential and len(network) == 3 and isinstance(network[0], CNN):
        front, perceptron = network[0].cnn, network[2]
    # A subclass may compute something else from the same layers.
    if type(perceptron) is not MLP:
        raise ValueError(
            f"the network of {agent} is a {type(network).__name__} of your own, which only PyTorch can compute: play "
            "it with rllib_biac.rllib.reading.load() and rllib_biac.evaluation.greedy()."
        )
    convolutions: list[Convolution] = []
    layers: list[Any] = []
    left = right = top = bottom = 0
    for part in front or ():
        if isinstance(part, nn.ZeroPad2d):
            left, right, top, bottom = part.padding
            if min(part.padding) < 0:
                raise ValueError(f"the network of {agent} has a convolution whose stride exceeds its kernel.")
        elif isinstance(part, nn.Conv2d):
            rows, columns = part.stride
            convolutions.append(Convolution((rows, columns), (top, bottom, left, right)))
            layers.append(part)
            left = right = top = bottom = 0
    layers += perceptron.layers
    described = NetworkDescription(
        len(perceptron.layers), perceptron.activation, tuple(convolutions), perceptron.rms_norm
    )
    return described, layers


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def taken_as(space: gym.Space) -> Taken | None:
    """Returns how the game takes the actions of its own space; None where as the team plays them (`ActionReader`)."""
    match space:
        case gym.spaces.Discrete():
            return Taken(None, "int64", (int(space.n),), (int(space.start),)) if space.start else None
        case gym.spaces.MultiDiscrete():
            counts, start = space.nvec, space.start
        case gym.spaces.MultiBinary():
            counts, start = np.full(space.shape, 2), np.zeros(space.shape, np.int64)
        case gym.spaces.Box() if np.dtype(space.dtype).kind == "f":
            plain = len(space.shape) == 1 and space.dtype == np.float32
            return None if plain else Taken(space.shape, str(space.dtype))
        case gym.spaces.Box():
            start = space.low.astype(object)
            counts = space.high.astype(object) - start + 1
        case _:
            raise ValueError(f"{in_words(space)} has no actions that a team plays")
    flat = (tuple(int(number) for number in np.ravel(own)) for own in (counts, start))
    return Taken(tuple(map(int, space.shape or ())), str(space.dtype), *flat)
