"""Both orders of two agents, beside exact values."""

import pytest

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.evaluation.roles import compare_roles
from tests.games import TwoStates
from tests.training import SMALL, checked

PLAYERS = ("player_0", "player_1")


def orders(algorithm, env, steps, agents=PLAYERS, **settings):
    own = checked(algorithm, [[agent] for agent in agents], **SMALL | {"gamma": 0.9} | settings)
    kept = {"env_config": {}, "steps": steps, "seeds": [0], "episodes": 5, "num_games": 10}
    return compare_roles(algorithm, own, env, agents, **kept)


def exact(order):
    return {worth.notion: worth for worth in order.exact}


def test_each_order_has_values_of_its_own():
    """In the entry game the incumbent gains by leading only if it commits to its whole policy."""
    first, second = orders(CommitmentDQN, "entry_deterrence_v0", 1000, max_states=2, training_intensity=16.0)
    assert (first.leader, first.follower) == PLAYERS and (second.leader, second.follower) == PLAYERS[::-1]
    assert exact(first)["feedback SE"].leader == pytest.approx((1.8, 1.8))
    assert exact(first)["feedback SE"].follower == pytest.approx((0.9, 0.9))
    assert exact(first)["pure commitment"].leader == pytest.approx((4, 4))
    assert exact(first)["pure commitment"].follower == pytest.approx((0, 0))
    assert first.discounted and first.learned[0] == pytest.approx((4, 0))
    # The entrant, leading, comes in: the incumbent accommodates, (1.8, 0.9), or 1 for itself beyond the discount.
    assert exact(second)["feedback SE"].leader == pytest.approx((0.9, 0.9))


def test_what_is_learned_of_a_feedback_equilibrium_is_its_value():
    first, second = orders(BiAC, "maintain_v0", 600)
    for order in (first, second):
        worth = exact(order)["feedback SE"]
        assert order.mean == pytest.approx((worth.leader[0], worth.follower[0]))
    assert exact(first)["mixed commitment"].leader == pytest.approx((27.5, 27.5), abs=0.1)
    assert exact(first)["mixed commitment, announced"].leader == pytest.approx((20, 20), abs=0.1)


def test_games_without_tables_are_played():
    first, second = orders(BiAC, TwoStates, 100, ("one", "two"))
    assert first.exact is None and not first.discounted and len(second.learned) == 1
