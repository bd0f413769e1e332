"""The learner of centrally trained algorithms: K minibatches of joint transitions per call, one metrics flush."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.dqn.dqn_learner import QF_MEAN_KEY, TD_ERROR_MEAN_KEY
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_TRAINABLE_PARAMETERS,
)
from torch import distributed, nn

from rllib_biac.core.checkpoints import process_generators, set_process_generators
from rllib_biac.core.networks import NetworkGroup, group_networks
from rllib_biac.core.rl_module import APPROXIMATOR, HierarchyModule, JointRLModule, kind_of
from rllib_biac.core.transitions import (
    NEXT_OBS,
    NEXT_STATE,
    OBS,
    REWARDS,
    START,
    STATE,
    TERMINATED,
    JointTransitions,
)

NUM_UPDATES_LIFETIME = "num_updates_lifetime"
# Columns beside those of joint transitions, for each agent.
TARGETS = "targets"  # normalised, (rows,)
VECTOR = "vector"  # its action as networks see it, (rows, size)

_SHARED = (STATE, NEXT_STATE, TERMINATED, START)

Rows = dict[Hashable, torch.Tensor]  # columns of joint transitions
Outputs = dict[tuple[str, str], torch.Tensor]  # (agent, network name) -> (batch, outputs)


def as_multi_agent_batch(rows: JointTransitions, agents: tuple[str, ...]) -> MultiAgentBatch:
    """Lays joint transitions out as RLlib's batch: one module id per agent, rows aligned, shared columns not copied."""
    shared = {column: rows.columns[column] for column in _SHARED if column in rows.columns}
    own: dict[str, dict[str, np.ndarray]] = {agent: {} for agent in agents}
    for key, column in rows.columns.items():
        if isinstance(key, tuple):
            name, agent = key
            own[agent][name] = column
    return MultiAgentBatch({agent: SampleBatch(shared | own[agent]) for agent in agents}, env_steps=len(rows))


def shares_of_minibatches(rows: JointTransitions, num_minibatches: int, num_learners: int) -> list[JointTransitions]:
    """Splits minibatches that lie one after the other among learners: each gets an equal part of every one."""
    if num_learners == 1:
        return [rows]
    columns = {
        key: column.reshape(num_minibatches, num_learners, -1, *column.shape[1:])
        for key, column in rows.columns.items()
    }
    return [
        JointTransitions(
            {key: column[:, learner].reshape(-1, *column.shape[3:]) for key, column in columns.items()}, rows.num_agents
        )
        for learner in range(num_learners)
    ]


