"""Scoring on games small enough to be scored by hand."""

import numpy as np
import pytest
from scipy import stats

from rllib_biac.envs.zoo import zoo_game
from rllib_biac.envs.zoo.answers import DiscreteAnswer, answer, matrix_answer
from rllib_biac.envs.zoo.scoring import (
    RULES,
    own_stage_games,
    rules_hash,
    score_continuous,
    score_discrete,
    score_merge,
    verdict,
    wilson,
)
from rllib_biac.equilibria import MarkovGame, feedback_se, play_regret

# Rows: the follower's best answers pay the leader 4, 2 and 0.
PAYOFFS = np.array([[[4.0, 9.0], [1.0, 2.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 5.0], [2.0, -2.0]]])


def one_step(payoffs, lead, answer_, responses=None):
    own = None if responses is None else np.array([responses])
    return score_discrete(matrix_answer(np.array(payoffs, float), 0), np.array([lead]), np.array([answer_]), own)


def test_right_play_has_no_regret():
    score = one_step(PAYOFFS, 0, 0, [0, 1, 0])
    assert (score.right, score.leader_regret, score.response_regret, score.answers) == (True, 0, 0, 1)
    assert one_step(PAYOFFS, 0, 0, [0, 0, 1]).answers == pytest.approx(1 / 3)
    assert np.isnan(one_step(PAYOFFS, 0, 0).answers)


def test_regrets_are_shares_of_spreads():
    assert one_step(PAYOFFS, 1, 1).leader_regret == pytest.approx(2 / 4)
    worst = one_step(PAYOFFS, 2, 0)
    assert (worst.right, worst.leader_regret, worst.response_regret) == (False, 1, 0)
    # The follower errs, to the leader's good or harm: that is not the leader's regret.
    lucky = one_step(PAYOFFS, 0, 1)
    assert (lucky.right, lucky.leader_regret, lucky.response_regret) == (False, 0, 1)


def test_a_worst_row_does_not_pass_by_its_right_answer():
    """Against uniform play's spread the outlier would make every regret small."""
    payoffs = PAYOFFS.copy()
    payoffs[:, 2, 1] = -1e6
    assert one_step(payoffs, 2, 0).leader_regret == 1


def test_ties_are_nobodys_fault():
    payoffs = [[[3.0, 1.0], [2.0, 2.0]], [[0.0, 0.0], [1.0, 0.0]]]  # the first row pays 3 or 1, as the follower likes
    assert all(one_step(payoffs, a, b).right for a, b in ((0, 0), (1, 0)))
    assert not one_step(payoffs, 0, 1).right and not one_step(payoffs, 1, 1).right
    assert one_step(payoffs, 0, 1).leader_regret == 1 and one_step(payoffs, 1, 1).leader_regret == 0


def chain():
    """Two states: in the first, joint action (0, 0) pays 1 and ends, others lead to the second, which pays little."""
    rewards = np.zeros((2, 2, 2, 2))
    rewards[:, 0, 0, 0] = 1
    rewards[:, 1] = [[0.2, 0.0], [0.0, 0.1]]
    transitions = np.zeros((2, 2, 2, 2))
    transitions[0, :, :, 1] = 1
    transitions[0, 0, 0] = 0
    solution = feedback_se(MarkovGame(rewards, transitions, 0.9))
    values = np.stack([solution.leader_value, solution.follower_value], 1)
    return answer((rewards, transitions, np.eye(2)), np.array([1.0, 0.0]), 0.9, 0, values)


def test_only_states_that_play_reaches_count():
    game = chain()
    np.testing.assert_array_equal(game.reached(np.array([0, 1]), np.array([0, 1])), [True, False])
    assert score_discrete(game, np.array([0, 1]), np.array([0, 1])).right  # wrong where it does not come
    np.testing.assert_array_equal(game.reached(np.array([1, 1]), np.array([0, 1])), [True, True])
    lost = score_discrete(game, np.array([1, 0]), np.array([0, 0]))
    assert not lost.right and lost.leader_regret == 1


def test_states_are_reached_the_same_by_index_and_by_chance():
    zoo = zoo_game("doorway", 0)
    small, rng = zoo.answer, np.random.default_rng(0)
    leads, answers = rng.integers(5, size=(2, len(small.start)))
    found = small.reached(leads, answers)
    at, came = int(small.start.argmax()), []
    while at >= 0:
        came.append(at)
        at = int(small.following[at, leads[at], answers[at]])
    np.testing.assert_array_equal(np.flatnonzero(found), sorted(came))


