"""How commands take their flags and how they end: a mistake in words and with an exit code, anything else as it is."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from rllib_biac.cli.guard import end_in_time
from rllib_biac.experiments.mistakes import Mistake

_MISTAKEN, _INTERRUPTED = 2, 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _EachOnce(click.Command):
    """Refuses a flag that is given twice: click would take the last, and say nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for one in order:
            if not isinstance(one, click.Option) or one.multiple or (one.is_flag and not one.secondary_opts):
                continue  # may be repeated, or says the same twice
            if order.count(one) > 1:
                raise click.UsageError(f"{' / '.join(one.opts + one.secondary_opts)} is given twice: leave one out.")
        return super().parse_args(ctx, args)


class Command(_EachOnce):
    """A command of ours."""


class Group(_EachOnce, click.Group):
    """A group of them."""

    command_class = Command
    group_class = type


class Commands(Group):
    """Turns exceptions into a message and an exit code. --traceback also shows the stack trace."""

    def main(self, args: Any = None, *more: Any, **options: Any) -> Any:
        try:
            return super().main(args, *more, **options)
        except SystemExit as error:
            if args is None:  # else it is called by a program that goes on
                end_in_time(error.code)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            click.echo("Interrupted.", err=True)
            ctx.exit(getattr(error, "exit_code", _INTERRUPTED))  # a signal's own, where it was another than Ctrl-C
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):  # the last: `| head`, which click ends in silence
            raise
        except Exception as error:
            if isinstance(error, Mistake):
                refuse(error)
            if ctx.meta.get("traceback"):
                traceback.print_exc()
            if isinstance(error, click.ClickException):
                raise
            # Our own ValueErrors say what to write instead. For other errors the type helps too.
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                kind = "there is no room to write, or no leave to write as much: "
                _drop_what_is_left()
            click.echo(f"Error: {kind}{error}\n(--traceback shows where)", err=True)
            ctx.exit(1)


def _drop_what_is_left() -> None:
    """Lets stdout go where there is room, if it cannot be written: Python flushes it at its end, and ends with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse(mistake: Mistake) -> NoReturn:
    """Tells a mistake, and ends the command."""
    ctx = click.get_current_context()
    if ctx.meta.get("traceback"):
        traceback.print_exc()
    click.echo(f"Error: {mistake}", err=True)
    ctx.exit(_MISTAKEN)
