"""An EnvRunner that steps N games as arrays and returns joint transitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
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

from rllib_biac.core.checkpoints import process_generators, set_process_generators
from rllib_biac.core.games import StateReader, game_errors, make_games, naming
from rllib_biac.core.rl_module import HierarchyModule, as_tensors, piecewise
from rllib_biac.core.transitions import JointTransitions, join
from rllib_biac.envs.errors import GameError, check_finite

# What a runner alone knows: its games in flight, its generators, the metrics it has not reported yet.
PLAY = "play"
OUTCOME_SHARE = "outcome_share"
EPSILON = "epsilon"
# A game with more possible outcomes than this has no share of each among its metrics.
MAX_OUTCOMES_LOGGED = 32


class FinishedEpisodes:
    """The last `window` finished episodes, for smoothed metrics, and how many there were in all."""

    def __init__(self, window: int, agents: list[str]) -> None:
        self.agents = agents
        self._returns = np.zeros((window, len(agents)))
        self._lengths = np.zeros(window, np.int64)
        self._outcomes = np.full(window, -1)
        self.count = 0

    def add(self, returns: np.ndarray, lengths: np.ndarray, outcomes: np.ndarray) -> None:
        """Takes episodes in: returns (n, agents), lengths (n,), outcomes (n,)."""
        window = len(self._lengths)
        n = len(lengths)
        kept = slice(max(n - window, 0), n)
        at = (self.count + np.arange(n)[kept]) % window
        self._returns[at], self._lengths[at], self._outcomes[at] = returns[kept], lengths[kept], outcomes[kept]
        self.count += n

    def returns(self) -> np.ndarray:
        """Returns (episodes, agents)."""
        return self._returns[: self.count]

    def lengths(self) -> np.ndarray:
        """Returns (episodes,)."""
        return self._lengths[: self.count]

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        kept = {"returns": self._returns, "lengths": self._lengths, "outcomes": self._outcomes}
        return {"count": self.count} | {name: array.copy() for name, array in kept.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned; of another window as many of the last episodes as there is room for."""
        window = len(state["lengths"])
        if window == len(self._lengths):
            self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
            self._outcomes, self.count = state["outcomes"].copy(), state["count"]
        else:
            last = np.arange(max(state["count"] - window, 0), state["count"]) % window
            self.add(state["returns"][last], state["lengths"][last], state["outcomes"][last])

    def outcome_shares(self, names: list[str]) -> dict[str, float]:
        """Returns the share of each outcome among the episodes that name one."""
        named = self._outcomes[: self.count]
        named = named[named >= 0]
        counts = np.bincount(named, minlength=len(names))
        return {name: counts[i] / max(len(named), 1) for i, name in enumerate(names)}


class GameFault:
    """A game's error in place of a remote call's result; raised as soon as somebody looks into the result."""

    def __init__(self, error: GameError, index: int) -> None:
        self.error = error
        self.index = index  # of the runner

    def __iter__(self) -> Iterator[Any]:
        raise self.error


