"""Greedy play from chosen starts, and what is said about it."""

import copy
import json
import pickle
from types import SimpleNamespace

import pytest

from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.evaluation import Played, Start, Trained, play
from rllib_biac.evaluation.best_response import Estimate, LearnedRegret
from rllib_biac.evaluation.diagnosis import Course, of_play, of_training
from rllib_biac.evaluation.starts import Starts
from tests.evaluation.test_regret import PLAYERS, untrained
from tests.training import train

MERGE = [["main_0"], ["auxiliary_0"]]


def test_a_start_decides_the_episode():
    """Networks that were not trained play each start in their own way, but the same start always alike."""
    trained = untrained("merge_v0", MERGE, 0, env_config={"main_speed": [30, 40], "auxiliary_speed": [30, 40]})
    slow, fast, third = (Start(options={"main_speed": v, "auxiliary_speed": 35}) for v in (30, 40, 35))
    there = play(trained, episodes=5, starts=[slow, fast, third, slow], render=True)
    assert there.returns["main_0"][0] == there.returns["main_0"][3] == there.returns["main_0"][4]
    first = [there.frames[there.episode_of_frame.index(k)].tobytes() for k in range(5)]
    # The first picture shows the speeds at the start.
    assert first[0] == first[3] == first[4]
    assert len(there.episode_of_frame) == len(there.frames) and sorted(set(there.episode_of_frame)) == [0, 1, 2, 3, 4]
    assert len(there.ends) == 5 and sum(there.outcomes.values()) == sum(bool(end) for end in there.ends)


def test_seeds_of_starts():
    trained = untrained("merge_v0", MERGE, 0)
    alike = play(trained, episodes=2, starts=[Start(seed=3)], seed=0)
    other = play(trained, episodes=1, starts=[Start(seed=3)], seed=1)
    assert alike.returns["main_0"] == other.returns["main_0"] * 2


@pytest.mark.parametrize(
    "reads",
    [
        lambda options: options["first"] + options["second"],
        lambda options: [options.get("first"), options.pop("second")],
        lambda options: "first" in options and "second" in options,
        lambda options: {**options},
        lambda options: dict(options),
        lambda options: (lambda first, second: None)(**options),
        lambda options: {"third": 3} | options,
        lambda options: options | {"third": 3},
        lambda options: copy.deepcopy(options),
        lambda options: pickle.dumps(options),
        lambda options: json.dumps(options),
        lambda options: list(options.items()),
    ],
)
def test_options_count_if_the_game_looks_at_them(reads):
    """However it reads them. One that it never looks at is refused: the start would not be the one asked for."""

    def game_that(look):
        game = SimpleNamespace(reset=lambda seed=None, options=None: look(options))
        chosen = Starts(game, [Start(), Start(options={"first": 1, "second": 2})])
        chosen.take(1)
        return game, chosen

    game, chosen = game_that(reads)
    game.reset()
    chosen.check_that_all_counted()
    game, chosen = game_that(lambda options: options["second"])
    game.reset()
    with pytest.raises(ValueError, match="start 2 has options that the game never looks at: 'first'"):
        chosen.check_that_all_counted()


def test_a_misspelt_option_is_refused():
    trained = untrained("merge_v0", MERGE, 0, env_config={"main_speed": [30, 40]})
    with pytest.raises(ValueError, match="'main_sped'"):
        play(trained, episodes=1, starts=[Start(options={"main_sped": 35})])
    with pytest.raises(ValueError, match="never looks at: 'anything'"):
        play(untrained("escape_v0", [["player_0"], ["player_1"]], 0), episodes=1, starts=[Start(None, {"anything": 1})])


def played(**returns):
    return Played({agent: list(values) for agent, values in returns.items()}, [1] * 2)


class TestNotesOnPlay:
    def test_good_play_has_none(self):
        good = played(a=[10, 10], b=[5, 5])
        good.learned_regret = {"a": LearnedRegret(False, Estimate(0.2, 0.1), Estimate(0.2, 0.1))}
        assert of_play(good, {"a": 9.0, "b": 5.5}) == []

    @pytest.mark.parametrize(("responds", "kind"), [(True, "response"), (False, "leader")])
    def test_learned_regrets(self, responds, kind):
        bad = played(a=[10, 10])
        bad.learned_regret = {"a": LearnedRegret(responds, Estimate(0, 0), Estimate(3.0, 0.5))}
        (note,) = of_play(bad)
        assert note.startswith(f"a gains 3 by playing otherwise ({kind} regret)")
        bad.learned_regret = {"a": LearnedRegret(responds, Estimate(0, 0), Estimate(3.0, 2.0))}
        assert of_play(bad) == []  # within its error

    def test_exact_regrets_of_trained_peers(self):
        peers = train(IDQN, "maintain_v0", [list(PLAYERS)], 2000, epsilon=[[0, 1.0], [1000, 0.1]]).team
        response, leader = of_play(play(Trained(peers, "maintain_v0"), episodes=1), peers=True)
        assert "misses up to 15" in response and "misses 10" in leader and "BiAC" in leader

    def test_worse_than_in_training(self):
        stuck = played(a=[-40, -40], b=[-40, -40])
        (note,) = of_play(stuck, {"a": 8.0, "b": 4.0})
        assert "a -40 instead of 8" in note and "state" in note
        assert of_play(played(a=[20, 20], b=[5, 5]), {"a": 10.0, "b": 10.0}) == []  # one gave way to the other


class TestNotesOnTraining:
    RETURN = "env_runners/agent_episode_returns_mean/"

    def test_a_good_run_has_none(self):
        courses = {self.RETURN + "a": Course(0.0, 10.0, 9.5), "learners/a/qf_loss": Course(0.0, 9.0, 0.0)}
        assert of_training({"env_runners/epsilon": 0.1, "evaluation/regret/response_regret": 0.0}, courses) == []

    def test_what_is_wrong_is_told(self):
        courses = {self.RETURN + agent: Course(0.0, 10.0, 2.0) for agent in "ab"}
        report = {"env_runners/epsilon": 0.8}
        report |= {f"evaluation/regret/{kind}_regret": 3.0 for kind in ("response", "leader")}
        response, leader, epsilon, fallen = of_training(report, courses)
        assert "response regret" in response and "leader regret" in leader
        assert epsilon.startswith("80% of all actions") and "fallen" in fallen
        courses[self.RETURN + "b"] = Course(0.0, 10.0, 10.0)  # the other gained by it
        assert of_training({}, courses) == []

    def test_a_game_that_never_pays_is_told(self):
        courses = {self.RETURN + agent: Course(0.0, 0.0, 0.0) for agent in "ab"}
        (note,) = of_training({"training_iteration": 5}, courses)
        assert "every return was 0, from the first report to the last" in note
        assert of_training({"training_iteration": 1}, courses) == []  # one report says little
        courses[self.RETURN + "b"] = Course(0.0, 1.0, 1.0)
        assert of_training({"training_iteration": 5}, courses) == []
