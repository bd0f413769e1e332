"""What Bi-AC must learn: games that carry their exact answers, the paper's matrix games, Highway Merge."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.envs.merge.exact import merge_equilibrium, policy_outcomes
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from tests.games import Endless, EndsByRule, Masked, Pictures, RareReward, StateDecides, TwoStates
from tests.training import train

LEVELS = [["one"], ["two"]]
PLAYERS = [["player_0"], ["player_1"]]
STATES = np.eye(2, dtype=np.float32)
UNIFORM_THEN_GREEDY = {"epsilon": [[0, 1.0], [500, 1.0], [1000, 0.1]]}


def greedy(run, states, masks=None):
    """Greedy play, agent -> (batch,)."""
    with torch.no_grad():
        return {agent: own.numpy() for agent, own in run.team.act(torch.as_tensor(states), masks=masks).items()}


def q_tables(run, state):
    """Q_i(s, ., .) of both agents in raw units, agent -> (|A_1|, |A_2|)."""
    with torch.no_grad():
        return {agent: own[0].numpy() for agent, own in run.team.q_tables(torch.as_tensor(state)[None]).items()}


def played(run):
    joint = greedy(run, np.ones((1, 1), np.float32))
    return int(joint["player_0"][0]), int(joint["player_1"][0])


def test_follower_best_responds_and_leader_reckons_with_it():
    """By itself row 0 pays best (9), but the answer to it is column 1 (pays 0); the SE is row 1, column 0 (pays 3)."""
    payoffs = [[[9, 0], [3, 1]], [[0, 1], [2, 1]]]
    run = train(BiAC, "matrix_game_v0", PLAYERS, 800, env_config={"payoffs": payoffs}, lr=3e-3)
    assert played(run) == (1, 0)
    tables = q_tables(run, np.ones(1, np.float32))
    np.testing.assert_allclose(tables["player_0"], payoffs[0], atol=0.3)
    np.testing.assert_allclose(tables["player_1"], payoffs[1], atol=0.1)
    assert run.team.responses(torch.ones(1, 1)).tolist() == [[1, 0]]


def test_both_see_the_state():
    joint = greedy(train(BiAC, StateDecides, LEVELS, 800, lr=3e-3), STATES)
    assert joint["two"].tolist() == [1, 1] and joint["one"].tolist() == [1, 0]


@pytest.mark.parametrize("normalize", [False, True])
def test_bootstraps_over_two_states(normalize):
    settings = {"lr": 3e-3, "gamma": 0.5, "tau": 0.1, "normalize_targets": normalize, "epsilon": 1.0}
    run = train(BiAC, TwoStates, LEVELS, 1600, **settings)
    last, first = q_tables(run, STATES[1]), q_tables(run, STATES[0])
    np.testing.assert_allclose(last["one"], [[2, 4], [2.5, 4.5]], atol=0.15)
    np.testing.assert_allclose(last["two"], [[4, 5], [2, 3]], atol=0.15)
    np.testing.assert_allclose(first["one"], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.15)
    np.testing.assert_allclose(first["two"], np.eye(2) + 0.5 * 3, atol=0.15)
    joint = greedy(run, STATES)
    assert joint["one"].tolist() == [1, 1] and joint["two"].tolist() == [1, 1]


@pytest.mark.parametrize(("game", "value"), [(Endless, 2.0), (EndsByRule, 1.0)])
def test_truncated_bootstraps_and_terminated_does_not(game, value):
    run = train(BiAC, game, LEVELS, 1000, lr=3e-3, gamma=0.5, tau=0.1)
    for table in q_tables(run, STATES[0]).values():
        np.testing.assert_allclose(table, value, atol=0.05)


def test_a_reward_met_late_is_still_learned():
    run = train(BiAC, RareReward, LEVELS, 1600, lr=3e-3, epsilon=1.0)
    assert [int(a[0]) for a in greedy(run, STATES[:1]).values()] == [7, 7]


def test_forbidden_actions_are_never_taken():
    """The game raises at a forbidden action. What is best among the allowed ones is learned."""
    run = train(BiAC, Masked, LEVELS, 800, lr=3e-3, gamma=0.0)
    states = np.array([[t, 1.0] for t in range(3)], np.float32)
    masks = {"one": torch.ones(3, 3, dtype=bool), "two": torch.ones(3, 3, dtype=bool)}
    for t in range(3):
        masks["one"][t, t % 3] = masks["two"][t, (t + 1) % 3] = False
    joint = greedy(run, states, masks)
    assert joint["one"].tolist() == [2, 2, 1] and joint["two"].tolist() == [2, 1, 2]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("game", "hierarchy", "joint"),
    [
        ("escape_v0", [["player_0"], ["player_1"]], (2, 2)),
        ("maintain_v0", [["player_0"], ["player_1"]], (0, 0)),
        ("maintain_v0", [["player_1"], ["player_0"]], (2, 2)),
    ],
    ids=["escape", "maintain", "maintain_swapped"],
)
def test_the_papers_matrix_games(game, hierarchy, joint, seed):
    assert played(train(BiAC, game, hierarchy, 1000, seed=seed, **UNIFORM_THEN_GREEDY)) == joint


@pytest.mark.parametrize("scale", [0.01, 1000.0])
def test_a_game_in_another_unit_is_the_same_game(scale):
    unit = {"scale": scale, "shift": 7 * scale}
    run = train(BiAC, "maintain_v0", PLAYERS, 1000, env_config=unit, **UNIFORM_THEN_GREEDY)
    assert played(run) == (0, 0)
    value = q_tables(run, np.ones(1, np.float32))["player_0"][0, 0]
    assert value == pytest.approx(27 * scale, rel=0.05)


def test_images():
    model_config = MODEL_DEFAULTS | {"conv_filters": [[4, 3, 2]], "fcnet_hiddens": [16]}
    run = train(BiAC, Pictures, LEVELS, 600, lr=1e-3, model_config=model_config)
    images = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    joint = greedy(run, images)
    assert joint["one"].tolist() == [0, 1] and joint["two"].tolist() == [0, 1]


@pytest.mark.slow
def test_highway_merge_short():
    """All of six seeds have it by then, five by half of that."""
    settings = {"lr": 1e-3, "gamma": 0.99, "training_intensity": 32.0, "epsilon": [[0, 1.0], [4000, 0.1]]}
    model_config = MODEL_DEFAULTS | {"fcnet_hiddens": [64, 64]}
    run = train(BiAC, "merge_v0", [["main_0"], ["auxiliary_0"]], 12_000, model_config=model_config, **settings)
    rng = np.random.default_rng(0)
    starts = np.column_stack(
        [np.full(200, 215.0), rng.uniform(30, 40, 200), np.full(200, 215.0), rng.uniform(30, 40, 200)]
    )
    solved = merge_equilibrium(starts)
    outcomes = policy_outcomes(lambda states: greedy(run, states), starts)
    assert (outcomes == solved.outcome).mean() >= 0.95
