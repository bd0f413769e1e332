"""The best decentralised commitment: exact values of small games, and its two ends, full and no information."""

import numpy as np
import pytest

from rllib_biac.envs.signalling_v0 import tables
from rllib_biac.equilibria import decentralised_commitment, policy_value, stackelberg


def random_game(rng, states=4):
    return rng.normal(size=(2, states, 3, 3)), rng.dirichlet(np.ones(states))


def test_the_three_signalling_games():
    shared = decentralised_commitment(*tables("shared"))
    assert shared.optimistic == shared.pessimistic == pytest.approx(1.0)
    assert len(set(shared.policy.tolist())) == 3  # each state has a name of its own
    pooling = decentralised_commitment(*tables("pooling"))
    assert pooling.optimistic == pooling.pessimistic == pytest.approx(10.0)
    assert len(set(pooling.policy.tolist())) == 1
    assert policy_value(*tables("pooling"), [0, 1]).optimistic == pytest.approx(6.0)
    hidden = decentralised_commitment(*tables("hidden"), announced=False)
    assert hidden.policy.tolist() == [0, 2] and hidden.pessimistic == pytest.approx(22.0)
    for policy, worth in (([0, 1], 20.0), ([1, 2], 10.0)):
        assert policy_value(*tables("hidden"), policy, announced=False).optimistic == pytest.approx(worth)


def test_who_is_not_believed_tells_the_truth():
    """With a good state as rare as 0.3 pooling is not accepted, and telling pays 3; no equilibrium of play does so."""
    payoffs, _, seen = tables("pooling")
    found = decentralised_commitment(payoffs, [0.3, 0.7], seen)
    assert found.optimistic == pytest.approx(3.0) and len(set(found.policy.tolist())) == 2


def test_with_full_information_it_is_the_se_of_each_state():
    for seed in range(20):
        payoffs, prior = random_game(np.random.default_rng(seed))
        everything = np.tile(np.arange(4), (2, 1))
        found = decentralised_commitment(payoffs, prior, everything)
        each = [stackelberg(payoffs[:, s]) for s in range(4)]
        assert found.policy.tolist() == [int(se.leader_action) for se in each]
        assert found.optimistic == pytest.approx(
            sum(p * float(se.leader_payoff) for p, se in zip(prior, each, strict=True))
        )


def test_with_no_information_it_is_the_se_of_the_mean_game():
    for seed in range(20):
        payoffs, prior = random_game(np.random.default_rng(seed))
        mean = np.einsum("s,isab->iab", prior, payoffs)
        for announced in (True, False):
            found = decentralised_commitment(payoffs, prior, np.zeros((2, 4), int), announced=announced)
            assert found.optimistic == pytest.approx(float(stackelberg(mean).leader_payoff))


def test_answers_are_best_on_average():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        payoffs, prior = random_game(rng)
        seen, policy = np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), rng.integers(3, size=2)
        value = policy_value(payoffs, prior, seen, policy)
        acts = policy[seen[0]]
        answers = value.answers[seen[1], acts]
        assert prior @ payoffs[1, range(4), acts, answers] == pytest.approx(value.follower_payoff)
        assert prior @ payoffs[0, range(4), acts, answers] == pytest.approx(value.optimistic)
        for other in range(3):  # any other answer to what is seen and heard is no better
            for o, a in set(zip(seen[1].tolist(), acts.tolist(), strict=True)):
                tried = value.answers.copy()
                tried[o, a] = other
                assert prior @ payoffs[1, range(4), acts, tried[seen[1], acts]] <= value.follower_payoff + 1e-9


def test_ties_are_told_both_ways():
    payoffs = np.array([[[[1.0, 5.0]]], [[[2.0, 2.0]]]])
    found = decentralised_commitment(payoffs, [1.0], [[0], [0]])
    assert (found.pessimistic, found.optimistic) == (1.0, 5.0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="payoffs must have shape"):
        decentralised_commitment(np.zeros((2, 3, 2)), [1.0], [[0], [0]])
    with pytest.raises(ValueError, match=r"3\^20 policies"):
        many = np.tile(np.arange(20), (2, 1))
        decentralised_commitment(np.zeros((2, 20, 3, 2)), np.full(20, 0.05), many)
