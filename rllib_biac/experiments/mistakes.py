"""What a user got wrong: one exception, shown without a stack trace, and the hint at the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class Mistake(click.ClickException):
    """Something in a file or on the command line that the user has to change. Ends the program with exit code 2."""

    exit_code = 2


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Returns ` Did you mean 'x'?` with the known word nearest to `word`, or an empty string if none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=1)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""
