"""The losses of peers against plain torch loops written from their papers' equations."""

import copy

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.dqn import IDQN, HystereticDQN, LenientDQN
from rllib_biac.algorithms.dqn.losses import LENIENCY
from rllib_biac.algorithms.dqn.temperatures import Temperatures
from rllib_biac.algorithms.maddpg import MADDPG, MATD3
from rllib_biac.learning.actions import ActionCoder
from rllib_biac.learning.transitions import join
from tests.games import Kinds, Masked
from tests.training import Run, differ, train

GAMMA, TAU, LR, HYSTERESIS = 0.9, 0.1, 3e-3, 0.3
AGENTS = ("one", "two")
LOW, HIGH = np.array([-0.5, 0.0], np.float32), np.array([0.1, 3.0], np.float32)


def transitions(count, seed=0, *, actions, masked=False, leniency=None):
    """Random transitions over two-number states and observations."""
    rng = np.random.default_rng(seed)

    def numbers():
        return rng.normal(size=(count, 2)).astype(np.float32)

    masks = [{a: rng.random((count, 3)) < 0.6 for a in AGENTS} for _ in range(2)]
    for mask in (mask for each in masks for mask in each.values()):
        mask[np.arange(count), rng.integers(3, size=count)] = True
    ended = rng.random(count)
    rows = join(
        AGENTS,
        states=numbers(),
        next_states=numbers(),
        actions={a: draw(rng, count) for a, draw in zip(AGENTS, actions, strict=True)},
        rewards={a: rng.normal(3.0, 2.0, count) for a in AGENTS},
        terminated=ended < 0.2,
        truncated=ended > 0.8,
        action_masks=masks[0] if masked else None,
        next_action_masks=masks[1] if masked else None,
        observations={a: numbers() for a in AGENTS},
        next_observations={a: numbers() for a in AGENTS},
    )
    if leniency is not None:
        for agent in AGENTS:
            rows.columns[LENIENCY, agent] = leniency(rng, count).astype(np.float32)
    return rows


def name_of(value):
    return getattr(value, "name", None)


def choices(size):
    return lambda rng, count: rng.integers(size, size=count)


def vectors(rng, count):
    return rng.uniform(LOW, HIGH, (count, 2)).astype(np.float32)


def build(algorithm, game, **settings):
    """A run whose target networks differ from the online ones."""
    settings = {"gamma": GAMMA, "tau": TAU, "lr": LR, "normalize_targets": False} | settings
    run = Run(algorithm, game, [AGENTS], **settings)
    with torch.no_grad():
        for agent in AGENTS:
            for target in run.team[agent].target_networks().values():
                for p in target.parameters():
                    p.add_(0.1 * torch.randn_like(p))
    return run


def as_tensors(rows):
    return {key: torch.as_tensor(column) for key, column in rows.columns.items()}


def minibatches(rows, size):
    c = as_tensors(rows)
    return [{key: column[k : k + size] for key, column in c.items()} for k in range(0, len(rows), size)]


def assert_close(network, expected):
    for p, q in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=2e-3, atol=2e-4)


# Independent Q-learners.


def plain_td_error(c, agent, critic, target):
    """r_i + gamma max_a Q_i'(o', a) - Q_i(o, a), row by row: what is masked does not count."""
    errors = []
    for i in range(len(c["terminated"])):
        y = c["rewards", agent][i]
        if not c["terminated"][i]:
            values = target(c["next_obs", agent][i][None])[0]
            allowed = c.get(("next_action_mask", agent), torch.ones(len(c["terminated"]), 3, dtype=torch.bool))[i]
            y = y + GAMMA * max(values[a] for a in range(3) if allowed[a]).detach()
        errors.append(y - critic(c["obs", agent][i][None])[0, c["actions", agent][i]])
    return torch.stack(errors)


