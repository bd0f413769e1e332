"""The networks and buffers of a leader that commits and of a follower that answers commitments."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.files.policy import commitment_sha256
from rllib_biac.learning.networks import build_network, follow
from rllib_biac.learning.team import Agent
from rllib_biac.walk.commitment import matches


class CommitmentFollower(Agent):
    """An agent's critic Q_i(s, z, a_1, a_2) for every joint action, z being the leader's whole policy.

    Attributes:
        critic: network of normalised Q-values, (batch, state size + |S| (|A_1| - 1)) -> (batch, |A_1| · |A_2|).
        critic_target: its target network.
        q_mean, q_std: buffers, the normaliser of the critic's targets: Q = q_std · critic + q_mean.
        error: buffer (), how far the critic is off, in the game's own units, as measured at the last search.
        sha256: buffer (32,) uint8, of the commitment in force, so that each agent's networks say which they know.
        liked: buffer (max_states, |A_1|, |A_2|), of the follower: its Q under the commitment in force, in the game's
            own units, by which it answers; 0 where states were not met when that was chosen.
    """

    settings: CommitmentDQNSettings
    error: torch.Tensor
    sha256: torch.Tensor
    liked: torch.Tensor

    def build_networks(self) -> None:
        rows, actions = self.settings.max_states, self.num_actions[0]
        uniform = np.full((rows, actions), 1.0 / actions, np.float32)
        sha256 = bytes.fromhex(commitment_sha256(np.zeros((0, math.prod(self.state_shape))), uniform))
        self.register_buffer("error", torch.zeros(()))
        self.register_buffer("sha256", torch.tensor(list(sha256), dtype=torch.uint8))
        self.critic = build_network(self.input_shape("critic"), math.prod(self.num_actions), self.model_config)
        self.critic_target = follow(self.critic)
        self.register_q_normalizer()
        self.register_buffer("liked", torch.zeros(rows, *self.num_actions))

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
        alike: buffer (max_states,) int64, for each of them the first that is the same to the leader.
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
    alike: torch.Tensor
    starts: torch.Tensor
    commitment: torch.Tensor
    searches: torch.Tensor
    chosen: torch.Tensor
    counts: torch.Tensor
    moves: torch.Tensor
    reward_mean: torch.Tensor
    reward_square_mean: torch.Tensor

    def training_only(self) -> list[str]:
        return [*super().training_only(), "counts", "moves", "reward_mean", "reward_square_mean"]

    def build_networks(self) -> None:
        super().build_networks()
        rows, actions = self.settings.max_states, self.num_actions[0]
        self.register_buffer("states", torch.zeros(rows, math.prod(self.state_shape)))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("alike", torch.arange(rows))
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
            told = [i for i in range(self.states.shape[1]) if i not in self.settings.leader_ignores]
            self.alike[at] = matches(new[:1, told], self.states[: at + 1, told])[0].to(torch.int8).argmax()
            new = new[~matches(new, new[:1])[:, 0]]

    def probabilities(self, z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns what commitments say in one state each: (batch, |S|, |A_1|), (batch,) -> (batch, |A_1|)."""
        found = z[torch.arange(len(z), device=z.device), rows]
        return torch.where(rows[:, None] >= 0, found, 1.0 / self.num_actions[0])
