"""Approximators pi'_i(o_i): each agent plays its part of the equilibrium by its own observation; exact answers."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.evaluation import Trained, greedy_on_observations, play
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.transitions import NEXT_OBS, OBS
from tests.games import Probe
from tests.training import Run, checked, train

LEADS = [["one"], ["two"]]
BITS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # what one and two see, in each of four equally likely states
SEEN = np.array([[0.0], [1.0]], np.float32)


class Secrets(Probe):
    """Each player sees its own secret bit; the payoffs, of one step, hang on both."""

    observation = spaces.Box(0.0, 1.0, (1,), np.float32)
    num_actions = (3, 3)
    payoffs = np.random.default_rng(2592).normal(size=(2, 4, 3, 3))  # (agent, state, a_1, a_2)

    def __init__(self):
        super().__init__()
        self.state_space = spaces.Box(0.0, 1.0, (4,), np.float32)

    def start(self):
        self.at = int(self.rng.integers(4))

    def state(self):
        return np.eye(4, dtype=np.float32)[self.at]

    def observe(self):
        return {agent: np.float32([bit]) for agent, bit in zip(self.possible_agents, BITS[self.at], strict=True)}

    def pay(self, one, two):
        return self.payoffs[:, self.at, one, two], True, False


class SecretTargets(Secrets):
    """The follower is paid for coming near a target that hangs on the state and a_1, the leader for high answers."""

    targets = np.random.default_rng(3).uniform(-0.8, 0.8, size=(4, 3))  # (state, a_1)

    def action_space(self, agent):
        return spaces.Discrete(3) if agent == "one" else spaces.Box(-1.0, 1.0, (1,), np.float32)

    def pay(self, one, two):
        return (float(two[0]), -float((two[0] - self.targets[self.at, one]) ** 2)), True, False


def by_bit(values, agent):
    """Averages values of the four states over what an agent does not see: (4, ...) -> (2, ...)."""
    return np.stack([values[BITS[:, agent] == bit].mean(0) for bit in range(2)])


def exact(payoffs):
    """Returns both agents' actions by their own bits, and those of a leader who expects to be answered blindly."""
    states = np.arange(4)
    answers = payoffs[1].argmax(2)  # (state, a_1)
    one = by_bit(np.take_along_axis(payoffs[0], answers[..., None], 2)[..., 0], 0).argmax(1)  # pi'_1
    two = by_bit(payoffs[1][states, one[BITS[:, 0]]], 1).argmax(1)  # pi'_2
    blind = by_bit(payoffs[0][states, :, two[BITS[:, 1]]], 0).argmax(1)
    return one, two, blind


def trained(env, steps, seed=0):
    return train(BiAC, env, LEADS, steps, seed=seed, approximators=True, lr=3e-3, epsilon=[[0, 1.0], [500, 0.3]])


@pytest.fixture(scope="module")
def secrets():
    return trained(Secrets, 1400)


def apart(run):
    return list(greedy_on_observations(run.team, dict.fromkeys(["one", "two"], SEEN)).values())


def test_they_play_the_exact_answer_to_what_they_see(secrets):
    one, two, blind = exact(Secrets.payoffs)
    assert list(one) != list(blind), "a leader that expects a blind answer would do the same"
    played = apart(secrets)
    np.testing.assert_array_equal(played[0], one)
    np.testing.assert_array_equal(played[1], two)


@pytest.mark.slow
def test_a_continuous_follower_comes_to_the_mean_of_what_it_should_do():
    run = trained(SecretTargets, 1800, seed=1)  # one of those whose network died before critics had a head start
    states = np.arange(4)
    one = by_bit(SecretTargets.targets, 0).argmax(1)  # fully informed, the follower plays the target
    two = by_bit(SecretTargets.targets[states, one[BITS[:, 0]]], 1)
    played = apart(run)
    np.testing.assert_array_equal(played[0], one)
    np.testing.assert_allclose(played[1][:, 0], two, atol=0.08)


