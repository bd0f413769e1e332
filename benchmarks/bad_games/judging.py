"""Plays a game with a fault, by each of the runners, and says what became of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bad_games.kinds import ALLOWED, ANN, BOB, CAUGHT, HARMLESS, KINDS, OBS, REW, STEPS, TERM, TRUNC, Case, Clean
from rllib_biac.algorithms.biac import BiAC
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError
from rllib_biac.learning.games import StateReader, make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.sampler import Sampler
from tests.training import checked

HIERARCHY = [[ANN], [BOB]]
NUM_GAMES, ROWS = 3, 90  # five episodes of each copy
SECONDS = 20  # until a case counts as hanging

# What the library may be wrong in.
FAULTS = SILENT, CRASH, HANG, VAGUE = "SILENT", "CRASH", "HANG", "VAGUE"
# What a message names.
NAMED: dict[str, Callable[[str, Case], bool]] = {
    "agent": lambda told, case: bool(re.search(r"\b(ann|bob|eve)\b", told)),
    "place": lambda told, case: bool(re.search(r"\bstep \d|\breset\b|\bspace\b", told)),
}


class Hanging(BaseException):
    """A case has taken too long."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises `Hanging` after so many seconds, and puts back what games do to the whole program."""

    def ring(*_: Any) -> None:
        raise Hanging

    before, folder, errors = signal.signal(signal.SIGALRM, ring), Path.cwd(), np.geterr()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.chdir(folder)
        np.seterr(**errors)


def joint_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game as the joint runner does, at random. Returns all columns of all rows."""
    settings = checked(BiAC, hierarchy, state="observations")
    games = make_games(factory, NUM_GAMES, np.random.default_rng(5), {})
    sampler = Sampler(games, settings, torch.Generator().manual_seed(5), 100)
    torch.manual_seed(5)
    sampler.team = BiAC.build_team(sampler.state.team_spec(Hierarchy(hierarchy), settings))
    rows = sampler.sample(ROWS, random_actions=True)
    games.close()
    return dict(rows.columns)


def stock_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game as the stock runner does, at random. Returns all it was told, in order."""
    from rllib_biac.rllib.multi_agent_env import PettingZooMultiAgentEnv, team_spec

    env = PettingZooMultiAgentEnv(factory, "observations", {})
    agents = list(env.possible_agents)
    told: list[tuple[dict, dict, dict, dict]] = []
    settings = checked(BiAC, hierarchy, state="observations")
    seen_and_done = {agent: (env.get_observation_space(agent), env.get_action_space(agent)) for agent in agents}
    BiAC.build_team(team_spec(seen_and_done, Hierarchy(hierarchy), settings))
    rng = np.random.default_rng(5)
    for episode in range(4):
        observations, _ = env.reset(seed=5 if episode == 0 else None)
        told.append((observations, {}, {}, {}))
        for _ in range(3 * STEPS):
            actions = {}
            for agent in agents:
                space, mask = env.get_action_space(agent), observations[agent].get("action_mask")
                space.seed(int(rng.integers(2**31)))
                if mask is None:
                    actions[agent] = space.sample()
                else:
                    actions[agent] = space.sample(np.asarray(mask, np.int8))
            observations, rewards, terminated, truncated, _ = env.step(actions)
            told.append((observations, rewards, terminated, truncated))
            if terminated["__all__"] or truncated["__all__"]:
                break
    env.close()
    columns: dict[str, list] = {}
    for number, parts in enumerate(told):
        for what, part in zip((OBS, REW, TERM, TRUNC), parts, strict=True):
            for agent, value in part.items():
                for key, one in value.items() if isinstance(value, dict) else [("", value)]:
                    columns.setdefault(f"{what} {agent} {key}", []).append(np.append(np.ravel(one), number))
    return {name: np.stack(values) for name, values in columns.items()}


