"""What every algorithm of equals must do, whoever wrote its paper; and what each one's own paper says it does."""

import functools
import zlib

import numpy as np
import pytest
import torch

from rllib_biac.algorithms import REGISTRY
from rllib_biac.core.play import load, play
from tests.core.games import (
    Apart,
    Continuous,
    Endless,
    EndsByRule,
    EndsWithoutChoice,
    Kinds,
    Masked,
    Navigation,
    Pictures,
    learner_of,
    stock,
)

BASELINES = {name: cls for name, cls in REGISTRY.items() if not name.startswith("Bi")}
CONTINUOUS = [name for name, cls in BASELINES.items() if cls.continuous_actions]
DISCRETE_ONLY = [name for name in BASELINES if name not in CONTINUOUS]
EVERY = pytest.mark.parametrize("name", BASELINES)
BOTH = pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
# One of each kind: the others play, and so sample, as these do.
KINDS = pytest.mark.parametrize("name", ["IDQN", "MADDPG"])
STATES = np.eye(2, dtype=np.float32)


def baseline(name, env, players=("one", "two"), **training):
    """A small, fast config."""
    return (
        BASELINES[name]()
        .environment(env)
        .hierarchy([list(players)])
        .training(**{"num_steps_sampled_before_learning_starts": 50, "training_intensity": None} | training)
        .env_runners(num_envs_per_env_runner=10)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=0, log_level="ERROR")
    )


def train(configured, iterations=1):
    algo = configured.build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


def played(algo, observations, masks=None):
    """Greedy play on what each agent sees, agent -> (batch, ...)."""
    module = learner_of(algo).module
    seen = {agent: torch.as_tensor(np.asarray(own, np.float32)) for agent, own in observations.items()}
    state = torch.zeros(len(next(iter(seen.values()))), *module["one"].state_shape)  # which nobody looks at
    with torch.no_grad():
        return {agent: own.numpy() for agent, own in module.act(state, observations=seen, masks=masks).items()}


def both_see(states):
    return dict.fromkeys(("one", "two"), np.asarray(states, np.float32))


def weights(algo):
    module = learner_of(algo).module
    return {f"{a}/{k}": v.clone() for a in module.hierarchy.agents for k, v in module[a].state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=0, atol=0, msg=key)


def differ(one, other):
    return any((one[key] != other[key]).any() for key in one)


# What all of them do.


SECRETS = {
    "one": np.array([[0.0], [1.0]]),
    "two": np.array([[0.5, 0.0, -0.5, 1.0], [0.5, 1.0, -0.5, 0.0]]),
}


def learns_its_secrets(configured):
    """Trains; returns the algorithm after checking its greedy play."""
    algo = train(configured.reporting(min_sample_timesteps_per_iteration=400))
    joint = played(algo, SECRETS)
    assert joint["one"].tolist() == [0, 1] and joint["two"].tolist() == [0, 1]
    return algo


@EVERY
def test_each_agent_learns_from_its_own_part_of_what_there_is_to_see(ray, name):
    """Observations of different shapes, neither of them the state; the optimum is to play the own bit."""
    algo = learns_its_secrets(baseline(name, Apart, lr=3e-3))
    module = learner_of(algo).module
    assert module["one"].observation_shape == (1,) and module["two"].observation_shape == (4,)
    algo.stop()


@KINDS
def test_each_agent_does_so_on_rllibs_own_runner(ray, name):
    learns_its_secrets(stock(baseline(name, Apart, lr=3e-3))).stop()


@EVERY
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_game_in_another_unit_of_reward_is_the_same_game(ray, name, scale):
    settings = baseline(name, Apart, lr=3e-3).environment(Apart, env_config={"scale": scale, "shift": 7.0})
    learns_its_secrets(settings).stop()


@EVERY
def test_targets_need_not_be_normalised(ray, name):
    algo = learns_its_secrets(baseline(name, Apart, lr=3e-3, normalize_targets=False))
    assert all(learner_of(algo).module[agent].q_std == 1.0 for agent in SECRETS)
    algo.stop()


