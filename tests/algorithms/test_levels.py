"""Bi-AC on hierarchies of any depth, with discrete and continuous actions (Eqs. 17-22), against exact answers."""

import itertools

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.levels_losses import LOOK_EVERY, LevelsLosses
from rllib_biac.algorithms.biac.levels_team import LevelsTeam
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.envs.stackelberg_duopoly_v0 import equilibrium
from rllib_biac.equilibria import hierarchy_se
from rllib_biac.evaluation import greedy
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.networks import call_frozen
from rllib_biac.learning.team import copy_weights
from rllib_biac.learning.transitions import STATE
from rllib_biac.walk import concatenated
from tests.games import Continuous
from tests.training import Run, train

ONE = np.ones((1, 1), np.float32)
TANH = MODEL_DEFAULTS | {"fcnet_hiddens": [32, 32], "fcnet_activation": "tanh"}
# Training as a config without other settings has it.
LEVELS = {"lr": 3e-3, "training_intensity": 16.0}


def matrix_game(payoffs):
    """One state, one step: payoffs (n, |A_1|, ..., |A_n|)."""
    payoffs = np.asarray(payoffs, float)
    transitions = np.zeros((1, *payoffs.shape[1:], 1))
    return {"rewards": payoffs[:, None].tolist(), "transitions": transitions.tolist()}


