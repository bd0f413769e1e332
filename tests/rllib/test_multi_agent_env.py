"""The team comes from the spaces and the agents' order from the game, on both runners."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_biac import BiACConfig
from rllib_biac.algorithms.biac.levels_team import LevelsTeam
from rllib_biac.envs.errors import GameError
from rllib_biac.learning.games import as_seen, make_one
from rllib_biac.learning.transitions import CUT
from rllib_biac.rllib.multi_agent_env import PettingZooMultiAgentEnv, game_of
from tests.foreign import TruncatedAlone

ORDER = ["mid", "zed", "ann"]  # neither sorted by name nor the hierarchy's
LEVELS = [["zed"], ["ann", "mid"]]


def vector(low, high, size=1):
    return spaces.Box(low, high, (size,), np.float32)


class OneStep(MultiAgentEnv):
    """A game of one step. Subclasses say what agents do and what they are paid."""

    agents = possible_agents = ["mid", "ann"]  # noqa: RUF012
    doing = {"mid": vector(-0.5, 0.1), "ann": vector(0.0, 3.0)}  # noqa: RUF012
    seeing = vector(-1.0, 1.0)

    def __init__(self, config=None):
        super().__init__()
        self.observation_spaces = dict.fromkeys(self.possible_agents, self.seeing)
        self.action_spaces = {agent: self.doing[agent] for agent in self.possible_agents}
        self.taken = []

    def reset(self, *, seed=None, options=None):
        return {agent: np.zeros(1, np.float32) for agent in self.possible_agents}, {}

    def step(self, action_dict):
        self.taken.append(action_dict)
        for agent, action in action_dict.items():
            assert self.doing[agent].contains(action), f"{action!r} of {agent} is outside of {self.doing[agent]}"
        pay = self.pay(**{agent: float(np.asarray(action).ravel()[0]) for agent, action in action_dict.items()})
        over = {agent: True for agent in [*self.possible_agents, "__all__"]}
        return self.reset()[0], pay, over, dict.fromkeys(over, False), {}

    def pay(self, mid, ann):
        """Ann wants to be at 2, mid at a tenth of where ann is, less 0.2: the best is 1 for either."""
        return {"ann": 1.0 - (ann - 2.0) ** 2, "mid": 1.0 - 4.0 * (mid - (0.1 * ann - 0.2)) ** 2}


class Mixed(OneStep):
    """The leader, ann, has a choice of three, and wants the last; the follower's best is -0.2 times that."""

    doing = {"mid": vector(-0.5, 0.1), "ann": spaces.Discrete(3)}  # noqa: RUF012

    def pay(self, mid, ann):
        return {"ann": ann / 2.0, "mid": 1.0 - 4.0 * (mid + 0.2 * ann) ** 2}


def config(env, levels, **training):
    given = {"num_steps_sampled_before_learning_starts": 50, "train_batch_size_per_learner": 32} | training
    return (
        BiACConfig()
        .environment(env, state="observations")
        .hierarchy(levels)
        .training(**given)
        .env_runners(num_envs_per_env_runner=4)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .reporting(min_sample_timesteps_per_iteration=100)
        .debugging(seed=0, log_level="ERROR")
    )


def on_stock(env, levels=(("ann",), ("mid",)), **training):
    return config(env, [list(level) for level in levels], **training).env_runners(env_runner_cls="stock")


def answers(algo):
    """Greedy play in the only state there is."""
    team = algo.learner_team()
    with torch.no_grad():
        played = team.act(torch.zeros(1, len(team.agents)))
    return {agent: float(action.flatten()[0]) for agent, action in played.items()}


# Spaces.


