"""Regrets in any game: what an agent that learns to deviate gains against the play that was trained.

From the bottom of the hierarchy up each agent learns anew, alone: the agents above it commit to some first action,
those below answer by what they have just learned themselves, everybody else plays as trained. What that gains over the
agent's trained play, from the same starts, is its regret.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.evaluation.trained import Trained
from rllib_biac.learning.actions import ActionCoder, action_size
from rllib_biac.learning.games import StateReader, make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.settings import piecewise
from rllib_biac.learning.team import TeamSpec, Tensors, as_tensors
from rllib_biac.learning.transitions import join, joint_state

STARTS = 100
"""Games played for each estimate."""

COMMITMENTS = 64
"""At most this many first actions of the levels above are tried: all there are, or a sample of them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `STARTS` starts, in the game's own units of reward, and its standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, gains: np.ndarray) -> Estimate:
        """Estimates a regret from gains (starts,). It is at least 0, for one need not deviate."""
        return cls(max(float(gains.mean()), 0.0), float(gains.std(ddof=1) / np.sqrt(len(gains))))


@dataclass(frozen=True, slots=True)
class LearnedRegret:
    """What an agent gains by a deviation that it learned, in discounted return.

    The true regret is at least that, in expectation: another deviation may gain more. Where agents answer from below
    it is so as far as they have learned their best responses.

    Attributes:
        responds: whether there are agents above it.
        played: while the agents above play as trained.
        worst: while they commit to the first actions against which the agent plays worst, found on starts of its own;
            of an agent of the top level the same as `played`.
    """

    responds: bool
    played: Estimate
    worst: Estimate


def learned_regret(
    trained: Trained,
    steps: int,
    *,
    seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, LearnedRegret]:
    """Measures trained play by best responses that are learned against it.

    The agents at the bottom deviate in all their actions, those with others below them in their first one, after which
    they play as trained. Of peers, who share their one level, each counts as the leader of the next.

    Args:
        trained: the team, whose gamma discounts, and its game.
        steps: env steps in which each agent learns to deviate.
        seed: of everything random.
        progress: called while they learn with the env steps done and those in all.

    Returns:
        agent -> its regret, top level first.
    """
    levels = trained.team.hierarchy.levels
    if len(levels) == 1:
        levels = tuple((agent,) for agent in levels[0])
    agents = trained.team.agents
    seeds = np.random.default_rng(seed)
    deviators: dict[str, Deviator] = {}
    found: dict[str, LearnedRegret] = {}
    for k, level in reversed(list(enumerate(levels))):
        below, above = dict(deviators), [agent for upper in levels[:k] for agent in upper]
        for agent in level:
            learning, trying, measuring = seeds.integers(2**31, size=3).tolist()
            play = TrainedPlay(trained, trained.num_games, learning)
            deviator = deviators[agent] = Deviator(agent, above, play, steps, always=not below)
            for taken in deviator.learn(below):
                if progress:
                    progress(len(found) * steps + min(taken, steps), len(agents) * steps)
            commitments = _commitments(play, above)
            tried = [_gains(trained, deviator, below, own, trying).mean() for own in commitments]
            measured = {
                at: Estimate.of(_gains(trained, deviator, below, commitments[at], measuring))
                for at in {0, int(np.argmax(tried))}
            }
            found[agent] = LearnedRegret(bool(above), measured[0], measured[int(np.argmax(tried))])
    return {agent: found[agent] for agent in agents}


def _gains(
    trained: Trained,
    deviator: Deviator,
    below: dict[str, Deviator],
    commitment: Tensors,
    seed: int,
) -> np.ndarray:
    """Returns what a deviation adds to the agent's discounted return from each start, (STARTS,)."""
    # Made of the same seed, both have the same starts.
    before, deviating = (
        TrainedPlay(trained, STARTS, seed).play_once(playing, commitment).returns[deviator.agent]
        for playing in (below, {deviator.agent: deviator} | below)
    )
    return deviating - before


def _commitments(play: TrainedPlay, above: list[str]) -> list[Tensors]:
    """Returns what the agents above may commit to, agent -> its action in all `STARTS` games; first, to nothing."""
    spaces = [play.games.action_spaces[agent] for agent in above]
    if not above:
        return [{}]
    if all(isinstance(space, gym.spaces.Discrete) for space in spaces):
        every = itertools.product(*(range(action_size(space)) for space in spaces))
        joint = list(itertools.islice(every, COMMITMENTS + 1))
        if len(joint) <= COMMITMENTS:
            everywhere = [[torch.full((STARTS,), action) for action in actions] for actions in joint]
            return [{}, *(dict(zip(above, actions, strict=True)) for actions in everywhere)]
    drawn = [draw_actions(space, COMMITMENTS, play.rng) for space in spaces]
    return [
        {},
        *(
            {agent: own[k].expand(STARTS, *own.shape[1:]) for agent, own in zip(above, drawn, strict=True)}
            for k in range(COMMITMENTS)
        ),
    ]