@EVERY
@pytest.mark.parametrize(("game", "value"), [(Endless, 2.0), (EndsByRule, 1.0)])
def test_truncated_bootstraps_and_terminated_does_not(ray, name, game, value):
    """All rewards are 1: Q is 1 / (1 - gamma) of every action, or 1 where the rules end the game."""
    settings = baseline(name, game, lr=3e-3, gamma=0.5, tau=0.1)
    algo = train(settings.reporting(min_sample_timesteps_per_iteration=500))
    state = torch.as_tensor(STATES[:1])
    with torch.no_grad():
        tables = learner_of(algo).module.q_tables(state, dict.fromkeys(("one", "two"), state))
    for table in tables.values():
        np.testing.assert_allclose(table.numpy(), value, atol=0.1)
    algo.stop()


def never_forbidden(configured):
    """Trains on a game that raises at a forbidden action; checks that the best of the allowed ones is learned."""
    algo = train(configured.reporting(min_sample_timesteps_per_iteration=600))
    states = np.array([[t, 1.0] for t in range(3)], np.float32)
    masks = {agent: torch.ones(3, 3, dtype=torch.bool) for agent in ("one", "two")}
    for t in range(3):
        masks["one"][t, t % 3] = masks["two"][t, (t + 1) % 3] = False
    joint = played(algo, both_see(states), masks)
    assert all(value.isfinite().all() for value in weights(algo).values())
    assert joint["one"].tolist() == [2, 2, 1] and joint["two"].tolist() == [2, 1, 2]
    algo.stop()


@EVERY
def test_forbidden_actions_are_never_taken(ray, name):
    never_forbidden(baseline(name, Masked, lr=3e-3, gamma=0.1))


@KINDS
def test_forbidden_actions_are_never_taken_on_rllibs_own_runner(ray, name):
    never_forbidden(stock(baseline(name, Masked, lr=3e-3, gamma=0.1)))


@EVERY
def test_nothing_needs_to_be_allowed_once_the_game_is_over(ray, name):
    """There is no next action then: what its value would be, minus infinity, must not reach the targets."""
    never_forbidden(baseline(name, EndsWithoutChoice, lr=3e-3, gamma=0.1))


@EVERY
def test_same_seed_same_run_another_seed_another(ray, name):
    found = []
    for seed in (0, 0, 1):
        settings = baseline(name, Apart).reporting(min_sample_timesteps_per_iteration=100)
        algo = train(settings.debugging(seed=seed))
        found.append(weights(algo))
        algo.stop()
    assert_same(found[0], found[1])
    assert differ(found[0], found[2])


def greedy_at_one(module):
    """Greedy play of a matrix game, whose only state is 1."""
    one = torch.ones(1, 1)
    return module.act(one, observations=dict.fromkeys(module.hierarchy.agents, one))


@pytest.fixture(scope="module")
def saved(ray, tmp_path_factory):
    """A function of an algorithm's name: one that was trained and saved, the checkpoint, its greedy play by then."""

    @functools.cache
    def make(name):
        settings = baseline(name, "maintain_v0", ("player_0", "player_1"), normalize_observations=True)
        algo = train(settings.reporting(min_sample_timesteps_per_iteration=100), 2)
        made.append(algo)
        return algo, algo.save_to_path(str(tmp_path_factory.mktemp(name))), greedy_at_one(learner_of(algo).module)

    made = []
    yield make
    for algo in made:
        algo.stop()


@EVERY
def test_a_restored_run_goes_on_as_the_one_that_was_not_interrupted(saved, name):
    """In one-step games nothing in the games themselves is lost. Generators and what else an algorithm keeps count."""
    algo, path, _ = saved(name)
    restored = type(algo).from_checkpoint(path)
    assert_same(weights(algo), weights(restored))
    assert restored.iteration == algo.iteration == 2
    results = [[each.train()["learners"]["player_1"] for _ in range(2)][-1] for each in (algo, restored)]
    assert results[0]["qf_loss"] == results[1]["qf_loss"]
    assert_same(weights(algo), weights(restored))
    buffers = [each.local_replay_buffer.sample(30).columns for each in (algo, restored)]
    for key, column in buffers[0].items():
        np.testing.assert_array_equal(column, buffers[1][key])
    restored.stop()


@EVERY
def test_a_checkpoint_is_played_without_ray_as_in_training(saved, name):
    _, path, joint = saved(name)
    _, module = load(path)
    assert greedy_at_one(module) == joint
    names = ["ABC"[int(joint["player_0"][0])], "XYZ"[int(joint["player_1"][0])]]
    assert list(play(path, episodes=2, seed=0).outcomes.items()) == [("-".join(names), 2)]