def test_no_gradient_of_theirs_reaches_critics_or_actors(secrets):
    losses, batch = secrets.trainer.losses, secrets.minibatch(secrets.replay.sample(32))
    measured = losses.losses(batch, losses.forward_online(batch))
    theirs = [loss for (_, name), loss in measured.items() if name == "approximator_loss"]
    assert len(theirs) == 2 and len(measured) == 5
    losses.networks.differentiate(sum(theirs))
    moved = {network for keys, group in losses.networks.groups for _, network in keys if group.grad.any()}
    assert moved == {"approximator"}


def test_what_they_learn_changes_nothing_of_the_full_game():
    """From equal networks, with and without: critics and actor stay equal to the last bit."""
    both = [Run(BiAC, Secrets, LEADS, approximators=given, approximated_share=0.0) for given in (True, False)]
    teams = [run.team for run in both]
    for agent in ("one", "two"):
        teams[0][agent].load_state_dict(teams[1][agent].state_dict(), strict=False)
    for run, approximators in zip(both, (True, False), strict=True):
        run.train(300)
        assert run.trainer.num_updates > 200
        assert ((OBS, "one") in run.replay.columns) == approximators
        assert ((NEXT_OBS, "two") in run.replay.columns) == approximators
    with_them, without = (run.weights() for run in both)
    for name, value in without.items():
        torch.testing.assert_close(with_them[name], value, rtol=0, atol=0)


def test_some_games_are_played_by_observations():
    """With epsilon 0 the last games act as the approximators would, the first ones by the state."""
    run = Run(BiAC, Secrets, LEADS, approximators=True, epsilon=0.0, approximated_share=0.4)
    with torch.no_grad():  # one answer for the state, another one for observations
        for agent, wanted in (("one", 2), ("two", 1)):
            last = run.team[agent].approximator.layers[-1]
            last.weight.zero_()
            last.bias.copy_(torch.eye(3)[wanted])
        last = run.team["one"].critic.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.eye(9)[0])
    rows = run.sampler.sample(10)
    np.testing.assert_array_equal(rows.columns["actions", "one"], [0] * 6 + [2] * 4)
    np.testing.assert_array_equal(rows.columns["actions", "two"][6:], [1] * 4)


def test_they_are_saved_and_play_in_any_program(secrets, tmp_path):
    StackelbergPolicy.from_module(secrets.team).save(tmp_path / "policy")
    policy = StackelbergPolicy.load(tmp_path / "policy")
    together = policy.act(observations=dict.fromkeys(["one", "two"], SEEN))
    for agent, actions in zip(("one", "two"), apart(secrets), strict=True):
        np.testing.assert_array_equal(together[agent], actions)
        np.testing.assert_array_equal(policy.agent(agent).act(observation=SEEN), actions)
        assert policy.agent(agent).act(observation=SEEN[1]) == actions[1]
    states = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(policy.agent("one").act(state=states), policy.act(states)["one"])


def test_evaluation_plays_them(secrets):
    """At its best the game pays less where each sees its own bit only."""
    one, two, _ = exact(Secrets.payoffs)
    pays = {float(np.float32(Secrets.payoffs[0, s, one[BITS[s, 0]], two[BITS[s, 1]]])) for s in range(4)}
    game = Trained(secrets.team, Secrets)
    played = play(game, episodes=30, seed=0, on_observations=True)
    assert {float(np.float32(value)) for value in played.returns["one"]} == pays
    assert {float(np.float32(value)) for value in play(game, episodes=30, seed=0).returns["one"]} != pays


def test_without_them_an_observation_is_refused():
    team = Run(BiAC, Secrets, LEADS).team
    with pytest.raises(ValueError, match="no approximator was trained"):
        StackelbergPolicy.from_module(team).agent("one").act(observation=SEEN)
    with pytest.raises(ValueError, match="approximators: true"):
        team.act_on_observations({})


@pytest.mark.parametrize(("key", "value"), [("approximators", "yes"), ("approximated_share", 1.5)])
def test_settings_are_checked(key, value):
    with pytest.raises(ValueError, match=key):
        checked(BiAC, LEADS, **{key: value})
