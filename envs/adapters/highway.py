"""Games of highway-env in which several cars are controlled."""

from __future__ import annotations

import difflib
import inspect
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_biac.envs.adapters.gymnasium_agents import GymnasiumAgentsEnv

CRASH, NO_CRASH = "crash", "no crash"


class HighwayEnv(GymnasiumAgentsEnv):
    """A game of highway-env's with several controlled cars, which are agent_0, agent_1, … in highway-env's order.

    A car that is over, such as by arriving, stays over until the next reset, wherever it drives then: highway-env goes
    on with its first action, or the middle of throttle and steering where actions are these, and nobody learns from it.

    At the end of an episode `infos[agent]["outcome"]` is "crash" if a controlled car has crashed before it was over,
    with whomever, else "no crash". At every step `infos[agent]` has `crashed` and `speed` (m/s) of the agent's own car.
    Films show every frame of the simulation.

    Args:
        env: the game, an `AbstractEnv` of highway-env or a wrapper of one.

    Raises:
        ValueError: if a setting looks like another one misspelt, with whose default highway-env would go on, or is
            text where that is a number, or true or false.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._check_names()
        self.frames_per_sec = 0  # highway-env sets it, as of gymnasium's own recorder
        self._frames: list[np.ndarray] = []
        self._any_crash = False
        if env.render_mode is not None:
            # SDL complains of its absence, though it draws nothing on any screen here.
            os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
            self.unwrapped.set_record_video_wrapper(self)

    def _check_names(self) -> None:
        game = self.unwrapped
        plain = type(game).default_config()
        _refuse_misspelt(game.config, plain, "config")
        for key, value in game.config.items():
            if isinstance(value, str) and isinstance(plain.get(key), int | float):
                raise ValueError(f"config: {key} is the text {value!r}; write a value such as {plain[key]}.")
        for kind in ("observation", "action"):  # of which each agent has a type of its own
            for own in getattr(getattr(game, f"{kind}_type"), f"agents_{kind}_types", [])[:1]:
                where = f"config: {kind}: {kind}_config"
                _refuse_misspelt(game.config[kind][f"{kind}_config"], _settings_of(own), where)
                features = {*(getattr(own, "features", None) or ()), *game.controlled_vehicles[0].to_dict()}
                if unknown := (getattr(own, "features_range", None) or {}).keys() - features:
                    raise ValueError(
                        f"{where}: features_range: {min(unknown)!r} is none of {', '.join(sorted(features))}."
                    )

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        self._frames, self._any_crash = [], False
        observations, infos = super().reset(seed, options)
        return observations, self._with_cars(infos)

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        self._frames = []
        present = list(self.agents)
        *result, infos = super().step(actions)
        infos = self._with_cars(infos)
        # What becomes of a car that nobody drives any more is no outcome of play.
        self._any_crash |= any(infos[agent]["crashed"] for agent in present)
        if not self.agents:
            outcome = CRASH if self._any_crash else NO_CRASH
            infos = {agent: info | {"outcome": outcome} for agent, info in infos.items()}
        return (*result, infos)  # type: ignore[return-value]

    def _action_when_over(self, agent: Any) -> Any:
        own = self.unwrapped.action_type.agents_action_types[self.possible_agents.index(agent)]
        if (levels := getattr(own, "actions_per_axis", None)) is None:
            return super()._action_when_over(agent)
        # The first of these actions is full brake and full lock, with which a car would drive backwards in circles.
        return sum(levels // 2 * levels**axis for axis in range(own.size))

    def _check_none_back(self, back: list[Any]) -> None:
        """Lets flags go back: highway-env asks at each step anew whether a car is where cars arrive."""

    def _with_cars(self, infos: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        cars = dict(zip(self.possible_agents, self.unwrapped.controlled_vehicles, strict=True))
        own = {agent: {"crashed": bool(car.crashed), "speed": float(car.speed)} for agent, car in cars.items()}
        return {agent: info | own[agent] for agent, info in infos.items()}

    def _capture_frame(self) -> None:
        """Called by highway-env at each frame between two decisions, once something has been drawn."""
        self._frames.append(self.render())

    def frames_since_last_step(self) -> list[np.ndarray]:
        """Returns the pictures of all frames of the last step, `metadata["render_fps"]` per second."""
        return [*self._frames, self.render()] if self._frames else []


def with_tuples(settings: Any) -> Any:
    """Returns settings with a tuple where highway-env takes no list, and experiment files know lists only.

    Args:
        settings: of a game of whatever make; any but `observation_shape` of a `GrayscaleObservation` stays as it is.
    """
    if type(settings) is dict:
        changed = {key: with_tuples(value) for key, value in settings.items()}
        shape = changed.get("observation_shape")
        if changed.get("type") == "GrayscaleObservation" and isinstance(shape, list):
            changed["observation_shape"] = tuple(shape)
        return changed
    return [with_tuples(value) for value in settings] if type(settings) is list else settings


def _refuse_misspelt(settings: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in settings.keys() - set(known):  # others may be read by somebody's own subclass
        if near := difflib.get_close_matches(str(key).lower(), known, n=1, cutoff=0.8):
            raise ValueError(f"{where}: {key} is no setting of this game: did you mean {near[0]}?")


def _settings_of(part: Any) -> set[str]:
    """Returns the names of what a type of observations or actions is made from."""
    return {name for base in type(part).__mro__ if base is not object for name in inspect.signature(base).parameters}
