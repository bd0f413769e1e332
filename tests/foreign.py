"""Small games as other people write them: each does one thing in its own way, and says what is right of it."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import ParallelEnv

VECTOR = Box(-1.0, 9.0, (2,), np.float32)


class Foreign(ParallelEnv):
    """Two agents, `length` steps; each earns what it plays, and sees the time. Subclasses have their own ways."""

    metadata = {"name": "foreign_v0"}  # noqa: RUF012
    seeing, doing, length = VECTOR, Discrete(2), 4
    names = ("a", "b")

    def __init__(self):
        self.possible_agents = list(self.names)
        self.agents = []

    def observation_space(self, agent):
        return self.seeing

    def action_space(self, agent):
        return self.doing

    def see(self, agent):
        return np.array([self.time, 0.0], np.float32)

    def info(self, agent):
        return {}

    def pay(self, agent, actions):
        return float(actions.get(agent, 0))

    def over(self):
        return self.time >= self.length

    def flags(self):
        return dict.fromkeys(self.possible_agents, self.over()), dict.fromkeys(self.possible_agents, False)

    def reset(self, seed=None, options=None):
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents, self.time = list(self.possible_agents), 0
        return {a: self.see(a) for a in self.agents}, {a: self.info(a) for a in self.agents}

    def step(self, actions):
        before = list(self.agents)
        self.time += 1
        rewards = {agent: self.pay(agent, actions) for agent in before}
        terminated, truncated = self.flags()
        seen = {agent: self.see(agent) for agent in before}
        infos = {agent: self.info(agent) for agent in before}
        self.leave(terminated, truncated)
        return seen, rewards, terminated, truncated, infos

    def leave(self, terminated, truncated):
        if self.over():
            self.agents = []


class Leaver(Foreign):
    """`b` is terminated after step 2; both earn 1 at each step they play. At gamma .9: V_a = 3.439, V_b = 1.9."""

    def pay(self, agent, actions):
        return 1.0

    def flags(self):
        over = {agent: self.over() or (agent == "b" and self.time >= 2) for agent in self.agents}
        return over, dict.fromkeys(self.agents, False)

    def leave(self, terminated, truncated):
        self.agents = [agent for agent in self.agents if not terminated[agent]]


class LateComer(Foreign):
    """`b` comes after step 2, and is paid for two steps. At gamma .9 its value from the start is .81 + .729."""

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.agents = ["a"]
        return {"a": self.see("a")}, {"a": {}}

    def pay(self, agent, actions):
        return 1.0

    def step(self, actions):
        result = super().step(actions)
        if self.time == 2:
            self.agents = ["a", "b"]
            result[0]["b"], result[4]["b"] = self.see("b"), {}
        return result

    def flags(self):
        return dict.fromkeys(self.agents, self.over()), dict.fromkeys(self.agents, False)


class Turns(Foreign):
    """The agents act in turns, by masks of zeros. Each earns 2 for playing what was played just before it, else 1."""

    seeing = Dict(observation=VECTOR, action_mask=Box(0, 1, (2,), np.int8))

    def reset(self, seed=None, options=None):
        self.last = 0
        return super().reset(seed)

    def see(self, agent):
        on_turn = self.possible_agents[self.time % 2] == agent
        return {
            "observation": np.array([self.time, self.last], np.float32),
            "action_mask": np.full(2, int(on_turn), np.int8),
        }

    def pay(self, agent, actions):
        if self.possible_agents[(self.time - 1) % 2] != agent:
            return 0.0
        same = float(actions[agent] == self.last)
        self.last = actions[agent]
        return 1.0 + same


class TurnsCutOff(Foreign):
    """Only who is on turn is there, and earns 1. The game would go on for ever; it is truncated after two turns."""

    length = 2

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.agents = ["a"]
        return {"a": self.see("a")}, {}

    def see(self, agent):
        return np.zeros(2, np.float32)

    def pay(self, agent, actions):
        return 1.0

    def step(self, actions):
        (agent,) = self.agents
        _, *rest = super().step(actions)
        on_turn = "b" if agent == "a" else "a"
        self.agents = [] if self.over() else [on_turn]
        return {on_turn: self.see(on_turn)}, *rest

    def flags(self):
        return {}, {"__all__": self.over()}


class ForbiddenOnce(Foreign):
    """A mask is given at the first step only: the best return is 3."""

    def info(self, agent):
        return {"action_mask": np.array([1, 0], np.int8)} if self.time == 0 else {}

    def pay(self, agent, actions):
        assert self.time > 1 or actions[agent] == 0, "a forbidden action was played"
        return float(actions[agent])


class MaskBesideGoal(Foreign):
    """The mask is one of three entries. Action 1 is forbidden throughout."""

    seeing = Dict(observation=VECTOR, action_mask=Box(0, 1, (2,), np.int8), goal=Box(0, 1, (1,), np.float32))

    def see(self, agent):
        return {
            "observation": super().see(agent),
            "action_mask": np.array([1, 0], np.int8),
            "goal": np.ones(1, np.float32),
        }

    def pay(self, agent, actions):
        assert actions[agent] == 0, "a forbidden action was played"
        return 1.0


class EndsApart(Foreign):
    """After one step that pays 1, `a` is terminated and `b` truncated. At gamma .9: Q_a = 1, Q_b = 10."""

    length = 1

    def see(self, agent):
        return np.zeros(2, np.float32)

    def pay(self, agent, actions):
        return 1.0

    def flags(self):
        return {"a": True, "b": False}, {"a": False, "b": True}


class TruncatedAlone(Foreign):
    """At each step `b`, if it is there, is truncated with chance 1/4; after that `a` is terminated with chance 1/5.

    Both earn 1 at each step they play. At gamma .9: V_b = 10 as long as it is there, for what it could still have
    earned counts. V_a = 1 / (1 - .9 * .8) = 3.571 alone, and before (1 + .9 / 4 * 3.571) / (1 - .9 * 3 / 4) = 5.549.
    """

    def see(self, agent):
        return np.zeros(2, np.float32)

    def pay(self, agent, actions):
        return 1.0

    def flags(self):
        return {}, {}

    def leave(self, terminated, truncated):
        if "b" not in self.agents and self.rng.random() < 0.2:
            self.agents, terminated["a"] = [], True
        elif "b" in self.agents and self.rng.random() < 0.25:
            self.agents, truncated["b"] = ["a"], True


class TruncatedLeaver(Foreign):
    """`b` is truncated after step 2."""

    def leave(self, terminated, truncated):
        if self.time == 2:
            self.agents, truncated["b"] = ["a"], True
        super().leave(terminated, truncated)


class FlagForAll(Foreign):
    """Ends as RLlib's games do."""

    def flags(self):
        return {"__all__": self.over()}, {"__all__": False}

    def leave(self, terminated, truncated):
        pass


