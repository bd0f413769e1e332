"""`rllib report`: what is on the page, and what becomes of damaged folders."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from rllib_biac.cli.main import main
from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.report import charts, checkpoints
from rllib_biac.report.folders import read
from rllib_biac.report.page import write_report
from rllib_biac.report.settings import train_commands
from tests.report import results


def report(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def page(folder: Path) -> str:
    """The page of a folder, as text that a reader sees: without tags, entities resolved."""
    result = report(folder)
    assert result.exit_code == 0, result.output
    written = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|srcset)=["'](?!data:|#)""", written)
    assert "url(" not in written and "<script" not in written
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<(style|title).*?</\1>|<[^>]*>", " ", written, flags=re.S)))


def test_one_trial(tmp_path):
    results.trial(tmp_path / "mine")
    told = page(tmp_path / "mine")
    for text in ("BiAC", "escape_v0", "player_0 → player_1", "14 November 2023", "finished", "Return per episode"):
        assert text in told
    for text in ("Outcomes", "TD error", "Critic loss", "Exploration", "C-Z 100%", "Logarithmic axis", "player_0 30 "):
        assert text in told
    assert "there is no checkpoint" in told
    assert "rllib report " in told
    assert page(next((tmp_path / "mine").glob("BiAC_*")))  # the trial's own folder will do


