"""Tiny games that carry their exact answers, or break one rule, for the tests of core and of the algorithms."""

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


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
        """Returns both rewards and whether the game is terminated, truncated."""
        raise NotImplementedError

    def step(self, actions):
        self.time += 1
        rewards, terminated, truncated = self.pay(actions["one"], actions["two"])
        if terminated or truncated:
            self.agents = []
        both = self.possible_agents
        return (
            self.observe(),
            dict(zip(both, rewards, strict=True)),
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


class Broken(Probe):
    """Goes wrong at step 3 of an episode, as `fault` says."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def observe(self):
        observations = super().observe()
        if self.time == 3 and self.fault == "observation":
            observations["two"] = np.array([np.nan, 0.0], np.float32)
        if self.time == 3 and self.fault == "vanish":
            del observations["two"]
        return observations

    def pay(self, one, two):
        if self.time == 3 and self.fault == "raise":
            raise ZeroDivisionError("what a game may do")
        return (1.0, np.inf if self.time == 3 and self.fault == "reward" else 0.0), self.time == 5, False


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


def config(env="escape_v0", hierarchy=None, **training):
    """A small, fast BiACConfig. Training settings may be given."""
    from rllib_biac import BiACConfig

    players = ["player_0", "player_1"] if isinstance(env, str) and ":" not in env else ["one", "two"]
    return (
        BiACConfig()
        .environment(env)
        .hierarchy(hierarchy or [[players[0]], [players[1]]])
        .training(**{"num_steps_sampled_before_learning_starts": 50, "training_intensity": None} | training)
        .env_runners(num_envs_per_env_runner=10)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=0, log_level="ERROR")
    )


def stock(configured):
    """The same config on RLlib's own runner."""
    return configured.env_runners(env_runner_cls="stock")


def learner_of(algo):
    """The local learner."""
    return algo.learner_group._learner


def q_tables(algo, state):
    """Q_i(s, ., .) of both agents in raw units, agent -> (|A_1|, |A_2|)."""
    import torch

    module = learner_of(algo).module
    x = torch.as_tensor(np.asarray(state))[None]
    with torch.no_grad():
        return {agent: module[agent].q_values(x)[0].numpy() for agent in module.hierarchy.agents}


def greedy(algo, states, masks=None):
    """Greedy play, agent -> (batch,)."""
    import torch

    states = torch.as_tensor(np.asarray(states))
    with torch.no_grad():
        played = learner_of(algo).module.act(states, masks=masks)
    return {agent: actions.numpy() for agent, actions in played.items()}
