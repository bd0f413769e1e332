"""Says when play is bad, and what to change: short notes for a person, made of the numbers of a run or of its play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rllib_biac.evaluation.play import Played

PAGE = "docs/does_not_learn.md"
LARGE = 0.05  # of the largest return: a regret from which on play is called bad
_WORSE = 0.2  # of the largest return: how far greedy play may stay below play while training
_FALLEN = 0.3  # of a return's range over the run
_RANDOM = 0.3  # share of random actions at the end
_CERTAIN = 2.0  # standard errors
_RETURNS = "env_runners/agent_episode_returns_mean/"
_REGRETS = "evaluation/regret/"

_RESPONSE = (
    "some follower does not answer well, perhaps where those above it seldom go: train for more env steps, or let "
    "epsilon fall more slowly"
)
_LEADER = (
    "some leader does not commit to what pays most: see first that the followers answer well, then train for more env "
    "steps, or let epsilon fall more slowly"
)
_PEERS = "these agents are peers, who commit to nothing: let one lead, with `run: BiAC` and a hierarchy of two levels"


@dataclass(frozen=True)
class Course:
    """How a number went over a run."""

    lowest: float
    highest: float
    last: float


def of_play(played: Played, trained_returns: Mapping[str, float] | None = None, *, peers: bool = False) -> list[str]:
    """Returns notes on greedy play, none if nothing is wrong with it.

    Args:
        played: the play, with exact or learned regrets where they are known.
        trained_returns: agent -> mean return that training reported last, exploration included.
        peers: whether nobody leads.
    """
    notes = []
    scale = _scale(value for returns in played.returns.values() for value in returns)
    if played.regrets is not None:
        notes += _exact(*played.regrets, scale, peers)
    for agent, found in played.learned_regret.items():
        worst = found.worst
        if worst.value > LARGE * scale and worst.value > _CERTAIN * worst.standard_error:
            kind, advice = ("response", _RESPONSE) if found.responds else ("leader", _PEERS if peers else _LEADER)
            notes.append(f"{agent} gains {worst.value:.4g} by playing otherwise ({kind} regret): {advice}.")
    means = {agent: sum(returns) / len(returns) for agent, returns in played.returns.items() if returns}
    worse = {
        agent: (mean, trained_returns[agent])
        for agent, mean in means.items()
        if trained_returns and agent in trained_returns and mean < trained_returns[agent] - _WORSE * scale
    }
    # A leader that gave way to a follower, or the other way round, lost nothing for all.
    better = any(mean > (trained_returns or {}).get(agent, mean) + _WORSE * scale for agent, mean in means.items())
    if worse and not better:
        told = ", ".join(f"{agent} {mean:.4g} instead of {before:.4g}" for agent, (mean, before) in worse.items())
        notes.append(
            f"greedy play gets less than play with random actions did in training ({told}): it may be stuck where "
            "only chance leads out. See that the state tells all that matters, and train for more env steps with a "
            "lower epsilon at the end."
        )
    return notes


def of_training(result: Mapping[str, Any], courses: Mapping[str, Course]) -> list[str]:
    """Returns notes on a run that has ended, none if nothing looks wrong.

    Args:
        result: its last report, nested keys joined by `/`.
        courses: metric -> how it went over the run, keys as in `result`.
    """
    notes = []
    returns = {key: course for key, course in courses.items() if key.startswith(_RETURNS)}
    scale = _scale(end for course in returns.values() for end in (course.lowest, course.highest))
    exact = [result.get(f"{_REGRETS}{kind}_regret") for kind in ("response", "leader")]
    if all(isinstance(value, int | float) for value in exact):
        notes += _exact(float(exact[0] or 0), float(exact[1] or 0), scale)
    epsilon = result.get("env_runners/epsilon")
    if isinstance(epsilon, int | float) and epsilon > _RANDOM:
        notes.append(
            f"{epsilon:.0%} of all actions are still random: let epsilon fall within the run, or train for more env "
            "steps."
        )
    same = {course.lowest for course in returns.values()} | {course.highest for course in returns.values()}
    if len(same) == 1 and result.get("training_iteration", 0) > 1:
        notes.append(
            f"every return was {same.pop():.4g}, from the first report to the last: nothing tells good play from bad. "
            "See that the game pays when it should; where that is seldom, explore for longer, or pay for parts of the "
            "way."
        )
    fell = [
        course.last < course.highest - _FALLEN * (course.highest - course.lowest) and course.highest > course.lowest
        for course in returns.values()
    ]
    if fell and all(fell):
        notes.append(
            "every return has fallen since its best: learning is not stable. Lower lr, or let it fall on a schedule; "
            "with --checkpoint-freq the better play before is kept."
        )
    return notes


def _exact(response: float, leader: float, scale: float, peers: bool = False) -> list[str]:
    notes = []
    if response > LARGE * scale:
        notes.append(f"the follower misses up to {response:.4g} by its answers (response regret): {_RESPONSE}.")
    if leader > LARGE * scale:
        advice = _PEERS if peers else _LEADER
        notes.append(f"the leader misses {leader:.4g} by its commitment (leader regret): {advice}.")
    return notes


def _scale(values: Any) -> float:
    """Returns the largest return, by which a regret is large or small; 1 where all returns are 0."""
    return max((abs(float(value)) for value in values), default=0.0) or 1.0
