"""Tiny games that carry their exact answers, or break one rule, for the tests of all rooms."""

import zlib

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_biac.envs.apart import SEEDS
from rllib_biac.envs.look import LOOK_SEED


class Probe(ParallelEnv):
    """Two players, two actions each; one number to see. Subclasses say what it is and what is paid."""

    metadata = {"name": "probe_v0"}  # noqa: RUF012  (PettingZoo's own way)
    observation = spaces.Box(-10.0, 10.0, (2,), np.float32)
    num_actions = (2, 2)

    def __init__(self):
        self.possible_agents = ["one", "two"]
        self.agents = []
        self.state_space = self.observation
        self.time = 0

    def observation_space(self, agent):
        return self.observation

    def action_space(self, agent):
        return spaces.Discrete(self.num_actions[self.possible_agents.index(agent)])

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.time = 0
        self.start()
        return self.observe(), self.infos()

    def start(self):
        self.at = 0

    def state(self):
        return np.array([self.at == 0, self.at == 1], np.float32)

    def observe(self):
        return {agent: self.state() for agent in self.possible_agents}

    def infos(self):
        return {agent: {} for agent in self.possible_agents}

    def pay(self, one, two):
        """Returns both rewards and whether the game is terminated, truncated: here one step that pays nothing."""
        return (0.0, 0.0), True, False

    def step(self, actions):
        self.time += 1
        rewards, terminated, truncated = self.pay(actions["one"], actions.get("two"))
        if terminated or truncated:
            self.agents = []
        both = self.possible_agents
        return (
            self.observe(),
            dict.fromkeys(both, 0.0) | dict(zip(both, rewards, strict=False)),  # a third one earns nothing
            dict.fromkeys(both, terminated),
            dict.fromkeys(both, truncated),
            self.infos(),
        )


class TwoStates(Probe):
    """State 0 leads to state 1, which ends the game. The SE is a_1 = a_2 = 1 in both; state 1 is then worth 4.5, 3."""

    def pay(self, one, two):
        if self.at == 0:
            self.at = 1
            return (1.0 + one, float(one == two)), False, False
        return (2.0 + 2 * two + 0.5 * one, 4.0 - 2 * one + two), True, False


class Endless(Probe):
    """Pays 1 in a state that never changes; the episode is cut after 3 steps: Q = 1 / (1 - gamma)."""

    def pay(self, one, two):
        return (1.0, 1.0), False, self.time == 3


class EndsByRule(Probe):
    """The same, but after each step the game is over: Q = 1."""

    def pay(self, one, two):
        return (1.0, 1.0), True, False


class StateDecides(Probe):
    """The follower is paid for a_2 = a_1 in state 0 and a_2 != a_1 in state 1; the leader for a_2 = 1."""

    def start(self):
        self.at = int(self.rng.integers(2))

    def pay(self, one, two):
        return (float(two == 1), float((one == two) == (self.at == 0))), True, False


class RareReward(Probe):
    """Pays 1 only for one joint action, which is met late: all targets are 0 at first."""

    num_actions = (8, 8)

    def pay(self, one, two):
        return (float(one == two == 7),) * 2, True, False


class Masked(Probe):
    """A 3 x 3 game of 3 steps; of three actions one is forbidden to each player, another one at each step."""

    num_actions = (3, 3)

    def infos(self):
        masks = [np.arange(3) != (self.time + shift) % 3 for shift in (0, 1)]
        return {agent: {"action_mask": mask} for agent, mask in zip(self.possible_agents, masks, strict=True)}

    def state(self):
        return np.array([self.time, 1.0], np.float32)

    def pay(self, one, two):
        if one == (self.time - 1) % 3 or two == self.time % 3:
            raise AssertionError(f"forbidden action {one}, {two} at step {self.time}")
        # What is forbidden would pay best.
        return (float(one), float(two)), self.time == 3, False


class Pictures(Probe):
    """A one-step game whose state is an image."""

    observation = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def start(self):
        self.at = int(self.rng.integers(2))

    def state(self):
        return np.full((8, 8, 3), 255 * self.at, np.uint8)

    def pay(self, one, two):
        return (float(one == self.at), float(two == one)), True, False


def is_look(seed):
    """Tells whether a reset with this seed begins the look at a game before training, or the comparison of copies."""
    return any(seed == np.random.default_rng(begin).integers(2**31, size=1)[0] for begin in (LOOK_SEED, *SEEDS))


