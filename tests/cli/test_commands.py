"""What the commands print, and what they say to mistakes on the command line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rllib_biac.cli import progress
from rllib_biac.cli.progress import Progress, fraction, line, seconds_left
from rllib_biac.equilibria import BestCommitment, CommitmentRegret, NashComparison
from rllib_biac.evaluation.best_response import Estimate, LearnedRegret
from rllib_biac.evaluation.pictures import NoPicture
from rllib_biac.experiments.clock import clock


def test_time_left_is_of_the_first_criterion_to_be_met():
    result = {"training_iteration": 10, "time_total_s": 20.0, "env_runners": {"num_episodes_lifetime": 5}}
    assert seconds_left(result, {"training_iteration": 40}) == pytest.approx(60)
    assert seconds_left(result, {"training_iteration": 40, "env_runners/num_episodes_lifetime": 10}) == pytest.approx(
        20
    )
    assert seconds_left(result, {"env_runners/episode_return_mean": 3}) is None
    assert [clock(s) for s in (8.2, 185, 7620)] == ["8s", "3m05s", "2h07m"]


def test_a_line_says_what_matters():
    result = {
        "training_iteration": 3,
        "time_total_s": 9.0,
        "num_env_steps_sampled_lifetime": 12000,
        "env_runners": {
            "agent_episode_returns_mean": {"main_0": 1.234, "auxiliary_0": -5},
            "outcome_share": {"a": 0.1, "b": 0.6, "c": 0.05, "d": 0.25},
        },
    }
    assert line(result, {"training_iteration": 6}) == (
        "iter 3 | 12,000 steps | return auxiliary_0 -5.00, main_0 1.23 | b 60%, d 25%, a 10% | 9s (about 9s left)"
    )


class Trial:
    """Of Tune's trials as much as the progress needs."""

    def __init__(self, name, finished=False):
        self.trial_id, self._finished = name, finished

    def __str__(self):
        return self.trial_id

    def is_finished(self):
        return self._finished


