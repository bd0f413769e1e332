"""What counts as right play in the zoo, and how a run's looks at its play are counted. Part of every table, by hash."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_biac.envs.zoo.answers import DiscreteAnswer
from rllib_biac.envs.zoo.continuous_answers import ContinuousAnswer
from rllib_biac.envs.zoo.game import DECIDED
from rllib_biac.envs.zoo.merges import MergeAnswer


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the scoring.

    Attributes:
        decided: least margin of a game that counts, in standard deviations of its stage payoffs.
        looks: at greedy play, evenly over the budget.
        last: share of the looks in which none may be wrong where a run holds.
        near: largest error of a continuous action that is right, as a share of its range.
        match: least share of Merge's starts whose outcome is the equilibrium's where play is right.
    """

    decided: float = DECIDED
    looks: int = 40
    last: float = 0.25
    near: float = 0.05
    match: float = 0.995


RULES = Rules()


@functools.cache
def rules_hash() -> str:
    """Returns twelve hex digits of how the zoo draws games and counts, budgets included: they are in every table.

    It is a hash of this package's code, comments and docstrings aside.
    """
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):  # else a lambda's or a conditional expression's
                node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
        code.update(ast.unparse(tree).encode())
    return code.hexdigest()[:12]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(frozen=True, slots=True)
class Score:
    """One look at greedy play.

    Attributes:
        right: whether play is at equilibrium wherever it comes.
        leader_regret: what the leader misses, the worst of all states that play reaches, as a share of the spread of
            its payoff over its actions with the follower's best answers; at least 0. NaN without an equilibrium.
        response_regret: what the follower misses by its answer to what is played, likewise, as a share of the spread of
            its payoff over its answers.
        answers: share of best responses among the answers to all leader actions in all states; NaN where nobody knows.
        error: how far continuous actions are from equilibrium, as a share of their range, or the share of Merge's
            starts that come to another outcome; NaN elsewhere.
    """

    right: bool
    leader_regret: float
    response_regret: float
    answers: float
    error: float = float("nan")


def score_continuous(answer: ContinuousAnswer, actions: Mapping[str, np.ndarray]) -> Score:
    """Scores play in a game with continuous actions, agent -> (C, size) or (C,), in the answer's own states."""
    error = answer.error(actions)
    return Score(error <= RULES.near, answer.regret(actions, 0), answer.regret(actions, -1), float("nan"), error)


def score_merge(answer: MergeAnswer, policy: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> Score:
    """Scores a policy of Merge: states (m, 8) float32 -> agent -> (m,) integers."""
    error, unknown = answer.error(policy), float("nan")
    return Score(1 - error >= RULES.match, unknown, unknown, unknown, error)


def score_discrete(
    answer: DiscreteAnswer, leads: np.ndarray, answers: np.ndarray, responses: np.ndarray | None = None
) -> Score:
    """Scores a stationary play of a two-player game with tables.

    Where there are several equilibria, play is held against the one that it comes nearest to. Where there is none, no
    play is right, and regrets are those in the stage games that the play's own values make.

    Args:
        answer: the exact one.
        leads: (|S|,) integers, what the leader plays.
        answers: (|S|,) integers, what the follower plays with it.
        responses: (|S|, |A_l|) integers, its answers to all leader actions; None where nobody knows.
    """
    states = np.flatnonzero(answer.reached(leads, answers))
    games = zip(answer.q, answer.right, strict=True)
    if not len(answer):
        q = own_stage_games(answer, leads, answers)
        games = zip([q], [np.zeros((len(q), *q.shape[2:]), bool)], strict=True)
    return min(
        (_score(q, right, states, leads, answers, responses) for q, right in games),
        key=lambda one: (not one.right, max(one.leader_regret, one.response_regret)),
    )


def own_stage_games(answer: DiscreteAnswer, leads: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns the stage games that a play's own values make, (|S|, 2, |A_l|, |A_f|); arguments as of `score_discrete`.

    The answer's transitions have to be chances.
    """
    from rllib_biac.equilibria.feedback import STAGE_AXES, stage_games
    from rllib_biac.equilibria.markov import evaluate, round_off

    values = evaluate(answer.rewards, answer.following, answer.gamma, (leads, answers))  # (2, |S|)
    return round_off(stage_games(answer.rewards, answer.following, answer.gamma, values), STAGE_AXES)


def _score(
    q: np.ndarray,
    right: np.ndarray,
    states: np.ndarray,
    leads: np.ndarray,
    answers: np.ndarray,
    responses: np.ndarray | None,
) -> Score:
    # q is (|S|, 2, |A_l|, |A_f|), right (|S|, |A_l|, |A_f|)
    here, first, second = q[states], leads[states], answers[states]
    rows = np.arange(len(states))
    best = here[:, 1] == here[:, 1].max(-1, keepdims=True)  # (reached, |A_l|, |A_f|)
    secured = np.where(best, here[:, 0], np.inf).min(-1)  # (reached, |A_l|)
    # A follower's mistake is not the leader's: the leader is owed what its action secures.
    deserved = np.where(best[rows, first, second], here[rows, 0, first, second], secured[rows, first])
    missed = np.maximum(secured.max(-1) - deserved, 0)
    follows = here[rows, 1, first]  # (reached, |A_f|)
    foregone = follows.max(-1) - follows[rows, second]
    known = float("nan")
    if responses is not None:
        every = np.take_along_axis(q[:, 1], responses[..., None], -1)[..., 0]  # (|S|, |A_l|)
        known = float((every == q[:, 1].max(-1)).mean())
    return Score(
        right=bool(right[states, first, second].all()),
        leader_regret=float(_share(missed, np.ptp(secured, axis=-1)).max()),
        response_regret=float(_share(foregone, np.ptp(follows, axis=-1)).max()),
        answers=known,
    )


def _share(missed: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.divide(missed, spread, out=np.zeros_like(missed), where=missed > 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's looks come to.

    Attributes:
        solved: whether play is right at the end.
        holds: whether, besides, no look in the last part of the run was wrong.
        right_from: index of the first look from which on all are right; None if the last one is wrong.
    """

    solved: bool
    holds: bool
    right_from: int | None


def verdict(looks: Sequence[bool], rules: Rules = RULES) -> Verdict:
    """Counts looks at greedy play, in the order in which they were taken.

    A run that was cut off counts as wrong in all looks that it did not come to.

    Args:
        looks: whether play was right, at most `rules.looks` of them.
        rules: how to count.

    Raises:
        ValueError: if there are more looks than the rules ask for.
    """
    if len(looks) > rules.looks:
        raise ValueError(f"{len(looks)} looks at a run, where the rules ask for {rules.looks}.")
    padded = [*map(bool, looks), *[False] * (rules.looks - len(looks))]
    wrong = [i for i, right in enumerate(padded) if not right]
    first = wrong[-1] + 1 if wrong else 0
    last = rules.looks - round(rules.looks * rules.last)
    return Verdict(padded[-1], first <= last, first if padded[-1] else None)


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's 95% interval of a share; (0, 1) of no trials."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z * np.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def summary(values: Sequence[Any]) -> float:
    """Returns the median of what is known, NaN of nothing."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")
