"""Games of other make behind `ParallelEnv`: the same game, the same rewards, and who acts when."""

import copy
import pickle
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import wrappers

from rllib_biac.envs import make
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.errors import GameError

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


# -- turns ------------------------------------------------------------------------------------------------------------
class Tree(AECEnv):
    """A game tree drawn at random: who is on turn, what each move pays whom at once, and when it is over."""

    metadata = {"name": "tree"}  # noqa: RUF012

    def __init__(self, seed, agents=("a", "b", "c"), depth=5):
        rng = np.random.default_rng(seed)
        self.possible_agents, self.depth = list(agents), depth
        self.rules = {}
        self._grow((), rng)

    def _grow(self, path, rng):
        over = len(path) == self.depth or (path and rng.random() < 0.2)
        pays = rng.integers(-3, 4, len(self.possible_agents)) * (rng.random(len(self.possible_agents)) < 0.7)
        self.rules[path] = str(rng.choice(self.possible_agents)), pays.astype(float) * bool(path), over
        if not over:
            for move in (0, 1):
                self._grow((*path, move), rng)

    def payoffs(self, path):
        return sum(self.rules[path[:k]][1] for k in range(len(path) + 1))

    def observation_space(self, agent):
        return Dict({"observation": Box(-1, 1, (self.depth,)), "action_mask": Box(0, 1, (3,), np.int8)})

    def action_space(self, agent):
        return Discrete(3)

    def observe(self, agent):
        seen = np.full(self.depth, -1, np.float32)
        seen[: len(self.path)] = self.path
        return {"observation": seen, "action_mask": np.array([1, 1, 0], np.int8)}

    def reset(self, seed=None, options=None):
        self.path, self.agents = (), list(self.possible_agents)
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0.0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.rules[()][0]

    def step(self, action):
        if self.terminations[self.agent_selection] or self.truncations[self.agent_selection]:
            return self._was_dead_step(action)
        self._cumulative_rewards[self.agent_selection] = 0
        self.path = (*self.path, action)
        turn, pays, over = self.rules[self.path]
        self.rewards = dict(zip(self.possible_agents, pays.tolist(), strict=True))
        self.agent_selection = turn
        if over:
            self.terminations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        if over:
            self._deads_step_first()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("wrapped", [False, True])
def test_returns_in_turns_are_the_trees_payoffs(seed, wrapped):
    tree = Tree(seed)
    env = adapt(wrappers.OrderEnforcingWrapper(wrappers.TerminateIllegalWrapper(tree, -9)) if wrapped else tree)
    choose = at_random(np.random.default_rng(seed))
    paths = set()
    for _ in range(20):
        returns, steps, ends = play(env, choose)
        paths.add(tree.path)
        assert list(returns.values()) == tree.payoffs(tree.path).tolist()
        assert len(steps) == len(tree.path)
        for k, (actions, (seen, rewards, *_)) in enumerate(steps):
            assert set(actions) == {tree.rules[tree.path[:k]][0]}
            assert list(rewards.values()) == tree.rules[tree.path[: k + 1]][1].tolist()
            assert set(seen) == set("abc")  # those who are over see the end
        assert ends == dict.fromkeys("abc", (True, False))
    assert len(paths) > 1