def duopoly(steps, losses_class=None, lr=3e-3, **env_config):
    """Trains two firms; rates fall towards the end, so that quantities stay where they are."""
    return train(
        BiAC,
        "stackelberg_duopoly_v0",
        [["firm_0"], ["firm_1"]],
        steps,
        env_config=env_config,
        losses_class=losses_class,
        lr=[[0, lr], [steps // 2, lr], [steps, 0.1 * lr]],
        training_intensity=32.0,
        epsilon=[[0, 1.0], [steps // 4, 1.0], [steps // 4 + 1, 0.1]],
        model_config=TANH,
    )


def joint(run, agents):
    actions = greedy(run.team, ONE)
    return tuple(int(actions[agent][0]) for agent in agents)


def quantities(run):
    return np.concatenate([quantity.ravel() for quantity in greedy(run.team, ONE).values()])


@pytest.mark.parametrize(
    "hierarchy",
    [
        [[0], [1], [2]],
        pytest.param([[2], [0], [1]], marks=pytest.mark.slow),
        pytest.param([[0], [1, 2]], marks=pytest.mark.slow),
        pytest.param([[0, 1], [2]], marks=pytest.mark.slow),
    ],
)
def test_three_players_end_at_the_exact_equilibrium(hierarchy):
    """A random game of which the hierarchy has one clear equilibrium, found by enumeration."""
    for index in itertools.count():
        payoffs = np.random.default_rng([7, index]).normal(size=(3, 3, 3, 3))
        exact = hierarchy_se(payoffs, hierarchy)
        # Peers may have several answers to actions nobody takes; those with one everywhere are judged here.
        if all(subgame.sum() == _actions_above(level, hierarchy) for level, subgame in enumerate(exact.subgames)):
            break
    names = [f"player_{i}" for i in range(3)]
    named = [[names[i] for i in level] for level in hierarchy]
    run = train(BiAC, "markov_game_v0", named, 5000, env_config=matrix_game(payoffs), actor_lr=1e-3, **LEVELS)
    assert type(run.team) is LevelsTeam
    assert joint(run, names) == exact.optimistic


def _actions_above(level, hierarchy):
    return 3 ** sum(len(agents) for agents in hierarchy[:level])


def test_one_walk_scores_all_of_an_agents_actions():
    """`score` against the walk written down for one action after the other."""
    names = ["player_0", "player_1", "player_2"]
    payoffs = np.random.default_rng(0).normal(size=(3, 2, 3, 4))
    team = Run(BiAC, "markov_game_v0", [[name] for name in names], env_config=matrix_game(payoffs)).team
    x = torch.randn(5, 1)
    with torch.no_grad():
        scores = team.score(x, {}, "player_0")
        for a0 in range(2):
            actions = {"player_0": torch.eye(2)[a0].expand(5, 2)}
            for name, size in (("player_1", 3), ("player_2", 4)):
                logits = team[name].actor(torch.cat([x, *actions.values()], 1))
                actions[name] = torch.eye(size)[logits.argmax(1)]
            q = team["player_0"].critic(torch.cat([x, *actions.values()], 1)).squeeze(1)
            torch.testing.assert_close(scores[:, a0], q)


@pytest.mark.parametrize(("game", "played"), [("escape_v0", (2, 2)), ("maintain_v0", (0, 0))])
@pytest.mark.slow
def test_networks_that_take_actions_in_learn_what_those_that_answer_at_once_do(game, played):
    by_levels = Algorithm("BiAC", BiACSettings, LevelsTeam, LevelsLosses)
    run = train(by_levels, game, [["player_0"], ["player_1"]], 3000, **LEVELS)
    assert type(run.team) is LevelsTeam
    assert joint(run, ["player_0", "player_1"]) == played


class SimultaneousLosses(LevelsLosses):
    """Eq. 22 with the actions below held fixed, as it can be read: no answer is felt by whoever it answers."""

    def commitment_loss(self, agent, output, x, given, masks):
        own, action = self.team[agent], output.tanh()
        with torch.no_grad():
            answered = self.team.play(x, masks).answered({**given, agent: action}, own.level + 1)
        return -call_frozen(own.critic, concatenated(x, answered | {agent: action}, self.agents)).mean()


@pytest.fixture(scope="module")
def two_firms():
    """Bi-AC, trained on the duopoly."""
    return duopoly(3000, lr=6e-3)


@pytest.mark.slow
def test_answers_must_be_felt_by_the_leader(two_firms):
    """With the total derivative Stackelberg's (1/2, 1/4); with the answers held fixed Cournot's (1/3, 1/3)."""
    np.testing.assert_allclose(quantities(two_firms), equilibrium(2), atol=0.06)
    np.testing.assert_allclose(quantities(duopoly(3000, SimultaneousLosses, lr=6e-3)), [1 / 3, 1 / 3], atol=0.06)


def test_the_leaders_gradient_is_the_total_derivative():
    """Of the loss of its own action: finite differences through the follower's answer, and without the answer."""
    for losses_class, felt in ((None, True), (SimultaneousLosses, False)):
        run = Run(
            BiAC, "stackelberg_duopoly_v0", [["firm_0"], ["firm_1"]], losses_class=losses_class, model_config=TANH
        )
        losses, x = run.trainer.losses, torch.ones(1, 1)
        one, two = (run.team[agent] for agent in ("firm_0", "firm_1"))
        output = torch.tensor([[0.3]], requires_grad=True)
        (gradient,) = torch.autograd.grad(losses.commitment_loss("firm_0", output, x, {}, {}), output)

        def worth(value, answer_to, one=one, two=two, x=x):
            action, other = torch.tensor([[value]]).tanh(), torch.tensor([[answer_to]]).tanh()
            answer = two.actor(torch.cat([x, other], 1)).tanh()
            return one.critic(torch.cat([x, action, answer], 1)).item()

        step = 1e-2
        high, low = (worth(0.3 + d, 0.3 + d if felt else 0.3) for d in (step, -step))
        assert -gradient.item() == pytest.approx((high - low) / (2 * step), rel=2e-2, abs=1e-4)


@pytest.mark.slow
def test_a_leader_with_a_list_of_quantities_and_a_follower_with_any():
    actions = greedy(duopoly(5000, discrete={"firm_0": 7}).team, ONE)
    assert int(actions["firm_0"][0]) == 3  # 1/2
    np.testing.assert_allclose(actions["firm_1"].ravel(), [0.25], atol=0.06)


@pytest.mark.slow
def test_a_leader_with_any_quantity_and_a_follower_with_a_list():
    """The follower's answers to what the leader offers are the best of its list; the leader reckons with them."""
    actions = greedy(duopoly(6000, discrete={"firm_1": 33}).team, ONE)
    q0, q1 = float(actions["firm_0"][0, 0]), int(actions["firm_1"][0]) / 32
    assert abs(q1 - (1 - q0) / 2) < 0.05  # a best response, to within the grid and a little
    assert (1 - q0 - q1) * q0 > 0.11  # 1/8 at best; Cournot's 1/9 is less


def test_what_plays_needs_no_more_than_what_is_kept_for_play(two_firms):
    alone = LevelsTeam(two_firms.team.spec)
    alone.drop_training_only()
    copy_weights(two_firms.team, alone)
    assert not hasattr(alone["firm_0"], "critic")
    np.testing.assert_equal(greedy(alone, ONE), greedy(two_firms.team, ONE))


def test_what_is_for_pairs_alone_is_refused_elsewhere():
    with pytest.raises(ValueError, match="response: 'sampled' is for one leader and one follower"):
        Run(BiAC, "stackelberg_duopoly_v0", [["firm_0"], ["firm_1"]], response="sampled")


class TwoPeaks(Continuous):
    """What the leader is paid has a low wide peak at -0.5 and a high narrow one at 0.6; the follower should copy it."""

    def pay(self, one, two):
        a1, a2 = float(one[0]), float(two[0])
        peaks = 0.6 * np.exp(-((a1 + 0.5) ** 2) / 0.3) + np.exp(-((a1 - 0.6) ** 2) / 0.08)
        return (float(peaks) - (a2 - a1) ** 2, -((a2 - a1) ** 2)), True, False


class Wanted(torch.nn.Module):
    """A critic that knows the leader's peaks, whatever the follower does."""

    def forward(self, x):
        a1 = x[..., 2:3]
        return 0.6 * torch.exp(-((a1 + 0.5) ** 2) / 0.3) + torch.exp(-((a1 - 0.6) ** 2) / 0.08)


def test_actors_see_higher_peaks_from_lower_ones_and_none_from_the_highest():
    losses = Run(BiAC, TwoPeaks, [["one"], ["two"]], actor_tries=64).trainer.losses
    losses.team["one"].critic = Wanted()
    own = torch.tensor([[-0.5], [0.1], [0.6], [0.55]])
    higher, there = losses.higher_peaks("one", own, torch.zeros(4, 2), {}, {})
    assert higher.tolist() == [True, True, False, False]
    assert (there[:2] - 0.6).abs().max() < 0.2


@pytest.mark.parametrize(
    ("env", "agents", "activation", "rms_norm"),
    [
        ("stackelberg_duopoly_v0", ["firm_0", "firm_1"], "silu", False),
        ("escape_v0", ["player_0", "player_1"], "relu", True),
    ],
)
def test_networks_are_smooth_where_actions_are_continuous_and_a_pairs_normalised(env, agents, activation, rms_norm):
    team = Run(BiAC, env, [[agent] for agent in agents]).team
    own = [network for agent in agents for network in team[agent].networks().values()]
    assert {(network.activation, network.rms_norm) for network in own} == {(activation, rms_norm)}


def test_actors_look_around_in_a_quarter_of_all_updates():
    losses = Run(BiAC, TwoPeaks, [["one"], ["two"]]).trainer.losses

    def looks_at(update):
        losses.num_updates = update
        return losses.looks_around("one")

    looks = [looks_at(update) for update in range(2 * LOOK_EVERY)]
    assert np.mean(looks) == 0.25 and not any(looks[: LOOK_EVERY // 2])
    losses.settings.actor_tries = 0
    assert not looks_at(LOOK_EVERY - 1)


@pytest.mark.parametrize(("tries", "ends_at"), [(0, -0.5), (64, 0.6)])
@pytest.mark.slow
def test_an_actor_at_the_lower_peak_comes_to_the_higher_one_if_it_looks_around(tries, ends_at):
    losses = Run(BiAC, TwoPeaks, [["one"], ["two"]], actor_tries=tries, model_config=TANH).trainer.losses
    one = losses.team["one"]
    one.critic, batch = Wanted(), {STATE: torch.zeros(64, 2)}
    with torch.no_grad():
        list(one.actor.parameters())[-1].fill_(float(np.arctanh(-0.5)))
    adam = torch.optim.Adam(one.actor.parameters(), 3e-3)
    for losses.num_updates in range(LOOK_EVERY):
        adam.zero_grad()
        losses.actor_loss("one", batch).backward()
        adam.step()
    assert abs(one.actor(batch[STATE]).tanh()[0].item() - ends_at) < 0.05


@pytest.mark.slow
def test_a_continuous_leader_by_soft_q_learning_finds_the_higher_peak():
    settings = {"continuous_leader": "soft_q", "lr": 3e-3, "training_intensity": 32.0, "model_config": TANH}
    run = train(BiAC, TwoPeaks, [["one"], ["two"]], 4000, **settings)
    state = np.float32([[1.0, 0.0]])
    actions = greedy(run.team, state)
    assert abs(actions["one"].item() - 0.6) < 0.1
    assert abs(actions["two"].item() - actions["one"].item()) < 0.1
    policy = StackelbergPolicy.from_module(run.team)
    for agent, action in actions.items():
        np.testing.assert_allclose(policy.agent(agent).act(state=state), action, atol=1e-5)


def test_the_value_of_a_state_is_soft_for_a_soft_leader():
    """T log E exp(Q / T) over the actions tried, written out, with target networks; it lies between mean and best."""
    run = Run(BiAC, TwoPeaks, [["one"], ["two"]], continuous_leader="soft_q", normalize_targets=False)
    team, temperature = run.team, 0.1
    state = torch.randn(5, 2)
    rows = {("rewards", agent): torch.zeros(5) for agent in ("one", "two")}
    rows |= {"next_state": state, "terminated": torch.zeros(5, dtype=torch.bool)}
    with torch.no_grad():
        tried, q = team["one"].tried, []
        assert tried.shape == (64, 1) and tried.min() > -1.0 and tried.max() < 1.0
        for action in tried:
            answered = team.play(state).answered({"one": action.expand(5, 1)}, 1)
            q.append(team["one"].critic_target(concatenated(state, answered, team.agents)).squeeze(1))
        soft = temperature * ((torch.stack(q, 1) / temperature).exp().mean(1)).log()
    torch.testing.assert_close(run.trainer.losses.compute_targets(rows)["one"], 0.99 * soft, atol=1e-5, rtol=1e-4)


def test_soft_q_learning_is_refused_to_a_discrete_leader():
    with pytest.raises(ValueError, match="soft_q is for one leader with continuous actions"):
        Run(BiAC, "escape_v0", [["player_0"], ["player_1"]], continuous_leader="soft_q")