@pytest.mark.parametrize("game", [OneStep, Mixed], ids=["box", "mixed"])
def test_continuous_actions_reach_an_rllib_game(ray, game):
    settings = on_stock(game, num_steps_sampled_before_learning_starts=1000)
    settings.env_runners(epsilon=1.0, num_envs_per_env_runner=1)
    algo = settings.reporting(min_sample_timesteps_per_iteration=100).build_algo()
    algo.train()
    assert isinstance(algo.env_runner.module.team, LevelsTeam) and isinstance(algo.learner_team(), LevelsTeam)
    env = algo.env_runner.env.envs[0].unwrapped._games._games[0].env.env
    for agent, space in game.doing.items():
        seen = np.unique([np.asarray(actions[agent]) for actions in env.taken])
        assert len(seen) == space.n if isinstance(space, spaces.Discrete) else len(seen) > 50
    rows = algo.local_replay_buffer.sample(200).columns  # what was learned from is what was paid
    taken = zip(rows["actions", "mid"].ravel().tolist(), rows["actions", "ann"].ravel().tolist(), strict=True)
    paid = [game.pay(env, mid, ann) for mid, ann in taken]
    for agent in game.doing:
        np.testing.assert_allclose(rows["rewards", agent], [each[agent] for each in paid], atol=1e-5)
    algo.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "best"), [(OneStep, {"ann": 2.0, "mid": 0.0}), (Mixed, {"ann": 2.0, "mid": -0.4})], ids=["box", "mixed"]
)
def test_an_rllib_game_of_continuous_actions_is_learned(ray, game, best):
    settings = on_stock(game, lr=3e-3).env_runners(epsilon=[[0, 1.0], [300, 1.0], [600, 0.2]])
    algo = settings.reporting(min_sample_timesteps_per_iteration=700).build_algo()
    first = algo.train()["env_runners"]["agent_episode_returns_mean"]
    algo.train()
    last = algo.evaluate()["env_runners"]["agent_episode_returns_mean"]
    assert all(last[agent] > first[agent] for agent in game.doing)
    assert answers(algo) == pytest.approx(best, abs=0.15)
    algo.stop()


# Order.


class Numbered(ParallelEnv):
    """Each agent sees its own number and the step; two steps. `shares` pays everybody for all playing 1."""

    metadata = {"name": "numbered_v0"}  # noqa: RUF012

    def __init__(self):
        self.possible_agents, self.agents = list(ORDER), []

    def observation_space(self, agent):
        return vector(-10.0, 10.0, 2)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self):
        return {agent: np.array([i + 1, self.time], np.float32) for i, agent in enumerate(ORDER)}

    def reset(self, seed=None, options=None):
        self.agents, self.time = list(ORDER), 0
        return self.observe(), {agent: {} for agent in ORDER}

    def step(self, actions):
        self.time += 1
        self.agents = [] if self.time == 2 else list(ORDER)
        pay = float(sum(actions.values())) / 3.0
        return (
            self.observe(),
            dict.fromkeys(ORDER, pay),
            dict.fromkeys(ORDER, self.time == 2),
            dict.fromkeys(ORDER, False),
            {agent: {} for agent in ORDER},
        )


class NumberedOfRLlib(MultiAgentEnv):
    """`Numbered` as an environment of RLlib's."""

    def __init__(self, config=None):
        super().__init__()
        self.game = Numbered()
        self.possible_agents = self.agents = list(ORDER)
        self.observation_spaces = {agent: self.game.observation_space(agent) for agent in ORDER}
        self.action_spaces = {agent: self.game.action_space(agent) for agent in ORDER}

    def reset(self, *, seed=None, options=None):
        return self.game.reset(seed)

    def step(self, action_dict):
        seen, pay, terminated, truncated, infos = self.game.step(action_dict)
        over = not self.game.agents
        return seen, pay, terminated | {"__all__": over}, truncated | {"__all__": False}, infos


def trained(env, runner, remote, iterations=2):
    settings = config(env, LEVELS, lr=3e-3, gamma=0.95, tau=0.05).env_runners(
        env_runner_cls=runner, num_env_runners=int(remote)
    )
    algo = settings.env_runners(create_local_env_runner=not remote).build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


def on_runner(algo, function):
    if algo.env_runner is not None:
        return function(algo.env_runner)
    return algo.env_runner_group.foreach_env_runner(function, local_env_runner=False)[0]


