"""AgileRL's MADDPG in the loop of its documentation, all games stepped as arrays by its vector interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from agilerl.algorithms import MADDPG
from agilerl.components import ReplayBuffer
from agilerl.components.data import MultiAgentTransition, transition_to_tensordict
from agilerl.components.sampler import Sampler
from agilerl.modules.custom_components import GumbelSoftmax
from agilerl.vector import PettingZooVecEnv
from job import BATCH, CAPACITY, GAMMA, HIDDENS, TAU, Job, Status

NAMES = ("row", "column")  # agents whose names differ only in the number would share their networks


class Escape(PettingZooVecEnv):
    """Games of Escape, side by side."""

    def __init__(self, job: Job) -> None:
        games = job.games
        observed = {name: gym.spaces.Box(0.0, 1.0, (1,), np.float32) for name in NAMES}
        super().__init__(games, observed, {name: gym.spaces.Discrete(3) for name in NAMES}, list(NAMES))
        self._payoffs = np.array(job.payoffs, np.float32)
        self._horizon, self._time = job.horizon, 0
        self._ones = {name: np.ones((games, 1), np.float32) for name in NAMES}
        self._over = dict.fromkeys(NAMES, np.ones(games, bool))
        self._on = dict.fromkeys(NAMES, np.zeros(games, bool))
        self._infos: dict[str, dict] = {name: {} for name in NAMES}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self._ones, self._infos

    def step(self, actions: Any) -> Any:
        reward = self._payoffs[actions[NAMES[0]], actions[NAMES[1]]]
        self._time = (self._time + 1) % self._horizon  # they end together, and start anew by themselves
        terminated = self._over if self._horizon == 1 else self._on
        truncated = self._on if self._horizon == 1 or self._time else self._over
        return self._ones, dict.fromkeys(NAMES, reward), terminated, truncated, self._infos


def greedy_play(agent: MADDPG) -> list[int]:
    """Returns the likeliest actions. Its actors always draw theirs, by a last layer that is listened to here."""
    logits: list[torch.Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: logits.append(inputs[0]))
        for actor in agent.actors.values()
        for module in actor.modules()
        if isinstance(module, GumbelSoftmax)
    ]
    with torch.no_grad():
        for name in NAMES:
            agent.actors[name](torch.ones(1, 1))
    for hook in hooks:
        hook.remove()
    return [int(values.argmax()) for values in logits]


def train(job: Job) -> Iterator[Status]:
    """Trains, and yields before the first iteration and after each."""
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    env = Escape(job)
    agent = MADDPG(
        [env.single_observation_space(name) for name in NAMES],
        [env.single_action_space(name) for name in NAMES],
        agent_ids=list(NAMES),
        # The leanest it takes: critics of 30-30, actors of 30-30-30.
        net_config={
            "latent_dim": HIDDENS[0],
            "encoder_config": {"hidden_size": HIDDENS[:1], "layer_norm": False},
            "head_config": {"hidden_size": HIDDENS[1:], "layer_norm": False},
        },
        batch_size=BATCH,
        lr_actor=job.lr,
        lr_critic=job.lr,
        gamma=GAMMA,
        tau=TAU,
        O_U_noise=False,  # a walk that starts anew with each episode would not move in episodes of one step
        expl_noise=job.explore,
        vect_noise_dim=job.games,
        learn_step=1,
    )
    memory = ReplayBuffer(CAPACITY)
    sampler = Sampler(memory=memory)
    agent.set_training_mode(True)
    observations, infos = env.reset()
    steps = updates = 0
    while True:
        yield Status(steps, updates, lambda: greedy_play(agent))
        actions, raw = agent.get_action(obs=observations, infos=infos)
        following, rewards, terminated, _, infos = env.step(actions)
        transition = transition_to_tensordict(
            MultiAgentTransition(obs=observations, action=raw, reward=rewards, next_obs=following, done=terminated)
        )
        transition.batch_size = torch.Size([job.games])
        memory.add(transition)
        steps += job.games
        if len(memory) >= BATCH:
            for _ in range(job.games):
                agent.learn(sampler.sample(BATCH))
            updates += job.games
        observations = following
