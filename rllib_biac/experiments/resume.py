"""Prepares the files of a killed run for `--resume`."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback
from ray.tune.result import EXPR_RESULT_FILE

from rllib_biac.experiments import remote
from rllib_biac.experiments.changes import apply, differences, reached
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resolve import Experiment
from rllib_biac.files.folders import text_of

_RECORDS = "experiment_state-*.json"
_KEPT = ".tune_record.zip"


class KeepRecord(Callback):
    """Saves what Tune could lose: the last reports before a kill, and Tune's record of the run if the disk is full.

    Tune writes both to a temporary folder. About every ten seconds it copies them over the files in the run's folder.
    If this copy is cut off, the run could not be resumed. So this callback keeps another, whole copy beside it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._seen: list[tuple[str, int]] = []  # records and when they were written
        self._reported: dict[str, Any] = {}  # trials, by their ids

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Notes that a trial has reported. Tune writes the report after this call."""
        self._reported[trial.trial_id] = trial

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Copies the last record, which Tune writes after the last step."""
        self._keep(trials)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Copies what Tune has written to its temporary folder since the last call."""
        self._keep(trials)

    def _keep(self, trials: list[Any]) -> None:
        for trial in self._reported.values():
            with contextlib.suppress(OSError):
                _copy_end(Path(trial.local_path, EXPR_RESULT_FILE), Path(trial.path, EXPR_RESULT_FILE))
        self._reported.clear()
        staged = Path(trials[0].storage.experiment_driver_staging_path) if trials else Path()
        found = sorted((record.name, record.stat().st_mtime_ns) for record in staged.glob(_RECORDS))
        if found == self._seen:  # not "no later": clocks are set back
            return
        self._seen = found
        written = self._folder / f"{_KEPT}.new"
        try:
            with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
                for path in filter(Path.is_file, staged.iterdir()):
                    archive.write(path, path.name)
            os.replace(written, self._folder / _KEPT)
        except OSError:  # the earlier copy is still there
            with contextlib.suppress(OSError):
                written.unlink()


class KeepReports(Callback):
    """Sends a trial's reports to a store together with each checkpoint, from which `--resume` goes on.

    Tune sends them every five minutes. Whoever is killed in between would lose what was reported.

    Args:
        address: of the run.
    """

    def __init__(self, address: str):
        self._address = address

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Sends them."""
        with contextlib.suppress(OSError):  # a store that is gone is gone for Tune as well, which says so
            reports = Path(trial.local_path, EXPR_RESULT_FILE).read_bytes()
            remote.write(f"{self._address}/{trial.storage.trial_dir_name}/{EXPR_RESULT_FILE}", reports)


def _copy_end(source: Path, target: Path) -> None:
    """Appends to a copy what it lacks. Two processes may do so at once: both write the same bytes in the same place."""
    with open(source, "rb") as written, open(target, "r+b" if target.exists() else "wb") as copy:
        start = copy.seek(0, os.SEEK_END)
        written.seek(start)
        copy.write(written.read())


def _take_back(folder: Path, *, whole: bool = True) -> bool:
    """Restores the kept copy of the record if any file of the record is damaged; returns whether it did.

    A file of the same size that is not the same was not written by Tune after the copy was made.

    Args:
        folder: the run's.
        whole: whether files stay as they are that all can be read.
    """
    with contextlib.suppress(OSError, zipfile.BadZipFile, zlib.error), zipfile.ZipFile(folder / _KEPT) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}  # checked by their CRCs
        if not whole or not all(_is_readable(folder / name, content) for name, content in kept.items()):
            archive.extractall(folder)
            return True
    return False


def _is_readable(path: Path, kept: bytes) -> bool:
    try:
        data = path.read_bytes() if path.is_file() else b""
        if len(data) == len(kept):
            return data == kept
        json.loads(data) if path.suffix == ".json" and data[:1] in b"{[" else cloudpickle.loads(data)
    except Exception:  # pickle may raise anything
        return False
    return True


def begun(experiment: Experiment) -> bool:
    """Tells whether an experiment's folder has something to resume."""
    if remote.is_remote(experiment.folder):
        return any(fnmatch.fnmatch(name, _RECORDS) for name in remote.names(experiment.folder))
    folder = Path(experiment.folder)
    return any(folder.glob(_RECORDS)) or (folder / _KEPT).is_file()


def _silent(text: str) -> None:
    pass


def foresee(experiments: Sequence[Experiment], say: Callable[[str], None] = _silent) -> None:
    """Says which settings would change on resuming, and touches nothing.

    Args:
        experiments: of one command.
        say: shows a line to a person.

    Raises:
        Mistake: if there is nothing to resume, or a setting changed that may not.
    """
    if not any(map(begun, experiments)):
        raise Mistake(f"nothing to resume in {experiments[0].folder}: run it once without --resume.")
    for experiment in filter(begun, experiments):
        _say_changes(differences(experiment, say), say)


