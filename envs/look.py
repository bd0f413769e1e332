"""One look at a game before it is played: what a few steps of random play show."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.contract import STATE, Contract, Look
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.space_words import in_words
from rllib_biac.envs.watchdog import Watchdog

# At least so many steps; as many more as so many episodes take, but no more than so many; and about so many seconds.
LOOK_STEPS, LOOK_EPISODES, MOST_STEPS, LOOK_SECONDS = 200, 20, 2000, 10.0
# In every other episode an agent does with this probability what it did before. Actions that are all drawn anew undo
# one another: who only trembles does not leave its place, meets nobody, and sees nobody die.
KEPT = 0.9
# A game in which nobody has acted for so many steps has stopped, and does not say so.
MOST_STEPS_OF_NOBODY = 1000
# Over so many first steps the state is asked for, and what is seen is compared.
STEPS_COMPARED = 400
# From here on float32, with which networks compute, holds no thousandths. What is as large is asked whether it still
# tells what it says: at least one of so many values that it takes, where it moves by a thousandth or more.
LARGE, MOVES, TOLD_APART, MOST_LARGE = 2.0**13, 1e-3, 16, 1000
LOOK_SEED = 20201


def look_at(game: BatchedGame, contract: Contract, expected: Look, calling: Watchdog) -> Look:
    """Plays a game at random, from a seed of its own: `LOOK_EPISODES` episodes where that can be had.

    In every other of them agents go on for a while with what they do.

    Args:
        game: one copy of it, which puts up with all that may be; it is closed afterwards.
        contract: where that copy notes what has been.
        expected: what is there beyond what a look shows.
        calling: watches over its calls.

    Raises:
        GameError: if the game breaks the contract of games, hangs, or raises. What is wrong with its state alone is
            returned: the state may not be asked for.
    """
    rng, telling, state_fault = np.random.default_rng(LOOK_SEED), Telling(), ""
    paid: dict[str, tuple[float, float]] = {}
    steps = episodes = terminated = idle = 0
    before: dict[str, np.ndarray] = {}
    begin = time.monotonic()
    try:
        calling("reset()")
        game.reset()
        while steps < (LOOK_STEPS if episodes >= LOOK_EPISODES else MOST_STEPS):
            if steps and time.monotonic() - begin > LOOK_SECONDS:
                break
            if steps < STEPS_COMPARED:
                calling("state()")
                state, state_fault = _state_of(game) if not state_fault else (None, state_fault)
                telling.add(_seen_in(game, state))
            calling("step()")
            before = _kept(game, random_actions(game, rng), before if episodes % 2 else {}, rng)
            _check_held(before, game, contract)
            step = game.step(before)
            steps += 1
            for agent, (reward,) in step.rewards.items():
                low, high = paid.get(agent, (reward, reward))
                paid[agent] = float(min(low, reward)), float(max(high, reward))
            idle = 0 if game.acts.any() else idle + 1
            if idle >= MOST_STEPS_OF_NOBODY:
                raise GameError(
                    f"nobody has acted for {idle:,} steps: when the game is over, flag agents as terminated or "
                    "truncated, or leave none in `agents`."
                )
            over = step.terminated | step.truncated
            if over.any():
                episodes += 1
                terminated += int(step.terminated[0])
                calling("reset()")
                game.reset(over)
        seconds = (time.monotonic() - begin) / steps
        for name, number in telling.blurred().items():
            text = (
                f"holds {number!r}, which moves by less than float32, with which networks compute, can tell there; "
                "take off where it starts, or write larger units."
            )
            if name != STATE:
                raise GameError(f"observation of agent {name!r} {text}")
            state_fault = state_fault or f"state {text}"
        _check_told_apart(contract.paid)
        found = Look(
            absences=contract.was_absent or expected.absences,
            masks=contract.was_masked or expected.masks,
            cuts=contract.was_cut or expected.absences,
            idle=contract.was_idle,
            unmasked=contract.was_unmasked,
            steps=steps,
            episodes=episodes,
            terminated=terminated,
            seconds_per_step=seconds,
            state_fault=state_fault,
            holds=telling.holds(),
            paid=paid,
        )
        excused = {name: getattr(found, name) for name in ("absences", "idle", "unmasked")}
        excused["said"] = found.idle or expected.absences
        for name, left_open in contract.left_open.items():
            if not excused[name]:
                raise left_open
        return found
    except GameError as error:
        raise GameError(f"{error} (seen in a look at the game, before the first step of training)") from error
    finally:
        game.close()


def _check_told_apart(paid: Mapping[str, tuple[float, float]]) -> None:
    """Refuses rewards that differ by less than float32 can tell, beside a large part that is always paid."""
    for agent, (low, high) in paid.items():
        told = float(np.float32(high)) - float(np.float32(low))
        if max(-low, high) >= LARGE and high - low >= MOVES and abs(told - (high - low)) > (high - low) / TOLD_APART:
            raise GameError(
                f"agent {agent!r} earns from {low!r} to {high!r}, which float32, with which networks compute, cannot "
                "tell apart as they are; take off what is always paid, or write larger units."
            )


def _check_held(actions: Mapping[str, np.ndarray], game: BatchedGame, contract: Contract) -> None:
    """Refuses spaces of the game's own make that hold less than their bounds say, such as points that sum to one."""
    for i, (agent, reader) in enumerate(contract.actions.items()):
        (action,) = reader.to_game(actions[agent])
        if game.acts[0, i] and not reader.raw.contains(action):
            raise GameError(
                f"agent {agent!r}: action space {in_words(reader.raw)} does not hold {action}, though its bounds do; "
                "write one of gymnasium's own, let the game make of each action one that it knows, or forbid choices "
                "by a mask."
            )


