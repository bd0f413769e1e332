"""Tables say what the rows say: rows made by hand, statistics known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_biac.evaluation.statistics import interquartile_mean, mean_interval, mean_text, share_interval, share_text
from rllib_biac.reproduce import escape_curves, matrix_games, merge_study, training, training_curves
from rllib_biac.reproduce.merge_study import digits, outcomes_of


def test_statistics_known_beforehand():
    low, high = share_interval(100, 100)
    assert (round(low, 4), high) == (0.9638, 1.0)
    assert share_text(90, 100) == "90 of 100 [82.4%, 95.1%]"
    assert mean_interval([7.0, 7.0]) == (7.0, 7.0, 7.0)
    assert mean_interval([3.0]) == (3.0, 3.0, 3.0)
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    mean, low, high = mean_interval(values)
    assert mean == values.mean()
    # Normal theory: mean ± 1.96 · 2 / sqrt(400).
    assert abs(low - (mean - 0.196)) < 0.03 and abs(high - (mean + 0.196)) < 0.03
    assert mean_interval(values) == (mean, low, high)
    assert interquartile_mean([-100.0, 1.0, 3.0, 100.0]) == 2.0
    assert mean_text([1.0, 1.0], 1) == "1.0 [1.0, 1.0]"
    with pytest.raises(ValueError, match="no value"):
        mean_interval([])


def _ended(run, variant, *actions):
    """Rows of runs whose greedy joint action was B-Y after 1,000 steps and one of these after 3,000."""
    rows = []
    for a1, a2 in actions:
        greedy = {"1000": matrix_games.judge("escape", np.array([[1, 1]])), "3000": None}
        greedy["3000"] = matrix_games.judge("escape", np.array([[a1, a2]]))
        rows.append({"run": run, "variant": variant, "greedy": greedy})
    return rows


def test_table_of_a_matrix_game():
    nine, one = [(2, 2)] * 9, [(0, 0)]
    rows = _ended("BiAC", "main", *nine, *one) + _ended("LenientDQN", "released", *one)
    table = matrix_games.table("escape", rows)
    ours, released = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert ours["leader: mean [95%]"].startswith("28.50 [")  # the paper's own 28.5: 90% at C-Z, 10% at A-X
    assert ours["follower: interquartile mean"] == "30.00"
    assert ours["runs at C-Z after 1,000 steps [95%]"].startswith("0 of 10 [0.0%")
    assert ours["runs at C-Z after 3,000 steps [95%]"].startswith("9 of 10 [55.5%")
    assert ours["runs that end elsewhere"] == "A-X 1"
    assert (ours["paper: leader"], ours["paper: C-Z"]) == ("28.5", "90%")
    assert (released["algorithm"], released["paper: leader"]) == ("Lenient-DQN", "13.4")
    assert "released" in released["settings"]


def test_a_run_that_samples_is_judged_by_its_most_frequent_play():
    judged = matrix_games.judge("maintain", np.array([[0, 0], [0, 0], [1, 0], [0, 0]]))
    assert (judged["name"], judged["joint_action"], judged["shares"]) == ("A-X", [0, 0], {"A-X": 0.75, "B-X": 0.25})
    assert judged["returns"] == {"player_0": 22.5, "player_1": 11.25}


def test_variants_change_what_they_say():
    def config(variant):
        return training.settings("BiAC", "escape", variant, 0)["config"]

    assert config("uniform") == config("main") | {"epsilon": [[0, 1.0], [1000, 1.0], [1001, 1.0], [3000, 0.1]]}
    assert config("raw") == config("main") | {"normalize_targets": False}
    assert config("enumerated") == config("main") | {"response": "enumerated"}
    assert config("paper")["response"] == "sampled"
    assert training.fully_explored_first("IDQN", {"epsilon": 0.1})["epsilon"] == [[0, 1.0], [1000, 1.0], [1001, 0.1]]


def _released_targets(run):
    """Targets of 200 replayed steps of Escape, and their rewards."""
    settings = training.settings(run, "escape", "released", 0)
    with training.built(run, settings["env"], settings["config"], every=1000) as algo:
        training.train_until(algo, 1000)
        trainer = algo.learner_group._learner.trainer
        rows = trainer.as_tensors(algo.local_replay_buffer.sample(200).columns)
        targets = trainer.losses.compute_targets(rows)
        return targets, {player: rows["rewards", player] for player in matrix_games.PLAYERS}


@pytest.mark.parametrize("run", ["HystereticDQN", "LenientDQN"])
def test_the_released_setting_cuts_targets(run):
    targets, _ = _released_targets(run)
    assert all(values.max() == 1.0 and values.min() == 0.0 for values in targets.values())


def test_the_released_setting_goes_on_after_the_end():
    targets, rewards = _released_targets("IDQN")
    for player, values in targets.items():
        beyond = values - rewards[player]  # the same value of what comes next, for every row
        assert beyond.std() < 1e-3 < beyond.mean()


def test_same_settings_same_row():
    settings = training.settings("BiAC", "maintain", "paper", 3) | {"steps": 500}
    assert matrix_games.learn(**settings) == matrix_games.learn(**settings)


def test_table_of_merge(monkeypatch):
    monkeypatch.setattr(merge_study, "NUM_STARTS", 20)
    merge_study.exact.cache_clear()
    truth = merge_study.exact(30.0).outcome
    crashed = truth.copy()
    crashed[:2] = 2
    rows = [
        training.settings("HystereticDQN", "merge", "main", seed)
        | {"outcomes": digits(outcomes), "episodes": "0012" * 300}
        for seed, outcomes in enumerate((truth, crashed))
    ]
    greedy, trained, single = merge_study.tables(rows)
    (ours, exact), main_first = greedy.rows, 100 * (truth == 0).mean()
    assert ours[:2] == ["U(30,40)", "Hysteretic-DQN"]
    assert ours[4] == "5.0 [0.0, 10.0]"
    assert ours[5] == "90.0 / 95.0 / 95.0"
    assert ours[6:] == ["not in the paper's table"] * 2
    assert exact[1:3] == ["exact equilibrium", f"{main_first:.1f}"]
    assert trained.rows[0][2:5] == ["50.0 [50.0, 50.0]", "25.0 [25.0, 25.0]", "25.0 [25.0, 25.0]"]
    assert single.rows[0][4:] == ["0.0 10.0", "100.0 90.0"]
    merge_study.exact.cache_clear()


def test_shares_of_the_last_steps_are_counted():
    joint = np.random.default_rng(1).integers(9, size=250)
    shares = training_curves.recent_shares(joint, window=100)
    for step in (0, 5, 99, 100, 249):
        recent = joint[max(0, step - 99) : step + 1]
        assert np.allclose(shares[step], np.bincount(recent, minlength=9) / len(recent))
    assert (outcomes_of(digits(joint)) == joint).all()
    curves = training_curves.outcome_curves([{"episodes": "0102"}, {"episodes": "11112"}], window=2)
    assert curves[:, -1].tolist() == [[50.0, 0.0, 50.0], [0.0, 100.0, 0.0]]


def test_events_of_figure_4_settle_when_they_hold_for_good():
    looks = {
        "q1": [[0, 0, 0], [0, 0, 29.5], [0, 0, 30.2], [0, 0, 30.0]],
        "q2": [[0, 0, 9], [9, 0, 1], [0, 0, 20], [0, 0, 30]],
        "pi2": [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]],
        "leader": [2, 0, 0, 2],
    }
    row = {"run": "BiAC", "variant": "paper", "seed": 0, "at": [25, 50, 75, 100], **looks}
    assert escape_curves.events(row) == [50, 75, 75, 100]
    never = row | {"leader": [2, 2, 2, 0], "variant": "main", "seed": 1}
    assert escape_curves.events(never) == [50, 75, 75, None]
    summary, single = escape_curves.tables([row, never])
    assert [line[-1] for line in summary.rows] == ["1 of 1", "0 of 0"]
    assert [line[-1] for line in single.rows] == ["Q1 < Q2 = pi2 < leader", "–"]
    assert escape_curves.figures([row, never])
