"""Reads result folders of Ray Tune and of `rllib reproduce`. Skips damaged files."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_biac.files.folders import folders_in, opened, text_of

REPRODUCTION = "rllib_biac reproduction"
EXPECTED = (
    "A result folder is what `rllib train` leaves in ~/ray_results/<experiment> (a folder per trial with params.json "
    "and result.json), one of its trials, or the output of `rllib reproduce`."
)

STEPS = "num_env_steps_sampled_lifetime"

_TRIAL_FILES = ("result.json", "progress.csv", "params.json")
_TRIAL_NAME = re.compile(r"(?P<algorithm>.+?)_[0-9a-f]+_\d{5}(?:_(?P<label>.+))?")


@dataclass(frozen=True)
class Trial:
    """One training run.

    Attributes:
        folder: its folder.
        algorithm: its name, such as BiAC.
        label: the label in its folder's name, such as `lr=0.1`; else the whole name.
        settings: the algorithm's whole config, as Tune wrote it; empty if the file is lost.
        rows: the numbers of each report, nested keys joined by `/`.
        checkpoint: the latest one.
        failure: the last line of its error, if it failed.
        changes: changes by a scheduler: the first iteration with the new value, the key, old and new value.
        problems: what could not be read.
    """

    folder: Path
    algorithm: str
    label: str
    settings: dict[str, Any]
    rows: list[dict[str, float]]
    checkpoint: Path | None
    failure: str = ""
    problems: tuple[str, ...] = ()
    changes: tuple[tuple[int, str, Any, Any], ...] = ()

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Returns a metric over env steps. Only finite values."""
        points = [(row.get(STEPS, math.nan), row.get(metric, math.nan)) for row in self.rows]
        return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]

    def last(self, metric: str) -> float | None:
        """Returns the last finite value of a metric."""
        return next((row[metric] for row in reversed(self.rows) if math.isfinite(row.get(metric, math.nan))), None)


@dataclass(frozen=True)
class Run:
    """The results of one `rllib train`: its trials, and its stop criteria if they were recorded."""

    folder: Path
    trials: list[Trial]
    stop: dict[str, Any] | None


@dataclass(frozen=True)
class Reproduction:
    """The results of `rllib reproduce`: manifests in the order of their names, and what could not be read."""

    folder: Path
    manifests: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)


def read(folder: Path) -> Run | Reproduction:
    """Reads a result folder.

    Raises:
        ValueError: if there is no such folder or it holds no results.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. {EXPECTED}")
    reproduction = _reproduction(folder)
    if reproduction.manifests:
        return reproduction
    if reproduction.problems:
        raise ValueError(f"{folder}: {' '.join(reproduction.problems)} Run `rllib reproduce` again.")
    if _is_trial(folder):
        return Run(folder, with_absent_shares([_trial(folder)]), _stop(folder.parent))
    if trials := [_trial(path) for path in sorted(folder.iterdir()) if _is_trial(path)]:
        return Run(folder, with_absent_shares(trials), _stop(folder))
    inside = sorted({path.parent.parent for name in _TRIAL_FILES for path in folder.glob(f"*/*/{name}")})
    if inside:
        choices = "\n".join(f"  {path}" for path in inside)
        together = shlex.join(["rllib", "compare", str(folder)])
        raise ValueError(
            f"{folder}: holds several result folders. Choose one:\n{choices}\nor compare them all: {together}"
        )
    raise ValueError(f"{folder}: no results here. {EXPECTED}")


def trials_in(folder: Path) -> list[Trial]:
    """Reads every trial in a folder, at any depth, in the order of their paths.

    Raises:
        ValueError: if there is no such folder or it holds no trial.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. {EXPECTED}")
    found = sorted(at for at, files in folders_in(folder) if not set(_TRIAL_FILES).isdisjoint(files))
    if not found:
        raise ValueError(f"{folder}: no trial here. {EXPECTED}")
    return [_trial(path) for path in found]


def with_absent_shares(trials: list[Trial]) -> list[Trial]:
    """Counts an outcome that a report leaves out as 0, wherever it tells the shares of other outcomes.

    The rows of all trials are changed in place: an outcome that only one of them knows is 0 in the others.
    """
    groups: dict[str, dict[str, None]] = {}
    for trial in trials:
        for row in trial.rows:
            for key in row:
                if (group := key.rpartition("/")[0]).endswith("outcome_share"):
                    groups.setdefault(group, {})[key] = None
    for trial in trials:
        for row in trial.rows:
            for keys in groups.values():
                if any(key in row for key in keys):
                    row.update({key: 0.0 for key in keys if key not in row})
    return trials


