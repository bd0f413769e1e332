"""Feedback SE by enumerating leader policies: the same as by enumerating joint policies, and for larger games."""

import numpy as np
import pytest

from rllib_biac.equilibria import MarkovGame, backward_induction, feedback_se, play_regret
from rllib_biac.equilibria.feedback import fixed_points
from rllib_biac.equilibria.markov import joint_policies
from rllib_biac.equilibria.random_markov import TRANSITIONS, sample_markov_games


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("integers", [False, True], ids=["normal", "integer"])
def test_the_same_as_all_joint_policies(transitions, integers):
    rng, several = np.random.default_rng(0), 0
    for trial in range(25):
        states, leader, gamma = int(rng.integers(1, 5)), trial % 2, float(rng.choice([0, 0.5, 0.9, 0.99]))
        rewards, moves = (table[0] for table in sample_markov_games(1, states, 3, rng, transitions))
        sizes = (2, 2) if states > 3 else (2, 3) if trial % 3 else (3, 2)
        rewards, moves = rewards[:, :, : sizes[0], : sizes[1]], moves[:, : sizes[0], : sizes[1]]
        game = MarkovGame(np.rint(1.5 * rewards) if integers else rewards, moves, gamma)
        led, found = game.led_by(leader), feedback_se(game, leader)
        expected, _ = fixed_points(led.rewards, led.transitions, gamma)
        first, second = joint_policies(led.num_actions, states)
        at = np.nonzero(expected)
        np.testing.assert_array_equal(found.leader_action, first[at[0], 0])
        np.testing.assert_array_equal(found.follower_action, second[0, at[1]])
        several += len(found) > 1
    assert several


@pytest.mark.parametrize(("states", "actions"), [(12, 2), pytest.param(9, 3, marks=pytest.mark.slow)])
def test_larger_games(states, actions):
    counts = set()
    for seed in range(2):
        rewards, moves = sample_markov_games(1, states, actions, np.random.default_rng(seed), TRANSITIONS[seed % 3])
        game = MarkovGame(rewards[0], moves[0], 0.9)
        found = feedback_se(game, leader=1)
        counts.add(len(found))
        for k in range(len(found)):
            assert play_regret(game, found.leader_action[k], found.responses[k], leader=1).is_feedback_se
    assert counts  # of none nothing could be held against the definition


def test_of_a_large_game_that_never_returns():
    rng = np.random.default_rng(0)
    rewards = rng.standard_normal((2, 12, 2, 2))
    moves = np.triu(rng.random((2, 2, 12, 12)), 1).transpose(2, 0, 1, 3)
    moves /= np.maximum(moves.sum(-1, keepdims=True), 1)
    game = MarkovGame(rewards, moves, 0.9)
    found, expected = feedback_se(game), backward_induction(game)
    np.testing.assert_array_equal(found.leader_action, expected.leader_action)
    np.testing.assert_allclose(found.leader_value, expected.leader_value)


def test_too_many_ties():
    nothing = MarkovGame(np.zeros((2, 12, 2, 3)), np.broadcast_to(np.eye(12)[:, None, None], (12, 2, 3, 12)), 0.9)
    with pytest.raises(ValueError, match="tie in too many ways"):
        feedback_se(nothing)
