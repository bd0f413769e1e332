"""What a policy is, beside its numbers: who leads whom, what is seen, what can be done, how networks are built."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from rllib_biac.files.damage import UNSEALED, DamagedFile, seal_holds, sealed, unusable

_FORMAT_NAME = "rllib_biac policy"
_UNSEALED_FORMAT = 2  # as version 0.1.0 wrote it
FORMAT = f"{_FORMAT_NAME} 3"
STATE = "state"
ON_OBSERVATIONS = "on_observations/"

PLAYS = ("tables", "levels", "local", "announced", "commitment")
Play = Literal["tables", "levels", "local", "announced", "commitment"]
Arrays = dict[str, np.ndarray]
NORM_EPSILON = 0.15  # added to the mean square that layers are normalised by, so that small sums stay small


@dataclass(frozen=True)
class Convolution:
    """A convolution and the ReLU after it.

    Attributes:
        stride: along height and width.
        padding: zeros before and after the height, before and after the width.
    """

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]


@dataclass(frozen=True)
class NetworkDescription:
    """An agent's network: convolutions if it sees an image, then a perceptron with a linear output.

    Attributes:
        num_layers: linear layers of the perceptron.
        activation: `relu`, `tanh`, `silu`, `elu` or `gelu`, between them.
        convolutions: in front of them.
        rms_norm: whether the sums of each hidden layer of the perceptron are normalised (`NORM_EPSILON`).
        num_atoms: K, where each output is the mean of a histogram over the array `<agent>/atoms`, (K,), of which the
            perceptron gives the logits, K after K; 1 where outputs are its own.
    """

    num_layers: int
    activation: str
    convolutions: tuple[Convolution, ...] = ()
    rms_norm: bool = False
    num_atoms: int = 1


@dataclass(frozen=True)
class Taken:
    """The game's own form of an action, where that is not a number from 0 on or a vector of float32.

    Attributes:
        shape: of the array that the game takes; None of a plain integer.
        dtype: of the array.
        counts: how many values each entry has, entries in row-major order, the last varying fastest; None of continuous
            actions.
        start: the lowest value of each entry.
    """

    shape: tuple[int, ...] | None
    dtype: str
    counts: tuple[int, ...] | None = None
    start: tuple[int, ...] = ()

    def of(self, actions: np.ndarray) -> np.ndarray:
        """Returns actions as the game takes them, (n,) integers or (n, size) -> (n, *shape)."""
        if self.counts is not None:
            entries = np.stack(np.unravel_index(actions, self.counts), -1)  # (n, entries)
            actions = entries.astype(object) + np.asarray(self.start, object)  # uint64 holds what int64 does not
        return actions.astype(self.dtype).reshape(len(actions), *(self.shape or ()))

    def back(self, taken: np.ndarray) -> np.ndarray:
        """Returns what `of` made such actions of, (n, *shape) -> (n,) integers or (n, size).

        Raises:
            ValueError: if they are none.
        """
        flat = taken.reshape(len(taken), -1)
        if self.counts is None:
            return flat
        entries = flat.astype(object) - np.asarray(self.start, object)
        whole = entries.astype(np.int64)
        if (whole != entries).any():
            raise ValueError("actions are whole numbers.")
        return np.ravel_multi_index(tuple(whole.T), self.counts)


@dataclass(frozen=True)
class Actions:
    """What an agent can do.

    Attributes:
        size: |A_i|, or the dimension of a continuous action.
        bounds: the lowest and the highest continuous action, each `size` numbers; None of discrete actions.
        taken: how the game takes them; None: as they are.
    """

    size: int
    bounds: tuple[list[float], list[float]] | None = None
    taken: Taken | None = None

    @property
    def discrete(self) -> bool:
        """Whether it is a choice among `size`."""
        return self.bounds is None


@dataclass(frozen=True)
class Commitment:
    """How a leader's whole policy is played and answered, by rows of the array `states`.

    The array `commitment` holds the leader's probabilities, (|S|, |A_1|), and `liked` the follower's Q under it, (|S|,
    |A_1|, |A_2|).

    Attributes:
        mixed: whether the leader draws its actions; else it takes the likeliest.
        announced: whether the follower sees the action before it answers; else it knows the probabilities alone.
        sha256: of both arrays, by which the parts of two agents are known to belong together.
    """

    mixed: bool
    announced: bool
    sha256: str


def commitment_sha256(states: np.ndarray, commitment: np.ndarray) -> str:
    """Returns the SHA-256, in hexadecimal digits, of a commitment (|S|, |A_1|) and of the states it has rows for."""
    digest = hashlib.sha256()
    for array in (states, commitment):
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Description:
    """A policy without its numbers.

    Its arrays are named `mean/<input>` and `std/<input>`, by which inputs are normalised, and `<agent>/<k>/weight` and
    `<agent>/<k>/bias` of the k-th layer of the agent's network, laid out as PyTorch does.

    Attributes:
        play: how actions follow from networks: one leader and one follower whose networks answer for all joint actions
            (`tables`), networks that take actions in (`levels`), each agent by its own observation, alone (`local`) or
            beside the actions of the levels above it (`announced`), or a leader that keeps to a whole policy and a
            follower who knows it (`commitment`), both by tables.
        levels: the hierarchy, top first.
        inputs: shape of what is seen, of `"state"` or, where play is `by_observations`, of each agent's observation.
        actions: of each agent.
        networks: of each agent.
        masked: whether the game forbids actions at times.
        num_leader_actions: how many of its actions a continuous leader tries, the array `tried`; 0 of others.
        on_observations: the local play of the approximators pi'_i(o_i), where some were trained; its arrays' names are
            preceded by `ON_OBSERVATIONS`.
        history: how many of the last looks an input holds, side by side along its last axis, the oldest first.
        commitment: where play is `commitment`, how.
    """

    play: Play
    levels: tuple[tuple[str, ...], ...]
    inputs: dict[str, tuple[int, ...]]
    actions: dict[str, Actions]
    networks: dict[str, NetworkDescription]
    masked: bool
    num_leader_actions: int = 0
    on_observations: Description | None = None
    history: int = 1
    commitment: Commitment | None = None

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, top level first."""
        return tuple(agent for level in self.levels for agent in level)

    @property
    def by_observations(self) -> bool:
        """Whether each agent acts on its own observation, not on the state."""
        return self.play in ("local", "announced")

    def above(self, agent: str) -> tuple[str, ...]:
        """Returns the agents whose actions are announced to an agent, top first."""
        if not (self.commitment.announced if self.commitment else self.play == "announced"):
            return ()
        (level,) = (k for k, agents in enumerate(self.levels) if agent in agents)
        return tuple(name for agents in self.levels[:level] for name in agents)

    @property
    def draws(self) -> str | None:
        """The agent that draws its actions at random, if one does."""
        return self.agents[0] if self.commitment and self.commitment.mixed else None

    @property
    def enumerates(self) -> bool:
        """Whether the top level tries each of its actions (Eq. 12) instead of asking an actor (Eq. 17)."""
        return self.play == "tables" or (
            self.play == "levels"
            and len(self.levels[0]) == 1
            and (self.actions[self.levels[0][0]].discrete or self.num_leader_actions > 0)
        )

    @classmethod
    def from_json(cls, read: dict[str, Any]) -> Description:
        """Rebuilds a description from what `asdict` made of it and JSON carried.

        Raises:
            KeyError, TypeError, ValueError: if it is none.
        """
        if read["play"] not in PLAYS:
            raise ValueError(f"unknown play {read['play']!r}")
        if unknown := read.keys() - {one.name for one in fields(cls)}:
            raise ValueError(f"unknown entries {sorted(unknown)}")
        if not isinstance(read["masked"], bool):
            raise ValueError(f"masked is {read['masked']!r}")
        for own in read["networks"].values():
            if unknown := own.keys() - {one.name for one in fields(NetworkDescription)}:
                raise ValueError(f"unknown entries {sorted(unknown)}")
            if not isinstance(own.get("rms_norm", False), bool):
                raise ValueError(f"rms_norm is {own['rms_norm']!r}")
            if type(count := own.get("num_atoms", 1)) is not int or count < 1:
                raise ValueError(f"num_atoms is {count!r}")
        return cls(
            play=read["play"],
            levels=tuple(tuple(level) for level in read["levels"]),
            inputs={name: tuple(shape) for name, shape in read["inputs"].items()},
            actions={agent: _actions_of(own) for agent, own in read["actions"].items()},
            networks={
                agent: NetworkDescription(
                    own["num_layers"],
                    own["activation"],
                    tuple(Convolution(tuple(c["stride"]), tuple(c["padding"])) for c in own["convolutions"]),
                    own.get("rms_norm", False),
                    own.get("num_atoms", 1),
                )
                for agent, own in read["networks"].items()
            },
            masked=read["masked"],
            num_leader_actions=int(read.get("num_leader_actions", 0)),
            on_observations=cls.from_json(local) if (local := read.get("on_observations")) else None,
            history=int(read.get("history", 1)),
            commitment=Commitment(**committed) if (committed := read.get("commitment")) else None,
        )


