"""What an algorithm learns by: the values its critics bootstrap from, its losses, and the optimizers that step."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import distributed, nn

from rllib_biac.learning.cuts import STAYED, as_if_stayed
from rllib_biac.learning.networks import RunningMoments, check_rescalable, kind_of, renormalise
from rllib_biac.learning.settings import Settings, piecewise
from rllib_biac.learning.stacked import NetworkKey, Outputs, TeamNetworks
from rllib_biac.learning.team import APPROXIMATOR, Team
from rllib_biac.learning.transitions import ACTIONS, CUT, ENDED, NEXT_STATE, REWARDS, STATE, TERMINATED

Rows = dict[Hashable, torch.Tensor]  # columns of joint transitions
Measured = dict[tuple[str, str], torch.Tensor]  # (agent, name of a loss or metric) -> scalar

BETAS = 0.9, 0.999
_MOMENTS = ("exp_avg", "exp_avg_sq")
LEAST_SPREAD = 0.1  # of targets that hold values, by the range of rewards

# Columns beside those of joint transitions, for each agent.
TARGETS = "targets"  # normalised, (rows,)
VECTOR = "vector"  # its action as networks see it, (rows, size)


class Losses:
    """The losses of a team. An algorithm implements `next_values`, `losses` and `replayed_q`.

    Args:
        team: that learns.
        generator: draws all that losses and targets sample.
        num_learners: how many learners train copies of this team.

    Attributes:
        frozen: the agents whose networks stay as they are.
        networks: all networks of the team, equal ones computed together.
        optimizers: one for each of them.
        attainable: agent -> the bounds of its returns.
        target_statistics: agent -> mean and spread of its critic's raw targets.
        num_updates: updates so far, the one at hand included.
        averaged_since: after which of them weights belong together, for who averages them.
        one_input: whether critics and actors see nothing but the state, so that all of one shape are computed at once
            by `networks.forward`. Else those of one kind are, on inputs of their own, by `networks.compute`, as
            approximators always are.
        apart: kinds of networks, such as actors, each of which sees something else and is computed by itself.
    """

    one_input: ClassVar[bool] = True
    apart: ClassVar[tuple[str, ...]] = ()

    def __init__(self, team: Team, generator: torch.Generator, *, num_learners: int = 1) -> None:
        self.team, self.settings, self.agents = team, team.settings, team.agents
        self.generator, self.num_learners = generator, num_learners
        self.num_updates = self.averaged_since = 0
        self.frozen = frozenset(agent for agent in team.agents if not self.settings.learns(agent))
        if self.settings.normalize_targets:
            for owner in self.owners():
                for name, critic in critics_of(team[owner].target_networks()).items():
                    check_rescalable(critic, team[owner].input_shape(name))
        self.networks = TeamNetworks(team, self.stack_of)
        self.optimizers = Adams(self.networks.rows(), self.settings)
        self._bounds_values = self.settings.bounds_values
        self.attainable = {agent: Attainable(self.settings.gamma, num_learners) for agent in self.agents}
        self.target_statistics = {owner: RunningMoments(self.settings.normalizer_horizon) for owner in self.owners()}

    def stack_of(self, agent: str, network: str) -> Hashable:
        """Returns a label: only networks of one label and shape are computed together."""
        kind = kind_of(network)
        if kind in self.apart:
            return agent, network
        return None if self.one_input and kind != APPROXIMATOR else kind

    def due(self, kind: str) -> bool:
        """Tells whether the update at hand moves networks of this kind."""
        return self.num_updates % self.settings.update_period(kind) == 0

    # What an algorithm implements.

    def owners(self) -> tuple[str, ...]:
        """Returns whose critics learn, by the names of the team's parts: those of all agents."""
        return self.agents

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Returns what each critic expects of the next states, raw, agent -> (rows,), terminated rows as well."""
        raise NotImplementedError

    def losses(self, batch: Rows, outputs: Outputs) -> Measured:
        """Returns the losses of one minibatch, (agent, loss name) -> scalar; their sum is minimised.

        Args:
            batch: the minibatch.
            outputs: of `forward_online`.
        """
        raise NotImplementedError

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's normalised value of the replayed actions, agent -> (batch,).

        Args:
            outputs: of `forward_online`.
            batch: the minibatch.
        """
        raise NotImplementedError

    # What it may change.

    def forward_online(self, batch: Rows) -> Outputs:
        """Returns what the online networks say of a minibatch, before any loss is computed."""
        return self.networks.forward(batch[STATE])

    def more_columns(self, rows: Rows) -> Rows:
        """Returns what else of all K minibatches no update changes, as further columns."""
        return {}

    def bootstraps(self, rows: Rows) -> bool:
        """Tells whether targets hold more than rewards: not where all rows end their games, as in one-step games."""
        return not bool(rows[TERMINATED].all())

    def horizon(self, rows: Rows) -> float:
        """Returns how many game steps ahead values look: 1 where nothing is bootstrapped, else 1 / (1 - gamma)."""
        gamma = self.settings.gamma if self.bootstraps(rows) else 0.0
        return 1 / (1 - gamma) if gamma < 1 else math.inf

    @torch.no_grad()
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's raw targets, agent -> (rows,): r_i + gamma V_i(s'), of Eqs. 14 and 19."""
        rewards = {agent: rows[REWARDS, agent] for agent in self.agents}
        if not self.bootstraps(rows):
            return rewards
        values = self.next_values(rows)
        if (STAYED, NEXT_STATE) in rows:  # of those truncated alone, the values of where they still are there
            for agent, value in self.next_values(as_if_stayed(rows)).items():
                values[agent] = torch.where(rows[CUT, agent].any(1), value, values[agent])
        return {agent: self.target(rows, agent, values[agent]) for agent in self.agents}

    def target(self, rows: Rows, agent: str, values: torch.Tensor) -> torch.Tensor:
        """Returns an agent's raw targets by what it expects of the next states, (..., rows) -> (..., rows)."""
        if self._bounds_values:
            values = values.clamp(self.attainable[agent].low, self.attainable[agent].high)
        return rows[REWARDS, agent] + self.settings.gamma * goes_on(rows, agent) * values

    def see(self, rows: Rows) -> None:
        """Takes note of the rewards of all K minibatches, before any target is computed."""
        for agent, bounds in self.attainable.items():
            bounds.see(rows[REWARDS, agent], goes_on(rows, agent).bool())

    def normalised_targets(self, batch: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's targets of a minibatch in units of their spread, agent -> (batch,)."""
        if (TARGETS, self.owners()[0]) in batch:
            return {owner: batch[TARGETS, owner] for owner in self.owners()}
        return {agent: self.team[agent].in_units(targets) for agent, targets in self.compute_targets(batch).items()}

    def normalise_targets(self, rows: Rows) -> None:
        """Sets each critic's normaliser from the targets of all K minibatches, keeping the Q-values it stands for.

        Targets that no update can change, for they hold rewards alone, become columns.
        """
        fixed = not self.bootstraps(rows)
        if not self.settings.normalize_targets and not fixed:
            return
        for agent, targets in self.compute_targets(rows).items():
            module, statistics = self.team[agent], self.target_statistics[agent]
            if self.settings.normalize_targets and agent not in self.frozen:
                held = *critics_of(module.networks()).values(), *critics_of(module.target_networks()).values()
                rescale = partial(module.rescale_critics, held)
                least = 0.0 if fixed else self.least_spread(agent)
                renormalise(rescale, targets, statistics, module.q_mean, module.q_std, self.num_learners, least)
            if fixed:
                rows[TARGETS, agent] = module.in_units(targets)

    def least_spread(self, agent: str) -> float:
        """Returns what an agent's targets are at least thought to differ by, where they hold values.

        Where rewards are rare, nearly all targets are equal at first. The first reward would be many times their
        spread, and networks that are to answer so much for it forget all else.
        """
        return LEAST_SPREAD * self.attainable[agent].range

    @torch.no_grad()
    def diagnostics(self, batch: Rows) -> Measured:
        """Returns what else to report of the last minibatch before a flush, (agent, metric name) -> scalar.

        In the game's own units of reward: Q of the replayed actions and the absolute TD error.
        """
        measured = {}
        targets = self.compute_targets(batch)
        for agent, normalised in self.replayed_q(self.forward_online(batch), batch).items():
            q = self.team[agent].raw(normalised)  # (batch,)
            measured[agent, "qf_mean"] = q.mean()
            measured[agent, "td_error_mean"] = (targets[agent] - q).abs().mean()
        return measured

    def differentiate(self, batch: Rows, *, told: bool = True) -> Measured:
        """Sets all networks' gradients to those of the losses of a minibatch.

        Args:
            batch: the minibatch.
            told: whether the losses are wanted; they may be left out otherwise.

        Returns:
            The losses.
        """
        with torch.enable_grad():
            losses = self.losses(batch, self.forward_online(batch))
            total = sum(losses.values())
        assert isinstance(total, torch.Tensor)
        self.networks.differentiate(total)
        return losses

    def get_state(self) -> dict[str, Any]:
        """Returns what losses remember between updates beside networks and generator: arrays and numbers."""
        statistics = {agent: moments.state() for agent, moments in self.target_statistics.items()}
        return {
            "num_updates": self.num_updates,
            "averaged_since": self.averaged_since,
            "targets": statistics,
            "attainable": {agent: own.state() for agent, own in self.attainable.items()},
            "optimizers": self.optimizers.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        self.num_updates, self.averaged_since = state["num_updates"], state["averaged_since"]
        self.optimizers.set_state(state["optimizers"])
        for agent, moments in state["targets"].items():
            self.target_statistics[agent].restore(moments)
        for agent, largest in state["attainable"].items():
            self.attainable[agent].restore(largest)


class VectorLosses(Losses):
    """Losses of networks that take actions in, as vectors beside what they see."""

    one_input = False

    def masks(self, rows: Rows, column: str) -> dict[str, torch.Tensor]:
        """Returns a column of masks, agent -> (rows, |A_i|) bool, of those who have one."""
        return {agent: rows[column, agent] for agent in self.agents if (column, agent) in rows}

    def more_columns(self, rows: Rows) -> Rows:
        return {(VECTOR, agent): self.team[agent].coder.encode(rows[ACTIONS, agent]) for agent in self.agents}


class Attainable:
    """The least and the largest return that the rewards seen so far of one agent can add up to.

    A return is rewards of steps after which the agent goes on, and at last perhaps one that ends its part. If the
    largest of the former is r and of the latter R, it is at most the larger of R and r / (1 - gamma), for any other
    number of steps lies between these two. No value of any policy is outside; estimates are at times, and those that
    are too high feed on themselves where a state leads back to itself.

    Args:
        gamma: the discount.
        num_learners: which see different rows.

    Attributes:
        low, high: the bounds.
        range: the largest reward less the least, 0 before any was seen.
    """

    def __init__(self, gamma: float, num_learners: int = 1) -> None:
        self._horizon = 1 / (1 - gamma) if gamma < 1 else math.inf
        self._num_learners = num_learners
        # Of rewards and their negatives: the largest after which it goes on, and at the end.
        self._largest = torch.full((2, 2), -torch.inf)
        self.low, self.high, self.range = -math.inf, math.inf, 0.0

    @torch.no_grad()
    def see(self, rewards: torch.Tensor, goes_on: torch.Tensor) -> None:
        """Takes note of rewards, (rows,), and of whether the agent goes on after each, (rows,) bool."""
        signed = torch.stack([rewards, -rewards])  # (2, rows)
        kinds = torch.stack([goes_on, ~goes_on])[:, None]  # (2, 1, rows)
        found = signed.masked_fill(~kinds, -torch.inf).amax(2)  # (2 kinds, 2 signs)
        if self._num_learners > 1:
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        found = found.to("cpu", torch.float32)
        if not (found <= self._largest).all():
            self.restore(torch.maximum(self._largest, found).numpy())

    def state(self) -> np.ndarray:
        """Returns what it remembers."""
        return self._largest.numpy()

    def restore(self, largest: np.ndarray) -> None:
        """Takes back what `state` returned."""
        self._largest = torch.as_tensor(largest)
        if np.isfinite(largest).any():  # else nothing was seen
            bounds = (max(end, self._forever(on)) for on, end in largest.T.tolist())
            # Where nothing is discounted and no end was seen, all returns are infinite: that bounds no estimate.
            high, low = (bound if bound > -math.inf else math.inf for bound in bounds)
            self.low, self.high = -low, high
            self.range = float(largest.max(0).sum())  # that of rewards, and of their negatives

    def _forever(self, reward: float) -> float:
        return reward * self._horizon if reward else 0.0


def goes_on(rows: Mapping[Hashable, torch.Tensor], agent: str) -> torch.Tensor:
    """Returns 1 where an agent goes on after a row, 0 where its part in the game is over: (rows,) float32."""
    return (~rows.get((ENDED, agent), rows[TERMINATED])).to(torch.float32)


def critics_of(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Returns those networks that are critics."""
    return {name: network for name, network in networks.items() if kind_of(name) == "critic"}


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
