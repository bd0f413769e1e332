"""Values from checkpoints: learned and true payoffs of matrix games, greedy play, an animation of episodes."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rllib_biac import envs
from rllib_biac.envs.matrix_game import MatrixGame
from rllib_biac.equilibria import mixed_commitment, pure_nash, stackelberg
from rllib_biac.evaluation import Played, Trained, play
from rllib_biac.evaluation.pictures import can_draw
from rllib_biac.evaluation.play import deployment
from rllib_biac.learning.games import StateReader, make_games
from rllib_biac.report.charts import numbers_like
from rllib_biac.report.films import captioned
from rllib_biac.rllib.reading import read_trained

MOST_CELLS = 400
_GIF_BYTES = 1_400_000  # a third more in base64
_SEED = 0


class Unreadable(Exception):
    """A checkpoint cannot be read or played. The message says why."""


@dataclass(frozen=True)
class Cell:
    """One entry of a payoff table: the number, its share (0 to 1) of the way from the lowest to the highest, marks."""

    text: str
    share: float
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Payoffs:
    """A table of payoffs, rows for the first player's actions and columns for the second's."""

    title: str
    rows: list[tuple[str, list[Cell]]]
    columns: list[str]


@dataclass(frozen=True)
class MatrixPlay:
    """What was learned in a matrix game.

    Attributes:
        players: the game's, in its own order.
        outcome: the greedy joint action, such as C-Z.
        exact: the right joint actions: the Stackelberg equilibrium, or the pure Nash equilibria of peers.
        solution: the name of this equilibrium.
        tables: for each player the true payoffs and, if the critics have them, the learned values.
        note: a remark for the reader of the tables.
    """

    players: list[str]
    outcome: str
    exact: list[str]
    solution: str
    tables: list[tuple[str, list[Payoffs]]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Film:
    """Greedy episodes as data URIs: an animation, and its first picture for readers who want no motion."""

    gif: str
    still: str
    size: tuple[int, int]
    outcomes: list[str]


def matrix_play(checkpoint: Path) -> MatrixPlay | None:
    """Returns what was learned in a matrix game of two players, None for other games.

    Raises:
        Unreadable: if the checkpoint cannot be read or played.
    """
    with _reading():
        trained = read_trained(checkpoint)
        game = envs.make(trained.env, **trained.env_config) if isinstance(trained.env, str) else None
        if not isinstance(game, MatrixGame) or len(game.sizes) != 2:
            return None
        found_play = play(trained, episodes=1)
        played = next(iter(found_play.outcomes), "")
        levels = trained.team.hierarchy.levels
        rows, columns = game.action_names
        if [len(level) for level in levels] == [1, 1]:
            leader = game.possible_agents.index(levels[0][0])
            joints, solution = _equilibrium(trained.team.settings, game.payoffs, leader)
            exact = [game.outcome_name(joint if leader == 0 else joint[::-1]) for joint in joints]
        else:
            exact = [game.outcome_name(joint) for joint in np.argwhere(pure_nash(game.payoffs)).tolist()]
            solution = "pure Nash equilibrium"
        result = MatrixPlay(game.possible_agents, played, exact, solution)
        if game.payoffs[0].size > MOST_CELLS:
            return result
        learned = _learned(trained, game)
        tables = []
        for player, payoffs in zip(game.possible_agents, game.payoffs, strict=True):
            both = [_payoffs("True payoffs", payoffs, rows, columns, result)]
            if (values := learned.get(player)) is not None:
                of_own = values.ndim == 1
                names = game.action_names[game.possible_agents.index(player)]
                both.append(
                    _payoffs("Learned, of its own actions", values[None], ["value"], names, None)
                    if of_own
                    else _payoffs("Learned values", values, rows, columns, result)
                )
            tables.append((player, both))
        later = game.horizon > 1 and bool(learned)
        note = (
            f"Learned values include what follows, discounted by {trained.team.settings.gamma:g} a step."
            if later
            else ""
        )
        note = " ".join(part for part in (note, _committed(trained, game, found_play)) if part)
        return MatrixPlay(game.possible_agents, played, exact, solution, tables, note)


def deployed(checkpoint: Path) -> str:
    """Says in words what the agents need where they are deployed.

    Raises:
        Unreadable: if the checkpoint cannot be read or its game not be made.
    """
    with _reading():
        return deployment(read_trained(checkpoint))


def greedy_play(checkpoint: Path, episodes: int, seed: int, best_response: int = 0) -> Played:
    """Plays a checkpoint; see `evaluation.play`.

    Raises:
        Unreadable: if the checkpoint cannot be read or played.
    """
    with _reading():
        return play(read_trained(checkpoint), episodes=episodes, seed=seed, best_response=best_response)


def film(checkpoint: Path, episodes: int = 3) -> Film | None:
    """Plays and draws episodes. Returns None if the game cannot draw.

    Raises:
        Unreadable: if the checkpoint cannot be read or played.
    """
    with _reading():
        trained = read_trained(checkpoint)
        if not can_draw(trained.env, dict(trained.env_config)):
            return None
        played = play(trained, episodes=episodes, seed=_SEED, render=True)
        return Film(*_animate(captioned(played), played.frames_per_second), sorted(played.outcomes.elements()))


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns every exception into `Unreadable`. A user's checkpoint or game may raise anything."""
    logger = logging.getLogger("ray.rllib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise Unreadable(f"{kind}{error}") from error
    finally:
        logger.setLevel(before)


def _equilibrium(settings: Any, payoffs: np.ndarray, leader: int) -> tuple[list[list[int]], str]:
    """Returns the joint actions, the leader's first, of the equilibrium that was to be learned, and its name."""
    if getattr(settings, "mixed", False) and not settings.announced:
        mixed = mixed_commitment(payoffs, leader)
        return [[int(own), mixed.response] for own in np.flatnonzero(mixed.strategy > 1e-9)], "mixed commitment"
    found = stackelberg(payoffs, leader)
    return [[int(found.leader_action), int(found.follower_action)]], "Stackelberg equilibrium"


def _committed(trained: Trained, game: MatrixGame, played: Played) -> str:
    """Says what the leader has committed to, and what that secures; nothing where it has not."""
    leader = trained.team.agents[0]
    games = make_games(trained.env, 1, np.random.default_rng(_SEED), trained.env_config, trained.team.spec.look)
    state = torch.from_numpy(StateReader(games, trained.team.settings.state)())
    chances = trained.team.commitment(state)
    if chances is None:
        return ""
    names = game.action_names[game.possible_agents.index(leader)]
    shares = ", ".join(
        f"{name} {chance:.1%}" for name, chance in zip(names, chances[0].tolist(), strict=True) if chance
    )
    text = f"{leader} has committed to {shares}."
    if (found := played.commitment) is not None:
        best = "" if found.best is None else f"; the best commitment of its kind to {found.best.upper:.4g}"
        text += f" If the other best-responds, this comes to {found.secured:.4g}{best}."
    return text


def _learned(trained: Trained, game: MatrixGame) -> dict[str, np.ndarray]:
    """Returns player -> learned values, (|A_1|, |A_2|) in the game's order, or (|A_i|,) of its own actions."""
    games = make_games(trained.env, 1, np.random.default_rng(_SEED), trained.env_config, trained.team.spec.look)
    state = torch.from_numpy(StateReader(games, trained.team.settings.state)())
    observations = {agent: torch.from_numpy(seen) for agent, seen in games.observe().items()}
    try:
        with torch.no_grad():
            tables = trained.team.q_tables(state, observations)
    except (AttributeError, NotImplementedError):
        return {}  # this algorithm has no such tables
    axes = [list(trained.team.agents).index(agent) for agent in game.possible_agents]
    values = {agent: table[0].cpu().numpy() for agent, table in tables.items()}
    return {agent: table.transpose(axes) if table.ndim == 2 else table for agent, table in values.items()}


def _payoffs(title: str, values: np.ndarray, rows: list[str], columns: list[str], result: MatrixPlay | None) -> Payoffs:
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    form = numbers_like(values.ravel().tolist(), digits=3)

    def cell(row: int, column: int) -> Cell:
        joint, value = f"{rows[row]}-{columns[column]}", float(values[row, column])
        marks = []
        if result and joint == result.outcome:
            marks.append("greedy")
        if result and joint in result.exact:
            marks.append("exact")
        return Cell(form(value), (value - low) / spread, tuple(marks))

    table = [(name, [cell(row, column) for column in range(len(columns))]) for row, name in enumerate(rows)]
    return Payoffs(title, table, columns)


def _animate(images: list[Image.Image], frames_per_second: float) -> tuple[str, str, tuple[int, int]]:
    """Returns an animation that is small enough for a page, and its first picture."""
    if (scale := 720 / images[0].width) < 1:
        size = (720, round(images[0].height * scale))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    few = [image.quantize(64, dither=Image.Dither.NONE) for image in images]
    every = 1
    while True:
        kept, buffer = few[::every], io.BytesIO()
        duration = 1000 * every / frames_per_second
        kept[0].save(buffer, "GIF", save_all=True, append_images=kept[1:], duration=duration, loop=0, optimize=True)
        if buffer.tell() <= _GIF_BYTES or len(kept) == 1:
            break
        every += 1
    still = io.BytesIO()
    few[0].save(still, "PNG", optimize=True)
    return data_uri("image/gif", buffer.getvalue()), data_uri("image/png", still.getvalue()), images[0].size


def data_uri(kind: str, data: bytes) -> str:
    """Returns a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
