"""Games of random spaces: what a PettingZoo game may hand to training, supported or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st
from pettingzoo import ParallelEnv

from rllib_biac.envs.errors import GameError

AGENTS = ("one", "two")


class RandomGame(ParallelEnv):
    """Two agents see random observations of the spaces given, are paid at random, and stop after three steps."""

    metadata = {"name": "random_game_v0"}  # noqa: RUF012  (PettingZoo's own way)

    def __init__(self, observed: dict[str, gym.Space], actions: dict[str, gym.Space], state: gym.Space | None) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self._observed, self._actions = observed, actions
        self.render_mode = None
        if state is not None:
            self.state_space = state

    def observation_space(self, agent: str) -> gym.Space:
        return self._observed[agent]

    def action_space(self, agent: str) -> gym.Space:
        return self._actions[agent]

    def state(self) -> Any:
        if not hasattr(self, "state_space"):
            raise NotImplementedError
        return self.state_space.sample()

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.rng = np.random.default_rng(seed)
        for space in (
            *self._observed.values(),
            *self._actions.values(),
            *filter(None, [self.__dict__.get("state_space")]),
        ):
            space.seed(0 if seed is None else seed)
        self.agents = list(AGENTS)
        self.time = 0
        return self._see(), {agent: {} for agent in AGENTS}

    def _see(self) -> dict[str, Any]:
        return {agent: self._observed[agent].sample() for agent in AGENTS}

    def step(self, actions: dict[str, Any]) -> tuple[Any, ...]:
        for agent in AGENTS:
            if not self._actions[agent].contains(actions[agent]):
                raise AssertionError(f"{actions[agent]!r} is no action of {self._actions[agent]}")
        self.time += 1
        over = self.time == 3
        if over:
            self.agents = []
        rewards = {agent: float(self.rng.normal()) for agent in AGENTS}
        ended = dict.fromkeys(AGENTS, over)
        return self._see(), rewards, ended, dict.fromkeys(AGENTS, False), {agent: {} for agent in AGENTS}


_BOUNDS = st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-np.inf, np.inf), (0.0, np.inf), (2.0, 2.0)])
_SHAPES = st.sampled_from([(), (1,), (3,), (0,), (2, 2), (4, 4, 3), (8, 8, 1)])
_DTYPES = st.sampled_from([np.float32, np.float64, np.float16, np.uint8, np.int32, np.int64])


@st.composite
def _boxes(draw: st.DrawFn) -> gym.Space:
    (low, high), dtype = draw(_BOUNDS), draw(_DTYPES)
    if np.issubdtype(dtype, np.integer):
        low, high = (0, 255) if dtype is np.uint8 else (max(low, -100), min(high, 100))
    return spaces.Box(dtype(low), dtype(high), draw(_SHAPES), dtype)


_SIMPLE = st.one_of(
    _boxes(),
    st.builds(spaces.Discrete, st.integers(1, 5), start=st.sampled_from([0, 0, 0, 1, -2])),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
    st.builds(spaces.Text, st.integers(1, 4)),
)
SPACES = st.one_of(
    _SIMPLE,
    st.builds(
        lambda inner: spaces.Dict(inner), st.dictionaries(st.sampled_from("ab"), _SIMPLE, min_size=1, max_size=2)
    ),
    st.builds(lambda inner: spaces.Tuple(inner), st.lists(_SIMPLE, min_size=1, max_size=2)),
    st.builds(spaces.Sequence, _SIMPLE),
)
# Half of the spaces are of the kinds that are likely to be supported, so that training is tried too.
_LIKELY = st.builds(lambda n: spaces.Box(-1.0, 1.0, (n,), np.float32), st.integers(1, 3))
_LIKELY_ACTIONS = st.one_of(st.builds(spaces.Discrete, st.integers(1, 4)), _LIKELY)


@dataclass(frozen=True)
class Case:
    """A game's spaces, and how it is trained."""

    observed: dict[str, gym.Space]
    actions: dict[str, gym.Space]
    state: gym.Space | None
    critics_see: str
    algorithm: str

    def make(self) -> RandomGame:
        """Returns the game."""
        return RandomGame(self.observed, self.actions, self.state)


def _pairs(likely: st.SearchStrategy[gym.Space]) -> st.SearchStrategy[dict[str, gym.Space]]:
    one = st.one_of(likely, SPACES)
    return st.one_of(
        st.fixed_dictionaries(dict.fromkeys(AGENTS, likely)), st.fixed_dictionaries(dict.fromkeys(AGENTS, one))
    )


CASES = st.builds(
    Case,
    observed=_pairs(_LIKELY),
    actions=_pairs(_LIKELY_ACTIONS),
    state=st.one_of(st.none(), _LIKELY, SPACES),
    critics_see=st.sampled_from(["env", "observations"]),
    algorithm=st.sampled_from(["BiAC", "IDQN", "MADDPG"]),
)


def train(case: Case) -> str:
    """Trains a game for an iteration. Returns "", or the message with which its config refused it.

    Raises:
        Exception: whatever else happens, which is a fault.
    """
    from rllib_biac.rllib.registry import config_class

    config = (
        config_class(case.algorithm)()
        .environment(case.make, state=case.critics_see)
        .hierarchy([["one"], ["two"]] if case.algorithm == "BiAC" else [["one", "two"]])
        .training(num_steps_sampled_before_learning_starts=8, train_batch_size_per_learner=8)
        .env_runners(num_envs_per_env_runner=2)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_sample_timesteps_per_iteration=16)
        .debugging(seed=0, log_level="ERROR")
    )
    try:
        config.copy(copy_frozen=False).validate()
    except (ValueError, GameError) as error:
        assert len(str(error)) > 20 and "Traceback" not in str(error)
        return str(error)
    algorithm = config.build_algo()
    try:
        result = algorithm.train()
        assert result["num_env_steps_sampled_lifetime"] >= 16
        losses = [value for agent in AGENTS for value in _floats(result["learners"][agent])]
        assert losses and all(np.isfinite(losses)), result["learners"]
    finally:
        algorithm.stop()
    return ""


def _floats(tree: Any) -> list[float]:
    return [float(value) for value in tree.values() if isinstance(value, int | float | np.number)]
