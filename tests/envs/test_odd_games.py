"""Odd things that games do: each is read right, or refused before the first step with what to do about it."""

import asyncio
import random

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.learning.actions import ActionCoder
from tests.foreign import VECTOR, Foreign, Leaver, TruncatedLeaver


def batch(game):
    return ParallelEnvBatch(game, 1, np.random.default_rng(0))


def seeing(space, value):
    """A game in which everybody always sees one value."""

    class Sees(Foreign):
        def observation_space(self, agent):
            return space

        def see(self, agent):
            return value

    return Sees


def whole(high, dtype=np.int64):
    return spaces.Box(0, high, (1,), dtype)


class RewardsWithGradients(Foreign):
    def step(self, actions):
        seen, rewards, *rest = super().step(actions)
        return seen, {agent: torch.tensor(float(paid), requires_grad=True) for agent, paid in rewards.items()}, *rest


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (seeing(whole(2**62), np.array([2**60 + 1])), "holds 1152921504606846977, which float32.*larger units"),
        (seeing(spaces.Box(-np.inf, np.inf, (1,), np.float64), np.array([-1e300])), r"-1e\+300.*too large for float32"),
        (seeing(spaces.Box(0, 1, (2,)), np.ma.masked_array([0.0, 1.0], [True, False])), "a part is missing; fill it"),
        (seeing(spaces.Box(0, 1, (1,)), torch.ones(1, requires_grad=True)), r"cannot be turned into an array.*detach"),
        (RewardsWithGradients, r"needs one number as its reward.*detach\(\)"),
    ],
)
def test_values_that_networks_would_take_for_others(game, message):
    with pytest.raises(GameError, match=message):
        batch(game)


@pytest.mark.parametrize("number", [2**24, -(2**24), 2**40, 3 * 2**40, 2**24 - 1])
def test_large_whole_numbers_that_float32_holds_are_read(number):
    games = batch(seeing(spaces.Box(-(2**62), 2**62, (1,), np.int64), np.array([number])))
    games.reset()
    assert games.observe()["a"].astype(np.float32)[0, 0] == number


class ChangesInPlace(Foreign):
    """From the third episode on, its own spaces are others."""

    def __init__(self, change):
        super().__init__()
        self.own, self.does = spaces.Box(-9, 9, (2,), np.float32), spaces.Discrete(2)
        self.change, self.begun = change, 0

    def observation_space(self, agent):
        return self.own

    def action_space(self, agent):
        return self.does

    def reset(self, seed=None, options=None):
        self.begun += 1
        if self.begun == 3:
            self.change(self)
        return super().reset(seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda game: setattr(game.does, "n", np.int64(1)),
            r"a space of agent 'a' is Discrete\(1\).*was Discrete\(2\)",
        ),
        (lambda game: game.own.high.fill(99.0), "a space of agent 'a' was changed in place in game 0 at step 0"),
    ],
)
def test_spaces_that_are_changed_in_place(change, message):
    with pytest.raises(GameError, match=message):
        batch(lambda: ChangesInPlace(change))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"a", "b"}, "possible_agents is a set, whose order differs between processes: write a list"),
        (["__all__", "b"], "an agent is named '__all__', which RLlib reserves"),
    ],
)
def test_agents_who_cannot_be_told_apart(named, message):
    class Named(Foreign):
        def __init__(self):
            super().__init__()
            self.possible_agents = named

    with pytest.raises(ValueError, match=message):
        batch(Named)


@pytest.mark.parametrize("names", [np.array(["a", "b"]), ("a", "b"), [np.str_("a"), np.str_("b")]])
def test_agents_in_other_containers(names):
    class Named(Foreign):
        def __init__(self):
            super().__init__()
            self.possible_agents = names

        def reset(self, seed=None, options=None):
            self.agents = list(self.possible_agents)
            return super().reset(seed)

    games = batch(Named)
    assert games.possible_agents == ["a", "b"] and {type(agent) for agent in games.possible_agents} == {str}


