"""`rllib compare`: what is counted, and the files it writes."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from rllib_biac.cli.main import main
from rllib_biac.evaluation.statistics import mean_bands, probability_of_improvement
from rllib_biac.report.comparison import compare, improvements, settled_at
from rllib_biac.report.folders import read, trials_in
from tests.report import results


def reports(place: Path, *rows: dict) -> None:
    """Writes what a trial reported, by env step."""
    lines = [
        {"training_iteration": i, "num_env_steps_sampled_lifetime": 100 * i, "time_total_s": i, "env_runners": row}
        for i, row in enumerate(rows, start=1)
    ]
    (place / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def returns(first: float, second: float, **shares: float) -> dict:
    return {"agent_episode_returns_mean": {"player_0": first, "player_1": second}, "outcome_share": shares}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


class TestStatistics:
    @pytest.mark.parametrize(("ours", "theirs", "share"), [([2, 3], [0, 1], 1.0), ([1, 1], [1, 1], 0.5), ([0], [1], 0)])
    def test_probability_of_improvement_known(self, ours, theirs, share):
        assert probability_of_improvement(ours, theirs)[0] == share

    def test_probability_of_improvement_is_the_statistic_of_mann_and_whitney(self):
        rng = np.random.default_rng(0)
        ours, theirs = rng.integers(0, 5, 7), rng.integers(0, 5, 9)
        share, low, high = probability_of_improvement(ours, theirs)
        assert share == pytest.approx(stats.mannwhitneyu(ours, theirs).statistic / 63)
        assert 0 <= low < share < high <= 1
        back = probability_of_improvement(theirs, ours)
        assert back[0] == pytest.approx(1 - share)

    def test_one_run_has_no_interval(self):
        assert np.isnan(probability_of_improvement([1], [0, 2])[1:]).all()
        mean, low, high = mean_bands(np.array([[1.0, 2.0]]))
        assert mean.tolist() == [1, 2] and np.isnan([low, high]).all()

    def test_bands_hold_the_mean_and_have_no_width_where_all_agree(self):
        mean, low, high = mean_bands(np.array([[0.0, 7.0], [1.0, 7.0], [5.0, 7.0]]))
        assert mean.tolist() == [2, 7]
        assert low[0] < 2 < high[0] and (low[1], high[1]) == (7, 7)


def test_settled_where_all_curves_stay_near_their_end():
    rising = [(x, float(x)) for x in range(0, 101, 10)]
    assert settled_at([rising]) == 90
    assert settled_at([rising, [(0, 3.0), (50, 3.0)]]) == 90
    assert settled_at([[(0, 1.0), (10, 9.0), (20, 1.0)]]) == 20
    assert settled_at([[]]) is None


def learning(place: Path, values: list[float], regrets: list[float] | None = None, cpu: bool = True) -> None:
    """Writes the curve of a return, of exact regrets, and what each report took."""
    rows = []
    for i, value in enumerate(values):
        row = {
            "num_env_steps_sampled_lifetime": 100 * (i + 1),
            "training_iteration": i + 1,
            "env_runners": returns(value, 1),
        }
        if regrets:
            row["evaluation"] = {"regret": {"response_regret": regrets[i], "leader_regret": 0.0}}
        rows.append(row | ({"cpu_time_this_iter_s": 0.5} if cpu else {}))
    (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


class TestSteps:
    def test_to_the_answer_only_where_regrets_say_that_it_is_one(self, tmp_path):
        learning(results.trial(tmp_path / "a", 0, seed=0), [0, 10, 10, 10], [9, 9, 0, 0])
        learning(results.trial(tmp_path / "a", 1, seed=1), [0, 10, 10, 10], [9, 9, 9, 9])
        (game,) = compare([tmp_path], episodes=0).games
        assert game.methods[0].finals["at the answer"] == [1, 0]
        assert game.methods[0].finals["steps to the answer"] == [300]
        assert game.methods[0].finals["CPU seconds to the answer"] == [1.5]
        assert game.methods[0].finals["CPU seconds"] == [2, 2]
        assert "settled at" not in game.metrics()

    def test_without_exact_answers_they_settle(self, tmp_path):
        learning(results.trial(tmp_path / "a", 0), [0, 10, 10, 10])
        learning(results.trial(tmp_path / "b", 1, env="h"), [0, 10, 10, 10], cpu=False)
        one, other = compare([tmp_path], episodes=0).games
        assert one.methods[0].finals["settled at"] == [200]
        assert one.methods[0].finals["CPU seconds to settle"] == [1]
        assert "at the answer" not in one.metrics() and "CPU seconds" not in other.metrics()

    def test_what_still_changes_at_the_end_has_not_settled(self, tmp_path):
        learning(results.trial(tmp_path / "a", 0), [0, 1, 2, 10])
        (game,) = compare([tmp_path], episodes=0).games
        assert "settled at" not in game.metrics() and "CPU seconds to settle" not in game.metrics()

    def test_one_run_of_each_says_nothing_of_others(self, tmp_path):
        for number, algorithm in enumerate(("BiAC", "IDQN")):
            learning(results.trial(tmp_path / "a", number, algorithm=algorithm), [0, 1, 2, 10])
        (game,) = compare([tmp_path], episodes=0).games
        assert len(game.methods) == 2 and improvements(game) == []


class TestAbsentShares:
    def test_count_as_zero(self, tmp_path):
        reports(results.trial(tmp_path / "x", 0), returns(1, 1, **{"A-X": 1.0}), returns(1, 1, **{"C-Z": 1.0}))
        reports(results.trial(tmp_path / "x", 1, seed=1), returns(1, 1, **{"B-Y": 1.0}), {"epsilon": 0.1})
        first, second = read(tmp_path / "x").trials
        share = "env_runners/outcome_share/"
        assert [first.last(share + name) for name in ("A-X", "B-Y", "C-Z")] == [0, 0, 1]
        # A report without any shares says nothing about them.
        assert second.curve(share + "B-Y") == [(100, 1.0)]

    def test_stacked_outcomes_add_up(self, tmp_path):
        for number, name in enumerate(("A-X", "B-Y")):
            reports(results.trial(tmp_path / "x", number, seed=number), *[returns(1, 1, **{name: 1.0})] * 2)
        assert CliRunner().invoke(main, ["report", str(tmp_path / "x")]).exit_code == 0
        page = (tmp_path / "x" / "report.html").read_text()
        assert "at the end A-X 50%, B-Y 50%." in page


@pytest.fixture
def compared(tmp_path):
    """Two methods in one game, one of them in another game too."""
    number = 0
    for algorithm, env, values in (("BiAC", "g", (4.0, 8.0)), ("IDQN", "g", (1.0, 2.0)), ("IDQN", "h", (5.0,))):
        for seed, value in enumerate(values):
            place = results.trial(tmp_path / f"{algorithm}_{env}", number, algorithm=algorithm, env=env, seed=seed)
            reports(place, returns(0, 0, bad=1.0), returns(value, -value, **{"good" if seed else "bad": 1.0}))
            number += 1
    return tmp_path


def test_files(compared):
    told = run(compared, "--out", compared / "out", "--episodes", 0)
    assert "g (training, exploration included;" in told
    assert re.search(r"BiAC, 2 seeds\n +Return of player_0: 6.000 \[4.000, 8.000\]", told)
    with open(compared / "out" / "compare.csv", newline="") as file:
        rows = {(row["game"], row["method"], row["metric"]): row for row in csv.DictReader(file)}
    ours = rows["g", "BiAC", "return player_0"]
    assert [float(ours[key]) for key in ("seeds", "mean", "low_95", "high_95")] == [2, 6, 4, 8]
    assert float(rows["g", "BiAC", "share good"]["mean"]) == 0.5
    alone = rows["h", "IDQN", "return player_0"]
    assert (alone["mean"], alone["low_95"]) == ("5.0", "")
    assert float(rows["g", "IDQN", "probability that BiAC improves, return player_0"]["mean"]) == 1
    assert float(rows["g", "IDQN", "probability that BiAC improves, return player_1"]["mean"]) == 0
    for game in "gh":
        ElementTree.parse(compared / "out" / f"compare_{game}.svg")
        assert (compared / "out" / f"compare_{game}.pdf").read_bytes().startswith(b"%PDF")
    page = (compared / "out" / "compare.html").read_text()
    assert "<script" not in page and "url(" not in page and "How probably a run of BiAC gets more" in page
    with open(compared / "out" / "compare_curves.csv", newline="") as file:
        curve = [row for row in csv.DictReader(file) if row["game"] == "g" and row["method"] == "BiAC"]
    assert [(float(r["env_steps"]), float(r["mean"])) for r in curve if r["metric"] == "Return of player_0"] == [
        (100, 0),
        (200, 6),
    ]


def test_methods_are_named_by_what_differs(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.2, 0)]):
        results.trial(tmp_path / "sweep", number, f"lr={lr}", lr=lr, seed=seed)
    (game,) = compare([tmp_path], episodes=0).games
    assert [(m.name, len(m.trials)) for m in game.methods] == [("BiAC, lr = 0.1", 2), ("BiAC, lr = 0.2", 1)]
    for number, name in enumerate(("tuned", "paper")):
        results.trial(tmp_path / "apart" / name, number, lr=number, gamma=number)
    (game,) = compare([tmp_path / "apart"], episodes=0).games
    assert [m.name for m in game.methods] == ["BiAC (paper)", "BiAC (tuned)"]
    for number in range(2):
        results.trial(tmp_path / "settings", number, env_config={"size": number})
    assert [g.name for g in compare([tmp_path / "settings"], episodes=0).games] == [
        'escape_v0 {"size": 0}',
        'escape_v0 {"size": 1}',
    ]


def test_trials_are_counted_once_and_equal_seeds_are_told(tmp_path):
    place = results.trial(tmp_path / "x", 0)
    assert len(compare([tmp_path, place], episodes=0).games[0].methods[0].trials) == 1
    results.trial(tmp_path / "x", 1)
    found = compare([tmp_path], episodes=0)
    assert any("2 trials, but 1 different seeds" in problem for problem in found.problems)


def test_settings_that_make_no_sense_stop_nothing(tmp_path):
    for number in range(2):
        results.trial(tmp_path / "x", number, seed={"odd": [number]}, env=["x"], hierarchy=3, lr={"x": float("nan")})
    assert compare([tmp_path], episodes=0).games


def test_what_cannot_be_played_is_told_and_training_compared(tmp_path):
    results.trial(tmp_path / "x", 0)
    broken = results.trial(tmp_path / "x", 1, seed=1) / "checkpoint_000000"
    broken.mkdir()
    (broken / "rllib_checkpoint.json").write_text("{")
    found = compare([tmp_path], episodes=1)
    assert not found.games[0].played
    assert any("there is no checkpoint" in problem for problem in found.problems)
    assert any("its checkpoint cannot be played" in problem for problem in found.problems)


@pytest.mark.parametrize(("folder", "text"), [("none", "no such folder"), ("", "no trial here")])
def test_mistakes(tmp_path, folder, text):
    result = CliRunner().invoke(main, ["compare", str(tmp_path / folder)])
    assert result.exit_code == 2 and text in result.output
    with pytest.raises(ValueError, match=text):
        trials_in(tmp_path / folder)
