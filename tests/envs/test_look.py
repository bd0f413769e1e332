"""What one look at a game finds out: its state, and whose observations hold whose."""

import numpy as np
import pytest
from gymnasium import spaces

from rllib_biac.envs import look
from rllib_biac.envs.contract import STATE
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.look import Telling
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.learning.games import GameWithPartners, StateReader, make_games
from rllib_biac.learning.information import tell_less
from rllib_biac.learning.partners import at_random
from tests.games import Probe

STATES = {
    "shape": lambda: np.zeros(3, np.float32),
    "NaN": lambda: np.array([np.nan, 0.0], np.float32),
    "bounds": lambda: np.array([99.0, 0.0], np.float32),
    "text": lambda: "here",
    "ZeroDivisionError": lambda: 1 / 0,
}
SAID = {"shape": r"has shape \(3,\)", "bounds": "holds 99.0", "NaN": "NaN", "text": "shape", "ZeroDivisionError": ""}


class WrongState(Probe):
    """Its state is wrong, from step 1 or from the very start; observations are not."""

    def __init__(self, kind, start):
        super().__init__()
        self.kind, self.begin = kind, start

    def observe(self):
        return {agent: np.zeros(2, np.float32) for agent in self.possible_agents}

    def state(self):
        return np.zeros(2, np.float32) if self.time < self.begin else STATES[self.kind]()

    def pay(self, *actions):
        return (0.0, 0.0), self.time == 3, False


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("kind", STATES)
def test_a_wrong_state_is_refused_before_the_first_step_where_it_is_asked_for(kind, start):
    games = make_games(lambda: WrongState(kind, start), 1, np.random.default_rng(0), {})
    with pytest.raises(GameError, match=f"(?s){SAID[kind] or kind}.*write state: observations"):
        StateReader(games, "env")
    StateReader(games, "observations")
    games.reset()  # and it is played well without


class Whispers(Probe):
    """`one` sees two coins, `two` the second of them and a constant; the state holds both and no more."""

    def start(self):
        self.coins = self.rng.standard_normal(2).astype(np.float32)

    def observe(self):
        return {"one": self.coins, "two": np.array([5.0, self.coins[1]], np.float32)}

    def state(self):
        return self.coins[::-1].copy()


def test_a_look_tells_who_sees_what_others_see():
    games = make_games(Whispers, 1, np.random.default_rng(0), {})
    assert games.look.holds == {"one": {"one", "two", STATE}, "two": {"two"}, STATE: {"one", "two", STATE}}
    assert tell_less(games, "env") == tell_less(games, "observations") == ["two"]


def test_the_one_look_is_all_that_is_played_to_tell_it():
    games = make_games(GameWithPartners(Whispers, {"one": at_random}), 1, np.random.default_rng(0), {})
    for played in ("reset", "step"):
        setattr(games.games, played, None)
    assert tell_less(games, "env") == ["two"]
    assert tell_less(games, "observations") == []  # of those who learn, it is alone


def test_partners_of_a_game_of_the_package_are_not_asked_to_play():
    games = make_games(GameWithPartners("signalling_v0", {"player_0": None}), 1, np.random.default_rng(0), {})
    assert tell_less(games, "env") == ["player_1"]


def test_numbers_are_compared_by_their_history_and_not_by_their_place():
    rng, telling = np.random.default_rng(0), Telling()
    for _ in range(5):
        a, b = rng.standard_normal(2)
        telling.add({"both": [b, 1.0, a], "first": [a], "sum": [a + b], "none": [3.0], "zeros": [0.0 * a]})
    assert telling.holds()["both"] == {"both", "first", "none", "zeros"}
    assert telling.holds()["first"] == {"first", "none", "zeros"}
    assert telling.holds()["sum"] == {"sum", "none", "zeros"}


class Mutes(Whispers):
    """Both see all coins, and `two` acts only where the first is positive: `one` does not see whether it does."""

    def observe(self):
        return dict.fromkeys(self.possible_agents, self.coins)

    @property
    def acting(self):
        return {"one", "two"} if self.coins[0] > 0 else {"one"}


def test_who_acts_is_part_of_what_is_told():
    games = ParallelEnvBatch(Mutes, 1, np.random.default_rng(0))
    assert games.look.absences
    assert games.look.holds == {"one": {"one"}, "two": {"one", "two", STATE}, STATE: {"one", "two", STATE}}


class Trap(Probe):
    """`one` goes left or right for 40 steps; 20 places off where it began `two` dies."""

    def start(self):
        self.place = 0

    def observe(self):
        return {agent: np.array([self.place / 10, 0.0], np.float32) for agent in self.agents}

    def step(self, actions):
        self.time += 1
        self.place += 2 * int(actions["one"]) - 1
        agents, died = list(self.agents), "two" in self.agents and abs(self.place) >= 20
        seen = {agent: np.array([self.place / 10, 0.0], np.float32) for agent in agents}
        if died:
            self.agents = ["one"]
        terminated = {agent: died and agent == "two" for agent in agents}
        truncated = {agent: self.time == 40 for agent in agents}
        if self.time == 40:
            self.agents = []
        return seen, dict.fromkeys(agents, 0.0), terminated, truncated, {}