class Dying(AECEnv):
    """Each turn pays everybody in the game 1; `late` comes at turn 1, and `a` dies by the first turn of `b`.

    Who is dead is taken out at once (`first`), or only when its turn comes, and earns until then. All end at turn 8.
    """

    metadata = {"name": "dying"}  # noqa: RUF012
    possible_agents = ("a", "b", "late")

    def __init__(self, first, cut=False):
        self.first, self.cut = first, cut

    def observation_space(self, agent):
        return SEEN

    def action_space(self, agent):
        return Discrete(2)

    def observe(self, agent):
        return np.full(1, self.t, np.float32)

    def _after(self, agent):
        place = self.agents.index(agent) + 1
        others = self.agents[place:] + self.agents[:place]
        return next((a for a in others if not (self.first and self.terminations[a])), agent)

    def reset(self, seed=None, options=None):
        self.t, self.agents, self.agent_selection = 0, ["a", "b"], "a"
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: {} for agent in self.agents}

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            following = self._after(agent)
            self._was_dead_step(action)
            if not self.first and self.agents and not any(self.truncations.values()):
                self.agent_selection = following
            return
        self._cumulative_rewards[agent] = 0
        self.t += 1
        if self.t == 1:
            self.agents.append("late")
            self.rewards["late"] = self._cumulative_rewards["late"] = 0
            self.terminations["late"] = self.truncations["late"] = False
            self.infos["late"] = {}
        self.rewards = dict.fromkeys(self.agents, 1)
        if self.t == 2:
            self.terminations["a"] = True
        self.agent_selection = self._after(agent)
        if self.t == 8:
            ends = self.truncations if self.cut else self.terminations
            ends |= dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        if self.first or self.t == 8:
            self._deads_step_first()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_who_dies_in_turns_loses_no_reward_and_acts_no_more(first, cut):
    env = adapt(Dying(first, cut))
    returns, steps, ends = play(env, lambda *_: 0)
    assert len(steps) == 8
    assert [next(iter(actions)) for actions, _ in steps] == ["a", "b", *["late", "b"] * 3]
    assert returns == {"a": 2 if first else 3, "b": 8, "late": 8}
    assert ends == {"a": (True, False), "b": (not cut, cut), "late": (not cut, cut)}
    last_of_a = [k for k, (_, (seen, *_)) in enumerate(steps) if "a" in seen][-1]
    assert steps[last_of_a][1][2]["a"]  # it is said to be over with its last observation


def test_masks_are_zero_for_those_not_on_turn():
    tree = Tree(3)
    env = adapt(tree)
    observations, _ = env.reset()
    assert env.acting == {tree.agent_selection}
    for agent, seen in observations.items():
        assert seen["action_mask"].tolist() == ([1, 1, 0] if agent in env.acting else [0, 0, 0])
    assert tree.observe("a")["action_mask"].tolist() == [1, 1, 0]


@pytest.mark.parametrize("game", ["pettingzoo.classic.tictactoe_v3", "pettingzoo.classic:connect_four_v3"])
def test_board_games_in_turns(game):
    env = make(game)
    choose = at_random(np.random.default_rng(0))
    results = [play(env, choose) for _ in range(20)]
    for returns, steps, ends in results:
        assert sorted(returns.values()) in ([-1, 1], [0, 0])
        assert [len(actions) for actions, _ in steps] == [1] * len(steps)
        assert set(ends.values()) == {(True, False)}
    assert {returns[env.possible_agents[0]] for returns, _, _ in results} >= {-1, 1}


def test_what_the_other_agent_needs_on_turn_is_said():
    env = adapt(Tree(0))
    env.reset()
    with pytest.raises(GameError, match="turn of agent"):
        env.step({})


def test_a_turn_of_somebody_who_is_out_is_told():
    class Lost(Dying):
        def _after(self, agent):
            return "a"

    with pytest.raises(GameError, match="turn of agent 'a', which is none of its agents"):
        play(adapt(Lost(first=True)), lambda *_: 0)


def test_rewards_kept_twice_are_told():
    class Forgets(Tree):  # what a step leaves in `rewards` is not what it added to what `last()` says
        def step(self, action):
            super().step(action)
            if self.agents:
                self.rewards["a"] += 1.0

    env = adapt(Forgets(1, agents=("a", "b")))
    with pytest.raises(GameError, match=r"by `rewards` and .* by `last\(\)`"):
        for _ in range(5):
            play(env, at_random(np.random.default_rng(0)))


def test_moves_at_once_written_in_turns_are_at_once_again():
    env = make("pettingzoo.classic.rps_v2:env")
    returns, steps, ends = play(env, at_random(np.random.default_rng(0)))
    assert all(set(actions) == set(env.possible_agents) for actions, _ in steps)
    assert sum(returns.values()) == 0
    assert set(ends.values()) == {(False, True)}


# -- gymnasium --------------------------------------------------------------------------------------------------------
class Team(gym.Env):
    """Two agents in one environment; the first adds, the second doubles. Ends after 3 steps."""

    def __init__(self, spaces=Tuple, rewards="each", flags="one", keys=("x", "y")):
        entries = [SEEN, SEEN], [Discrete(2), Discrete(3, start=1)]
        self.keys, self.rewards, self.flags = keys, rewards, flags
        self.observation_space, self.action_space = (
            Tuple(e) if spaces is Tuple else Dict(dict(zip(keys, e, strict=True))) for e in entries
        )

    def _form(self, values):
        return tuple(values) if isinstance(self.action_space, Tuple) else dict(zip(self.keys, values, strict=True))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._form([np.zeros(1, np.float32)] * 2), {"shared": 1}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        played = list(action) if isinstance(action, tuple) else [action[key] for key in self.keys]
        each = [float(played[0]), 2.0 * played[1]]
        infos = {"shared": 1}
        if self.rewards == "infos":
            infos["agents_rewards"] = tuple(each)
        over = [self.t >= 2, self.t >= 3]
        if self.flags == "infos":
            infos["agents_terminated"] = tuple(over)
        seen = self._form([np.full(1, self.t, np.float32)] * 2)
        reward = sum(each) if self.rewards in ("infos", "one") else self._form(each)
        flags = self._form(over) if self.flags == "each" else self.t >= 3
        return seen, reward, flags, False, infos


