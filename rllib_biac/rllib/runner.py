"""An EnvRunner around a sampler: it steps N games as arrays and returns joint transitions."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)

from rllib_biac.learning.games import make_games, naming
from rllib_biac.learning.generators import process_generators, set_process_generators
from rllib_biac.learning.sampler import Sampler
from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib import compat
from rllib_biac.rllib.faults import HandsOverGameErrors
from rllib_biac.rllib.module import TeamModule
from rllib_biac.rllib.multi_agent_env import module_spaces

# What a runner alone knows: its games in flight, its generators, the metrics it has not reported yet.
PLAY = "play"
OUTCOME_SHARE = "outcome_share"
EPSILON = "epsilon"
CPU_TIME = "cpu_time_s"  # since the last report, of runners in processes of their own
# A game with more possible outcomes than this has no share of each among its metrics.
MAX_OUTCOMES_LOGGED = 32


class JointEnvRunner(HandsOverGameErrors, EnvRunner, Checkpointable):
    """Plays `num_envs_per_env_runner` games at once.

    Plain form: RLlib's `MultiAgentEnvRunner` followed by `JointTransitionsConnector`, which gives the same rows.

    Attributes:
        sampler: what plays; None where only remote runners do.
        module: the team's modules.
    """

    sampler: Sampler | None = None
    module: TeamModule
    num_env_steps_sampled_lifetime: int

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        with compat.seeding_without_compiler():
            super().__init__(config=config, **kwargs)
        self.worker_index: int = kwargs.get("worker_index") or 0
        self.spaces = kwargs.get("spaces") or {}
        self._device = get_device(self.config, 0 if not self.worker_index else self.config.num_gpus_per_env_runner)
        if self.worker_index:
            torch.set_num_threads(1)  # worker processes share the machine's cores
        # A runner that was killed and started again is not to play its first games once more.
        streams = np.random.SeedSequence(None if self._started_again() else self._seed).spawn(2)
        self._game_rng = np.random.default_rng(streams[0])
        self._generator = torch.Generator(self._device).manual_seed(int(streams[1].generate_state(1)[0]))
        self.num_envs = self.config.num_envs_per_env_runner
        compat.set_weights_number(self, 0)
        self._seconds_sampling, self._cpu_time = 0.0, time.process_time()
        if self.worker_index or self.config.create_env_on_local_worker or self.config.num_env_runners == 0:
            self.make_env()
        self.make_module()

    def _started_again(self) -> bool:
        return bool(self.worker_index) and ray.get_runtime_context().was_current_actor_reconstructed

    @override(EnvRunner)
    def make_env(self) -> None:
        if self.sampler is not None:
            self.sampler.games.close()
        try:
            games = make_games(
                self.config.game(), self.num_envs, self._game_rng, self.config.env_config, self.config.looked
            )
        except MemoryError:
            raise ValueError(
                f"num_envs_per_env_runner: {self.num_envs:,} games do not fit into memory: write a smaller number."
            ) from None
        runners = max(self.config.num_env_runners, 1)
        window = max(1, self.config.metrics_num_episodes_for_smoothing // runners)
        before = self.sampler
        self.sampler = Sampler(games, self.config.settings(), self._generator, window)
        self.sampler.env_steps, self.sampler.share = self.num_env_steps_sampled_lifetime, runners
        if before is not None:
            self.sampler.team = before.team
        self.env = games

    @override(EnvRunner)
    def make_module(self) -> None:
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self.module.team.to(self._device)
        if self.sampler is not None:
            self.sampler.team = self.module.team

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[Any, Any]]:
        if self.sampler is None:
            return self.spaces
        modules = module_spaces(self.sampler.games, self.sampler.state.space)
        observation = {agent: o for agent, (o, _) in modules.items()}
        action = {agent: a for agent, (_, a) in modules.items()}
        both = (gym.spaces.Dict(observation), gym.spaces.Dict(action))
        return {INPUT_ENV_SPACES: both, INPUT_ENV_SINGLE_SPACES: both, **modules}

    @override(EnvRunner)
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[JointTransitions]:
        """Plays on and returns what happened.

        Args:
            num_timesteps: env steps to take, rounded up to a multiple of the number of games; default: the
                config's rollout fragment length in every game.
            num_episodes: episodes to finish instead, each game its share of them.
            explore: whether to follow the epsilon schedule; default: the config's `explore`.
            random_actions: whether to act uniformly at random.
            force_reset: whether to restart all games first.

        Returns:
            A list of one element: the joint transitions, step by step, within a step game by game.

        Raises:
            GameError: as `Sampler.sample`.
        """
        begin = time.perf_counter()
        assert self.sampler is not None
        self.sampler.env_steps = self.num_env_steps_sampled_lifetime
        fragment = self.config.get_rollout_fragment_length(self.worker_index) * self.num_envs
        with naming(self.config.env):
            rows = self.sampler.sample(
                num_timesteps or fragment,
                num_episodes=num_episodes,
                explore=self.config.explore if explore is None else explore,
                random_actions=random_actions,
                force_reset=force_reset,
            )
        self.num_env_steps_sampled_lifetime = self.sampler.env_steps
        self._seconds_sampling += time.perf_counter() - begin
        return [rows]

    @override(EnvRunner)
    def get_metrics(self) -> dict[str, Any]:
        if self.sampler is None:
            return self.metrics.reduce()
        log, sampler = self.metrics.log_value, self.sampler
        log(NUM_ENV_STEPS_SAMPLED, sampler.steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, sampler.steps, reduce="lifetime_sum", with_throughput=True)
        log(NUM_EPISODES, sampler.episodes, reduce="sum")
        log(NUM_EPISODES_LIFETIME, sampler.episodes, reduce="lifetime_sum")
        for agent in sampler.games.possible_agents:
            log((NUM_AGENT_STEPS_SAMPLED, agent), sampler.steps, reduce="sum")
            log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), sampler.steps, reduce="lifetime_sum")
        log(WEIGHTS_SEQ_NO, compat.weights_number(self), window=1)
        log(EPSILON, sampler.epsilon, window=1)
        log(SAMPLE_TIMER, self._seconds_sampling, reduce="sum")
        if self.worker_index:
            now = time.process_time()
            log(CPU_TIME, now - self._cpu_time, reduce="sum")
            self._cpu_time = now
        if sampler.finished.count:
            self._log_episodes(sampler)
        sampler.steps = sampler.episodes = 0
        self._seconds_sampling = 0.0
        return self.metrics.reduce()

    def _log_episodes(self, sampler: Sampler) -> None:
        # Smoothed here, over the last episodes as arrays: a value per episode in RLlib's logger costs more than play.
        log, finished = self.metrics.log_value, sampler.finished
        returns, lengths = finished.returns(), finished.lengths()
        window = max(self.config.num_env_runners, 1)
        total = returns.sum(1)
        log(EPISODE_LEN_MEAN, float(lengths.mean()), window=window)
        log(EPISODE_RETURN_MEAN, float(total.mean()), window=window)
        for i, agent in enumerate(sampler.games.possible_agents):
            log((EPISODE_AGENT_RETURN_MEAN, agent), float(returns[:, i].mean()), window=window)
            log((EPISODE_MODULE_RETURN_MEAN, agent), float(returns[:, i].mean()), window=window)
        log(EPISODE_LEN_MIN, int(lengths.min()), reduce="min", window=window)
        log(EPISODE_LEN_MAX, int(lengths.max()), reduce="max", window=window)
        log(EPISODE_RETURN_MIN, float(total.min()), reduce="min", window=window)
        log(EPISODE_RETURN_MAX, float(total.max()), reduce="max", window=window)
        names = sampler.games.outcome_names
        if 0 < len(names) <= MAX_OUTCOMES_LOGGED:
            for name, share in finished.outcome_shares(names).items():
                log((OUTCOME_SHARE, name), share, window=window)

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if compat.is_wanted(self, PLAY, components, not_components):
            state[PLAY] = self._play_state()
        if compat.is_wanted(self, COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = compat.weights_number(self)
        return state

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            compat.set_weights_number(self, state.get(WEIGHTS_SEQ_NO, 0))
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        # RLlib hands the state of one runner to others too, to restarted and to evaluating ones. What one plays is its
        # own: with another's generators they would all play the same games.
        if PLAY in state and state[PLAY]["whose"] == self._whose:
            self._set_play_state(state[PLAY])

    @property
    def keeps_games(self) -> bool:
        """Whether a restored runner's games go on where they stood, rather than start anew."""
        return self.sampler is None or self.sampler.keeps_games

    @property
    def _whose(self) -> tuple[bool, int]:
        return bool(self.config.in_evaluation), self.worker_index

    def _play_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "whose": self._whose,
            "game_rng": self._game_rng.bit_generator.state,
            "generator": self._generator.get_state().cpu().numpy(),
        }
        if self.worker_index:
            state["process"] = process_generators()
        if self.sampler is not None:
            state |= {
                "epsilon": self.sampler.epsilon,
                "sampler": self.sampler.get_state(),
                "metrics": self.metrics.get_state(),
            }
        return state

    def _set_play_state(self, state: dict[str, Any]) -> None:
        self._game_rng.bit_generator.state = state["game_rng"]
        self._generator.set_state(torch.as_tensor(state["generator"]))
        if "process" in state:
            set_process_generators(state["process"])
        if self.sampler is None or "sampler" not in state:
            return
        if not self.keeps_games:
            self.make_env()  # with new seeds: training is not to see its first games again
        self.sampler.epsilon = state["epsilon"]
        self.sampler.set_state(state["sampler"])
        self.metrics.set_state(state["metrics"])

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"config": self.config}

    @override(Checkpointable)
    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        return [(COMPONENT_RL_MODULE, self.module)]

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        assert self.sampler is not None and self.module is not None

    @override(EnvRunner)
    def stop(self) -> None:
        if self.sampler is not None:
            self.sampler.games.close()
