"""N games played at once as arrays: from games and a team to joint transitions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.envs.errors import check_finite
from rllib_biac.learning.actions import Epsilon
from rllib_biac.learning.episodes import FinishedEpisodes
from rllib_biac.learning.games import StateReader, game_errors
from rllib_biac.learning.networks import threads_for
from rllib_biac.learning.settings import Schedule, Settings, piecewise
from rllib_biac.learning.team import Team, as_tensors
from rllib_biac.learning.transitions import JointTransitions, join

logger = logging.getLogger(__name__)


class Exploration:
    """Epsilon by its schedule, whose clock stands still while there is nothing to learn from.

    As long as every reward has been the same and no game has come to an end of its own, no action is better than
    another: the clock stops after a tenth of the schedule. So a game that pays at its end alone is explored until that
    end is met.

    Attributes:
        waited: env steps after which there was something to learn; None as long as there is not.
    """

    def __init__(self) -> None:
        self.waited: int | None = None
        self._rewards: dict[str, float] = {}  # the first of each agent

    def epsilon(self, schedule: Schedule, env_steps: int) -> float:
        """Returns the probability of a random action.

        Args:
            schedule: of it, over env steps.
            env_steps: so far.
        """
        patience = 0.1 * schedule[-1][0] if isinstance(schedule, list) else 0.0
        stood = (env_steps if self.waited is None else self.waited) - patience
        return piecewise(schedule, env_steps - max(stood, 0.0))

    def see(self, env_steps: int, rewards: Mapping[str, np.ndarray], terminated: np.ndarray) -> None:
        """Looks at what a step brought.

        Args:
            env_steps: before it.
            rewards: agent -> (N,).
            terminated: (N,) bool, whether a game came to an end of its own.
        """
        if self.waited is not None:
            return
        for agent, own in rewards.items():
            if len(own) and (own != self._rewards.setdefault(agent, float(own[0]))).any():
                self.waited = env_steps
        if np.any(terminated):
            self.waited = env_steps

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs."""
        return {"waited": self.waited, "rewards": dict(self._rewards)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `get_state` returned."""
        self.waited, self._rewards = state["waited"], dict(state["rewards"])


class Sampler:
    """Plays N games at once. The team walks the hierarchy once per step for all of them.

    Args:
        games: N of them.
        settings: the algorithm's: what is seen, how it is explored.
        generator: draws exploration, on the team's device.
        window: episodes over which metrics are smoothed.

    Attributes:
        team: who plays; to be set before the first step.
        state: reads the games' states.
        env_steps: taken so far by all samplers together, by which epsilon goes; its owner may set it.
        share: how many steps all samplers take while this one takes one.
        exploration: says how much is played at random.
        epsilon: of the latest step, by its schedule.
        finished: the last episodes.
        steps, episodes: since their owner set them to 0.
    """

    team: Team

    def __init__(self, games: BatchedGame, settings: Settings, generator: torch.Generator, window: int) -> None:
        self.games, self.settings = games, settings
        self.num_games = games.num_games
        self.state = StateReader(games, settings.state)
        self._generator, self._device = generator, generator.device
        self._num_on_observations = settings.num_games_on_observations(self.num_games)
        self._window = window
        self.finished = FinishedEpisodes(window, games.possible_agents)
        self.exploration = Exploration()
        self._spread: torch.Tensor | None = None  # the exponents of epsilon, (N,)
        if settings.spreads_epsilon and self.num_games > 1:
            self._spread = torch.arange(1, self.num_games + 1, device=self._device) / self.num_games
        self._explored: bool | None = None
        self._needs_reset = True
        self._told_of_cut = False
        self.env_steps, self.share, self.epsilon = 0, 1, 0.0
        self.steps = self.episodes = 0

    def sample(
        self,
        num_steps: int,
        *,
        num_episodes: int | None = None,
        explore: bool = True,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> JointTransitions:
        """Plays on and returns what happened.

        Args:
            num_steps: env steps to take, rounded up to a multiple of the number of games.
            num_episodes: episodes to finish instead. Each game plays its share of them from a fresh start, so that
                short episodes are not counted more often than long ones.
            explore: whether to follow the epsilon schedule.
            random_actions: whether to act uniformly at random.
            force_reset: whether to restart all games first.

        Returns:
            The joint transitions, step by step, within a step game by game.

        Raises:
            GameError: if a game raises, or returns NaN or infinity. Nothing of the call is then returned, and the
                next one starts all games anew.
        """
        if self._needs_reset or force_reset or num_episodes is not None:
            self._reset()
        # Metrics tell of one way of playing: where one sampler does both, evaluation's episodes stay out of training's.
        if num_episodes is not None or explore != self._explored:
            self.finished = FinishedEpisodes(num_episodes or self._window, self.games.possible_agents)
        self._explored = explore if num_episodes is None else None
        # If something goes wrong on the way, the games are left somewhere in the middle.
        self._needs_reset = True
        with threads_for(self.team.members().values(), self.num_games):
            if num_episodes is None:
                rows = [self._step(explore, random_actions) for _ in range(-(-num_steps // self.num_games))]
            else:
                quota = np.full(self.num_games, num_episodes // self.num_games)
                quota[: num_episodes % self.num_games] += 1
                rows = []
                while quota.any():
                    rows.append(self._step(explore, random_actions, counted=quota > 0, quota=quota))
        self._needs_reset = num_episodes is not None
        agents = self.games.possible_agents
        transitions = JointTransitions.concatenate([join(agents, **row) for row in rows])
        self.steps += len(transitions)
        if explore:
            self.env_steps += len(transitions) * self.share
        return transitions

    def _reset(self) -> None:
        with game_errors("reset()"):
            self.games.reset()
        self._see()
        self._returns = np.zeros((self.num_games, len(self.games.possible_agents)))
        self._lengths = np.zeros(self.num_games, np.int64)
        self._needs_reset = False

    def _see(self) -> None:
        self._states, self._masks = self.state(), self.games.action_masks()
        self._observations = self.games.observe() if self.settings.uses_observations else None

    def _step(
        self, explore: bool, random_actions: bool, counted: np.ndarray | None = None, quota: np.ndarray | None = None
    ) -> dict[str, Any]:
        self.epsilon = 1.0 if random_actions else 0.0
        if explore and not random_actions:
            self.epsilon = self.exploration.epsilon(self.settings.epsilon, self.env_steps)
        actions = self._act()
        with game_errors("step()"):
            step = self.games.step(actions)
        before = {"states": self._states, "action_masks": self._masks, "observations": self._observations}
        if self.settings.uses_starts:
            before["starts"] = self._lengths == 0
        if step.ended is not None:
            before["ended"] = step.ended
        if step.cut is not None:
            before["cut"] = step.cut
        self._see()
        self._lengths += 1
        check_finite("reward", step.rewards, self._lengths)
        self._check_states()
        if explore:
            self.exploration.see(self.env_steps, step.rewards, step.terminated)
        row = before | {
            "next_states": self._states,
            "actions": actions,
            "rewards": step.rewards,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "next_action_masks": self._masks,
            "next_observations": self._observations,
        }
        for i, agent in enumerate(self.games.possible_agents):
            self._returns[:, i] += step.rewards[agent]
        done = step.terminated | step.truncated
        if quota is not None:
            done = done | self._cut()
        if done.any():
            over = done if counted is None else done & counted
            self.finished.add(self._returns[over], self._lengths[over], step.outcome[over])
            self.episodes += int(over.sum())
            if quota is not None:
                quota -= over
            self._returns[done] = 0.0
            self._lengths[done] = 0
            with game_errors("reset()"):
                self.games.reset(done)
            self._see()
            self._check_states()
        return row

    def _cut(self) -> np.ndarray:
        """Returns the games whose episode is to end here, (N,) bool: who counts episodes would wait for ever."""
        limit = self.settings.max_episode_steps
        cut = self._lengths >= limit
        if cut.any() and not self._told_of_cut:
            self._told_of_cut = True
            logger.warning(
                "an episode of evaluation did not end within %s steps and was cut there (max_episode_steps); its "
                "returns are of those steps",
                f"{limit:,}",
            )
        return cut

    def _epsilon(self) -> Epsilon:
        """Returns the probability of a random action in each game: from nearly 1 down to the schedule's."""
        # Where all is greedy, or nothing, it is so in all games.
        return self.epsilon if self._spread is None or self.epsilon in (0.0, 1.0) else self.epsilon**self._spread

    @torch.no_grad()
    def _act(self) -> dict[str, np.ndarray]:
        observations = as_tensors(self._observations, self._device)
        masks = as_tensors(self._masks, self._device)
        epsilon = self._epsilon()
        taken = self.team.act(
            torch.from_numpy(self._states).to(self._device),
            observations=observations,
            masks=masks,
            epsilon=epsilon,
            generator=self._generator,
        )
        if self._num_on_observations:
            first = self.num_games - self._num_on_observations
            own = self.team.act_on_observations(
                {agent: seen[first:] for agent, seen in (observations or {}).items()},
                masks={agent: mask[first:] for agent, mask in masks.items()} if masks else None,
                epsilon=epsilon[first:] if isinstance(epsilon, torch.Tensor) else epsilon,
                generator=self._generator,
            )
            taken = {agent: torch.cat([action[:first], own[agent]]) for agent, action in taken.items()}
        return {agent: action.cpu().numpy() for agent, action in taken.items()}

    def _check_states(self) -> None:
        # One pass over the joint state; which agent saw the fault is looked up only if there is one.
        if not np.isfinite(self._states).all():
            check_finite("observation", self.games.observe(), self._lengths)
            check_finite("state", {"of the game": self._states}, self._lengths)
        if self._observations is not None:
            check_finite("observation", self._observations, self._lengths)

    # State.

    @property
    def keeps_games(self) -> bool:
        """Whether a restored sampler's games go on where they stood, rather than start anew."""
        return self.games.get_state() is not None

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs, generators aside: they are their owner's."""
        state: dict[str, Any] = {
            "exploration": self.exploration.get_state(),
            "explored": self._explored,
            "finished": self.finished.get_state(),
            "outcome_names": list(self.games.outcome_names),
            "steps": self.steps,
            "episodes": self.episodes,
            "games": None,
        }
        if not self._needs_reset:
            state |= {"games": self.games.get_state(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` returned.

        Games of another number, or that cannot tell where they stand, start anew.
        """
        self.games.outcome_names += [name for name in state["outcome_names"] if name not in self.games.outcome_names]
        self.exploration.set_state(state["exploration"])
        self._explored = state["explored"]
        # Where a number of episodes was played last, that was their window.
        window = len(state["finished"]["lengths"]) if self._explored is None else self._window
        self.finished = FinishedEpisodes(window, self.games.possible_agents)
        self.finished.set_state(state["finished"])
        self.steps, self.episodes = state["steps"], state["episodes"]
        self._needs_reset = True
        if state["games"] is not None and len(state["lengths"]) == self.num_games:
            self.games.set_state(state["games"])
            self._see()
            self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
            self._needs_reset = False
