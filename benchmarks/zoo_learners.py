"""Who learns in the zoo: every algorithm of the library, without Ray, and two that need no networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from rllib_biac.envs import make_batched
from rllib_biac.envs.zoo import ZooGame
from rllib_biac.envs.zoo.answers import DiscreteAnswer
from rllib_biac.envs.zoo.continuous_answers import ContinuousAnswer
from rllib_biac.envs.zoo.merges import MergeAnswer
from rllib_biac.envs.zoo.scoring import Score, score_continuous, score_discrete, score_merge
from rllib_biac.equilibria.feedback import backup
from rllib_biac.evaluation.greedy import greedy
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.peers import PeersSettings
from rllib_biac.learning.run import Run
from rllib_biac.learning.team import as_tensors
from rllib_biac.learning.transitions import joint_state

KERNEL = {
    "BiAC": "rllib_biac.algorithms.biac:BiAC",
    "BiLevelQ": "rllib_biac.algorithms.bilevel_q:BiLevelQ",
    "CommitmentDQN": "rllib_biac.algorithms.commitment:CommitmentDQN",
    "IDQN": "rllib_biac.algorithms.dqn:IDQN",
    "HystereticDQN": "rllib_biac.algorithms.dqn:HystereticDQN",
    "LenientDQN": "rllib_biac.algorithms.dqn:LenientDQN",
    "MADDPG": "rllib_biac.algorithms.maddpg:MADDPG",
    "MATD3": "rllib_biac.algorithms.maddpg:MATD3",
}
"""Where the library's algorithms are, by the names of `rllib_biac.rllib.registry.ALGORITHMS`."""

COUNTING = "count, then solve"
"""Certainty equivalence: play at random, count, solve the game that was counted."""

_MOST_COUNTED = 200  # states: the counts are a dense table

NUM_GAMES = 25
"""Games at once, RLlib's shell's default."""


class Learner(Protocol):
    """What the benchmark asks of who learns."""

    updates: int

    def train(self, steps: int) -> None:
        """Plays so many env steps and learns."""

    def look(self) -> Score:
        """Scores greedy play."""


def make_learner(name: str, zoo: ZooGame, seed: int, config: Mapping[str, Any]) -> Learner:
    """Returns who learns, by name; `config` changes single settings of an algorithm (`of_budget` reads schedules)."""
    if name == COUNTING:
        return Counting(zoo, seed)
    return Kernel(name, zoo, seed, config)


def of_budget(value: Any, steps: int) -> Any:
    """Returns a setting; `{"budget": [[0, 1e-3], [1, 1e-4]]}` becomes a schedule over the run's steps."""
    if isinstance(value, dict) and set(value) == {"budget"}:
        return [[round(share * steps), level] for share, level in value["budget"]]
    return value


