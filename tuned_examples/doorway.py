"""Two robots at one door. The first through gains most; together they bump into each other."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

WAIT, GO = range(2)


class Doorway(ParallelEnv):
    metadata = {"name": "doorway_v0"}

    def __init__(self, patience=3):
        self.patience = patience  # turns until both give up
        self.possible_agents = ["robot_0", "robot_1"]
        self.agents = []
        self.observation_spaces = {agent: Box(0.0, 1.0, (1,), np.float32) for agent in self.possible_agents}
        self.action_spaces = {agent: Discrete(2) for agent in self.possible_agents}

    def observation_space(self, agent):
        return self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.turn = 0
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.turn += 1
        going = [agent for agent in self.possible_agents if actions[agent] == GO]
        if len(going) == 1:
            rewards = {agent: 10.0 if agent in going else 5.0 for agent in self.possible_agents}
            outcome = f"{going[0]} first"
        elif len(going) == 2:
            rewards, outcome = dict.fromkeys(self.possible_agents, -5.0), "bump"
        else:
            rewards, outcome = dict.fromkeys(self.possible_agents, -1.0), "nobody"
        over = bool(going) or self.turn == self.patience
        infos = {agent: {"outcome": outcome} if over else {} for agent in self.possible_agents}
        if over:
            self.agents = []
        return (
            self._observations(),
            rewards,
            dict.fromkeys(self.possible_agents, over),  # terminated: nothing comes after
            dict.fromkeys(self.possible_agents, False),  # truncated: cut off, but would have gone on
            infos,
        )

    def _observations(self):
        return {agent: np.array([self.turn / self.patience], np.float32) for agent in self.possible_agents}


def parallel_env(**settings):
    return Doorway(**settings)
