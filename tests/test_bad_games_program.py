"""benchmarks/bad_games tells apart what is caught, what is harmless, and what goes wrong in silence."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from bad_games import judging
from bad_games.__main__ import draw
from bad_games.judging import CRASH, SILENT, VAGUE, judge
from bad_games.kinds import CAUGHT, HARMLESS, KINDS, REW, Case, changes

from rllib_biac.envs.errors import GameError


def case(kind, space="float32", step=2):
    return Case(kind, "joint", space, step, "ann", 0)


def planted(monkeypatch, right, change, **more):
    """Adds a kind of fault for the time of a test."""
    monkeypatch.setitem(KINDS, "planted", None)  # which is taken out again
    changes("planted", right, change, first=1, **more)
    return case("planted")


def test_a_fault_that_is_named_is_caught():
    verdict, said = judge(case("NaN"))
    assert verdict == CAUGHT
    assert "ann" in said and "step" in said


def test_what_changes_no_row_is_harmless():
    assert judge(case("prints")) == (HARMLESS, "")


def test_a_reward_that_nobody_can_know_to_be_wrong_is_silent(monkeypatch):
    def change(game, parts):
        parts[REW]["ann"] += 1.0

    verdict, said = judge(planted(monkeypatch, CAUGHT, change))
    assert verdict == SILENT
    assert "reward" in said


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (GameError("no reward of 'ann' in step 2"), CAUGHT),
        (GameError("something is wrong"), VAGUE),
        (KeyError("ann"), CRASH),
    ],
)
def test_what_a_runner_raises_is_judged_by_its_words(monkeypatch, error, verdict):
    def raises(*_):
        raise error

    monkeypatch.setitem(judging.RUNNERS, "joint", raises)
    assert judge(case("NaN"))[0] == verdict


def test_draws_are_those_of_their_seed_and_take_every_kind_in_turn():
    kinds = sorted(KINDS)
    drawn = draw(len(kinds), 3, kinds, ["joint"])
    assert drawn == draw(len(kinds), 3, kinds, ["joint"])
    assert sorted(one.kind for one in drawn) == kinds
    for one in drawn:
        kind = KINDS[one.kind]
        assert one.space in kind.spaces and kind.first <= one.step <= kind.last