def test_play_is_held_against_the_equilibrium_it_comes_nearest_to():
    # Both agree on (0, 0) or (1, 1): by ties of the follower's, each is an equilibrium of one of two stage games.
    q = np.array([[[[3.0, 0.0], [0.0, 1.0]]] * 2, [[[1.0, 0.0], [0.0, 3.0]]] * 2])[:, None]  # (k, |S|, 2, 2, 2)
    both = DiscreteAnswer(
        rewards=q[0].swapaxes(0, 1),
        following=np.zeros((1, 2, 2, 1)),
        gamma=0.0,
        start=np.ones(1),
        q=q,
        right=q[:, :, 0] == 3,
        values=np.full((2, 2), 3.0),
        random=np.ones(2),
        states=np.ones((1, 1), np.float32),
    )
    for action in (0, 1):
        assert score_discrete(both, np.array([action]), np.array([action])).right
    assert not score_discrete(both, np.array([0]), np.array([1])).right


def test_without_an_equilibrium_regrets_are_those_of_the_plays_own_games():
    zoo = zoo_game("markov_none", 0)
    game, rng = zoo.answer, np.random.default_rng(0)
    count, first, second = game.rewards.shape[1:]
    own = MarkovGame(game.rewards, game.following, game.gamma)
    for _ in range(20):
        leads, responses = rng.integers(first, size=count), rng.integers(second, size=(count, first))
        answers = responses[np.arange(count), leads]
        score, exact = score_discrete(game, leads, answers, responses), play_regret(own, leads, responses)
        reached, q = game.reached(leads, answers), own_stage_games(game, leads, answers)
        assert not score.right
        follows = q[np.arange(count), 1, leads]
        share = exact.played_response_regret / np.ptp(follows, axis=1)
        assert score.response_regret == pytest.approx(share[reached].max())
        assert (score.leader_regret > 0) == (exact.leader_regret[reached].max() > 0)
        assert score.answers == pytest.approx((exact.response_regret == 0).mean())


def test_continuous_play():
    zoo = zoo_game("lq_context", 0)
    exact = {agent: own.astype(np.float32) for agent, own in zoo.answer.actions.items()}
    score = score_continuous(zoo.answer, exact)
    assert score.right and max(score.leader_regret, score.response_regret, score.error) < 1e-5
    (leader,), (follower,) = zoo.hierarchy
    off = exact | {follower: exact[follower] + 0.04 * 2}
    assert score_continuous(zoo.answer, off).error == pytest.approx(0.04, abs=1e-5)
    off = exact | {leader: exact[leader] + 0.06 * 2}
    far = score_continuous(zoo.answer, off)
    assert not far.right and far.error == pytest.approx(0.06, abs=1e-5) and far.leader_regret > 0


@pytest.mark.slow
def test_merge():
    from rllib_biac.envs.merge import rules

    found = zoo_game("merge_30_40", 0).answer
    fast = score_merge(found, lambda states: {agent: np.full(len(states), 3) for agent in rules.AGENTS})
    assert not fast.right and 0 < fast.error <= 1
    assert len(found.starts) == 300 and (found.starts[:, 1] >= 30).all() and (found.starts[:, 1] <= 40).all()
    moved = zoo_game("merge_places", 0).answer.starts
    assert moved[:, 0].min() < 203 and moved[:, 0].max() > 222


def test_looks():
    looks, last = RULES.looks, round(RULES.looks * RULES.last)
    held = verdict([False] * (looks - last) + [True] * last)
    assert (held.solved, held.holds, held.right_from) == (True, True, looks - last)
    late = verdict([False] * (looks - last + 1) + [True] * (last - 1))
    assert (late.solved, late.holds, late.right_from) == (True, False, looks - last + 1)
    lost = verdict([True] * (looks - 1) + [False])
    assert (lost.solved, lost.holds, lost.right_from) == (False, False, None)
    assert verdict([True] * looks).right_from == 0
    relapsed = [True] * looks
    relapsed[looks - last // 2] = False
    assert verdict(relapsed).solved and not verdict(relapsed).holds
    assert not verdict([True] * (looks - 1)).solved  # a run that was cut off
    with pytest.raises(ValueError, match="looks at a run"):
        verdict([True] * (looks + 1))


def test_wilsons_interval():
    for hits, trials in ((0, 10), (10, 10), (37, 40), (297, 300)):
        expected = stats.binomtest(hits, trials).proportion_ci(0.95, "wilson")
        assert wilson(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_the_hash_is_of_code_not_of_comments(tmp_path, monkeypatch):
    from rllib_biac.envs.zoo import scoring

    def hash_of(text):
        (tmp_path / "scoring.py").write_text(text)
        monkeypatch.setattr(scoring, "__file__", str(tmp_path / "scoring.py"))
        return scoring.rules_hash.__wrapped__()

    code = 'def f(x):\n    """Says."""\n    return x > 0.02\n'
    assert hash_of(code) == hash_of('def f(x):\n    """Says more."""\n    return x > 0.02  # so\n')
    assert hash_of(code) != hash_of(code.replace("0.02", "0.01"))
    assert len(rules_hash()) == 12
