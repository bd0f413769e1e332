"""A trained policy to play with: all agents together, or each by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from rllib_biac.execution.greedy import GreedyPlay
from rllib_biac.execution.memory import Memory
from rllib_biac.execution.networks import Network
from rllib_biac.files import policy as files
from rllib_biac.files.damage import DamagedFile
from rllib_biac.files.policy import ON_OBSERVATIONS, STATE, Arrays, Description

Action = int | np.ndarray


class StackelbergPolicy:
    """What all agents of a game learned, played greedily, with numpy alone.

    .. code-block:: python

        policy = StackelbergPolicy.load("merge.safetensors")
        policy.act(state)  # {"main_0": 3, "auxiliary_0": 4}
        policy.agent("main_0").act(state)  # 3, as any other program that sees this state knows

    Nothing is remembered, and nothing is drawn at random: equal inputs give equal actions, in any process. A policy
    that was trained with `response: sampled` plays its likeliest answers. Only a leader that committed to probabilities
    draws its actions, from the generator that `act` is given. A policy that was trained with a `history` wants the last
    k of what is seen side by side: `memory()` keeps them.

    Attributes:
        description: who leads whom, shapes, actions.
        arrays: weights and normalisers, by name.
        agents: all agents, top level first.
        on_observations: the policy of the approximators, each agent acting on its own observation alone, which can be
            saved and exported by itself; None if none were trained.
    """

    def __init__(self, description: Description, arrays: Arrays) -> None:
        self.description = description
        self.arrays = arrays
        self.agents = description.agents
        self.on_observations: StackelbergPolicy | None = None
        if (local := description.on_observations) is not None:
            own = {name: array for name, array in arrays.items() if name.startswith(ON_OBSERVATIONS)}
            self.on_observations = StackelbergPolicy(
                local, {name.removeprefix(ON_OBSERVATIONS): array for name, array in own.items()}
            )
        try:
            _check_sizes(description, arrays)
            self._walk = GreedyPlay(
                description,
                arrays,
                {agent: Network(own, self.arrays_of(agent)) for agent, own in description.networks.items()},
                lambda array: np.asarray(array, np.float64),
            )
            nothing = {name: np.zeros((1, *shape)) for name, shape in description.inputs.items()}
            tried = self._walk(nothing, {})
        except Exception as error:  # whatever numbers that do not fit make NumPy raise, out of memory included
            raise ValueError(f"the policy's arrays do not fit its description: {error!r}.") from error
        if set(tried) != set(self.agents):
            raise ValueError("the policy's description does not say what each of its agents sees.")
        if (how := description.commitment) is not None and how.sha256 != files.commitment_sha256(
            arrays["states"], arrays["commitment"]
        ):
            raise ValueError("the policy's commitment is another one than its SHA-256 says.")
        if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
            raise ValueError(f"the policy's {', '.join(broken)} holds numbers that are not finite.")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a policy.

        Args:
            path: a file that `save`, `algo.save_weights` or `rllib export` wrote, in which nothing can be executed; or
                the folder of an algorithm's checkpoint, which is read by pickle (load only what you trust) and imports
                ray, without starting it.

        Raises:
            FileNotFoundError: if there is no such file or folder.
            DamagedFile: if it is damaged, or made to do harm. It is a ValueError.
            ValueError: if it is something else, or has networks of the user's own making.
        """
        if not Path(path).is_dir():
            description, arrays = files.read(path)
            try:
                return cls(description, arrays)
            except ValueError as error:
                raise DamagedFile(path, f"{path} is damaged: {error}") from error
        from rllib_biac.rllib.reading import read_policy

        return cls(*read_policy(path))

    @classmethod
    def from_module(cls, module: Any) -> Self:
        """Copies the policy of a living algorithm, `algo.env_runner.module`, or of a team.

        Raises:
            ValueError: if a network is of the user's own making.
        """
        return cls(*getattr(module, "team", module).describe())

    def __repr__(self) -> str:
        about = self.description
        actions = ", ".join(
            f"{agent} ({f'{own.size} actions' if own.discrete else f'{own.size} continuous'})"
            for agent, own in ((agent, about.actions[agent]) for agent in self.agents)
        )
        inputs = ", ".join(f"{name} {shape}" for name, shape in about.inputs.items())
        return f"<{type(self).__name__}: {actions}; sees {inputs}>"

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file that `load` reads wherever numpy is: plain arrays and a description."""
        files.write(path, self.arrays, self.description)

    def agent(self, name: str) -> AgentPolicy:
        """Returns one agent's part, to be played where the others are not.

        Raises:
            ValueError: if there is no such agent.
        """
        self._check_known([name])
        return AgentPolicy(self, name)

    def act(
        self,
        state: ArrayLike | None = None,
        *,
        observations: Mapping[str, ArrayLike] | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
        rng: np.random.Generator | None = None,
    ) -> dict[str, Action]:
        """Plays one joint action, or one per row of a batch.

        Args:
            state: state shape, or (n, *state shape).
            observations: agent -> observation shape, or (n, *observation shape), instead of the state: each agent acts
                on its own, by its approximator, with `information: own`, or in algorithms whose agents always do (IDQN
                and its kin, MADDPG, MATD3).
            masks: agent -> (|A_i|,) or (n, |A_i|) bool, allowed actions; who is left out may do anything. All zeros say
                that the agent is absent: it plays its null action. Of a continuous action (1,) or (n, 1) bool, whether
                the agent acts.
            rng: draws the actions of a leader that committed to probabilities; others need none.

        Returns:
            agent -> its action as the game takes it, or one per row: int, or (n,) int64; an array of the shape and
            dtype of the game's own space where that is MultiDiscrete, MultiBinary or a Box.

        Raises:
            ValueError: if something is missing, unknown, of a wrong shape or not finite, or a mask has other entries
                than 0 and 1.
        """
        policy = self._for(observations)
        return policy._played(policy._inputs(state, observations, self.agents), masks, rng=rng)

    def memory(self) -> Memory:
        """Returns a new memory of one game, which makes of what is seen what `act` wants; of a part's `act` too."""
        return Memory(self.description.history)

    def export_onnx(self, file: str | Path, agent: str | None = None) -> None:
        """Writes the policy for ONNX runtimes; see `execution.export.export_onnx`."""
        from rllib_biac.execution.export import export_onnx

        export_onnx(self, file, agent)

    def export_torch(self, file: str | Path, agent: str | None = None) -> None:
        """Writes the policy as a program of `torch.export`; see `execution.export.export_torch`."""
        from rllib_biac.execution.export import export_torch

        export_torch(self, file, agent)

    def arrays_of(self, agent: str) -> Arrays:
        """Returns the weights of an agent's network, `<k>/weight` and `<k>/bias`."""
        start = f"{agent}/"
        return {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}

    def _for(self, observations: Any) -> StackelbergPolicy:
        """Returns the policy that plays what is given: the approximators' for observations, where there is one."""
        return self if observations is None or self.on_observations is None else self.on_observations

    def _inputs(self, state: Any, observations: Mapping[str, Any] | None, acting: Iterable[str]) -> dict[str, Any]:
        """Returns what is seen, by the names of the description's inputs."""
        if not self.description.by_observations:
            if observations is not None:
                raise ValueError(
                    "this policy cannot act on observations, for no approximator was trained (approximators: true, or "
                    "information: own): "
                    f"give the state, of shape {self.description.inputs[STATE]}."
                )
            if state is None:
                raise ValueError(f"give the state, of shape {self.description.inputs[STATE]}.")
            return {STATE: state}
        if state is not None or observations is None:
            shapes = {agent: self.description.inputs[agent] for agent in acting}
            raise ValueError(f"these agents act on their own observations, not on the state: give those, of {shapes}.")
        self._check_known(observations)
        if missing := [agent for agent in acting if agent not in observations]:
            raise ValueError(f"the observation of {', '.join(missing)} is missing.")
        return {agent: observations[agent] for agent in acting}

    def _played(
        self,
        inputs: Mapping[str, Any],
        masks: Mapping[str, Any] | None,
        announced: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
        acting: str | None = None,
    ) -> dict[str, Action]:
        if rng is None and (draws := self.description.draws) is not None and acting in (None, draws):
            raise ValueError(
                f"{draws} committed to probabilities and draws its actions: give rng, such as np.random.default_rng()."
            )
        seen, rows = {}, set()
        for name, given in inputs.items():
            # Everybody rounds to what was trained on, whatever precision they were given.
            shape = self.description.inputs[name]
            try:
                x = np.asarray(given, np.float32)
            except (TypeError, ValueError) as error:
                hint = ": hand a dict of observations over as observations=" if isinstance(given, Mapping) else ""
                raise ValueError(
                    f"{_said(name)} is a {type(given).__name__}, not numbers of shape {shape}{hint} ({error})."
                ) from error
            if x.shape != shape and x.shape[1:] != shape:
                k = self.description.history
                hint = f" It holds the last {k} looks: hand over what policy.memory() returns of each." * (k > 1)
                raise ValueError(f"{_said(name)} has shape {x.shape}: {shape} is expected, or (n, *{shape}).{hint}")
            if not np.isfinite(x).all():
                raise ValueError(f"{_said(name)} has entries that are not finite: {x[~np.isfinite(x)][:3]}.")
            rows.add(None if x.shape == shape else len(x))
            seen[name] = x.reshape(-1, *shape).astype(np.float64)
        if len(rows) > 1:
            raise ValueError("some observations are single, others a batch, or batches differ in their rows.")
        (many,) = rows
        told = self._heard(announced, many) if announced else {}
        uniform = np.zeros(many or 1) if rng is None else rng.random(many or 1)
        actions = self._walk(seen, self._checked(masks, many) if masks else {}, told, uniform)
        return {agent: self._finished(agent, action, many is None) for agent, action in actions.items()}

    def _checked(self, masks: Mapping[str, Any], many: int | None) -> dict[str, np.ndarray]:
        self._check_known(masks)
        checked = {}
        for agent, given in masks.items():
            own, mask = self.description.actions[agent], _mask(agent, given)
            size = own.size if own.discrete else 1
            expected = (size,) if many is None else (many, size)
            if mask.shape != expected:
                raise ValueError(f"the mask of {agent} has shape {mask.shape}: {expected} is expected.")
            mask = mask.reshape(-1, size).copy()
            if own.discrete:
                mask[~mask.any(1), 0] = True  # nothing to do: the null action
            checked[agent] = mask
        return checked

    def _heard(self, announced: Mapping[str, Any], many: int | None) -> dict[str, np.ndarray]:
        heard = {}
        for agent, given in announced.items():
            own = self.description.actions[agent]
            action = np.asarray(given)
            shape = (own.taken.shape or ()) if own.taken else () if own.discrete else (own.size,)
            expected = (() if many is None else (many,)) + shape
            if action.shape != expected:
                raise ValueError(f"the announced action of {agent} has shape {action.shape}: {expected} is expected.")
            action = action.reshape(-1, *shape)
            if own.taken:
                try:
                    action = own.taken.back(action)
                except (TypeError, ValueError, OverflowError) as error:
                    raise ValueError(f"the announced action of {agent}, {given}, is none of the game's.") from error
            if own.discrete and not (
                action.dtype.kind in "biuf"
                and ((action >= 0) & (action < own.size) & (np.floor(action) == action)).all()
            ):
                raise ValueError(f"the announced action of {agent}, {given}, is none of 0, ..., {own.size - 1}.")
            if not own.discrete and not (action.dtype.kind in "iuf" and np.isfinite(action).all()):
                raise ValueError(f"the announced action of {agent}, {given}, is not of finite numbers.")
            heard[agent] = action.astype(np.int64 if own.discrete else np.float64)
        return heard

    def _finished(self, agent: str, action: np.ndarray, single: bool) -> Action:
        own = self.description.actions[agent]
        action = action if own.discrete else action.astype(np.float32)
        if own.taken:
            action = own.taken.of(action)
        if not single:
            return action
        plain = own.discrete and (own.taken is None or own.taken.shape is None)
        return int(action[0]) if plain else np.asarray(action[0])

    def _check_known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.agents:
                raise ValueError(f"there is no agent {name!r}: the agents are {', '.join(self.agents)}.")


