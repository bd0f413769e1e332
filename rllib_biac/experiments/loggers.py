"""`loggers:` of an experiment: Tune's own for W&B, MLflow and others, and anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft
from rllib_biac.learning.loading import load_object

_EXAMPLE = "`loggers: [package.module:Class, {package.module:Class: {argument: value}}]`"


def mistakes(given: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yields the place and the text of each mistake in `loggers` that can be found without an import."""
    if not isinstance(given, list) or not given:
        yield ("loggers",), f"expected a list of classes, not {given!r}; write {_EXAMPLE}."
        return
    for number, one in enumerate(given):
        name, arguments = _parts(one)
        if not isinstance(name, str) or ":" not in name or not isinstance(arguments, dict):
            yield ("loggers", number), f"{one!r} is no class, nor one with its arguments; write {_EXAMPLE}."
        elif wrong := [key for key in arguments if not isinstance(key, str)]:
            yield ("loggers", number), f"arguments have names; {wrong[0]!r} is none."


def make(draft: Draft) -> tuple[Any, ...]:
    """Makes the loggers of an experiment, which has no mistakes that `mistakes` finds.

    Raises:
        Mistake: if one cannot be loaded or made, or is no callback of Tune's.
    """
    from ray.tune import Callback

    made = []
    for number, one in enumerate(draft.settings.get("loggers", ())):
        name, arguments = _parts(one)
        try:
            logger = load_object(name)(**arguments)
        except Exception as error:  # what it needs may not be installed, and it may raise anything
            raise Mistake(draft.mistake(("loggers", number), f"{name} cannot be made: {error}")) from error
        if not isinstance(logger, Callback):
            text = f"{name} is no callback of Tune's; write a subclass of ray.tune.logger.LoggerCallback."
            raise Mistake(draft.mistake(("loggers", number), text))
        made.append(logger)
    return tuple(made)


def _parts(one: Any) -> tuple[Any, Any]:
    """Returns the name of a class and its arguments."""
    if isinstance(one, dict) and len(one) == 1:
        ((name, arguments),) = one.items()
        return name, {} if arguments is None else arguments
    return one, {}