def counts(algorithm, c, agent, error):
    """How much each row counts, by the papers."""
    if algorithm is HystereticDQN:  # alpha where the error is not negative, beta else: Matignon et al. 2007
        return torch.tensor([1.0 if e >= 0 else HYSTERESIS for e in error])
    if algorithm is LenientDQN:  # leniency is 0 or 1 here, so that nothing is left to chance: Palmer et al. 2018
        return torch.tensor(
            [1.0 if e > 0 or lenient == 0 else 0.0 for e, lenient in zip(error, c[LENIENCY, agent], strict=True)]
        )
    return torch.ones(len(error))


OWN = {IDQN: {}, HystereticDQN: {"hysteresis": HYSTERESIS}, LenientDQN: {}}
Q_LEARNERS = pytest.mark.parametrize("algorithm", OWN, ids=name_of)


@pytest.mark.parametrize("masked", [False, True])
@Q_LEARNERS
def test_q_learners_update_as_their_papers_say_step_by_step(algorithm, masked):
    run = build(algorithm, Masked, **OWN[algorithm])
    team = run.team
    critics = {a: copy.deepcopy(team[a].critic) for a in AGENTS}
    targets = {a: copy.deepcopy(team[a].critic_target) for a in AGENTS}
    optimizers = {a: torch.optim.Adam(critics[a].parameters(), lr=LR) for a in AGENTS}
    coin = (lambda rng, n: rng.integers(2, size=n)) if algorithm is LenientDQN else None
    rows = transitions(48, actions=[choices(3)] * 2, masked=masked, leniency=coin)
    result = run.update(rows, 16)
    for c in minibatches(rows, 16):
        for agent in AGENTS:
            error = plain_td_error(c, agent, critics[agent], targets[agent])
            loss = (counts(algorithm, c, agent, error) * error.square()).mean()
            optimizers[agent].zero_grad()
            loss.backward()
            optimizers[agent].step()
            with torch.no_grad():
                for p, t in zip(critics[agent].parameters(), targets[agent].parameters(), strict=True):
                    t.mul_(1 - TAU).add_(TAU * p)
    for agent in AGENTS:
        assert_close(team[agent].critic, critics[agent])
        assert_close(team[agent].critic_target, targets[agent])
    assert result["two", "qf_loss"] == pytest.approx(loss.item(), rel=1e-3)


@Q_LEARNERS
def test_errors_of_normalised_targets_count_the_same(algorithm):
    run = build(algorithm, Masked, normalize_targets=True, **OWN[algorithm])
    agent = run.team["one"]
    critic, target = copy.deepcopy(agent.critic), copy.deepcopy(agent.critic_target)
    coin = (lambda rng, n: rng.integers(2, size=n)) if algorithm is LenientDQN else None
    rows = transitions(64, actions=[choices(3)] * 2, leniency=coin)
    c = as_tensors(rows)
    loss = run.update(rows, 64)["one", "qf_loss"]
    q = critic(c["obs", "one"]).gather(1, c["actions", "one"][:, None])[:, 0]
    y = plain_td_error(c, "one", critic, target) + q
    mean, std = y.mean(), y.std(correction=0)
    assert (agent.q_mean.item(), agent.q_std.item()) == pytest.approx((mean.item(), std.item()), rel=1e-4)
    # From now on networks answer in units of that spread.
    y = plain_td_error(c, "one", critic, lambda o: std * target(o) + mean) + q
    error = (y - mean) / std - q
    assert loss == pytest.approx((counts(algorithm, c, "one", error) * error.square()).mean().item(), rel=1e-3)


