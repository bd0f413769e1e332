"""What an algorithm can be told: settings that carry their defaults, their documentation and their checks."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Union

import gymnasium as gym
import numpy as np

from rllib_biac.envs.space_words import in_words
from rllib_biac.learning.bounds import check_float32, check_number
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS, check_model_config, is_count
from rllib_biac.learning.networks import kind_of

Schedule = float | list[list[float]]


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float = np.inf,
    above: bool = False,
    group: str = "training",
) -> Any:
    """Makes a field of `Settings`.

    Args:
        default: its default; a list or dict is copied for each owner.
        doc: what it does: its line in the docstring of the config's method and in the docs.
        low, high: the bounds of a number, or of every value of a schedule; no bounds are checked without `low`.
        above: whether `low` itself is out.
        group: the config's fluent method that sets it.
    """
    metadata = {"doc": doc, "low": low, "high": high, "above": above, "group": group}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class Settings:
    """What every algorithm here can be told. Names are RLlib's wherever RLlib has one.

    Subclasses add fields. What an algorithm can do is to be asked before anything is built:

    Attributes:
        continuous_actions: whether it takes continuous (Box) actions as well as discrete ones.
    """

    continuous_actions: ClassVar[bool] = False

    # What is seen.
    state: Literal["env", "observations"] = setting(
        "env",
        "what critics see: `env`, the game's own `state()`, or `observations`, all agents' side by side.",
        group="environment",
    )
    history: int = setting(
        1,
        "how many of the last observations and states are seen at once, side by side, the oldest first; at the start "
        "of an episode the first one fills all places. Replay takes as many times the memory.",
        low=1,
        high=1000,
        group="environment",
    )
    absences: bool = setting(
        False,
        "whether agents may be absent at times (leave early, come late, act in turns) though a look at the game before "
        "training does not show it.",
        group="environment",
    )
    masks: bool = setting(
        False,
        "whether actions may be forbidden at times though a look at the game before training does not show it.",
        group="environment",
    )
    partners: dict[str, Any] | None = setting(
        None,
        "agents that play and do not learn, and have no place in the hierarchy: agent -> `random`, "
        "`package.module:function` (one observation, a vector, -> one action), the path of a checkpoint (read by "
        "pickle: only what you trust), or `{policy: one of these, epsilon: probability of a random action}`.",
        group="environment",
    )
    max_episode_steps: int = setting(
        10_000,
        "steps after which an episode of evaluation that has not ended is cut, and said to be; at least 1.",
        low=1,
        group="environment",
    )
    policies_to_train: list[str] | None = setting(
        None,
        "the agents whose networks learn, all by default; those of the others stay as they are.",
        group="multi_agent",
    )
    # How games are played while learning.
    epsilon: float | list[list[float]] = setting(
        [[0, 1.0], [2000, 0.1]],
        "probability of a random action, in [0, 1], or its schedule [[env step, value], ...]; hold 1.0 for a while to "
        "explore fully first.",
        low=0.0,
        high=1.0,
        group="env_runners",
    )
    spread_epsilon: bool | None = setting(
        None,
        "whether game i of the N that are played at once explores with epsilon ** (i / N), from nearly 1 to epsilon "
        "itself (Horgan et al. 2018), so that replay never forgets what random play comes to; None: yes, but for "
        "`information: own`, BiLevelQ and CommitmentDQN.",
        group="env_runners",
    )
    exploration: Literal["per_agent", "joint"] = setting(
        "per_agent",
        "`per_agent`, each agent by itself, lower levels answering the explored action; or `joint`, all or none.",
        group="env_runners",
    )
    # Replay and updates.
    replay_buffer_config: dict[str, int] = setting({"capacity": 50_000}, '`{"capacity": rows}`.')
    num_steps_sampled_before_learning_starts: int = setting(100, "env steps before the first update.", low=0)
    train_batch_size_per_learner: int = setting(256, "rows of one update, in each learner.", low=1)
    training_intensity: float | None = setting(
        128.0,
        "rows trained per row sampled; None: one update per env step, that is `train_batch_size_per_learner`.",
        low=0.0,
        above=True,
    )
    # Networks.
    gamma: float = setting(0.99, "the discount per game step, in [0, 1].", low=0.0, high=1.0)
    lr: float | list[list[float]] = setting(
        1e-3, "learning rate of all networks, or its schedule [[env step, value], ...].", low=0.0, high=10.0
    )
    critic_lr: float | list[list[float]] | dict[str, Any] | None = setting(
        None, "learning rate of critics where it differs from `lr`: a number, a schedule, or {agent: either}."
    )
    actor_lr: float | list[list[float]] | dict[str, Any] | None = setting(None, "the same for actors.")
    lr_fade: float | None = setting(
        2000,
        "env steps, times the root of the horizon, after which a learning rate that is given as a number has fallen to "
        "0.7 of it, as 1 / sqrt(1 + t); the horizon is 1 / (1 - gamma), and 1 where no value is bootstrapped (one-step "
        "games). "
        "None: it stays.",
        low=0.0,
        above=True,
    )
    averaging: float = setting(
        0.1,
        "share, in [0, 1], of the updates so far over whose weights those are averaged that play uses, in training "
        "and after it; 0: play uses the latest ones.",
        low=0.0,
        high=1.0,
    )
    adam_epsilon: float = setting(1e-8, "Adam's epsilon, at most 1.", low=0.0, high=1.0, above=True)
    grad_clip: float | None = setting(None, "bound on each network's gradient.", low=0.0, above=True)
    grad_clip_by: Literal["value", "norm", "global_norm"] = setting(
        "global_norm", "how gradients are clipped: each number (`value`), or each network's norm."
    )
    tau: float = setting(
        0.01, "share by which target networks move towards the online ones, in (0, 1].", low=0.0, high=1.0, above=True
    )
    target_network_update_freq: int = setting(1, "updates between such moves.", low=1)
    normalize_targets: bool = setting(
        True,
        "whether critics learn targets of mean 0 and spread 1, which makes learning independent of the unit of "
        "reward; Q-values are reported in the game's own unit either way.",
    )
    normalizer_horizon: float = setting(
        100_000, "targets after which older ones fade from that mean and spread.", low=1
    )
    bound_values: bool = setting(
        True,
        "whether values that targets hold are kept between the least and the largest return that rewards seen so far "
        "can add up to.",
    )
    normalize_observations: bool = setting(False, "whether states are shifted and scaled to mean 0 and spread 1.")
    losses_class: Any = setting(
        None, "a subclass of the algorithm's own losses, or its name as `package.module:Class`; None: the algorithm's."
    )
    model_config: dict[str, Any] = setting(
        MODEL_DEFAULTS,
        "of the networks: `fcnet_hiddens`, `fcnet_activation` (None: `relu`; `silu` where an action is continuous), "
        "`fcnet_rms_norm` (None: as the algorithm's networks do it), `conv_filters`.",
        group="rl_module",
    )

    def __post_init__(self) -> None:
        self.model_config = {**MODEL_DEFAULTS, **self.model_config}

    # What an algorithm says about itself.

    @classmethod
    def algorithm(cls) -> str:
        """Returns the algorithm's name."""
        return cls.__name__.removesuffix("Settings")

    @property
    def uses_observations(self) -> bool:
        """Whether it learns from each agent's own observations beside the state."""
        return False

    @property
    def uses_starts(self) -> bool:
        """Whether it needs to know with which steps games begin."""
        return False

    @property
    def spreads_epsilon(self) -> bool:
        """Whether games that are played at once explore unequally."""
        return self.spread_epsilon is not False

    @property
    def bounds_values(self) -> bool:
        """Whether values are kept within what rewards can add up to."""
        return self.bound_values

    def network_lr(self, agent: str, network: str) -> Schedule:
        """Returns the learning rate (or its schedule) of an agent's network, e.g. `"critic"` or `"actor"`."""
        own = self.critic_lr if kind_of(network) == "critic" else self.actor_lr
        if isinstance(own, dict):
            own = own.get(agent)
        return self.lr if own is None else own

    def num_games_on_observations(self, num_games: int) -> int:
        """Returns in how many of so many games, the last ones, agents act by their own observations alone."""
        return 0

    def update_period(self, kind: str) -> int:
        """Returns how many updates pass from one that moves the networks of a kind to the next."""
        return 1

    def learns(self, agent: str) -> bool:
        """Tells whether an agent's networks learn."""
        return self.policies_to_train is None or agent in self.policies_to_train

    # Checks.

    def check(self, hierarchy: Hierarchy, num_learners: int = 1) -> None:
        """Holds every setting against what it may be.

        Raises:
            ValueError: naming the setting, its value, and what to write instead.
        """
        hints = typing.get_type_hints(type(self))
        for one in dataclasses.fields(self):
            value, rule = getattr(self, one.name), one.metadata
            accepted = _alternatives(hints[one.name])
            if value is None and type(None) in accepted:
                continue
            if choices := next((typing.get_args(kind) for kind in accepted if typing.get_origin(kind) is Literal), ()):
                self.check_choice(one.name, choices)
            elif bool in accepted:
                self.check_choice(one.name, (True, False))
            elif rule.get("low") is not None and list in map(_origin, accepted):
                self.check_schedule(one.name, value, rule["low"], rule["high"])
            elif rule.get("low") is not None:
                self.check_number(one.name, rule["low"], rule["high"], above=rule["above"], whole=accepted == (int,))
        self._check_learning_rates(hierarchy)
        self.check_who_learns(hierarchy)
        self._check_replay(num_learners)
        check_model_config(self.model_config)

    def check_who_learns(self, hierarchy: Hierarchy) -> None:
        """Refuses `policies_to_train` that are none of the hierarchy's agents.

        Raises:
            ValueError: naming one, and who there is.
        """
        given = self.policies_to_train
        if given is None:
            return
        if isinstance(given, str) or not isinstance(given, list | tuple | set) or not given:
            raise ValueError(f"policies_to_train: {given!r}: write a list of agents, or leave it out: then all learn.")
        if unknown := [agent for agent in given if agent not in hierarchy.agents]:
            raise ValueError(
                f"policies_to_train: {unknown[0]!r} is not in the hierarchy, whose agents are "
                f"{', '.join(hierarchy.agents)}."
            )

    def check_game(self, spec: Any) -> None:
        """Holds a game's spaces, and who leads whom in it, against what the algorithm can do.

        Args:
            spec: a `TeamSpec`.

        Raises:
            ValueError: naming what the algorithm cannot do, and what to write instead.
        """
        self._check_images(spec)
        if self.partners and self.state == "env":
            self.refuse_cuts(spec, "state: env beside partners")
        for agent, space in spec.action_spaces.items():
            has = f"agent {agent!r} has action space {in_words(space)}"
            if isinstance(space, gym.spaces.Discrete):
                if space.start != 0:
                    raise ValueError(f"{has}: its actions must start at 0.")
            elif not self.continuous_actions:
                raise ValueError(
                    f"{has}: {self.algorithm()} supports discrete actions (gymnasium.spaces.Discrete) only."
                )
            elif not (
                isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
            ):
                raise ValueError(
                    f"{has}: {self.algorithm()} supports discrete actions (gymnasium.spaces.Discrete) and vectors of "
                    "numbers (one-dimensional Box of floats)."
                )
            elif not space.shape[0]:
                raise ValueError(f"{has}, in which there is nothing to choose: it needs at least one number.")
            elif not (space.is_bounded() and (space.low < space.high).all()):
                raise ValueError(f"{has}: it needs finite bounds, low < high.")

    def without_end(self, look: Any) -> str:
        """Returns that values may have no bound, and what to write; empty where nothing says so.

        Args:
            look: what a look at the game showed; None where nobody looked.
        """
        if self.gamma < 1.0 or look is None or not look.steps or look.terminated:
            return ""
        return (
            f"gamma: 1: no episode was terminated in a look of {look.steps:,} random steps at the game; in play that "
            "goes on for ever values grow without bound: write a gamma below 1, such as 0.99, unless agents that play "
            "better do end it"
        )

    def refuse_cuts(self, spec: Any, what: str) -> None:
        """Refuses a game in which agents are truncated alone.

        Args:
            spec: a `TeamSpec`.
            what: cannot learn from it, for the message.

        Raises:
            ValueError: if the game does that.
        """
        if spec.look is not None and spec.look.cuts:
            raise ValueError(
                f"in this game an agent is truncated while others go on, from which {what} does not learn: let the "
                "game flag it as terminated, or truncate all agents at once; or use plain BiAC or IDQN, with state: "
                "observations."
            )

    def _check_images(self, spec: Any) -> None:
        seen = [spec.state_space, *(spec.observation_spaces.values() if self.uses_observations else ())]
        if self.model_config["conv_filters"] and not any(len(space.shape or ()) > 1 for space in seen):
            raise ValueError(
                f"conv_filters: {self.model_config['conv_filters']!r} would silently do nothing here: networks see "
                f"vectors, of shape {spec.state_space.shape}; leave it out."
            )

    def check_number(
        self, key: str, low: float, high: float = np.inf, *, above: bool = False, whole: bool = False
    ) -> None:
        """Holds a setting against its bounds; arguments and errors as for the function of this name."""
        check_number(key, getattr(self, key), low, high, above=above, whole=whole)

    def check_choice(self, key: str, options: tuple[Any, ...]) -> None:
        """Refuses a setting that is none of the options.

        Raises:
            ValueError: naming the setting, its value and the options.
        """
        if (value := getattr(self, key)) not in options:
            raise ValueError(f"{key}: {value!r} is none of {', '.join(map(str, options))}.")

    @staticmethod
    def check_schedule(key: str, schedule: Any, low: float, high: float) -> None:
        """Refuses what is neither a number nor a schedule, or leaves [low, high].

        Args:
            key: the setting, for the message.
            schedule: a number, or [[env step, value], ...] with steps that rise from 0.
            low, high: the bounds of all values.

        Raises:
            ValueError: naming the setting and what is wrong with it.
        """
        points = [[0, schedule]] if isinstance(schedule, int | float) else schedule
        try:
            steps, values = [step for step, _ in points], [value for _, value in points]
            known = all(isinstance(x, numbers.Real) and not isinstance(x, bool) for x in [*steps, *values])
        except (TypeError, ValueError):
            known = False
        if not known:
            raise ValueError(f"{key}: {schedule!r} is neither a number nor a schedule [[env step, value], ...].")
        if not points or steps[0] != 0 or any(a >= b for a, b in itertools.pairwise(steps)):
            raise ValueError(f"{key}: the steps of {schedule!r} must rise from 0.")
        if not all(low <= value <= high for value in values):
            raise ValueError(f"{key}: {schedule!r} must stay within [{low}, {high}].")
        for value in values:
            check_float32(key, value)

    def _check_learning_rates(self, hierarchy: Hierarchy) -> None:
        for agent in hierarchy.agents:
            for network in ("critic", "actor"):
                key = "lr" if getattr(self, f"{network}_lr") is None else f"{network}_lr"
                self.check_schedule(key, self.network_lr(agent, network), 0.0, 10.0)
        for key in ("critic_lr", "actor_lr"):
            given = getattr(self, key)
            if isinstance(given, dict) and (unknown := [agent for agent in given if agent not in hierarchy.agents]):
                known = ", ".join(hierarchy.agents)
                raise ValueError(f"{key} names {', '.join(map(str, unknown))}; the agents are {known}.")

    def _check_replay(self, num_learners: int) -> None:
        buffer, rows = self.replay_buffer_config, self.train_batch_size_per_learner * num_learners
        if not isinstance(buffer, Mapping) or set(buffer) != {"capacity"} or not is_count(buffer["capacity"]):
            raise ValueError(f"replay_buffer_config: {buffer!r}: write {{capacity: rows}}, with rows a whole number.")
        if buffer["capacity"] < rows:
            raise ValueError(
                f"replay_buffer_config: a capacity of {buffer['capacity']} holds less than one update's "
                f"{rows} rows (train_batch_size_per_learner, of each learner)."
            )


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def piecewise(schedule: Schedule, t: float) -> float:
    """Evaluates a schedule: a number, or [[step, value], …] interpolated linearly and held at both ends."""
    if isinstance(schedule, int | float):
        return float(schedule)
    steps, values = zip(*schedule, strict=True)
    return float(np.interp(t, steps, values))
