"""What a policy is, beside its numbers: who leads whom, what is seen, what can be done, how networks are built."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

FORMAT = "rllib_biac policy 1"
STATE = "state"

Play = Literal["tables", "levels", "local"]
Arrays = dict[str, np.ndarray]


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
    """

    num_layers: int
    activation: str
    convolutions: tuple[Convolution, ...] = ()


@dataclass(frozen=True)
class Actions:
    """What an agent can do.

    Attributes:
        size: |A_i|, or the dimension of a continuous action.
        bounds: the lowest and the highest continuous action, each `size` numbers; None of discrete actions.
    """

    size: int
    bounds: tuple[list[float], list[float]] | None = None

    @property
    def discrete(self) -> bool:
        """Whether it is a choice among `size`."""
        return self.bounds is None


@dataclass(frozen=True)
class Description:
    """A policy without its numbers.

    Its arrays are named `mean/<input>` and `std/<input>`, by which inputs are normalised, and `<agent>/<k>/weight` and
    `<agent>/<k>/bias` of the k-th layer of the agent's network, laid out as PyTorch does.

    Attributes:
        play: how actions follow from networks: one leader and one follower whose networks answer for all joint actions
            (`tables`), networks that take actions in (`levels`), or each agent by its own observation (`local`).
        levels: the hierarchy, top first.
        inputs: shape of what is seen, of `"state"` or, where play is local, of each agent's observation.
        actions: of each agent.
        networks: of each agent.
        masked: whether the game forbids actions at times.
    """

    play: Play
    levels: tuple[tuple[str, ...], ...]
    inputs: dict[str, tuple[int, ...]]
    actions: dict[str, Actions]
    networks: dict[str, NetworkDescription]
    masked: bool

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, top level first."""
        return tuple(agent for level in self.levels for agent in level)

    @property
    def enumerates(self) -> bool:
        """Whether the top level tries each of its actions (Eq. 12) instead of asking an actor (Eq. 17)."""
        return self.play == "tables" or (
            self.play == "levels" and len(self.levels[0]) == 1 and self.actions[self.levels[0][0]].discrete
        )

    @classmethod
    def from_json(cls, read: dict[str, Any]) -> Description:
        """Rebuilds a description from what `asdict` made of it and JSON carried.

        Raises:
            KeyError, TypeError, ValueError: if it is none.
        """
        if read["play"] not in ("tables", "levels", "local"):
            raise ValueError(f"unknown play {read['play']!r}")
        return cls(
            play=read["play"],
            levels=tuple(tuple(level) for level in read["levels"]),
            inputs={name: tuple(shape) for name, shape in read["inputs"].items()},
            actions={agent: Actions(**own) for agent, own in read["actions"].items()},
            networks={
                agent: NetworkDescription(
                    own["num_layers"],
                    own["activation"],
                    tuple(Convolution(tuple(c["stride"]), tuple(c["padding"])) for c in own["convolutions"]),
                )
                for agent, own in read["networks"].items()
            },
            masked=bool(read["masked"]),
        )


def write(path: str | Path, description: Description, arrays: Arrays) -> None:
    """Writes a policy as a NumPy archive of plain arrays, one of which is the description as JSON."""
    about = json.dumps({"format": FORMAT} | asdict(description))
    with open(path, "wb") as file:  # numpy would add a suffix to a name
        np.savez(file, **(arrays | {"description": np.array(about)}))  # type: ignore[arg-type]


def read(path: str | Path) -> tuple[Description, Arrays]:
    """Reads what `write` wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays.pop("description").item())
        if about.pop("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}, but another version wrote it")
        return Description.from_json(about), arrays
    except FileNotFoundError:
        raise
    except (OSError, BadZipFile, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no policy that StackelbergPolicy.save() wrote ({error}).") from error
