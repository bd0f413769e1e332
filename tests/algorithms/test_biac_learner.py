"""The learner against a plain torch loop written from the paper's equations, and what its losses must not depend on."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rllib_biac.core.learner import (
    NUM_UPDATES_LIFETIME,
    JointLearner,
    RunningMoments,
    as_multi_agent_batch,
    check_rescalable,
)
from rllib_biac.core.transitions import join
from tests.core.games import Masked, TwoStates, config, greedy, learner_of, q_tables

GAMMA, TAU, LR, ENTROPY = 0.9, 0.1, 3e-3, 0.05
SIZES = (3, 3)


def transitions(count, seed=0, masked=False, scale=1.0, shift=0.0):
    """Random transitions over two-number states and 3 x 3 actions."""
    rng = np.random.default_rng(seed)
    agents = ["one", "two"]
    masks = {a: rng.random((count, 3)) < 0.6 for a in agents}
    next_masks = {a: rng.random((count, 3)) < 0.6 for a in agents}
    for mask in (*masks.values(), *next_masks.values()):
        mask[np.arange(count), rng.integers(3, size=count)] = True
    ended = rng.random(count)
    return join(
        agents,
        states=rng.normal(size=(count, 2)).astype(np.float32),
        next_states=rng.normal(size=(count, 2)).astype(np.float32),
        actions={a: rng.integers(3, size=count) for a in agents},
        rewards={a: scale * rng.normal(3.0, 2.0, count) + shift for a in agents},
        terminated=ended < 0.2,
        truncated=ended > 0.8,
        action_masks=masks if masked else None,
        next_action_masks=next_masks if masked else None,
    )


def build(ray, **training):
    settings = {"gamma": GAMMA, "tau": TAU, "lr": LR, "entropy_coeff": ENTROPY} | training
    return config(Masked, **settings).build_algo()


def update(algo, rows, size):
    learner = learner_of(algo)
    return learner.update(batch=as_multi_agent_batch(rows, learner.agents), minibatch_size=size)


class PlainBiAC:
    """Bi-AC as one would write it down: three networks, three optimizers, Eqs. 12-16 row by row."""

    def __init__(self, module, rates, normalize):
        one, two = module["one"], module["two"]
        self.critics = [copy.deepcopy(one.critic), copy.deepcopy(two.critic)]
        self.targets = [copy.deepcopy(one.critic_target), copy.deepcopy(two.critic_target)]
        self.actor = copy.deepcopy(two.actor)
        networks = (*self.critics, self.actor)
        for network in networks:
            network.requires_grad_(True)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate) for network, rate in zip(networks, rates, strict=True)
        ]
        self.normalize, self.seen = normalize, [[], []]
        self.mean, self.std = [0.0, 0.0], [1.0, 1.0]

    def raw_targets(self, c):
        targets = [[], []]
        for i in range(len(c["terminated"])):
            x = torch.as_tensor(c["next_state"][i])[None]
            allowed = [c.get(("next_action_mask", a), np.ones((i + 1, 3), bool))[i] for a in ("one", "two")]
            q1, logits = self.critics[0](x).view(3, 3), self.actor(x).view(3, 3)
            best, joint = -np.inf, None
            for a1 in np.flatnonzero(allowed[0]):
                a2 = max(np.flatnonzero(allowed[1]), key=lambda a: logits[a1, a].item())
                if q1[a1, a2].item() > best:
                    best, joint = q1[a1, a2].item(), (a1, a2)  # Eqs. 12, 13
            for k, agent in enumerate(("one", "two")):
                value = self.std[k] * self.targets[k](x).view(3, 3)[joint].item() + self.mean[k]
                goes_on = 0.0 if c["terminated"][i] else 1.0
                targets[k].append(c["rewards", agent][i] + GAMMA * goes_on * value)  # Eq. 14
        return [torch.tensor(t, dtype=torch.float32) for t in targets]

    def set_normaliser(self, c):
        for k, targets in enumerate(self.raw_targets(c)):
            first = not self.seen[k]
            self.seen[k] += targets.tolist()
            mean, std = np.mean(self.seen[k]), np.std(self.seen[k])
            if not first:
                for network in (self.critics[k], self.targets[k]):
                    last = network.layers[-1]
                    with torch.no_grad():  # std_new q + mean_new = std_old q' + mean_old
                        last.weight.mul_(self.std[k] / std)
                        last.bias.mul_(self.std[k] / std).add_((self.mean[k] - mean) / std)
            self.mean[k], self.std[k] = mean, std

    def step(self, c):
        targets = self.raw_targets(c)
        x = torch.as_tensor(c["state"])
        joint = torch.as_tensor(c["actions", "one"] * 3 + c["actions", "two"])
        loss = 0.0
        for k in range(2):
            q = self.critics[k](x)[torch.arange(len(x)), joint]
            loss = loss + F.mse_loss(q, (targets[k] - self.mean[k]) / self.std[k])  # Eq. 15
        logits = self.actor(x).view(-1, 3, 3)
        if ("action_mask", "two") in c:
            logits = logits.masked_fill(~torch.as_tensor(c["action_mask", "two"])[:, None], -1e9)
        pi = logits.softmax(2)
        q2 = self.critics[1](x).view(-1, 3, 3).detach()
        entropy = -(pi * (pi + 1e-30).log()).sum(2)
        loss = loss - ((pi * q2).sum(2) + ENTROPY * entropy).mean()  # Eq. 16, its expectation
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            for online, target in zip(self.critics, self.targets, strict=True):
                for p, t in zip(online.parameters(), target.parameters(), strict=True):
                    t.mul_(1 - TAU).add_(TAU * p)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_update_equals_the_paper_step_by_step(ray, normalize, masked):
    rates = (LR, 2 * LR, 5 * LR)
    algo = build(ray, normalize_targets=normalize, critic_lr={"two": 2 * LR}, actor_lr=5 * LR)
    module = learner_of(algo).module
    with torch.no_grad():  # otherwise one could not tell online from target networks
        for agent in ("one", "two"):
            for p in module[agent].critic_target.parameters():
                p.add_(0.1 * torch.randn_like(p))
    plain = PlainBiAC(module, rates, normalize)
    for call in range(2):
        rows = transitions(4 * 16, seed=call, masked=masked)
        update(algo, rows, 16)
        if normalize:
            plain.set_normaliser(rows.columns)
        for k in range(4):
            plain.step({key: column[16 * k : 16 * (k + 1)] for key, column in rows.columns.items()})
    for k, agent in enumerate(("one", "two")):
        pairs = [(module[agent].critic, plain.critics[k]), (module[agent].critic_target, plain.targets[k])]
        for network, expected in [*pairs, *([(module["two"].actor, plain.actor)] if k else [])]:
            for p, q in zip(network.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(p.detach(), q.detach(), rtol=2e-3, atol=2e-4)
        assert module[agent].q_mean.item() == pytest.approx(plain.mean[k], rel=1e-4)
        assert module[agent].q_std.item() == pytest.approx(plain.std[k], rel=1e-4)
    algo.stop()


@pytest.mark.parametrize("size", [64, 100])
def test_the_known_gradient_is_autograds_to_the_last_bit(ray, size):
    algo = build(ray)
    learner = learner_of(algo)
    update(algo, transitions(256), 64)  # so that targets, normalisers and statistics are somewhere
    batch = learner._to_tensors(as_multi_agent_batch(transitions(size, seed=1), learner.agents))
    batch |= learner.more_columns(batch)
    assert learner._has_known_gradient
    found = []
    for differentiate in (lambda: JointLearner.differentiate(learner, batch), lambda: learner.known_gradient(batch)):
        losses = differentiate()
        found.append([*(group.grad.clone() for _, group in learner._groups)])
        found[-1].append({key: loss.detach() for key, loss in losses.items()})
    for by_graph, known in zip(found[0][:-1], found[1][:-1], strict=True):
        assert by_graph.ne(0).any() and torch.equal(by_graph, known)
    torch.testing.assert_close(found[0][-1], found[1][-1])
    algo.stop()


def test_targets_of_games_that_are_over_are_the_same_computed_once(ray):
    rows = transitions(256)
    rows.columns["terminated"][:] = True
    found = []
    for once in (True, False):
        algo = build(ray)
        learner = learner_of(algo)
        if not once:
            learner.bootstraps = lambda rows: True
        update(algo, rows, 64)
        found.append([group.flat.clone() for _, group in learner._groups])
        algo.stop()
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_a_gradient_counts_as_known_only_of_the_losses_it_is_of(ray):
    for unlike in ({"actor_loss": "score_function"}, {"approximators": True}):
        algo = build(ray, **unlike)
        assert not learner_of(algo)._has_known_gradient
        algo.stop()


def test_new_statistics_leave_q_values_alone(ray):
    algo = build(ray)
    update(algo, transitions(64), 16)
    learner = learner_of(algo)
    before, target = q_tables(algo, [0.3, -1.0]), learner.module["one"].critic_target(torch.ones(1, 2))
    one = learner.module["one"]
    target = one.q_std * target + one.q_mean
    rows = learner._to_tensors(as_multi_agent_batch(transitions(64, seed=1, scale=50.0, shift=9.0), learner.agents))
    std = one.q_std.item()
    learner._normalise_targets(rows)
    assert one.q_std.item() > 3 * std
    for agent, table in q_tables(algo, [0.3, -1.0]).items():
        np.testing.assert_allclose(table, before[agent], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        one.q_std * one.critic_target(torch.ones(1, 2)) + one.q_mean, target, rtol=1e-4, atol=1e-3
    )
    algo.stop()


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (0.01, 0.0), (1.0, 1000.0), (100.0, -500.0)])
def test_units_of_reward_do_not_matter(ray, scale, shift):
    results = []
    for s, b in ((1.0, 0.0), (scale, shift)):
        algo = build(ray, gamma=0.0)
        losses = [update(algo, transitions(64, seed=k, scale=s, shift=b), 16) for k in range(6)]
        states = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
        values = [float(loss["two"][name].peek()) for loss in losses for name in ("qf_loss", "actor_loss")]
        results.append((greedy(algo, states), values))
        algo.stop()
    (play, losses), (other_play, other_losses) = results
    np.testing.assert_allclose(other_losses, losses, rtol=5e-3, atol=1e-4)
    for agent in play:
        assert (play[agent] == other_play[agent]).mean() >= 0.98


@pytest.mark.parametrize("grad_clip_by", ["value", "norm", "global_norm"])
def test_gradients_are_clipped_network_by_network(ray, grad_clip_by):
    algo = build(ray, grad_clip=0.01, grad_clip_by=grad_clip_by)
    learner = learner_of(algo)
    stepped = []
    learner._step_optimizers = lambda: stepped.extend(group.grad.clone() for _, group in learner._groups)
    update(algo, transitions(16), 16)
    (grad,) = stepped  # the three networks are alike: one group
    assert grad.shape[0] == 3
    size = grad.abs().amax(1) if grad_clip_by == "value" else grad.norm(dim=1)
    assert (size <= 0.01 + 1e-6).all() and (size[:2] > 0.0099).all()
    algo.stop()


def test_fused_step_equals_each_optimizers_own(ray):
    algos = [build(ray, critic_lr=1e-2, actor_lr={"two": 1e-3}) for _ in range(2)]
    plain = learner_of(algos[1])

    def step():
        for optimizer in plain._named_optimizers.values():
            optimizer.step()

    plain._step_optimizers = step
    for algo in algos:
        update(algo, transitions(64), 16)
    for (_, a), (_, b) in zip(learner_of(algos[0])._groups, plain._groups, strict=True):
        torch.testing.assert_close(a.flat, b.flat, rtol=0, atol=0)
    assert [o.state[o.param_groups[0]["params"][0]]["step"].item() for o in plain._named_optimizers.values()] == [4] * 3
    for algo in algos:
        algo.stop()


def test_learning_rate_schedules_follow_the_env_steps(ray):
    algo = build(ray, critic_lr={"one": [[0, 1e-3], [1000, 0.0]]}, actor_lr=[[0, 5e-3], [100, 1e-3]])
    learner = learner_of(algo)
    batch = as_multi_agent_batch(transitions(16), learner.agents)
    learner.update(batch=batch, timesteps={"num_env_steps_sampled_lifetime": 500})
    rates = {name: o.param_groups[0]["lr"] for name, o in learner._named_optimizers.items()}
    assert rates == pytest.approx({"one_critic": 5e-4, "two_critic": LR, "two_actor": 1e-3})
    algo.stop()


def test_target_networks_move_every_so_many_updates(ray):
    algo = build(ray, target_network_update_freq=3, normalize_targets=False)
    target = learner_of(algo).module["one"].critic_target
    seen = []
    for k in range(6):
        before = [p.clone() for p in target.parameters()]
        result = update(algo, transitions(16, seed=k), 16)
        seen.append(any((p != q).any() for p, q in zip(target.parameters(), before, strict=True)))
    assert seen == [False, False, True] * 2
    assert result["__all_modules__"][NUM_UPDATES_LIFETIME].peek() == 6
    algo.stop()


def test_states_are_normalised_by_what_was_seen(ray):
    algo = build(ray, normalize_observations=True)
    rows = transitions(4000)
    rows.columns["state"][:] = rows.columns["state"] * [5.0, 0.1] + [100.0, -3.0]
    update(algo, rows, 1000)
    for agent in ("one", "two"):
        module = learner_of(algo).module[agent]
        encoded = module.encode(torch.as_tensor(rows.columns["state"]))
        torch.testing.assert_close(encoded.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
        torch.testing.assert_close(encoded.std(0), torch.ones(2), atol=1e-2, rtol=0)
    algo.stop()


@pytest.mark.parametrize("value", [0.0, 7.0, -1e6])
def test_targets_that_never_differ_have_a_usable_scale(value):
    mean, std = RunningMoments(100).update(torch.full((50,), value, dtype=torch.float64))
    assert mean.item() == value
    assert std.item() == pytest.approx(abs(value) or 1.0)


def test_moments_equal_numpys_and_forget():
    values = np.random.default_rng(0).normal(1000.0, 0.5, (5, 40))
    moments = RunningMoments(float("inf"))
    for part in values:
        mean, std = moments.update(torch.as_tensor(part))
    assert mean.item() == pytest.approx(values.mean()) and std.item() == pytest.approx(values.std(), rel=1e-6)
    short = RunningMoments(100)
    for level in (0.0, 5.0):
        for _ in range(30):
            mean, _ = short.update(torch.as_tensor(level + values[0] - 1000.0))
    assert mean.item() == pytest.approx(5.0 + values[0].mean() - 1000.0, abs=0.01)


class OutputDeclaredFirst(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.output = torch.nn.Linear(8, 4)
        self.hidden = torch.nn.Linear(3, 8)

    def forward(self, x):
        return self.output(self.hidden(x))


@pytest.mark.parametrize("critic", [torch.nn.Linear(3, 4, bias=False), OutputDeclaredFirst()])
def test_a_critic_that_cannot_be_rescaled_is_refused(critic):
    with pytest.raises(ValueError, match="output layer"):
        check_rescalable(critic, (3,))


def test_checking_a_critic_leaves_it_alone():
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    before = [p.clone() for p in critic.parameters()]
    check_rescalable(critic, (3,))
    assert all(torch.equal(old, new) for old, new in zip(before, critic.parameters(), strict=True))


@pytest.mark.parametrize("actor_loss", ["expectation", "gumbel_softmax", "score_function"])
@pytest.mark.parametrize("response", ["greedy", "sampled", "enumerated"])
def test_every_variant_learns_a_two_state_game(ray, actor_loss, response):
    algo = config(TwoStates, actor_loss=actor_loss, response=response, lr=3e-3, gamma=0.5, tau=0.05).build_algo()
    for _ in range(3):
        algo.train()
    for state in ([1.0, 0.0], [0.0, 1.0]):
        played = greedy(algo, np.array([state] * 20, np.float32))
        assert (played["one"] == 1).all()
        assert (played["two"] == 1).mean() >= (0.6 if response == "sampled" else 1.0)
    algo.stop()
