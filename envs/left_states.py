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
        self._masked: set[str] = set()  # who had a mask when it was to act last, in this episode
        self._with: set[str] = set()  # who has acted with a mask,
        self._without: set[str] = set()  # and who without

    def begin(self) -> None:
        """Begins an episode."""
        self._masked.clear()

    def check_mask(self, agent: str, given: bool, truncated: bool) -> None:
        """Refuses a truncation without an action mask of an agent that had one before: not all would be allowed.

        Where agents act with a mask and without one, a mask that is absent says that all is allowed.

        Args:
            agent: who is to act.
            given: whether it has a mask.
            truncated: whether it is truncated at this step.

        Raises:
            GameError: if its mask is missing; in a look it is left open until that is over.
        """
        contract = self._contract
        if given:
            self._masked.add(agent)
            self._with.add(agent)
        elif not truncated:
            self._masked.discard(agent)
            self._without.add(agent)
        elif agent in self._masked and not (contract.look.unmasked or contract.was_unmasked):
            self._refuse(
                "unmasked",
                f"agent {agent!r} is truncated {self._where()} without an action mask, and had one before; give that "
                "of the state that it left.",
            )
        contract.was_unmasked |= agent in self._with and agent in self._without

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
                raise GameError(self._unseen(agent))

    def check_all(self, agents: Collection[str], observations: Mapping[str, Any], acting: Collection[str]) -> None:
        """Refuses a truncated game whose agents are absent in the state that it is left in, though they never are.

        Where agents are absent at times some may be; all of them only where that comes about in play, too, or where
        they see that state and their masks are zero.

        Args:
            agents: who acted, is truncated now, and would not act next.
            observations: agent -> what it sees.
            acting: who would act next.

        Raises:
            GameError: if there is such an agent; in a look it is left open until that is over.
        """
        if not agents:
            return
        contract = self._contract
        unseen = [agent for agent in agents if observations.get(agent) is None]
        hint = "" if unseen and not acting else ", or write absences: true if this agent is absent at times"
        if unseen:
            text = f"{self._unseen(unseen[0])[:-1]}{hint}."
        else:
            text = (
                f"agent {next(iter(agents))!r} is truncated {self._where()} without an action that it may take in the "
                f"state that it left; give the action mask of that state{hint}."
            )
        if acting and not contract.look.absences:
            self._refuse("absences", text)
        elif not acting and unseen and not (contract.look.idle or contract.was_idle):
            self._refuse("idle", text)
        elif not acting and not unseen and not contract.look.absences:
            self._refuse("said", text)

    def _refuse(self, unless: str, text: str) -> None:
        if not self._contract.looking:
            raise GameError(text)
        self._contract.left_open.setdefault(unless, GameError(text))

    def _unseen(self, agent: str) -> str:
        return (
            f"agent {agent!r} is truncated {self._where()} without an observation of the state that it left; give the "
            "last one."
        )
