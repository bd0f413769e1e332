"""The states in which games leave the agents that they truncate, from whose values these agents learn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rllib_biac.envs.contract import Contract
from rllib_biac.envs.errors import GameError


class LeftStates:
    """Holds one copy of a game to telling these states: what agents see in them, who acts next, and what it may do.

    Args:
        contract: what the game is held to.
        where: returns where the game stands, for messages.
    """

    def __init__(self, contract: Contract, where: Callable[[], str]) -> None:
        self._contract, self._where = contract, where
        self._masked: set[str] = set()  # who had a mask when it was to act last

    def check_mask(self, agent: str, given: bool, truncated: bool) -> None:
        """Refuses a truncation without an action mask of an agent that had one before: not all would be allowed.

        Args:
            agent: who is to act.
            given: whether it has a mask.
            truncated: whether it is truncated at this step.

        Raises:
            GameError: if its mask is missing.
        """
        if given:
            self._masked.add(agent)
        elif truncated and agent in self._masked:
            raise GameError(
                f"agent {agent!r} is truncated {self._where()} without an action mask, and had one before; give that "
                "of the state that it left."
            )
        else:
            self._masked.discard(agent)

    def check_alone(self, agents: Collection[str], observations: Mapping[str, Any]) -> None:
        """Refuses agents that are truncated while others go on, and see nothing.

        Args:
            agents: who acted, and is truncated alone at this step.
            observations: agent -> what it sees.

        Raises:
            GameError: if an agent has no observation.
        """
        for agent in agents:
            if observations.get(agent) is None:
                raise self._unseen(agent, "")

    def check_all(self, agents: Collection[str], observations: Mapping[str, Any], acting: Collection[str]) -> None:
        """Refuses a truncated game whose agents are absent in the state that it is left in, though they never are.

        Where agents are absent at times some may be, all only where that comes about in play, too.

        Args:
            agents: who acted, is truncated now, and would not act next.
            observations: agent -> what it sees.
            acting: who would act next.

        Raises:
            GameError: if there is such an agent; in a look, what is wrong is left open until that is over.
        """
        contract, may_be = self._contract, "absences" if acting else "idle"
        if not agents or getattr(contract.look, may_be) or (not acting and contract.was_idle):
            return
        agent = next(iter(agents))
        hint = ", or write absences: true if this agent is absent at times" if acting else ""
        if observations.get(agent) is None:
            error = self._unseen(agent, hint)
        else:
            error = GameError(
                f"agent {agent!r} is truncated {self._where()} without an action that it may take in the state that it "
                f"left; give the action mask of that state{hint}."
            )
        if not contract.looking:
            raise error
        contract.left_open.setdefault(may_be, error)

    def _unseen(self, agent: str, hint: str) -> GameError:
        return GameError(
            f"agent {agent!r} is truncated {self._where()} without an observation of the state that it left; give the "
            f"last one{hint}."
        )
