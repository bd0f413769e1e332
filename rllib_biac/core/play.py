"""Greedy play of a trained policy, in the game itself, without Ray."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rllib_biac.core import checkpoints
from rllib_biac.core.config import JointConfig
from rllib_biac.core.games import StateReader, is_rllib_env
from rllib_biac.core.rl_module import HierarchyModule, as_tensors
from rllib_biac.core.transitions import joint_state
from rllib_biac.envs import make
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.equilibria import MarkovGame, NashComparison, PlayRegret, compare_with_nash, play_regret

if TYPE_CHECKING:
    from rllib_biac.core.best_response import LearnedRegret

_CONFIG = "class_and_ctor_args.pkl"
_MODULE = Path("learner_group") / "learner" / "rl_module"


@dataclass
class Played:
    """What became of the episodes.

    Attributes:
        returns: agent -> undiscounted return of every episode.
        lengths: steps of every episode.
        outcomes: how often each outcome the game names came about.
        frames: pictures (height, width, 3) uint8 of the play, if asked for.
        frames_per_second: how fast to show them.
        regret: of the play that was learned, exact; None where the game has no tables.
        nash: its payoffs beside those of every pure NE; None where the game has no tables, or too many policies.
        learned_regret: agent -> its regret by a best response that was learned, top level first; if asked for.
    """

    returns: dict[str, list[float]]
    lengths: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    frames: list[np.ndarray] = field(default_factory=list)
    frames_per_second: float = 5.0
    regret: PlayRegret | None = None
    nash: NashComparison | None = None
    learned_regret: dict[str, LearnedRegret] = field(default_factory=dict)


def load(checkpoint: str | Path) -> tuple[JointConfig, HierarchyModule]:
    """Reads the config and the networks of an algorithm's checkpoint.

    A checkpoint is read by pickle: load only what you trust.

    Raises:
        ValueError: if there is no checkpoint, it is damaged, another version's that this one cannot read, or another
            library's algorithm made it.
    """
    folder = Path(checkpoint).absolute()
    made = checkpoints.check(folder)["format"]
    wrong = f"{folder} is damaged"
    if made < checkpoints.FORMAT:
        wrong = f"{folder} was made by an older version (format {made}), or is damaged"
    try:
        with open(folder / _CONFIG, "rb") as file:
            made_by = pickle.load(file)
        (state,), _ = made_by["ctor_args_and_kwargs"]
        config_class = state["class"]
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise ValueError(f"{wrong}: {_CONFIG} cannot be read ({error!r}).") from error
    if not (isinstance(config_class, type) and issubclass(config_class, JointConfig)):
        raise ValueError(f"{folder} was made by {made_by['class'].__name__}, not by an algorithm of rllib_biac.")
    config = config_class.from_state(state)
    try:
        module = HierarchyModule.from_checkpoint(folder / _MODULE)
    except Exception as error:  # whatever a damaged file makes pickle, numpy or torch raise
        raise ValueError(f"{wrong}: its networks cannot be read ({error!r}).") from error
    return config, module


def play(
    checkpoint: str | Path,
    *,
    episodes: int,
    seed: int | None = None,
    render: bool = False,
    on_observations: bool = False,
    best_response: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Played:
    """Plays episodes greedily.

    Args:
        checkpoint: an algorithm's checkpoint folder.
        episodes: at least 1.
        seed: of the game's starts.
        render: whether to collect pictures; a game that draws nothing gives none.
        on_observations: whether each agent acts by its approximator, on its own observation alone.
        best_response: env steps in which each agent learns to deviate, for `learned_regret`; 0: none does.
        progress: called while they learn with the env steps done and those in all.

    Raises:
        ValueError: as `load`; or if agents should act on observations and have no approximators.
    """
    config, module = load(checkpoint)
    settings = dict(config.env_config)
    if is_rllib_env(config.env):
        raise ValueError(f"{config.env.__name__} is an RLlib MultiAgentEnv: play it through Algorithm.evaluate().")
    made: list[Any] = []

    def factory() -> Any:
        if render:
            settings["render_mode"] = "rgb_array"
        game = make(config.env, **settings) if isinstance(config.env, str) else config.env(**settings)
        made.append(game)
        return game

    try:
        games = ParallelEnvBatch(factory, 1, np.random.default_rng(seed))
    except TypeError as error:
        if render:
            raise ValueError(f"the game {config.env} takes no render_mode, so there is nothing to draw.") from error
        raise
    state = StateReader(games, config.state)
    agents = games.possible_agents
    played = Played({agent: [] for agent in agents})
    # What is measured exactly, or learned against, is play that knows the state.
    if not on_observations and (exact := _exact_play(config, module)) is not None:
        played.regret, played.nash = exact.regret(), exact.nash()
    drawn = None if seed is None else torch.Generator().manual_seed(seed)
    played.frames_per_second = getattr(made[0], "metadata", {}).get("render_fps", played.frames_per_second)
    try:
        for _ in range(episodes):
            games.reset()
            returns, length, over = dict.fromkeys(agents, 0.0), 0, False
            _draw(made[0], played, render)
            while not over:
                seen, masks = games.observe(), games.action_masks()
                if on_observations:
                    actions = greedy_on_observations(module, seen, masks)
                else:
                    actions = greedy(module, state(), seen, masks, drawn)
                step = games.step(actions)
                length += 1
                for agent in agents:
                    returns[agent] += float(step.rewards[agent][0])
                _draw(made[0], played, render)
                over = bool(step.terminated[0] | step.truncated[0])
            for agent in agents:
                played.returns[agent].append(returns[agent])
            played.lengths.append(length)
            if step.outcome[0] >= 0:
                played.outcomes[games.outcome_names[step.outcome[0]]] += 1
    finally:
        games.close()
    if best_response:
        from rllib_biac.core.best_response import learned_regret  # it trains, by algorithms that know of this module

        played.learned_regret = learned_regret(config, module, best_response, seed=seed, progress=progress)
    return played


def greedy(
    module: HierarchyModule,
    state: np.ndarray,
    observations: dict[str, np.ndarray] | None = None,
    masks: dict[str, np.ndarray] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Returns the joint action that was learned, without exploration.

    Args:
        module: of a trained algorithm.
        state: (batch, *state shape).
        observations: agent -> (batch, *observation shape); needed by agents that act on nothing else.
        masks: agent -> (batch, |A_i|) bool, allowed actions; None allows all.
        generator: draws the answers of a policy that samples them (`response: sampled`); default: torch's own.

    Returns:
        agent -> (batch,) int64, or (batch, *action shape) float32 of a continuous action.
    """
    with torch.no_grad():
        actions = module.act(
            torch.from_numpy(state),
            observations=as_tensors(observations),
            masks=as_tensors(masks),
            generator=generator,
        )
    return {agent: action.numpy() for agent, action in actions.items()}


