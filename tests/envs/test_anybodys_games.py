"""Games as others write them are read as they mean it, or refused with agent, step and value."""

import numpy as np
import pytest
from gymnasium import spaces

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from tests import foreign


def batch(game, num_games=1, **given):
    return ParallelEnvBatch(game, num_games, np.random.default_rng(0), **given)


def play(game, steps, action=1):
    """Plays one action throughout; returns all steps, and what was seen and allowed before each."""
    games = batch(game)
    games.reset()
    seen = []
    for _ in range(steps):
        before = games.observe(), games.action_masks()
        actions = {}
        for agent, space in games.action_spaces.items():
            actions[agent] = np.full((1, *space.shape), action, space.dtype)
            if before[1] is not None and isinstance(space, spaces.Discrete) and not before[1][agent][0, action]:
                actions[agent][:] = 0
        seen.append((*before, games.step(actions)))
    return games, seen


def ends(seen):
    return [(bool(step.terminated[0]), bool(step.truncated[0])) for *_, step in seen]


def test_a_leaver_is_absent_after_its_end():
    games, seen = play(foreign.Leaver, 4)
    assert games.look.absences and not games.look.masks
    assert games.observation_spaces["a"].shape == (3,)
    assert [bool(step.ended["b"][0]) for *_, step in seen] == [False, True, True, True]
    assert [bool(step.ended["a"][0]) for *_, step in seen] == [False, False, False, True]
    assert ends(seen) == [(False, False)] * 3 + [(True, False)]
    assert [observed["b"][0, -1] for observed, *_ in seen] == [1, 1, 0, 0]  # who acts stands at the end
    assert [masks["b"][0].tolist() for _, masks, _ in seen] == [[True, True]] * 2 + [[True, False]] * 2
    assert sum(float(step.rewards["b"][0]) for *_, step in seen) == 2


def test_who_comes_late_is_absent_before():
    _, seen = play(foreign.LateComer, 4)
    assert [observed["b"][0].tolist() for observed, *_ in seen] == [[0, 0, 0], [0, 0, 0], [2, 0, 1], [3, 0, 1]]
    assert [float(step.rewards["b"][0]) for *_, step in seen] == [0, 0, 1, 1]
    assert ends(seen)[-1] == (True, False)


def test_a_mask_of_zeros_says_that_there_is_nothing_to_do():
    games, seen = play(foreign.Turns, 4)
    assert games.look.absences and games.look.masks
    assert [observed["a"][0, -1] for observed, *_ in seen] == [1, 0, 1, 0]
    assert [masks["b"][0].tolist() for _, masks, _ in seen] == [[True, False], [True, True]] * 2
    assert [float(step.rewards["a"][0] + step.rewards["b"][0]) for *_, step in seen] == [1, 2, 2, 2]


def test_without_a_mask_everything_is_allowed():
    _, seen = play(foreign.ForbiddenOnce, 4)
    assert [masks["a"][0].tolist() for _, masks, _ in seen] == [[True, False]] + [[True, True]] * 3


def test_what_stands_beside_a_mask_is_observation():
    games, seen = play(foreign.MaskBesideGoal, 4)
    assert games.observation_spaces["a"].shape == (3,) and not games.look.absences
    assert all(masks["a"][0].tolist() == [True, False] for _, masks, _ in seen)


def test_agents_end_each_in_its_own_way():
    _, ((*_, step),) = play(foreign.EndsApart, 1)
    assert (bool(step.terminated[0]), bool(step.truncated[0])) == (False, True)
    assert step.ended["a"][0] and not step.ended["b"][0]


@pytest.mark.parametrize("game", [foreign.FlagForAll, foreign.OnlyEmpties, foreign.SaysNothing])
def test_all_ways_to_say_that_it_is_over(game):
    games, seen = play(game, 4)
    assert ends(seen) == [(False, False)] * 3 + [(True, False)]
    assert games.look.episodes > 10


def test_a_state_is_asked_for_only_where_somebody_wants_it():
    games = batch(foreign.StateRaisesAfterTheEnd)
    games.reset()
    asked = []
    games._games[0].env.state = lambda: asked.append(1)
    games.step({"a": np.array([0]), "b": np.array([0])})
    assert not asked
    games, _ = play(foreign.StateRaisesAfterTheEnd, 3)
    assert games.state().tolist() == [[3.0]]
    games.step({"a": np.array([0]), "b": np.array([0])})
    assert games.state().tolist() == [[3.0]]  # terminated: the last one stands


def test_one_object_for_all_is_refused():
    with pytest.raises(ValueError, match="one object twice"):
        batch(foreign.shared)


