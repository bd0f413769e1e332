"""A game that was changed since networks were trained in it is refused in words, before its first step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium import spaces

from rllib_biac import BiAC
from rllib_biac.cli.main import main
from rllib_biac.envs.contract import Look
from rllib_biac.evaluation import Trained, play
from rllib_biac.learning.games import StateReader, make_copies
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.same_game import check_same_game
from tests.games import Probe, config
from tests.training import Run, checked

FLAT = spaces.Box(-1.0, 1.0, (2,), np.float32)
PIXELS = spaces.Box(0, 255, (2, 2), np.uint8)
# By what it is, what may be declared: no two of these are one to networks.
ACTIONS = [
    spaces.Discrete(2),
    spaces.Discrete(3),
    spaces.Discrete(6),
    spaces.Discrete(2, start=1),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([3, 2]),
    spaces.Box(-1.0, 1.0, (1,), np.float32),
    spaces.Box(-1.0, 2.0, (1,), np.float32),
    spaces.Box(-1.0, 1.0, (2,), np.float32),
]
SEEN = [
    FLAT,
    spaces.Box(-1.0, 1.0, (3,), np.float32),
    spaces.Box(0, 1, (2,), np.uint8),
    spaces.Box(0, 9, (2,), np.uint8),
]
STATES = [FLAT, PIXELS, spaces.Box(0, 1, (2, 2), np.uint8), spaces.Box(0, 255, (3,), np.uint8)]
OWN = BiAC.get_default_config().algorithm
KNOWN = Look(steps=1)  # spares a look: nothing is played here


class Declared(Probe):
    """A game that nobody plays: what it declares is all there is to it."""

    def __init__(self, names=("one", "two"), seen=(FLAT, FLAT), actions=(ACTIONS[0], ACTIONS[0]), state=FLAT):
        super().__init__()
        self.possible_agents = list(names)
        self.seen, self.done = (
            dict(zip(("one", "two"), seen, strict=True)),
            dict(zip(("one", "two"), actions, strict=True)),
        )
        self.state_space = state

    def observation_space(self, agent):
        return self.seen[agent]

    def action_space(self, agent):
        return self.done[agent]


def spec_of(source="env", **declared):
    levels = [["one"], ["two"]]
    settings = checked(OWN, levels, state=source)
    games = make_copies(lambda: Declared(**declared), 1, np.random.default_rng(0), {}, KNOWN)
    return StateReader(games, source).team_spec(Hierarchy(levels), settings)


def said(trained, now):
    """Returns what is said of a game, empty where it passes."""
    try:
        check_same_game(trained, now, now.state_space, "the game")
    except ValueError as error:
        return str(error)
    return ""


def test_any_other_action_space_is_another_game():
    specs = [spec_of(actions=(ACTIONS[0], space)) for space in ACTIONS]
    for (one, was), (other, now) in itertools.product(enumerate(specs), repeat=2):
        text = said(was, now)
        assert bool(text) == (one != other), (ACTIONS[one], ACTIONS[other])
        if text:
            assert f"the actions of two were {ACTIONS[one]} and are {ACTIONS[other]}. Give" in text
            assert "of one" not in text and "\n" not in text


def test_any_other_state_is_another_game():
    specs = [spec_of(state=space) for space in STATES]
    for (one, was), (other, now) in itertools.product(enumerate(specs), repeat=2):
        text = said(was, now)
        assert bool(text) == (one != other) == ("its state was" in text)
        assert "observation" not in text and "\n" not in text


@pytest.mark.parametrize("source", ["env", "observations"])
def test_other_observations_count_where_they_are_read(source):
    specs = [spec_of(source, seen=(FLAT, space)) for space in SEEN]
    for (one, was), (other, now) in itertools.product(enumerate(specs), repeat=2):
        assert ("the observation of two was" in said(was, now)) == (source == "observations" and one != other)
    # One grew by what the other lost: the state has the size it had.
    was, now = (spec_of(source, seen=seen) for seen in ((SEEN[0], SEEN[1]), (SEEN[1], SEEN[0])))
    assert bool(said(was, now)) == (source == "observations") and was.state_space == now.state_space


def test_agents_and_their_order():
    was, now = spec_of(), spec_of(names=("two", "one"))
    assert said(was, now).startswith(
        "the game is not the game that these networks were trained in: its agents were one, two and are two, one, in "
        "another order. Give the game that they were trained in"
    )
    assert "its agents were one, three and are one, two. Give" in said(replace(was, agents=("one", "three")), spec_of())


def test_what_may_differ():
    wide = spaces.Box(-5.0, 7.0, (2,), np.float32)
    for source in ("env", "observations"):
        assert not said(spec_of(source), spec_of(source, seen=(wide, FLAT), state=wide))
    # Of networks from before this was written down, what a team sees of the actions is known.
    was = replace(spec_of(actions=ACTIONS[4:6]), look=Look(steps=1))
    assert not said(was, spec_of(actions=ACTIONS[5:3:-1]))
    assert "the actions of two were Discrete(6) and are Discrete(2)" in said(
        was, spec_of(actions=(ACTIONS[4], ACTIONS[0]))
    )


class Edited(Probe):
    """A game that is changed between training and play."""

    names = ("one", "two")
    steps = 0

    def __init__(self):
        super().__init__()
        self.possible_agents = list(self.names)
        self.state_space = self.observation

    def state(self):
        return np.zeros(self.observation.shape, np.float32)

    def step(self, actions):
        type(self).steps += 1
        return super().step(actions)


EDITS = {
    "order": ({"names": ("two", "one")}, "its agents were one, two and are two, one, in another order"),
    "wide": (
        {"observation": spaces.Box(-10.0, 10.0, (3,), np.float32)},
        "its state was (2,) of float32 and is (3,) of float32",
    ),
    "more": ({"num_actions": (2, 3)}, "the actions of two were Discrete(2) and are Discrete(3)"),
}


def edit(monkeypatch, changes):
    for name, value in changes.items():
        monkeypatch.setattr(Edited, name, value)


@pytest.mark.parametrize("change", EDITS)
def test_play_refuses_before_the_first_step(change, monkeypatch):
    team = Run(OWN, Edited, [["one"], ["two"]]).team
    assert play(Trained(team, Edited), episodes=2, seed=0).lengths == [1, 1]
    changes, words = EDITS[change]
    edit(monkeypatch, changes | {"steps": 0})
    with pytest.raises(ValueError) as refused:
        play(Trained(team, Edited), episodes=2, seed=0)
    assert words in str(refused.value) and Edited.steps == 0


def test_checkpoints_are_held_against_the_game(ray, tmp_path, monkeypatch):
    saved = config(Edited).build_algo()
    saved.train()
    folder = saved.save_to_path(tmp_path / "saved")
    assert BiAC.from_checkpoint(folder).iteration == 1
    for changes, words in EDITS.values():
        with monkeypatch.context() as patch:
            edit(patch, changes)
            with pytest.raises(ValueError) as refused:
                BiAC.from_checkpoint(folder)
            assert words in str(refused.value) and "Give the game that they were trained in" in str(refused.value)
            result = CliRunner().invoke(main, ["evaluate", folder])
            assert result.exit_code == 2 and words in result.output and "Traceback" not in result.output
    # The game of a living algorithm is the one it was built for.
    with monkeypatch.context() as patch:
        edit(patch, EDITS["order"][0])
        other = config(Edited).build_algo()
    before = other.learner_team().weights()
    with pytest.raises(ValueError, match="its agents were one, two and are two, one"):
        other.restore_from_path(folder)
    np.testing.assert_equal(other.learner_team().weights(), before)
    for each in (saved, other):
        each.stop()
