"""A Ray of one's own on a machine that others use too: nobody else reads its token, enters its folder or reaches it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from rllib_biac.experiments.mistakes import Mistake

_TOKEN_BYTES = 32  # as Ray's own
# Limits of a shell: resource, option of `ulimit` and its unit, what is limited, the least that a run was seen to need.
_LIMITS = (
    ("RLIMIT_FSIZE", "-f", 1024, "bytes of a file", 200_000_000),
    ("RLIMIT_AS", "-v", 1024, "bytes of memory of a process", 8_000_000_000),
    ("RLIMIT_NOFILE", "-n", 1, "open files", 256),
)
_LARGEST_STORE = 2_000_000_000  # of objects; Ray would take a third of the memory, and a run needs far less than this
_ENDING_S = 5.0


def temporary_folder() -> str | None:
    """Returns the folder of Ray's sessions: logs and sockets. It is its owner's alone.

    Ray's own, `/tmp/ray`, is everybody's: who can write there can put a socket in the place of another.

    Returns:
        `ray-<number of the user>/ray` beside Ray's own; None if `RAY_TMPDIR` names one, or the system has no users.
    """
    if "RAY_TMPDIR" in os.environ or not hasattr(os, "getuid"):
        return None
    folder = Path(os.environ.get("TMPDIR", "/tmp"), f"ray-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            folder.chmod(0o700)
            return str(folder / "ray")  # which Ray opens to everybody
    except OSError:
        pass
    return str(Path(tempfile.mkdtemp(prefix="ray-"), "ray"))  # somebody else has taken the name


def protect_token(home: Path | None = None) -> None:
    """Makes the token by which Ray knows its owner, if there is none, and lets nobody else read it.

    Ray writes it with the rights that the umask leaves, which usually lets everybody read it.

    Args:
        home: the user's folder.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return  # the user's own
    path = (home or Path.home()) / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # a home that cannot be written to: Ray says so itself
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
        else:
            with os.fdopen(file, "w") as opened:
                opened.write(secrets.token_hex(_TOKEN_BYTES))


def close_session(folder: str) -> None:
    """Closes the folder of a session that Ray made for everybody."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)


def options_within_limits() -> dict[str, Any]:
    """Returns arguments of `ray.init` that keep to the limits of the shell: Ray opens one large file for its objects.

    Raises:
        Mistake: if Ray could not start, or would hang.
    """
    if sys.platform == "win32":
        return {}
    import resource

    too_low, store = [], []
    for name, option, unit, what, least in _LIMITS:
        soft, hard = resource.getrlimit(getattr(resource, name))
        limit = hard if name == "RLIMIT_NOFILE" else soft  # Ray raises that one itself
        if limit == resource.RLIM_INFINITY:
            continue
        if limit < least:
            remedy = f"write `ulimit {option} {-(-least // unit)}` or more"
            too_low.append(f"{limit:,} {what} and a run needs {least:,}: {remedy}")
        if name != "RLIMIT_NOFILE":
            store.append(min(limit // 2, _LARGEST_STORE))
    if too_low:
        raise Mistake(f"this shell allows {'; '.join(too_low)}.")
    return {"object_store_memory": min(store)} if store else {}


def did_not_start(error: Exception) -> Mistake:
    """Returns what to tell of a Ray that did not start here."""
    folder = Path(temporary_folder() or os.environ.get("RAY_TMPDIR", "/tmp/ray"), "session_latest", "logs")
    why = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return Mistake(f"Ray does not start on this machine ({why}). Its logs are in {folder}.")


@contextlib.contextmanager
def nothing_left_of_ray() -> Iterator[None]:
    """Shuts Ray down at the end of the context, and ends what it has started meanwhile and does not end itself.

    A Ray that is stopped while it starts does not know its own processes, and some of them run on for good.
    """
    import psutil  # Ray brings it along

    before = set(psutil.Process().children())

    def children() -> list[Any]:
        return [each for each in psutil.Process().children() if each not in before and _is_rays(each)]

    def started() -> list[Any]:
        found = children()
        for each in found:
            with contextlib.suppress(psutil.Error):
                found.extend(each.children(recursive=True))
        return found

    try:
        yield
    finally:
        theirs = started()  # whose parents are gone is not found later
        ray.shutdown()
        for each in children():
            with contextlib.suppress(psutil.Error):
                each.suspend()  # it starts no more
        theirs += started()
        for each in theirs:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(theirs, timeout=_ENDING_S)


def _is_rays(process: Any) -> bool:
    """Tells whether a child of this process is one of Ray's, by its command line."""
    import psutil

    try:
        return any(os.path.dirname(ray.__file__) in word for word in process.cmdline())
    except psutil.Error:
        return False
