"""A Ray of one's own on a machine that others use too: nobody else reads its token, enters its folder or reaches it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

_TOKEN_BYTES = 32  # as Ray's own


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