@EVERY
def test_a_hierarchy_of_two_levels_is_refused(name):
    settings = baseline(name, Apart).hierarchy([["one"], ["two"]])
    with pytest.raises(ValueError, match=rf"{name} has no leader.*write one level of equals, \[\['one', 'two'\]\]"):
        settings.validate()


@pytest.mark.parametrize("name", DISCRETE_ONLY)
def test_continuous_actions_are_refused_by_who_has_a_value_per_action(name):
    with pytest.raises(ValueError, match=f"{name} supports discrete actions .* only"):
        baseline(name, Continuous).validate()


@KINDS
@pytest.mark.parametrize("fragment", [1, 5])
@pytest.mark.parametrize("game", [Apart, Masked])
def test_both_runners_give_the_same_rows_with_the_observations_of_each(ray, monkeypatch, name, game, fragment):
    """One script of actions, which look random but follow from what is seen."""

    def scripted(self, state, *, observations, masks=None, epsilon=0.0, generator=None):
        actions = {}
        for agent in self.hierarchy.agents:
            drawn = []
            for i, row in enumerate(observations[agent].numpy()):
                allowed = np.flatnonzero(masks[agent][i].numpy()) if masks else np.arange(2)
                drawn.append(allowed[zlib.crc32(row.tobytes()) % len(allowed)])
            actions[agent] = torch.tensor(drawn)
        return actions

    monkeypatch.setattr(BASELINES[name]().hierarchy_module_class(), "act", scripted)
    rows, dtypes = {}, {}
    for runner in ("joint", "stock"):
        configured = baseline(name, game).env_runners(num_envs_per_env_runner=1)
        algo = (configured if runner == "joint" else stock(configured)).build_algo()
        rows[runner] = []
        while len(rows[runner]) < 24:
            sampled = algo.env_runner.sample(num_timesteps=fragment)
            for part in sampled if runner == "joint" else [algo._connector(episodes=sampled).get("joint")]:
                if part is None:
                    continue
                columns = sorted(part.columns, key=str)
                dtypes[runner] = {c: (part.columns[c].dtype, part.columns[c].shape[1:]) for c in columns}
                rows[runner] += [tuple(part.columns[c][i].tobytes() for c in columns) for i in range(len(part))]
        algo.stop()
    assert dtypes["joint"] == dtypes["stock"]
    assert {("obs", "one"), ("next_obs", "two")} < dtypes["joint"].keys()
    if game is Apart:  # its bits are drawn from the game's own seed, which RLlib chooses by itself
        assert set(rows["joint"]) & set(rows["stock"])
    else:
        assert rows["joint"][:24] == rows["stock"][:24]


@KINDS
def test_agents_of_images_learn(ray, name):
    """The first plays what the picture shows, whose state is a vector to the critics."""
    settings = baseline(name, Pictures, lr=1e-3).environment(Pictures, state="observations")
    settings.rl_module(model_config={"conv_filters": [[4, 3, 2]], "fcnet_hiddens": [64]})
    algo = train(settings.reporting(min_sample_timesteps_per_iteration=600))
    images = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)])
    assert played(algo, both_see(images))["one"].tolist() == [0, 1]
    algo.stop()


@EVERY
def test_evaluation_does_not_explore_and_joint_exploration_trains(ray, name):
    settings = baseline(name, "escape_v0", ("player_0", "player_1")).env_runners(epsilon=1.0, exploration="joint")
    algo = train(settings.reporting(min_sample_timesteps_per_iteration=100))
    shares = algo.evaluate()["env_runners"]["outcome_share"]
    assert list(shares.values()).count(1.0) == 1
    algo.stop()


@pytest.mark.parametrize(("name", "remote"), [("LenientDQN", {"num_env_runners": 1}), ("MATD3", {"num_learners": 1})])
def test_what_an_algorithm_keeps_beside_networks_works_across_processes(ray, name, remote):
    settings = baseline(name, "maintain_v0", ("player_0", "player_1"), normalize_observations=True)
    settings = settings.env_runners(**remote) if "num_env_runners" in remote else settings.learners(**remote)
    algo = settings.build_algo()
    before = {key: value.clone() for key, value in algo.env_runner.module["player_0"].state_dict().items()}
    result = [algo.train() for _ in range(2)][-1]
    assert np.isfinite(result["learners"]["player_0"]["qf_loss"])
    (after,) = algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.module["player_0"].state_dict(), local_env_runner="num_learners" in remote
    )[:1]
    assert differ(before, after)
    algo.stop()


