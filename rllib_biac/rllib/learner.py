"""RLlib's learner around a trainer: it takes batches in, hands weights and metrics out, and saves its state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
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

from rllib_biac.learning.generators import process_generators, set_process_generators
from rllib_biac.learning.trainer import Trainer
from rllib_biac.learning.transitions import NEXT_STATE, START, STATE, TERMINATED, JointTransitions
from rllib_biac.rllib import compat
from rllib_biac.rllib.module import MemberModule, TeamModule

NUM_UPDATES_LIFETIME = "num_updates_lifetime"
TRAINER = "trainer"  # its part of a learner's state

_SHARED = (STATE, NEXT_STATE, TERMINATED, START)


def as_multi_agent_batch(rows: JointTransitions, agents: tuple[str, ...]) -> MultiAgentBatch:
    """Lays joint transitions out as RLlib's batch: one module id per agent, rows aligned, shared columns not copied."""
    shared = {column: rows.columns[column] for column in _SHARED if column in rows.columns}
    own: dict[str, dict[str, np.ndarray]] = {agent: {} for agent in agents}
    for key, column in rows.columns.items():
        if isinstance(key, tuple):
            name, agent = key
            own[agent][name] = column
    return MultiAgentBatch({agent: SampleBatch(shared | own[agent]) for agent in agents}, env_steps=len(rows))


def as_rows(batch: MultiAgentBatch, agents: tuple[str, ...]) -> dict[Hashable, np.ndarray]:
    """Returns the columns of joint transitions that `as_multi_agent_batch` laid out."""
    rows: dict[Hashable, np.ndarray] = {}
    for agent in agents:
        for column, values in batch[agent].items():
            rows.setdefault(column if column in _SHARED else (column, agent), values)
    return rows


def shares_of_minibatches(rows: JointTransitions, num_minibatches: int, num_learners: int) -> list[JointTransitions]:
    """Splits minibatches among learners: each gets an equal part of every one.

    Args:
        rows: the minibatches, one after the other, of equal sizes that `num_learners` divides.
        num_minibatches: K.
        num_learners: L.

    Returns:
        The rows of each learner, L parts of K shares one after the other.
    """
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
    """A `Trainer` as RLlib's learner.

    Nothing is wrapped in DDP, which would see none of the forward passes here: trainers average gradients themselves.

    Attributes:
        trainer: what learns.
    """

    module: TeamModule

    @override(TorchLearner)
    def build(self) -> None:
        super().build()
        team = self.module.team.to(self.device)
        self.trainer: Trainer = self.config.algorithm.build_trainer(
            team, seed=self.config.seed, num_learners=max(self.config.num_learners, 1)
        )

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        pass

    @override(TorchLearner)
    def rl_module_is_compatible(self, module: RLModule) -> bool:
        return isinstance(module, MemberModule)

    @override(TorchLearner)
    def configure_optimizers(self) -> None:
        pass  # they are the trainer's

    @override(TorchLearner)
    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        raise NotImplementedError("agents' losses hang together; see `rllib_biac.learning.losses.Losses`")

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
        timesteps = timesteps or {}
        self.before_gradient_based_update(timesteps=timesteps)
        self.trainer.learner_index = compat.learner_index(self) if self.distributed else 0
        self.trainer.train(
            as_rows(batch, self.trainer.team.agents),
            minibatch_size=minibatch_size,
            env_steps=timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME),
            report=report,
        )
        compat.set_weights_number(self, self.trainer.num_updates)  # so that the age of weights counts in updates
        total = batch.env_steps()
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), total, reduce="sum")
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), total, reduce="lifetime_sum")
        self.after_gradient_based_update(timesteps=timesteps)
        return self._flush() if report else {}

    # Metrics and state.

    @override(TorchLearner)
    def _log_trainable_parameters(self) -> None:
        # RLlib logs it at build time, before the first flush throws it away; see `_flush`.
        pass

    def _flush(self) -> Any:
        for name, member in self.trainer.team.members().items():
            networks = member.networks().values()
            trained = sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)
            self.metrics.log_value((name, NUM_TRAINABLE_PARAMETERS), trained, window=1)
        for (name, network), rate in self.trainer.optimizers.rates.items():
            self.metrics.log_value((name, f"{network}_learning_rate"), rate, window=1)
        for key, value in self.trainer.take_report().items():
            self.metrics.log_value(key, value, window=1)
        self.metrics.log_value((ALL_MODULES, NUM_UPDATES_LIFETIME), self.trainer.num_updates, window=1)
        return self.metrics.reduce()

    @override(TorchLearner)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(*args, **kwargs)
        state[TRAINER] = self.trainer.get_state()
        if self.config.num_learners == 1:  # in a process of its own; several draw each by itself
            state["process"] = process_generators()
        return state

    @override(TorchLearner)
    def set_state(self, state: Mapping[str, Any]) -> None:
        # RLlib loads weights only if they are newer than its own; a restored state always counts.
        compat.set_weights_number(self, 0)
        super().set_state(dict(state))
        if own := state.get(TRAINER):
            self.trainer.set_state(own)
            if "process" in state:
                set_process_generators(state["process"])
        elif COMPONENT_RL_MODULE in state:
            self.trainer.take_over_weights()
