"""Markov games, whole policies against each other, and the cooperation level."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import MarkovGame, commitment_se, cooperation_level, feedback_se, policy_game, stackelberg


def random_game(seed, states=2, actions=(2, 2), gamma=0.9, ends=0.2):
    rng = np.random.default_rng(seed)
    rewards = rng.standard_normal((len(actions), states, *actions))
    return MarkovGame(rewards, (1 - ends) * rng.dirichlet(np.ones(states), size=(states, *actions)), gamma)


def returns(game, *joint, sweeps=600):
    """The values of one joint policy by repeated substitution, (n_agents, |S|)."""
    values = np.zeros((len(game.rewards), game.num_states))
    for _ in range(sweeps):
        values = np.array(
            [
                [
                    game.rewards[(agent, s, *a)] + game.gamma * game.transitions[(s, *a)] @ values[agent]
                    for s, a in enumerate(zip(*joint, strict=True))
                ]
                for agent in range(len(values))
            ]
        )
    return values


def entry_deterrence(gamma=1.0):
    """In 0 the follower stays out (0), which ends the game, or enters (1). In 1 the leader shares (0) or fights (1)."""
    rewards, transitions = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2))
    rewards[0, 0, :, 0] = 10
    transitions[0, :, 1, 1] = 1
    rewards[:, 1, 0] = 4
    rewards[0, 1, 1], rewards[1, 1, 1] = -1, -5
    return MarkovGame(rewards, transitions, gamma)


@pytest.mark.parametrize("actions", [(2,), (2, 2), (3, 1), (2, 1, 2)])
def test_policy_game_holds_the_return_of_every_joint_policy(actions):
    game = random_game(0, states=2, actions=actions, gamma=0.7)
    table = policy_game(game, start=1)
    assert table.shape == (len(actions), *(a**2 for a in actions))
    for index in np.ndindex(table.shape[1:]):
        joint = [np.unravel_index(k, (a, a)) for k, a in zip(index, actions, strict=True)]
        np.testing.assert_allclose(table[(slice(None), *index)], returns(game, *joint, sweeps=120)[:, 1], atol=1e-9)


def test_a_matrix_game_is_its_own_policy_game():
    for payoffs in (ESCAPE, np.arange(24.0).reshape(3, 2, 2, 2)):
        np.testing.assert_array_equal(policy_game(MarkovGame.from_matrix(payoffs)), payoffs)


@pytest.mark.parametrize("leader", [0, 1])
def test_commitment_of_a_matrix_game_is_its_pure_se(leader):
    for payoffs in (ESCAPE, MAINTAIN):
        solution, se = commitment_se(MarkovGame.from_matrix(payoffs), leader=leader), stackelberg(payoffs, leader)
        assert (solution.leader_policy, solution.follower_policy) == (se.leader_action, se.follower_action)
        assert (solution.leader_payoff, solution.follower_payoff) == (se.leader_payoff, se.follower_payoff)


@pytest.mark.parametrize("leader", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_commitment_is_the_best_policy_against_a_solved_decision_process(seed, leader):
    game = random_game(seed, actions=(2, 3), gamma=0.8)
    sizes = game.num_actions
    solution = commitment_se(game, start=1, leader=leader)

    def answer(policy):
        """The follower's decision process, solved by value iteration."""
        values = np.zeros(2)
        for _ in range(200):
            q = np.array(
                [
                    [
                        game.rewards[(1 - leader, s, *joint)] + game.gamma * game.transitions[(s, *joint)] @ values
                        for b in range(sizes[1 - leader])
                        for joint in [(policy[s], b) if leader == 0 else (b, policy[s])]
                    ]
                    for s in range(2)
                ]
            )
            values = q.max(-1)
        return q.argmax(-1)

    best = {}
    for policy in itertools.product(range(sizes[leader]), repeat=2):
        response = answer(policy)
        joint = (policy, response) if leader == 0 else (response, policy)
        best[policy] = (*returns(game, *joint, sweeps=200)[[leader, 1 - leader], 1], *response)
    policy = max(best, key=lambda one: best[one][0])
    assert tuple(solution.leader_policy) == policy
    assert tuple(solution.follower_policy) == best[policy][2:]
    assert (solution.leader_payoff, solution.follower_payoff) == pytest.approx(best[policy][:2])
    assert solution.pessimistic == pytest.approx(solution.optimistic) == pytest.approx(solution.leader_payoff)


def test_ties_among_whole_policies_bound_the_leaders_payoff():
    """The follower decides for nothing in state 1 whether the leader gets 1 or 5; state 0 only leads there."""
    rewards, transitions = np.zeros((2, 2, 1, 2)), np.zeros((2, 1, 2, 2))
    rewards[0, 1] = [1, 5]
    transitions[0, :, :, 1] = 1
    solution = commitment_se(MarkovGame(rewards, transitions, 0.5))
    assert (solution.pessimistic, solution.leader_payoff, solution.optimistic) == (0.5, 0.5, 2.5)


def test_the_follower_is_optimal_where_the_play_does_not_come():
    rewards = np.zeros((2, 2, 1, 2))
    rewards[1, :, 0, 1] = 1
    solution = commitment_se(MarkovGame(rewards, np.zeros((2, 1, 2, 2)), 0.9))
    assert solution.follower_policy.tolist() == [1, 1] and solution.follower_payoff == 1


