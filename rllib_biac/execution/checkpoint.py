"""From an algorithm's RLModules to a policy's description and arrays. The only part that imports ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.core.models.torch.primitives import TorchCNN
from torch import nn

from rllib_biac.algorithms.biac.biac_rl_module import BiACModule
from rllib_biac.algorithms.biac.levels_rl_module import LevelsModule
from rllib_biac.algorithms.bilevel_q.bilevel_q_rl_module import TableModule
from rllib_biac.core.equals import EqualsModule
from rllib_biac.core.networks import MLP
from rllib_biac.core.play import load
from rllib_biac.core.rl_module import APPROXIMATOR, HierarchyModule, JointRLModule
from rllib_biac.core.transitions import ACTION_MASK
from rllib_biac.execution.description import (
    ON_OBSERVATIONS,
    STATE,
    Actions,
    Arrays,
    Convolution,
    Description,
    NetworkDescription,
    Play,
)

_PLAYS: dict[type[HierarchyModule], Play] = {BiACModule: "tables", LevelsModule: "levels", EqualsModule: "local"}


def read_checkpoint(folder: str | Path) -> tuple[Description, Arrays]:
    """Reads the policy of an algorithm's checkpoint. It is read by pickle: load only what you trust.

    Raises:
        ValueError: as `core.play.load` and `describe`.
    """
    return describe(load(folder)[1])


def describe(module: HierarchyModule) -> tuple[Description, Arrays]:
    """Takes the policy out of all agents' RLModules.

    Raises:
        ValueError: if a network is none that `core.networks.build_network` builds, or there are none.
    """
    if isinstance(module, TableModule):
        raise ValueError("BiLevelQ has tables, no networks: play them with rllib_biac.core.play.load() and greedy().")
    play = next(play for kind, play in _PLAYS.items() if isinstance(module, kind))
    own: dict[str, JointRLModule] = {agent: module[agent].unwrapped() for agent in module.hierarchy.agents}
    description, arrays = _described_play(module, play, {agent: _played(each, play) for agent, each in own.items()})
    if all(hasattr(each, APPROXIMATOR) for each in own.values()):
        approximators = {agent: each.approximator for agent, each in own.items()}
        local, local_arrays = _described_play(module, "local", approximators)
        description = replace(description, on_observations=local)
        arrays |= {ON_OBSERVATIONS + name: array for name, array in local_arrays.items()}
    return description, arrays


def _described_play(module: HierarchyModule, play: Play, played: dict[str, nn.Module]) -> tuple[Description, Arrays]:
    """Describes one way to play: by the networks given, one per agent."""
    own: dict[str, JointRLModule] = {agent: module[agent].unwrapped() for agent in module.hierarchy.agents}
    arrays: Arrays = {}
    networks = {}
    for agent in own:
        networks[agent], layers = _described(played[agent], agent)
        for k, layer in enumerate(layers):
            arrays[f"{agent}/{k}/weight"], arrays[f"{agent}/{k}/bias"] = _array(layer.weight), _array(layer.bias)
    first = own[module.hierarchy.agents[0]]
    if play == "local":
        inputs = {agent: each.observation_shape for agent, each in own.items()}
        for agent, each in own.items():
            arrays[f"mean/{agent}"] = _array(each.observation_mean)
            arrays[f"std/{agent}"] = _array(each.observation_std)
    else:
        inputs = {STATE: first.state_shape}
        arrays[f"mean/{STATE}"], arrays[f"std/{STATE}"] = _array(first.state_mean), _array(first.state_std)
    tries = 0
    if play == "levels" and hasattr(first, "tried") and not _actions(first).discrete:
        arrays["tried"], tries = _array(first.tried), len(first.tried)
    seen = first.observation_space
    description = Description(
        play=play,
        levels=module.hierarchy.levels,
        inputs=inputs,
        actions={agent: _actions(each) for agent, each in own.items()},
        networks=networks,
        masked=isinstance(seen, spaces.Dict) and ACTION_MASK in seen.spaces,
        num_leader_actions=tries,
    )
    return description, arrays


def _played(own: Any, play: Play) -> nn.Module:
    """Returns the network an agent plays by: its actor, if it has one that is asked."""
    enumerated = play == "tables" and own.model_config["response"] == "enumerated"
    return own.actor if hasattr(own, "actor") and not enumerated else own.critic


def _actions(own: JointRLModule) -> Actions:
    space = own.action_space
    if isinstance(space, spaces.Box):
        return Actions(space.low.size, (space.low.tolist(), space.high.tolist()))
    return Actions(int(space.n))


def _described(network: nn.Module, agent: str) -> tuple[NetworkDescription, list[Any]]:
    """Returns how a network is built, and its layers that have weights."""
    front, perceptron = None, network
    if type(network) is nn.Sequential and len(network) == 3 and isinstance(network[0], TorchCNN):
        front, perceptron = network[0].cnn, network[2]
    # A subclass may compute something else from the same layers.
    if type(perceptron) is not MLP:
        raise ValueError(
            f"the network of {agent} is a {type(network).__name__} of your own, which only PyTorch can compute: play "
            "it with rllib_biac.core.play.load() and greedy()."
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
    return NetworkDescription(len(perceptron.layers), perceptron.activation, tuple(convolutions)), layers


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
