"""Each library in a virtual environment and a process of its own, asked from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job import Job

OURS = "rllib_biac"
PINS = {
    "BenchMARL": ("benchmarl==1.5.2", "torchrl==0.11.1", "tensordict==0.11.0", "pettingzoo==1.27.0"),
    "AgileRL": ("agilerl==2.58.0", "peft==0.21.2", "tensordict==0.13.0", "pettingzoo==1.26.1"),
    "XuanCe": ("xuance==1.4.4", "pettingzoo==1.27.0"),
}
COMMON = ("torch==2.13.0", "psutil==7.2.2")


def environment(library: str, folder: Path) -> Path:
    """Returns the Python of a library's virtual environment, made first if it is not there or has other versions.

    Raises:
        RuntimeError: if it cannot be made, with the last line of pip's complaint.
    """
    place = folder / library.lower()
    python, stamp, wanted = place / "bin" / "python", place / "installed.txt", "\n".join((*COMMON, *PINS[library]))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making {place}: {' '.join(wanted.split())}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", place],
        # torch first and by itself: a range in a library's own requirements could bring another build.
        [python, "-m", "pip", "install", "--quiet", COMMON[0]],
        [python, "-m", "pip", "install", "--quiet", *wanted.split()],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            complaints = [line for line in (done.stderr or done.stdout).split("\n") if "ERROR" in line]
            raise RuntimeError(complaints[-1] if complaints else f"{command[0]} failed ({done.returncode})")
    stamp.write_text(wanted)
    return python


class Library:
    """A library's process, `worker.py`. It does one thing at a time.

    Args:
        name: the library's.
        python: of its environment.
        folder: where it runs and logs.
    """

    def __init__(self, name: str, python: Path, folder: Path) -> None:
        self._log = folder / f"{name}.log"
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, Path(__file__).resolve().with_name("worker.py"), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                cwd=folder,
                env=os.environ | one | {"RAY_AUTH_MODE": "disabled", "CUDA_VISIBLE_DEVICES": ""},
            )

    def ask(self, job: Job, **task: float) -> dict[str, Any]:
        """Has it time a job (`seconds`), or train one from its start (`steps`).

        Raises:
            RuntimeError: if it ends instead, with its last words.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"job": asdict(job), **task}) + "\n")
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self._process.wait()
            lines = [line for line in self._log.read_text(errors="replace").split("\n") if line.strip()]
            raise RuntimeError(f"it ended with exit code {code}: {lines[-1] if lines else 'without a word'}")
        return json.loads(answer)

    def close(self) -> None:
        """Lets it end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
