"""Reading an algorithm's checkpoint without building the algorithm."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rllib_biac.evaluation.trained import Trained
from rllib_biac.files import checkpoint as checkpoints
from rllib_biac.files.damage import DamagedFile, unusable
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.files.weights import Perceptrons, save_weights
from rllib_biac.learning.networks import MLP
from rllib_biac.learning.team import Team, TeamSpec
from rllib_biac.rllib import old_checkpoints
from rllib_biac.rllib.config import JointConfig
from rllib_biac.rllib.module import TeamModule

# What reading a damaged or foreign pickle may raise.
_UNREADABLE = (
    AttributeError,
    EOFError,
    ImportError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
_MODULE = Path("learner_group") / "learner" / "rl_module"


def load(checkpoint: str | Path) -> tuple[JointConfig, Team]:
    """Reads the config and the networks of an algorithm's checkpoint.

    A checkpoint is read by pickle: load only what you trust. Its hashes stop accidents, not people.

    Raises:
        DamagedFile: if it is damaged. It is a ValueError.
        ValueError: if there is no checkpoint, it is another version's that this one cannot read, or another
            library's algorithm made it. Of version 0.1.0 only networks are read, by `load_networks`.
    """
    folder = Path(checkpoint).absolute()
    checkpoints.check_current(folder)
    made_by, state = _made_by(folder)
    config_class = state["class"]
    if not (isinstance(config_class, type) and issubclass(config_class, JointConfig)):
        raise ValueError(
            f"{folder} was made by {made_by['class'].__name__}, not by an algorithm of rllib_biac: load it with that "
            "one's own from_checkpoint()."
        )
    config = config_class.from_state(state)
    try:
        module = TeamModule.from_checkpoint(folder / _MODULE)
    except Exception as error:  # whatever a damaged file makes pickle, numpy or torch raise
        path = folder / _MODULE
        raise DamagedFile(path, f"{folder} is damaged: its networks cannot be read ({error!r}).") from error
    check_numbers(folder, module.team)
    return config, module.team


def trained_for(folder: Path) -> tuple[Any, Any]:
    """Returns the game and the hierarchy's levels that a checkpoint was trained for. It is read by pickle.

    Raises:
        ValueError: if they cannot be read; DamagedFile is one.
    """
    state = _made_by(folder)[1]
    return state.get("env"), state.get("levels")


def trained_spec(folder: Path) -> TeamSpec:
    """Returns what the networks of a checkpoint were built from. It is read by pickle.

    Raises:
        ValueError: if it cannot be read; DamagedFile is one.
    """
    with _reading(folder, folder / _MODULE / checkpoints.MADE_BY) as made_by:
        _, named = made_by["ctor_args_and_kwargs"]
        spec: TeamSpec = named["model_config"]["team_spec"]
        return spec


def _made_by(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns how RLlib makes a checkpoint's algorithm anew, and its config's state."""
    with _reading(folder, folder / checkpoints.MADE_BY) as made_by:
        (state,), _ = made_by["ctor_args_and_kwargs"]
        state["class"]  # of the config
        return made_by, state


@contextlib.contextmanager
def _reading(folder: Path, path: Path) -> Iterator[dict[str, Any]]:
    """Reads one of a checkpoint's pickles; the caller looks in it for what should be there."""
    try:
        with open(path, "rb") as file:
            made_by = pickle.load(file)
        yield made_by
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{folder} was made with the module {error.name!r}, which Python does not find: call this from the folder "
            "that holds it, or name that folder in PYTHONPATH."
        ) from error
    except _UNREADABLE as error:
        name = path.relative_to(folder).as_posix()
        raise DamagedFile(path, f"{folder} is damaged: {name} cannot be read ({error!r}).") from error


def check_numbers(folder: Path, team: Team) -> None:
    """Checks that the networks of a checkpoint are numbers to go on from.

    Raises:
        DamagedFile: if one is not finite, or so large that float32 overflows, or if they are not of one run.
    """
    for agent, own in team.weights().items():
        if wrong := unusable(own):
            raise DamagedFile(folder / _MODULE / agent, f"{folder} cannot be used: of {agent}, {wrong}.")
    try:
        team.check()
    except ValueError as error:
        raise DamagedFile(folder / _MODULE, f"{folder} cannot be used: {error}") from error


def load_networks(checkpoint: str | Path) -> tuple[str, Team]:
    """Reads the name of the algorithm and the networks of a checkpoint, of version 0.1.0 too.

    A checkpoint of this version is read by pickle: load only what you trust. Nothing in one of 0.1.0 is executed.

    Raises:
        ValueError: if there is no checkpoint, it is damaged, a newer version's, or another library's algorithm made it.
    """
    folder = Path(checkpoint).absolute()
    if checkpoints.check(folder)["format"] < checkpoints.FORMAT:
        name, team = old_checkpoints.load_networks(folder)
        check_numbers(folder, team)
        return name, team
    config, team = load(folder)
    return config.algorithm.name, team


def read_trained(folder: str | Path) -> Trained:
    """Reads a checkpoint's team and game, to be played. It is read by pickle: load only what you trust.

    Raises:
        ValueError: as `load`.
    """
    config, team = load(folder)
    return Trained(team, config.game(), dict(config.env_config), config.num_envs_per_env_runner)


def read_policy(folder: str | Path) -> tuple[Description, Arrays]:
    """Reads the policy of an algorithm's checkpoint, as `load_networks` reads it.

    Raises:
        ValueError: as `load_networks`; if a network is of the user's own making, or there are none.
    """
    return load_networks(folder)[1].describe()


def save_team(path: str | Path, team: Team, algorithm: str) -> None:
    """Writes all networks of a team to a safetensors file; arguments as for `files.weights.save_weights`."""
    save_weights(path, team.weights(), _described(team), algorithm, perceptrons(team))


def perceptrons(team: Team) -> Perceptrons:
    """Returns how all perceptrons of a team compute, those within networks of the user's own too."""
    return {
        name: {
            (part.activation, part.rms_norm)
            for network in member.networks().values()
            for part in network.modules()
            if isinstance(part, MLP)
        }
        for name, member in team.members().items()
    }


def _described(team: Team) -> tuple[Description, Arrays] | str:
    try:
        return team.describe()
    except ValueError as error:
        return str(error)
