"""XuanCe's IQL. Its log of every single step, which no setting turns off, goes nowhere."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from job import AGENTS, BATCH, CAPACITY, CHECKED, GAMMA, HIDDENS, STARTS, Job, Status
from xuance.environment import REGISTRY_MULTI_AGENT_ENV, RawMultiAgentEnv, make_envs
from xuance.torch.agents import IQL_Agents


class Escape(RawMultiAgentEnv):
    """Escape."""

    def __init__(self, config: Namespace) -> None:
        super().__init__()
        self.agents, self.num_agents, self.agent_groups = list(AGENTS), 2, [list(AGENTS)]
        self.state_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.observation_space = dict.fromkeys(AGENTS, self.state_space)
        self.action_space = {agent: gym.spaces.Discrete(3) for agent in AGENTS}
        for i, agent in enumerate(AGENTS):
            self.action_space[agent].seed(2 * config.env_seed + i)
        self.max_episode_steps = config.horizon
        self._payoffs, self._time = config.payoffs, 0
        self._observed = dict.fromkeys(AGENTS, np.ones(1, np.float32))
        self._terminated = dict.fromkeys(AGENTS, config.horizon == 1)

    def reset(self, **kwargs: Any) -> Any:
        self._time = 0
        return self._observed, {}

    def step(self, actions: Any) -> Any:
        reward = self._payoffs[int(actions[AGENTS[0]])][int(actions[AGENTS[1]])]
        self._time += 1
        truncated = 1 < self._time == self.max_episode_steps
        return self._observed, dict.fromkeys(AGENTS, reward), self._terminated, truncated, {}

    def state(self) -> np.ndarray:
        return self._observed[AGENTS[0]]

    def render(self, *args: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Quiet(IQL_Agents):
    """IQL without its log."""

    def log_infos(self, info: dict, x_index: int) -> None:
        pass


def train(job: Job) -> Iterator[Status]:
    """Trains, and yields before the first iteration and after each."""
    REGISTRY_MULTI_AGENT_ENV["escape"] = Escape
    config = Namespace(
        dl_toolbox="torch",
        device="cpu",
        agent="IQL",
        env_name="escape",
        env_id="escape",
        env_seed=job.seed,
        payoffs=job.payoffs,
        horizon=job.horizon,
        vectorize="DummyVecMultiAgentEnv",
        learner="IQL_Learner",
        policy="Basic_Q_network_marl",
        representation="Basic_MLP",
        representation_hidden_size=HIDDENS[:1],
        q_hidden_size=HIDDENS[1:],
        activation="relu",
        seed=job.seed,
        parallels=job.games,
        n_epochs=job.games,  # updates per call
        training_frequency=1,
        start_training=STARTS,
        running_steps=10**6,
        buffer_size=CAPACITY,
        batch_size=BATCH,
        learning_rate=job.lr,
        gamma=GAMMA,
        double_q=False,
        sync_frequency=100,
        start_greedy=job.explore[0][1],
        end_greedy=job.explore[1][1],
        decay_step_greedy=job.explore[1][0],
        use_rnn=False,
        use_grad_clip=False,
        grad_clip_norm=0.5,
        use_parameter_sharing=False,
        use_actions_mask=False,
        distributed_training=False,
        logger="tensorboard",
        render=False,
        render_mode="rgb_array",
        fps=50,
        log_dir="logs",
        model_dir="models",
    )
    agents = Quiet(config, make_envs(config))
    one = [{agent: np.ones(1, np.float32) for agent in AGENTS}]

    def greedy() -> list[int]:
        with torch.no_grad():
            actions = agents.get_actions(one, test_mode=True)["actions"][0]
        return [int(actions[agent]) for agent in AGENTS]

    while True:
        yield Status(agents.current_step, agents.learner.iterations, greedy)
        agents.train(max(1, CHECKED // job.games))
