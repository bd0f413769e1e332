"""What agents find while they learn: rows of a minibatch, each with what is known of others' commitments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from rllib_biac.algorithms.biac.own_team import OwnTeam
from rllib_biac.learning.networks import call_frozen
from rllib_biac.walk import ByObservations


@dataclass(frozen=True)
class Commitment:
    """What somebody commits to: whoever sees this does that.

    Attributes:
        known: (rows, 1), 1 where there is such news and 0 where not.
        seen: (rows, size of what the agent sees), 0 where there is none.
        action: (rows, size of its action), likewise; it may carry gradients.
    """

    known: torch.Tensor
    seen: torch.Tensor
    action: torch.Tensor

    def vector(self, heard: torch.Tensor | None) -> torch.Tensor:
        """Returns what is known of it, (rows, 2 + 2 sizes of what is seen + size of the action).

        What it speaks of having seen comes apart for whether, as far as it is heard, it is what was done: then one is
        likelier, else less likely, to be faced with who sees that.
        """
        done = torch.zeros_like(self.known) if heard is None else self.does(heard)
        other = self.known - done
        return torch.cat([self.known, done, self.seen * done, self.seen * other, self.action * self.known], 1)

    def does(self, action: torch.Tensor) -> torch.Tensor:
        """Returns whether an action is the one it speaks of, (rows, 1), 1 or 0."""
        return self.known * (action == self.action).all(1, keepdim=True)

    def repeated(self, times: int) -> Commitment:
        """Returns the commitment with each row so many times in turn."""
        return Commitment(repeated(self.known, times), repeated(self.seen, times), repeated(self.action, times))


@dataclass(frozen=True)
class Scene:
    """Rows as agents find them, each with what is known of commitments.

    Attributes:
        state: (rows, state size).
        x: agent -> (rows, observation size).
        masks: agent -> (rows, |A_i|) bool, of those who have one.
        commitments: agent -> what it commits to.
        trembles: agent -> (rows, 1) bool and (rows, size), who does what instead of what it would.
    """

    state: torch.Tensor
    x: Mapping[str, torch.Tensor]
    masks: Mapping[str, torch.Tensor]
    commitments: Mapping[str, Commitment] = field(default_factory=dict)
    trembles: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def repeated(self, times: int) -> Scene:
        """Returns the scene with each row so many times in turn."""
        return Scene(
            repeated(self.state, times),
            repeated_each(self.x, times),
            repeated_each(self.masks, times),
            {agent: own.repeated(times) for agent, own in self.commitments.items()},
            {agent: (repeated(who, times), repeated(what, times)) for agent, (who, what) in self.trembles.items()},
        )

    def at(self, which: torch.Tensor | slice) -> Scene:
        """Returns these rows of a scene in which nobody has committed or trembles."""
        x = {agent: own[which] for agent, own in self.x.items()}
        return Scene(self.state[which], x, {agent: mask[which] for agent, mask in self.masks.items()})

    def told(self, agent: str, seen: torch.Tensor, action: torch.Tensor) -> Scene:
        """Returns the scene in which an agent also commits: to that action, whoever sees that."""
        own = Commitment(torch.ones_like(seen[:, :1]), seen, action)
        return replace(self, commitments={**self.commitments, agent: own})


class ByCommitments(ByObservations):
    """Play in a scene: who has committed does so where it sees what it spoke of; those below have heard of it."""

    def __init__(self, team: OwnTeam, scene: Scene, relaxed: Any = None) -> None:
        self.team, self.scene = team, scene

        def output(agent: str, seen: torch.Tensor) -> torch.Tensor:
            own, known = team[agent], []
            for above, size, heard in zip(own.above, own.commitment_sizes, own.heard(seen), strict=True):
                commitment = scene.commitments.get(above)
                known.append(seen.new_zeros(len(seen), size) if commitment is None else commitment.vector(heard))
            x = torch.cat([seen, *known], 1)
            return call_frozen(own.actor, x) if relaxed else own.actor(x)

        def vector(agent: str, out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            return relaxed(agent, out, mask) if relaxed else team[agent].coder.act(out, mask)

        self.output = output
        super().__init__(team.hierarchy.levels, scene.x, output, vector, scene.masks, team.settings.announced)

    def greedy(self, level: int, taken: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        actions = dict(super().greedy(level, taken))
        for agent in actions:
            if agent in self.scene.commitments:
                own = self.scene.commitments[agent]
                meant = (self.seen(agent, level, taken) == own.seen).all(1, keepdim=True) & (own.known > 0)
                actions[agent] = torch.where(meant, own.action, actions[agent])
            if agent in self.scene.trembles:
                who, what = self.scene.trembles[agent]
                actions[agent] = torch.where(who, what, actions[agent])
        return actions

    def completed(self, taken: Mapping[str, torch.Tensor], start: int, stop: int | None = None) -> dict[str, Any]:
        """Returns what is taken and what the levels from `start` to before `stop` (all) do then."""
        taken = dict(taken)
        for level in range(start, len(self.levels) if stop is None else stop):
            taken |= {agent: a for agent, a in self.greedy(level, taken).items() if agent not in taken}
        return taken


def repeated(rows: torch.Tensor, times: int) -> torch.Tensor:
    """Returns each row so many times in turn: (rows, ...) -> (rows · times, ...)."""
    return rows.repeat_interleave(times, 0)


def repeated_each(columns: Mapping[str, torch.Tensor], times: int) -> dict[str, torch.Tensor]:
    """Returns columns, name -> (rows, ...), each as `repeated` returns it."""
    return {name: repeated(column, times) for name, column in columns.items()}