class OnlyEmpties(Foreign):
    """Only `agents` says that it is over."""

    def flags(self):
        return super().flags()[1], super().flags()[1]


class SaysNothing(Foreign):
    """At the end it returns nothing at all."""

    def step(self, actions):
        result = super().step(actions)
        return ({},) * 5 if self.over() else result


class StateRaisesAfterTheEnd(Foreign):
    state_space = Box(0.0, 9.0, (1,), np.float32)

    def state(self):
        if not self.agents:
            raise RuntimeError("no state after the end")
        return np.array([self.time], np.float32)


class Bits(Foreign):
    """One of four bits is on and says what to do."""

    seeing, doing, length = Box(0, 1, (4,), np.uint8), Discrete(4), 1

    def reset(self, seed=None, options=None):
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.on = int(self.rng.integers(4))
        return super().reset()

    def see(self, agent):
        return np.eye(4, dtype=np.uint8)[self.on]

    def pay(self, agent, actions):
        return float(actions[agent] == self.on)


class Steerers(Leaver):
    """`Leaver` with continuous actions: each is paid for being at .5, `b` while it is there."""

    doing = Box(-1.0, 1.0, (1,), np.float32)

    def pay(self, agent, actions):
        return 1.0 - float((actions[agent][0] - 0.5) ** 2)


class Numbered(Foreign):
    names = (0, 1)


class Circles(Foreign):
    """Never ends."""

    length = 10**9

    def see(self, agent):
        return np.array([self.time % 7, 0.0], np.float32)


ONE = Foreign()


def shared():
    return ONE