class TestProgress:
    def test_how_much_is_done(self):
        stop = {"training_iteration": 10, "num_env_steps_sampled_lifetime": 100, "env_runners/episode_return_mean": 1}
        assert fraction({"training_iteration": 2, "num_env_steps_sampled_lifetime": 50}, stop) == 0.5
        assert fraction({}, stop) == 0 and fraction({"training_iteration": 30}, stop) == 1

    def test_plain_lines_and_a_heartbeat(self, monkeypatch, capsys):
        now = [0.0]
        monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
        shown, trial = Progress({"training_iteration": 4}, total=1), Trial("a")
        for now[0] in range(0, 31):
            shown.on_step_end(0, [trial])
        assert capsys.readouterr().out == "still running, 30s: workers start, no report yet\n"
        shown.on_trial_result(0, [trial], trial, {"training_iteration": 1, "time_total_s": 5.0})
        shown.on_step_end(0, [trial])
        assert capsys.readouterr().out == "iter 1 | 5s (about 15s left)\n"
        for now[0] in range(30, 95):
            shown.on_step_end(0, [trial])
        assert capsys.readouterr().out.splitlines() == [
            f"still running, iter 1 | 5s (about 15s left) | {passed} since its last report"
            for passed in ("30s", "1m00s")
        ]

    def test_several_trials_are_counted(self, monkeypatch, capsys):
        now = [0.0]
        monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
        shown, trials = Progress({"training_iteration": 4}, total=4), [Trial("a", finished=True), Trial("b")]
        shown.on_trial_result(0, trials, trials[1], {"training_iteration": 4})
        now[0] = 30.0
        shown.on_step_end(0, trials)
        assert capsys.readouterr().out == "b: iter 4 | 0s\nstill running, 1 of 4 trials ended, 30s | about 30s left\n"

    def test_a_bar_in_a_terminal(self, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        monkeypatch.setattr(progress, "_REDRAWN", 0.0)
        shown, trial = Progress({"training_iteration": 4}, total=1), Trial("a")
        shown.on_trial_result(0, [trial], trial, {"training_iteration": 1})
        shown.on_step_end(0, [trial])
        shown.on_experiment_end([trial])
        told = capsys.readouterr()
        assert told.out == "" and " 25% |" in told.err and "iter 1" in told.err


def test_a_command_tells_what_it_does_before_ray_is_loaded(tmp_path):
    """The first line comes before the imports that take seconds."""
    code = (
        "import sys, click, rllib_biac.cli.main as m\n"
        "said, echo = [], click.echo\n"
        "click.echo = lambda *a, **k: (said.append((a[0], 'ray' in sys.modules)), echo(*a, **k))\n"
        "sys.modules['rllib_biac.experiments.cluster'] = None\n"  # what starts Ray
        "try: m.main(['train', 'file', 'escape_biac'])\n"
        "finally: print(said[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "('escape_biac (BiAC in escape_v0): loading Ray and RLlib ...', False)" in done.stdout, done.stderr


def test_help_and_version_do_not_import_ray():
    code = "import sys, rllib_biac.cli.main as m\ntry: m.main(sys.argv[1:])\nfinally: assert 'ray' not in sys.modules"
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "rllib" in done.stdout.lower() or "Usage" in done.stdout


class Calls(list):
    """What play was asked for."""


@dataclasses.dataclass(frozen=True)
class Read:
    """In place of a trained team."""

    path: str
    team: object
    env: object = None
    env_config: dict = dataclasses.field(default_factory=dict)


@pytest.fixture
def played(monkeypatch):
    frames = [np.full((40, 60, 3), shade, np.uint8) for shade in (0, 100, 200)]
    calls, starts_seen = Calls(), []
    calls.starts, calls.film_fault = starts_seen, ""

    def play(trained, *, episodes, seed, render, on_observations, best_response, starts, progress):
        calls.append((trained.path, episodes, seed, render, best_response))
        starts_seen.append(list(starts))
        learned = {
            "main_0": LearnedRegret(False, Estimate(0.5, 0.25), Estimate(0.5, 0.25)),
            "auxiliary_0": LearnedRegret(True, Estimate(0.0, 0.0), Estimate(3.0, 0.125)),
        }
        return SimpleNamespace(
            returns={"main_0": [1.0, 2.0], "auxiliary_0": [0.0, 1.0]},
            lengths=[3, 5],
            ends=["merged", "crashed"],
            episode_of_frame=[0, 0, 1] if render else [],
            outcomes=Counter(merged=1, crashed=1),
            frames=frames if render else [],
            film_fault=calls.film_fault,
            frames_per_second=10.0,
            regret=SimpleNamespace(worst_response_regret=0.25, worst_leader_regret=1.5),
            regrets=(0.25, 1.5),
            commitment=CommitmentRegret(2.5, 3.0, 0.0, BestCommitment(np.ones((1, 1)), 4.0, 4.5)),
            nash=NashComparison(np.array([2.0, 1.0]), np.array([[2.0, 0.0], [1.0, 1.0], [2.0, 1.0], [3.0, 0.0]])),
            learned_regret=learned if best_response else {},
            cut=0,
            deployable="not deployable without the full state",
        )

    monkeypatch.setattr("rllib_biac.evaluation.play", play)
    team = SimpleNamespace(hierarchy=SimpleNamespace(levels=[["main_0"], ["auxiliary_0"]]))
    read = lambda path: Read(str(path), team)  # noqa: E731
    monkeypatch.setattr("rllib_biac.rllib.reading.read_trained", read)
    return calls


def test_evaluate_reports_and_draws(rllib, tmp_path, played):
    checkpoint = tmp_path / "a trial" / "checkpoint_000002"
    for number in (1, 2):
        (older := tmp_path / "a trial" / f"checkpoint_00000{number}").mkdir(parents=True)
        (older / "rllib_checkpoint.json").write_text("{}")
    picture = tmp_path / "game.gif"
    result = rllib("evaluate", tmp_path, "--episodes", 2, "--seed", 5, "--render-to", picture)
    assert result.exit_code == 0, result.output
    assert played == [(str(checkpoint), 2, 5, True, 0)]
    assert "main_0: 1.500" in result.output
    assert "merged: 50.0%" in result.output and "not deployable without the full state\n" in result.output
    assert "response regret: 0.25 " in result.output and "leader regret: 1.5 " in result.output
    assert "it secures 2.5 (discounted), and gets 3 of this follower\n" in result.output
    assert "leader regret: 1.5 (the best stationary commitment secures 4 to 4.5)" in result.output
    assert "equilibria: 4; this play dominates 2 of them" in result.output
    assert "equals 1, is dominated by 0" in result.output
    assert Image.open(picture).n_frames == 3
    learned = rllib("evaluate", checkpoint, "--best-response", 2000)
    assert "main_0, leader regret: 0.5 ± 0.25\n" in learned.output
    assert "auxiliary_0, response regret: 3 ± 0.12 at worst" in learned.output
    assert "0 ± 0 as they play" in learned.output
    report = json.loads(rllib("evaluate", checkpoint, "--json", "--best-response", 2000).output)
    assert report["agent_episode_returns_mean"] == {"main_0": 1.5, "auxiliary_0": 0.5}
    assert report["nash"]["equilibria"][0] == {"main_0": 2.0, "auxiliary_0": 0.0}
    assert report["commitment"]["secured"] == 2.5 and report["commitment"]["best"] == [4.0, 4.5]
    worst = report["best_response"]["regret"]["auxiliary_0"]["worst"]
    assert worst == {"value": 3.0, "standard_error": 0.125} and report["best_response"]["env_steps"] == 2000
    assert rllib("evaluate", checkpoint, "--best-response", 10).exit_code == 2


def test_evaluate_in_json_says_what_it_says_to_a_person(rllib, tmp_path, played):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    told = rllib("evaluate", checkpoint).output
    report = json.loads(rllib("evaluate", checkpoint, "--json").output)
    assert report["seed"] == 0 and "2 episodes, seed 0, mean length 4.0; in brackets 95% intervals" in told
    assert report["agent_episode_returns_interval"]["main_0"] == [1.0, 2.0]
    assert "mean return of main_0: 1.500 [1.000, 2.000]" in told
    low, high = report["outcome_share_interval"]["merged"]
    assert f"merged: 50.0% [{low:.1%}, {high:.1%}]" in told and 0 < low < 0.5 < high < 1
    assert report["each"][1] == {"returns": {"main_0": 2.0, "auxiliary_0": 1.0}, "length": 5, "outcome": "crashed"}
    assert len(report["notes"]) == 2 and all(f"note: {note}\n" in told for note in report["notes"])


def test_evaluate_from_fixed_starts(rllib, tmp_path, played):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    starts = tmp_path / "starts.json"
    starts.write_text('[{"seed": 4}, {"options": {"main_speed": 35}}, {"seed": 1, "options": {}}]')
    assert rllib("evaluate", checkpoint, "--starts", starts).exit_code == 0
    assert played[-1][1] == 3
    assert [(one.seed, one.options) for one in played.starts[-1]] == [(4, None), (None, {"main_speed": 35}), (1, {})]
    assert "leave --episodes out" in rllib("evaluate", checkpoint, "--starts", starts, "--episodes", 3).output
    for text in ("[]", "{", "[3]", '[{"speed": 3}]', '[{"seed": "x"}]', "[{}]"):
        starts.write_text(text)
        result = rllib("evaluate", checkpoint, "--starts", starts)
        assert result.exit_code == 2 and 'write a list such as [{"seed": 1}' in result.output


def test_a_game_that_draws_nothing(rllib, tmp_path, played, monkeypatch):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")

    def play(*_, **__):
        raise NoPicture("game: render() returned text; let it return an array")

    monkeypatch.setattr("rllib_biac.evaluation.play", play)
    result = rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.gif")
    assert result.exit_code == 2
    assert "--render-to: game: render() returned text; let it return an array, or leave --render-to" in result.output


@pytest.mark.parametrize("fault", ["game: render() raised it", "a disk that is full"])
def test_a_film_that_fails_costs_no_results(rllib, tmp_path, played, monkeypatch, fault):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    if fault.startswith("game"):
        played.film_fault = fault
    else:
        monkeypatch.setattr("rllib_biac.report.films.write_gif", lambda *_: (_ for _ in ()).throw(OSError(fault)))
    result = rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.gif", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["episodes"] == 2
    assert "the results are whole, the film is not: " in result.stderr and fault in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ['[{"seed": -1}]', '[{"seed": true}]', '[{"seed": 4294967296}]', "[" * 100_000])
def test_starts_that_are_none(rllib, tmp_path, played, text):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    (tmp_path / "starts.json").write_text(text)
    result = rllib("evaluate", checkpoint, "--starts", tmp_path / "starts.json")
    assert result.exit_code == 2 and 'write a list such as [{"seed": 1}' in result.output and not played


FFMPEG = """#!/bin/sh
for last; do true; done
echo "$@" > "$last"
wc -c >> "$last"
"""


def test_a_film_is_an_mp4_too_where_ffmpeg_is(rllib, tmp_path, played, monkeypatch):
    (checkpoint := tmp_path / "checkpoint_000000").mkdir()
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.mp4")
    assert result.exit_code == 2 and "an .mp4 needs ffmpeg" in result.output and not played
    assert rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.gif").exit_code == 0
    assert not (tmp_path / "x.mp4").exists()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "ffmpeg").write_text(FFMPEG)
    (tmp_path / "ffmpeg").chmod(0o755)
    result = rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.gif")
    assert f"drawn to {tmp_path / 'x.gif'} and {tmp_path / 'x.mp4'}" in result.output
    width, height = Image.open(tmp_path / "x.gif").size
    called, size = (tmp_path / "x.mp4").read_text().splitlines()
    assert f"-s {width}x{height} " in called and int(size) == 3 * width * height * 3
    assert width % 2 == height % 2 == 0
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho 'no such codec' >&2; exit 1")
    failed = rllib("evaluate", checkpoint, "--render-to", tmp_path / "x.mp4")
    assert failed.exit_code == 1 and "no such codec" in failed.output and "mean length" in failed.output