class Broken(Probe):
    """Goes wrong at step 3 of an episode, as `fault` says, but not while it is looked at before training."""

    def __init__(self, fault):
        super().__init__()
        self.fault, self.looked_at = fault, False

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.looked_at = is_look(seed)
        return super().reset(seed)

    def goes_wrong(self):
        return self.time == 3 and not self.looked_at

    def observe(self):
        observations = super().observe()
        if self.goes_wrong() and self.fault == "observation":
            observations["two"] = np.array([np.nan, 0.0], np.float32)
        if self.goes_wrong() and self.fault == "vanish":
            del observations["two"]
        return observations

    def pay(self, one, two):
        if self.goes_wrong() and self.fault == "raise":
            raise ZeroDivisionError("what a game may do")
        return (1.0, np.inf if self.goes_wrong() and self.fault == "reward" else 0.0), self.time == 5, False


class OnePlayer(Probe):
    """A game of one."""

    def __init__(self):
        super().__init__()
        self.possible_agents = ["one"]


class ThreePlayers(Probe):
    """A game of three."""

    num_actions = (2, 2, 2)

    def __init__(self):
        super().__init__()
        self.possible_agents = ["one", "two", "three"]


class Continuous(Probe):
    """Actions that are no numbered list."""

    def action_space(self, agent):
        return spaces.Box(-1.0, 1.0, (1,), np.float32)


class Unbounded(Probe):
    """Actions that may be any number."""

    def action_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (1,), np.float32)


class Stateless(Probe):
    """A game without a state."""

    def __init__(self):
        super().__init__()
        del self.state_space

    def state(self):
        raise NotImplementedError

    def observe(self):
        return {agent: np.array([self.at == 0, 1.0], np.float32) for agent in self.possible_agents}

    def pay(self, one, two):
        return (1.0, 0.0), True, False


# An update per step, as many as there are, each of few rows.
SHORT = {
    "num_steps_sampled_before_learning_starts": 50,
    "train_batch_size_per_learner": 64,
    "training_intensity": None,
}


def config(env="escape_v0", hierarchy=None, **training):
    """A small, fast BiACConfig. Training settings may be given."""
    from rllib_biac import BiACConfig

    players = ["player_0", "player_1"] if isinstance(env, str) and ":" not in env else ["one", "two"]
    return (
        BiACConfig()
        .environment(env)
        .hierarchy(hierarchy or [[players[0]], [players[1]]])
        .training(**SHORT | training)
        .env_runners(num_envs_per_env_runner=10)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=0, log_level="ERROR")
    )


def stock(configured):
    """The same config on RLlib's own runner."""
    return configured.env_runners(env_runner_cls="stock")


def sampler_of(env, hierarchy=None, *, num_games=10, env_config=None, algorithm=None, seed=0, window=100, **settings):
    """A sampler whose team, Bi-AC's by default, has small random networks; nothing of Ray is needed for it."""
    import torch

    from rllib_biac.algorithms.biac import BiAC
    from rllib_biac.learning.games import make_games
    from rllib_biac.learning.hierarchy import Hierarchy
    from rllib_biac.learning.model_config import MODEL_DEFAULTS
    from rllib_biac.learning.sampler import Sampler

    algorithm = algorithm or BiAC
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    games = make_games(env, num_games, rng, env_config or {})
    one, two, *_ = games.possible_agents
    model = MODEL_DEFAULTS | {"fcnet_hiddens": [32, 32]} | settings.pop("model_config", {})
    sampler = Sampler(games, algorithm.settings(**settings, model_config=model), generator, window)
    sampler.rng, sampler.generator = rng, generator
    spec = sampler.state.team_spec(Hierarchy(hierarchy or [[one], [two]]), sampler.settings)
    sampler.team = algorithm.build_team(spec)
    return sampler


def scripted(self, state, *, masks=None, **kwargs):
    """Stands in for a team's `act`: actions that look random but follow from the state alone, allowed ones only."""
    import torch

    actions = {}
    sizes = self[self.agents[0]].num_actions
    for k, (agent, size) in enumerate(zip(self.agents, sizes, strict=True)):
        drawn = []
        for i, row in enumerate(state.numpy().astype(np.float32)):
            allowed = np.flatnonzero(masks[agent][i].numpy()) if masks else np.arange(size)
            drawn.append(allowed[zlib.crc32(row.tobytes() + bytes([k])) % len(allowed)])
        actions[agent] = torch.tensor(drawn)
    return actions


def learner_of(algo):
    """The local learner."""
    return algo.learner_group._learner


