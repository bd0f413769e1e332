"""Approximators pi'_i(o_i): each agent plays its part of the equilibrium by its own observation; exact answers."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_biac.core.play import load, play
from rllib_biac.core.transitions import NEXT_OBS, OBS
from rllib_biac.execution import StackelbergPolicy
from tests.core.games import Probe, config, learner_of

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


def trained(env, steps, seed=0, **training):
    configured = config(env, approximators=True, lr=3e-3, **training).env_runners(epsilon=[[0, 1.0], [500, 0.3]])
    algo = configured.debugging(seed=seed).build_algo()
    for _ in range(steps // 200):
        algo.train()
    return algo


@pytest.fixture(scope="module")
def secrets(ray):
    algo = trained(Secrets, 1400)
    yield algo
    algo.stop()


def apart(algo):
    with torch.no_grad():
        actions = algo.env_runner.module.act_on_observations(dict.fromkeys(["one", "two"], torch.from_numpy(SEEN)))
    return [actions[agent].numpy() for agent in ("one", "two")]


def test_they_play_the_exact_answer_to_what_they_see(secrets):
    one, two, blind = exact(Secrets.payoffs)
    assert list(one) != list(blind), "a leader that expects a blind answer would do the same"
    played = apart(secrets)
    np.testing.assert_array_equal(played[0], one)
    np.testing.assert_array_equal(played[1], two)


def test_a_continuous_follower_comes_to_the_mean_of_what_it_should_do(ray):
    algo = trained(SecretTargets, 1800, seed=1)  # one of those whose network died before critics had a head start
    states = np.arange(4)
    one = by_bit(SecretTargets.targets, 0).argmax(1)  # fully informed, the follower plays the target
    two = by_bit(SecretTargets.targets[states, one[BITS[:, 0]]], 1)
    played = apart(algo)
    np.testing.assert_array_equal(played[0], one)
    np.testing.assert_allclose(played[1][:, 0], two, atol=0.08)
    algo.stop()


def test_no_gradient_of_theirs_reaches_critics_or_actors(secrets):
    learner = learner_of(secrets)
    rows = secrets.local_replay_buffer.sample(32)
    batch = {key: torch.from_numpy(column) for key, column in rows.columns.items()}
    losses = learner.approximator_losses(learner.forward_online(batch), batch)
    gradients = torch.autograd.grad(sum(losses.values()), learner._leaves, allow_unused=True, materialize_grads=True)
    moved = [float(gradient.abs().sum()) for gradient in gradients]
    kinds = [keys[0][1] for keys, group in learner._groups for _ in group.leaves]
    assert {kind for kind, size in zip(kinds, moved, strict=True) if size} == {"approximator"}


def test_what_they_learn_changes_nothing_of_the_full_game(ray):
    """From equal networks, with and without: critics and actor stay equal to the last bit."""
    algos = [
        config(Secrets, approximators=approximators).env_runners(approximated_share=0.0).build_algo()
        for approximators in (True, False)
    ]
    modules = [[learner_of(algo).module[agent].unwrapped() for agent in ("one", "two")] for algo in algos]
    for without, with_them in zip(*reversed(modules), strict=True):
        with_them.load_state_dict(without.state_dict(), strict=False)
    for algo, approximators in zip(algos, (True, False), strict=True):
        algo._sync_weights()
        algo.train()
        assert ((OBS, "one") in algo.local_replay_buffer.columns) == approximators
        assert ((NEXT_OBS, "two") in algo.local_replay_buffer.columns) == approximators
        algo.stop()
    for without, with_them in zip(*reversed(modules), strict=True):
        for name, value in without.state_dict().items():
            torch.testing.assert_close(with_them.state_dict()[name], value, rtol=0, atol=0)


def test_some_games_are_played_by_observations(ray):
    """With epsilon 0 the last games act as the approximators would, the first ones by the state."""
    algo = config(Secrets, approximators=True).env_runners(epsilon=0.0, approximated_share=0.4).build_algo()
    runner = algo.env_runner
    with torch.no_grad():  # one answer for the state, another one for observations
        for agent, wanted in (("one", 2), ("two", 1)):
            last = runner.module[agent].unwrapped().approximator.layers[-1]
            last.weight.zero_()
            last.bias.copy_(torch.eye(3)[wanted])
        runner.module["one"].unwrapped().critic.layers[-1].weight.zero_()
        runner.module["one"].unwrapped().critic.layers[-1].bias.copy_(torch.eye(9)[0])
    (rows,) = runner.sample(num_timesteps=10)
    np.testing.assert_array_equal(rows.columns["actions", "one"], [0] * 6 + [2] * 4)
    np.testing.assert_array_equal(rows.columns["actions", "two"][6:], [1] * 4)
    algo.stop()


def test_they_are_saved_and_play_in_any_program(secrets, tmp_path):
    folder = secrets.save_to_path(str(tmp_path / "checkpoint"))
    _, module = load(folder)
    played = apart(secrets)
    with torch.no_grad():
        again = module.act_on_observations(dict.fromkeys(["one", "two"], torch.from_numpy(SEEN)))
    StackelbergPolicy.load(folder).save(tmp_path / "policy")
    policy = StackelbergPolicy.load(tmp_path / "policy")
    together = policy.act(observations=dict.fromkeys(["one", "two"], SEEN))
    for agent, actions in zip(("one", "two"), played, strict=True):
        np.testing.assert_array_equal(again[agent].numpy(), actions)
        np.testing.assert_array_equal(together[agent], actions)
        np.testing.assert_array_equal(policy.agent(agent).act(observation=SEEN), actions)
        assert policy.agent(agent).act(observation=SEEN[1]) == actions[1]
    states = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(policy.agent("one").act(state=states), policy.act(states)["one"])


def test_the_command_plays_them(secrets, tmp_path):
    """At its best the game pays less where each sees its own bit only."""
    folder = secrets.save_to_path(str(tmp_path / "checkpoint"))
    one, two, _ = exact(Secrets.payoffs)
    pays = {float(np.float32(Secrets.payoffs[0, s, one[BITS[s, 0]], two[BITS[s, 1]]])) for s in range(4)}
    played = play(folder, episodes=30, seed=0, on_observations=True)
    assert {float(np.float32(value)) for value in played.returns["one"]} == pays
    assert {float(np.float32(value)) for value in play(folder, episodes=30, seed=0).returns["one"]} != pays


def test_without_them_an_observation_is_refused(ray, tmp_path):
    algo = config(Secrets).build_algo()
    with pytest.raises(ValueError, match="no approximator was trained"):
        StackelbergPolicy.from_module(algo.env_runner.module).agent("one").act(observation=SEEN)
    with pytest.raises(ValueError, match="approximators: true"):
        algo.env_runner.module.act_on_observations({})
    algo.stop()


@pytest.mark.parametrize(("key", "value"), [("approximators", "yes"), ("approximated_share", 1.5)])
def test_settings_are_checked(key, value):
    configured = config(Secrets)
    setattr(configured, key, value)
    with pytest.raises(ValueError, match=key):
        configured.validate()