# Discrete and continuous.


@pytest.mark.parametrize("name", CONTINUOUS)
@BOTH
def test_one_agent_may_choose_and_the_other_give_a_vector(ray, name, on):
    """The game refuses actions out of their space. The optimum is a_1 = 1 and a_2 = (anything, 2)."""
    settings = baseline(name, Kinds, lr=3e-3).reporting(min_sample_timesteps_per_iteration=900)
    algo = train(on(settings.env_runners(epsilon=0.5)))
    joint = played(algo, both_see(STATES[:1]))
    assert joint["one"].tolist() == [1]
    assert joint["two"][0, 1] == pytest.approx(2.0, abs=0.3)
    assert joint["two"].dtype == np.float32 and joint["two"].shape == (1, 2)
    algo.stop()


# What its own paper says each is for.


CLIMBING = [[11, -30, 0], [-30, 7, 6], [0, 0, 5]]
PENALTY = [[-30, 0, 10], [0, 2, 0], [10, 0, -30]]
SETTINGS = {
    "IDQN": {},
    "HystereticDQN": {"hysteresis": 0.1},
    "LenientDQN": {"temperature_decay": 0.998, "leniency_moderation": 5.0},
}


def paid_after_training(name, table, seed):
    """What both get who learned a game of common payoffs for 3000 steps, the first 1000 of them at random."""
    settings = (
        baseline(name, "matrix_game_v0", ("player_0", "player_1"), lr=3e-3, training_intensity=16.0, **SETTINGS[name])
        .environment("matrix_game_v0", env_config={"payoffs": [table, table]})
        .env_runners(epsilon=[[0, 1.0], [1000, 1.0], [2500, 0.05]])
        .reporting(min_sample_timesteps_per_iteration=3000)
        .debugging(seed=seed, log_level="ERROR")
    )
    algo = train(settings)
    one = torch.ones(1, 1)
    joint = learner_of(algo).module.act(one, observations={"player_0": one, "player_1": one})
    algo.stop()
    return table[int(joint["player_0"][0])][int(joint["player_1"][0])]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("table", [CLIMBING, PENALTY], ids=["climbing", "penalty"])
@pytest.mark.parametrize("name", ["HystereticDQN", "LenientDQN"])
def test_optimists_reach_the_optimum_of_games_that_punish_miscoordination(ray, name, table, seed):
    """Climbing and Penalty (Claus and Boutilier 1998): the optima are 11, at (0, 0), and 10, at (0, 2) and (2, 0)."""
    assert paid_after_training(name, table, seed) == np.max(table)


@pytest.mark.parametrize("table", [CLIMBING, PENALTY], ids=["climbing", "penalty"])
def test_plain_independent_learners_do_not(ray, table):
    """They flee from what the others' exploration spoils: it is optimism that makes the difference above."""
    assert paid_after_training("IDQN", table, 0) < np.max(table)


def regret_after_training(name, seed):
    """What both lose against the optimum, per game, who learned Navigation for 2500 steps, the first 1500 at random."""
    settings = (
        baseline(name, Navigation, gamma=0.9, tau=0.05, training_intensity=32.0, actor_regularization=0.0)
        .training(lr=[[0, 3e-3], [1500, 3e-3], [2500, 1e-4]])
        .env_runners(epsilon=[[0, 1.0], [1500, 1.0], [2500, 0.2]])
        .reporting(min_sample_timesteps_per_iteration=2500)
        .debugging(seed=seed, log_level="ERROR")
    )
    algo = train(settings)

    def policy(off):
        seen = {
            "one": np.column_stack([off[:, 0], 0 * off[:, 0]]),
            "two": np.column_stack([off[:, 1], 1 + 0 * off[:, 1]]),
        }
        return np.concatenate(list(played(algo, seen).values()), axis=1)

    starts = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))
    regret = Navigation.play(starts) - Navigation.play(starts, policy)
    algo.stop()
    return regret


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CONTINUOUS)
def test_actor_critics_cooperate_by_vectors(ray, name, seed):
    """A cooperative navigation as in Lowe et al. 2017, small enough to be solved.

    The exact optimum is to move by the distance left, as far as one may. From these starts it returns 1.93 per game on
    average; those who do not move at all lose 1.34 against it, those who move at random 3.1.
    """
    assert 0.0 <= regret_after_training(name, seed) <= 0.15