def q_tables(algo, state):
    """Q_i(s, ., .) of both agents in raw units, agent -> (|A_1|, |A_2|)."""
    import torch

    x = torch.as_tensor(np.asarray(state))[None]
    with torch.no_grad():
        tables = learner_of(algo).module.team.q_tables(x)
    return {agent: table[0].numpy() for agent, table in tables.items()}


def greedy(algo, states, masks=None):
    """Greedy play, agent -> (batch,)."""
    import torch

    states = torch.as_tensor(np.asarray(states))
    with torch.no_grad():
        played = learner_of(algo).module.team.act(states, masks=masks)
    return {agent: actions.numpy() for agent, actions in played.items()}


class Apart(Probe):
    """Each player sees its own secret bit, in an observation of its own shape, and is paid for playing it.

    The state holds both bits, and a number that nobody sees. `scale` and `shift` set the unit of reward.
    """

    state_space_of_three = spaces.Box(-10.0, 10.0, (3,), np.float32)

    def __init__(self, scale=1.0, shift=0.0):
        super().__init__()
        self.scale, self.unit_shift = scale, shift
        self.state_space = self.state_space_of_three
        self.seen = {
            "one": spaces.Box(-1.0, 1.0, (1,), np.float32),
            "two": spaces.Box(-1.0, 1.0, (4,), np.float32),
        }

    def observation_space(self, agent):
        return self.seen[agent]

    def start(self):
        self.bits = self.rng.integers(2, size=2)

    def state(self):
        return np.array([*self.bits, 5.0 + self.bits[0]], np.float32)

    def observe(self):
        one, two = self.bits.astype(np.float32)
        return {"one": np.array([one], np.float32), "two": np.array([0.5, two, -0.5, 1.0 - two], np.float32)}

    def pay(self, one, two):
        rewards = (float(one == self.bits[0]), float(two == self.bits[1]))
        return tuple(self.scale * (reward + self.unit_shift) for reward in rewards), True, False


class EndsWithoutChoice(Masked):
    """`Masked`, but once the game is over no action is allowed, as in many games of PettingZoo."""

    def infos(self):
        if self.time == 3:
            return {agent: {"action_mask": np.zeros(3, bool)} for agent in self.possible_agents}
        return super().infos()


class Kinds(Probe):
    """One player has a choice of two, the other a vector: paid 1 less what each is off, a_1 = 1 and a_2 = (0.1, 2)."""

    def __init__(self, second=None):
        super().__init__()
        low, high = np.array([-0.5, 0.0], np.float32), np.array([0.1, 3.0], np.float32)
        self.second = second or spaces.Box(low, high)

    def action_space(self, agent):
        return spaces.Discrete(2) if agent == "one" else self.second

    def pay(self, one, two):
        assert self.second.contains(two), f"{two!r} is outside of {self.second}"
        off = (1.0 - one) ** 2 + float(np.square(np.asarray(two, np.float64).ravel()[-1] - 2.0))
        return (1.0 - off,) * 2, True, False


class Navigation(Probe):
    """Each of two goes to a place of its own, which nobody else sees, within 2 steps; both are paid for both.

    Common reward of a step: 1 - (distance of one)² - (distance of two)² after it. Player one moves by at most 0.5,
    player two by at most 0.5 down and 1 up. The best, at any discount, is to come as near as one may in each step.
    """

    reach = ((-0.5, 0.5), (-0.5, 1.0))

    def action_space(self, agent):
        low, high = self.reach[self.possible_agents.index(agent)]
        return spaces.Box(low, high, (1,), np.float32)

    def start(self):
        self.off = self.rng.uniform(-1.0, 1.0, 2)

    def state(self):
        return self.off.astype(np.float32)

    def observe(self):
        return {"one": np.array([self.off[0], 0.0], np.float32), "two": np.array([self.off[1], 1.0], np.float32)}

    def pay(self, one, two):
        self.off = self.off - [one[0], two[0]]
        return (1.0 - float(np.square(self.off).sum()),) * 2, self.time == 2, False

    @classmethod
    def play(cls, off, policy=None):
        """Returns the mean return from starts (n, 2) of a policy, (n, 2) -> moves (n, 2); of the optimum by default."""
        low, high = np.transpose(cls.reach)
        total = 0.0
        for _ in range(2):
            off = off - (np.clip(off, low, high) if policy is None else policy(off))
            total += (1.0 - np.square(off).sum(1)).mean()
        return total