def watch(runner):
    """Returns the joint states that a runner's team is shown in its next steps."""
    team, shown, act = runner.module.team, [], runner.module.team.act

    def seen(state, **given):
        shown.append(np.asarray(state))
        return act(state, **given)

    team.act = seen
    try:
        runner.sample(num_timesteps=16, explore=False)
    finally:
        del team.act
    return np.concatenate(shown)


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote_only"])
@pytest.mark.parametrize(
    ("env", "runner"),
    [(Numbered, "joint"), (Numbered, "stock"), (NumberedOfRLlib, "stock")],
    ids=["joint", "stock", "rllib"],
)
def test_all_know_the_agents_in_the_games_own_order(ray, env, runner, remote):
    algo = trained(env, runner, remote)
    assert algo.learner_team().spec.agents == tuple(ORDER)
    assert on_runner(algo, lambda runner: runner.module.team.spec.agents) == tuple(ORDER)
    assert algo._connector.agents == ORDER
    assert algo.learner_team().agents == ("zed", "ann", "mid")
    rows = algo.local_replay_buffer.sample(50).columns
    expected = {(1.0, time, 2.0, time, 3.0, time) for time in (0.0, 1.0)}
    assert {tuple(state) for state in rows["state"].tolist()} == expected
    assert {tuple(state) for state in on_runner(algo, watch).tolist()} == expected
    # Whoever plays has what the learner learned, and plays by it.
    values = algo.learner_team()
    states = torch.tensor(sorted(expected))
    played = on_runner(algo, lambda runner: {a: t.tolist() for a, t in runner.module.team.act(states).items()})
    assert played == {agent: actions.tolist() for agent, actions in values.act(states).items()}
    algo.stop()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["joint", "stock"])
def test_as_much_is_learned_without_a_local_runner(ray, runner):
    states = torch.tensor([[1.0, time, 2.0, time, 3.0, time] for time in (0.0, 1.0)])
    values = []
    for remote in (False, True):
        algo = trained(Numbered, runner, remote, iterations=5)
        team = algo.learner_team()
        assert {agent: played.tolist() for agent, played in team.act(states).items()} == {
            agent: [1, 1] for agent in ORDER
        }
        with torch.no_grad():
            values.append(team["zed"].raw(team.score(team.encode(states), {}, "zed")).amax(1))
        algo.stop()
    torch.testing.assert_close(values[0], values[1], atol=0.15, rtol=0.0)
    torch.testing.assert_close(values[0], torch.tensor([1.95, 1.0]), atol=0.15, rtol=0.0)


