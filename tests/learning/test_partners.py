"""Agents that do not learn are part of the game of those who do."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.algorithms.maddpg import MATD3
from rllib_biac.envs.errors import GameError
from rllib_biac.learning.games import make_games
from rllib_biac.learning.partners import GameWithPartners, Noisy, Scripted, at_random
from tests import foreign
from tests.games import Probe
from tests.training import Run, checked, train


class Matching(foreign.Foreign):
    """`a` earns 1 for playing what `b` plays."""

    length = 2

    def pay(self, agent, actions):
        return float(actions["a"] == actions["b"]) if agent == "a" else 0.0


def by_time(observation):
    return int(observation[0] % 2)


def games(env, partners, number=3):
    return make_games(GameWithPartners(env, partners), number, np.random.default_rng(0), {})


def test_the_learner_answers_a_script():
    run = train(
        BiAC, GameWithPartners(Matching, {"b": Scripted(by_time, "by_time")}), [["a"]], 600, state="observations"
    )
    assert run.sampler.games.possible_agents == ["a"]
    run.sampler.sample(0, num_episodes=20, explore=False)
    assert run.sampler.finished.returns().tolist() == [[2.0]] * 20


@pytest.mark.parametrize(
    ("space", "right", "wrong"),
    [
        (spaces.Discrete(3, start=1), 2, 0),
        (spaces.Discrete(3, start=1), 3, 4),
        (spaces.MultiDiscrete([2, 3]), [1, 2], 5),
        (spaces.MultiBinary(2), [0, 1], [0, 2]),
        (spaces.Box(-1, 1, (2, 1), np.float64), [[0.5], [-1.0]], [0.5, -1.0]),
    ],
)
def test_scripts_play_the_games_own_actions(space, right, wrong):
    took = []

    class Own(Probe):
        def action_space(self, agent):
            return space if agent == "two" else spaces.Discrete(2)

        def step(self, actions):
            took.append(actions["two"])
            return super().step(actions)

    play = games(Own, {"two": Scripted(lambda o: right, "right")}, number=1)
    play.reset()
    took.clear()
    play.step({"one": np.zeros(1, int)})
    np.testing.assert_array_equal(took, [right])
    play = games(Own, {"two": Scripted(lambda o: wrong, "wrong")}, number=1)
    play.reset()
    with pytest.raises(GameError, match="partner wrong of agent 'two' played"):
        play.step({"one": np.zeros(1, int)})


def test_a_partner_may_be_absent_and_is_then_not_asked():
    asked = []

    def played(observation):
        asked.append(observation.tolist())
        return 1

    two = games(foreign.Leaver, {"b": Scripted(played, "played")}, number=1)
    two.reset()
    for _ in range(4):
        step = two.step({"a": np.array([1])})
    assert len(asked) == 2 and step.terminated.all() and set(step.rewards) == {"a"}


def test_noise_has_its_share():
    noisy = games(Matching, {"b": Noisy(Scripted(lambda observation: 0, "0"), 0.5)}, number=400)
    noisy.reset()
    paid = noisy.step({"a": np.zeros(400, int)}).rewards["a"].mean()
    assert paid == pytest.approx(0.75, abs=0.08)


def test_random_partners_do_nothing_forbidden():
    play = games(foreign.MaskBesideGoal, {"b": at_random})
    play.reset()
    play.step({"a": np.zeros(3, int)})


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'c' is no agent of this game; its agents are a, b"):
        games(Matching, {"c": at_random})
    with pytest.raises(ValueError, match="none is left to learn"):
        games(Matching, {"a": at_random, "b": at_random})
    for wrong in (lambda o: 2, lambda o: 0.5, lambda o: np.zeros(2, int)):
        with pytest.raises(GameError, match="partner wrong of agent 'b' played"):
            games(Matching, {"b": Scripted(wrong, "wrong")}).try_partners()
    with pytest.raises(GameError, match="raised ZeroDivisionError"):
        games(Matching, {"b": Scripted(lambda o: 1 // 0, "wrong")}).try_partners()


def test_partners_go_on_where_they_stood():
    def play(steps):
        made = games("escape_v0", {"player_1": at_random}, number=50)
        made.reset()
        for _ in range(steps):
            made.step({"player_0": np.zeros(50, int)})
            made.reset()
        return made

    one, other = play(3), play(1)
    other.set_state(one.get_state())
    actions = {"player_0": np.zeros(50, int)}
    np.testing.assert_array_equal(one.step(actions).rewards["player_0"], other.step(actions).rewards["player_0"])


@pytest.mark.parametrize(
    ("algorithm", "levels"),
    [(BiAC, [["a"], ["b"]]), (BiAC, [["a", "b"]]), (IDQN, [["a", "b"]]), (MATD3, [["a", "b"]])],
    ids=["pair", "peers", "IDQN", "MATD3"],
)
def test_who_is_not_to_learn_stays_as_it_is(algorithm, levels):
    run = Run(algorithm, Matching, levels, state="observations", policies_to_train=["a"])
    before = run.weights()
    run.train(200)
    moved = {key.partition("/")[0] for key, value in run.weights().items() if not torch.equal(value, before[key])}
    assert moved == {"a"}


def test_who_learns_is_in_the_hierarchy():
    for wrong, message in (("a", "write a list"), (["c"], "'c' is not in the hierarchy"), ([], "write a list")):
        with pytest.raises(ValueError, match=message):
            checked(BiAC, [["a"], ["b"]], policies_to_train=wrong)
