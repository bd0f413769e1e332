"""What a commitment secures: known games, all of the follower's policies by brute force, and what theory says."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs.entry_deterrence_v0 import DISCOUNT, REWARDS, TRANSITIONS
from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.equilibria import MarkovGame, commitment_se, mixed_commitment, secured
from rllib_biac.equilibria.markov import policies


def random_game(rng, states=3, leads=2, follows=2, *, whole=False):
    rewards = rng.standard_normal((2, states, leads, follows))
    if whole:  # so that there are ties
        rewards = np.rint(rewards)
    transitions = rng.dirichlet(np.ones(states), (states, leads, follows)) * rng.uniform(
        0.5, 1, (states, leads, follows, 1)
    )
    return MarkovGame(rewards, transitions, 0.9)


def returns(game, z, answers, start):
    """Both players' returns if the follower plays `answers`, (|S|, |A_l|): by powers of the chain, no linear solve."""
    states = np.arange(game.num_states)[:, None]
    leads = np.arange(game.num_actions[0])
    reward = (game.rewards[:, states, leads, answers] * z).sum(-1)  # (2, |S|)
    move = (game.transitions[states, leads, answers] * z[..., None]).sum(1)  # (|S|, |S|)
    values = np.zeros_like(reward)
    for _ in range(600):
        values = reward + game.gamma * values @ move.T
    return values[:, start]


def by_brute_force(game, z, start, *, announced):
    """The least and the most that the leader gets over the follower's best policies of all that there are."""
    states, (leads, follows) = game.num_states, game.num_actions
    size = states * leads if announced else states
    found = []
    for flat in itertools.product(range(follows), repeat=size):
        own = np.array(flat).reshape(states, -1)
        found.append(returns(game, z, np.broadcast_to(own, (states, leads)), start))
    leader, follower = np.array(found).T
    best = leader[follower >= follower.max() - 1e-9]
    return best.min(), best.max(), follower.max()


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_brute_force_agrees(announced, whole):
    rng = np.random.default_rng(0)
    for _ in range(8):
        game = random_game(rng, states=2, whole=whole)
        z = rng.dirichlet(np.ones(2), 2)
        if whole:
            z[0] = [1, 0]
        found = secured(game, z, announced=announced, start=1)
        exact = by_brute_force(game, z, 1, announced=announced)
        assert (found.leader_payoff, found.optimistic, found.follower_payoff) == pytest.approx(exact, abs=1e-8)


def test_ties_go_against_the_leader():
    game = MarkovGame.from_matrix([[[5, 1]], [[0, 0]]])
    found = secured(game, [[1.0]], announced=False)
    assert (found.leader_payoff, found.optimistic, found.response.tolist()) == (1, 5, [1])


@pytest.mark.parametrize("announced", [False, True])
def test_pure_policies_agree_with_the_commitment_se(announced):
    rng = np.random.default_rng(1)
    for leader in (0, 1):
        for _ in range(5):
            game = random_game(rng)
            best = max(
                secured(game, np.eye(2)[own], announced=announced, leader=leader).leader_payoff
                for own in policies(2, 3)
            )
            assert best == pytest.approx(commitment_se(game, leader=leader).pessimistic)


def test_maintain_is_worth_more_if_the_draw_is_not_seen():
    game = MarkovGame.from_matrix(MAINTAIN)
    assert mixed_commitment(MAINTAIN).leader_payoff == pytest.approx(27.5)
    near = [[0.25 + 1e-6, 0.75 - 1e-6, 0]]
    assert secured(game, near, announced=False).leader_payoff == pytest.approx(27.5, abs=1e-4)
    grid = [np.array([a, b, 20 - a - b]) / 20 for a in range(21) for b in range(21 - a)]
    announced = max(secured(game, [z], announced=True).leader_payoff for z in grid)
    assert announced == pytest.approx(20)  # a mean of pure outcomes


def test_entry_deterrence_pays_the_threat():
    game = MarkovGame(REWARDS, TRANSITIONS, DISCOUNT)
    assert secured(game, [[1, 0], [0, 1]], announced=True).leader_payoff == pytest.approx(4)
    assert secured(game, [[1, 0], [1, 0]], announced=True).leader_payoff == pytest.approx(1.8)


def test_who_sees_the_draw_never_gets_less():
    rng = np.random.default_rng(2)
    for _ in range(20):
        game, z = random_game(rng, follows=3), rng.dirichlet(np.ones(2), 3)
        seen, unseen = (secured(game, z, announced=announced).follower_payoff for announced in (True, False))
        assert seen >= unseen - 1e-9


def test_a_start_may_be_drawn():
    rng = np.random.default_rng(3)
    game, z, chances = random_game(rng), rng.dirichlet(np.ones(2), 3), np.array([0.2, 0.3, 0.5])
    each = [secured(game, z, announced=True, start=s).leader_payoff for s in range(3)]
    assert secured(game, z, announced=True, start=chances).leader_payoff == pytest.approx(chances @ each)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": [[0.5, 0.5]]}, "policy must have shape"),
        ({"policy": [[0.5, 0.6]] * 3}, "sum to 1"),
        ({"start": 3}, "start must be"),
        ({"start": [0.5, 0.4, 0]}, "start must be"),
        ({"leader": 2}, "leader must be"),
    ],
)
def test_bad_arguments_are_refused(changed, message):
    game = random_game(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        secured(game, **{"policy": np.full((3, 2), 0.5), "announced": False} | changed)
