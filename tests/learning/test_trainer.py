"""What a trainer does around any losses: normalisers, clipping, optimizers, schedules, target networks, its state."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.levels_losses import LevelsLosses
from rllib_biac.algorithms.biac.levels_team import LevelsTeam
from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.algorithms.dqn import IDQN, HystereticDQN, LenientDQN
from rllib_biac.algorithms.maddpg import MADDPG, MATD3
from rllib_biac.learning.losses import BETAS
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.rllib.registry import ALGORITHMS
from tests.algorithms.test_biac_losses import LR, build, transitions
from tests.games import Apart, Kinds, Masked, Pictures, ThreePlayers, TwoStates
from tests.training import Run, differ

# Targets.


def test_targets_of_games_that_are_over_are_the_same_computed_once():
    rows = transitions(256)
    rows.columns["terminated"][:] = True
    runs = [build(), build()]
    runs[1].trainer.losses.bootstraps = lambda rows: True
    for run in runs:
        run.update(rows, 64)
    one, other = (run.weights() for run in runs)
    assert not differ(one, other)


def test_new_statistics_leave_q_values_alone():
    run = build()
    run.update(transitions(64), 16)
    one, state, x = run.team["one"], torch.tensor([[0.3, -1.0]]), torch.ones(1, 2)
    with torch.no_grad():
        before, target, std = run.team.q_tables(state), one.raw(one.critic_target(x)), one.q_std.item()
        run.trainer.losses.normalise_targets(run.minibatch(transitions(64, seed=1, scale=50.0, shift=9.0)))
        assert one.q_std.item() > 3 * std
        for agent, table in run.team.q_tables(state).items():
            torch.testing.assert_close(table, before[agent], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one.raw(one.critic_target(x)), target, rtol=1e-4, atol=1e-3)


# Gradients and steps.


@pytest.mark.parametrize("grad_clip_by", ["value", "norm", "global_norm"])
def test_gradients_are_clipped_network_by_network(grad_clip_by):
    run, stepped = build(grad_clip=0.01, grad_clip_by=grad_clip_by), []
    groups = run.trainer.networks.groups
    run.trainer.optimizers.step = lambda num_updates: stepped.extend(group.grad.clone() for _, group in groups)
    run.update(transitions(16), 16)
    (grad,) = stepped  # the three networks are alike: one group
    assert grad.shape[0] == 3
    size = grad.abs().amax(1) if grad_clip_by == "value" else grad.norm(dim=1)
    assert (size <= 0.01 + 1e-6).all() and (size[:2] > 0.0099).all()
    assert (grad < 0.0).any() and (grad > 0.0).any()


def test_how_often_one_reports_changes_nothing():
    runs = [Run(BiAC, TwoStates, LEADS, response="sampled").train(60) for _ in range(2)]
    for step in range(3):
        for run, report in zip(runs, (True, False), strict=True):
            run.trainer.train(run.replay.sample(64).columns, minibatch_size=32, env_steps=60 + step, report=report)
    assert not differ(runs[0].weights(), runs[1].weights())


def test_steps_of_all_networks_at_once_equal_each_networks_own_adam():
    runs = [build(critic_lr=1e-2, actor_lr={"two": 1e-3}) for _ in range(2)]
    plain = runs[1].trainer
    rates = {("one", "critic"): 1e-2, ("two", "critic"): 1e-2, ("two", "actor"): 1e-3}
    adams = {
        key: torch.optim.Adam([row], lr=rates[key], betas=BETAS, eps=1e-8, fused=True)
        for key, row in plain.networks.rows().items()
    }
    plain.optimizers.step = lambda num_updates: [adam.step() for adam in adams.values()]
    for run in runs:
        run.update(transitions(64), 16)
    one, other = (run.weights() for run in runs)
    assert not differ(one, other)
    assert {key: state["step"].item() for key, state in runs[0].trainer.optimizers.state.items()} == dict.fromkeys(
        [("one", "critic"), ("two", "critic"), ("two", "actor")], 4
    )


def test_learning_rate_schedules_follow_the_env_steps():
    run = build(critic_lr={"one": [[0, 1e-3], [1000, 0.0]]}, actor_lr=[[0, 5e-3], [100, 1e-3]])
    run.trainer.train(transitions(16).columns, env_steps=500)
    rates = run.trainer.optimizers.rates
    assert rates == pytest.approx({("one", "critic"): 5e-4, ("two", "critic"): LR, ("two", "actor"): 1e-3})


def test_target_networks_move_every_so_many_updates():
    run = build(target_network_update_freq=3, normalize_targets=False)
    target = run.team["one"].critic_target
    seen = []
    for k in range(6):
        before = [p.clone() for p in target.parameters()]
        run.update(transitions(16, seed=k), 16)
        seen.append(any((p != q).any() for p, q in zip(target.parameters(), before, strict=True)))
    assert seen == [False, False, True] * 2
    assert run.trainer.num_updates == 6


# Inputs.


def test_states_are_normalised_by_what_was_seen():
    run = build(normalize_observations=True)
    rows = transitions(4000)
    rows.columns["state"][:] = rows.columns["state"] * [5.0, 0.1] + [100.0, -3.0]
    run.update(rows, 1000)
    for agent in ("one", "two"):
        encoded = run.team[agent].encode(torch.as_tensor(rows.columns["state"]))
        torch.testing.assert_close(encoded.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
        torch.testing.assert_close(encoded.std(0), torch.ones(2), atol=1e-2, rtol=0)


LEADS, PEERS = [["one"], ["two"]], [["one", "two"]]


@pytest.mark.parametrize(
    ("algorithm", "hierarchy", "settings"),
    [
        (IDQN, PEERS, {}),
        (HystereticDQN, PEERS, {}),
        (LenientDQN, PEERS, {}),
        (MADDPG, PEERS, {}),
        (MATD3, PEERS, {}),
        (BiAC, LEADS, {"approximators": True}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_states_and_observations_of_other_shapes_are_normalised_apart(algorithm, hierarchy, settings):
    """States of three numbers, observations of one and of four: each has a mean and a spread of its own."""
    run = Run(algorithm, Apart, hierarchy, normalize_observations=True, **settings).train(200)
    assert run.trainer.num_updates > 100
    fresh = Run(algorithm, Apart, hierarchy, normalize_observations=True, **settings)
    seen = {"state": [], ("obs", "one"): [], ("obs", "two"): []}
    for _ in range(2):  # a second call counts as many rows as the first one
        rows = run.replay.sample(256)
        fresh.update(rows, 64)
        for key, columns in seen.items():
            columns.append(rows.columns[key])
    for agent in ("one", "two"):
        own = fresh.team[agent]
        for key, mean, std in (
            ("state", own.state_mean, own.state_std),
            (("obs", agent), own.observation_mean, own.observation_std),
        ):
            columns = np.concatenate(seen[key]).astype(np.float64)
            np.testing.assert_allclose(mean, columns.mean(0), rtol=1e-5, atol=1e-6)
            varies = columns.std(0) > 0
            np.testing.assert_allclose(std[varies], columns.std(0)[varies], rtol=1e-5)
        assert own.observation_mean.shape != own.state_mean.shape
        assert torch.equal(run.team[agent].state_mean, run.team["one"].state_mean)


# State.


class Three(ThreePlayers):
    """Everybody is paid for playing as the one before."""

    def pay(self, one, two):
        raise NotImplementedError

    def step(self, actions):
        self.agents = []
        played = [actions[agent] for agent in self.possible_agents]
        rewards = [1.0 * (played[i] == played[i - 1]) for i in range(3)]
        over = dict.fromkeys(self.possible_agents, True)
        unfinished = dict.fromkeys(self.possible_agents, False)
        return self.observe(), dict(zip(self.possible_agents, rewards, strict=True)), over, unfinished, self.infos()


TABLES = {"model_config": MODEL_DEFAULTS, "training_intensity": 1.0}
SOFT = {"continuous_leader": "soft_q"}
GOES_ON = {
    "BiAC": (BiAC, TwoStates, LEADS, {}),
    "BiAC masked": (BiAC, Masked, LEADS, {}),
    "BiAC pictures": (BiAC, Pictures, LEADS, {"model_config": MODEL_DEFAULTS | {"conv_filters": [[4, 3, 2]]}}),
    "BiAC gumbel_softmax": (BiAC, TwoStates, LEADS, {"actor_loss": "gumbel_softmax"}),
    "BiAC score_function": (BiAC, TwoStates, LEADS, {"actor_loss": "score_function"}),
    "BiAC sampled": (BiAC, TwoStates, LEADS, {"response": "sampled"}),
    "BiAC enumerated": (BiAC, TwoStates, LEADS, {"response": "enumerated"}),
    "BiAC histograms": (BiAC, Masked, LEADS, {"num_atoms": 11, "averaging": 0.5, "normalizer_horizon": 300}),
    "BiAC schedules": (BiAC, TwoStates, LEADS, {"lr": [[0, 1e-2], [400, 1e-3]], "grad_clip": 0.1}),
    "BiAC averages": (BiAC, TwoStates, LEADS, {"averaging": 0.2, "lr_fade": 100, "lr": 1e-2}),
    "BiAC rare targets": (BiAC, TwoStates, LEADS, {"target_network_update_freq": 7, "normalizer_horizon": 300}),
    "BiAC hypotheses": (BiAC, Masked, LEADS, {"num_hypotheses": 3, "updates_per_round": 60}),
    "BiAC hypotheses, averages": (
        BiAC,
        Masked,
        LEADS,
        {"num_hypotheses": 3, "updates_per_round": 60, "averaging": 0.5},
    ),
    "BiAC approximators": (BiAC, Apart, LEADS, {"approximators": True, "normalize_observations": True}),
    "BiAC levels": (BiAC, Three, [["one"], ["two"], ["three"]], {}),
    "BiAC peers": (BiAC, Three, [["two"], ["one", "three"]], {"normalize_observations": True}),
    "BiAC levels, approximators": (BiAC, Three, [["one"], ["two", "three"]], {"approximators": True}),
    "BiAC continuous follower": (BiAC, Kinds, LEADS, {}),
    "BiAC continuous leader": (BiAC, Kinds, [["two"], ["one"]], {}),
    "BiAC soft_q": (BiAC, Kinds, [["two"], ["one"]], SOFT),
    "BiLevelQ": (BiLevelQ, TwoStates, LEADS, TABLES),
    "BiLevelQ masked": (BiLevelQ, Masked, LEADS, TABLES | {"lr": [[0, 0.5], [400, 0.1]]}),
    "CommitmentDQN": (CommitmentDQN, TwoStates, LEADS, {"mixed": True, "search_every": 30, "num_candidates": 64}),
    "CommitmentDQN pure": (CommitmentDQN, TwoStates, LEADS, {"search_every": 30, "num_candidates": 64}),
    "IDQN": (IDQN, Masked, PEERS, {}),
    "HystereticDQN": (HystereticDQN, Apart, PEERS, {"normalize_observations": True}),
    "LenientDQN": (LenientDQN, Apart, PEERS, {}),
    "MADDPG": (MADDPG, Kinds, PEERS, {"normalize_observations": True}),
    "MADDPG masked": (MADDPG, Masked, PEERS, {"averaging": 0.2}),
    "MATD3": (MATD3, Kinds, PEERS, {"policy_delay": 3, "target_network_update_freq": 3}),
}


def test_every_algorithm_is_among_those_that_go_on():
    assert {algorithm.name for algorithm, *_ in GOES_ON.values()} == set(ALGORITHMS)


@pytest.mark.parametrize("case", GOES_ON)
def test_a_new_trainer_goes_on_from_state_and_weights_bit_for_bit(case):
    """From the middle of a round, of a schedule, of a report; whatever was in the new trainer before."""
    algorithm, env, hierarchy, settings = GOES_ON[case]
    run, other = (Run(algorithm, env, hierarchy, seed=seed, **settings).train(180) for seed in (0, 1))
    batches = [run.replay.sample(256).columns for _ in range(3)]
    run.trainer.train(batches[0], minibatch_size=64, env_steps=180)
    assert differ(run.weights(), other.weights())
    before, learned = run.weights(), run.learned()
    other.take_over(learned)
    np.testing.assert_equal(other.learned(), learned)
    for each in (run, other):
        for steps, rows in ((250, batches[1]), (400, batches[2])):
            each.trainer.train(rows, minibatch_size=64, env_steps=steps)
    np.testing.assert_equal(other.learned(), run.learned())
    np.testing.assert_equal(other.trainer.take_report(), run.trainer.take_report())
    assert differ(run.weights(), before)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(name):
    algorithm, env, hierarchy, settings = GOES_ON[name]
    first, same, other = (Run(algorithm, env, hierarchy, seed=seed, **settings).train(120) for seed in (0, 0, 1))
    assert not differ(first.weights(), same.weights())
    assert differ(first.weights(), other.weights())


def test_pairs_and_levels_are_of_the_kinds_they_should_be():
    for case in ("BiAC", "BiAC levels", "BiAC soft_q"):
        *game, settings = GOES_ON[case]
        run = Run(*game, **settings)
        assert isinstance(run.team, LevelsTeam) == isinstance(run.trainer.losses, LevelsLosses) == (case != "BiAC")


@pytest.mark.parametrize(("hiddens", "threads"), [([32, 32], 1), ([600, 600], 2)])
def test_small_networks_learn_on_one_thread(hiddens, threads, monkeypatch):
    """Threads that wait for each other on a busy machine cost far more than they gain."""
    model = MODEL_DEFAULTS | {"fcnet_hiddens": hiddens}
    run = Run(BiAC, TwoStates, LEADS, model_config=model)
    rows, seen = run.sampler.sample(256).columns, []
    update = run.trainer._update

    def watched(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return update(*args, **kwargs)

    monkeypatch.setattr(run.trainer, "_update", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run.trainer.train(rows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]