def _say_changes(changed: Mapping[tuple[str, ...], tuple[Any, Any]], say: Callable[[str], None]) -> None:
    for path, (before, now) in changed.items():
        say(f"`{': '.join(path)}` was {json.dumps(before)}: the trials go on with {json.dumps(now)}.")


def make_ready(experiment: Experiment, say: Callable[[str], None]) -> bool:
    """Mends an experiment's folder. Returns False if there is nothing to resume.

    Args:
        experiment: whose folder it is.
        say: shows a line to a person.

    Raises:
        Mistake: if no record can be read, or a setting changed that may not.
    """
    if not begun(experiment):
        return False
    if not remote.is_remote(experiment.folder):
        mend(Path(experiment.folder), say, experiment)
        return True
    with remote.here(experiment.folder) as copy:
        before = _records(Path(copy))
        mend(Path(copy), lambda text: say(remote.named(text, copy, experiment.folder)), experiment)
        after = _records(Path(copy))
    try:
        for name in after:
            if after[name] != before.get(name):
                remote.write(f"{experiment.folder}/{name}", after[name])
        for name in before.keys() - after.keys():
            remote.remove(f"{experiment.folder}/{name}")
    except OSError as error:
        raise Mistake(f"{experiment.folder} cannot be resumed: it cannot be written ({error}).") from error
    return True