def test_a_sweep_shows_what_differs_and_draws_every_trial(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]):
        results.trial(tmp_path / "sweep", number, f"lr={lr},sample={seed}", lr=lr, seed=seed)
    told = page(tmp_path / "sweep")
    assert "Different between trials Trial lr seed" in told
    assert "lr=0.2,sample=1 0.2 1" in told
    assert "Bold: the mean of 2 trials" in told
    assert "lr = 0.1, mean ± SD" in told
    (command,) = train_commands(read(tmp_path / "sweep"))
    assert '"lr": {"grid_search": [0.1, 0.2]}, "seed": {"grid_search": [0, 1]}' in command
    written = (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    returns = re.findall(r"<svg[^>]*aria-label=\"Return per episode.*?</svg>", written, re.S)
    assert [(one.count('class="thin"'), one.count('class="line"')) for one in returns] == [(4, 2), (4, 2)]


def test_trials_that_are_no_grid_have_a_command_each(tmp_path):
    for number, (lr, seed) in enumerate([(0.1, 0), (0.2, 1)]):
        results.trial(tmp_path / "pairs", number, f"lr={lr}", lr=lr, seed=seed)
    commands = train_commands(read(tmp_path / "pairs"))
    assert len(commands) == 2
    assert "pairs_1" in commands[1] and '"seed": 1' in commands[1]


EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def test_whatever_stands_in_the_files_is_escaped(tmp_path):
    place = results.trial(tmp_path / "evil", lr=EVIL, env_config={EVIL: EVIL}, levels=[[EVIL], ["player_1"]])
    rows = [{**row, "env_runners": {"agent_episode_returns_mean": {EVIL: 1.0}}} for row in results.reports()]
    (place / "result.json").write_text("\n".join(map(json.dumps, rows)))
    (place / "error.txt").write_text(EVIL)
    told = page(tmp_path / "evil")
    assert "<script>alert" in told
    written = (tmp_path / "evil" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in written and "<img src=x" not in written

    table = {"title": EVIL, "columns": [EVIL], "rows": [[EVIL]]}
    changed = {"title": EVIL, "command": EVIL, "notes": [EVIL], "versions": {EVIL: EVIL}, "tables": [table]}
    results.reproduction(tmp_path / "evil too", "table2", **changed, figures=[{"title": EVIL, "svg": "../secret.svg"}])
    (tmp_path / "secret.svg").write_text(results.SVG)
    page(tmp_path / "evil too")
    written = (tmp_path / "evil too" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in written and "<img" not in written  # and no figure from outside the folder


def test_damaged_files(tmp_path):
    folder = tmp_path / "killed"
    results.trial(folder, 0, "cut", tail='{"training_iteration": 5, "num_env_st')
    results.trial(folder, 1, "garbled", tail='\x00\x00\n[1]\n"x"\n{"training_iteration": NaN, "env_runners": null}\n')
    empty = results.trial(folder, 2, "empty")
    (empty / "result.json").write_text("")
    (empty / "params.json").write_text('{"lr": ')
    failed = results.trial(folder, 3, "failed", levels="no list", env=None)
    reported = (failed / "result.json").read_text().splitlines(keepends=True)
    (failed / "result.json").write_text("".join(reported[:-1]))  # it never got to its last report
    (failed / "error.txt").write_text("Traceback ...\nValueError: it broke\n")
    for number, (name, metadata) in enumerate({"broken": "{", "no pickle": "{}"}.items(), start=4):
        checkpoint = results.trial(folder, number, name) / "checkpoint_000000"
        checkpoint.mkdir()
        (checkpoint / "rllib_checkpoint.json").write_text(metadata)
        (checkpoint / "class_and_ctor_args.pkl").write_bytes(b"no pickle")
    deep = results.trial(
        folder, 6, "deep", tail="[" * 100_000 + '\n{"training_iteration": 5, "huge": 1' + "0" * 400 + "}\n"
    )
    (deep / "params.json").write_text("[" * 100_000)
    (deep / "checkpoint_000000").mkdir()
    os.mkfifo(deep / "checkpoint_000000" / "rllib_checkpoint.json")  # reading it would never end
    (folder / "experiment_state-1.json").write_text('{"trial_da')
    told = page(folder)
    for text in (
        "cut finished 400",
        "empty: its settings (params.json) are missing or damaged.",
        "empty: it reported nothing",
        "empty unfinished –",
        "failed: training failed: ValueError: it broke",
        "deep: its settings (params.json) are missing or damaged.",
        "broken: its checkpoint cannot be played:",
        "rllib_checkpoint.json cannot be read",
        "no pickle: its checkpoint cannot be played:",
        "class_and_ctor_args.pkl cannot be read",
    ):
        assert text in told


def test_a_trial_resumed_from_an_older_checkpoint(tmp_path):
    place = results.trial(tmp_path / "resumed")
    rows = [{"training_iteration": i, "num_env_steps_sampled_lifetime": 10 * i, "x": x} for i, x in enumerate("abc")]
    again = {"training_iteration": 1, "num_env_steps_sampled_lifetime": 11, "y": 1}
    (place / "result.json").write_text("\n".join(map(json.dumps, [*rows, again])))
    (trial,) = read(tmp_path / "resumed").trials
    assert [row["num_env_steps_sampled_lifetime"] for row in trial.rows] == [0, 11]


def test_progress_csv_serves_where_result_json_is_lost(tmp_path):
    place = results.trial(tmp_path / "mine")
    (place / "result.json").unlink()
    (place / "progress.csv").write_text("training_iteration,num_env_steps_sampled_lifetime,date\n1,100,x\n2,200,y\n3")
    (trial,) = read(tmp_path / "mine").trials
    assert trial.last("num_env_steps_sampled_lifetime") == 200
    page(tmp_path / "mine")


def test_a_reproduction(tmp_path):
    folder = results.reproduction(tmp_path / "all", "table2", "fig4")
    (folder / "half.json").write_text('{"kind": "rllib_biac reproduction", "exp')
    (folder / "other.json").write_text("[]")
    told = page(folder)
    assert told.index("The fig4 of the paper") < told.index("The table2 of the paper")
    for text in ("Seeds are our own.", "rllib reproduce table2", "ray 2.60.0", "3 rows of raw results", "1 h 02 min"):
        assert text in told
    assert "Bi-AC 0.9877" in told and "MADDPG –" in told
    assert "half.json is damaged or half-written and was left out." in told
    written = (folder / "report.html").read_text(encoding="utf-8")
    # An image of its own: no id, style or script of a figure reaches the page or another figure.
    assert written.count('src="data:image/svg+xml;base64,') == 2
    assert "same" not in written and "fill:red" not in written


def test_a_manifest_with_next_to_nothing_in_it(tmp_path):
    (tmp_path / "x.json").write_text('{"kind": "rllib_biac reproduction", "tables": 3, "figures": [{}, 1], "raw": 7}')
    assert "This figure cannot be shown" in page(tmp_path)


def test_bad_input(tmp_path):
    (tmp_path / "empty").mkdir()
    results.trial(tmp_path / "many" / "one")
    results.trial(tmp_path / "many" / "two")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "a.json").write_text('{"kind": "rllib_biac reproduction"')
    one = tmp_path / "many" / "one"
    (tmp_path / "folder.html").mkdir()
    for arguments, wanted in {
        (tmp_path / "nowhere",): ["no such folder", "rllib train", "rllib reproduce"],
        (tmp_path / "empty",): ["no results here", "params.json"],
        (tmp_path / "half",): ["a.json is damaged", "again"],
        (tmp_path / "many",): ["several result folders", f"  {one}\n", f"  {tmp_path / 'many' / 'two'}\n"],
        (one, "--out", tmp_path / "page.txt"): ["end in .html"],
        (one, "--out", tmp_path / "no" / "page.html"): ["there is no folder", "no"],
        (one, "--out", tmp_path / "folder.html"): ["folder.html cannot be written", "is a folder"],
    }.items():
        result = report(*arguments)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        for fragment in wanted:
            assert fragment in result.output


def test_an_old_report_survives_a_failure(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    results.trial(folder)
    page(folder)
    before = (folder / "report.html").read_text(encoding="utf-8")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for where in ("rllib_biac.report.page.render", "rllib_biac.report.page.os.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(where, full)
            result = report(folder)
        assert result.exit_code == 2
        assert "report.html cannot be written: No space left on device. Write it elsewhere with --out" in result.output
        assert (folder / "report.html").read_text(encoding="utf-8") == before
        assert [path.name for path in folder.iterdir() if "report" in path.name] == ["report.html"]


def test_the_same_folder_gives_the_same_page(tmp_path):
    results.trial(tmp_path / "mine")
    one, two = (write_report(tmp_path / "mine", tmp_path / f"{name}.html") for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_numbers():
    wanted = {
        0.0: "0",
        26.70: "26.7",
        3000: "3,000",
        12345.678: "12,346",
        -1.25: "−1.25",
        0.1234567: "0.1235",
        1e-6: "1e−6",
    }
    assert {value: charts.number(value) for value in wanted} == wanted
    assert charts.numbers_like([30.0, -1e-9], digits=3)(-1e-9) == "0.0"
    assert charts.numbers_like([0.0, 30.0])(30.0) == "30"


def test_the_mean_of_curves_of_different_lengths():
    mean = charts.mean_curve([[(0.0, 0.0), (10.0, 10.0)], [(4.0, 0.0), (20.0, 0.0)]])
    assert mean == [(4.0, 2.0), (10.0, 5.0)]
    assert charts.mean_curve([]) == []


@pytest.mark.parametrize("curve", [[(100.0, 5.0)], [(0.0, 0.0)], [(1.0, 1e300), (2.0, -1e300)], [(1.0, 1e-12)]])
def test_odd_curves_can_be_drawn(curve):
    chart = charts.line_chart("odd", {"a": [curve], "b": [[]]}, error=True)
    assert chart is not None and "nan" not in chart.svg and "inf" not in chart.svg
    assert charts.line_chart("nothing", {"a": [[]]}) is None
    assert charts.share_chart("nothing", {}) is None


def test_many_outcomes_are_added_up():
    chart = charts.share_chart("shares", {f"o{i}": [[(0.0, 0.05), (1.0, 0.05)]] for i in range(20)})
    assert [entry.name for entry in chart.legend] == [*(f"o{i}" for i in range(6)), "other"]
    assert chart.legend[-1].last == "70%"


def test_an_animation_stays_small():
    noise = np.random.default_rng(0).integers(0, 256, (24, 200, 400, 3), np.uint8)
    gif, still, size = checkpoints._animate([Image.fromarray(frame) for frame in noise], 15.0)
    assert len(gif) < 2_000_000 and gif.startswith("data:image/gif;base64,")
    assert still.startswith("data:image/png;base64,") and size == (400, 200)


@pytest.fixture(scope="module")
def trained(ray, tmp_path_factory):
    """A real run: player_1 leads, so that tables have to be turned into the game's order of players."""
    place = tmp_path_factory.mktemp("trained")
    (place / "file.yaml").write_text("""
maintain:
  run: BiAC
  env: maintain_v0
  stop: {num_env_steps_sampled_lifetime: 600}
  config:
    hierarchy: [[player_1], [player_0]]
    lr: {grid_search: [0.01, 0.003]}
    seed: 5
    num_envs_per_env_runner: 8
    training_intensity: 64
    min_sample_timesteps_per_iteration: 100
""")
    result = CliRunner().invoke(main, ["train", "file", str(place / "file.yaml"), "--storage-path", str(place)])
    assert result.exit_code == 0, result.output
    return place / "maintain"


@pytest.mark.slow
def test_a_real_run(trained):
    told = page(trained)
    assert "Who leads player_1 → player_0" in told
    assert "Please note" not in told, told
    assert "True payoffs X Y Z A 20 0 0 B 30 10 0 C 0 0 5" in told
    assert told.count("Learned values") == 4
    play = checkpoints.matrix_play(read(trained).trials[0].checkpoint)
    assert play.exact == ["C-Z"] and play.solution == "Stackelberg equilibrium"
    assert play.outcome in told
    for player, (true, learned) in play.tables:
        # Turned the wrong way round they would be uncorrelated at best.
        values = [
            [[float(cell.text.replace("−", "-")) for cell in cells] for _, cells in table.rows]
            for table in (true, learned)
        ]
        assert np.corrcoef(np.ravel(values[0]), np.ravel(values[1]))[0, 1] > 0.8, (player, values)


@pytest.mark.slow
def test_the_command_on_the_page_trains_the_same_again(trained, monkeypatch):
    again = []
    monkeypatch.setattr("rllib_biac.cli.run.run", lambda experiments, *_, **__: again.extend(experiments) or 0)
    (command,) = train_commands(read(trained))
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    (experiment,) = again
    assert experiment.name == "maintain" and experiment.stop == {"num_env_steps_sampled_lifetime": 600}
    from ray.tune.utils.util import SafeFallbackEncoder

    now = [json.loads(json.dumps(trial.config.to_dict(), cls=SafeFallbackEncoder)) for trial in experiment.trials]
    then = [trial.settings for trial in read(trained).trials]
    for settings in (*now, *then):
        del settings["policy_mapping_fn"]  # its text holds an address in memory
    assert now == then


@pytest.mark.slow
def test_a_game_that_draws_is_filmed(trained, monkeypatch):
    frames = [np.full((16, 90, 3), shade, np.uint8) for shade in range(0, 250, 50)]

    def play(*_: Any, **__: Any) -> Any:
        from rllib_biac.evaluation import Played

        return Played({}, [1], frames=frames)

    monkeypatch.setattr(checkpoints, "can_draw", lambda *_: True)
    monkeypatch.setattr(checkpoints, "matrix_play", lambda _: None)
    monkeypatch.setattr(checkpoints, "play", play)
    with tempfile.TemporaryDirectory() as place:
        written = write_report(trained, Path(place) / "page.html").read_text(encoding="utf-8")
    assert 'media="(prefers-reduced-motion: reduce)" srcset="data:image/png' in written
    assert written.count("data:image/gif") == 1


def test_the_equilibrium_beside_a_mixed_commitment_is_mixed():
    told = {True: ([[0, 0]], "Stackelberg equilibrium"), False: ([[0, 0], [1, 0]], "mixed commitment")}
    for announced, expected in told.items():
        assert checkpoints._equilibrium(SimpleNamespace(mixed=True, announced=announced), MAINTAIN, 0) == expected
    assert checkpoints._equilibrium(SimpleNamespace(), MAINTAIN, 0) == told[True]
