"""The trainer of a team: K minibatches of joint transitions per call."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch

from rllib_biac.learning.allocator import keep_freed_memory
from rllib_biac.learning.cuts import STAYED, stayed
from rllib_biac.learning.diverged import check_all
from rllib_biac.learning.losses import Losses, Measured, Rows, critics_of
from rllib_biac.learning.networks import RunningMoments, threads_for
from rllib_biac.learning.several import average_over_learners, start_as_the_first
from rllib_biac.learning.stacked import TeamNetworks
from rllib_biac.learning.team import Agent, Team, copy_weights, weight_pairs
from rllib_biac.learning.transitions import CUT, NEXT_OBS, NEXT_STATE, OBS, STATE


class Trainer:
    """Updates all networks of a team together from joint transitions.

    What is learned an algorithm says in its `Losses`. Everything around them is here: one optimizer per network,
    gradient clipping, soft target updates, normalised inputs and targets.

    The team that is handed over plays, by averaged weights (`averaging`); a copy of it learns.

    Of several learners each takes its share of every minibatch. Gradients and the normalisers' statistics are averaged
    over all of them, so that together they do what one would on the whole minibatches.

    Args:
        team: who plays, on its final device. Its parameters are moved to where equal networks lie together.
        losses: the class of its losses.
        seed: of all that losses and targets sample; None draws one.
        num_learners: how many learners train copies of this team; the process group is torch's.

    Attributes:
        played: the team that was handed over.
        team: who learns, a copy of it; itself, where weights are not averaged.
        averages: keep `played` up to date; None where weights are not averaged.
        env_steps: that had been sampled at the latest call, by which schedules go.
        learner_index: which of several learners this is.
    """

    def __init__(
        self,
        team: Team,
        losses: type[Losses],
        *,
        seed: int | None = None,
        num_learners: int = 1,
    ) -> None:
        keep_freed_memory()
        self.played, self.settings = team, team.settings
        self.team = team = _copy(team) if self._averages_of(team) else team
        self.num_learners, self.learner_index = num_learners, 0
        self.env_steps = 0
        self._device = next(iter(team[team.agents[0]].buffers())).device
        self.generator = torch.Generator(self._device)
        # Of several learners each draws by itself, newly seeded for each call from a stream that is the same for all:
        # any learner's state is then everybody's.
        self._stream = self.generator if num_learners == 1 else torch.Generator(self._device)
        if seed is not None:
            self._stream.manual_seed(seed)
        else:
            self._stream.seed()
        self.losses = losses(team, self.generator, num_learners=num_learners)
        self.networks, self.optimizers = self.losses.networks, self.losses.optimizers
        self._frozen = [
            group.grad[row]
            for keys, group in self.networks.groups
            for row, (owner, _) in enumerate(keys)
            if owner in self.losses.frozen
        ]
        self.input_statistics: dict[Hashable, RunningMoments] = {}
        self.reported: dict[tuple[str, str], list[float]] = {}
        if num_learners > 1:
            self._start_as_the_first()
        self.averages: Averages | None = None
        if self.team is not self.played:
            share = self.settings.averaging
            self.averages = Averages(self.played, team, self.networks, self.losses.stack_of, share)
        self._watched = self._learned_numbers()

    @staticmethod
    def _averages_of(team: Team) -> bool:
        networks = [network for member in team.members().values() for network in member.networks()]
        return bool(networks) and team.settings.averaging > 0

    def _learned_numbers(self) -> list[torch.Tensor]:
        """Returns all that updates move, many numbers to a tensor: looking at few tensors takes less time."""
        groups = (*self.networks.groups, *self.networks.target_groups)
        averaged = self.averages.flat if self.averages else []
        flat = [*(group.flat for _, group in groups), *averaged]
        states = (member.state_dict() for member in self.team.members().values())
        tables = [values for state in states for values in state.values() if values.is_floating_point()]
        return [tensor.view(-1) for tensor in flat or tables]

    @property
    def num_updates(self) -> int:
        """Updates so far."""
        return self.losses.num_updates

    def _start_as_the_first(self) -> None:
        """Takes weights and stream over from the first learner; without a seed they differ."""
        stream = self._stream.get_state().to(self._device)
        weights = [values for member in self.team.members().values() for values in member.state_dict().values()]
        start_as_the_first([*weights, stream])
        self._stream.set_state(stream.cpu())

    def train(
        self,
        rows: Mapping[Hashable, np.ndarray],
        *,
        minibatch_size: int | None = None,
        env_steps: int | None = None,
        report: bool = True,
    ) -> None:
        """Runs one update per minibatch, in the rows' own order.

        Args:
            rows: columns of K · `minibatch_size` joint transitions (see `JointTransitions`).
            minibatch_size: rows per update; all of them by default.
            env_steps: sampled so far, by which schedules go.
            report: whether to measure what `take_report` returns beside the losses.

        Raises:
            Diverged: if a loss or a weight is not finite afterwards.
        """
        if env_steps is not None:
            self.env_steps = env_steps
        if self.num_learners > 1:
            seeds = torch.randint(2**62, (self.num_learners,), generator=self._stream, device=self._device)
            self.generator.manual_seed(int(seeds[self.learner_index]))
        tensors = self.as_tensors(rows)
        size = minibatch_size or len(next(iter(tensors.values())))
        with threads_for(self.team.members().values(), size):
            measured = self._train(tensors, size)
            if report:
                drawn = self.generator.get_state()
                measured |= self.losses.diagnostics(self._last)
                self.generator.set_state(drawn)  # how often one reports changes nothing
            found = {key: value.detach().item() for key, value in measured.items()}
            self.check(found)
        for key, value in found.items():
            self.reported.setdefault(key, []).append(value)

    @torch.no_grad()
    def check(self, measured: Mapping[tuple[str, str], float]) -> None:
        """Looks at all weights and at what was measured, in one reading of all numbers.

        What normalises them is not looked at: where that is not finite, no loss is.

        Args:
            measured: (agent, name of a loss or metric) -> its value.

        Raises:
            Diverged: naming the agent, and the network or the loss.
        """
        # A square overflows where a number is not finite or too large. Nothing is faster than this product.
        squares = float(sum(torch.dot(tensor, tensor) for tensor in self._watched))
        if not all(map(math.isfinite, (squares, *measured.values()))):
            check_all(dict.fromkeys((self.played, self.team)), measured, self.num_updates)

    def as_tensors(self, rows: Mapping[Hashable, np.ndarray]) -> Rows:
        """Returns columns on the team's device."""
        # Arrays that came through Ray's object store are read-only, which torch does not take.
        arrays = {key: values if values.flags.writeable else values.copy() for key, values in rows.items()}
        return {key: torch.from_numpy(array).to(self._device, non_blocking=True) for key, array in arrays.items()}

    def _train(self, rows: Rows, size: int) -> Measured:
        self._normalise_inputs(rows)
        self.losses.see(rows)
        self.losses.normalise_targets(rows)
        if self.averages:
            self.averages.take_units_over()
        rows |= self.losses.more_columns(rows)
        self.optimizers.plan(self.env_steps, self.losses.horizon(rows))
        measured: Measured = {}
        minibatches = list(zip(*(column.split(size) for column in rows.values()), strict=True))
        for k, columns in enumerate(minibatches, 1):
            self._last = dict(zip(rows, columns, strict=True))
            measured |= self._update(self._last, told=k == len(minibatches))
        return measured

    @torch.no_grad()
    def _update(self, minibatch: Rows, told: bool) -> Measured:
        self.losses.num_updates += 1
        losses = self.losses.differentiate(minibatch, told=told)
        for grad in self._frozen:
            grad.zero_()
        if self.num_learners > 1:
            average_over_learners([group.grad for _, group in self.networks.groups])
        if self.settings.grad_clip is not None:
            self.networks.clip(self.settings.grad_clip, self.settings.grad_clip_by)
        self.optimizers.step(self.num_updates)
        if self.num_updates % self.settings.target_network_update_freq == 0:
            self.networks.follow(self.settings.tau)
        if self.averages:
            self.averages.update(self.num_updates - self.losses.averaged_since)
        return losses

    # Normalisers.

    def _agents(self) -> dict[str, Agent]:
        return {agent: self.team[agent] for agent in self.team.agents}

    def _normalise_inputs(self, rows: Rows) -> None:
        spec = self.team.spec
        if spec.look is not None and spec.look.cuts:
            missing = [agent for agent in spec.agents if (CUT, agent) not in rows]
            assert not missing, f"rows do not say when {missing[0]!r} is truncated alone, which this game does."
            rows |= stayed(rows, spec)
        if self.settings.normalize_observations:
            mean, std = self._moments(STATE, rows[STATE])
            for agent, module in self._agents().items():
                module.state_mean.copy_(mean)
                module.state_std.copy_(std)
                if (OBS, agent) in rows:
                    own_mean, own_std = self._moments((OBS, agent), rows[OBS, agent])
                    module.observation_mean.copy_(own_mean)
                    module.observation_std.copy_(own_std)
        column: Hashable
        for column in (STATE, NEXT_STATE, (STAYED, NEXT_STATE)):
            if column in rows:
                rows[column] = self.team[self.team.agents[0]].encode(rows[column])
        for agent, module in self._agents().items():
            for own in ((OBS, agent), (NEXT_OBS, agent), (STAYED, (NEXT_OBS, agent))):
                if own in rows:
                    rows[own] = module.encode_observation(rows[own])

    def _moments(self, key: Hashable, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = self.input_statistics.setdefault(key, RunningMoments(float("inf")))
        return statistics.update(values.to(torch.float64), self.num_learners)

    # Reports and state.

    def take_report(self) -> dict[tuple[str, str], float]:
        """Returns what was measured since the last report, (agent, name) -> mean, and forgets it."""
        report = {key: float(np.mean(values)) for key, values in self.reported.items()}
        self.reported.clear()
        return report

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to go on exactly, the weights of `played` aside."""
        return {
            "weights": self.team.weights() if self.averages else None,
            "env_steps": self.env_steps,
            "generator": self._stream.get_state().cpu().numpy(),
            "inputs": {key: moments.state() for key, moments in self.input_statistics.items()},
            "reported": copy.deepcopy(self.reported),
            "losses": self.losses.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        self.env_steps = state["env_steps"]
        if self.averages:
            copy_weights(self.played, self.team)
            # Without averages who played had learned.
            for name, own in (state["weights"] or {}).items():
                self.team[name].load_state_dict({key: torch.as_tensor(values) for key, values in own.items()})
        self._stream.set_state(torch.as_tensor(state["generator"]))
        for key, moments in state["inputs"].items():
            self.input_statistics.setdefault(key, RunningMoments(float("inf"))).restore(moments)
        self.reported = copy.deepcopy(state["reported"])
        self.losses.set_state(state["losses"])

    def take_over_weights(self) -> None:
        """Goes on from weights that came alone, learned in the units of the normalisers beside them.

        The first new targets are to change these units without changing what networks say.
        """
        if self.averages:
            copy_weights(self.played, self.team)
        for agent, module in self._agents().items():
            if self.settings.normalize_targets:
                self.losses.target_statistics[agent].start(module.q_mean, module.q_std, count=1.0)
            if self.settings.normalize_observations:
                found: dict[Hashable, tuple[torch.Tensor, torch.Tensor]]
                found = {STATE: (module.state_mean, module.state_std)}
                if self.settings.uses_observations:
                    found[OBS, agent] = (module.observation_mean, module.observation_std)
                for key, (mean, std) in found.items():
                    moments = self.input_statistics.setdefault(key, RunningMoments(float("inf")))
                    # Of how many rows nobody knows.
                    moments.start(mean, std, count=float(self.settings.normalizer_horizon))


class Averages:
    """Averages of a team's weights over its latest updates, a share of all (Polyak and Juditsky 1992).

    Under a constant learning rate weights never come to rest. Their average does, as the share is one of ever more
    updates, and unlike with a rate that falls, learning stays as fast as it was.

    Args:
        played: the team that holds the averages. Its networks are moved to where equal ones lie together.
        learning: the team that learns, of the same networks; `played` starts as its copy.
        networks: of the team that learns.
        label: (agent, network name) -> a label, by which `networks` were grouped.
        share: of the updates so far, in (0, 1].
    """

    def __init__(
        self,
        played: Team,
        learning: Team,
        networks: TeamNetworks,
        label: Callable[[str, str], Hashable],
        share: float,
    ) -> None:
        self._played, self._learning, self._share = played, learning, share
        groups = zip(TeamNetworks(played, label).groups, networks.groups, strict=True)
        self._averaged = [(average.flat, latest.flat) for (_, average), (_, latest) in groups]
        # A state dict holds other objects than the networks, in the same memory.
        members = played.members().values()
        trained = [network for one in members for network in one.networks().values()]
        averaged = {p.data_ptr() for network in trained for p in network.parameters()}
        pairs = zip(*weight_pairs(learning, played), strict=True)
        others = [(own, latest) for own, latest in pairs if own.data_ptr() not in averaged]
        self._copied = [own for own, _ in others], [latest for _, latest in others]
        self.start()

    @property
    def flat(self) -> list[torch.Tensor]:
        """The averaged parameters, many to a tensor."""
        return [average for average, _ in self._averaged]

    @torch.no_grad()
    def start(self) -> None:
        """Begins with the weights that there are."""
        copy_weights(self._learning, self._played)

    @torch.no_grad()
    def take_units_over(self) -> None:
        """Takes over what normalises inputs and targets, and keeps the Q-values that the averages stand for."""
        if self._learning.settings.normalize_targets:
            for name, member in self._played.members().items():
                if critics := critics_of(member.networks()):
                    member.take_units_over(critics.values(), self._learning[name])
        torch._foreach_copy_(*self._copied)

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Takes the latest weights in.

        Args:
            num_updates: since weights belong together, these included; at least 1.
        """
        weight = 1.0 / max(1.0, self._share * num_updates)
        for average, latest in self._averaged:
            average.lerp_(latest, weight)


def _copy(team: Team) -> Team:
    """Returns a team of the same networks with the same weights; what it was built from is shared."""
    return copy.deepcopy(team, {id(shared): shared for shared in (team.spec, team.settings)})