def test_a_leader_that_commits_to_fight_keeps_others_out():
    game = entry_deterrence()
    committed = commitment_se(game)
    assert (committed.leader_payoff, committed.follower_payoff) == (10, 0)
    assert committed.leader_policy[1] == 1 and committed.follower_policy[0] == 0
    feedback = feedback_se(game)
    assert set(zip(feedback.leader_value[:, 0], feedback.follower_value[:, 0], strict=True)) == {(4, 4)}
    # every fixed point shares, and they differ only in actions without effect, which are ties
    assert len(feedback) == 4 and (feedback.leader_action[:, 1] == 0).all() and (feedback.margin == 0).all()


def test_cooperation_level_of_the_papers_games():
    assert cooperation_level(MarkovGame.from_matrix(ESCAPE)) == pytest.approx(1)
    first, second = MAINTAIN.reshape(2, -1)
    level = cooperation_level(MarkovGame.from_matrix(MAINTAIN))
    assert level == pytest.approx(np.corrcoef(first, second)[0, 1]) and round(level, 3) == 0.375


def test_cooperation_level_of_markov_games():
    game = random_game(3, states=3)
    for sign in (1, -1):
        both = MarkovGame(np.stack([game.rewards[0], sign * game.rewards[0]]), game.transitions, game.gamma)
        assert cooperation_level(both) == pytest.approx(sign)
    table = policy_game(game).reshape(2, -1)
    assert cooperation_level(game) == pytest.approx(np.corrcoef(table)[0, 1])
    for scale in (1e-200, 1e200):
        scaled = MarkovGame(scale * game.rewards, game.transitions, game.gamma)
        assert cooperation_level(scaled) == pytest.approx(cooperation_level(game))


def test_cooperation_level_of_constant_returns_is_undefined():
    assert np.isnan(cooperation_level(MarkovGame.from_matrix(np.stack([np.full((2, 2), 0.1), ESCAPE[0, :2, :2]]))))
    same = MarkovGame(np.ones((2, 2, 2, 2)), np.full((2, 2, 2, 2), 0.5), 0.9)  # 10, whatever is played
    assert np.isnan(cooperation_level(same))


def test_arrays_are_copied_and_read_only():
    rewards = np.zeros((2, 1, 2, 2))
    game = MarkovGame(rewards, np.zeros((1, 2, 2, 1)), 0.9)
    rewards[:] = 1
    assert not game.rewards.any()
    with pytest.raises(ValueError, match="read-only"):
        game.rewards[:] = 1


@pytest.mark.parametrize(
    ("rewards", "transitions", "gamma", "message"),
    [
        (np.zeros((2, 1, 2)), np.zeros((1, 2, 1)), 0.9, "rewards must have shape"),
        (np.zeros((2, 1, 2, 0)), np.zeros((1, 2, 0, 1)), 0.9, "rewards must have shape"),
        (np.full((2, 1, 2, 2), np.inf), np.zeros((1, 2, 2, 1)), 0.9, "rewards must be finite"),
        (np.zeros((2, 1, 2, 2)), np.zeros((1, 2, 2, 2)), 0.9, "transitions must have shape"),
        (np.zeros((2, 1, 2, 2)), np.full((1, 2, 2, 1), 1.1), 0.9, "sum to at most 1"),
        (np.zeros((2, 1, 2, 2)), np.full((1, 2, 2, 1), -0.1), 0.9, "at least 0"),
        (np.zeros((2, 1, 2, 2)), np.full((1, 2, 2, 1), np.nan), 0.9, "at least 0"),
        (np.zeros((2, 1, 2, 2)), np.zeros((1, 2, 2, 1)), 1.1, "gamma must lie"),
        (np.zeros((2, 1, 2, 2)), np.ones((1, 2, 2, 1)), 1, "gamma must be below 1"),
    ],
)
def test_unfit_games_are_refused(rewards, transitions, gamma, message):
    with pytest.raises(ValueError, match=message):
        MarkovGame(rewards, transitions, gamma)


def test_without_discount_a_game_must_end():
    transitions = np.zeros((2, 2, 2, 2))
    transitions[0, :, :, 1] = 1
    transitions[1, 0, 0, 0] = 0.5
    assert policy_game(MarkovGame(np.ones((2, 2, 2, 2)), transitions, 1)).max() == 4  # both states twice on average
    transitions[1, 0, 0, 1] = 0.5
    with pytest.raises(ValueError, match="for ever"):
        MarkovGame(np.ones((2, 2, 2, 2)), transitions, 1)


def test_acyclic():
    transitions = np.zeros((3, 2, 2, 3))
    transitions[0, 0, 0, 2] = transitions[0, 1, 1, 1] = transitions[2, 1, 0, 1] = 0.5
    assert MarkovGame(np.zeros((2, 3, 2, 2)), transitions, 1).is_acyclic
    transitions[1, 1, 0, 0] = 0.1
    assert not MarkovGame(np.zeros((2, 3, 2, 2)), transitions, 0.9).is_acyclic
    assert MarkovGame.from_matrix(ESCAPE).is_acyclic


def test_bad_arguments_are_refused():
    game = random_game(0)
    for solve in (policy_game, commitment_se, cooperation_level):
        with pytest.raises(ValueError, match="start must be"):
            solve(game, start=2)
        with pytest.raises(ValueError, match="too many"):
            solve(random_game(0, states=20))
    with pytest.raises(ValueError, match="leader must be"):
        commitment_se(game, leader=2)
    for solve in (commitment_se, cooperation_level):
        with pytest.raises(ValueError, match="two players"):
            solve(random_game(0, actions=(2, 2, 2)))