def greedy_on_observations(
    module: HierarchyModule, observations: dict[str, np.ndarray], masks: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Returns what every agent's approximator does by the agent's own observation; shapes as for `greedy`.

    Raises:
        ValueError: if no approximators were trained.
    """
    with torch.no_grad():
        actions = module.act_on_observations(as_tensors(observations) or {}, masks=as_tensors(masks))
    return {agent: action.numpy() for agent, action in actions.items()}


def regret(config: JointConfig, module: HierarchyModule) -> PlayRegret | None:
    """Measures what was learned against exact answers, where the game has tables: `tables()`, as matrix games have.

    Args:
        config: of a trained algorithm.
        module: its networks.

    Returns:
        The regrets in the stage games that greedy play makes, discounted by the config's gamma; the first agent of the
        hierarchy leads. None where the game has no tables, or not two agents.
    """
    exact = _exact_play(config, module)
    return None if exact is None else exact.regret()


@dataclass(frozen=True, slots=True)
class _ExactPlay:
    """Greedy play in a game's tables: what the leader does in each state, what the follower answers to what."""

    game: MarkovGame
    leads: np.ndarray  # (|S|,)
    answers: np.ndarray  # (|S|, |A_1|)
    leader: int
    start: np.ndarray | int

    def regret(self) -> PlayRegret:
        return play_regret(self.game, self.leads, self.answers, leader=self.leader)

    def nash(self) -> NashComparison | None:
        try:
            return compare_with_nash(self.game, self.leads, self.answers, leader=self.leader, start=self.start)
        except ValueError:  # too many policies to enumerate
            return None


def _exact_play(config: JointConfig, module: HierarchyModule) -> _ExactPlay | None:
    agents = module.hierarchy.agents
    game: Any = make(config.env, **config.env_config) if isinstance(config.env, str) else None
    if not hasattr(game, "tables") or len(agents) != 2:
        return None
    try:
        rewards, transitions, states = game.tables()
        # In such games every agent sees the state.
        seen = dict.fromkeys(agents, states)
        state = states if config.state == "env" else joint_state(seen, agents)
        with torch.no_grad():
            answers = module.responses(torch.from_numpy(state), as_tensors(seen)).numpy()  # (|S|, |A_1|)
        exact = MarkovGame(rewards, transitions, config.gamma)
    except (ValueError, NotImplementedError):  # no tables that exact answers know of, or no answers one by one
        return None
    leads = greedy(module, state, seen)[agents[0]]
    leader = game.possible_agents.index(agents[0])
    return _ExactPlay(exact, leads, answers, leader, getattr(game, "start_probabilities", 0))


def can_draw(env: Any, settings: dict[str, Any]) -> bool:
    """Tells whether a game can be drawn: whether it is made with `render_mode="rgb_array"`."""
    try:
        game = make(env, **settings, render_mode="rgb_array") if isinstance(env, str) else None
    except (TypeError, ValueError):
        return False
    if game is not None:
        game.close()
    return game is not None


def _draw(game: Any, played: Played, render: bool) -> None:
    if not render:
        return
    # A game that moves between two decisions may give the pictures on the way.
    between = getattr(game, "frames_since_last_step", None)
    frames = between() if between is not None else []
    if not len(frames):
        frame = game.render()
        frames = [] if frame is None else [frame]
    played.frames.extend(np.asarray(frame) for frame in frames)