def test_too_many_actions_are_refused_before_anything_of_their_size_is_made():
    class Many(Foreign):
        def action_space(self, agent):
            return spaces.Discrete(10**12)

    with pytest.raises(ValueError, match="more than 1,048,576 actions"):
        batch(Many)
    with pytest.raises(ValueError, match="let the game count in other units"):
        ActionCoder(spaces.Box(-1e38, 1e38, (1,), np.float32))


@pytest.mark.parametrize("raised", [GeneratorExit, asyncio.CancelledError])
def test_what_is_raised_is_named_whatever_it_is(raised):
    class Raises(Foreign):
        def step(self, actions):
            raise raised

    with pytest.raises(GameError, match=rf"the game raised {raised.__name__}\(\) in step\(\)"):
        batch(Raises)


def test_a_wrapper_that_answers_to_every_name():
    class Answers(Foreign):
        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    assert not batch(Answers).look.absences


def test_flags_as_vectors_of_one():
    class Vectors(Foreign):
        def step(self, actions):
            seen, rewards, terminated, truncated, infos = super().step(actions)
            return seen, rewards, {a: np.array([flag]) for a, flag in terminated.items()}, truncated, infos

    assert batch(Vectors).look.episodes > 2


@pytest.mark.parametrize(("whose", "message"), [("b", None), ("a", "observation of agent 'a' in game 0 at step 3")])
def test_only_who_is_over_may_see_nothing(whose, message):
    class Nothing(Leaver):
        def step(self, actions):
            seen, *rest = super().step(actions)
            return seen | ({whose: None} if self.time == 3 else {}), *rest

    if message is None:
        games, plain = batch(Nothing), batch(Leaver)
        for game in (games, plain):
            game.reset()
            for _ in range(3):
                game.step({agent: np.ones(1, int) for agent in "ab"})
        assert all((games.observe()[agent] == plain.observe()[agent]).all() for agent in "ab")
    else:
        with pytest.raises(GameError, match=message):
            batch(Nothing)


class OfRLlib:
    """RLlib's make, told by what it offers: `ends` says what stands under `__all__` after step 3."""

    observation_spaces = action_spaces = dict.fromkeys("ab", spaces.Discrete(2))
    possible_agents = ("a", "b")

    def __init__(self, ends):
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return dict.fromkeys("ab", 0), {}

    def step(self, actions):
        self.time += 1
        seen = dict.fromkeys("ab", 0) if self.ends is not None or self.time < 3 else {}
        return seen, dict.fromkeys(actions, 1.0), {"__all__": self.time == 3 and (self.ends or False)}, {}, {}


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("no", "the flag of '__all__' is 'no'; write True or False"),
        (None, r"nobody has acted for 1,000 steps: .* flag agents as terminated or truncated"),
    ],
)
def test_games_of_rllibs_make_whose_end_is_not_to_be_understood(ends, message):
    with pytest.raises(GameError, match=message):
        batch(lambda: OfRLlib(ends))


def test_who_was_truncated_is_called_so():
    class Earns(TruncatedLeaver):
        def step(self, actions):
            seen, rewards, *rest = super().step(actions)
            return seen, rewards | ({"b": 2.0} if self.time == 3 else {}), *rest

    with pytest.raises(GameError, match=r"agent 'b' earned 2.0 in game 0 at step 3, after it was truncated"):
        batch(Earns)


class Simplex(spaces.Box):
    """Points whose entries sum to one."""

    def contains(self, x):
        return super().contains(x) and abs(np.sum(x) - 1) < 1e-6


class Even(spaces.Discrete):
    """Choices of which every other one is none."""

    def contains(self, x):
        return super().contains(x) and x % 2 == 0


@pytest.mark.parametrize("space", [Simplex(0.0, 1.0, (3,), np.float32), Even(5)])
def test_action_spaces_that_hold_less_than_their_bounds(space):
    class Does(Foreign):
        doing = space

    with pytest.raises(GameError, match=r"action space .* does not hold .*forbid choices by a mask"):
        batch(Does)


