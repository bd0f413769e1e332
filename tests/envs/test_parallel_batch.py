"""The generic batched form: what it passes on from a third-party game, and which games it refuses."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.classic import rps_v2

from rllib_biac.envs.contract import Look
from rllib_biac.envs.errors import GameError, check_finite
from rllib_biac.envs.parallel_batch import ParallelEnvBatch


class Walk(ParallelEnv):
    """Observations are seeded noise; the game ends after a drawn number of steps. Tests break it in subclasses."""

    metadata = {"name": "walk_v0"}  # noqa: RUF012

    def __init__(self, space: gym.Space | None = None):
        self.possible_agents = ["b_0", "a_0"]
        self.spaces = {a: space or spaces.Box(-1.0, 1.0, (3,), np.float32) for a in self.possible_agents}
        self.actions = {"b_0": spaces.Discrete(2), "a_0": spaces.Box(-1.0, 1.0, (2,), np.float32)}

    def observation_space(self, agent):
        return self.spaces[agent]

    def action_space(self, agent):
        return self.actions[agent]

    def look(self):
        return {agent: self.spaces[agent].sample() for agent in self.agents}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
            for i, space in enumerate(self.spaces.values()):
                space.seed(seed + i)
        self.agents = list(self.possible_agents)
        self.left = int(self.rng.integers(2, 5))
        return self.look(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert all(self.actions[a].contains(actions[a]) for a in self.agents)
        self.left -= 1
        over = self.left == 0
        agents, observations = list(self.agents), self.look()
        infos = {a: {"outcome": f"from_{int(actions['b_0'])}"} if over else {} for a in agents}
        rewards = {a: float(np.sum(actions[a])) for a in agents}
        return observations, rewards, dict.fromkeys(agents, over), dict.fromkeys(agents, False), infos


def random_actions(batch, rng):
    def draw(space):
        if isinstance(space, spaces.Discrete):
            return rng.integers(space.n, size=batch.num_games)
        return rng.uniform(-1, 1, (batch.num_games, *space.shape)).astype(space.dtype)

    return {agent: draw(space) for agent, space in batch.action_spaces.items()}


def run(batch, steps=12, seed=1):
    """Plays randomly and returns everything seen."""
    rng, seen = np.random.default_rng(seed), []
    batch.reset()
    seen.append(batch.observe())
    for _ in range(steps):
        step = batch.step(random_actions(batch, rng))
        seen.append({**batch.observe(), **{f"reward {a}": r for a, r in step.rewards.items()}, "outcome": step.outcome})
        batch.reset(step.terminated | step.truncated)
        seen.append(batch.observe())
    return seen


def equal(first, second):
    return all(np.array_equal(x[k], y[k]) for x, y in zip(first, second, strict=True) for k in x)


def walks(seed=0, num_games=3, make=Walk, **known):
    return ParallelEnvBatch(make, num_games, np.random.default_rng(seed), **known)


def test_same_generator_same_games():
    assert equal(run(walks(0)), run(walks(0)))
    assert not equal(run(walks(0)), run(walks(1)))


def test_copies_differ_and_later_resets_go_on():
    batch = walks()
    batch.reset()
    first = batch.observe()["a_0"]
    assert len(np.unique(first, axis=0)) == batch.num_games
    batch.reset(np.array([True, False, False]))
    again = batch.observe()["a_0"]
    assert not np.array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1:], again[1:])


def test_agents_in_the_games_order_and_outcomes_by_name():
    batch = walks()
    assert batch.possible_agents == ["b_0", "a_0"] and batch.outcome_names == []
    run(batch)
    assert sorted(batch.outcome_names) == ["from_0", "from_1"]


def test_returned_arrays_are_the_callers():
    batch = walks()
    batch.reset()
    before = batch.observe()["a_0"]
    before[:] = 7
    assert not (batch.observe()["a_0"] == 7).any()


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Discrete(4), (4,)),
        (spaces.MultiBinary(3), (3,)),
        (spaces.MultiDiscrete([2, 3]), (5,)),
        (spaces.Box(0, 1, (2, 3), np.float32), (6,)),
        (spaces.Box(0, 1, (2, 3, 4), np.float32), (24,)),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), (4, 4, 3)),
        (spaces.Dict(x=spaces.Discrete(2), y=spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Discrete(3)])), (7,)),
    ],
)
def test_spaces_become_vectors_except_images(space, shape):
    batch = walks(make=lambda: Walk(space))
    for observations in run(batch, steps=3):
        for agent, inner in batch.observation_spaces.items():
            assert inner.shape == shape and observations[agent].shape == (3, *shape)
            assert all(inner.contains(row) for row in observations[agent])


def test_flattened_is_what_gymnasium_flattens():
    space = spaces.Dict(x=spaces.Discrete(3), y=spaces.Box(0, 1, (2,), np.float32))
    batch, plain = walks(make=lambda: Walk(copy.deepcopy(space)), num_games=1), Walk(copy.deepcopy(space))
    batch.reset()
    observations, _ = plain.reset(seed=int(np.random.default_rng(0).integers(2**31)))
    for agent, observed in batch.observe().items():
        np.testing.assert_array_equal(observed[0], spaces.flatten(space, observations[agent]))


@pytest.mark.parametrize(
    "space",
    [spaces.Sequence(spaces.Discrete(2)), spaces.Text(5), spaces.Dict(x=spaces.Tuple([spaces.Text(3)]))],
)
def test_spaces_of_no_fixed_size_are_refused(space):
    with pytest.raises(ValueError, match=r"b_0.*cannot be turned into arrays"):
        walks(make=lambda: Walk(space))


def test_state_needs_both_space_and_method():
    class WithState(Walk):
        state_space = spaces.Box(-1.0, 1.0, (2, 2), np.float32)

        def state(self):
            return np.full((2, 2), 0.5, np.float32)

    batch = walks(make=WithState)
    batch.reset()
    assert batch.state_space.shape == (4,)
    np.testing.assert_array_equal(batch.state(), np.full((3, 4), 0.5))
    assert walks().state_space is None and walks().state() is None


class MaskedObservation(Walk):
    """Allows one action only, in the observation."""

    def __init__(self):
        super().__init__(
            spaces.Dict(observation=spaces.Box(-1.0, 1.0, (3,), np.float32), action_mask=spaces.MultiBinary(2))
        )
        self.actions = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def look(self):
        return {a: {**o, "action_mask": np.array([0, 1], np.int8)} for a, o in super().look().items()}


class MaskedInfo(Walk):
    """Allows one action only, in the infos of one agent."""

    def __init__(self):
        super().__init__()
        self.actions = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed)
        infos["a_0"]["action_mask"] = np.array([0, 1], np.int8)
        return observations, infos


def test_both_conventions_of_action_masks():
    for make, of_b in ((MaskedObservation, [False, True]), (MaskedInfo, [True, True])):
        batch = walks(make=make)
        batch.reset()
        masks = batch.action_masks()
        assert batch.observation_spaces["a_0"].shape == (3,) and masks["a_0"].dtype == bool
        np.testing.assert_array_equal(masks["a_0"], [[False, True]] * 3)
        np.testing.assert_array_equal(masks["b_0"], [of_b] * 3)
    assert walks().action_masks() is None


def test_truncated_if_not_every_agent_is_terminated():
    class Mixed(Walk):
        def step(self, actions):
            observations, rewards, over, _, infos = super().step(actions)
            return observations, rewards, {**over, "a_0": False}, {"b_0": False, "a_0": over["a_0"]}, infos

    batch, rng = walks(make=Mixed), np.random.default_rng(0)
    batch.reset()
    for _ in range(5):
        step = batch.step(random_actions(batch, rng))
        assert not step.terminated.any()
        if step.truncated.any():
            return
    pytest.fail("no game came to its end")


def broken(change):
    """Returns a game whose every step is changed by `change(observations, rewards, terminated)`."""

    class Broken(Walk):
        def step(self, actions):
            observations, rewards, over, truncated, infos = super().step(actions)
            change(observations, rewards, over)
            return observations, rewards, over, truncated, infos

    return Broken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o, r, t: o.pop("a_0"), r"'a_0' has no observation in game 0 at step 1"),
        (lambda o, r, t: r.pop("a_0"), r"'a_0' needs one number as its reward.*step 1; got none"),
        (lambda o, r, t: r.update(a_0=np.zeros(2)), r"'a_0' needs one number.*shape \(2,\)"),
        (
            lambda o, r, t: o.update(a_0=np.zeros(4)),
            r"observation of agent 'a_0' in game 0 at step 1 has shape \(4,\); its space says \(3,\)",
        ),
        (lambda o, r, t: o["a_0"].fill(np.nan), r"observation of agent 'a_0' is NaN or infinite in game 0 at step 1"),
        (lambda o, r, t: r.update(b_0=np.inf), r"reward of agent 'b_0' is NaN or infinite in game 0 at step 1"),
    ],
)
def test_broken_games_are_named(change, message):
    with pytest.raises(GameError, match=message):  # at the look at it
        walks(make=broken(change))
    batch = walks(make=broken(change), look=Look(steps=1))
    batch.reset()
    with pytest.raises(GameError, match=message):
        batch.step(random_actions(batch, np.random.default_rng(0)))


def test_wrong_action_shapes_are_named():
    batch = walks()
    batch.reset()
    actions = random_actions(batch, np.random.default_rng(0))
    with pytest.raises(GameError, match=r"actions of agent 'a_0' have shape \(3,\).*write .*2\)"):
        batch.step({**actions, "a_0": np.zeros(3)})


def test_check_finite_names_the_first_game_and_its_own_step():
    arrays = {"x_0": np.zeros((4, 2)), "y_0": np.array([0.0, 1.0, np.nan, np.inf])}
    with pytest.raises(GameError, match=r"reward of agent 'y_0' is NaN or infinite in game 2 at step 9"):
        check_finite("reward", arrays, np.array([3, 5, 9, 2]))
    check_finite("observation", {"x_0": np.zeros((4, 2), np.uint8)}, 0)


def test_only_games_that_name_their_agents():
    class Nameless(Walk):
        def __init__(self):
            super().__init__()
            del self.possible_agents

    with pytest.raises(ValueError, match="possible_agents"):
        ParallelEnvBatch(Nameless, 2, np.random.default_rng(0))


def test_a_converted_pettingzoo_game_plays():
    batch = ParallelEnvBatch(lambda: rps_v2.parallel_env(max_cycles=3), 4, np.random.default_rng(0))
    assert batch.observation_spaces["player_0"].shape == (4,)  # Discrete(4), one-hot
    seen = run(batch, steps=9)
    assert all(np.isin(s["reward player_0"], [-1, 0, 1]).all() for s in seen if "outcome" in s)
    np.testing.assert_array_equal(seen[1]["reward player_0"], -seen[1]["reward player_1"])
