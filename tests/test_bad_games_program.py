"""benchmarks/bad_games.py tells apart what is caught, what is harmless, and what goes wrong in silence."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import bad_games

from rllib_biac.envs.errors import GameError


def case(kind, space="float32", step=2):
    return bad_games.Case(kind, "joint", space, step, "ann", 0)


def planted(monkeypatch, right, change, **more):
    """Adds a kind of fault for the time of a test."""
    monkeypatch.setattr(bad_games, "KINDS", dict(bad_games.KINDS))
    bad_games.changes("planted", right, change, first=1, **more)
    return case("planted")


def test_a_fault_that_is_named_is_caught():
    verdict, said = bad_games.judge(case("NaN"))
    assert verdict == bad_games.CAUGHT
    assert "ann" in said and "step" in said


def test_what_changes_no_row_is_harmless():
    assert bad_games.judge(case("prints")) == (bad_games.HARMLESS, "")


def test_a_reward_that_nobody_can_know_to_be_wrong_is_silent(monkeypatch):
    def change(game, parts):
        parts[bad_games.REW]["ann"] += 1.0

    verdict, said = bad_games.judge(planted(monkeypatch, bad_games.CAUGHT, change))
    assert verdict == bad_games.SILENT
    assert "reward" in said


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (GameError("no reward of 'ann' in step 2"), bad_games.CAUGHT),
        (GameError("something is wrong"), bad_games.VAGUE),
        (KeyError("ann"), bad_games.CRASH),
    ],
)
def test_what_a_runner_raises_is_judged_by_its_words(monkeypatch, error, verdict):
    def raises(*_):
        raise error

    monkeypatch.setitem(bad_games.RUNNERS, "joint", raises)
    assert bad_games.judge(case("NaN"))[0] == verdict


def test_draws_are_those_of_their_seed_and_take_every_kind_in_turn():
    kinds = sorted(bad_games.KINDS)
    drawn = bad_games.draw(len(kinds), 3, kinds, ["joint"])
    assert drawn == bad_games.draw(len(kinds), 3, kinds, ["joint"])
    assert sorted(one.kind for one in drawn) == kinds
    for one in drawn:
        kind = bad_games.KINDS[one.kind]
        assert one.space in kind.spaces and kind.first <= one.step <= kind.last
