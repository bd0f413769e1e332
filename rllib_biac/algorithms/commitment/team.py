"""How a leader that commits and a follower that answers commitments play."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from rllib_biac.algorithms.commitment.agents import CommitmentFollower, CommitmentLeader
from rllib_biac.algorithms.commitment.answering import erring
from rllib_biac.algorithms.commitment.search import draw, near
from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.files.policy import Arrays, Commitment, Description, commitment_sha256
from rllib_biac.learning.actions import Epsilon, explore, explores
from rllib_biac.learning.team import Agent, Team, Tensors
from rllib_biac.walk import walk
from rllib_biac.walk.commitment import ByCommitment, answers, beside

_NEAR = 0.3  # how far from the best commitment exploration goes near it


class CommitmentTeam(Team):
    """The pair. The leader draws its action from the commitment; the follower answers the commitment."""

    settings: CommitmentDQNSettings
    games_to_finish = 64

    @property
    def hears(self) -> bool:
        """Whether the follower waits for the action that is drawn: of a pure commitment it knows it."""
        return self.settings.mixed and self.settings.announced

    def agent_class(self, agent: str) -> type[Agent]:
        return CommitmentLeader if agent == self.agents[0] else CommitmentFollower

    @property
    def leader(self) -> CommitmentLeader:
        """The agent that commits."""
        return self[self.agents[0]]

    @property
    def follower(self) -> CommitmentFollower:
        """The agent that answers."""
        return self[self.agents[1]]

    def meet(self, state: torch.Tensor) -> None:
        """Gives states that were never met rows of their own; as `CommitmentLeader.meet`."""
        count = int(self.leader.count)
        self.leader.meet(state)
        if int(self.leader.count) > count:
            self._seal()

    def _seal(self) -> None:
        sha256 = bytes.fromhex(commitment_sha256(*self._committed()))
        for agent in self.agents:
            self[agent].sha256.copy_(torch.tensor(list(sha256), dtype=torch.uint8))

    def _committed(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the states met so far, (|S|, state size), and the commitment, (max_states, |A_1|)."""
        leader = self.leader
        return leader.states[: int(leader.count)].cpu().numpy().copy(), leader.commitment.cpu().numpy().copy()

    def check(self) -> None:
        sha256 = list(bytes.fromhex(commitment_sha256(*self._committed())))
        for agent in self.agents:
            if self[agent].sha256.tolist() != sha256:
                raise ValueError(
                    f"the networks of {agent} know another commitment than that of {self.agents[0]}: take all agents' "
                    "networks from one checkpoint."
                )

    def draw(self, count: int, generator: torch.Generator | None) -> torch.Tensor:
        """Draws commitments to explore with, `near_best` of them near the best one: (count, |S|, |A_1|).

        Once one is chosen for good, it is that one.
        """
        leader, mixed = self.leader, self.settings.mixed
        if leader.chosen:
            return leader.commitment.expand(count, -1, -1)
        drawn = draw(count, leader.known, leader.alike, leader.num_actions[0], mixed=mixed, generator=generator)
        if not leader.searches:
            return drawn
        close = near(leader.commitment[None], drawn, _NEAR, mixed=mixed, generator=generator)[:, leader.alike]
        coin = torch.rand(count, 1, 1, generator=generator, device=drawn.device) < self.settings.near_best
        return torch.where(coin, close, drawn)

    def says(self, x: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
        """Returns both critics' tables, raw: encoded states (batch, size), z -> (batch, |A_1|, |A_2|) each."""
        seen = beside(x, z)
        return [self[agent].raw(self[agent].table(self[agent].critic(seen))) for agent in self.agents]

    def act(
        self,
        state: torch.Tensor,
        *,
        observations: Tensors | None = None,
        masks: Tensors | None = None,
        epsilon: Epsilon = 0.0,
        generator: torch.Generator | None = None,
        given: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        """Plays the commitment, or where it explores one that is drawn for each state; arguments as for `Team.act`.

        The follower answers the commitment in force. Learning is blind to which that was: replayed rows do not hold it.
        """
        if explores(epsilon):
            z = self.draw(len(state), generator)
            return self.play(state, z, epsilon=epsilon, generator=generator, given=given)
        z, liked = self.leader.commitment.expand(len(state), -1, -1), self._liked(self.leader.encode(state))
        return self.play(state, z, generator=generator, given=given, q2=self.follower.in_units(liked))

    def _liked(self, x: torch.Tensor) -> torch.Tensor:
        """Returns by what the follower answers the commitment in force: encoded states -> (batch, |A_1|, |A_2|), raw.

        That was settled when the commitment was; before there is one, its critic says it.
        """
        if not self.leader.searches:
            return self.says(x, self.leader.commitment.expand(len(x), -1, -1))[1]
        rows = self.leader.rows(x)
        return torch.where(rows[:, None, None] >= 0, self.follower.liked[rows], 0.0)

    def play(
        self,
        state: torch.Tensor,
        z: torch.Tensor,
        *,
        epsilon: Epsilon = 0.0,
        generator: torch.Generator | None = None,
        given: Tensors | None = None,
        q2: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Plays one joint action per state under commitments of its own, (batch, |S|, |A_1|); else as `act`.

        `q2`, (batch, |A_1|, |A_2|), is what the follower answers by instead of what its critic says.
        """
        leader, follower = self.leader, self.follower
        x = leader.encode(state)
        chances = leader.probabilities(z, leader.rows(x))  # (batch, |A_1|)
        q2 = follower.table(follower.critic(beside(x, z))) if q2 is None else q2
        if temperature := self.settings.temperature:
            q2 = erring(q2, temperature / follower.q_std, self.hears, generator)
        uniform = None
        if self.settings.mixed or explores(epsilon):
            uniform = torch.rand(len(x), generator=generator, device=x.device)
        coin = self.joint_coin(state, epsilon, generator)

        def take(agent: str, greedy: torch.Tensor) -> torch.Tensor:
            if explores(epsilon):
                greedy = explore(greedy, epsilon, self.sizes[agent], generator=generator, coin=coin)
            return given[agent] if given and agent in given else greedy

        levels = self.hierarchy.levels
        return walk(levels, ByCommitment(levels, chances, q2, self.hears, uniform), take)

    @torch.no_grad()
    def commit(self, z: torch.Tensor, liked: torch.Tensor | None = None) -> None:
        """Makes a policy the commitment, and settles how the follower answers it.

        Args:
            z: (|S|, |A_1|).
            liked: (states met, |A_1|, |A_2|), the follower's Q under it, raw; by default what its critic says.
        """
        leader, met = self.leader, int(self.leader.count)
        leader.commitment.copy_(z)
        leader.searches += 1
        if liked is None:
            _, liked = self.says(leader.states[:met], z.expand(met, -1, -1))
        self.follower.liked.zero_()[:met] = liked
        self._seal()

    def is_due(self, env_steps: int) -> bool:
        after, leader = self.settings.choose_after, self.leader
        return after is not None and env_steps >= after and bool(leader.starts.any()) and not bool(leader.chosen)

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        x = self.leader.encode(state)
        q1, _ = self.says(x, self.leader.commitment.expand(len(x), -1, -1))
        return dict(zip(self.agents, (q1, self._liked(x)), strict=True))

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if self.settings.temperature:
            raise NotImplementedError("a follower that errs gives no one answer")
        x, z = self.leader.encode(state), self.leader.commitment.expand(len(state), -1, -1)
        chances = self.leader.probabilities(z, self.leader.rows(x))
        return answers(chances, self._liked(x), self.hears)

    def commitment(self, state: torch.Tensor) -> torch.Tensor:
        leader, z = self.leader, self.leader.commitment.expand(len(state), -1, -1)
        chances = leader.probabilities(z, leader.rows(leader.encode(state)))
        return chances if self.settings.mixed else F.one_hot(chances.argmax(1), chances.shape[1]).to(chances.dtype)

    def describe(self) -> tuple[Description, Arrays]:
        self.check()
        described, arrays = self._describe("commitment", {})
        states, commitment = self._committed()
        how = Commitment(self.settings.mixed, self.hears, commitment_sha256(states, commitment))
        liked = self._liked(self.leader.states).detach().cpu().numpy()
        own = {"states": states, "commitment": commitment, "liked": liked}
        return replace(described, commitment=how), arrays | own
