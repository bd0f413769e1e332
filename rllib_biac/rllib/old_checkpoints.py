"""The networks in a checkpoint of version 0.1.0.

Its pickles name classes that are gone. Only what networks are built from is read: spaces, model settings and arrays.
Nothing else that a file names is imported or called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_biac.files import inert
from rllib_biac.files.checkpoint import MADE_BY, check_own
from rllib_biac.files.damage import DamagedFile
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import Team, TeamSpec
from rllib_biac.rllib.multi_agent_env import team_spec
from rllib_biac.rllib.registry import ALGORITHMS, config_class

_MODULES = Path("learner_group") / "learner" / "rl_module"
_STATE = "module_state.pkl"

# These are loaded as they are: they hold numbers.
_LOADED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("gymnasium.spaces.box", "Box"),
    ("gymnasium.spaces.dict", "Dict"),
    ("gymnasium.spaces.discrete", "Discrete"),
    ("gymnasium.spaces.multi_binary", "MultiBinary"),
    ("gymnasium.spaces.multi_discrete", "MultiDiscrete"),
}
# What is in these is not needed: old classes, and the generators of spaces that somebody sampled from.
_REPLACED = ("rllib_biac.", "ray.rllib.", "numpy.random.")


def load_networks(folder: Path) -> tuple[str, Team]:
    """Builds the team of a checkpoint of version 0.1.0, with its weights. Nothing in the checkpoint is executed.

    Args:
        folder: the checkpoint, which `files.checkpoint.check` has looked over.

    Returns:
        The name of its algorithm, and the team.

    Raises:
        ValueError: if the checkpoint is damaged, has networks of the user's own making, or was not made by an algorithm
            of this library.
    """
    name = check_own(folder)
    if name not in ALGORITHMS:
        raise ValueError(
            f"{folder} was made by {name}, which this version of rllib_biac does not have: read it with version 0.1.0."
        )
    algorithm: Algorithm = config_class(name).algorithm
    try:
        team = algorithm.build_team(_spec(_read(folder / _MODULES / MADE_BY), algorithm.settings))
        weights = {agent: _read(folder / _MODULES / agent / _STATE) for agent in team.agents}
        _take(team, weights)
    except Exception as error:  # whatever a damaged file makes pickle, gymnasium or torch raise
        reason = " ".join(str(error).split())  # PyTorch's has several lines
        raise DamagedFile(folder / _MODULES, f"{folder}: its networks cannot be read ({reason}).") from error
    return name, team


def _read(path: Path) -> Any:
    return inert.read(path, loaded=_LOADED, replaced=_REPLACED)


def _spec(built_from: Mapping[str, Any], settings: type[Settings]) -> TeamSpec:
    """Returns what a team is built from, by what its old modules were built from."""
    _, named = built_from["ctor_args_and_kwargs"]
    model = named["model_config"]
    known = {f.name for f in dataclasses.fields(settings)} & set(model)
    networks = {key: model[key] for key in MODEL_DEFAULTS if key in model} | {"fcnet_rms_norm": False}
    modules = {agent: named["rl_module_specs"][agent].state for agent in model["agents"]}  # in the game's own order
    spaces: dict[str, tuple[gym.Space, gym.Space]] = {
        agent: (own["observation_space"], own["action_space"]) for agent, own in modules.items()
    }
    return team_spec(
        spaces,
        Hierarchy(model["hierarchy"]),
        settings(**{name: model[name] for name in known}, model_config=networks),
    )


def _take(team: Team, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Copies weights into a team, which has all of these names and no others."""
    for agent, own in weights.items():
        # Copies, for arrays in a pickle cannot be written to.
        team[agent].load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in own.items()})