def ones(env, agent, observation, info):
    assert info["shared"] == 1
    return 1


@pytest.mark.parametrize("spaces", [Tuple, Dict])
@pytest.mark.parametrize("flags", ["one", "each", "infos"])
@pytest.mark.parametrize("rewards", ["each", "infos", "one"])
def test_gymnasium_of_several_agents(spaces, rewards, flags):
    env = adapt(Team(spaces, rewards, flags))
    first, second = env.possible_agents == ["agent_0", "agent_1"], env.possible_agents == ["x", "y"]
    assert first if spaces is Tuple else second
    returns, steps, ends = play(env, ones)
    early = flags != "one"  # the first agent is over after two steps
    assert [len(actions) for actions, _ in steps] == ([2, 2, 1] if early else [2, 2, 2])
    expected = {"each": (2 if early else 3, 6), "infos": (2 if early else 3, 6)}
    # of one reward for all, each step pays 1 + 2, and the last one 0 + 2 if the first agent plays nothing any more
    expected["one"] = (6, 8) if early else (9, 9)
    assert tuple(returns.values()) == expected[rewards]
    assert ends == dict.fromkeys(env.possible_agents, (True, False))


def test_a_time_limit_cuts_everybody():
    env = adapt(gym.wrappers.TimeLimit(Team(), 2))
    _, steps, ends = play(env, ones)
    assert len(steps) == 2
    assert ends == dict.fromkeys(env.possible_agents, (False, True))


def test_integer_keys():
    env = adapt(Team(Dict, keys=(0, 1)))
    assert env.possible_agents == ["0", "1"]
    assert play(env, ones)[0] == {"0": 3, "1": 6}


@pytest.mark.parametrize("old", ["reset", "step"])
def test_old_forms_are_told(old):
    class Old(Team):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0] if old == "reset" else super().reset(seed=seed)

        def step(self, action):
            seen, reward, over, _, infos = super().step(action)
            return seen, reward, over, infos

    with pytest.raises(GameError, match=f"{old}\\(\\) of .*Old.* as gymnasium's does"):
        play(adapt(Old()), ones)


def test_a_single_agent_is_refused():
    for name in ("CartPole-v1", "Blackjack-v1"):
        with pytest.raises(ValueError, match=r"are not one entry per agent.*single agent"):
            make(name)


def test_highway_of_two_cars():
    config = {
        "controlled_vehicles": 2,
        "duration": 4,
        "initial_vehicle_count": 2,
        "observation": {"type": "MultiAgentObservation", "observation_config": {"type": "Kinematics"}},
        "action": {
            "type": "MultiAgentAction",
            "action_config": {"type": "DiscreteMetaAction", "lateral": False, "target_speeds": [0, 4.5, 9]},
        },
    }
    env = make("intersection-v0", config=config)
    assert env.possible_agents == ["agent_0", "agent_1"]
    returns, _, ends = play(env, lambda env, agent, *_: {"agent_0": 2, "agent_1": 0}[agent])  # faster, slower
    assert set(ends) == set(env.possible_agents)
    assert returns["agent_0"] > 0 == returns["agent_1"]  # the reward of each, not their mean