def draw_actions(space: gym.Space, count: int, rng: np.random.Generator) -> torch.Tensor:
    """Draws actions uniformly: (count,) int64, or (count, *action shape) float32 of continuous ones."""
    if isinstance(space, gym.spaces.Discrete):
        return torch.from_numpy(rng.integers(int(space.n), size=count))
    assert isinstance(space, gym.spaces.Box)
    drawn = rng.uniform(space.low, space.high, (count, *space.shape)).astype(space.dtype)
    return torch.from_numpy(np.clip(drawn, space.low, space.high))


@dataclass(frozen=True, slots=True)
class Episodes:
    """One episode of each of N games.

    Attributes:
        returns: agent -> (N,) discounted returns.
        opening: the first decision.
        steps: env steps taken.
    """

    returns: dict[str, np.ndarray]
    opening: Decision
    steps: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One joint action in each of N games.

    Attributes:
        actions: agent -> (N, *action shape).
        seen: deviator -> (N, size), what it decided by.
        masks: agent -> (N, |A_i|) bool, allowed actions; None where all are.
    """

    actions: dict[str, torch.Tensor]
    seen: dict[str, torch.Tensor]
    masks: dict[str, np.ndarray] | None


class TrainedPlay:
    """N games as the trained agents play them, except for those who deviate or are made to commit.

    Args:
        trained: the team and its game.
        num_games: N.
        seed: of the games' chance, and of all that is drawn beside.
    """

    def __init__(self, trained: Trained, num_games: int, seed: int) -> None:
        self.settings = trained.team.settings
        self.rng = np.random.default_rng([seed, 1])
        self.games = make_games(
            trained.env, num_games, np.random.default_rng([seed, 0]), trained.env_config, trained.team.spec.look
        )
        self.state = StateReader(self.games, self.settings.state)
        self.coders = {agent: ActionCoder(space) for agent, space in self.games.action_spaces.items()}
        self.agents = trained.team.agents
        self._team = trained.team
        self._drawn = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def decide(
        self, deviators: Mapping[str, Deviator], first: np.ndarray, commitment: Tensors | None = None
    ) -> Decision:
        """Returns what everybody does now.

        Args:
            deviators: those who do not play as trained.
            first: (N,) bool, games where a commitment holds and those deviate who do so in their first action only.
            commitment: agent -> (N, *action shape), kept to where it is allowed.
        """
        state, masks = self.state(), self.games.action_masks()
        observations = as_tensors(self.games.observe())
        at_first = torch.from_numpy(first)

        def trained(given: Tensors | None = None) -> dict[str, torch.Tensor]:
            return self._team.act(
                torch.from_numpy(state),
                observations=observations,
                masks=as_tensors(masks),
                generator=self._drawn,
                given=given,
            )

        actions = trained()
        if commitment and first.any():
            rows = np.arange(len(first))
            given = {}
            for agent, own in commitment.items():
                allowed = first if masks is None else first & masks[agent][rows, own.numpy()]
                given[agent] = _where(torch.from_numpy(allowed), own, actions[agent])
            actions = trained(given)
        flat = torch.from_numpy(joint_state({"state": state}, ["state"]))  # (N, state size)
        seen = {}
        for agent in self.agents:  # those below see what those above do
            if (deviator := deviators.get(agent)) is not None:
                beside = (self.coders[above].encode(actions[above]) for above in deviator.above)
                seen[agent] = torch.cat([flat, *beside], dim=1)
                answer = deviator.act(seen[agent], masks)
                actions[agent] = answer if deviator.always else _where(at_first, answer, actions[agent])
        return Decision(actions, seen, masks)

    def step(self, decision: Decision) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Plays a decision; returns rewards, agent -> (N,), and which games are terminated and truncated, (N,) bool."""
        step = self.games.step({agent: action.numpy() for agent, action in decision.actions.items()})
        return step.rewards, step.terminated, step.truncated

    def play_once(self, deviators: Mapping[str, Deviator], commitment: Tensors | None = None) -> Episodes:
        """Plays one episode of every game; arguments as for `decide`."""
        self.games.reset()
        going = np.ones(self.games.num_games, bool)
        opening = decision = self.decide(deviators, going, commitment)
        returns = {agent: np.zeros(len(going)) for agent in self.agents}
        discount, steps, later = 1.0, 0, np.zeros_like(going)
        while True:
            rewards, terminated, truncated = self.step(decision)
            steps += len(going)
            for agent, own in returns.items():
                own += discount * np.where(going, rewards[agent], 0.0)
            going = going & ~(terminated | truncated)
            # Undecided after so long, an episode is cut: greedy play may go in circles for ever.
            if not going.any() or steps >= self.settings.max_episode_steps * len(going):
                return Episodes(returns, opening, steps)
            if (over := terminated | truncated).any():
                self.games.reset(over)
            decision = self.decide(deviators, later)
            discount *= self.settings.gamma