class Kernel:
    """An algorithm of the library at its defaults, but for gamma, which is the game's."""

    def __init__(self, name: str, zoo: ZooGame, seed: int, config: Mapping[str, Any]) -> None:
        from rllib_biac.envs.zoo import FAMILIES

        algorithm = load_object(KERNEL.get(name, name))
        levels = zoo.hierarchy
        if issubclass(algorithm.settings, PeersSettings):  # has no leader
            levels = (tuple(zoo.game.possible_agents),)
        hierarchy = Hierarchy(levels)
        steps = FAMILIES[zoo.family].steps
        changed = {key: of_budget(value, steps) for key, value in config.items()}
        settings = algorithm.settings(**{"gamma": zoo.gamma} | changed)
        settings.check(hierarchy)
        game = {"family": zoo.family, "seed": zoo.seed}
        self.run = Run(algorithm, "zoo_v0", hierarchy, settings, seed=seed, num_games=NUM_GAMES, env_config=game)
        self.zoo = zoo

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.run.trainer.num_updates

    def train(self, steps: int) -> None:
        """Plays so many env steps and learns."""
        self.run.train(steps)

    def look(self) -> Score:
        """Scores greedy play in all states of the game, or in those that its answer names."""
        answer, team = self.zoo.answer, self.run.team
        if isinstance(answer, MergeAnswer):
            return score_merge(answer, self._play)
        played = self._play(answer.states)
        if isinstance(answer, ContinuousAnswer):
            return score_continuous(answer, played)
        leader, follower = (level[0] for level in self.zoo.hierarchy)
        responses = None
        try:
            with torch.no_grad():
                seen = as_tensors(self._seen(answer.states))
                responses = team.responses(torch.from_numpy(self._state(answer.states)), seen).numpy()
        except NotImplementedError:  # it learns no answers one by one
            pass
        return score_discrete(answer, played[leader], played[follower], responses)

    def _play(self, states: np.ndarray) -> dict[str, np.ndarray]:
        drawn = torch.Generator().manual_seed(0)
        return greedy(self.run.team, self._state(states), self._seen(states), generator=drawn)

    def _state(self, states: np.ndarray) -> np.ndarray:
        if self.run.settings.state == "env":
            return states
        return joint_state(self._seen(states), self.zoo.game.possible_agents)

    def _seen(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every agent's observations: in these games everybody sees the state."""
        if isinstance(self.zoo.answer, MergeAnswer):  # its own car first
            return {"main_0": states, "auxiliary_0": np.roll(states, 4, axis=1)}
        return dict.fromkeys(self.zoo.game.possible_agents, states)


class Counting:
    """Plays at random and counts; looks solve the game that was counted by value iteration.

    What was never played is thought to pay nothing and to end the game.
    """

    updates = 0

    def __init__(self, zoo: ZooGame, seed: int) -> None:
        if not isinstance(zoo.answer, DiscreteAnswer) or len(zoo.answer.states) > _MOST_COUNTED:
            raise ValueError(f"{COUNTING} needs a game of at most {_MOST_COUNTED} states.")
        self.zoo = zoo
        self._rng = np.random.default_rng([seed, 1])
        games = {"family": zoo.family, "seed": zoo.seed}
        self._games = make_batched("zoo_v0", NUM_GAMES, np.random.default_rng([seed, 0]), **games)
        self._rows = {state.tobytes(): i for i, state in enumerate(zoo.answer.states)}
        count, first, second = zoo.answer.right.shape[1:]
        self._order = [level[0] for level in zoo.hierarchy]  # the leader first
        self._counted = np.zeros((count, first, second))
        self._paid = np.zeros((2, count, first, second))
        self._followed = np.zeros((count, first, second, count))
        self._values = np.zeros((2, count))
        self._games.reset()
        self._here = self._states()

    def _states(self) -> np.ndarray:
        seen = self._games.state()
        assert seen is not None
        return np.array([self._rows.get(state.tobytes(), -1) for state in seen])

    def train(self, steps: int) -> None:
        """Plays so many env steps at random and counts."""
        sizes = self._counted.shape[1:]
        for _ in range(-(-steps // NUM_GAMES)):
            drawn = [self._rng.integers(size, size=NUM_GAMES) for size in sizes]
            step = self._games.step(dict(zip(self._order, drawn, strict=True)))
            at = (self._here, *drawn)
            np.add.at(self._counted, at, 1)
            for own, agent in zip(self._paid, self._order, strict=True):
                np.add.at(own, at, step.rewards[agent])
            after = self._states()
            goes_on = ~step.terminated
            np.add.at(self._followed, tuple(index[goes_on] for index in (*at, after)), 1)
            if (over := step.terminated | step.truncated).any():
                self._games.reset(over)
                after = self._states()
            self._here = after

    def look(self) -> Score:
        """Solves what was counted, and scores it."""
        known = np.maximum(self._counted, 1)
        rewards, transitions = self._paid / known, self._followed / known[..., None]
        gamma, values = self.zoo.gamma, self._values
        for _ in range(1000):
            before, (values, leads, answers) = values, backup(rewards, transitions, gamma, values)
            if np.abs(values - before).max() <= 1e-6 * max(np.abs(values).max(), 1e-300):
                break
        self._values = values
        follower = rewards[1] + gamma * transitions @ values[1]  # (|S|, |A_l|, |A_f|)
        return score_discrete(self.zoo.answer, leads, answers, follower.argmax(-1))