MASK = spaces.Box(0, 1, (2,), np.int8)
FIRST = np.array([1, 0], np.int8)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (spaces.Dict(action_mask=MASK), {"action_mask": FIRST}, "has a mask and nothing to see"),
        (
            spaces.Dict(x=spaces.Discrete(2), legal_moves=spaces.MultiBinary(2)),
            {"x": 0, "legal_moves": FIRST},
            r"entry 'legal_moves' seems to be an action mask.*'action_mask' alone",
        ),
        (
            spaces.Dict(inner=spaces.Dict(x=spaces.Discrete(2), action_mask=MASK)),
            {"inner": {"x": 0, "action_mask": FIRST}},
            r"'action_mask' inside of another entry, \['inner'\]",
        ),
    ],
)
def test_masks_in_other_places_of_an_observation(space, value, message):
    with pytest.raises(ValueError, match=message):
        batch(seeing(space, value))


def telling(name, value, space=VECTOR, seen=None):
    """A game that says something in all infos."""

    class Tells(Foreign):
        seeing = space

        def see(self, agent):
            return super().see(agent) if seen is None else seen

        def info(self, agent):
            return {name: value}

    return Tells


@pytest.mark.parametrize("value", [[1, 0], np.array([0, 1]), [1]])
@pytest.mark.parametrize("name", ["avail_actions", "legal_moves", "valid_action_mask", "mask"])
def test_masks_under_other_names(name, value):
    with pytest.raises(
        GameError, match=rf"agent 'a' in game 0 at step 0: the info '{name}' seems to be an action mask"
    ):
        batch(telling(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("avail_actions", [1, 1]),
        ("legal_moves", "e4"),
        ("valid", True),
        ("invalid_moves", 3),
        ("masked_return", [0, 1]),
    ],
)
def test_infos_that_are_no_masks(name, value):
    assert not batch(telling(name, value)).look.masks


@pytest.mark.parametrize("value", [[[1, 0], [1, 1]], {"a": [1, 0], "b": [1, 1]}, {0: 1, 1: 0}, {1}, [[0], [0, 1]]])
@pytest.mark.parametrize("where", ["in each info", "deeper in each info", "beside them", "under __common__"])
def test_masks_in_other_places_of_infos(where, value):
    said = {"action_mask" if "each" not in where or "deeper" in where else "avail_actions": value}

    class Tells(Foreign):
        def infos(self):
            if where == "beside them":
                return said
            if where == "under __common__":
                return {"__common__": said}
            return dict.fromkeys(self.possible_agents, said if where == "in each info" else {"game": said})

        def reset(self, seed=None, options=None):
            return super().reset(seed)[0], self.infos()

        def step(self, actions):
            return *super().step(actions)[:4], self.infos()

    with pytest.raises(GameError, match=r"in game 0 at step 0: the info.* seems to be an action mask"):
        batch(Tells)


def test_what_infos_say_beside_a_mask_in_the_observation_is_theirs():
    space = spaces.Dict(x=spaces.Discrete(2), action_mask=MASK)
    assert batch(telling("legal_moves", [0], space, {"x": 0, "action_mask": FIRST})).look.masks


def test_masks_of_rllibs_make_for_all_at_once():
    class Common(OfRLlib):
        def reset(self, *, seed=None, options=None):
            return super().reset()[0], {"__common__": {"action_mask": {"a": [1, 0], "b": [1, 1]}}}

    with pytest.raises(GameError, match="the infos' entry 'action_mask' seems to be an action mask"):
        batch(lambda: Common(False))


def test_lists_of_joint_actions_are_no_masks():
    assert not batch(telling("available_actions", [[0, 0, 1], [0, 1, 1], [1, 0, 0]])).look.masks


def test_a_method_that_tells_what_is_allowed_is_said_to_be_not_read(caplog):
    class Tells(Foreign):
        def action_masks(self, agent):
            return [1, 0]

    assert batch(Tells).look.unread == ("action_masks",)
    assert "Tells: action_masks: by the name an action mask, and not read" in caplog.text

    class TellsInInfos(Tells):
        def info(self, agent):
            return {"action_mask": np.array([1, 0], np.int8)}

    assert batch(TellsInInfos).look.unread == ()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(10**12),
        spaces.MultiDiscrete([10**9, 2]),
        spaces.Dict(time=spaces.Discrete(2**40), x=VECTOR),
        spaces.Tuple((VECTOR, spaces.Discrete(2**20))),
    ],
)
def test_choices_of_too_many_are_refused_before_anything_of_their_size_is_made(space):
    with pytest.raises(ValueError, match=r"agent 'a': observation space .* numbers, one for each choice"):
        batch(seeing(space, 0))