def test_a_look_goes_far():
    """A walk of 40 steps drawn one by one leads so far 3 times in 1,000, one that keeps its way for 10 steps often."""
    games = make_games(Trap, 1, np.random.default_rng(0), {})
    assert games.look.absences and games.look.episodes == look.LOOK_EPISODES


class Once(Probe):
    """An action is forbidden at the step after it was taken; whoever takes it then raises."""

    def start(self):
        super().start()
        self.latest = None

    def infos(self):
        return {"one": {"action_mask": np.arange(2) != self.latest}, "two": {}}

    def pay(self, one, two):
        assert one != self.latest
        self.latest = one
        return (0.0, 0.0), False, self.time == 10


def test_what_is_forbidden_now_is_not_kept():
    assert make_games(Once, 1, np.random.default_rng(0), {}).look.masks


def test_who_is_on_turn_and_who_is_not_is_the_same_news():
    telling, rng = Telling(), np.random.default_rng(0)
    for _ in range(50):
        turn, three = rng.integers(2), rng.integers(3)
        telling.add(
            {
                "one": np.array([turn, three], np.float32),
                "other": np.array([7 - 4 * turn, three], np.float32),
                "turned": np.array([turn, 2 - three], np.float32),
                "neither": np.array([rng.integers(2), three], np.float32),
            }
        )
    holds = telling.holds()
    assert holds["one"] == holds["other"] == {"one", "other"}
    assert holds["turned"] == {"turned"} and holds["neither"] == {"neither"}


@pytest.mark.parametrize("game", ["tictactoe_v3", "connect_four_v3"])
def test_boards_that_all_see_are_the_state(game):
    games = make_games(f"pettingzoo.classic.{game}:env", 1, np.random.default_rng(0), {})
    assert tell_less(games, "observations") == []


class Clock(Probe):
    """What is seen holds a time in float64: `first`, and `tick` more at each of eight steps."""

    observation = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, first, tick):
        super().__init__()
        self.first, self.tick = first, tick
        self.state_space = None

    def observe(self):
        return {agent: np.array([self.first + self.tick * self.time, 0.5]) for agent in self.possible_agents}

    def pay(self, one, two):
        return (0.0, 0.0), self.time == 8, False


@pytest.mark.parametrize(("first", "tick"), [(1.7e9, 1.0), (1.7e9, 0.1), (-1e7, 0.005)])
def test_a_number_that_float32_does_not_tell_from_the_next_is_refused(first, tick):
    with pytest.raises(GameError, match=r"observation of agent '.*' holds .*, which moves by less than"):
        make_games(lambda: Clock(first, tick), 1, np.random.default_rng(0), {})


@pytest.mark.parametrize(("first", "tick"), [(0.0, 0.1), (1.7e9, 0.0), (1.7e9, 1000.0), (1.0, 1e-12), (1e5, 1e-6)])
def test_numbers_that_float32_tells_apart_or_that_stand_still(first, tick):
    assert make_games(lambda: Clock(first, tick), 1, np.random.default_rng(0), {}).look.steps > 0


class Paid(Probe):
    """Pays `always`, and `more` where both play the same."""

    def __init__(self, always, more):
        super().__init__()
        self.always, self.more = always, more

    def pay(self, one, two):
        return (self.always + self.more * (one == two),) * 2, True, False


@pytest.mark.parametrize(("always", "more"), [(1e9, 1.0), (-1e10, 100.0), (1e8, 10.0)])
def test_rewards_that_float32_does_not_tell_apart_are_refused(always, more):
    with pytest.raises(GameError, match=r"agent '.*' earns from .* cannot tell apart as they are; take off"):
        make_games(lambda: Paid(always, more), 1, np.random.default_rng(0), {})


@pytest.mark.parametrize(("always", "more"), [(1e9, 0.0), (1e9, 1e7), (0.0, 1e-9), (5.0, 1e-9), (1e5, 1.0)])
def test_rewards_that_it_tells_apart_or_that_do_not_differ(always, more):
    assert make_games(lambda: Paid(always, more), 1, np.random.default_rng(0), {}).look.steps > 0


def test_half_precision_is_read_without_a_warning(recwarn):
    class Half(Probe):
        observation = spaces.Box(-10.0, 10.0, (2,), np.float16)

        def observe(self):
            return {agent: np.array([0.5, -2.0], np.float16) for agent in self.possible_agents}

        def state(self):
            return np.array([0.5, -2.0], np.float16)

    make_games(Half, 1, np.random.default_rng(0), {})
    assert [str(warning.message) for warning in recwarn] == []