class HandsOverGameErrors:
    """What a remote runner does with a `GameError`: it reaches the user, and training stops, as on a local runner.

    RLlib would log it and restart the runner, which meets the same error again: a thousand times, learning nothing.
    """

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls `func` with this runner; returns a `GameFault` where that raises a `GameError`."""

        def handing_over(runner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(runner, *args, **kwargs)
            except GameError as error:
                return GameFault(error, runner.worker_index)

        return super().apply(handing_over, *args, **kwargs)  # type: ignore[misc]


class JointEnvRunner(HandsOverGameErrors, EnvRunner, Checkpointable):
    """Plays `num_envs_per_env_runner` games at once.

    The policies walk the hierarchy once per step for all games. Plain form: RLlib's `MultiAgentEnvRunner` followed by
    `JointTransitionsConnector`, which gives the same rows.
    """

    env: Any  # a `BatchedGame`; None where only remote runners play
    module: HierarchyModule

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
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
        self._num_on_observations = self.config.num_games_on_observations()
        self._weights_seq_no = 0
        self._needs_reset = True
        self._steps_since_metrics = 0
        self._episodes_since_metrics = 0
        self._seconds_sampling = 0.0
        self._epsilon = 0.0
        if self.worker_index or self.config.create_env_on_local_worker or self.config.num_env_runners == 0:
            self.make_env()
        self.make_module()

    def _started_again(self) -> bool:
        return bool(self.worker_index) and ray.get_runtime_context().was_current_actor_reconstructed

    @override(EnvRunner)
    def make_env(self) -> None:
        if self.env is not None:
            self.env.close()
        try:
            self.env = make_games(self.config.env, self.num_envs, self._game_rng, dict(self.config.env_config))
        except MemoryError:
            raise ValueError(
                f"num_envs_per_env_runner: {self.num_envs:,} games do not fit into memory: write a smaller number."
            ) from None
        self._state = StateReader(self.env, self.config.state)
        self._window = max(1, self.config.metrics_num_episodes_for_smoothing // max(self.config.num_env_runners, 1))
        self._finished = FinishedEpisodes(self._window, self.env.possible_agents)
        self._explored: bool | None = None
        self._needs_reset = True

    @override(EnvRunner)
    def make_module(self) -> None:
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        for agent in self.module.hierarchy.agents:
            self.module[agent].to(self._device)

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[Any, Any]]:
        if self.env is None:
            return self.spaces
        modules = self._state.module_spaces()
        observation = {agent: o for agent, (o, _) in modules.items()}
        action = {agent: a for agent, (_, a) in modules.items()}
        both = (gym.spaces.Dict(observation), gym.spaces.Dict(action))
        return {INPUT_ENV_SPACES: both, INPUT_ENV_SINGLE_SPACES: both, **modules}

    def _reset(self) -> None:
        with game_errors("reset()"):
            self.env.reset()
        self._see()
        self._returns = np.zeros((self.num_envs, len(self.env.possible_agents)))
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._needs_reset = False

    def _see(self) -> None:
        self._states, self._masks = self._state(), self.env.action_masks()
        self._observations = self.env.observe() if self.config.uses_observations else None

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
            num_episodes: episodes to finish instead. Each game plays its share of them from a fresh start, so that
                short episodes are not counted more often than long ones.
            explore: whether to follow the epsilon schedule; default: the config's `explore`.
            random_actions: whether to act uniformly at random.
            force_reset: whether to restart all games first.

        Returns:
            A list of one element: the joint transitions, step by step, within a step game by game.

        Raises:
            GameError: if a game raises, or returns NaN or infinity. Nothing of the call is then returned, and the
                next one starts all games anew.
        """
        with naming(self.config.env):
            return self._sample(num_timesteps, num_episodes, explore, random_actions, force_reset)

    def _sample(
        self,
        num_timesteps: int | None,
        num_episodes: int | None,
        explore: bool | None,
        random_actions: bool,
        force_reset: bool,
    ) -> list[JointTransitions]:
        begin = time.perf_counter()
        explore = self.config.explore if explore is None else explore
        if self._needs_reset or force_reset or num_episodes is not None:
            self._reset()
        # Metrics tell of one way of playing: where one runner does both, evaluation's episodes stay out of training's.
        if num_episodes is not None or explore != self._explored:
            self._finished = FinishedEpisodes(num_episodes or self._window, self.env.possible_agents)
        self._explored = explore if num_episodes is None else None
        # If something goes wrong on the way, the games are left somewhere in the middle.
        self._needs_reset = True
        if num_episodes is None:
            wanted = num_timesteps or self.config.get_rollout_fragment_length(self.worker_index) * self.num_envs
            rows = [self._step(explore, random_actions) for _ in range(-(-wanted // self.num_envs))]
        else:
            quota = np.full(self.num_envs, num_episodes // self.num_envs)
            quota[: num_episodes % self.num_envs] += 1
            rows = []
            while quota.any():
                rows.append(self._step(explore, random_actions, counted=quota > 0, quota=quota))
        self._needs_reset = num_episodes is not None
        agents = self.env.possible_agents
        transitions = JointTransitions.concatenate([join(agents, **row) for row in rows])
        self._steps_since_metrics += len(transitions)
        if explore:
            self.num_env_steps_sampled_lifetime += len(transitions) * max(self.config.num_env_runners, 1)
        self._seconds_sampling += time.perf_counter() - begin
        return [transitions]

    def _step(
        self, explore: bool, random_actions: bool, counted: np.ndarray | None = None, quota: np.ndarray | None = None
    ) -> dict[str, Any]:
        games, agents = self.env, self.env.possible_agents
        self._epsilon = 1.0 if random_actions else 0.0
        if explore and not random_actions:
            self._epsilon = piecewise(self.config.epsilon, self.num_env_steps_sampled_lifetime)
        with torch.no_grad():
            observations = as_tensors(self._observations, self._device)
            masks = as_tensors(self._masks, self._device)
            taken = self.module.act(
                torch.from_numpy(self._states).to(self._device),
                observations=observations,
                masks=masks,
                epsilon=self._epsilon,
                generator=self._generator,
            )
            if self._num_on_observations:
                first = self.num_envs - self._num_on_observations
                own = self.module.act_on_observations(
                    {agent: seen[first:] for agent, seen in (observations or {}).items()},
                    masks={agent: mask[first:] for agent, mask in masks.items()} if masks else None,
                    epsilon=self._epsilon,
                    generator=self._generator,
                )
                taken = {agent: torch.cat([action[:first], own[agent]]) for agent, action in taken.items()}
        actions = {agent: action.cpu().numpy() for agent, action in taken.items()}
        with game_errors("step()"):
            step = games.step(actions)
        before = {"states": self._states, "action_masks": self._masks, "observations": self._observations}
        if self.config.uses_starts:
            before["starts"] = self._lengths == 0
        self._see()
        self._lengths += 1
        check_finite("reward", step.rewards, self._lengths)
        self._check_states()
        row = before | {
            "next_states": self._states,
            "actions": actions,
            "rewards": step.rewards,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "next_action_masks": self._masks,
            "next_observations": self._observations,
        }
        for i, agent in enumerate(agents):
            self._returns[:, i] += step.rewards[agent]
        done = step.terminated | step.truncated
        if done.any():
            over = done if counted is None else done & counted
            self._finished.add(self._returns[over], self._lengths[over], step.outcome[over])
            self._episodes_since_metrics += int(over.sum())
            if quota is not None:
                quota -= over
            self._returns[done] = 0.0
            self._lengths[done] = 0
            with game_errors("reset()"):
                games.reset(done)
            self._see()
            self._check_states()
        return row

    def _check_states(self) -> None:
        # One pass over the joint state; which agent saw the fault is looked up only if there is one.
        if not np.isfinite(self._states).all():
            check_finite("observation", self.env.observe(), self._lengths)
            check_finite("state", {"of the game": self._states}, self._lengths)
        if self._observations is not None:
            check_finite("observation", self._observations, self._lengths)

    @override(EnvRunner)
    def get_metrics(self) -> dict[str, Any]:
        log, steps = self.metrics.log_value, self._steps_since_metrics
        if self.env is None:
            return self.metrics.reduce()
        agents = self.env.possible_agents
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        log(NUM_EPISODES, self._episodes_since_metrics, reduce="sum")
        log(NUM_EPISODES_LIFETIME, self._episodes_since_metrics, reduce="lifetime_sum")
        for agent in agents:
            log((NUM_AGENT_STEPS_SAMPLED, agent), steps, reduce="sum")
            log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), steps, reduce="lifetime_sum")
        log(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        log(EPSILON, self._epsilon, window=1)
        log(SAMPLE_TIMER, self._seconds_sampling, reduce="sum")
        if self._finished.count:
            # Smoothed here, over the last episodes as arrays: a value per episode in RLlib's logger costs more than
            # play.
            returns, lengths = self._finished.returns(), self._finished.lengths()
            window = max(self.config.num_env_runners, 1)
            total = returns.sum(1)
            log(EPISODE_LEN_MEAN, float(lengths.mean()), window=window)
            log(EPISODE_RETURN_MEAN, float(total.mean()), window=window)
            for i, agent in enumerate(agents):
                log((EPISODE_AGENT_RETURN_MEAN, agent), float(returns[:, i].mean()), window=window)
                log((EPISODE_MODULE_RETURN_MEAN, agent), float(returns[:, i].mean()), window=window)
            log(EPISODE_LEN_MIN, int(lengths.min()), reduce="min", window=window)
            log(EPISODE_LEN_MAX, int(lengths.max()), reduce="max", window=window)
            log(EPISODE_RETURN_MIN, float(total.min()), reduce="min", window=window)
            log(EPISODE_RETURN_MAX, float(total.max()), reduce="max", window=window)
            names = self.env.outcome_names
            if 0 < len(names) <= MAX_OUTCOMES_LOGGED:
                for name, share in self._finished.outcome_shares(names).items():
                    log((OUTCOME_SHARE, name), share, window=window)
        self._steps_since_metrics = self._episodes_since_metrics = 0
        self._seconds_sampling = 0.0
        return self.metrics.reduce()

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self._check_component(PLAY, components, not_components):
            state[PLAY] = self._play_state()
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        # RLlib hands the state of one runner to others too, to restarted and to evaluating ones. What one plays is its
        # own: with another's generators they would all play the same games.
        if PLAY in state and state[PLAY]["whose"] == self._whose:
            self._set_play_state(state[PLAY])

    @property
    def keeps_games(self) -> bool:
        """Whether a restored runner's games go on where they stood, rather than start anew."""
        return self.env is None or self.env.get_state() is not None

    @property
    def _whose(self) -> tuple[bool, int]:
        return bool(self.config.in_evaluation), self.worker_index

    def _play_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "whose": self._whose,
            "game_rng": self._game_rng.bit_generator.state,
            "generator": self._generator.get_state().cpu().numpy(),
            "epsilon": self._epsilon,
            "games": None,
        }
        if self.worker_index:
            state["process"] = process_generators()
        if self.env is None:
            return state
        state |= {
            "explored": self._explored,
            "finished": self._finished.get_state(),
            "outcome_names": list(self.env.outcome_names),
            "steps_since_metrics": self._steps_since_metrics,
            "episodes_since_metrics": self._episodes_since_metrics,
            "metrics": self.metrics.get_state(),
        }
        if not self._needs_reset:
            state |= {"games": self.env.get_state(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return state

    def _set_play_state(self, state: dict[str, Any]) -> None:
        self._game_rng.bit_generator.state = state["game_rng"]
        self._generator.set_state(torch.as_tensor(state["generator"]))
        if "process" in state:
            set_process_generators(state["process"])
        self._epsilon = state["epsilon"]
        if self.env is None or "finished" not in state:
            return
        if not self.keeps_games:
            self.make_env()  # with new seeds: training is not to see its first games again
        self.env.outcome_names += [name for name in state["outcome_names"] if name not in self.env.outcome_names]
        self._explored = state["explored"]
        # Where a number of episodes was played last, that was their window.
        window = len(state["finished"]["lengths"]) if self._explored is None else self._window
        self._finished = FinishedEpisodes(window, self.env.possible_agents)
        self._finished.set_state(state["finished"])
        self._steps_since_metrics = state["steps_since_metrics"]
        self._episodes_since_metrics = state["episodes_since_metrics"]
        self.metrics.set_state(state["metrics"])
        self._needs_reset = True
        if state["games"] is not None and len(state["lengths"]) == self.num_envs:
            self.env.set_state(state["games"])
            self._see()
            self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
            self._needs_reset = False

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"config": self.config}

    @override(Checkpointable)
    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        return [(COMPONENT_RL_MODULE, self.module)]

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        assert self.env is not None and self.module is not None

    @override(EnvRunner)
    def stop(self) -> None:
        if self.env is not None:
            self.env.close()