def _records(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _refuse_old(folder: Path) -> None:
    from rllib_biac.files.checkpoint import MADE_BY, check_current, is_whole

    for checkpoint in sorted(folder.glob("*/checkpoint_*"), reverse=True):
        if not is_whole(checkpoint, hashes=False) or not (checkpoint / MADE_BY).is_file():
            continue  # no algorithm of RLlib's made it
        try:
            check_current(checkpoint, hashes=False)
        except ValueError as error:
            raise Mistake(str(error)) from error


def mend(folder: Path, say: Callable[[str], None] = _silent, experiment: Experiment | None = None) -> None:
    """Makes Tune's record of a run agree with the files in the trials' folders.

    Tune writes its record about every ten seconds. After a kill, the record may lack newer checkpoints and name deleted
    ones, or it may be cut off. The mended record lets each trial continue from its newest whole checkpoint.

    Args:
        folder: the run's folder.
        say: shows a line to a person.
        experiment: as it is written now; trials take over the settings that changed.

    Raises:
        Mistake: if no record can be read, version 0.1.0 made the checkpoints, or a setting changed that may not.
    """
    from ray.tune.experiment import Trial
    from ray.tune.utils.serialization import TuneFunctionEncoder

    _refuse_old(folder)
    changed = differences(experiment, say) if experiment else {}
    _take_back(folder)
    found = _newest(folder, Trial) or (_take_back(folder, whole=False) and _newest(folder, Trial))
    if not found:
        damaged = ", ".join(path.name for path in sorted(folder.glob(f"{_RECORDS}.damaged")))
        raise Mistake(
            f"{folder} cannot be resumed: the record of its trials is damaged, or another run's ({damaged}). Run it "
            "without --resume."
        )
    record, state = found
    trials = state["trial_data"]
    mended = [_changed(_mended(folder, say, Trial, *saved), Trial, experiment, changed, say) for saved in trials]
    _say_changes(changed, say)
    if mended == [tuple(saved) for saved in trials]:
        return
    written = record.with_name(f".{record.name}.mended")
    written.write_text(json.dumps(state | {"trial_data": mended}, cls=TuneFunctionEncoder), encoding="utf-8")
    os.replace(written, record)


def _newest(folder: Path, trial_class: Any) -> tuple[Path, dict[str, Any]] | None:
    """Returns Tune's newest record that can be read, and what it says; None if there is none. Others are renamed."""
    from rllib_biac.rllib.compat import read_record

    for record in sorted(folder.glob(_RECORDS), reverse=True):
        try:
            state = read_record(text_of(record))
            _check_ours(folder, [_trial(trial_class, *saved) for saved in state["trial_data"]])
            return record, state
        except ImportError as error:
            raise Mistake(
                f"{folder} cannot be resumed: the record of its trials names what cannot be imported here ({error}). "
                "If an older version of rllib_biac began this run, run it without --resume."
            ) from error
        except Exception:  # what damaged pickles raise
            os.replace(record, record.with_name(f"{record.name}.damaged"))  # Tune would take the newest
    return None


def _check_ours(folder: Path, trials: list[Any]) -> None:
    """Refuses a record of no trials, of one twice, or of none of those whose folders are here: it is another run's.

    Raises:
        LookupError: saying so.
    """
    if not trials or len({trial.trial_id for trial in trials}) < len(trials):
        raise LookupError("no trials, or one twice")
    here = {path.parent.name for path in folder.glob("*/params.json")}
    if here and here.isdisjoint(trial.storage.trial_dir_name for trial in trials):
        raise LookupError(f"of none of {sorted(here)}")


def _changed(
    saved: tuple[str, str],
    trial_class: Any,
    experiment: Experiment | None,
    changed: Mapping[tuple[str, ...], tuple[Any, Any]],
    say: Callable[[str], None],
) -> tuple[str, str]:
    """Returns Tune's saved state of a trial with the settings that changed."""
    from rllib_biac.rllib import compat

    if experiment is None or not changed:
        return saved
    trial = _trial(trial_class, *saved)
    if apply(trial, experiment, changed, compat.set_checkpoint_config):
        say(f"{trial}: it had finished, and goes on to the new stop.")
    return compat.saved_trial(trial)


def _trial(trial_class: Any, saved: str, metadata: str) -> Any:
    trial = trial_class.from_json_state(saved, stub=True)
    trial.restore_run_metadata(metadata)
    return trial


def _mended(folder: Path, say: Callable[[str], None], trial_class: Any, saved: str, metadata: str) -> tuple[str, str]:
    """Returns Tune's saved state of a trial, with its newest whole checkpoint as the latest one."""
    from ray.tune import Checkpoint

    from rllib_biac.files.checkpoint import METADATA, check, is_whole, newest_whole
    from rllib_biac.rllib import compat

    trial = _trial(trial_class, saved, metadata)
    own = folder / (trial.storage.trial_dir_name or "")
    if trial.status == trial_class.TERMINATED:
        if not own.is_dir():
            say(f"{trial} had finished, and stays so, though its folder is gone: {own}.")
        return saved, metadata
    found = sorted(own.glob("checkpoint_*"))
    ours = any((path / METADATA).exists() for path in found)  # else another algorithm made them
    newest, wrong = newest_whole(found)
    while newest is not None and (text := _of_another(newest, trial)):
        found = found[: found.index(newest)]
        newest, more = newest_whole(found)
        wrong += [text, *more]
    for text in wrong if ours else ():
        say(f"{text} {trial} {f'goes on from {newest.name}' if newest else 'begins anew'}.")
    whole = [path for path in found if newest and path <= newest and is_whole(path, hashes=False)]
    manager = trial.run_metadata.checkpoint_manager
    known = manager.latest_checkpoint_result
    known = known and Path(known.checkpoint.path).name
    latest = whole[-1].name if whole else None
    # We cannot check the checkpoints of an algorithm that is not ours.
    right = latest == known or (latest is None and known is not None and (own / known).is_dir())
    finished = _has_reached_its_stop(trial, own, whole)
    if right and not finished:
        return saved, metadata
    if not right:
        compat.forget_checkpoints(manager, keep=lambda result: (own / Path(result.checkpoint.path).name) in whole)
    if whole and not right:
        about = check(whole[-1], hashes=False)  # Tune restores its clock from this
        reported = {key: about.get(key, 0) for key in ("training_iteration", "time_total_s")}
        # The original path, even if the folder was moved since. Tune corrects paths itself.
        path = f"{trial.storage.trial_fs_path}/{latest}"
        filesystem = trial.storage.storage_filesystem
        compat.add_checkpoint(manager, Checkpoint(path=path, filesystem=filesystem), reported)
        trial.storage.current_checkpoint_index = int(whole[-1].name.rpartition("_")[2])
    if finished:
        trial.status = trial_class.TERMINATED  # Tune was killed before it wrote that down
    return compat.saved_trial(trial)


def _of_another(checkpoint: Path, trial: Any) -> str:
    """Tells of a checkpoint of another game, or hierarchy, than a trial's; empty where it is not known to be one."""
    from rllib_biac.rllib.reading import trained_for

    try:
        env, levels = trained_for(checkpoint)
    except ValueError:  # which is said where it is loaded
        return ""
    own = trial.config.get("env"), trial.config.get("levels")
    if (env == own[0] or not isinstance(env, str) or env.startswith("rllib_biac/")) and levels == own[1]:
        return ""  # RLlib's own runner has names of its own
    return f"{checkpoint} is of another run: it was trained for {env}, hierarchy {levels}."


def _has_reached_its_stop(trial: Any, folder: Path, whole: list[Path]) -> bool:
    """Tells whether a trial's last report is one at which it stops, and its last checkpoint is of that report."""
    try:
        *_, line = text_of(folder / EXPR_RESULT_FILE).splitlines()
        last = json.loads(line)
        if not reached(trial, last):
            return False
    except (OSError, ValueError, TypeError):
        return False
    if not trial.checkpoint_at_end and not trial.checkpoint_freq:
        return True
    from rllib_biac.files.checkpoint import check

    saved = check(whole[-1], hashes=False).get("training_iteration") if whole else None
    return saved == last.get("training_iteration")
