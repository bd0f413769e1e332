"""What every algorithm of peers must do, and what each one's own paper says it does."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.dqn import IDQN, HystereticDQN, LenientDQN
from rllib_biac.algorithms.maddpg import MADDPG, MATD3
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from tests.games import (
    Apart,
    Continuous,
    Endless,
    EndsByRule,
    EndsWithoutChoice,
    Kinds,
    Masked,
    Navigation,
    Pictures,
)
from tests.training import Run, train

PEERS = [IDQN, HystereticDQN, LenientDQN, MADDPG, MATD3]


def name_of(algorithm):
    return getattr(algorithm, "name", None)


def each(algorithms):
    return pytest.mark.parametrize("algorithm", algorithms, ids=name_of)


EVERY = each(PEERS)
CONTINUOUS = [algorithm for algorithm in PEERS if algorithm.settings.continuous_actions]
STATES = np.eye(2, dtype=np.float32)
BOTH = [["one", "two"]]


def played(run, observations, masks=None):
    """Greedy play on what each agent sees, agent -> (batch, ...)."""
    seen = {agent: torch.as_tensor(np.asarray(own, np.float32)) for agent, own in observations.items()}
    state = torch.zeros(len(next(iter(seen.values()))), *run.team["one"].state_shape)  # which nobody looks at
    with torch.no_grad():
        return {agent: own.numpy() for agent, own in run.team.act(state, observations=seen, masks=masks).items()}


def both_see(states):
    return dict.fromkeys(("one", "two"), np.asarray(states, np.float32))


# What all of them do.


SECRETS = {
    "one": np.array([[0.0], [1.0]]),
    "two": np.array([[0.5, 0.0, -0.5, 1.0], [0.5, 1.0, -0.5, 0.0]]),
}


def learns_its_secrets(algorithm, **settings):
    """Trains; returns the run after checking its greedy play."""
    run = train(algorithm, Apart, BOTH, 400, lr=3e-3, **settings)
    joint = played(run, SECRETS)
    assert joint["one"].tolist() == [0, 1] and joint["two"].tolist() == [0, 1]
    return run


@EVERY
def test_each_agent_learns_from_its_own_part_of_what_there_is_to_see(algorithm):
    """Observations of different shapes, neither of them the state; the optimum is to play the own bit."""
    team = learns_its_secrets(algorithm).team
    assert team["one"].observation_shape == (1,) and team["two"].observation_shape == (4,)


@EVERY
@pytest.mark.parametrize("scale", [0.01, pytest.param(100.0, marks=pytest.mark.slow)])
def test_a_game_in_another_unit_of_reward_is_the_same_game(algorithm, scale):
    learns_its_secrets(algorithm, env_config={"scale": scale, "shift": 7.0})


@EVERY
def test_targets_need_not_be_normalised(algorithm):
    team = learns_its_secrets(algorithm, normalize_targets=False).team
    assert all(team[agent].q_std == 1.0 for agent in SECRETS)


@EVERY
@pytest.mark.parametrize(("game", "value"), [(Endless, 2.0), (EndsByRule, 1.0)])
def test_truncated_bootstraps_and_terminated_does_not(algorithm, game, value):
    """All rewards are 1: Q is 1 / (1 - gamma) of every action, or 1 where the rules end the game."""
    run = train(algorithm, game, BOTH, 500, lr=3e-3, gamma=0.5, tau=0.1)
    state = torch.as_tensor(STATES[:1])
    with torch.no_grad():
        tables = run.team.q_tables(state, dict.fromkeys(("one", "two"), state))
    for table in tables.values():
        np.testing.assert_allclose(table.numpy(), value, atol=0.1)


@pytest.mark.parametrize(
    ("algorithm", "game"),
    [
        *((algorithm, Masked) for algorithm in PEERS),
        (IDQN, EndsWithoutChoice),
        (MADDPG, EndsWithoutChoice),
        *(
            pytest.param(algorithm, EndsWithoutChoice, marks=pytest.mark.slow)
            for algorithm in (HystereticDQN, LenientDQN, MATD3)
        ),
    ],
    ids=name_of,
)
def test_forbidden_actions_are_never_taken(algorithm, game):
    """Both games raise at one, and what is best among the allowed ones is learned.

    In one of them nothing is allowed once the game is over. There is no next action then: what its value would be,
    minus infinity, must not reach the targets.
    """
    run = train(algorithm, game, BOTH, 600, lr=3e-3, gamma=0.1)
    states = np.array([[t, 1.0] for t in range(3)], np.float32)
    masks = {agent: torch.ones(3, 3, dtype=torch.bool) for agent in ("one", "two")}
    for t in range(3):
        masks["one"][t, t % 3] = masks["two"][t, (t + 1) % 3] = False
    joint = played(run, both_see(states), masks)
    assert all(value.isfinite().all() for value in run.weights().values())
    assert joint["one"].tolist() == [2, 2, 1] and joint["two"].tolist() == [2, 1, 2]


@EVERY
def test_a_hierarchy_of_two_levels_is_refused(algorithm):
    name = algorithm.name
    with pytest.raises(ValueError, match=rf"{name} has no leader.*write one level of peers, \[\['one', 'two'\]\]"):
        Run(algorithm, Apart, [["one"], ["two"]])


@each([algorithm for algorithm in PEERS if algorithm not in CONTINUOUS])
def test_continuous_actions_are_refused_by_who_has_a_value_per_action(algorithm):
    with pytest.raises(ValueError, match=f"{algorithm.name} supports discrete actions .* only"):
        Run(algorithm, Continuous, BOTH)


@each([IDQN, MADDPG])
@pytest.mark.slow
def test_agents_of_images_learn(algorithm):
    """The first plays what the picture shows, whose state is a vector to the critics."""
    networks = MODEL_DEFAULTS | {"conv_filters": [[4, 3, 2]], "fcnet_hiddens": [64]}
    run = train(algorithm, Pictures, BOTH, 600, lr=1e-3, state="observations", model_config=networks)
    images = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)])
    assert played(run, both_see(images))["one"].tolist() == [0, 1]


# Discrete and continuous.


@each(CONTINUOUS)
@pytest.mark.slow
def test_one_agent_may_choose_and_the_other_give_a_vector(algorithm):
    """The game refuses actions out of their space. The optimum is a_1 = 1 and a_2 = (anything, 2)."""
    joint = played(train(algorithm, Kinds, BOTH, 900, lr=3e-3, epsilon=0.5), both_see(STATES[:1]))
    assert joint["one"].tolist() == [1]
    assert joint["two"][0, 1] == pytest.approx(2.0, abs=0.3)
    assert joint["two"].dtype == np.float32 and joint["two"].shape == (1, 2)


# What its own paper says each is for.


CLIMBING = [[11, -30, 0], [-30, 7, 6], [0, 0, 5]]
PENALTY = [[-30, 0, 10], [0, 2, 0], [10, 0, -30]]
TABLES = pytest.mark.parametrize("table", [CLIMBING, PENALTY], ids=["climbing", "penalty"])
OPTIMISM = {
    "IDQN": {},
    "HystereticDQN": {"hysteresis": 0.1},
    "LenientDQN": {"temperature_decay": 0.998, "leniency_moderation": 5.0},
}


def paid_after_training(algorithm, table, seed):
    """What both get who learned a game of common payoffs for 3000 steps, the first 1000 of them at random."""
    settings = {"lr": 3e-3, "training_intensity": 16.0, "epsilon": [[0, 1.0], [1000, 1.0], [2500, 0.05]]}
    settings |= OPTIMISM[algorithm.name]
    game = {"payoffs": [table, table]}
    run = train(algorithm, "matrix_game_v0", [["player_0", "player_1"]], 3000, env_config=game, seed=seed, **settings)
    one = torch.ones(1, 1)
    joint = run.team.act(one, observations={"player_0": one, "player_1": one})
    return table[int(joint["player_0"][0])][int(joint["player_1"][0])]


@TABLES
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@each([HystereticDQN, LenientDQN])
@pytest.mark.slow
def test_optimists_reach_the_optimum_of_games_that_punish_miscoordination(algorithm, seed, table):
    """Climbing and Penalty (Claus and Boutilier 1998): the optima are 11, at (0, 0), and 10, at (0, 2) and (2, 0)."""
    assert paid_after_training(algorithm, table, seed) == np.max(table)


@pytest.mark.parametrize(
    "table", [CLIMBING, pytest.param(PENALTY, marks=pytest.mark.slow)], ids=["climbing", "penalty"]
)
@pytest.mark.slow
def test_plain_independent_learners_do_not(table):
    """They flee from what the others' exploration spoils: it is optimism that makes the difference above."""
    assert paid_after_training(IDQN, table, 0) < np.max(table)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@each(CONTINUOUS)
def test_actor_critics_cooperate_by_vectors(algorithm, seed):
    """A cooperative navigation as in Lowe et al. 2017, small enough to be solved; 2500 steps, the first 1500 at random.

    The exact optimum is to move by the distance left, as far as one may. From these starts it returns 1.93 per game on
    average; those who do not move at all lose 1.34 against it, those who move at random 3.1.
    """
    settings = {"gamma": 0.9, "tau": 0.05, "training_intensity": 32.0, "actor_regularization": 0.0}
    settings |= {"lr": [[0, 3e-3], [1500, 3e-3], [2500, 1e-4]], "epsilon": [[0, 1.0], [1500, 1.0], [2500, 0.2]]}
    run = train(algorithm, Navigation, BOTH, 2500, seed=seed, **settings)

    def policy(off):
        seen = {
            "one": np.column_stack([off[:, 0], 0 * off[:, 0]]),
            "two": np.column_stack([off[:, 1], 1 + 0 * off[:, 1]]),
        }
        return np.concatenate(list(played(run, seen).values()), axis=1)

    starts = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))
    assert 0.0 <= Navigation.play(starts) - Navigation.play(starts, policy) <= 0.15
