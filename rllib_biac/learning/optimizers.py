"""One Adam for each network of a team, stepped together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rllib_biac.learning.networks import kind_of
from rllib_biac.learning.settings import Settings, piecewise
from rllib_biac.learning.stacked import NetworkKey

BETAS = 0.9, 0.999
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Adams:
    """One Adam per network (Kingma and Ba 2015).

    The plain form is a `torch.optim.Adam` for each row, of whose step most is bookkeeping in Python.

    Args:
        rows: (agent, network name) -> a leaf (parameters,) with its gradient.
        settings: say the learning rates, how often which networks move, and epsilon.

    Attributes:
        rates: (agent, network name) -> the learning rate of the latest call.
        state: (agent, network name) -> `step` (), and `exp_avg`, `exp_avg_sq` (parameters,).
    """

    def __init__(self, rows: Mapping[NetworkKey, torch.Tensor], settings: Settings) -> None:
        self._rows, self._settings = dict(rows), settings
        self._given = {key: settings.network_lr(*key) for key in rows}  # a number or a schedule each
        self._periods = {key: settings.update_period(kind_of(key[1])) for key in rows}
        self.state = {
            key: {"step": torch.zeros((), device=row.device)} | {name: torch.zeros_like(row) for name in _MOMENTS}
            for key, row in rows.items()
        }
        self.rates: dict[NetworkKey, float] = {}
        self._plan: list[tuple[Any, ...]] = []

    def plan(self, env_steps: int, horizon: float) -> None:
        """Finds the rates of a call, and which networks step together.

        To be called before the steps of a call, as rates and states may have changed since the last one.

        Args:
            env_steps: sampled so far.
            horizon: how many game steps ahead values look, by which rates fall that no schedule is given for.
        """
        fade = self._settings.lr_fade
        # Steps of the order of 1 / sqrt(t), with averaged weights beside them: Polyak and Juditsky 1992.
        faded = 1.0 if fade is None else (1.0 + env_steps / (fade * horizon**0.5)) ** -0.5
        alike: dict[tuple[int, float], list[NetworkKey]] = {}
        for key, given in self._given.items():
            rate = given * faded if isinstance(given, int | float) else piecewise(given, env_steps)
            alike.setdefault((self._periods[key], rate), []).append(key)
        self.rates = {key: rate for (_, rate), keys in alike.items() for key in keys}
        self._plan = []
        for (period, lr), keys in alike.items():
            states = [self.state[key] for key in keys]
            # All count together: their steps become views of one tensor.
            count = torch.stack([state["step"] for state in states])
            for state, step in zip(states, count, strict=True):
                state["step"] = step
            rows = [self._rows[key] for key in keys]
            columns = [[state[name] for state in states] for name in (*_MOMENTS, "step")]
            settings = {
                "amsgrad": False,
                "lr": lr,
                "beta1": BETAS[0],
                "beta2": BETAS[1],
                "weight_decay": 0.0,
                "eps": self._settings.adam_epsilon,
                "maximize": False,
            }
            self._plan.append((period, count, rows, [row.grad for row in rows], *columns, settings))

    def step(self, num_updates: int) -> None:
        """Moves the networks that are due at this update, by their gradients."""
        for period, count, rows, grads, averages, squares, steps, settings in self._plan:
            if num_updates % period == 0:
                count += 1
                torch._fused_adam_(rows, grads, averages, squares, [], steps, **settings)

    def get_state(self) -> dict[NetworkKey, dict[str, np.ndarray]]:
        """Returns what `set_state` needs; the arrays are the caller's to keep."""
        return {
            key: {name: values.cpu().numpy().copy() for name, values in own.items()} for key, own in self.state.items()
        }

    def set_state(self, state: Mapping[NetworkKey, Mapping[str, np.ndarray]]) -> None:
        """Takes back what `get_state` returned."""
        for key, own in state.items():
            for name, values in own.items():
                self.state[key][name].copy_(torch.as_tensor(values))
