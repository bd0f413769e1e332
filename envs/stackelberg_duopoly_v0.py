"""`stackelberg_duopoly_v0`: firms choose how much to sell on one market (von Stackelberg 1934), two by default.

The price is `intercept - slope * (all quantities)`, not floored at 0, and a firm earns `(price - cost) * quantity`.
With `capacity = (intercept - cost) / slope`, at which the price has fallen to the cost, the exact answers are

- each firm leading the next (`firm_0` before `firm_1` before ...): `equilibrium`, capacity * (1/2, 1/4, 1/8, ...);
- all at once (Cournot, the Nash equilibrium): capacity / (firms + 1) each;
- cooperative: any quantities that add up to capacity / 2, for a total profit of slope * capacity**2 / 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import aec_wrapper_fn

from rllib_biac.envs.batched import BatchedForm, BatchedStep

__all__ = ["BatchedDuopoly", "Duopoly", "batched_env", "env", "equilibrium", "parallel_env", "raw_env"]

VARIANTS = ("competitive", "cooperative")


def _capacity(firms: int, intercept: float, slope: float, cost: float) -> float:
    """Returns the quantity at which the price has fallen to the cost, or raises a ValueError."""
    if isinstance(firms, bool) or not isinstance(firms, int) or firms < 1:
        raise ValueError(f"firms must be a whole number, at least 1; got {firms!r}.")
    for what, value in (("intercept", intercept), ("slope", slope), ("cost", cost)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{what} must be a finite number; got {value!r}.")
    if slope <= 0 or cost < 0 or intercept <= cost:
        raise ValueError(
            "write a positive slope, a cost of at least 0 and an intercept above the cost, else nobody sells; got "
            f"intercept={intercept!r}, slope={slope!r}, cost={cost!r}."
        )
    return (intercept - cost) / slope


def equilibrium(firms: int = 2, intercept: float = 1.0, slope: float = 1.0, cost: float = 0.0) -> np.ndarray:
    """Returns the quantities, (firms,), of the Stackelberg equilibrium in which each firm leads all after it.

    Of what the firms before it leave of the capacity, every firm takes half: against the answers from below its profit
    is `2**-(firms below it)` times that of a monopoly on the rest, so it chooses as that one would.

    Args:
        firms, intercept, slope, cost: as for `Duopoly`, competitive and with continuous quantities.

    Raises:
        ValueError: as for `Duopoly`.
    """
    return _capacity(firms, intercept, slope, cost) * 0.5 ** np.arange(1, firms + 1)


def _levels(firm: str, levels: int | Sequence[float], capacity: float) -> np.ndarray:
    """Returns the quantities that a firm's discrete actions stand for, or raises a ValueError."""
    if isinstance(levels, int) and not isinstance(levels, bool) and levels >= 2:
        return np.linspace(0.0, capacity, levels)
    try:
        quantities = np.array(levels, np.float64)
    except (TypeError, ValueError):
        quantities = np.empty(0)
    if quantities.ndim != 1 or not quantities.size or not ((quantities >= 0) & (quantities <= capacity)).all():
        raise ValueError(
            f"discrete: {firm!r} needs a number of evenly spaced quantities, at least 2, or a list of quantities "
            f"within [0, {capacity:g}], such as {[0.0, capacity / 4, capacity / 2]}; got {levels!r}."
        )
    return quantities


