"""Tables in the place of networks: what each joint action is worth in each state that was met."""

from __future__ import annotations

import math

import torch
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.annotations import override
from torch import nn

from rllib_biac.algorithms.biac.biac_rl_module import BiACModule
from rllib_biac.core.rl_module import HierarchyModule, JointRLModule, Tensors


class TableRLModule(JointRLModule, InferenceOnlyAPI):
    """One agent's table.

    Attributes:
        q: buffer (max_states + 1, |A_1|, |A_2|). The last row stands for every state that was never met.
        keys: buffer (max_states, bytes of a state) uint8, the states by row.
        count: buffer, how many rows are taken.
    """

    q: torch.Tensor
    keys: torch.Tensor
    count: torch.Tensor

    @override(JointRLModule)
    def build_networks(self) -> None:
        rows = self.model_config["max_states"]
        initial = float(self.model_config["initial_q"])
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
        if known and (count < known or self._rows.get(self.keys[known - 1].numpy().tobytes()) != known - 1):
            self._rows.clear()  # the states of another run
        for row in range(len(self._rows), count):
            self._rows[self.keys[row].numpy().tobytes()] = row
        found = []
        for own in state.to(torch.float32).flatten(1).contiguous().numpy():
            key = own.tobytes()
            row = self._rows.get(key, len(self.keys))
            if add and row == len(self.keys):
                row = len(self._rows)
                if row == len(self.keys):
                    raise ValueError(
                        f"the game has more than {row:,} states: raise max_states, or let BiAC's networks learn it."
                    )
                self._rows[key] = row
                self.keys[row] = torch.frombuffer(bytearray(key), dtype=torch.uint8)
                self.count += 1
            found.append(row)
        return torch.tensor(found)

    def table(self, values: torch.Tensor) -> torch.Tensor:
        """Returns values (batch, |A_1|, |A_2|) as they are: they have a table's shape."""
        return values

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """Returns Q_i(s, ·, ·): (batch, *state shape) -> (batch, |A_1|, |A_2|)."""
        return self.q[self.rows(state)]

    @override(JointRLModule)
    def networks(self) -> dict[str, nn.Module]:
        return {}

    @override(JointRLModule)
    def target_networks(self) -> dict[str, nn.Module]:
        return {}

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return []


class TableModule(BiACModule):
    """The pair: it plays as Bi-AC does, the follower's table in the place of its actor (Eqs. 8, 9)."""

    @override(BiACModule)
    def values_and_preferences(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leader, follower = (self[agent].unwrapped() for agent in self.hierarchy.agents)
        return leader.q_values(state), follower.q_values(state)

    @override(HierarchyModule)
    def q_tables(self, state: torch.Tensor, observations: Tensors | None = None) -> dict[str, torch.Tensor]:
        return {agent: self[agent].unwrapped().q_values(state).float() for agent in self.hierarchy.agents}