def _state_of(game: BatchedGame) -> tuple[np.ndarray | None, str]:
    """Returns the state, None where there is none to be had, and what is wrong with it."""
    try:
        return game.state(), ""
    except (GameError, ValueError) as error:
        return None, str(error)


def _seen_in(game: BatchedGame, state: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns what each agent sees, whether it acts included, and the state, by name."""
    acts = game.acts
    seen = {agent: np.append(own[0], acts[0, i]) for i, (agent, own) in enumerate(game.observe().items())}
    return seen if state is None else seen | {STATE: np.append(state[0], acts[0])}


class Telling:
    """Who sees what others see, as far as the numbers show that were seen.

    An observation holds another, or the state, if each number of that which differs from look to look is found in it,
    always at the same place. Of a number with two values it is enough to find one that is other whenever it is: whose
    turn it is not is said by whose it is.
    """

    def __init__(self) -> None:
        self._first: dict[str, np.ndarray] = {}
        self._varies: dict[str, np.ndarray] = {}
        self._others: dict[str, np.ndarray] = {}  # their first other values
        self._two: dict[str, np.ndarray] = {}  # whether they took no third one
        self._histories: dict[str, np.ndarray] = {}  # of each number, as a hash (FNV-1a, but by words)
        self._turns: dict[str, np.ndarray] = {}  # likewise, of whether it is not its first value
        self._large: dict[str, np.ndarray] = {}  # places of large numbers
        self._numbers: dict[str, list[np.ndarray]] = {}  # there

    def add(self, seen: Mapping[str, np.ndarray]) -> None:
        """Takes in one look: name -> what is seen, of any shape, always the same names and shapes."""
        for name, values in seen.items():
            bits = (np.ravel(values).astype(np.float32) + np.float32(0.0)).view(np.uint32).astype(np.uint64)  # no -0.0
            first = self._first.setdefault(name, bits)
            other = bits != first
            varied = self._varies.get(name, np.zeros(bits.shape, bool))
            second = self._others[name] = np.where(other & ~varied, bits, self._others.get(name, bits))
            self._two[name] = self._two.get(name, True) & (~other | (bits == second))
            self._varies[name] = varied | other
            self._histories[name] = _hashed(self._histories.get(name), bits)
            self._turns[name] = _hashed(self._turns.get(name), other)
            if np.asarray(values).dtype.itemsize > 4:
                numbers = np.ravel(values)
                large = self._large.setdefault(name, np.flatnonzero(np.abs(numbers) >= LARGE)[:MOST_LARGE])
                self._numbers.setdefault(name, []).append(numbers[large])

    def blurred(self) -> dict[str, float]:
        """Returns name -> a number in what is seen of which float32 tells next to nothing, such as a time of day."""
        found = {}
        for name, rows in self._numbers.items():
            for numbers in np.stack(rows, 1):
                told, taken = len(np.unique(numbers.astype(np.float32))), len(np.unique(numbers))
                if np.ptp(numbers) >= MOVES and (told == 1 or told * TOLD_APART <= taken):
                    found[name] = float(numbers[-1])
        return found

    def holds(self) -> dict[str, frozenset[str]]:
        """Returns name -> the names of all that it holds, itself included."""
        varied = {
            name: set(np.where(self._two[name], self._turns[name], self._histories[name])[varies].tolist())
            for name, varies in self._varies.items()
        }
        return {
            name: frozenset(other for other, theirs in varied.items() if theirs <= own) for name, own in varied.items()
        }


def _hashed(history: np.ndarray | None, bits: np.ndarray) -> np.ndarray:
    """Returns the histories with one more look."""
    before = np.full(bits.shape, 0xCBF29CE484222325, np.uint64) if history is None else history
    return (before ^ bits) * np.uint64(0x100000001B3)


def random_actions(game: BatchedGame, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns uniformly random allowed actions, agent -> (N, *action shape)."""
    masks: dict[str, Any] = game.action_masks() or {}
    return {agent: _drawn(space, masks.get(agent), game.num_games, rng) for agent, space in game.action_spaces.items()}


def _kept(
    game: BatchedGame, drawn: dict[str, np.ndarray], before: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns actions of one game, each as before with probability `KEPT`, where there is one that is still allowed."""
    masks = game.action_masks() or {}
    for agent, action in before.items():
        discrete = isinstance(game.action_spaces[agent], spaces.Discrete)
        allowed = agent not in masks or masks[agent][0, int(action[0]) if discrete else 0]
        if allowed and rng.random() < KEPT:
            drawn[agent] = action
    return drawn


def _drawn(space: Any, mask: np.ndarray | None, count: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, spaces.Box):
        return rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)
    if mask is None:
        return rng.integers(space.n, size=count)
    return np.array([rng.choice(np.flatnonzero(row)) for row in mask])