def test_the_choices_among_several_trials_repeat_the_command(rllib, tmp_path):
    for trial in ("a b", "c"):
        (folder := tmp_path / trial / "checkpoint_000000").mkdir(parents=True)
        (folder / "rllib_checkpoint.json").write_text("{}")
    result = rllib("evaluate", tmp_path, "--episodes", 3, "--json")
    assert result.exit_code == 2
    assert f"  rllib evaluate '{tmp_path}/a b/checkpoint_000000' --episodes 3 --json\n" in result.output
    result = rllib("export", tmp_path, tmp_path / "w.safetensors")
    assert result.exit_code == 2
    assert f"  rllib export {tmp_path}/c/checkpoint_000000 {tmp_path}/w.safetensors\n" in result.output


EMPTY = {"evaluate": [""], "report": [""], "compare": [""], "export": ["", "x.safetensors"]}


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["train"], "--algo and --env"),
        (["train", "--algo", "BiAC", "file", "x.yaml"], "after `file`"),
        (["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", "{lr"], "not valid JSON"),
        (
            ["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", '{"lr": 1, "lr": 2}'],
            "'lr' is given twice",
        ),
        (["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", "[1]"], "JSON object"),
        (["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", '{"gama": 1}'], "command line"),
        (["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--stop", '{"timesteps_total": 1}'], "num_env_steps"),
        (["evaluate", "/no/such/folder"], "no such folder"),
        *(([command, *more], "the path is empty") for command, more in EMPTY.items()),
        *(([command, __file__, *more[1:]], "is a file, not a folder") for command, more in EMPTY.items()),
        (["evaluate", "~nobody_at_all/x"], "no such folder"),
        (["evaluate", "/", "--render-to", "x.png"], ".gif or .mp4"),
        (["evaluate", "/", "--env-config", "[1]"], '{"size": 9}'),
        (["evaluate", "/", "--env-config", "size"], "expected key=value, such as size=9"),
        (["evaluate", "/", "--env-config", "size=9", "--env-config", '{"size": 8}'], "size is given twice"),
        (["train", "--algo", "BiAC", "--env", "matrix_game_v0", "--config", "{lr"], '{"lr": 0.001'),
        (["evaluate", "/", "--render-to", "/no/such/x.gif"], "no folder"),
        (["example", "get", "nothing"], "no packaged example"),
        (["evaluate", "/", "--seed", "-1"], "-1 is not in the range 0<=x<=4294967295"),
        (["compare", "/", "--seed", "4294967296"], "is not in the range 0<=x<=4294967295"),
        (["nonsense"], "No such command"),
    ],
)
def test_mistakes_on_the_command_line(rllib, arguments, fragment):
    result = rllib(*arguments)
    assert result.exit_code == 2
    assert fragment in result.output


def test_evaluate_a_folder_without_checkpoints(rllib, tmp_path):
    result = rllib("evaluate", tmp_path)
    assert result.exit_code == 2
    assert "no checkpoint here" in result.output


def test_traceback_shows_where(rllib, write):
    path = write("raise RuntimeError('inside')", "game.py")
    quiet, loud = rllib("train", "file", path), rllib("train", "file", path, "--traceback")
    assert quiet.exit_code == loud.exit_code == 2
    assert "RuntimeError: inside" in quiet.output
    assert "Traceback" not in quiet.output
    assert "Traceback" in loud.output


def test_a_current_folder_that_is_gone(rllib, tmp_path, monkeypatch):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = rllib("example", "list")
    assert result.exit_code == 2 and "the current folder has been removed" in result.output
