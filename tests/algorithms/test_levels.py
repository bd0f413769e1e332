"""Bi-AC on hierarchies of any depth, with discrete and continuous actions (Eqs. 17-22), against exact answers."""

import itertools

import numpy as np
import pytest
import torch

from rllib_biac import BiACConfig
from rllib_biac.algorithms.biac.levels_learner import LevelsLearner
from rllib_biac.algorithms.biac.levels_rl_module import LevelsModule
from rllib_biac.core.play import load
from rllib_biac.envs.stackelberg_duopoly_v0 import equilibrium
from rllib_biac.equilibria import hierarchy_se
from rllib_biac.execution import StackelbergPolicy
from tests.core.games import Continuous, learner_of

ONE = np.ones((1, 1), np.float32)


def matrix_game(payoffs):
    """One state, one step: payoffs (n, |A_1|, ..., |A_n|)."""
    payoffs = np.asarray(payoffs, float)
    transitions = np.zeros((1, *payoffs.shape[1:], 1))
    return {"rewards": payoffs[:, None].tolist(), "transitions": transitions.tolist()}


def levels(hierarchy, **training):
    return (
        BiACConfig()
        .hierarchy(hierarchy)
        .training(**{"lr": 3e-3, "num_steps_sampled_before_learning_starts": 50} | training)
        .env_runners(num_envs_per_env_runner=10)
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .reporting(min_sample_timesteps_per_iteration=500)
        .debugging(seed=0, log_level="ERROR")
    )


def duopoly(learner_class=None, **settings):
    """Two firms; rates fall towards the end, so that quantities stay where they are."""
    configured = (
        levels([["firm_0"], ["firm_1"]], lr=[[0, 3e-3], [3000, 3e-3], [6000, 3e-4]], training_intensity=32)
        .environment("stackelberg_duopoly_v0", env_config=settings)
        .env_runners(epsilon=[[0, 1.0], [1500, 1.0], [1501, 0.1]])
        .rl_module(model_config={"fcnet_hiddens": [32, 32], "fcnet_activation": "tanh"})
    )
    return configured.learners(learner_class=learner_class) if learner_class else configured