# -- RLlib ------------------------------------------------------------------------------------------------------------
class Coming(gym.Env):
    """RLlib's way, without RLlib: `late` comes at step 2, `early` leaves at 3, `slow` acts at every other step."""

    possible_agents = ("early", "slow", "late")

    def __init__(self, cut=False, per_agent_spaces=True, agents=None):
        self.cut, self.names = cut, agents or self.possible_agents
        if agents:
            self.possible_agents = agents
        if per_agent_spaces:
            self.observation_spaces = dict.fromkeys(self.names, SEEN)
            self.action_spaces = dict.fromkeys(self.names, Discrete(2))
        else:
            self.observation_space = Dict({str(a): SEEN for a in self.names})
            self.action_space = Discrete(2)  # one for all

    def get_observation_space(self, agent):
        spaces = getattr(self, "observation_spaces", None) or self.observation_space
        return spaces[agent]

    def get_action_space(self, agent):
        return self.action_spaces[agent] if hasattr(self, "action_spaces") else self.action_space

    def _seen(self):
        early, slow, late = self.names
        on = {early: self.t < 3, slow: self.t % 2 == 0, late: self.t >= 2}
        return {a: np.full(1, self.t, np.float32) for a in self.names if on[a]}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        self.asked = self._seen()
        return self.asked, {}

    def step(self, action_dict):
        assert set(action_dict) == set(self.asked)
        self.t += 1
        early, slow, _ = self.names
        rewards = {a: float(x) for a, x in action_dict.items()} | ({slow: 10.0} if self.t == 2 else {})
        over = self.t >= 5
        seen = self._seen()
        terminated = {early: True} if self.t == 3 else {}
        self.asked = {} if over else seen
        flags = terminated | {"__all__": over and not self.cut}, {"__all__": over and self.cut}
        return seen, rewards, *flags, {"__common__": {"t": self.t}}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("per_agent_spaces", [False, True])
def test_rllibs_agents_come_leave_and_act_at_times(cut, per_agent_spaces):
    env = adapt(Coming(cut, per_agent_spaces))
    returns, steps, ends = play(env, lambda *_: 1)
    assert [set(actions) for actions, _ in steps] == [
        {"early", "slow"},
        {"early"},
        {"early", "slow", "late"},
        {"late"},
        {"slow", "late"},
    ]
    assert returns == {"early": 3, "slow": 3 + 10, "late": 3}
    at_the_end = (not cut, cut)
    assert ends == {"early": (True, False), "slow": at_the_end, "late": at_the_end}
    assert not any("__common__" in infos or "__all__" in over for _, (_, _, over, _, infos) in steps)


def test_rllibs_integer_agents():
    env = adapt(Coming(agents=(0, 1, 2)))
    assert env.possible_agents == ["0", "1", "2"]
    assert play(env, lambda *_: 1)[0] == {"0": 3, "1": 13, "2": 3}


def test_rllib_itself():
    pytest.importorskip("ray.rllib")
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    class Own(MultiAgentEnv):
        def __init__(self, config):
            super().__init__()
            self.agents = self.possible_agents = ["a", "b"]
            self.observation_space, self.action_space, self.steps = SEEN, Discrete(2), config.get("steps", 2)

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {}

        def step(self, action_dict):
            self.t += 1
            flags = {"__all__": self.t >= self.steps}, {"__all__": False}
            return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {"a": 1.0}, *flags, {}

    module = sys.modules["games_of_a_user"] = SimpleNamespace(Own=Own)
    try:
        for kwargs, length in (({}, 2), ({"steps": 4}, 4)):
            returns, steps, _ = play(make("games_of_a_user:Own", **kwargs), lambda *_: 0)
            assert len(steps) == length
            assert returns == {"a": length, "b": 0}
        assert module.Own is Own
    finally:
        del sys.modules["games_of_a_user"]


# -- multi-agent-rlenv ------------------------------------------------------------------------------------------------
class Shared:
    """A `MARLEnv` without the package: two agents share their reward; the second may not play 2 at first."""

    n_agents, observation_shape, extras_shape, state_shape, state_extras_shape = 2, (3,), (0,), (1,), (1,)

    def __init__(self, continuous=False, extras=0, cut=False):
        self.extras_shape, self.cut, self.continuous = (extras,), cut, continuous
        ends = {"low": np.full((2, 2), -1.0), "high": np.ones((2, 2)), "shape": (2, 2)} if continuous else {"size": 3}
        self.action_space = SimpleNamespace(is_continuous=continuous, **ends)

    def available_actions(self):
        return np.array([[True] * 3, [True, True, self.t > 0]])

    def get_observation(self):
        seen, more = np.full((2, 3), self.t), np.ones((2, *self.extras_shape))
        return SimpleNamespace(data=seen, extras=more, available_actions=self.available_actions())

    def get_state(self):
        return SimpleNamespace(data=np.array([self.t]), extras=np.array([7]))

    def reset(self, *, seed=None):
        self.t = 0
        return self.get_observation(), self.get_state()

    def step(self, action):
        assert len(action) == 2
        self.t += 1
        reward = np.array([np.sum(action)], np.float32)
        over = self.t >= 2
        return self.get_observation(), self.get_state(), reward, over and not self.cut, over and self.cut, {"win": 1}