class Broken(foreign.Foreign):
    """Does one thing wrong from step 2 on, in a subclass's way."""

    seeing = spaces.Dict(x=spaces.Box(0, 9, (2,), np.uint8), y=spaces.Discrete(5), z=spaces.MultiDiscrete([2, 3]))

    def see(self, agent):
        seen = {"x": np.array([self.time, 1], np.uint8), "y": 1, "z": np.array([1, 2])}
        return self.wrong(seen) if self.time >= 2 and agent == "b" else seen

    def wrong(self, seen):
        return seen


def wrongly(change):
    return type("Wrong", (Broken,), {"wrong": lambda self, seen: change(seen) or seen})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(x=np.array([300, 1])), r"holds 300, which does not fit uint8"),
        (lambda s: s.update(x=np.array([-1, 1])), r"holds -1, which does not fit uint8"),
        (lambda s: s.update(x=np.array([10, 1], np.uint8)), r"holds 10 at \[0\]; its space says 0 to 9"),
        (lambda s: s.update(x=np.array([1.5, 1])), r"holds float64; its space says uint8"),
        (lambda s: s.update(x=np.array(["1", "1"])), r"holds <U1.*its space says uint8"),
        (lambda s: s.update(x=np.array([1j, 1])), r"holds complex128"),
        (lambda s: s.update(y=-1), r"\['y'\] is -1; its space says Discrete\(5\)"),
        (lambda s: s.update(y=5), r"\['y'\] is 5; its space says Discrete\(5\)"),
        (lambda s: s.update(y=1.0), r"\['y'\] is 1.0; its space says whole numbers"),
        (lambda s: s.update(z=np.array([0, 3])), r"\['z'\] is \[0, 3\]; its space says MultiDiscrete"),
        (lambda s: s.pop("y"), r"its space says the entries \['x', 'y', 'z'\]"),
        (lambda s: s.update(more=1), r"has \['more', 'x', 'y', 'z'\]"),
    ],
)
def test_what_is_not_of_its_space_is_named(change, message):
    with pytest.raises(GameError, match=rf"observation of agent 'b' in game 0 at step 2 .*{message}.*\(seen in a look"):
        batch(wrongly(change))


def test_rounding_is_no_fault():
    class Rounds(foreign.Foreign):
        seeing = spaces.Box(0.0, 0.3, (2,), np.float32)

        def see(self, agent):
            return np.array([0.1 + 0.2, 0.0])  # float64, a little more than 0.3

    play(Rounds, 4)


def test_a_little_outside_is_said_and_taken(caplog):
    class Overshoots(foreign.Foreign):
        seeing = spaces.Box(-1.0, 1.0, (2,), np.float32)
        by = 0.01

        def see(self, agent):
            return np.array([0.0, -1.0 - self.by * self.time], np.float32)

    play(Overshoots, 4)
    assert caplog.text.count("a little outside") == 1
    far = type("Far", (Overshoots,), {"by": 0.05})
    with pytest.raises(GameError, match=r"agent 'a' in game 0 at step 1 holds -1.0.* at .1.; its space says -1.0 to"):
        batch(far)


def returned(what):
    """A game that returns something odd from step 2 on: entries of (observations, rewards, flags, flags, infos)."""

    class Odd(foreign.Foreign):
        def step(self, actions):
            parts = [dict(part) for part in super().step(actions)]
            if self.time >= 2:
                parts = what(parts) or parts
            return tuple(parts) if isinstance(parts, list) else parts

    return Odd


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda p: p[0].update(zed=p[0]["a"]), r"observations of 'zed'.*possible_agents are \['a', 'b'\]"),
        (lambda p: p[1].update(b=None), r"agent 'b' needs one number as its reward; got None in game 0 at step 2"),
        (lambda p: p[1].update(b="1"), r"agent 'b' needs one number as its reward; got '1'"),
        (lambda p: p[1].update(b=1j), r"agent 'b' needs one number"),
        (lambda p: p[1].update(b=np.nan), r"reward of agent 'b' is NaN or infinite in game 0 at step 2"),
        (lambda p: p[1].update(b=1e38), r"too large to learn from"),
        (lambda p: p[1].__delitem__("b"), r"agent 'b' needs one number as its reward.*got none"),
        (lambda p: p[2].update(b="False"), r"termination flag of 'b' is 'False' in game 0 at step 2; write|'False'"),
        (lambda p: p[2].update(b=np.array([True, True])), r"termination flag of 'b'"),
        (lambda p: p[4].update(b={"action_mask": np.array([0, -np.inf])}), r"action mask of agent 'b'.*-inf"),
        (lambda p: p[4].update(b={"action_mask": np.array([1, 0, 1])}), r"action mask.*shape \(3,\).*write \(2,\)"),
        (lambda p: tuple(p[:4]), r"step\(\) returned a tuple of 4.*at step 2"),
        (lambda p: p[0].__delitem__("b"), r"agent 'b' has no observation in game 0 at step 2"),
    ],
)
def test_what_a_step_returns_is_named(what, message):
    with pytest.raises(GameError, match=message):
        batch(returned(what))