def train(configured, steps):
    algo = configured.build_algo()
    for _ in range(steps // 500):
        algo.train()
    return algo


def played(algo, state=ONE):
    with torch.no_grad():
        actions = algo.env_runner.module.act(torch.from_numpy(state))
    return {agent: action.numpy() for agent, action in actions.items()}


def joint(algo, agents):
    actions = played(algo)
    return tuple(int(actions[agent][0]) for agent in agents)


def quantities(algo):
    return np.concatenate([quantity.ravel() for quantity in played(algo).values()])


@pytest.mark.parametrize("hierarchy", [[[0], [1], [2]], [[2], [0], [1]], [[0], [1, 2]], [[0, 1], [2]]])
def test_three_players_end_at_the_exact_equilibrium(ray, hierarchy):
    """A random game of which the hierarchy has one clear equilibrium, found by enumeration."""
    for index in itertools.count():
        payoffs = np.random.default_rng([7, index]).normal(size=(3, 3, 3, 3))
        exact = hierarchy_se(payoffs, hierarchy)
        # Peers may have several answers to actions nobody takes; those with one everywhere are judged here.
        if all(subgame.sum() == _actions_above(level, hierarchy) for level, subgame in enumerate(exact.subgames)):
            break
    names = [f"player_{i}" for i in range(3)]
    configured = levels([[names[i] for i in level] for level in hierarchy], actor_lr=1e-3)
    algo = train(configured.environment("markov_game_v0", env_config=matrix_game(payoffs)), 5000)
    assert type(algo.env_runner.module) is LevelsModule
    assert joint(algo, names) == exact.optimistic
    algo.stop()


def _actions_above(level, hierarchy):
    return 3 ** sum(len(agents) for agents in hierarchy[:level])


def test_one_walk_scores_all_of_an_agents_actions(ray):
    """`score` against the walk written down for one action after the other."""
    names = ["player_0", "player_1", "player_2"]
    payoffs = np.random.default_rng(0).normal(size=(3, 2, 3, 4))
    configured = levels([[name] for name in names]).environment("markov_game_v0", env_config=matrix_game(payoffs))
    algo = configured.build_algo()
    module = learner_of(algo).module
    x = torch.randn(5, 1)
    with torch.no_grad():
        scores = module.score(x, {}, "player_0")
        for a0 in range(2):
            actions = {"player_0": torch.eye(2)[a0].expand(5, 2)}
            for name, size in (("player_1", 3), ("player_2", 4)):
                logits = module.agent(name).actor(torch.cat([x, *actions.values()], 1))
                actions[name] = torch.eye(size)[logits.argmax(1)]
            q = module.agent("player_0").critic(torch.cat([x, *actions.values()], 1)).squeeze(1)
            torch.testing.assert_close(scores[:, a0], q)
    algo.stop()


@pytest.mark.parametrize("game", ["escape_v0", "maintain_v0"])
def test_networks_that_take_actions_in_learn_what_those_that_answer_at_once_do(ray, game, monkeypatch):
    monkeypatch.setattr("rllib_biac.algorithms.biac.biac._one_leads_one", lambda hierarchy: False)
    algo = train(levels([["player_0"], ["player_1"]]).environment(game), 3000)
    assert type(algo.env_runner.module) is LevelsModule
    assert joint(algo, ["player_0", "player_1"]) == {"escape_v0": (2, 2), "maintain_v0": (0, 0)}[game]
    algo.stop()


class SimultaneousLearner(LevelsLearner):
    """Eq. 22 with the actions below held fixed, as it can be read: no answer is felt by whoever it answers."""

    def actor_loss(self, agent, batch):
        answers = self.module.answers
        self.module.answers = lambda *args, **kwargs: {
            name: action if name in args[1] else action.detach() for name, action in answers(*args, **kwargs).items()
        }
        try:
            return super().actor_loss(agent, batch)
        finally:
            del self.module.answers


@pytest.fixture(scope="module")
def two_firms(ray):
    """Bi-AC, trained on the duopoly."""
    algo = train(duopoly(), 6000)
    yield algo
    algo.stop()


def test_answers_must_be_felt_by_the_leader(two_firms):
    """With the total derivative Stackelberg's (1/2, 1/4); with the answers held fixed Cournot's (1/3, 1/3)."""
    np.testing.assert_allclose(quantities(two_firms), equilibrium(2), atol=0.06)
    algo = train(duopoly(SimultaneousLearner), 6000)
    np.testing.assert_allclose(quantities(algo), [1 / 3, 1 / 3], atol=0.06)
    algo.stop()


def test_a_leader_with_a_list_of_quantities_and_a_follower_with_any(ray):
    algo = train(duopoly(discrete={"firm_0": 7}), 5000)
    actions = played(algo)
    assert int(actions["firm_0"][0]) == 3  # 1/2
    np.testing.assert_allclose(actions["firm_1"].ravel(), [0.25], atol=0.06)
    algo.stop()


def test_a_leader_with_any_quantity_and_a_follower_with_a_list(ray):
    """The follower's answers to what the leader offers are the best of its list; the leader reckons with them."""
    algo = train(duopoly(discrete={"firm_1": 33}), 6000)
    q0, q1 = float(played(algo)["firm_0"][0, 0]), int(played(algo)["firm_1"][0]) / 32
    assert abs(q1 - (1 - q0) / 2) < 0.05  # a best response, to within the grid and a little
    assert (1 - q0 - q1) * q0 > 0.11  # 1/8 at best; Cournot's 1/9 is less
    algo.stop()


def test_a_checkpoint_plays_as_what_was_saved(two_firms, tmp_path):
    before = played(two_firms)
    _, module = load(two_firms.save_to_path(str(tmp_path)))
    with torch.no_grad():
        after = module.act(torch.from_numpy(ONE))
    for agent, action in before.items():
        np.testing.assert_array_equal(action, after[agent].numpy())


def test_what_is_for_pairs_alone_is_refused_elsewhere():
    configured = levels([["firm_0"], ["firm_1"]], response="sampled").environment("stackelberg_duopoly_v0")
    with pytest.raises(ValueError, match="response: 'sampled' is for one leader and one follower"):
        configured.validate()


class TwoPeaks(Continuous):
    """What the leader is paid has a low wide peak at -0.5 and a high narrow one at 0.6; the follower should copy it."""

    def pay(self, one, two):
        a1, a2 = float(one[0]), float(two[0])
        peaks = 0.6 * np.exp(-((a1 + 0.5) ** 2) / 0.3) + np.exp(-((a1 - 0.6) ** 2) / 0.08)
        return (float(peaks) - (a2 - a1) ** 2, -((a2 - a1) ** 2)), True, False


def test_a_continuous_leader_by_soft_q_learning_finds_the_higher_peak(ray):
    configured = levels([["one"], ["two"]], continuous_leader="soft_q", training_intensity=32).environment(TwoPeaks)
    algo = train(configured.rl_module(model_config={"fcnet_hiddens": [32, 32], "fcnet_activation": "tanh"}), 4000)
    state = np.float32([[1.0, 0.0]])
    actions = played(algo, state)
    assert abs(actions["one"].item() - 0.6) < 0.1
    assert abs(actions["two"].item() - actions["one"].item()) < 0.1
    policy = StackelbergPolicy.from_module(algo.env_runner.module)
    for agent, action in actions.items():
        np.testing.assert_allclose(policy.agent(agent).act(state=state), action, atol=1e-5)
    algo.stop()


def test_the_value_of_a_state_is_soft_for_a_soft_leader(ray):
    """T log E exp(Q / T) over the actions tried, written out, with target networks; it lies between mean and best."""
    configured = levels([["one"], ["two"]], continuous_leader="soft_q", normalize_targets=False)
    algo = configured.environment(TwoPeaks).build_algo()
    learner = learner_of(algo)
    module, temperature = learner.module, 0.1
    state = torch.randn(5, *module.agent("one").state_shape)
    rows = {("rewards", agent): torch.zeros(5) for agent in ("one", "two")}
    rows |= {"next_state": state, "terminated": torch.zeros(5, dtype=torch.bool)}
    with torch.no_grad():
        tried, q = module.agent("one").tried, []
        assert tried.shape == (64, 1) and tried.min() > -1.0 and tried.max() < 1.0
        for action in tried:
            answers = module.answers(state, {"one": action.expand(5, 1)}, 1)
            q.append(module.agent("one").critic_target(module.joint(state, answers)).squeeze(1))
        soft = temperature * ((torch.stack(q, 1) / temperature).exp().mean(1)).log()
    torch.testing.assert_close(learner.compute_targets(rows)["one"], 0.99 * soft, atol=1e-5, rtol=1e-4)
    algo.stop()


def test_soft_q_learning_is_refused_to_a_discrete_leader():
    with pytest.raises(ValueError, match="soft_q is for one leader with continuous actions"):
        levels([["player_0"], ["player_1"]], continuous_leader="soft_q").environment("escape_v0").validate()