def native_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game that is a `MultiAgentEnv` by somebody else."""
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    class Native(MultiAgentEnv):
        def __init__(self) -> None:
            super().__init__()
            self.game = factory()
            self.possible_agents = self.agents = list(self.game.possible_agents)
            self.observation_spaces, self.action_spaces = self.game.observation_spaces, self.game.action_spaces

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            return self.game.reset(seed)

        def step(self, action_dict: dict) -> Any:
            result = self.game.step(action_dict)
            result[2].setdefault("__all__", not self.game.agents)
            result[3].setdefault("__all__", False)
            return result

    return joint_rows(lambda: adapt(Native()), hierarchy)


def gymnasium_rows(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays a game that is one gymnasium environment of two agents."""

    class Both(gym.Env):
        def __init__(self) -> None:
            self.game = factory()
            self.observation_space = gym.spaces.Dict(self.game.observation_spaces)
            self.action_space = gym.spaces.Dict(self.game.action_spaces)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            return self.game.reset(seed)

        def step(self, action: dict) -> Any:
            return self.game.step(action)

    return joint_rows(lambda: adapt(Both()), hierarchy)


def greedy_play(factory: Callable[[], Any], hierarchy: list[list[str]]) -> dict[str, np.ndarray]:
    """Plays an episode as `rllib evaluate` does, with a team that has learned nothing."""
    from rllib_biac.evaluation import Trained, play

    settings = checked(BiAC, hierarchy, state="observations", max_episode_steps=10 * STEPS)
    games = make_games(factory, 1, np.random.default_rng(5), {})
    spec = StateReader(games, "observations").team_spec(Hierarchy(hierarchy), settings)
    played = play(Trained(BiAC.build_team(spec), factory), episodes=1, seed=5)
    if played.lengths[0] != STEPS and not played.cut:
        raise AssertionError("an episode was cut, and nobody says so")
    return {agent: np.array(earned) for agent, earned in played.returns.items()}


RUNNERS = {
    "joint": joint_rows,
    "stock": stock_rows,
    "native": native_rows,
    "gymnasium": gymnasium_rows,
    "play": greedy_play,
}


def play(case: Case, factory: Callable[[], Any], broken: list[str]) -> dict[str, np.ndarray]:
    """Plays a case's game in its runner; `broken` gets what its copies complained of."""
    copies: list[Any] = []

    def kept() -> Any:
        copies.append(factory())
        return copies[-1]

    names = [["0"], ["1"]] if "numbers for names" in case.kind else HIERARCHY
    try:
        return RUNNERS[case.runner](kept, names)
    finally:
        broken += [word for one in copies for word in getattr(one, "broken", ())]


def differ(rows: dict[str, np.ndarray], twin: dict[str, np.ndarray]) -> str:
    """Returns in words what is not the same, "" if all is."""
    if rows.keys() != twin.keys():
        return f"other columns: {sorted(rows.keys() ^ twin.keys())[:3]}"
    for name, column in rows.items():
        if column.shape != twin[name].shape:
            return f"{name} has shape {column.shape}, not {twin[name].shape}"
        if not np.array_equal(column, twin[name], equal_nan=column.dtype.kind == "f"):
            row = int(np.argwhere(np.atleast_2d((column != twin[name]).reshape(len(column), -1)).any(1))[0, 0])
            return f"{name} differs from row {row} on: {column[row]}, not {twin[name][row]}"[:200]
    return ""


def judge(case: Case) -> tuple[str, str]:
    """Returns what became of a case, one of the words above, and why."""
    kind = KINDS[case.kind]
    broken: list[str] = []
    try:
        with bounded(SECONDS):
            rows = play(case, kind.factory(case), broken)
    except Hanging:
        return HANG, f"after {SECONDS} s"
    except (GameError, ValueError) as error:
        told = str(error)
        if missing := [what for what in kind.names if not NAMED[what](told, case)]:
            return VAGUE, f"no {' and no '.join(missing)} in: {told}"
        return CAUGHT, told
    except BaseException as error:  # whatever it is, the user would see it
        return CRASH, f"{type(error).__name__}: {error}"
    if broken:
        return SILENT, broken[0]
    if kind.right == ALLOWED:
        return ALLOWED, ""
    with bounded(SECONDS):
        twin = play(case, kind.twin(case) if kind.twin else (lambda: Clean(case)), [])
    difference = differ(rows, twin)
    return (SILENT, difference) if difference else (HARMLESS, "")
