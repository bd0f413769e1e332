"""What every game of the package must do; a new game is tested by being there."""

import importlib
import pickle

import gymnasium as gym
import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test

from rllib_biac.envs import game_ids, make, make_batched

KWARGS = {
    "patrol_v0": {"bays": 16, "hours": 8, "horizon": 5},
    "matrix_game_v0": {"payoffs": [[[1, 2, 3], [4, 5, 6]], [[6, 5, 4], [3, 2, 1]]], "horizon": 3},
    "markov_game_v0": {"rewards": [[[[1, 2]], [[3, 4]]]] * 2, "transitions": [[[[0, 1], [1, 0]]], [[[0, 0], [0, 1]]]]},
}
"""Arguments of the games that cannot be made without any."""

MAX_STEPS = 200
FEW_STARTS = ("patrol_v0", "signalling_v0")  # in which two of five seeds may start alike


def kwargs_of(game):
    return KWARGS.get(game, {})


def random_actions(space, rng, count):
    """Returns random actions of that many games, (count, *action shape)."""
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=count)
    return rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)


def random_action(space, rng):
    action = random_actions(space, rng, 1)[0]
    return int(action) if isinstance(space, gym.spaces.Discrete) else action


@pytest.fixture(params=game_ids())
def game(request):
    return request.param


def episodes(env, count=4, seed=0, actions_seed=1):
    """Plays episodes with scripted random actions, seeding the first only, and returns everything the game said."""
    rng, seen = np.random.default_rng(actions_seed), []
    for episode in range(count):
        observations, infos = env.reset(seed=seed if episode == 0 else None)
        seen.append((observations, infos))
        for _ in range(MAX_STEPS):
            if not env.agents:
                break
            actions = {agent: random_action(env.action_space(agent), rng) for agent in env.agents}
            seen.append(env.step(actions))
        assert not env.agents, f"no end after {MAX_STEPS} steps"
    return seen


def equal(first, second):
    """Whether two nested results are the same, bit for bit, NaN included."""
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and np.array_equal(first, second)


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_parallel_api(game):
    parallel_api_test(make(game, **kwargs_of(game)), num_cycles=50)


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_aec_api(game):
    module = importlib.import_module(f"rllib_biac.envs.{game}")
    api_test(module.env(**kwargs_of(game)), num_cycles=50)
    api_test(module.raw_env(**kwargs_of(game)), num_cycles=50)


def test_metadata(game):
    env = make(game, **kwargs_of(game))
    assert env.metadata["name"] == game
    assert {"render_modes", "render_fps", "is_parallelizable"} <= set(env.metadata)
    for agent in env.possible_agents:
        assert env.observation_space(agent) is env.observation_space(agent)
        assert env.action_space(agent) is env.action_space(agent)
        assert agent.rpartition("_")[2].isdigit()


def test_unknown_options_are_tolerated(game):
    env = make(game, **kwargs_of(game))
    env.reset(seed=0, options={"no such option": 1})


def test_same_seed_same_episodes(game):
    first = episodes(make(game, **kwargs_of(game)))
    assert equal(first, episodes(make(game, **kwargs_of(game))))
    used = make(game, **kwargs_of(game))
    episodes(used, seed=5)
    assert equal(first, episodes(used)), "what was played before shows after a seeded reset"


def test_seeds_matter_where_there_is_chance(game):
    env = make(game, **kwargs_of(game))
    first = episodes(env, count=1)
    resets = [env.reset(seed=seed)[0] for seed in range(5)]
    if all(equal(resets[0], other) for other in resets):
        assert all(equal(first, episodes(env, count=1, seed=seed)) for seed in range(5))
    else:
        alike = sum(equal(resets[i], resets[j]) for i in range(5) for j in range(i))
        assert alike == 0 or game in FEW_STARTS


def test_observations_states_and_rewards_fit(game):
    env = make(game, **kwargs_of(game))
    for said in episodes(env):
        observations = said[0]
        assert all(env.observation_space(agent).contains(o) for agent, o in observations.items())
        if len(said) == 5:
            assert all(np.isfinite(reward) and np.shape(reward) == () for reward in said[1].values())
    env.reset(seed=0)
    assert env.state_space.contains(env.state())


def test_an_episode_names_its_outcome_at_the_end_only(game):
    names = make_batched(game, 1, np.random.default_rng(0), **kwargs_of(game)).outcome_names
    said = [s for s in episodes(make(game, **kwargs_of(game))) if len(s) == 5]
    for _, _, terminated, truncated, infos in said:
        over = all(terminated[a] or truncated[a] for a in terminated)
        assert all(("outcome" in info) == (over and bool(names)) for info in infos.values())
        assert all(info["outcome"] in names for info in infos.values() if "outcome" in info)


def test_a_pickled_game_plays_the_same(game):
    env = make(game, **kwargs_of(game))
    copy = pickle.loads(pickle.dumps(env))
    assert equal(episodes(env), episodes(copy))


@pytest.mark.parametrize("num_games", [1, 7])
def test_batched_form_fits_the_spaces(game, num_games):
    plain = make(game, **kwargs_of(game))
    batch = make_batched(game, num_games, np.random.default_rng(0), **kwargs_of(game))
    assert batch.num_games == num_games and batch.possible_agents == plain.possible_agents
    assert batch.observation_spaces == {a: plain.observation_space(a) for a in plain.possible_agents}
    assert batch.action_spaces == {a: plain.action_space(a) for a in plain.possible_agents}
    assert batch.state_space == plain.state_space
    rng = np.random.default_rng(1)
    batch.reset()
    ended = 0
    for _ in range(20):
        step = batch.step({a: random_actions(space, rng, num_games) for a, space in batch.action_spaces.items()})
        for agent, observations in batch.observe().items():
            space = batch.observation_spaces[agent]
            assert observations.shape == (num_games, *space.shape) and observations.dtype == space.dtype
            assert all(space.contains(row) for row in observations)
            assert step.rewards[agent].shape == (num_games,) and step.rewards[agent].dtype == np.float32
        assert all(batch.state_space.contains(row) for row in batch.state())
        for array in (step.terminated, step.truncated):
            assert array.shape == (num_games,) and array.dtype == bool
        over = step.terminated | step.truncated
        assert not (step.terminated & step.truncated).any()
        assert step.outcome.shape == (num_games,) and step.outcome.dtype == np.int64
        assert (step.outcome[~over] == -1).all() and (step.outcome < len(batch.outcome_names)).all()
        ended += over.sum()
        batch.reset(over)
    assert ended > 0


def test_batched_form_is_reproducible(game):
    def play(seed):
        batch = make_batched(game, 5, np.random.default_rng(seed), **kwargs_of(game))
        rng, seen = np.random.default_rng(1), []
        batch.reset()
        for _ in range(15):
            seen.append(batch.observe())
            step = batch.step({a: random_actions(space, rng, 5) for a, space in batch.action_spaces.items()})
            seen.append([step.rewards, step.terminated, step.truncated, step.outcome, batch.observe(), batch.state()])
            batch.reset(step.terminated | step.truncated)
        return seen

    assert equal(play(0), play(0))


def test_what_a_batch_returned_does_not_change_later(game):
    batch = make_batched(game, 3, np.random.default_rng(0), **kwargs_of(game))
    batch.reset()
    kept = {"state": batch.state(), **batch.observe()}
    before = {key: array.copy() for key, array in kept.items()}
    rng = np.random.default_rng(1)
    batch.step({agent: random_actions(space, rng, 3) for agent, space in batch.action_spaces.items()})
    assert equal(kept, before)
