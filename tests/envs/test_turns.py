"""PettingZoo games in turns: one row per turn, the rewards of PettingZoo's own loop, and who acts when."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import aec_to_parallel, parallel_to_aec, turn_based_aec_to_parallel, wrappers

from rllib_biac.envs import make
from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.adapters.accounts import AccountsWrapper
from rllib_biac.envs.errors import GameError
from tests.envs.playing import SEEN, at_random, play


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


@pytest.mark.parametrize("clears", [False, True])
def test_moves_at_once_that_are_paid_again_and_again_are_told(clears):
    class AtOnce(Dying):  # pays once per round, at its end; `rewards` are left in place or cleared
        metadata = {"name": "at_once", "is_parallelizable": True}  # noqa: RUF012
        possible_agents = ("a", "b")

        def step(self, action):
            agent = self.agent_selection
            if self.terminations[agent]:
                return self._was_dead_step(action)
            self._cumulative_rewards[agent] = 0
            if clears:
                self._clear_rewards()
            self.agent_selection = "b" if agent == "a" else "a"
            if agent == "b":
                self.t += 1
                self.rewards = dict.fromkeys(self.agents, 1)
                self.terminations = dict.fromkeys(self.agents, self.t == 3)
                self._accumulate_rewards()

    for env in (adapt(AtOnce(first=False)), adapt(aec_to_parallel(AtOnce(first=False)))):
        assert adapt(env) is env
        if clears:
            assert play(env, lambda *_: 0)[0] == {"a": 3, "b": 3}
        else:
            with pytest.raises(GameError, match=r"earned .* by `rewards`"):
                play(env, lambda *_: 0)


def test_turns_that_pettingzoo_has_converted_are_turns():
    tree = Tree(0)
    env = adapt(turn_based_aec_to_parallel(tree))
    returns, steps, _ = play(env, lambda *_: 1)
    assert [len(actions) for actions, _ in steps] == [1] * len(tree.path)
    assert list(returns.values()) == tree.payoffs(tree.path).tolist()


def test_a_game_written_for_moves_at_once_comes_back():
    class Plain(ParallelEnv):
        metadata = {"name": "plain"}  # noqa: RUF012
        possible_agents = ("a",)
        observation_space = action_space = lambda self, agent: Discrete(2)

    plain = Plain()
    assert adapt(parallel_to_aec(plain)) is plain


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


class Chances(AECEnv):
    """Rewards, deaths, newcomers and turns drawn at random, by the actions too; PettingZoo's rules are kept."""

    metadata = {"name": "chances"}  # noqa: RUF012
    possible_agents = ("a", "b", "c", "d")

    def observation_space(self, agent):
        return SEEN

    def action_space(self, agent):
        return Discrete(3)

    def observe(self, agent):
        return np.full(1, self.t, np.float32)

    def reset(self, seed=None, options=None):
        self.rng, self.t = np.random.default_rng(seed), 0
        self.agents = list(self.rng.permutation(self.possible_agents)[: self.rng.integers(1, 5)])
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0.0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            return self._was_dead_step(action)
        rng, self.t = self.rng, self.t + 1
        self._cumulative_rewards[agent] = 0.0
        unseen = [a for a in self.possible_agents if a not in self._all_seen()]
        if unseen and rng.random() < 0.1:
            newcomer = unseen[0]
            self.agents.append(newcomer)
            self.rewards[newcomer] = self._cumulative_rewards[newcomer] = 0.0
            self.terminations[newcomer] = self.truncations[newcomer] = False
            self.infos[newcomer] = {}
        self._clear_rewards()
        for other in self.agents:
            self.rewards[other] = float(rng.integers(-3, 4) * action)
            ends = self.terminations if rng.random() < 0.5 else self.truncations
            ends[other] = bool(rng.random() < 0.05) or self.t == 30
        alive = [a for a in self.agents if not (self.terminations[a] or self.truncations[a])]
        self.agent_selection = str(rng.choice(alive)) if alive else agent
        self._accumulate_rewards()
        self._deads_step_first()

    def _all_seen(self):
        self.seen = getattr(self, "seen", set()) if self.t > 1 else set()
        self.seen |= set(self.agents)
        return self.seen


def official_returns(env, choose, seed):
    """The returns by PettingZoo's own loop, in which each agent is told of its rewards by `last()`."""
    env.reset(seed=seed)
    returns = dict.fromkeys(env.possible_agents, 0.0)
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, info = env.last()
        returns[agent] += reward
        env.step(None if terminated or truncated else choose(env, agent, observation, info))
    return returns


@pytest.mark.parametrize("seed", range(50))
def test_returns_in_turns_are_those_of_pettingzoos_own_loop(seed):
    official = official_returns(Chances(), at_random(np.random.default_rng(seed)), seed)
    returns, steps, ends = play(adapt(Chances()), at_random(np.random.default_rng(seed)), seed)
    assert returns == official
    everybody = {agent for _, (seen, *_) in steps for agent in seen}
    assert set(ends) == everybody


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
    official = (official_returns(env.env, at_random(np.random.default_rng(seed)), seed) for seed in range(5))
    assert list(official) == [play(env, at_random(np.random.default_rng(seed)), seed)[0] for seed in range(5)]
    assert {returns[env.possible_agents[0]] for returns, _, _ in results} >= {-1, 1}


def test_a_game_that_hands_out_one_buffer():
    class OneBuffer(Dying):
        buffer = np.zeros(1, np.float32)

        def observe(self, agent):
            self.buffer[0] = 10 * self.t + self.possible_agents.index(agent)
            return self.buffer

    _, steps, _ = play(adapt(OneBuffer(first=True)), lambda *_: 0)
    for t, (_, (seen, *_)) in enumerate(steps, 1):
        assert {a: float(value[0]) for a, value in seen.items()} == {
            a: 10 * t + OneBuffer.possible_agents.index(a) for a in seen
        }


def test_what_the_other_agent_needs_on_turn_is_said():
    env = adapt(Tree(0))
    env.reset()
    with pytest.raises(GameError, match="turn of agent"):
        env.step({})


@pytest.mark.parametrize("game", ["pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.rps_v2"])
def test_accounts_are_looked_at_over_two_episodes(game):
    env, choose = make(game), at_random(np.random.default_rng(0))
    checked = []
    for _ in range(4):
        play(env, choose)
        checked.append(isinstance(getattr(env, "aec_env", None) or env.env, AccountsWrapper))
    assert checked == [True, True, False, False]


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


def test_a_wrapper_of_last_alone_is_told():
    class Scaled(wrappers.BaseWrapper):
        def last(self, observe=True):
            observation, reward, *rest = super().last(observe)
            return observation, 10 * reward, *rest

    with pytest.raises(GameError, match="a wrapper that changes one of them must change both"):
        for seed in range(5):
            play(adapt(Scaled(Tree(seed))), at_random(np.random.default_rng(0)))


def test_moves_at_once_written_in_turns_are_at_once_again():
    env = make("pettingzoo.classic.rps_v2:env")
    returns, steps, ends = play(env, at_random(np.random.default_rng(0)))
    assert all(set(actions) == set(env.possible_agents) for actions, _ in steps)
    assert sum(returns.values()) == 0
    assert set(ends.values()) == {(False, True)}