class JointLearner(TorchLearner):
    """Updates all agents' networks together from joint transitions.

    An algorithm says what it learns in two methods: `next_values`, which its critics' targets bootstrap from, and
    `compute_losses` (of one minibatch). Everything between them is here: stacked networks, one optimizer per network,
    gradient clipping, soft target updates, normalised targets, metrics.

    Of several learners each takes its share of every minibatch. Gradients and the normalisers' statistics are averaged
    over all of them, so that together they do what one would on the whole minibatches. Nothing is wrapped in DDP, which
    would see none of the forward passes here.

    Attributes:
        one_input: whether critics and actors see nothing but the state, so that all of one shape are computed at once
            by `forward`. Else those of one kind are, on inputs of their own, by `compute`, as approximators always are.
    """

    one_input = True

    @override(TorchLearner)
    def build(self) -> None:
        super().build()
        self.num_updates = 0
        self._env_steps = 0
        self.num_learners = max(self.config.num_learners, 1)
        self._target_statistics = {agent: RunningMoments(self.config.normalizer_horizon) for agent in self.agents}
        self._input_statistics: dict[Hashable, RunningMoments] = {}
        self._reported: dict[tuple[str, str], list[float]] = {}
        # Draws all that losses and targets sample.
        self.generator = torch.Generator(self._device)
        # Of several learners each draws by itself, newly seeded for each call from a stream that is the same for all:
        # any learner's state is then everybody's.
        self._stream = self.generator if self.num_learners == 1 else torch.Generator(self._device)
        if self.config.seed is not None:
            self._stream.manual_seed(self.config.seed)
        else:
            self._stream.seed()
        if self.num_learners > 1:
            self._start_as_the_first()

    @torch.no_grad()
    def _start_as_the_first(self) -> None:
        """Takes weights and stream over from the first learner; without a seed they differ."""
        for agent in self.agents:
            for values in self.agent_module(agent).state_dict().values():
                distributed.broadcast(values, 0)
        stream = self._stream.get_state().to(self._device)
        distributed.broadcast(stream, 0)
        self._stream.set_state(stream.cpu())

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        pass

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """All agents, top level first."""
        return self.module.hierarchy.agents

    def agent_module(self, agent: str) -> JointRLModule:
        """Returns an agent's own module."""
        return self.module[agent].unwrapped()

    @override(TorchLearner)
    def rl_module_is_compatible(self, module: RLModule) -> bool:
        return isinstance(module, JointRLModule)

    @override(TorchLearner)
    def configure_optimizers(self) -> None:
        assert isinstance(self.module, HierarchyModule)
        networks: dict[str, nn.Module] = {}
        targets: dict[str, nn.Module] = {}
        where: dict[str, tuple[str, str]] = {}
        for agent in self.agents:
            module = self.agent_module(agent).to(self._device)
            for name, network in module.networks().items():
                where[f"{agent}/{name}"] = (agent, name)
                networks[f"{agent}/{name}"] = network
            for name, network in module.target_networks().items():
                targets[f"{agent}/{name}"] = network
                if self.config.normalize_targets and kind_of(name) == "critic":
                    check_rescalable(network, module.input_shape(name))
        apart = {key: self.stack_of(agent, name) for key, (agent, name) in where.items()}
        self._groups, self._target_groups = (
            [([where[n] for n in names], group) for names, group in group_networks(made, apart)]
            for made in (networks, targets)
        )
        self._leaves = [leaf for _, group in self._groups for leaf in group.leaves]
        self._grads = [grad for _, group in self._groups for grad in group.grads]
        # Rows whose targets follow them, group by group: online rows and the target matrix of equal shape.
        self._followed = self._pair_targets()
        for keys, group in self._groups:
            for (agent, name), row in zip(keys, group.rows, strict=True):
                optimizer = torch.optim.Adam([row], lr=1e-3, eps=self.config.adam_epsilon, fused=True)
                optimizer.state[row] = {
                    "step": torch.zeros((), device=self._device),
                    "exp_avg": torch.zeros_like(row),
                    "exp_avg_sq": torch.zeros_like(row),
                }
                self.register_optimizer(
                    module_id=agent,
                    optimizer_name=name,
                    optimizer=optimizer,
                    params=[row],
                    lr_or_lr_schedule=self.config.network_lr(agent, name),
                )

    def _pair_targets(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pairs = []
        for keys, targets in self._target_groups:
            for online_keys, group in self._groups:
                rows = [online_keys.index(key) for key in keys if key in online_keys]
                if not rows:
                    continue
                start, stop = rows[0], rows[-1] + 1
                if rows == list(range(start, stop)) and len(rows) == len(keys):
                    pairs.append((targets.flat, group.flat[start:stop]))
                else:
                    pairs += [(targets.flat[keys.index(online_keys[r])], group.flat[r]) for r in rows]
        return pairs

    def forward(self, x: torch.Tensor, *, target: bool = False) -> Outputs:
        """Computes all (target) networks of states: (batch, *state shape), normalised -> key -> (batch, outputs)."""
        outputs: Outputs = {}
        for keys, group in self._target_groups if target else self._groups:
            if kind_of(keys[0][1]) != APPROXIMATOR:
                outputs.update(zip(keys, group(x), strict=True))
        return outputs

    def stack_of(self, agent: str, network: str) -> Hashable:
        """Returns a label: only networks of one label and shape are computed together."""
        kind = kind_of(network)
        return None if self.one_input and kind != APPROXIMATOR else kind

    def compute(
        self,
        kind: str,
        inputs: torch.Tensor | Mapping[str, torch.Tensor],
        *,
        target: bool = False,
        frozen: bool = False,
    ) -> Outputs:
        """Computes all (target) networks of one kind, where they do not all see the state alone (`one_input`).

        Args:
            kind: `"critic"`, `"actor"` or `APPROXIMATOR`.
            inputs: (batch, *input shape) for all agents, or agent -> its own.
            target: whether to compute the target networks.
            frozen: whether gradients reach the inputs only.

        Returns:
            key -> (batch, outputs).
        """
        outputs: Outputs = {}
        for keys, group in self._target_groups if target else self._groups:
            if kind_of(keys[0][1]) == kind:
                x = inputs if isinstance(inputs, torch.Tensor) else [inputs[agent] for agent, _ in keys]
                outputs.update(zip(keys, group(x, frozen=frozen), strict=True))
        return outputs

    def due(self, kind: str) -> bool:
        """Tells whether the update at hand moves networks of this kind."""
        return self.num_updates % self.config.update_period(kind) == 0

    # What an algorithm implements.

    def next_values(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Returns what each critic expects of the next states, raw, agent -> (rows,), terminated rows as well."""
        raise NotImplementedError

    def bootstraps(self, rows: Rows) -> bool:
        """Tells whether targets hold more than rewards: not where all rows end their games, as in one-step games."""
        return not bool(rows[TERMINATED].all())

    @torch.no_grad()
    def compute_targets(self, rows: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's raw targets, agent -> (rows,): r_i + gamma V_i(s'), of Eqs. 14 and 19."""
        rewards = {agent: rows[REWARDS, agent] for agent in self.agents}
        if not self.bootstraps(rows):
            return rewards
        goes_on = (~rows[TERMINATED]).to(torch.float32)  # (rows,)
        values = self.next_values(rows)
        return {agent: rewards[agent] + self.config.gamma * goes_on * values[agent] for agent in self.agents}

    def normalised_targets(self, batch: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's targets of a minibatch in units of their spread, agent -> (batch,)."""
        if (TARGETS, self.agents[0]) in batch:
            return {agent: batch[TARGETS, agent] for agent in self.agents}
        return {agent: self._in_units(agent, targets) for agent, targets in self.compute_targets(batch).items()}

    def _in_units(self, agent: str, targets: torch.Tensor) -> torch.Tensor:
        module = self.agent_module(agent)
        return (targets - module.q_mean) / module.q_std

    def more_columns(self, rows: Rows) -> Rows:
        """Returns what else of all K minibatches no update changes, as further columns."""
        return {}

    def forward_online(self, batch: Rows) -> Outputs:
        """Returns what the online networks say of a minibatch, before any loss is computed."""
        return self.forward(batch[STATE])

    @override(TorchLearner)
    def compute_losses(self, *, fwd_out: Outputs, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """Returns the losses of one minibatch, (agent, loss name) -> scalar; their sum is minimised."""
        raise NotImplementedError

    def replayed_q(self, outputs: Outputs, batch: Rows) -> dict[str, torch.Tensor]:
        """Returns each critic's normalised value of the replayed actions, agent -> (batch,).

        Args:
            outputs: of `forward_online`.
            batch: the minibatch.
        """
        raise NotImplementedError

    @torch.no_grad()
    def diagnostics(self, batch: Rows) -> dict[tuple[str, str], torch.Tensor]:
        """Returns what else to report of the last minibatch before a flush, (agent, metric name) -> scalar.

        In the game's own units of reward: Q of the replayed actions and the absolute TD error.
        """
        measured = {}
        targets = self.compute_targets(batch)
        for agent, normalised in self.replayed_q(self.forward_online(batch), batch).items():
            module = self.agent_module(agent)
            q = module.q_std * normalised + module.q_mean  # (batch,)
            measured[agent, QF_MEAN_KEY] = q.mean()
            measured[agent, TD_ERROR_MEAN_KEY] = (targets[agent] - q).abs().mean()
        return measured

    def differentiate(self, batch: Rows, *, told: bool = True) -> dict[tuple[str, str], torch.Tensor]:
        """Sets all networks' gradients (their groups' `grads`) to those of the losses of a minibatch.

        Returns:
            The losses; if not `told` they may be left out.
        """
        with torch.enable_grad():
            losses = self.compute_losses(fwd_out=self.forward_online(batch), batch=batch)
            total = sum(losses.values())
        # A network of your own may hold parameters that its output does not depend on.
        gradients = torch.autograd.grad(total, self._leaves, allow_unused=True, materialize_grads=True)
        torch._foreach_copy_(self._grads, gradients)
        return losses

    @override(TorchLearner)
    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError("agents' losses hang together; see `compute_losses`")

    # The update.

    @override(TorchLearner)
    def update(
        self,
        batch: MultiAgentBatch | None = None,
        *,
        training_data: Any = None,
        timesteps: dict[str, Any] | None = None,
        minibatch_size: int | None = None,
        report: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Runs one update per minibatch, in the batch's own order.

        Args:
            batch: K · `minibatch_size` joint transitions, one module id per agent, rows aligned; of several learners
                each gets its own share of the K minibatches, all shares of one size.
            training_data: RLlib's wrapper around `batch`, as its LearnerGroup sends it.
            timesteps: RLlib's; drives the learning rate schedules.
            minibatch_size: rows per update; all of them by default.
            report: whether to flush the metrics gathered since the last flush.
            kwargs: RLlib's other options, which replace nothing here.

        Returns:
            The reduced metrics, an empty dict if not `report`.
        """
        if training_data is not None:
            training_data.solve_refs()
            batch = training_data.batch
        assert batch is not None, "a JointLearner learns from a batch of joint transitions"
        self._env_steps = (timesteps or {}).get(NUM_ENV_STEPS_SAMPLED_LIFETIME, self._env_steps)
        self.before_gradient_based_update(timesteps=timesteps or {})
        if self.num_learners > 1:
            seeds = torch.randint(2**62, (self.num_learners,), generator=self._stream, device=self._device)
            self.generator.manual_seed(int(seeds[self._learner_index]))
        rows = self._to_tensors(batch)
        total = batch.env_steps()
        size = minibatch_size or total
        self._normalise_inputs(rows)
        self._normalise_targets(rows)
        rows |= self.more_columns(rows)
        self._optimizer_steps = self._plan_optimizer_steps()
        measured: dict[tuple[str, str], torch.Tensor] = {}
        minibatches = list(zip(*(column.split(size) for column in rows.values()), strict=True))
        for k, columns in enumerate(minibatches, 1):
            minibatch = dict(zip(rows, columns, strict=True))
            measured |= self._update_once(minibatch, told=k == len(minibatches))
        self._weights_seq_no = self.num_updates  # so that how old weights are is counted in updates
        if report:
            drawn = self.generator.get_state()
            measured |= self.diagnostics(minibatch)
            self.generator.set_state(drawn)  # how often one reports changes nothing
        for key, value in measured.items():
            self._reported.setdefault(key, []).append(value.item())
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), total, reduce="sum")
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), total, reduce="lifetime_sum")
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self._flush() if report else {}

    def _to_tensors(self, batch: MultiAgentBatch) -> Rows:
        rows: Rows = {}
        for agent in self.agents:
            for column, values in batch[agent].items():
                key = column if column in _SHARED else (column, agent)
                if key not in rows:
                    # Arrays that came through Ray's object store are read-only, which torch does not take.
                    array = values if values.flags.writeable else values.copy()
                    rows[key] = torch.from_numpy(array).to(self._device, non_blocking=True)
        return rows

    @torch.no_grad()
    def _update_once(self, minibatch: Rows, told: bool) -> dict[tuple[str, str], torch.Tensor]:
        self.num_updates += 1
        losses = self.differentiate(minibatch, told=told)
        if self.num_learners > 1:
            average_over_learners([group.grad for _, group in self._groups])
        if self.config.grad_clip is not None:
            for _, group in self._groups:
                self._clip(group)
        self._step_optimizers()
        if self.num_updates % self.config.target_network_update_freq == 0:
            for target, online in self._followed:
                target.lerp_(online, self.config.tau)
        return losses

    def _step_optimizers(self) -> None:
        """Steps all optimizers whose networks are due, those of one learning rate in one fused operation.

        The plain form is `optimizer.step()` for each, of which most is bookkeeping in Python.
        """
        for period, count, rows, grads, averages, squares, steps, settings in self._optimizer_steps:
            if self.num_updates % period == 0:
                count += 1
                torch._fused_adam_(rows, grads, averages, squares, [], steps, **settings)

    def _plan_optimizer_steps(self) -> list[tuple[Any, ...]]:
        """Returns what each fused operation works on; made anew per call, as rates and optimizers' states change."""
        alike: dict[tuple[int, float], list[torch.optim.Optimizer]] = {}
        for keys, _ in self._groups:
            for agent, name in keys:
                optimizer = self.get_optimizer(agent, name)
                period = self.config.update_period(kind_of(name))
                alike.setdefault((period, float(optimizer.param_groups[0]["lr"])), []).append(optimizer)
        plan = []
        for (period, lr), optimizers in alike.items():
            rows = [optimizer.param_groups[0]["params"][0] for optimizer in optimizers]
            states = [optimizer.state[row] for optimizer, row in zip(optimizers, rows, strict=True)]
            # All count together: their steps become views of one tensor.
            count = torch.stack([state["step"] for state in states])
            for state, step in zip(states, count, strict=True):
                state["step"] = step
            columns = [[state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")]
            beta1, beta2 = optimizers[0].param_groups[0]["betas"]
            settings = {
                "amsgrad": False,
                "lr": lr,
                "beta1": beta1,
                "beta2": beta2,
                "weight_decay": 0.0,
                "eps": self.config.adam_epsilon,
                "maximize": False,
            }
            plan.append((period, count, rows, [row.grad for row in rows], *columns, settings))
        return plan

    def _clip(self, group: NetworkGroup) -> None:
        """Clips every network's gradient on its own: by global norm, by value, or by norm (the same, for one row)."""
        limit = self.config.grad_clip
        if self.config.grad_clip_by == "value":
            group.grad.clamp_(-limit, limit)
        else:
            norm = group.grad.norm(dim=1, keepdim=True)  # (G, 1)
            group.grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    # Normalisers.

    def _normalise_inputs(self, rows: Rows) -> None:
        modules = {agent: self.agent_module(agent) for agent in self.agents}
        if self.config.normalize_observations:
            mean, std = self._moments(STATE, rows[STATE])
            for agent, module in modules.items():
                module.state_mean.copy_(mean)
                module.state_std.copy_(std)
                if (OBS, agent) in rows:
                    mean, std = self._moments((OBS, agent), rows[OBS, agent])
                    module.observation_mean.copy_(mean)
                    module.observation_std.copy_(std)
        for column in (STATE, NEXT_STATE):
            rows[column] = modules[self.agents[0]].encode(rows[column])
        for agent, module in modules.items():
            for column in (OBS, NEXT_OBS):
                if (column, agent) in rows:
                    rows[column, agent] = module.encode_observation(rows[column, agent])

    def _moments(self, key: Hashable, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = self._input_statistics.setdefault(key, RunningMoments(float("inf")))
        return statistics.update(values.to(torch.float64), self.num_learners)

    def _normalise_targets(self, rows: Rows) -> None:
        """Sets each critic's normaliser from the targets of this call, keeping the Q-values it stands for.

        Targets that no update can change, for they hold rewards alone, become columns.
        """
        fixed = not self.bootstraps(rows)
        if not self.config.normalize_targets and not fixed:
            return
        for agent, targets in self.compute_targets(rows).items():
            module = self.agent_module(agent)
            if self.config.normalize_targets:
                held = [*module.networks().items(), *module.target_networks().items()]
                critics = [network for name, network in held if kind_of(name) == "critic"]
                self.renormalise(critics, targets, self._target_statistics[agent], module.q_mean, module.q_std)
            if fixed:
                rows[TARGETS, agent] = self._in_units(agent, targets)

    @torch.no_grad()
    def renormalise(
        self,
        critics: Sequence[nn.Module],
        targets: torch.Tensor,
        statistics: RunningMoments,
        mean: torch.Tensor,
        std: torch.Tensor,
    ) -> None:
        """Takes targets into the statistics of a normaliser, and keeps the Q-values that its critics stand for.

        Args:
            critics: all networks whose Q = std · output + mean.
            targets: (rows,), raw.
            statistics: of the targets before.
            mean, std: () each, changed in place.
        """
        first = statistics.count == 0
        new_mean, new_std = statistics.update(targets.to(torch.float64), self.num_learners)
        scale, shift = std / new_std, (mean - new_mean) / new_std
        # What a fresh network says is worth nothing yet; kept, it would lie far off in units of the spread.
        for critic in () if first else critics:
            rescale_output(critic, scale.to(torch.float32), shift.to(torch.float32))
        mean.copy_(new_mean)
        std.copy_(new_std)

    # Metrics and state.

    @override(TorchLearner)
    def _log_trainable_parameters(self) -> None:
        # RLlib logs it at build time, before the first flush throws it away; see `_flush`.
        pass

    def _flush(self) -> Any:
        for agent in self.agents:
            networks = self.agent_module(agent).networks().values()
            trained = sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)
            self.metrics.log_value((agent, NUM_TRAINABLE_PARAMETERS), trained, window=1)
        for (agent, name), values in self._reported.items():
            self.metrics.log_value((agent, name), float(np.mean(values)), window=1)
        self._reported.clear()
        self.metrics.log_value((ALL_MODULES, NUM_UPDATES_LIFETIME), self.num_updates, window=1)
        return self.metrics.reduce()

    @override(TorchLearner)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(*args, **kwargs)
        state["joint_learner"] = {
            "num_updates": self.num_updates,
            "env_steps": self._env_steps,
            "generator": self._stream.get_state().cpu().numpy(),
            "targets": {agent: moments.state() for agent, moments in self._target_statistics.items()},
            "inputs": {key: moments.state() for key, moments in self._input_statistics.items()},
            "reported": copy.deepcopy(self._reported),
        }
        if self.config.num_learners == 1:  # in a process of its own; several draw each by itself
            state["joint_learner"]["process"] = process_generators()
        return state

    @override(TorchLearner)
    def set_state(self, state: Mapping[str, Any]) -> None:
        # RLlib loads weights only if they are newer than its own; a restored state always counts.
        self._weights_seq_no = 0
        super().set_state(dict(state))
        if own := state.get("joint_learner"):
            self.num_updates = own["num_updates"]
            self._env_steps = own.get("env_steps", 0)
            # Optimizers bring back the rates they were saved with, but a restored trial may have been given others.
            for optimizer, schedule in self._optimizer_lr_schedules.items():
                self._set_optimizer_lr(optimizer, lr=float(schedule.update(timestep=self._env_steps)))
            self._stream.set_state(torch.as_tensor(own["generator"]))
            for agent, moments in own["targets"].items():
                self._target_statistics[agent].restore(moments)
            for key, moments in own["inputs"].items():
                self._input_statistics.setdefault(key, RunningMoments(float("inf"))).restore(moments)
            self._reported = copy.deepcopy(own.get("reported", {}))
            if "process" in own:
                set_process_generators(own["process"])
        elif COMPONENT_RL_MODULE in state:
            self._take_statistics_from_modules()

    def _take_statistics_from_modules(self) -> None:
        # Weights that came alone were learned in the units of the normalisers beside them: the first new targets are
        # to change these units without changing what networks say.
        if self.config.normalize_targets:
            for agent, moments in self._target_statistics.items():
                module = self.agent_module(agent)
                moments.start(module.q_mean, module.q_std, count=1.0)
        if self.config.normalize_observations:
            for agent in self.agents:
                module = self.agent_module(agent)
                found: dict[Hashable, tuple[torch.Tensor, torch.Tensor]]
                found = {STATE: (module.state_mean, module.state_std)}
                if self.config.uses_observations:
                    found[OBS, agent] = (module.observation_mean, module.observation_std)
                for key, (mean, std) in found.items():
                    moments = self._input_statistics.setdefault(key, RunningMoments(float("inf")))
                    moments.start(mean, std, count=float(self.config.normalizer_horizon))  # of how many nobody knows


@torch.no_grad()
def average_over_learners(tensors: Sequence[torch.Tensor]) -> None:
    """Replaces tensors of one dtype by their means over all learners, in place, in one message."""
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    for tensor, mean in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


class RunningMoments:
    """Running mean and standard deviation of rows, whose memory ends at `horizon` rows (older ones fade)."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.count = 0.0
        self.mean: torch.Tensor | None = None
        self.square: torch.Tensor | None = None

    def update(self, rows: torch.Tensor, num_learners: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes rows (n, ...) float64 in, as all learners do; returns their mean and standard deviation, > 0."""
        mean, square = rows.mean(0), rows.square().mean(0)
        if num_learners > 1:
            average_over_learners([mean, square])
        n = float(len(rows) * num_learners)
        if self.mean is None or self.square is None:
            self.mean, self.square = mean, square
        else:
            weight = n / min(self.count + n, self.horizon) if self.horizon > n else 1.0
            self.mean = torch.lerp(self.mean, mean, weight)
            self.square = torch.lerp(self.square, square, weight)
        self.count += n
        variance = (self.square - self.mean.square()).clamp_(min=0.0)
        # Rows that never differed have no spread. Nothing much smaller than themselves may stand for it: networks that
        # answer in its units would overflow.
        size = torch.where(self.square > 0.0, self.square.sqrt(), 1.0)
        return self.mean, torch.where(variance > 1e-12 * self.square, variance.sqrt(), size)

    def start(self, mean: torch.Tensor, std: torch.Tensor, count: float) -> None:
        """Begins anew, as if `count` rows of this mean and standard deviation (...) had been taken in."""
        self.count = count
        self.mean = mean.to(torch.float64, copy=True)
        self.square = std.to(torch.float64).square() + self.mean.square()

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs."""
        arrays = {"mean": self.mean, "square": self.square}
        return {"count": self.count} | {name: None if m is None else m.cpu().numpy() for name, m in arrays.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.count = state["count"]
        self.mean = None if state["mean"] is None else torch.as_tensor(state["mean"])
        self.square = None if state["square"] is None else torch.as_tensor(state["square"])


@torch.no_grad()
def rescale_output(network: nn.Module, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Makes a network return scale · output + shift, by its last linear layer (output-preserving, as in PopArt)."""
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(shift)


@torch.no_grad()
def check_rescalable(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Tries `rescale_output` on a copy of a critic.

    Raises:
        ValueError: if the critic's last linear layer, in the order of its attributes, is not its output layer.
    """
    tried = copy.deepcopy(network)
    values = torch.linspace(0.0, 1.0, 4 * math.prod(input_shape), device=next(tried.parameters()).device)
    inputs = values.view(4, *input_shape)
    before = tried(inputs)
    try:
        rescale_output(tried, torch.tensor(2.0, device=before.device), torch.tensor(1.0, device=before.device))
        fits = torch.allclose(tried(inputs), 2.0 * before + 1.0, atol=1e-4)
    except (IndexError, AttributeError):  # no linear layer, or one without bias
        fits = False
    if not fits:
        raise ValueError(
            f"the critic {type(network).__name__} cannot learn normalised targets: let the last nn.Linear among its "
            "attributes, with a bias, be its output layer; or write normalize_targets: false."
        )