def test_the_end_is_final():
    class Earns(foreign.Leaver):
        def step(self, actions):
            result = super().step(actions)
            if self.time == 3:
                result[1]["b"] = 5.0
            return result

    with pytest.raises(GameError, match=r"agent 'b' earned 5.0 in game 0 at step 3, after it was terminated"):
        batch(Earns)

    class Returns(foreign.Leaver):
        def leave(self, terminated, truncated):
            super().leave(terminated, truncated)
            if self.time == 4:
                self.agents.append("b")

        length = 6

    with pytest.raises(GameError, match=r"agent 'b' is back among the game's agents in game 0 at step 4"):
        batch(Returns)


def test_what_a_look_has_not_shown_is_said_with_what_to_write():
    class Rarely(foreign.Leaver):
        """`b` leaves early in the second copy that is played only."""

        made = 0

        def __init__(self):
            super().__init__()
            type(self).made += 1
            self.number = self.made

        def flags(self):
            if self.number == 5:
                return super().flags()
            return foreign.Foreign.flags(self)

        def leave(self, terminated, truncated):
            self.agents = [agent for agent in self.agents if not terminated[agent]]

    Rarely.made = 0
    games = batch(Rarely, num_games=3)  # the second is looked at, two more beside each other
    assert not games.look.absences
    games.reset()
    actions = {agent: np.zeros(3, int) for agent in "ab"}
    games.step(actions)
    with pytest.raises(GameError, match=r"'b' does not act in game . at step 2.*Write absences: true"):
        games.step(actions)


def test_spaces_that_change_are_refused():
    class Shrinks(foreign.Foreign):
        def action_space(self, agent):
            return spaces.Discrete(1 if getattr(self, "time", 0) == 2 else 2)

    with pytest.raises(GameError, match=r"a space of agent 'a' is Discrete\(1\) in game 0 at step 2, and was Discrete"):
        batch(Shrinks)


def test_who_is_over_and_still_listed_is_handed_its_null_action():
    class Stays(foreign.Leaver):
        handed = []  # noqa: RUF012

        def step(self, actions):
            self.handed.append(dict(actions))
            actions = {agent: action for agent, action in actions.items() if agent == "a" or self.time < 2}
            self.agents = list(actions)
            result = super().step(actions)
            self.agents = [] if self.over() else ["a", "b"]
            return result

    Stays.handed.clear()
    play(Stays, 4)
    assert Stays.handed[-4:] == [{"a": 1, "b": 1}] * 2 + [{"a": 1, "b": 0}] * 2


def test_infos_may_be_missing():
    class NoInfos(foreign.Foreign):
        def reset(self, seed=None, options=None):
            return super().reset(seed)[0], None

        def step(self, actions):
            return (*super().step(actions)[:4], None)

    _, seen = play(NoInfos, 4)
    assert ends(seen)[-1] == (True, False)


def test_a_look_leaves_games_as_they_are():
    looked, known = batch(foreign.Bits, 3), None
    known = batch(foreign.Bits, 3, look=looked.look)
    for games in (looked, known):
        games.reset()
    np.testing.assert_array_equal(looked.observe()["a"], known.observe()["a"])


def test_who_is_truncated_alone_is_absent_from_then_on_and_over_from_the_step_after():
    games = batch(foreign.TruncatedAlone)
    assert games.cuts and games.look.cuts and games.look.absences
    games.reset()
    seen = []
    while not seen or not seen[-1].terminated.any():
        masks = games.action_masks()
        seen.append(games.step({agent: masks[agent].argmax(1) for agent in "ab"}))
        assert not seen[-1].truncated.any() and not seen[-1].cut["a"].any()
    (at,) = (i for i, step in enumerate(seen) if step.cut["b"].any())
    assert seen[at].cut["b"].all()  # it could have played anything
    assert [bool(step.ended["b"][0]) for step in seen] == [i > at for i in range(len(seen))]
    assert [step.rewards["b"][0] for step in seen] == [float(i <= at) for i in range(len(seen))]
    assert games.observe()["b"][0, -1] == 0


def test_truncation_alone_that_a_look_does_not_show_is_refused():
    class Rarely(foreign.Leaver):
        begun = 0

        def reset(self, seed=None, options=None):
            self.begun += 1
            return super().reset(seed)

        def leave(self, terminated, truncated):
            super().leave(terminated, truncated)
            if self.begun > 100 and self.time == 2:
                terminated["b"], truncated["b"] = False, True

    games = batch(Rarely)
    with pytest.raises(GameError, match=r"agent 'b' is truncated in game 0 at step 2 while.*absences: true"):
        for _ in range(120):
            games.reset()
            for _ in range(3):
                games.step({agent: np.zeros(1, np.int64) for agent in "ab"})
