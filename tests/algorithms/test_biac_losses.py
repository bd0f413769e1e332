"""Bi-AC against a plain torch loop written from the paper's equations, and what its losses must not depend on."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rllib_biac.algorithms.biac import BiAC, known_gradient
from rllib_biac.algorithms.biac.losses import BiACLosses
from rllib_biac.evaluation import greedy
from rllib_biac.learning.losses import Losses
from rllib_biac.learning.transitions import STATE, join
from tests.games import Masked, TwoStates
from tests.training import Run, train

GAMMA, TAU, LR, ENTROPY = 0.9, 0.1, 3e-3, 0.05
LEADS = [["one"], ["two"]]


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


def build(**settings):
    return Run(BiAC, Masked, LEADS, **{"gamma": GAMMA, "tau": TAU, "lr": LR, "entropy_coeff": ENTROPY} | settings)


class PlainBiAC:
    """Bi-AC as one would write it down: three networks, three optimizers, Eqs. 12-16 row by row."""

    def __init__(self, team, rates, normalize):
        one, two = team["one"], team["two"]
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
def test_update_equals_the_paper_step_by_step(normalize, masked):
    rates = (LR, 2 * LR, 5 * LR)
    run = build(normalize_targets=normalize, critic_lr={"two": 2 * LR}, actor_lr=5 * LR)
    team = run.team
    with torch.no_grad():  # otherwise one could not tell online from target networks
        for agent in ("one", "two"):
            for p in team[agent].critic_target.parameters():
                p.add_(0.1 * torch.randn_like(p))
    plain = PlainBiAC(team, rates, normalize)
    for call in range(2):
        rows = transitions(4 * 16, seed=call, masked=masked)
        run.update(rows, 16)
        if normalize:
            plain.set_normaliser(rows.columns)
        for k in range(4):
            plain.step({key: column[16 * k : 16 * (k + 1)] for key, column in rows.columns.items()})
    for k, agent in enumerate(("one", "two")):
        pairs = [(team[agent].critic, plain.critics[k]), (team[agent].critic_target, plain.targets[k])]
        for network, expected in [*pairs, *([(team["two"].actor, plain.actor)] if k else [])]:
            for p, q in zip(network.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(p.detach(), q.detach(), rtol=2e-3, atol=2e-4)
        assert team[agent].q_mean.item() == pytest.approx(plain.mean[k], rel=1e-4)
        assert team[agent].q_std.item() == pytest.approx(plain.std[k], rel=1e-4)


@pytest.mark.parametrize("size", [64, 100])
def test_the_known_gradient_is_autograds_to_the_last_bit(size):
    run = build()
    run.update(transitions(256), 64)  # so that targets, normalisers and statistics are somewhere
    losses, batch = run.trainer.losses, run.minibatch(transitions(size, seed=1))
    found = []
    for differentiate in (lambda: Losses.differentiate(losses, batch), lambda: losses.known_gradient(batch)):
        measured = differentiate()
        gradients = [group.grad.clone() for _, group in losses.networks.groups]
        found.append((gradients, {key: loss.detach() for key, loss in measured.items()}))
    (by_graph, losses_by_graph), (known, known_losses) = found
    for one, other in zip(by_graph, known, strict=True):
        assert one.ne(0).any() and torch.equal(one, other)
    torch.testing.assert_close(known_losses, losses_by_graph)


@pytest.mark.parametrize(("distinct", "computed"), [(1, 1), (5, 5), (64, 64)])
def test_states_that_recur_are_computed_once_where_joint_actions_are_many(distinct, computed, monkeypatch):
    """The gradient is that of all rows, but for the order of sums."""
    monkeypatch.setattr(known_gradient, "MANY_JOINT_ACTIONS", 9)
    run = build()
    losses, batch, asked = run.trainer.losses, run.minibatch(transitions(64)), []
    batch[STATE] = batch[STATE][torch.arange(64) % distinct]
    ((_, group),) = losses.networks.groups
    whole = group.run
    group.run = lambda states: asked.append(len(states)) or whole(states)
    losses.known_gradient(batch)
    known = group.grad.clone()
    Losses.differentiate(losses, batch)
    assert asked == [computed]
    torch.testing.assert_close(known, group.grad, rtol=1e-4, atol=1e-7)


def test_states_of_one_number_are_told_apart(monkeypatch):
    monkeypatch.setattr(known_gradient, "MANY_JOINT_ACTIONS", 9)
    run = build()
    losses, batch = run.trainer.losses, run.minibatch(transitions(64))
    monkeypatch.setattr(known_gradient, "_numbers", lambda states: torch.zeros(len(states)))
    losses.known_gradient(batch)
    ((_, group),) = losses.networks.groups
    known = group.grad.clone()
    Losses.differentiate(losses, batch)
    torch.testing.assert_close(known, group.grad, rtol=1e-4, atol=1e-7)


def test_training_by_the_known_gradient_is_training_by_autograd():
    """The plain losses can be asked for by name; not a bit differs after some updates."""
    runs = [build(**settings) for settings in ({}, {"losses_class": BiACLosses})]
    assert [hasattr(run.trainer.losses, "known_gradient") for run in runs] == [True, False]
    for run in runs:
        for call in range(3):
            run.update(transitions(4 * 64, seed=call), 64)
    one, other = (run.weights() for run in runs)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("settings", "masked", "known"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"actor_loss": "score_function"}, False, False),
        ({"actor_loss": "gumbel_softmax"}, False, False),
    ],
)
def test_a_gradient_counts_as_known_only_of_the_losses_it_is_of(settings, masked, known):
    run, asked = build(**settings), []
    written_out = run.trainer.losses.known_gradient
    run.trainer.losses.known_gradient = lambda *args, **kwargs: asked.append(1) or written_out(*args, **kwargs)
    run.update(transitions(64, masked=masked), 16)
    assert len(asked) == (4 if known else 0)


def test_losses_of_the_users_own_are_differentiated_by_autograd():
    class Tilted(type(build().trainer.losses)):
        def actor_loss(self, outputs, batch):
            return 2.0 * super().actor_loss(outputs, batch)

    run, plain = build(losses_class=Tilted), build()
    rows = transitions(64)
    assert run.update(rows)["two", "actor_loss"] == pytest.approx(2.0 * plain.update(rows)["two", "actor_loss"])


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (0.01, 0.0), (1.0, 1000.0), (100.0, -500.0)])
def test_units_of_reward_do_not_matter(scale, shift):
    results = []
    for s, b in ((1.0, 0.0), (scale, shift)):
        run = build(gamma=0.0)
        losses = [run.update(transitions(64, seed=k, scale=s, shift=b), 16) for k in range(6)]
        states = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
        values = [measured["two", name] for measured in losses for name in ("qf_loss", "actor_loss")]
        results.append((greedy(run.team, states), values))
    (play, losses), (other_play, other_losses) = results
    np.testing.assert_allclose(other_losses, losses, rtol=5e-3, atol=1e-4)
    for agent in play:
        assert (play[agent] == other_play[agent]).mean() >= 0.98


VARIANTS = list(
    itertools.product(("expectation", "gumbel_softmax", "score_function"), ("greedy", "sampled", "enumerated"))
)


# Every loss and every kind of answer once; together with the slow ones each with each.
@pytest.mark.parametrize(
    ("actor_loss", "response"),
    [pytest.param(*each, marks=[pytest.mark.slow] * (k % 4 > 0)) for k, each in enumerate(VARIANTS)],
)
def test_every_variant_learns_a_two_state_game(actor_loss, response):
    settings = {"actor_loss": actor_loss, "response": response, "lr": 3e-3, "gamma": 0.5, "tau": 0.05}
    run = train(BiAC, TwoStates, LEADS, 600, **settings)
    for state in ([1.0, 0.0], [0.0, 1.0]):
        played = greedy(run.team, np.array([state] * 20, np.float32))
        assert (played["one"] == 1).all()
        assert (played["two"] == 1).mean() >= (0.6 if response == "sampled" else 1.0)