def _mask(agent: str, given: Any) -> np.ndarray:
    """Returns a mask as booleans.

    Raises:
        ValueError: if it is none, such as one to be added to logits.
    """
    mask = np.asarray(given)
    if mask.dtype.kind not in "biuf" or not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"the mask of {agent}, {given}, is none: write 1 or True for each action that is allowed, 0 or False for "
            "each that is not."
        )
    return mask.astype(bool)


def _check_sizes(description: Description, arrays: Arrays) -> None:
    """Checks that what is described is no larger than the arrays, before memory is taken for it.

    Raises:
        ValueError: if it is.
    """
    for name, shape in description.inputs.items():
        if arrays[f"mean/{name}"].shape not in ((), shape):
            raise ValueError(f"what normalises {name} has shape {arrays[f'mean/{name}'].shape}, not {shape}")
        if not (arrays[f"std/{name}"] > 0).all():
            raise ValueError(f"what {name} is divided by is not always more than 0")
    if len(set(description.agents)) < len(description.agents):
        raise ValueError(f"an agent has two places among {description.levels}")
    if description.history < 1 or any(shape[-1] % description.history for shape in description.inputs.values()):
        raise ValueError(f"a history of {description.history}, and inputs {description.inputs}")
    if whole := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
        raise ValueError(f"{whole[0]} holds {arrays[whole[0]].dtype}, not real numbers")
    if description.play in ("tables", "commitment") and not all(own.discrete for own in description.actions.values()):
        raise ValueError("tables have values of continuous actions")
    if description.commitment is not None:
        sizes = [description.actions[agent].size for agent in description.agents]
        if arrays["liked"].shape != (*arrays["commitment"].shape[:1], *sizes):
            raise ValueError(f"the follower knows its values of {arrays['liked'].shape} actions, not of {sizes}")
    for agent, done in description.actions.items():
        if done.bounds is not None and not _are_bounds(done.bounds, done.size):
            raise ValueError(f"{agent} has {done.size} continuous actions, and the bounds {done.bounds}")
    for agent, network in description.networks.items():
        own = [array for name, array in arrays.items() if name.startswith(f"{agent}/")]
        if description.actions[agent].size > sum(array.size for array in own):
            raise ValueError(f"{agent} has {description.actions[agent].size} actions and smaller networks")
        if network.num_layers + len(network.convolutions) > len(own):
            raise ValueError(f"{agent} has {network.num_layers} layers and {len(own)} arrays")
        kernels = max((max(array.shape[2:]) for array in own if array.ndim == 4), default=0)
        if any(not 0 <= rows <= kernels for convolution in network.convolutions for rows in convolution.padding):
            raise ValueError(f"a convolution of {agent} pads more than its kernel has")


