"""Plays a game that an adapter gives, as the one who reads it does."""

import numpy as np
from gymnasium.spaces import Box

SEEN = Box(0, 9, (1,), np.float32)


def play(env, choose, seed=0, cap=200):
    """Plays one episode; returns the returns, the steps (actions, results) and how each agent ended."""
    observations, infos = env.reset(seed=seed)
    returns, steps, ends = dict.fromkeys(env.possible_agents, 0.0), [], {}
    while env.agents and len(steps) < cap:
        acting = getattr(env, "acting", None)
        present = [a for a in env.agents if a in observations and (acting is None or a in acting)]
        actions = {agent: choose(env, agent, observations[agent], infos.get(agent, {})) for agent in present}
        result = env.step(actions)
        steps.append((actions, result))
        observations, rewards, terminated, truncated, infos = result
        for agent, reward in rewards.items():
            returns[agent] += reward
        ends |= {a: (terminated[a], truncated[a]) for a in terminated if terminated[a] or truncated[a]}
        assert set(env.agents).isdisjoint(ends)
    return returns, steps, ends


def at_random(rng):
    def choose(env, agent, observation, info):
        mask = observation["action_mask"] if isinstance(observation, dict) else info.get("action_mask")
        return int(rng.integers(env.action_space(agent).n) if mask is None else rng.choice(np.flatnonzero(mask)))

    return choose
