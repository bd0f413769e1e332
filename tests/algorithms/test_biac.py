"""What Bi-AC must learn: games that carry their exact answers, the paper's matrix games, Highway Merge."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac.biac_rl_module import best_responses, leader_values
from rllib_biac.envs.merge.exact import merge_equilibrium, policy_outcomes
from tests.core.games import (
    Endless,
    EndsByRule,
    Masked,
    Pictures,
    RareReward,
    StateDecides,
    TwoStates,
    config,
    greedy,
    learner_of,
    q_tables,
    stock,
)

STATES = np.eye(2, dtype=np.float32)


def train(configured, iterations):
    algo = configured.build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


def matrix(payoffs, hierarchy=None, **training):
    return config(hierarchy=hierarchy, **training).environment("matrix_game_v0", env_config={"payoffs": payoffs})


def played(algo):
    joint = greedy(algo, np.ones((1, 1), np.float32))
    return int(joint["player_0"][0]), int(joint["player_1"][0])


def test_choice_is_the_enumeration_written_down():
    """`best_responses` and `leader_values` against Eqs. 12-13 as loops."""
    torch.manual_seed(0)
    q1, logits = torch.randn(20, 4, 3), torch.randn(20, 4, 3)
    mask1, mask2 = torch.rand(20, 4) < 0.5, torch.rand(20, 3) < 0.5
    mask1[:, 2] = mask2[:, 1] = True
    responses = best_responses(logits, mask2)
    a1 = leader_values(q1, responses, mask1).argmax(1)
    for row in range(20):
        allowed = [[a for a in range(len(m)) if m[a]] for m in (mask1[row], mask2[row])]
        answer = [max(allowed[1], key=lambda a2: logits[row, a, a2].item()) for a in range(4)]
        assert responses[row].tolist() == answer
        assert a1[row].item() == max(allowed[0], key=lambda a: q1[row, a, answer[a]].item())


def test_follower_best_responds_and_leader_reckons_with_it(ray):
    """By itself row 0 pays best (9), but the answer to it is column 1 (pays 0); the SE is row 1, column 0 (pays 3)."""
    algo = train(matrix([[[9, 0], [3, 1]], [[0, 1], [2, 1]]], lr=3e-3), 4)
    assert played(algo) == (1, 0)
    tables = q_tables(algo, np.ones(1, np.float32))
    np.testing.assert_allclose(tables["player_0"], [[9, 0], [3, 1]], atol=0.3)
    np.testing.assert_allclose(tables["player_1"], [[0, 1], [2, 1]], atol=0.1)
    module = learner_of(algo).module["player_1"]
    logits = module.table(module.actor(torch.ones(1, 1)))[0]
    assert logits.argmax(1).tolist() == [1, 0]
    algo.stop()


def test_both_see_the_state(ray):
    algo = train(config(StateDecides, lr=3e-3), 4)
    joint = greedy(algo, STATES)
    assert joint["two"].tolist() == [1, 1] and joint["one"].tolist() == [1, 0]
    algo.stop()


@pytest.mark.parametrize("normalize", [False, True])
def test_bootstraps_over_two_states(ray, normalize):
    settings = {"lr": 3e-3, "gamma": 0.5, "tau": 0.1, "normalize_targets": normalize}
    algo = train(config(TwoStates, **settings).env_runners(epsilon=1.0), 8)
    last, first = q_tables(algo, STATES[1]), q_tables(algo, STATES[0])
    np.testing.assert_allclose(last["one"], [[2, 4], [2.5, 4.5]], atol=0.15)
    np.testing.assert_allclose(last["two"], [[4, 5], [2, 3]], atol=0.15)
    np.testing.assert_allclose(first["one"], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.15)
    np.testing.assert_allclose(first["two"], np.eye(2) + 0.5 * 3, atol=0.15)
    joint = greedy(algo, STATES)
    assert joint["one"].tolist() == [1, 1] and joint["two"].tolist() == [1, 1]
    algo.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
@pytest.mark.parametrize(("game", "value"), [(Endless, 2.0), (EndsByRule, 1.0)])
def test_truncated_bootstraps_and_terminated_does_not(ray, game, value, on):
    algo = train(on(config(game, lr=3e-3, gamma=0.5, tau=0.1).reporting(min_sample_timesteps_per_iteration=500)), 2)
    for table in q_tables(algo, STATES[0]).values():
        np.testing.assert_allclose(table, value, atol=0.05)
    algo.stop()


def test_a_reward_met_late_is_still_learned(ray):
    algo = train(config(RareReward, lr=3e-3).env_runners(epsilon=1.0), 8)
    assert [int(a[0]) for a in greedy(algo, STATES[:1]).values()] == [7, 7]
    algo.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_forbidden_actions_are_never_taken(ray, on):
    """The game raises at a forbidden action. What is best among the allowed ones is learned."""
    algo = train(on(config(Masked, lr=3e-3, gamma=0.0)), 4)
    states = np.array([[t, 1.0] for t in range(3)], np.float32)
    masks = {"one": torch.ones(3, 3, dtype=bool), "two": torch.ones(3, 3, dtype=bool)}
    for t in range(3):
        masks["one"][t, t % 3] = masks["two"][t, (t + 1) % 3] = False
    joint = greedy(algo, states, masks)
    assert joint["one"].tolist() == [2, 2, 1] and joint["two"].tolist() == [2, 1, 2]
    algo.stop()


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
def test_the_papers_matrix_games(ray, game, hierarchy, joint, seed):
    settings = config(game, hierarchy).debugging(seed=seed).reporting(min_sample_timesteps_per_iteration=1000)
    algo = train(settings.env_runners(epsilon=[[0, 1.0], [500, 1.0], [1000, 0.1]]), 1)
    assert played(algo) == joint
    algo.stop()


@pytest.mark.parametrize("scale", [0.01, 1000.0])
def test_a_game_in_another_unit_is_the_same_game(ray, scale):
    settings = config("maintain_v0").environment("maintain_v0", env_config={"scale": scale, "shift": 7 * scale})
    algo = train(settings.env_runners(epsilon=[[0, 1.0], [500, 1.0], [1000, 0.1]]), 5)
    assert played(algo) == (0, 0)
    value = q_tables(algo, np.ones(1, np.float32))["player_0"][0, 0]
    assert value == pytest.approx(27 * scale, rel=0.05)
    algo.stop()


def test_images(ray):
    settings = config(Pictures, lr=1e-3).rl_module(model_config={"conv_filters": [[4, 3, 2]], "fcnet_hiddens": [16]})
    algo = train(settings, 3)
    images = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    joint = greedy(algo, images)
    assert joint["one"].tolist() == [0, 1] and joint["two"].tolist() == [0, 1]
    algo.stop()


def test_highway_merge_short(ray):
    settings = (
        config("merge_v0", [["main_0"], ["auxiliary_0"]], lr=1e-3, gamma=0.99, training_intensity=32.0)
        .env_runners(epsilon=[[0, 1.0], [4000, 0.1]])
        .rl_module(model_config={"fcnet_hiddens": [64, 64]})
        .reporting(min_sample_timesteps_per_iteration=12_000)  # all of six seeds have it by then, five by half of that
    )
    algo = train(settings, 1)
    rng = np.random.default_rng(0)
    starts = np.column_stack(
        [np.full(200, 215.0), rng.uniform(30, 40, 200), np.full(200, 215.0), rng.uniform(30, 40, 200)]
    )
    solved = merge_equilibrium(starts)
    outcomes = policy_outcomes(lambda states: greedy(algo, states), starts)
    assert (outcomes == solved.outcome).mean() >= 0.95
    algo.stop()