class Duopoly(ParallelEnv, EzPickle):
    """Every firm, `firm_0`, `firm_1`, ..., chooses a quantity, once; the module says what it earns.

    There is nothing to observe: every observation and the state are the constant `[1.0]`. Actions are quantities,
    (1,) float32 within [0, capacity], or for firms in `discrete` numbers of quantities on a list. The episode is
    TERMINATED after its one step and names no outcome.

    Args:
        firms: how many, at least 1.
        intercept: price at which nothing is sold, above the cost.
        slope: by how much the price falls with every unit, positive.
        cost: of a unit, at least 0.
        variant: "competitive", each firm earns its own profit, or "cooperative", each earns the sum of all.
        discrete: firms with Discrete actions -> how many quantities, evenly from 0 to the capacity, or a list of them.

    Attributes:
        quantities: firm -> (|A_i|,) what its discrete actions stand for; firms with continuous ones are not in it.

    Raises:
        ValueError: if an option is out of its range, or `discrete` names no such firm.
    """

    metadata = {  # noqa: RUF012  (PettingZoo's form)
        "name": "stackelberg_duopoly_v0",
        "render_modes": [],
        "render_fps": 1,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        firms: int = 2,
        intercept: float = 1.0,
        slope: float = 1.0,
        cost: float = 0.0,
        variant: str = "competitive",
        discrete: Mapping[str, int | Sequence[float]] | None = None,
    ) -> None:
        EzPickle.__init__(self, firms, intercept, slope, cost, variant, discrete)
        capacity = _capacity(firms, intercept, slope, cost)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}.")
        self.possible_agents = [f"firm_{i}" for i in range(firms)]
        self.agents: list[str] = []
        if discrete is not None and (
            not isinstance(discrete, Mapping) or not set(discrete) <= set(self.possible_agents)
        ):
            raise ValueError(
                f"discrete must give quantities to some of the firms {', '.join(self.possible_agents)}, such as "
                f"{{firm_0: 7}}; got {discrete!r}."
            )
        self.quantities = {firm: _levels(firm, levels, capacity) for firm, levels in (discrete or {}).items()}
        self.render_mode = None
        self._intercept, self._slope, self._cost, self._variant = intercept, slope, cost, variant
        self.observation_spaces: dict[str, gym.Space] = {
            firm: gym.spaces.Box(0.0, 1.0, (1,), np.float32) for firm in self.possible_agents
        }
        self.action_spaces: dict[str, gym.Space] = {
            firm: gym.spaces.Discrete(len(self.quantities[firm]))
            if firm in self.quantities
            else gym.spaces.Box(0.0, capacity, (1,), np.float32)
            for firm in self.possible_agents
        }
        self.state_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    def observation_space(self, agent: str) -> gym.Space:
        """Returns the firm's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Returns the firm's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Returns the constant state, (1,) float32."""
        return np.ones(1, np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Starts an episode. Nothing here is random, so the seed changes nothing."""
        self.agents = list(self.possible_agents)
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Sells once.

        Raises:
            ValueError: if an action is not of its space.
        """
        firms = self.possible_agents
        profits = self.profits({firm: np.asarray(actions[firm])[None] for firm in firms})
        self.agents = []
        return (
            {firm: self.state() for firm in firms},
            {firm: float(profits[firm][0]) for firm in firms},
            dict.fromkeys(firms, True),
            dict.fromkeys(firms, False),
            {firm: {} for firm in firms},
        )

    def profits(self, actions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns what every firm earns in N games, firm -> (N,) float64.

        Args:
            actions: firm -> (N, 1) quantities, or (N,) integers where they are discrete.

        Raises:
            ValueError: if an action is not of its space.
        """
        sold = {firm: self._sold(firm, np.asarray(actions[firm])) for firm in self.possible_agents}
        total = np.sum(list(sold.values()), axis=0)  # (N,)
        margin = self._intercept - self._slope * total - self._cost
        if self._variant == "cooperative":
            return {firm: margin * total for firm in sold}
        return {firm: margin * quantity for firm, quantity in sold.items()}

    def _sold(self, firm: str, actions: np.ndarray) -> np.ndarray:
        space, levels = self.action_spaces[firm], self.quantities.get(firm)
        if levels is not None:
            if (
                actions.ndim != 1
                or actions.dtype.kind not in "iu"
                or not ((actions >= 0) & (actions < len(levels))).all()
            ):
                raise ValueError(f"{firm}: actions must be whole numbers, 0 to {len(levels) - 1}; got {actions}.")
            return levels[actions]
        assert isinstance(space, gym.spaces.Box)
        if actions.ndim != 2 or actions.shape[1] != 1 or not ((actions >= space.low) & (actions <= space.high)).all():
            raise ValueError(
                f"{firm}: actions must be one quantity each, within [0, {space.high[0]:g}]; got {actions}."
            )
        return actions[:, 0].astype(np.float64)


class BatchedDuopoly(BatchedForm):
    """The batched form of `Duopoly`. Nothing in it is random.

    Args:
        game: the plain form; its rules and spaces are shared.
        num_games: N, at least 1.

    Raises:
        ValueError: if `num_games` is less than 1.
    """

    def __init__(self, game: Duopoly, num_games: int) -> None:
        super().__init__(game, num_games)
        self._game = game

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Starts games anew: of a game of one step there is nothing to keep."""

    def observe(self) -> dict[str, np.ndarray]:
        """Returns every firm's constant observations, firm -> (N, 1) float32."""
        return {firm: self.state() for firm in self.possible_agents}

    def state(self) -> np.ndarray:
        """Returns the constant states, (N, 1) float32."""
        return np.ones((self.num_games, 1), np.float32)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns nothing: a game of one step stands nowhere between two steps."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Does nothing, as `get_state` has nothing to say."""

    def step(self, actions: dict[str, np.ndarray]) -> BatchedStep:
        """Sells once in every game, firm -> (N, 1) quantities or (N,) integers.

        Raises:
            ValueError: if an action is not of its space.
        """
        return BatchedStep(
            rewards={firm: profit.astype(np.float32) for firm, profit in self._game.profits(actions).items()},
            terminated=np.ones(self.num_games, bool),
            truncated=np.zeros(self.num_games, bool),
            outcome=np.full(self.num_games, -1),
        )


parallel_env = Duopoly
raw_env = aec_wrapper_fn(parallel_env)
env = raw_env  # the conversion enforces the order of calls already


def batched_env(num_games: int, rng: np.random.Generator, **kwargs: Any) -> BatchedDuopoly:
    """Makes N games as arrays; `kwargs` as for `Duopoly`. The game has no chance in it, `rng` stays untouched."""
    return BatchedDuopoly(Duopoly(**kwargs), num_games)