@pytest.mark.parametrize("cut", [False, True])
def test_shared_rewards_and_masks(cut):
    env = adapt(SimpleNamespace(build=lambda: Shared(cut=cut, extras=2)))
    assert env.possible_agents == ["agent_0", "agent_1"]
    _, infos = env.reset()
    assert [infos[a]["action_mask"].tolist() for a in env.possible_agents] == [[1, 1, 1], [1, 1, 0]]
    returns, steps, ends = play(env, lambda *_: 1)
    assert returns == {"agent_0": 4, "agent_1": 4}
    assert ends == dict.fromkeys(env.possible_agents, (not cut, cut))
    seen, *_, infos = steps[-1][1]
    assert env.observation_space("agent_0").contains(seen["agent_0"])
    assert env.state_space.contains(env.state())
    assert infos["agent_1"]["win"] == 1


def test_shared_rewards_and_continuous_actions():
    env = adapt(Shared(continuous=True))
    assert env.action_space("agent_1") == Box(-1, 1, (2,), np.float32)
    assert env.observation_space("agent_1") == Box(-np.inf, np.inf, (3,), np.float32)
    returns, steps, _ = play(env, lambda *_: np.ones(2, np.float32))
    assert returns == {"agent_0": 8, "agent_1": 8}
    assert not any("action_mask" in info for _, (*_, infos) in steps for info in infos.values())


# -- names and late spaces --------------------------------------------------------------------------------------------
class Plain(ParallelEnv):
    metadata = {"name": "plain"}  # noqa: RUF012

    def __init__(self, agents=("a", "b"), late=False):
        self.names, self.late = list(agents), late
        if not late:
            self.possible_agents, self.spaces = self.names, True

    def observation_space(self, agent):
        assert self.spaces
        return SEEN

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.spaces, self.agents = True, list(self.names)
        return dict.fromkeys(self.agents, np.zeros(1, np.float32)), {a: {} for a in self.agents}

    def step(self, actions):
        assert list(actions) == self.names
        seen = dict.fromkeys(self.names, np.zeros(1, np.float32))
        self.agents = []
        return seen, {a: float(x) for a, x in actions.items()}, *({a: f for a in self.names} for f in (True, False)), {}


def test_what_needs_no_adapter_stays_as_it_is():
    env = Plain()
    assert adapt(env) is env
    adapted = adapt(Team())
    assert adapt(adapted) is adapted


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("agents", [("a", "b"), (0, 1)])
def test_integer_names_and_late_spaces(agents, late):
    env = adapt(Plain(agents, late))
    assert env.possible_agents == [str(a) for a in agents]
    assert [env.action_space(a) for a in env.possible_agents] == [Discrete(2)] * 2
    assert play(env, lambda *_: 1)[0] == {str(a): 1 for a in agents}


@pytest.mark.parametrize(
    "game",
    [Tree(0), Team(), Team(Dict, keys=(0, 1)), Coming(), Shared(), Plain((0, 1))],
    ids=lambda g: type(g).__name__,
)
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copied", "pickled"]
)
def test_copies_play_as_the_game_does(game, again):
    one = adapt(game)
    one.reset(seed=0)
    other = again(one)

    def first(env, agent, *_):
        return int(env.action_space(agent).start)

    assert str(play(one, first)) == str(play(other, first))


def test_what_somebody_who_is_over_is_paid_is_shown():
    class Pays(Team):
        def step(self, action):
            seen, _, *rest = super().step(action)
            return seen, (1.0, 1.0), *rest

    _, steps, _ = play(adapt(Pays(flags="each")), ones)
    assert [set(rewards) for _, (_, rewards, *_) in steps] == [{"agent_0", "agent_1"}] * 3
    _, steps, _ = play(adapt(Team(rewards="infos", flags="infos")), ones)
    assert set(steps[-1][1][1]) == {"agent_1"}


def test_a_class_is_no_game():
    with pytest.raises(ValueError, match="is a class"):
        adapt(Tree)


def test_names_that_are_written_alike():
    with pytest.raises(ValueError, match="written alike"):
        adapt(Plain((0, "0")))