def test_a_look_keeps_what_was_paid():
    class Pays(Foreign):
        def pay(self, agent, actions):
            return -2.0 if agent == "a" else float(self.time)

    assert batch(Pays).look.paid == {"a": (-2.0, -2.0), "b": (1.0, 4.0)}


def test_two_masks_that_differ():
    space = spaces.Dict(x=spaces.Discrete(2), action_mask=MASK)
    seen = {"x": 0, "action_mask": FIRST}
    assert batch(telling("action_mask", FIRST, space, seen)).look.masks
    with pytest.raises(GameError, match=r"agent 'a' got two action masks in game 0 at step 0, \[1 0\] and \[0 1\]"):
        batch(telling("action_mask", FIRST[::-1], space, seen))


def test_agents_listed_in_an_array():
    class Lists(Foreign):
        def reset(self, seed=None, options=None):
            result = super().reset(seed)
            self.agents = np.array(self.agents)
            return result

        def leave(self, terminated, truncated):
            self.agents = np.array([] if self.over() else self.possible_agents)

    assert batch(Lists).look.episodes > 2


class NoTwoAlike(Foreign):
    """Each copy is made of what it is given."""

    def __init__(self, names, actions):
        self.names, self.doing = names, spaces.Discrete(actions)
        super().__init__()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((("b", "a"), 2), r"copies with other agents.*\['a', 'b'\] and \['b', 'a'\]"),
        ((("a", "b"), 3), r"agent 'a' has the space Discrete\(2\) in one and Discrete\(3\) in another"),
    ],
)
@pytest.mark.parametrize("alike", [1, 2])
def test_copies_that_are_other_games(other, message, alike):
    copies = iter([(("a", "b"), 2)] * alike + [other] * 9)
    with pytest.raises(ValueError, match=message):
        ParallelEnvBatch(lambda: NoTwoAlike(*next(copies)), 2, np.random.default_rng(0))


def test_what_cannot_be_asked_for_what_it_has():
    class Asked(Foreign):
        def __getattr__(self, name):
            return self.__dict__["extras"][name]

        def __init__(self):
            self.extras = {}
            super().__init__()

    with pytest.raises(ValueError, match=r"Asked raises KeyError.*let its __getattr__ raise AttributeError"):
        batch(Asked)


def test_flags_of_rllibs_make_that_are_one_for_all():
    class OneFlag(OfRLlib):
        def step(self, actions):
            seen, rewards, _, _, infos = super().step(actions)
            return seen, rewards, self.time == 3, False, infos

    with pytest.raises(GameError, match=r"step\(\) returned False for flags; write agent -> True or False"):
        batch(lambda: OneFlag(True))


SHARED = {"time": 0}


class InAModule(Foreign):
    """All copies are in one and the same step."""

    time = property(lambda self: SHARED["time"], lambda self, time: SHARED.update(time=time))


class OfOneGenerator(Foreign):
    """All copies draw from one generator, which any of them seeds: no two runs are alike, and nothing is wrong."""

    def reset(self, seed=None, options=None):
        np.random.seed(seed)
        return super().reset(seed)

    def see(self, agent):
        return np.random.rand(2).astype(np.float32)


def test_copies_that_share_what_they_are_in():
    with pytest.raises(ValueError, match="what one copy of the game does changes what another one sees"):
        batch(InAModule)
    before = np.random.get_state()
    assert batch(OfOneGenerator).look.episodes > 2
    np.random.set_state(before)


class CoinOfTheProcess(Foreign):
    """It tosses a coin of the process's at every start: two runs may be alike by chance, and nothing is wrong."""

    def reset(self, seed=None, options=None):
        self.coin = random.random() < 0.5
        return super().reset(seed)

    def see(self, agent):
        return np.full(2, self.coin, np.float32)


def test_copies_that_draw_from_the_processs_generator_share_nothing():
    before = random.getstate()
    for seed in range(12):
        random.seed(seed)
        assert batch(CoinOfTheProcess).look.episodes > 2
    random.setstate(before)