def test_bad_surprises_are_forgiven_as_often_as_leniency_says_and_good_ones_never():
    losses = build(LenientDQN, Masked).trainer.losses
    leniency = torch.tensor([0.0, 0.3, 0.8, 1.0]).repeat_interleave(5000)
    for error, expected in ((-1.0, [1.0, 0.7, 0.2, 0.0]), (1.0, [1.0] * 4)):
        weight = losses.weight("one", torch.full((20_000,), error), {(LENIENCY, "one"): leniency})
        assert set(weight.unique().tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(weight.view(4, -1).mean(1), torch.tensor(expected), atol=0.03, rtol=0)


def test_what_is_forgiven_altogether_moves_no_network():
    run = build(LenientDQN, Masked)
    rows = transitions(32, actions=[choices(3)] * 2, leniency=lambda rng, n: np.ones(n))
    for agent in AGENTS:
        rows.columns["rewards", agent][:] = -100.0
    before = run.weights()
    run.update(rows, 16)
    after = run.weights()
    assert not differ(*({key: value for key, value in each.items() if "critic.l" in key} for each in (before, after)))
    assert any("critic.l" in key for key in before)


# Temperatures.

DECAY, DIFFUSION, K = 0.9, 0.25, 2.0
HERE, THERE = np.array([1.0, 0.0, 0.5], np.float32), np.array([-1.0, 0.3, 0.5], np.float32)


def temperatures(diffusion=DIFFUSION):
    rng = np.random.default_rng(0)
    return Temperatures(3, 2, decay=DECAY, diffusion=diffusion, moderation=K, bits=64, rng=rng)


def leniency_of(temperature):
    return 1.0 - np.exp(-K * np.asarray(temperature))


def test_leniency_wears_off_with_each_visit_even_within_one_batch():
    table = temperatures()
    seen, actions = np.stack([HERE, HERE, HERE, THERE, HERE]), np.array([0, 0, 1, 0, 0])
    ended = np.ones(5, bool)
    first = table.leniency(seen, actions, seen, ended)
    np.testing.assert_allclose(first, leniency_of([1, DECAY, 1, 1, DECAY**2]), rtol=1e-6)
    assert first.dtype == np.float32
    np.testing.assert_allclose(
        table.leniency(seen, actions, seen, ended), leniency_of(DECAY ** np.array([3, 4, 1, 1, 5])), rtol=1e-6
    )


def test_temperature_flows_in_from_where_the_step_led_unless_the_game_ended():
    """T(o, a) <- decay · ((1 - diffusion) T(o, a) + diffusion · mean of T(o', ·)), or decay · T(o, a) at the end."""
    table = temperatures()
    one, on = np.array([0]), np.array([False])
    for _ in range(6):  # cools (there, 0) to decay ** 6
        table.leniency(THERE[None], one, THERE[None], ~on)
    assert table.leniency(HERE[None], one, THERE[None], on)[0] == pytest.approx(leniency_of(1.0))
    warm = DECAY * ((1 - DIFFUSION) * 1.0 + DIFFUSION * (DECAY**6 + 1.0) / 2)
    assert table.leniency(HERE[None], one, THERE[None], ~on)[0] == pytest.approx(leniency_of(warm))
    assert table.leniency(HERE[None], one, THERE[None], on)[0] == pytest.approx(leniency_of(DECAY * warm))


def test_a_restored_table_goes_on_as_the_one_it_came_from():
    rng = np.random.default_rng(1)
    table = temperatures()
    other = Temperatures(3, 2, decay=DECAY, diffusion=DIFFUSION, moderation=K, bits=64, rng=rng)
    steps = [(rng.normal(size=(20, 3)), rng.integers(2, size=20), rng.normal(size=(20, 3)), rng.random(20) < 0.3)] * 2
    table.leniency(*steps[0])
    other.set_state(table.get_state())
    np.testing.assert_array_equal(table.leniency(*steps[1]), other.leniency(*steps[1]))


def test_each_row_in_replay_has_the_leniency_of_the_time_it_was_played():
    """With an action that is tried every time, and nothing to see, leniency falls by the decay from row to row."""
    settings = {"temperature_decay": 0.9, "leniency_moderation": 2.0}
    game = {"env_config": {"payoffs": [[[1, 0]], [[1, 0]]]}}
    run = train(LenientDQN, "matrix_game_v0", [["player_0", "player_1"]], 20, **game, **settings)
    held = run.replay.columns[LENIENCY, "player_0"][:20]
    np.testing.assert_allclose(held, leniency_of(0.9 ** np.arange(20)), rtol=1e-4)


def test_leniency_that_is_restored_wears_off_from_where_it_was():
    game = {"env_config": {"payoffs": [[[1, 0]], [[1, 0]]]}, "temperature_decay": 0.9}
    runs = [train(LenientDQN, "matrix_game_v0", [["player_0", "player_1"]], 20, seed=seed, **game) for seed in (0, 1)]
    one, other = (run.own_columns for run in runs)
    rows = runs[0].sampler.sample(10)
    other.set_state(one.get_state())
    for agent in ("player_0", "player_1"):
        expected = one(rows).columns[LENIENCY, agent]
        np.testing.assert_array_equal(other(rows).columns[LENIENCY, agent], expected)


# MADDPG and MATD3.


class PlainMADDPG:
    """Lowe et al. 2017, Eqs. 5 and 6, one discrete and one continuous action; `twins` as in Ackermann et al. 2019."""

    def __init__(self, team, twins, delay):
        self.delay, self.updates = delay, 0
        names = ["critic", "critic_twin"] if twins else ["critic"]
        copies = {
            (a, name): (copy.deepcopy(getattr(team[a], name)), copy.deepcopy(getattr(team[a], f"{name}_target")))
            for a in AGENTS
            for name in [*names, "actor"]
        }
        self.nets = {key: online for key, (online, _) in copies.items()}
        self.targets = {key: target for key, (_, target) in copies.items()}
        self.critics = names
        self.optimizers = {key: torch.optim.Adam(net.parameters(), lr=LR) for key, net in self.nets.items()}

    @staticmethod
    def joint(state, one, two):
        return torch.cat([state, one, two], 1)

    def step(self, c):
        self.updates += 1
        replayed = [
            torch.eye(2)[c["actions", "one"]],
            2 * (c["actions", "two"] - torch.tensor(LOW)) / torch.tensor(HIGH - LOW) - 1,
        ]
        with torch.no_grad():
            said = [self.targets[a, "actor"](c["next_obs", a]) for a in AGENTS]
            following = [self.target_choice(said[0]), said[1].tanh()]
            x = self.joint(c["next_state"], *following)
        gradients = {}
        for k, agent in enumerate(AGENTS):
            with torch.no_grad():
                q = torch.stack([self.targets[agent, name](x)[:, 0] for name in self.critics]).min(0).values
                y = c["rewards", agent] + GAMMA * torch.where(c["terminated"], 0.0, q)
            for name in self.critics:
                q = self.nets[agent, name](self.joint(c["state"], *replayed))[:, 0]
                gradients[agent, name] = self.gradient(agent, name, (q - y).square().mean())
            if self.updates % self.delay == 0:
                output = self.nets[agent, "actor"](c["obs", agent])
                own = output.tanh() if k else output.softmax(1)
                q = self.nets[agent, "critic"](
                    self.joint(c["state"], *[own if i == k else replayed[i] for i in (0, 1)])
                )
                gradients[agent, "actor"] = self.gradient(agent, "actor", -q.mean() + 1e-3 * output.square().mean())
        for key, grads in gradients.items():
            for p, g in zip(self.nets[key].parameters(), grads, strict=True):
                p.grad = g
            self.optimizers[key].step()
        if self.updates % self.delay == 0:
            with torch.no_grad():
                for key, net in self.nets.items():
                    for p, t in zip(net.parameters(), self.targets[key].parameters(), strict=True):
                        t.mul_(1 - TAU).add_(TAU * p)

    def target_choice(self, logits):
        return logits.softmax(1) if len(self.critics) > 1 else torch.eye(2)[logits.argmax(1)]

    def gradient(self, agent, name, loss):
        return torch.autograd.grad(loss, list(self.nets[agent, name].parameters()))


def without_noise(self, output, temperature, mask=None, generator=None):
    return output.softmax(1) if self.discrete else output.tanh()


@pytest.mark.parametrize(("algorithm", "twins", "delay"), [(MADDPG, False, 1), (MATD3, True, 2)], ids=name_of)
def test_actor_critics_update_as_their_papers_say_step_by_step(monkeypatch, algorithm, twins, delay):
    """Own actions flow through the critic, others' are the replayed ones; critics learn nothing from actors' losses."""
    monkeypatch.setattr(ActionCoder, "relax", without_noise)
    run = build(algorithm, Kinds, **({"target_noise": 0.0} if twins else {}))
    team = run.team
    plain = PlainMADDPG(team, twins, delay)
    for call in range(2):
        rows = transitions(5 * 16, seed=call, actions=[choices(2), vectors])
        run.update(rows, 16)
        for c in minibatches(rows, 16):
            plain.step(c)
    for (agent, network), expected in plain.nets.items():
        assert_close(getattr(team[agent], network), expected)
        assert_close(getattr(team[agent], f"{network}_target"), plain.targets[agent, network])


def test_relaxed_actions_in_the_actors_loss_are_gumbel_softmax_samples_of_allowed_actions(monkeypatch):
    seen = []
    relax = ActionCoder.relax

    def spied(self, output, temperature, mask=None, generator=None):
        seen.append((relax(self, output, temperature, mask, generator), mask, temperature))
        return seen[-1][0]

    monkeypatch.setattr(ActionCoder, "relax", spied)
    run = build(MADDPG, Masked, gumbel_temperature=0.7)
    run.update(transitions(64, actions=[choices(3)] * 2, masked=True), 64)
    assert len(seen) == 2
    for relaxed, mask, temperature in seen:
        assert temperature == 0.7 and (relaxed[~mask] == 0).all() and relaxed.isfinite().all()
        assert ((relaxed > 0) & (relaxed < 1)).any()
    assert all(value.isfinite().all() for value in run.weights().values())


def test_actors_and_targets_move_only_with_every_so_many_updates_of_the_critics():
    run = build(MATD3, Kinds, policy_delay=3, target_network_update_freq=3)
    moved = {"actor.": [], "_target.": [], "critic.": [], "critic_twin.": []}
    for k in range(6):
        before = run.weights()
        run.update(transitions(16, seed=k, actions=[choices(2), vectors]), 16)
        after = run.weights()
        for part, seen in moved.items():
            seen.append(differ(*({key: v for key, v in each.items() if part in key} for each in (before, after))))
    assert moved["actor."] == moved["_target."] == [False, False, True] * 2
    assert moved["critic."] == moved["critic_twin."] == [True] * 6


def test_noise_on_continuous_target_actions_is_clipped_and_so_are_they():
    losses = build(MATD3, Kinds, target_noise=0.2, target_noise_clip=0.3).trainer.losses
    output = torch.tensor([0.0, 5.0]).repeat(20_000, 1)  # tanh: 0 and nearly 1
    middle, edge = losses.next_action("two", output, {}).T
    assert middle.abs().max().item() == pytest.approx(0.3) and edge.max() == 1.0 and edge.min() >= 0.699
    assert (middle.abs() > 0.299).float().mean().item() == pytest.approx(0.134, abs=0.01)  # beyond 1.5 deviations
    assert (edge == 1.0).float().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("algorithm", [MADDPG, MATD3], ids=name_of)
def test_statistics_of_targets_leave_the_values_of_all_critics_alone(algorithm):
    run = build(algorithm, Kinds, normalize_targets=True)
    own = run.team["two"]
    run.update(transitions(64, actions=[choices(2), vectors]), 64)
    x = torch.randn(20, 6)
    critics = [
        net for nets in (own.networks(), own.target_networks()) for kind, net in nets.items() if "critic" in kind
    ]
    before = [own.raw(critic(x)) for critic in critics]
    assert len(critics) == (4 if algorithm is MATD3 else 2)
    rows = transitions(64, seed=1, actions=[choices(2), vectors])
    for agent in AGENTS:
        rows.columns["rewards", agent] *= 50.0
    std = own.q_std.item()
    run.trainer.losses.normalise_targets(run.minibatch(rows))
    assert own.q_std.item() > 3 * std
    for critic, value in zip(critics, before, strict=True):
        torch.testing.assert_close(own.raw(critic(x)), value, rtol=1e-3, atol=1e-2)
