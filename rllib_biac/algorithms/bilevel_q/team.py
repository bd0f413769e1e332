"""Tables in the place of networks: what each joint action is worth in each state that was met."""

from __future__ import annotations

import math

import torch
from torch import nn

from rllib_biac.algorithms.biac.team import TablePair
from rllib_biac.algorithms.bilevel_q.settings import BiLevelQSettings
from rllib_biac.files.policy import Arrays, Description
from rllib_biac.learning.team import Agent, Tensors
from rllib_biac.walk import ByTables


class TableAgent(Agent):
    """One agent's table.

    Attributes:
        q: buffer (max_states + 1, |A_1|, |A_2|). The last row stands for every state that was never met.
        keys: buffer (max_states, bytes of a state) uint8, the states by row.
        count: buffer, how many rows are taken.
    """

    settings: BiLevelQSettings
    q: torch.Tensor
    keys: torch.Tensor
    count: torch.Tensor

    def build_networks(self) -> None:
        rows = self.settings.max_states
        initial = float(self.settings.initial_q)
        self.register_buffer("q", torch.full((rows + 1, *self.num_actions), initial, dtype=torch.float64))
        width = math.prod(self.state_shape) * torch.float32.itemsize
        self.register_buffer("keys", torch.zeros((rows, width), dtype=torch.uint8))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._rows: dict[bytes, int] = {}

    def rows(self, state: torch.Tensor, *, add: bool = False) -> torch.Tensor:
        """Returns the states' rows, (batch, *state shape) -> (batch,) int64.

        Args:
            state: raw.
            add: whether states that were never met get rows of their own.

        Raises:
            ValueError: if there are more states than rows.
        """
        count = int(self.count)
        # Buffers are copied from elsewhere, or loaded: what is known of them is brought up to date.
        known = len(self._rows)
        if count < known or b"".join(self._rows) != self.keys[:known].numpy().tobytes():
            self._rows.clear()  # the states of another run
        for row in range(len(self._rows), count):
            self._rows[self.keys[row].numpy().tobytes()] = row
        found, unknown = [], len(self.keys)
        for own in (state.to(torch.float32) + 0.0).flatten(1).contiguous().numpy():  # -0.0 is 0.0
            key = own.tobytes()
            row = self._rows.get(key, unknown)
            if add and row == unknown:
                row = len(self._rows)
                if row == unknown:
                    raise ValueError(
                        f"the game has more than {row:,} states: raise max_states, or let BiAC's networks learn it."
                    )
                self._rows[key] = row
                self.keys[row] = torch.frombuffer(bytearray(key), dtype=torch.uint8)
                self.count += 1
            found.append(row)
        return torch.tensor(found)

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(s, ·, ·): (batch, *state shape) -> (batch, |A_1|, |A_2|)."""
        return self.q[self.rows(state)]

    def networks(self) -> dict[str, nn.Module]:
        return {}

    def target_networks(self) -> dict[str, nn.Module]:
        return {}


class TableTeam(TablePair):
    """The pair: it plays as Bi-AC does, the follower's table in the place of its actor (Eqs. 8, 9)."""

    def agent_class(self, agent: str) -> type[Agent]:
        return TableAgent

    def play(
        self, state: torch.Tensor, masks: Tensors | None = None, generator: torch.Generator | None = None
    ) -> ByTables:
        q1, q2 = (self[agent].q_values(state) for agent in self.agents)
        return ByTables(self.hierarchy.levels, q1, q2, masks or {})

    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        return {agent: self[agent].q_values(state).float() for agent in self.agents}

    def describe(self) -> tuple[Description, Arrays]:
        raise ValueError(
            "BiLevelQ has tables, no networks: play them with rllib_biac.rllib.reading.load() and "
            "rllib_biac.evaluation.greedy()."
        )