SCRIPT = """
import json, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
from tests.rllib.test_multi_agent_env import NumberedOfRLlib, Numbered, trained
found = []
for env, runner, remote in ((NumberedOfRLlib, "stock", True), (Numbered, "joint", False)):
    algo = trained(env, runner, remote)
    weights = algo.learner_team().weights()
    # What a remote runner plays depends on when its weights come; who is who does not.
    found.append([algo.learner_team().spec.agents, list(weights), algo._connector.agents])
    algo.stop()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_it_hangs_on_no_hash():
    root = Path(__file__).parents[2]
    found = []
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]


# Spaces of every make, and refusals before the first step.


class Other(OneStep):
    """Shows anything of its space."""

    def reset(self, *, seed=None, options=None):
        return {agent: self.seeing.sample() for agent in self.possible_agents}, {}

    def pay(self, **actions):
        return dict.fromkeys(self.possible_agents, 1.0)


class Choice(Other):
    seeing = spaces.Discrete(3)


class Parts(Other):
    seeing = spaces.Dict(a=vector(0.0, 1.0))


class Scalar(Other):
    seeing = spaces.Box(0.0, 1.0, ())


class Several(Other):
    doing = {"mid": spaces.MultiDiscrete([2, 2]), "ann": spaces.Discrete(3)}  # noqa: RUF012


class Integers(Other):
    agents = possible_agents = [0, 1]  # noqa: RUF012
    doing = {0: spaces.Discrete(2), 1: spaces.Discrete(2)}  # noqa: RUF012

    def pay(self, **actions):
        return {0: 1.0, 1: 1.0}

    def step(self, action_dict):
        assert set(action_dict) == {0, 1}
        flags = {0: True, 1: True, "__all__": True}
        return self.reset()[0], self.pay(), flags, dict.fromkeys(flags, False), {}


@pytest.mark.parametrize("runner", ["joint", "stock"])
@pytest.mark.parametrize("game", [Choice, Parts, Scalar, Several, Integers])
def test_spaces_of_all_makes_are_played(game, runner):
    levels = [["1"], ["0"]] if game is Integers else [["ann"], ["mid"]]
    settings = config(game, levels).env_runners(env_runner_cls=runner)
    settings.validate()
    assert settings.looked.steps == 200
    env = PettingZooMultiAgentEnv(game_of(game), "observations", {}, settings.looked)
    seen, _ = env.reset(seed=0)
    _, rewards, terminated, _, _ = env.step({agent: space.sample() for agent, space in env.action_spaces.items()})
    assert all(env.observation_spaces[agent].contains(own) for agent, own in seen.items())
    assert list(rewards.values()) == [1.0, 1.0] and terminated["__all__"]


class Unplayed(OneStep):
    """Fails whoever plays it."""

    def reset(self, *, seed=None, options=None):
        raise AssertionError("played")


class Unbounded(Unplayed):
    doing = {"mid": vector(-np.inf, 1.0), "ann": spaces.Discrete(3)}  # noqa: RUF012


class Nameless(OneStep):
    agents = possible_agents = []  # noqa: RUF012


class Spaceless(OneStep):
    def __init__(self, config=None):
        super().__init__()
        self.observation_spaces = None


@pytest.mark.parametrize("runner", ["joint", "stock"])
@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Unbounded, "'mid': action space Box.*finite bounds"),
        (Nameless, "Nameless: it names no agents; set `possible_agents`"),
        (Spaceless, "Spaceless.*agent 'mid' has spaces None.*set `possible_agents`, `observation_spaces`"),
        (Unplayed, r"Unplayed: the game raised AssertionError\('played'\) in reset\(\)"),
    ],
)
def test_spaces_of_rllibs_games_are_looked_at_before_play(game, message, runner):
    with pytest.raises((ValueError, GameError), match=message):
        config(game, [["ann"], ["mid"]]).env_runners(env_runner_cls=runner).validate()


def test_games_of_rllib_and_pettingzoo_refuse_a_hierarchy_with_one_sentence():
    def said(settings):
        with pytest.raises(ValueError) as refused:
            settings.validate()
        return str(refused.value)

    for levels in ([["zed"], ["mid", "bob"]], [["zed"], ["mid"]]):
        theirs = said(config(NumberedOfRLlib, levels).env_runners(env_runner_cls="stock"))
        assert theirs == said(config(Numbered, levels))
        assert "the game's agents are mid, zed, ann" in theirs


def test_games_of_rllib_have_no_state():
    with pytest.raises(ValueError, match=r"no state\(\).*Write state: observations"):
        on_stock(OneStep).environment(state="env").validate()


@pytest.mark.parametrize("runner", ["joint", "stock"])
def test_normalised_actions_are_refused(runner):
    game = Numbered if runner == "joint" else OneStep
    settings = config(game, LEVELS if game is Numbered else [["ann"], ["mid"]]).env_runners(env_runner_cls=runner)
    with pytest.raises(ValueError, match=r"normalize_actions: True .* in the game's own units"):
        settings.environment(normalize_actions=True).validate()


def test_what_a_game_of_rllib_takes_out_of_its_settings_is_there_for_the_next():
    class TakesTheFirst(OneStep):
        def __init__(self, config):
            super().__init__()
            self.first = config["map"]["pays"].pop(0)

    settings = {"map": {"pays": [3, 4, 5]}}
    assert [make_one(game_of(TakesTheFirst), settings).first for _ in range(2)] == [3, 3]


@pytest.mark.parametrize("history", [1, 2])
def test_rllibs_runner_is_told_who_is_truncated_alone(history):
    env = PettingZooMultiAgentEnv(as_seen(TruncatedAlone, history, "observations"), "observations", {})
    assert all(CUT in space.spaces for space in env.observation_spaces.values())
    env.reset(seed=0)
    cut = False
    while not cut:
        cut = env.step({agent: 0 for agent in env.possible_agents})[0]["b"][CUT].any()


def test_our_games_as_rllibs_keep_their_order():
    env = PettingZooMultiAgentEnv(Numbered, "observations", {})
    assert env.possible_agents == list(env.observation_spaces) == ORDER
    assert env.reset(seed=0)[0]["zed"]["state"].tolist() == [1, 0, 2, 0, 3, 0]