def _where(condition: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.where(condition.view(-1, *[1] * (one.ndim - 1)), one, other)


class Deviator:
    """One agent that learns anew how to play, the others as they are: Bi-AC for a hierarchy of one.

    Args:
        agent: its name.
        above: agents whose actions it sees before it acts.
        play: the games it learns in.
        steps: env steps to learn in.
        always: whether all its actions are its own, not only the first.
    """

    def __init__(self, agent: str, above: list[str], play: TrainedPlay, steps: int, *, always: bool) -> None:
        self.agent, self.above, self.always = agent, above, always
        self._play, self._steps = play, steps
        space = play.games.action_spaces[agent]
        smooth = any(isinstance(play.games.action_spaces[name], gym.spaces.Box) for name in (agent, *above))
        settings = BiACSettings(
            gamma=play.settings.gamma,
            train_batch_size_per_learner=64,
            training_intensity=16.0,
            averaging=0.0,
            lr=[[0, 1e-3], [steps // 2, 1e-3], [max(steps, 2), 1e-4]],
            normalize_observations=play.settings.normalize_observations,
            epsilon=[[0, 1.0], [max(steps // 2, 1), 0.1]],
            model_config=MODEL_DEFAULTS | {"fcnet_activation": "tanh" if smooth else "relu"},
        )
        seed = int(play.rng.integers(2**31))
        size = int(np.prod(play.state.space.shape or ())) + sum(play.coders[name].size for name in above)
        seen = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        spec = TeamSpec(Hierarchy([[agent]]), (agent,), {agent: seen}, {agent: space}, seen, False, settings)
        self._settings, self._team = settings, BiAC.build_team(spec, seed=seed)
        self._trainer = BiAC.build_trainer(self._team, seed=seed)
        self._buffer = JointReplayBuffer(max(steps, 64), seed=seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._taken, self._rows_to_train = 0, 0.0
        self._epsilon = 0.0

    def act(self, seen: torch.Tensor, masks: Mapping[str, np.ndarray] | None) -> torch.Tensor:
        """Returns its actions, (N, *action shape), by what it sees, (N, size); random ones only while it learns."""
        own = None if masks is None else {self.agent: torch.from_numpy(masks[self.agent])}
        return self._team.act(seen, masks=own, epsilon=self._epsilon, generator=self._generator)[self.agent]

    def learn(self, below: Mapping[str, Deviator]) -> Iterator[int]:
        """Learns against the trained play, those `below` answering; yields the env steps taken so far."""
        deviators = {self.agent: self} | dict(below)
        yield from (self._learn_throughout if self.always else self._learn_opening)(deviators)
        self._epsilon = 0.0

    def _learn_throughout(self, deviators: Mapping[str, Deviator]) -> Iterator[int]:
        play, agent = self._play, self.agent
        count, later = play.games.num_games, np.zeros(play.games.num_games, bool)
        play.games.reset()
        self._explore()
        decision = self._begin(deviators, np.ones(count, bool))
        while self._taken < self._steps:
            self._explore()
            rewards, terminated, truncated = play.step(decision)
            following = play.decide(deviators, later)
            self._train(decision, rewards[agent], terminated, truncated, following, count)
            yield self._taken
            if (over := terminated | truncated).any():
                play.games.reset(over)
                following = self._begin(deviators, over)
            decision = following

    def _learn_opening(self, deviators: Mapping[str, Deviator]) -> Iterator[int]:
        # What is done later is not its own: the first action is paid the whole return.
        over = np.ones(self._play.games.num_games, bool)
        while self._taken < self._steps:
            self._explore()
            committed = self._play.rng.random() < 0.5
            episodes = self._play.play_once(deviators, self._commitment(len(over)) if committed else None)
            opening = episodes.opening
            self._train(opening, episodes.returns[self.agent], over, ~over, opening, episodes.steps)
            yield self._taken

    def _begin(self, deviators: Mapping[str, Deviator], first: np.ndarray) -> Decision:
        half = self._play.rng.random(len(first)) < 0.5  # elsewhere those above play as trained
        return self._play.decide(deviators, first & half, self._commitment(len(first)))

    def _explore(self) -> None:
        self._epsilon = piecewise(self._settings.epsilon, self._taken)

    def _commitment(self, count: int) -> Tensors:
        spaces = self._play.games.action_spaces
        return {agent: draw_actions(spaces[agent], count, self._play.rng) for agent in self.above}

    def _train(
        self,
        decision: Decision,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        following: Decision,
        steps: int,
    ) -> None:
        agent, masked = self.agent, decision.masks is not None and following.masks is not None
        self._buffer.add(
            join(
                [agent],
                states=decision.seen[agent].numpy(),
                next_states=following.seen[agent].numpy(),
                actions={agent: decision.actions[agent].numpy()},
                rewards={agent: rewards},
                terminated=terminated,
                truncated=truncated,
                action_masks=decision.masks if masked else None,
                next_action_masks=following.masks if masked else None,
            )
        )
        self._taken += steps
        size = self._settings.train_batch_size_per_learner
        self._rows_to_train += steps * (self._settings.training_intensity or size)
        if updates := int(self._rows_to_train // size):
            self._rows_to_train -= updates * size
            rows = self._buffer.sample(updates * size).columns
            self._trainer.train(rows, minibatch_size=size, env_steps=self._taken, report=False)
