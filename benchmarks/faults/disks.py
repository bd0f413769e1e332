"""A disk that refuses writes."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from survivors import (
    HARM_AT,
    ITERATIONS,
    Books,
    build,
    check_exact,
    check_run,
    command,
    experiment,
    judge,
    last,
    require,
    wait_for,
)

from rllib_biac import BiAC
from rllib_biac.files.checkpoint import is_whole


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a disk of its own that is soon full."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def can_mount() -> bool:
    """Tells whether this process may mount disks."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 1):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


def fill(disk: Path) -> Path:
    """Fills a disk to the last byte; returns the file that does."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def disk_full_for_a_checkpoint(seed: int, folder: Path) -> None:
    """A checkpoint does not fit on the disk; the earlier one stays, training goes on, and later there is room again."""
    with small_disk(folder, 4) as disk:
        algo = build(seed)
        books = Books(algo)
        for _ in range(HARM_AT):
            books.train()
        algo.save_to_path(disk / "saved")
        books.train()
        filler = fill(disk)
        try:
            algo.save_to_path(disk / "saved")
            raise AssertionError("there was room")
        except OSError as error:
            require("No space left" in str(error), f"the error says {error}")
        require(is_whole(disk / "saved"), "the earlier checkpoint is damaged")
        filler.unlink()
        books.train(lambda: last(algo) >= ITERATIONS)
        check_exact(algo, seed)
        algo.save_to_path(disk / "saved")
        left = [path.name for path in disk.iterdir()]
        require(left == ["saved"], f"there is {left}")
        algo.stop()
        algo = BiAC.from_checkpoint(disk / "saved")
        check_exact(algo, seed)
        judge(algo)
        algo.stop()


def disk_full_for_results(seed: int, folder: Path) -> None:
    """The results' disk fills under `rllib train file`, which says so; once there is room `--resume` goes on."""
    with small_disk(folder, 8) as disk:
        (folder / "results").symlink_to(disk)
        arguments = experiment(folder, seed)
        filled: list[Path] = []

        def fill_it() -> None:
            wait_for(lambda: len(list(disk.glob("mine/*/checkpoint_*"))) >= HARM_AT)
            filled.append(fill(disk))

        thread = threading.Thread(target=fill_it)
        thread.start()
        output = command(arguments, code=1)
        thread.join()
        require("No space left" in output, f"nobody said so: {output[-4000:]}")
        filled[0].unlink()
        command([*arguments, "--resume"])
        check_run(folder, seed)
