"""Values of agents that leave, come late and act in turns, against backward induction on random games."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete, MultiBinary
from pettingzoo import ParallelEnv

from rllib_biac.algorithms.bilevel_q import BiLevelQ
from tests.training import Run

GAMMA, LENGTH = 0.9, 6
PAIR = [["a"], ["b"]]


class Episode(ParallelEnv):
    """A fixed episode: who is there at each step, and what each is paid by the joint action of that step.

    Args:
        seed: draws payoffs, when `b` comes and leaves, and at which steps in between it is absent.
    """

    metadata = {"name": "episode_v0"}  # noqa: RUF012

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.possible_agents, self.agents = ["a", "b"], []
        self.pays = rng.integers(-9, 10, (2, LENGTH, 2, 2)) / 4.0  # agent, step, a_1, a_2
        comes, leaves = sorted(rng.choice(LENGTH + 1, 2, replace=False).tolist())
        self.there = (np.arange(LENGTH) >= comes) & (np.arange(LENGTH) < leaves) & (rng.random(LENGTH) < 0.8)
        self.last = leaves - 1  # the step at which `b` is terminated
        self.paid = (np.arange(LENGTH) <= self.last) & (rng.random(LENGTH) < 0.7)  # while absent, too

    def observation_space(self, agent):
        return MultiBinary(LENGTH + 1)

    def action_space(self, agent):
        return Discrete(2)

    def see(self):
        seen = np.eye(LENGTH + 1, dtype=np.int8)[self.time]
        return {agent: seen for agent in self.agents}

    def now(self):
        there = self.time < LENGTH and self.there[self.time]
        return ["a", "b"] if there else ["a"]

    def reset(self, seed=None, options=None):
        self.time = 0
        self.agents = self.now()
        return self.see(), {}

    def step(self, actions):
        joint = actions["a"], actions.get("b", 0)
        paid = {"a": self.pays[0, self.time][joint]}
        if self.paid[self.time]:
            paid["b"] = self.pays[1, self.time][joint]
        elif "b" in self.agents:
            paid["b"] = 0.0
        over = {"a": self.time == LENGTH - 1, "b": self.time >= self.last}
        self.time += 1
        self.agents = [] if over["a"] else self.now()
        return self.see(), paid, over, dict.fromkeys(over, False), {}


def backward(game):
    """Returns the feedback SE's tables of every step, (2, LENGTH, 2, 2): an absent follower has action 0 alone."""
    tables, value = np.zeros((2, LENGTH, 2, 2)), np.zeros(2)
    for step in reversed(range(LENGTH)):
        own = game.pays[:, step].copy()
        own[1] *= game.paid[step]
        goes_on = np.array([step < LENGTH - 1, step < game.last])
        tables[:, step] = own + (GAMMA * goes_on * value)[:, None, None]
        allowed = 2 if game.there[step] else 1
        answers = tables[1, step][:, :allowed].argmax(1)
        a1 = tables[0, step][np.arange(2), answers].argmax()
        value = tables[:, step, a1, answers[a1]]
    return tables


@pytest.mark.parametrize("seed", range(20))
def test_values_are_those_of_backward_induction(seed):
    """Transitions and payoffs are deterministic: at rate 1 the tabular method finds them to the last bit."""
    run = Run(
        BiLevelQ,
        Episode,
        PAIR,
        env_config={"seed": seed},
        state="observations",
        gamma=GAMMA,
        lr=1.0,
        epsilon=1.0,
        model_config={},
        num_games=20,
    )
    played = run.sampler.sample(600)
    for _ in range(LENGTH):  # each pass takes values one step further back
        run.update(played)
    game = run.sampler.games.copies[0]
    exact, rows = backward(game), played.columns
    for step in range(LENGTH):
        here = rows["state"][:, : LENGTH + 1].argmax(1) == step
        state = rows["state"][here][:1]
        learned = run.team.q_tables(torch.from_numpy(state))
        reached = 2 if game.there[step] else 1
        for i, agent in enumerate(("a", "b")):
            np.testing.assert_allclose(learned[agent][0][:, :reached], exact[i, step][:, :reached], atol=1e-4)