def _actions_of(read: dict[str, Any]) -> Actions:
    """Rebuilds what an agent can do.

    Raises:
        TypeError, ValueError: if it is nothing.
    """
    if (own := read.get("taken")) is None:
        return Actions(**read)
    if unknown := own.keys() - {one.name for one in fields(Taken)}:
        raise ValueError(f"unknown entries {sorted(unknown)}")
    shape, counts = own["shape"], own["counts"]
    taken = Taken(
        None if shape is None else tuple(map(int, shape)),
        str(np.dtype(own["dtype"])),
        None if counts is None else tuple(map(int, counts)),
        tuple(map(int, own["start"])),
    )
    actions = Actions(**read | {"taken": taken})
    entries = actions.size if taken.counts is None else len(taken.counts)
    if (
        math.prod(taken.shape or ()) != entries
        or (taken.counts is None) == actions.discrete
        or (taken.counts is not None and (math.prod(taken.counts) != actions.size or len(taken.start) != entries))
        or np.dtype(taken.dtype).kind not in "iuf"
    ):
        raise ValueError(f"{actions.size} actions, which the game takes as {own}")
    return actions


def write(
    path: str | Path,
    tensors: Arrays,
    description: Description | None,
    *,
    names: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Writes a safetensors file: plain numbers, and in its metadata what they are.

    Args:
        path: of the file.
        tensors: what to write; a policy's arrays, or more than these.
        description: the policy's; None if it has none that can be described.
        names: the names of its arrays -> those of the tensors they are; the same by default.
        about: further metadata.

    Raises:
        ValueError: if a number is not finite, or so large that float32 overflows.
    """
    if wrong := unusable(tensors):
        raise ValueError(f"{path} is not written: {wrong}. Take an earlier checkpoint, and a smaller learning rate.")
    metadata = {"format": FORMAT, "seal": UNSEALED, **(about or {})}
    if description is not None:
        metadata["description"] = json.dumps(asdict(description))
    if names is not None:
        metadata["names"] = json.dumps(dict(names))
    # safetensors writes memory as it lies.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    _write(Path(path), sealed(save(contiguous, metadata)))


def _write(path: Path, data: bytes) -> None:
    """Writes a file as a whole: whoever is killed on the way leaves the earlier one."""
    written = path.with_name(f".{path.name}.{os.getpid()}.saving")
    try:
        written.write_bytes(data)
        os.replace(written, path)
    finally:
        written.unlink(missing_ok=True)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError(f"an entry is given twice among {[name for name, _ in pairs]}")
    return found


def read_tensors(path: str | Path) -> tuple[dict[str, str], Arrays]:
    """Reads metadata and tensors of a file that `write` wrote. Nothing in it is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFile: if it is damaged, not such a file, or another version's. It is a ValueError.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise DamagedFile(path, f"{path} is no file but a pipe, a socket or a device: reading it might never end.")
    try:
        if zipfile.is_zipfile(path):
            raise ValueError("a zip archive, as older versions wrote: save the policy anew from its checkpoint")
        holds = seal_holds(Path(path).read_bytes())
        if holds is False:
            raise ValueError("its SHA-256 is another one: it was changed after it was written")
        with safe_open(path, framework="numpy") as file:
            about = dict(file.metadata() or {})
            name, _, number = about.get("format", "").rpartition(" ")
            if name != _FORMAT_NAME or not number.isdigit():
                raise ValueError("its metadata names no format of ours")
            if about["format"] not in (FORMAT, f"{_FORMAT_NAME} {_UNSEALED_FORMAT}"):
                raise ValueError(f"it is of format {about['format']!r}, which another version wrote, not {FORMAT!r}")
            if holds is None and int(number) > _UNSEALED_FORMAT:
                raise ValueError("it has no SHA-256")
            tensors = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118  (no mapping)
    except (FileNotFoundError, IsADirectoryError):
        raise
    # Whatever a damaged or hostile file makes safetensors or NumPy raise.
    except Exception as error:
        raise DamagedFile(path, f"{path} is damaged or no policy that this library wrote ({error}).") from error
    if wrong := unusable(tensors):
        raise DamagedFile(path, f"{path} cannot be used: {wrong}.")
    return about, tensors


def read(path: str | Path) -> tuple[Description, Arrays]:
    """Reads the policy of a file that `write` wrote. Nothing in it is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFile: if it is damaged, not such a file, or another version's. It is a ValueError.
        ValueError: if it has no policy to play with numpy.
    """
    about, tensors = read_tensors(path)
    description = description_in(path, about)
    if description is None:
        raise ValueError(f"{path} has networks to train on, and none to play here: {about.get('undescribed', '')}")
    try:
        names: dict[str, str] = json.loads(about["names"]) if "names" in about else {name: name for name in tensors}
        return description, {array: tensors[tensor] for array, tensor in names.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _no_policy(path, error) from error


def description_in(path: str | Path, about: Mapping[str, str]) -> Description | None:
    """Returns what the metadata of a file say of its policy; None if it has none.

    Raises:
        DamagedFile: if they are not to be understood.
    """
    if "description" not in about:
        return None
    try:
        return Description.from_json(json.loads(about["description"], object_pairs_hook=_each_once))
    except Exception as error:  # a damaged description may be wrong in any way, and is never anything but damaged
        raise _no_policy(path, error) from error


def _no_policy(path: str | Path, error: Exception) -> DamagedFile:
    return DamagedFile(path, f"{path} is damaged or no policy that this library wrote ({error!r}).")