def test_games_without_agents_or_of_no_known_make():
    with pytest.raises(ValueError, match="names no agents; set `possible_agents`"):
        adapt(Plain(()))
    for other in (SimpleNamespace(), 3, None):
        with pytest.raises(ValueError, match=r"no game of a make that is known.*ParallelEnv or AECEnv"):
            adapt(other)


# -- names of games ---------------------------------------------------------------------------------------------------
@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("game", "words"),
    [
        ("pettingzoo.classic:nothing_v1", "has no callable 'nothing_v1'"),
        ("pettingzoo.classic", "has none of parallel_env, env, raw_env"),
        ("nowhere.at_all:env", "module 'nowhere' is not installed"),
        ("Nowhere-v0", "name the module that registers it"),
        ("nowhere:Game-v0", "module 'nowhere' is not installed"),
        ("gymnasium:Nowhere-v0", "unknown game"),
        ("merge_v9", "Did you mean 'merge_v0'"),
    ],
)
def test_names_that_lead_nowhere(game, words):
    with pytest.raises(ValueError, match=words) as error:
        make(game)
    assert game in str(error.value)


def test_the_innermost_module_that_fails_is_named(user_module):
    user_module("outer_game", "import inner_game")
    user_module("inner_game", "try:\n    import far_away\nexcept ImportError:\n    raise RuntimeError('sorry')")
    with pytest.raises(ValueError, match=r"module 'far_away', which .*inner_game\.py:2 needs, is not installed"):
        make("outer_game:env")
    user_module("renamed_in", "from gymnasium import no_such_thing")
    with pytest.raises(ValueError, match=r"no_such_thing.*renamed_in\.py:1"):
        make("renamed_in:env")


def test_an_object_is_no_factory(user_module):
    user_module("one_object", "from tests.envs.test_adapters import Team\ngame = Team()\nmake = Team")
    with pytest.raises(ValueError, match="one object for all copies"):
        make("one_object:game")
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'"):
        make("one_object:make", size=3)
    assert make("one_object:make", rewards="one").possible_agents == ["agent_0", "agent_1"]


def test_gymnasium_ids(user_module, monkeypatch):
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gym.registry))
    register = "from gymnasium import register\nregister('{}-v0', entry_point='{}', max_episode_steps=2)\n"
    broken = register.format("BrokenInside", "broken_inside:Game")
    user_module("registers", register.format("TwoCars", "tests.envs.test_adapters:Team") + broken)
    user_module("broken_inside", "import far_away")
    with pytest.raises(ValueError, match=r"`TwoCars` doesn't exist.*name the module that registers it"):
        make("TwoCars-v0")
    for game in ("registers:TwoCars-v0", "TwoCars-v0"):  # the second time it is known
        _, steps, ends = play(make(game, rewards="infos"), ones)
        assert len(steps) == 2
        assert set(ends.values()) == {(False, True)}
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'"):
        make("registers:TwoCars-v0", size=3)
    with pytest.raises(ValueError, match=r"module 'far_away', which .*broken_inside\.py:1 needs"):
        make("BrokenInside-v0")


def test_methods_and_modules_inside(user_module):
    user_module(
        "inside",
        "import pettingzoo.classic\nfrom tests.envs.test_adapters import Tree as T\nclass Tree(T):\n    of = T",
    )
    assert make("inside:Tree.of", seed=1).possible_agents == ["a", "b", "c"]
    assert make("inside:pettingzoo.classic.tictactoe_v3").possible_agents == ["player_1", "player_2"]
    with pytest.raises(ValueError, match="'Tree' has no callable 'off'; did you mean 'of'"):
        make("inside:Tree.off", seed=1)


def test_what_fails_while_a_game_is_made_is_said_with_its_place(user_module):
    user_module("fails", "def make(n=1):\n    return {}[n]\ndef refuse():\n    raise ValueError('write n')")
    with pytest.raises(ValueError, match=r"making it raised KeyError: 3 \(.*fails\.py:2\)"):
        make("fails:make", n=3)
    with pytest.raises(ValueError, match=r"^write n$"):
        make("fails:refuse")


def test_the_old_gym_is_told(user_module):
    user_module("gym", "class Env:\n    def reset(self): ...\n    def step(self, action): ...")
    user_module("old_game", "import gym\nclass Game(gym.Env): ...")
    with pytest.raises(ValueError, match=r"old_game\.Game, an environment of the old `gym`"):
        make("old_game:Game")
