"""Who leads whom: the levels of a hierarchy, top first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LONGEST = 200  # bytes of an agent's name; file systems take 255
# Names of folders, and of files that RLlib writes beside those of the agents.
_TAKEN = ("", ".", "..", "metadata.json", "class_and_ctor_args.pkl")


def _names_a_folder(agent: str) -> bool:
    try:
        length = len(agent.encode())
    except UnicodeEncodeError:  # half a letter
        return False
    return agent not in _TAKEN and not {"/", "\0"} & set(agent) and length <= _LONGEST


@dataclass(frozen=True)
class Hierarchy:
    """Levels of agents, top first: `(("main_0",), ("auxiliary_0",))`.

    Agents of one level act simultaneously; lower levels best-respond to the actions of the levels above.

    Raises:
        ValueError: if it is no list of non-empty lists of names, names an agent twice, or by what can be no folder.
    """

    levels: tuple[tuple[str, ...], ...]

    def __init__(self, levels: Sequence[Sequence[str]]) -> None:
        example = "write a list of levels, top first, such as [['main_0'], ['auxiliary_0']]"
        if isinstance(levels, str) or not isinstance(levels, Sequence) or not levels:
            raise ValueError(f"hierarchy {levels!r}: {example}.")
        for level in levels:
            if isinstance(level, str) or not isinstance(level, Sequence) or not level:
                raise ValueError(f"hierarchy {levels!r}: level {level!r} is no list of agents; {example}.")
            if not all(isinstance(agent, str) for agent in level):
                raise ValueError(f"hierarchy {levels!r}: agents are named by strings; {example}.")
            for agent in level:
                if not _names_a_folder(agent):
                    raise ValueError(
                        f"hierarchy: the agent {agent[:50]!r} cannot be saved, for its name becomes a folder's: write "
                        f"1 to {_LONGEST} letters without a slash, and none of {', '.join(_TAKEN[1:])}."
                    )
        object.__setattr__(self, "levels", tuple(tuple(level) for level in levels))
        if len(set(self.agents)) < len(self.agents):
            twice = sorted({agent for agent in self.agents if self.agents.count(agent) > 1})
            raise ValueError(f"hierarchy {levels!r} names {', '.join(twice)} more than once.")

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, top level first: the order of the axes of every table over joint actions."""
        return tuple(agent for level in self.levels for agent in level)

    def check_against(self, agents: Iterable[str]) -> None:
        """Holds the hierarchy against a game's agents.

        Raises:
            ValueError: if an agent is unknown to the game or has no place in the hierarchy.
        """
        agents = list(agents)
        unknown = [agent for agent in self.agents if agent not in agents]
        placeless = [agent for agent in agents if agent not in self.agents]
        if unknown:
            raise ValueError(
                f"the hierarchy names {', '.join(unknown)}, but the game's agents are {', '.join(agents)}: "
                f"write e.g. hierarchy: {[[agent] for agent in agents]}."
            )
        if placeless:
            raise ValueError(
                f"the game's agents are {', '.join(agents)}, but the hierarchy gives {', '.join(placeless)} no level: "
                f"every agent of the game needs a place, and the hierarchy has {len(self.agents)} of {len(agents)}."
            )