def raw_rows(reproduction: Reproduction, manifest: dict[str, Any]) -> int | None:
    """Returns the number of whole rows in the raw results of an experiment, None if there are no raw results."""
    path = inside(reproduction.folder, manifest.get("raw"))
    return None if path is None else sum(1 for _ in _json_lines(path))


def inside(folder: Path, name: Any) -> Path | None:
    """Returns the file of this name in a folder, None if it does not exist or is outside the folder."""
    if not isinstance(name, str) or not name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _reproduction(folder: Path) -> Reproduction:
    found = Reproduction(folder, [])
    for path in sorted(folder.glob("*.json")):
        try:
            text = text_of(path)
        except (OSError, UnicodeDecodeError):
            continue
        try:
            manifest = json.loads(text)
        except ValueError:
            if REPRODUCTION in text:
                found.problems.append(f"{path.name} is damaged or half-written and was left out.")
            continue
        if isinstance(manifest, dict) and manifest.get("kind") == REPRODUCTION:
            found.manifests.append(manifest)
    return found


def _is_trial(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in _TRIAL_FILES)


def _trial(folder: Path) -> Trial:
    problems = []
    settings: Any = {}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        settings = json.loads(text_of(folder / "params.json"))
    if not isinstance(settings, dict) or not settings:
        settings = {}
        problems.append("its settings (params.json) are missing or damaged")
    rows = _rows(folder)
    if not rows:
        problems.append("it reported nothing: no whole line in result.json or progress.csv")
    named = _TRIAL_NAME.fullmatch(folder.name)
    marks = sorted(filter(Path.is_file, folder.glob("checkpoint_*/rllib_checkpoint.json")))
    return Trial(
        folder=folder,
        algorithm=named["algorithm"] if named else "",
        label=(named and named["label"]) or folder.name,
        settings=settings,
        rows=rows,
        checkpoint=marks[-1].parent if marks else None,
        # A trial that restarted after an error and finished has not failed.
        failure="" if rows and rows[-1].get("done") else _failure(folder),
        problems=tuple(problems),
        changes=tuple(_changes(folder)),
    )


def _rows(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for report in _reports(folder):
        row = dict(_numbers({key: value for key, value in report.items() if key != "config"}))
        # A trial that resumed from an older checkpoint repeats some iterations. The later report counts.
        while rows and row.get("training_iteration", math.inf) <= rows[-1].get("training_iteration", -math.inf):
            rows.pop()
        rows.append(row)
    return rows


def _changes(folder: Path) -> Iterator[tuple[int, str, Any, Any]]:
    before: dict[str, Any] = {}
    for report in _json_lines(folder / "result.json"):
        config = report.get("config")
        if not isinstance(config, dict):
            continue
        for key, value in config.items():
            # The seed is copied with another trial's settings. It no longer matters.
            if key in before and before[key] != value and key != "seed":
                yield int(report.get("training_iteration", 0)), key, before[key], value
        before = config


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    reported = False
    for report in _json_lines(folder / "result.json"):
        reported = True
        yield report
    if not reported and (folder / "progress.csv").is_file():
        with opened(folder / "progress.csv", "replace", "") as file:
            for line in csv.DictReader(file):
                yield {key: _number(value) for key, value in line.items() if isinstance(value, str)}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the whole lines of a file. Skips lines that a kill cut off or a crash damaged."""
    if not path.is_file():
        return
    with opened(path, "replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", _float(value)


def _float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:  # JSON's whole numbers have no bounds
        return math.copysign(math.inf, number > 0 or -1)


def _failure(folder: Path) -> str:
    try:
        lines = text_of(folder / "error.txt", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else "no error was recorded"


def _stop(experiment: Path) -> dict[str, Any] | None:
    """Returns the stop criteria of the experiment's latest state, None if Tune's file does not have them."""
    for path in sorted(experiment.glob("experiment_state-*.json"), reverse=True):
        try:
            trial = json.loads(text_of(path))["trial_data"][0][0]
            stop = json.loads(trial)["stopping_criterion"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if isinstance(stop, dict):
            return stop
    return None
