"""The networks of a leader that commits and of a follower that answers commitments, and how they play."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rllib_biac.algorithms.commitment.answering import erring
from rllib_biac.algorithms.commitment.search import draw, near
from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.files.policy import Arrays, Commitment, Description, commitment_sha256
from rllib_biac.learning.actions import Epsilon, explore, explores
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.team import Agent, Team, Tensors
from rllib_biac.walk import walk
from rllib_biac.walk.commitment import ByCommitment, answers, beside, matches

_NEAR = 0.3  # how far from the best commitment exploration goes near it


class CommitmentFollower(Agent):
    """An agent's critic Q_i(s, z, a_1, a_2) for every joint action, z being the leader's whole policy.

    Attributes:
        critic: network of normalised Q-values, (batch, state size + |S| (|A_1| - 1)) -> (batch, |A_1| · |A_2|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
        error: buffer (), how far the critic is off, in the game's own units, as measured at the last search.
        sha256: buffer (32,) uint8, of the commitment in force, so that each agent's networks say which they know.
    """

    settings: CommitmentDQNSettings
    error: torch.Tensor
    sha256: torch.Tensor

    def build_networks(self) -> None:
        rows, actions = self.settings.max_states, self.num_actions[0]
        uniform = np.full((rows, actions), 1.0 / actions, np.float32)
        sha256 = bytes.fromhex(commitment_sha256(np.zeros((0, math.prod(self.state_shape))), uniform))
        self.register_buffer("error", torch.zeros(()))
        self.register_buffer("sha256", torch.tensor(list(sha256), dtype=torch.uint8))
        self.critic = build_network(self.input_shape("critic"), math.prod(self.num_actions), self.model_config)
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()

    def networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic}

    def target_networks(self) -> dict[str, nn.Module]:
        return {"critic": self.critic_target}

    def training_only(self) -> list[str]:
        return ["critic_target"]

    def input_shape(self, network: str) -> tuple[int, ...]:
        return (math.prod(self.state_shape) + self.settings.max_states * (self.num_actions[0] - 1),)

    def table(self, output: torch.Tensor) -> torch.Tensor:
        """Shapes a network's output as a table over joint actions: (batch, |A_1| · |A_2|) -> (batch, |A_1|, |A_2|)."""
        return output.view(-1, *self.num_actions)


class CommitmentLeader(CommitmentFollower):
    """The leader: a critic, and the commitment.

    Attributes:
        states: buffer (max_states, state size), the states met so far, by row of the commitment.
        count: buffer, how many they are.
        starts: buffer (max_states,), how often games were seen to begin there.
        commitment: buffer (max_states, |A_1|), the best policy found so far; uniform before the first search.
        searches: buffer, how many searches there were.
        chosen: buffer () bool, whether the commitment was chosen for good.
        counts: buffer (max_states, |A_1|, |A_2|), rows that were replayed, by state and joint action.
        moves: buffer (max_states, |A_1|, |A_2|, max_states), how many of them led where; the others ended their games.
        reward_mean: buffer (2, max_states, |A_1|, |A_2|), what they paid both agents, the leader first.
        reward_square_mean: buffer (max_states, |A_1|, |A_2|), of the follower's rewards.
    """

    states: torch.Tensor
    count: torch.Tensor
    starts: torch.Tensor
    commitment: torch.Tensor
    searches: torch.Tensor
    chosen: torch.Tensor
    counts: torch.Tensor
    moves: torch.Tensor
    reward_mean: torch.Tensor
    reward_square_mean: torch.Tensor

    def build_networks(self) -> None:
        super().build_networks()
        rows, actions = self.settings.max_states, self.num_actions[0]
        self.register_buffer("states", torch.zeros(rows, math.prod(self.state_shape)))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("starts", torch.zeros(rows))
        self.register_buffer("commitment", torch.full((rows, actions), 1.0 / actions))
        self.register_buffer("searches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("chosen", torch.zeros((), dtype=torch.bool))
        table = rows, *self.num_actions
        for name, shape in (
            ("counts", table),
            ("moves", (*table, rows)),
            ("reward_mean", (2, *table)),
            ("reward_square_mean", table),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def known(self) -> torch.Tensor:
        """Which rows stand for a state that was met, (max_states,) bool."""
        return torch.arange(len(self.states), device=self.states.device) < self.count

    def rows(self, state: torch.Tensor) -> torch.Tensor:
        """Returns the states' rows, (batch, state size) encoded -> (batch,) int64; -1 where one was never met."""
        same = matches(state, self.states) & self.known  # (batch, max_states)
        return torch.where(same.any(1), same.to(torch.int8).argmax(1), -1)

    def meet(self, state: torch.Tensor) -> None:
        """Gives states that were never met rows of their own; (batch, state size) encoded.

        Raises:
            ValueError: if there are more states than rows.
        """
        new = state[self.rows(state) < 0]
        while len(new):
            at = int(self.count)
            if at == len(self.states):
                raise ValueError(
                    f"the game has more than {at:,} states, and a commitment is a table over them: raise max_states, "
                    "or let BiAC learn the game's feedback equilibrium."
                )
            self.states[at].copy_(new[0])
            self.count += 1
            new = new[~matches(new, new[:1])[:, 0]]

    def probabilities(self, z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns what commitments say in one state each: (batch, |S|, |A_1|), (batch,) -> (batch, |A_1|)."""
        found = z[torch.arange(len(z), device=z.device), rows]
        return torch.where(rows[:, None] >= 0, found, 1.0 / self.num_actions[0])


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
        drawn = draw(count, leader.known, leader.num_actions[0], mixed=mixed, generator=generator)
        if not leader.searches:
            return drawn
        close = near(leader.commitment[None], drawn, _NEAR, mixed=mixed, generator=generator)
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
        best = self.leader.commitment.expand(len(state), -1, -1)
        z = self.draw(len(state), generator) if explores(epsilon) else best
        return self.play(state, z, epsilon=epsilon, generator=generator, given=given)

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
    def commit(self, z: torch.Tensor) -> None:
        """Makes a policy, (|S|, |A_1|), the commitment."""
        self.leader.commitment.copy_(z)
        self.leader.searches += 1
        self._seal()

    def is_due(self, env_steps: int) -> bool:
        after, leader = self.settings.choose_after, self.leader
        return after is not None and env_steps >= after and bool(leader.starts.any()) and not bool(leader.chosen)

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        z = self.leader.commitment.expand(len(state), -1, -1)
        return dict(zip(self.agents, self.says(self.leader.encode(state), z), strict=True))

    def responses(self, state: torch.Tensor, observations: Tensors | None = None) -> torch.Tensor:
        if self.settings.temperature:
            raise NotImplementedError("a follower that errs gives no one answer")
        x, z = self.leader.encode(state), self.leader.commitment.expand(len(state), -1, -1)
        chances = self.leader.probabilities(z, self.leader.rows(x))
        return answers(chances, self.says(x, z)[1], self.hears)

    def commitment(self, state: torch.Tensor) -> torch.Tensor:
        leader, z = self.leader, self.leader.commitment.expand(len(state), -1, -1)
        chances = leader.probabilities(z, leader.rows(leader.encode(state)))
        return chances if self.settings.mixed else F.one_hot(chances.argmax(1), chances.shape[1]).to(chances.dtype)

    def describe(self) -> tuple[Description, Arrays]:
        self.check()
        described, arrays = self._describe("commitment", {self.agents[1]: self.follower.critic})
        states, commitment = self._committed()
        how = Commitment(self.settings.mixed, self.hears, commitment_sha256(states, commitment))
        return replace(described, commitment=how), arrays | {"states": states, "commitment": commitment}