def _are_bounds(bounds: tuple[list[float], list[float]], size: int) -> bool:
    low, high = (np.asarray(one, np.float64) for one in bounds)
    largest = float(np.finfo(np.float32).max)
    return low.shape == high.shape == (size,) and bool(((-largest <= low) & (low < high) & (high <= largest)).all())


def _said(name: str) -> str:
    return "the state" if name == STATE else f"the observation of {name}"


class AgentPolicy:
    """One agent's part of a policy. It works out by itself what the others will do, and plays its answer to that."""

    def __init__(self, policy: StackelbergPolicy, name: str) -> None:
        self.policy = policy
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} of {self.policy!r}>"

    def act(
        self,
        state: ArrayLike | None = None,
        *,
        observation: ArrayLike | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
        announced: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
    ) -> Action:
        """Plays the agent's own action, the one `StackelbergPolicy.act` gives it; drawn ones with the same `rng`.

        Args:
            state: state shape, or (n, *state shape). All agents must be given the same.
            observation: observation shape, or (n, *observation shape), instead of the state: by the agent's
                approximator, or in algorithms whose agents always act on their own.
            masks: as for `StackelbergPolicy.act`: everybody's, for what others may do decides what they will do.
            announced: agent -> the action it has taken, as the game takes it, of all agents of the levels above, where
                these are announced (`information: own`, or a mixed commitment with `announced: true`); one per row.
            rng: draws the actions of a leader that committed to probabilities; others need none.

        Returns:
            As `StackelbergPolicy.act` returns of each agent.

        Raises:
            ValueError: as `StackelbergPolicy.act`.
        """
        observations = None if observation is None else {self.name: observation}
        policy = self.policy._for(observations)
        above = policy.description.above(self.name)
        if set(announced or {}) != set(above):
            expected = f"those of {', '.join(above)} are announced to it" if above else "none are announced to it"
            raise ValueError(f"announced gives {self.name} the actions of {sorted(announced or {})}, but {expected}.")
        inputs = policy._inputs(state, observations, [self.name])
        return policy._played(inputs, masks, announced, rng, self.name)[self.name]
