"""The program that plays the zoo, `benchmarks/zoo.py`: who learns there, rows, tables."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from rllib_biac.envs.zoo import FAMILIES, zoo_game
from rllib_biac.envs.zoo.scoring import RULES, rules_hash

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def program(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LEARNERS = program("zoo_learners")
ZOO = program("zoo")


def test_every_algorithm_has_its_kernel():
    from rllib_biac.rllib.registry import ALGORITHMS, config_class

    assert set(LEARNERS.KERNEL) == set(ALGORITHMS)
    for name, where in LEARNERS.KERNEL.items():
        assert config_class(name).algorithm is LEARNERS.load_object(where)


@pytest.mark.parametrize("name", LEARNERS.KERNEL)
def test_every_algorithm_plays(name):
    learner = LEARNERS.make_learner(name, zoo_game("normal", 1), 0, {})
    learner.train(200)
    score = learner.look()
    assert score.leader_regret >= 0 and score.response_regret >= 0 and learner.updates > 0
    assert score.right == (score.leader_regret == score.response_regret == 0)


@pytest.mark.parametrize("name", [LEARNERS.COUNTING, "BiLevelQ"])
@pytest.mark.parametrize("family", ["outlier", "corridor_10"])
def test_those_without_networks_find_easy_equilibria(name, family):
    learner = LEARNERS.make_learner(name, zoo_game(family, 1), 0, {})
    learner.train(4000)
    score = learner.look()
    assert score.right and score.leader_regret == score.response_regret == 0 and score.answers == 1


def test_before_anything_is_learned_play_is_wrong():
    learner = LEARNERS.make_learner("BiAC", zoo_game("doorway", 0), 0, {})
    learner.train(25)
    assert not learner.look().right and learner.updates == 0


@pytest.mark.slow
@pytest.mark.parametrize("game", [1000, 1003])
def test_what_pays_at_the_end_of_a_long_way_alone_is_found_worth_going_there(game):
    learner = LEARNERS.make_learner("BiAC", zoo_game("corridor_25", game), 0, {})
    learner.train(10_000)
    assert learner.look().right


def test_the_games_gamma_is_learned_with():
    zoo = zoo_game("corridor_10", 0)
    assert LEARNERS.make_learner("BiAC", zoo, 0, {"tau": 0.05}).run.settings.gamma == zoo.gamma == 0.9
    with pytest.raises(ValueError, match="at most 200 states"):
        LEARNERS.make_learner(LEARNERS.COUNTING, zoo_game("doorway", 0), 0, {})


def test_schedules_of_a_budget():
    assert LEARNERS.of_budget({"budget": [[0, 1e-3], [0.5, 1e-3], [1, 1e-4]]}, 20_000) == [
        [0, 1e-3],
        [10_000, 1e-3],
        [20_000, 1e-4],
    ]
    assert LEARNERS.of_budget({"player_0": 0.1}, 20_000) == {"player_0": 0.1}


def job(**changed):
    of = {"label": "defaults", "algorithm": LEARNERS.COUNTING, "family": "normal", "game": 0, "seed": 0, "config": {}}
    return of | changed


def test_rows_and_tables(tmp_path, capsys):
    row = json.loads(json.dumps(ZOO.play(job())))
    assert row["solved"] and row["holds"] and row["looks"] == "1" * RULES.looks and row["rules"] == rules_hash()
    assert row["steps"] == FAMILIES["normal"].steps // RULES.looks and row["leader_regret"] == 0
    cannot = ZOO.play(job(family="doorway"))
    assert "at most 200 states" in cannot["cannot"]

    raw = tmp_path / "zoo.jsonl"
    wrong = row | {"game": 1, "holds": False, "solved": False, "steps": None, "leader_regret": 0.5, "undecided": 3}
    raw.write_text("\n".join(json.dumps(one) for one in (row, wrong, row)) + '\n{"label": "cut o')
    rows = ZOO.rows_of(raw)
    assert rows == [row, wrong]
    ZOO.run_all([job()], raw, 1)  # there already
    assert "0 of 1 runs to do" in capsys.readouterr().out
    text = ZOO.table(rows)
    assert "| 2 x 1 | 1 of 2 | 1 of 2 |" in text and "| 25.0 |" in text and "| 60% |" in text
    ZOO.picture(rows, tmp_path / "one.svg")
    ZOO.picture(rows, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_run_that_is_cut_off_is_wrong(monkeypatch):
    import dataclasses

    short = dataclasses.replace(FAMILIES["normal"], cpu_seconds=0.0)
    monkeypatch.setattr(ZOO, "FAMILIES", {"normal": short})
    row = ZOO.play(job())
    assert not row["solved"] and row["looks"] == "" and row["steps"] is None
