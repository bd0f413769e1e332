"""Pictures of a game, held to what films are made of."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from rllib_biac.envs.errors import RAISED_BY_GAMES, GameError
from rllib_biac.learning.games import make_one, name_of

_WANTED = "let it return a uint8 array (height, width, 3)"


class NoPicture(ValueError):
    """A game that was to be drawn gives no picture. The message says which one, what it gave, and what is wanted."""


def pictures_of(game: Any, name: str) -> list[np.ndarray]:
    """Returns the pictures since the last step: those on the way, where a game gives them, else what it draws now.

    Args:
        game: made with `render_mode="rgb_array"`.
        name: of it, for messages.

    Returns:
        uint8 arrays, (height, width, 3), or (height, width) or (height, width, 4); none where it draws nothing now.

    Raises:
        NoPicture: if the game raises, or gives anything else.
    """
    try:
        between = getattr(game, "frames_since_last_step", None)
        frames = between() if between is not None else []
        if not len(frames):
            frames = [game.render()]
        frames = [frame if frame is None or isinstance(frame, str) else np.array(frame) for frame in frames]
    except RAISED_BY_GAMES as error:
        raise NoPicture(f"{name}: render() raised {error!r}; {_WANTED}") from error
    frames = [frame for frame in frames if frame is not None]
    for frame in frames:
        if isinstance(frame, str):
            raise NoPicture(f"{name}: render() returned text; {_WANTED}")
        if frame.dtype != np.uint8 or not frame.size or not (frame.ndim == 2 or frame.shape[2:] in ((3,), (4,))):
            raise NoPicture(f"{name}: render() returned {frame.dtype} of shape {frame.shape}; {_WANTED}")
    return frames


def first_pictures_of(game: Any, name: str) -> list[np.ndarray]:
    """Returns the pictures after a reset, one at least; otherwise as `pictures_of`.

    Raises:
        NoPicture: if there is none, too.
    """
    if not (frames := pictures_of(game, name)):
        raise NoPicture(f"{name}: render() returned None; {_WANTED}")
    return frames


def can_draw(env: Any, settings: dict[str, Any]) -> bool:
    """Tells whether a game can be drawn: it is made with `render_mode="rgb_array"`, and draws its start.

    Args:
        env: the game; of one that has no name it is not known, and taken to be false.
        settings: handed to the game.
    """
    if not isinstance(env, str):
        return False
    try:
        game = make_one(env, settings | {"render_mode": "rgb_array"})
    except (GameError, TypeError, ValueError):
        return False
    try:
        game.reset(seed=0)
        return bool(first_pictures_of(game, name_of(env)))
    except RAISED_BY_GAMES:
        return False
    finally:
        with contextlib.suppress(*RAISED_BY_GAMES):  # a training that is over is not to fail by this question
            game.close()
