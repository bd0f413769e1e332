"""Several hypotheses: what commitments are worth, which fixed point is reached, and that nothing else changes."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.fourier_policies import policy_actions
from rllib_biac.algorithms.biac.hypotheses_losses import HypothesesLosses
from rllib_biac.algorithms.biac.hypotheses_team import HypothesesFollower, HypothesesLeader, HypothesesTeam
from rllib_biac.algorithms.biac.team import BiACLeader
from rllib_biac.envs.two_state_v0 import DISCOUNT
from rllib_biac.evaluation import greedy
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.team import copy_weights
from rllib_biac.learning.transitions import ACTION_MASK
from tests.games import Masked
from tests.training import Run, checked

PLAYERS = ("player_0", "player_1")
STATE = np.ones((1, 1), np.float32)


def build(num_hypotheses, env="two_state_v0", players=PLAYERS, **settings):
    own = {"gamma": DISCOUNT, "tau": 0.05, "training_intensity": 32.0, "num_hypotheses": num_hypotheses}
    own |= {"num_steps_sampled_before_learning_starts": 100}
    if num_hypotheses > 1:
        own["updates_per_round"] = 300
    return Run(BiAC, env, [[player] for player in players], num_games=25, **own | settings)


@pytest.fixture(scope="module")
def trained():
    """Three hypotheses after 487 updates: in the second round, whose challengers are free."""
    return build(3).train(1000)


@pytest.fixture
def three(trained):
    """A copy of it, to be changed."""
    run = build(3).take_over(trained.learned())
    run.replay.set_state(trained.replay.get_state())
    return run


def played(team):
    return tuple(int(a[0]) for a in greedy(team, STATE).values())


@pytest.mark.slow
def test_the_best_fixed_point_is_reached_where_the_published_form_is_misled(tmp_path):
    published = build(1).train(2000)
    assert played(published.team) == (0, 1)  # A-B, worth (0, 10)
    run = build(3).train(2000)
    assert played(run.team) == (1, 0)  # B-A, worth (10, 0)
    table = run.team.q_tables(torch.ones(1, 1))["player_0"][0].detach()
    assert table[1, 0] == pytest.approx(10, abs=0.5) and table[1, 1] == pytest.approx(-1 + 0.9 * 10, abs=0.5)

    # What is selected is what plays wherever it is taken: into a team without challengers, into a file.
    alone = HypothesesTeam(run.team.spec)
    alone.drop_training_only()
    copy_weights(run.team, alone)
    assert not hasattr(alone["player_1"], "challengers") and played(alone) == (1, 0)
    StackelbergPolicy.from_module(run.team).save(tmp_path / "policy")
    assert StackelbergPolicy.load(tmp_path / "policy").act(np.ones(1)) == {"player_0": 1, "player_1": 0}


@pytest.mark.slow
def test_a_commitment_is_worth_what_the_follower_s_best_response_makes_it():
    """Always A: the follower ends it by B, 0 / 10. Always B: the follower ends it by A, 10 / 0."""
    losses = build(3, updates_per_round=100_000).train(2000).trainer.losses
    commitments = policy_actions(losses._policies, torch.ones(1, 1), None).squeeze(1)
    assert sorted(commitments.tolist()) == [0, 1]  # each unlike the others
    rewards, goes_on = torch.tensor([[[0, 0], [10, -1]], [[0, 10], [0, -1]]]), torch.eye(2)
    with torch.no_grad():
        outputs = losses.networks.forward(torch.ones(1, 1))
        tables = [losses._tables(outputs, player, "critic")[1:, 0] for player in PLAYERS]
        for i, player in enumerate(PLAYERS):
            mean, std = (x[1:].unsqueeze(2) for x in losses._normaliser(player))
            worth = torch.tensor([[0.0, 10.0], [10.0, 0.0]])[commitments, i].view(2, 1, 1)
            exact = rewards[i] + DISCOUNT * goes_on * worth
            torch.testing.assert_close(tables[i] * std + mean, exact, atol=0.6, rtol=0)


def test_selecting_a_hypothesis_exchanges_it_with_the_one_played(three):
    losses, before = three.trainer.losses, three.weights()
    q = losses.networks.forward(torch.ones(1, 1))
    adam = losses.optimizers.state["player_1", "actor_2"]["exp_avg"].clone()
    statistics = {player: losses._challengers_statistics[player][1] for player in PLAYERS}
    losses._swap(2)
    after = losses.networks.forward(torch.ones(1, 1))
    for player in PLAYERS:
        torch.testing.assert_close(after[player, "critic"], q[player, "critic_2"])
        torch.testing.assert_close(after[player, "critic_1"], q[player, "critic_1"])
        own = three.team[player]
        assert own.q_std == before[f"{player}/challengers_std"][1]
        assert own.challengers_std[1] == before[f"{player}/q_std"]
        assert losses.target_statistics[player] is statistics[player]
    torch.testing.assert_close(losses.optimizers.state["player_1", "actor"]["exp_avg"], adam)
    losses._swap(2)
    for key, value in three.weights().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_normalisers_change_units_and_not_what_any_hypothesis_says(three):
    losses, rows = three.trainer.losses, three.minibatch(three.replay.sample(512))
    for player in PLAYERS:
        rows["rewards", player] = 3.0 * rows["rewards", player] + 1.0  # so that there is something to change

    def said():
        outputs = losses.networks.forward(torch.ones(1, 1))
        tables = {player: losses._tables(outputs, player, "critic").flatten(1) for player in PLAYERS}
        return [std * tables[player] + mean for player in PLAYERS for mean, std in [losses._normaliser(player)]]

    before, units = said(), [losses._normaliser(player) for player in PLAYERS]
    losses.normalise_targets(rows)
    torch.testing.assert_close(said(), before, atol=1e-4, rtol=1e-4)
    for old, player in zip(units, PLAYERS, strict=True):
        assert (losses._normaliser(player)[1] != old[1]).all()


def test_answers_are_the_critics_where_an_actor_is_sure_of_others(three):
    losses, networks = three.trainer.losses, three.team["player_1"].networks()
    rows = three.minibatch(three.replay.sample(64))
    with torch.no_grad():
        for name in ("actor", "actor_1", "actor_2"):  # A, whatever the leader does
            networks[name].layers[-1].weight.zero_()
            networks[name].layers[-1].bias.copy_(torch.tensor([100.0, -100.0, 100.0, -100.0]))
        for name in ("critic", "critic_1", "critic_2"):  # B is better
            networks[name].layers[-1].weight.zero_()
            networks[name].layers[-1].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]))
        outputs = losses.networks.forward(torch.ones(1, 1))
        followers = losses.joint_play(outputs, {}, ACTION_MASK)[0].remainder(2).flatten().tolist()
        assert followers == [0, 1, 1]  # hypothesis 0 plays by its actor
        assert losses.joint_play(outputs, {}, ACTION_MASK, enumerated=True)[0].remainder(2).eq(1).all()
        # What hypothesis 0 plays is then not what its values are of: it counts as not at rest.
        losses._watched = {}
        losses._watch(rows)
        assert losses._changed.tolist() == [1.0, 0.0, 0.0]
        # A new round's challengers prefer nothing.
        losses._commit(rows)
        assert losses.networks.forward(torch.ones(1, 1))["player_1", "actor_2"].eq(0).all()


def test_only_what_has_come_to_rest_is_selected(three):
    losses, swapped = three.trainer.losses, []
    losses._swap = swapped.append
    losses._watched, losses._num_looks, losses._num_starts = {"state": torch.ones(1, 1)}, 10, 1
    losses._start_values = torch.tensor([1.0, 50.0, 20.0])
    for changed, selected in (([0, 0, 0], [1]), ([0, 5, 0], [2]), ([5, 5, 0], [2]), ([0, 5, 5], []), ([5, 5, 5], [])):
        swapped.clear()
        losses._changed = torch.tensor(changed, dtype=torch.float64)
        losses._select()
        assert swapped == selected


@pytest.mark.parametrize(("round_of", "per_call"), [(25, 25), (1000, 200)])
def test_calls_as_long_as_rounds_look_before_they_select(three, round_of, per_call):
    """With fewer than two looks nobody could be selected, or everybody would seem to have come to rest."""
    losses, looks, selected = three.trainer.losses, [], []
    object.__setattr__(losses.settings, "updates_per_round", round_of)
    watch, select = losses._watch, losses._select
    losses._watch = lambda rows: (watch(rows), looks.append(losses._num_looks))
    losses._select = lambda: (selected.append(losses._num_looks), select())
    losses._policies, losses._watched, losses._round_began = {}, {}, losses.num_updates
    rows = three.replay.sample(64)
    for _ in range(20):
        losses._follow_round(three.trainer.as_tensors(rows.columns))
        losses.num_updates += per_call
    assert looks and selected and min(selected) >= 2


@pytest.mark.parametrize(("steps", "updates"), [(150, 37), (200, 62), (250, 87)], ids=["committed", "free", "watched"])
def test_a_restored_run_goes_on_as_if_nothing_had_been(steps, updates):
    """Saved in every part of a round of 100 updates."""
    run = build(3, env="maintain_v0", updates_per_round=100).train(steps)
    assert run.trainer.num_updates == updates
    other = build(3, env="maintain_v0", updates_per_round=100, seed=1).take_over(run.learned())
    for _ in range(15):
        rows = run.replay.sample(10 * 64)
        for each in (run, other):
            each.update(rows, 64)
    np.testing.assert_equal(other.learned(), run.learned())


def test_one_hypothesis_is_the_published_form_and_several_play_it_until_one_is_better():
    plain = build(1).train(400)
    assert not isinstance(plain.trainer.losses, HypothesesLosses)
    # Of several, hypothesis 0 learns from the same rows as it would alone.
    run = build(3, updates_per_round=100_000).train(400)
    for player in PLAYERS:
        own, alone = run.team[player].state_dict(), plain.team[player]
        alone.load_state_dict({key: own[key] for key in alone.state_dict()})
    rows = run.minibatch(run.replay.sample(64))
    losses = [each.trainer.losses.losses(rows, each.trainer.losses.forward_online(rows)) for each in (run, plain)]
    for key, value in losses[1].items():
        torch.testing.assert_close(losses[0][key], value)


def test_masked_actions():
    run = build(3, env=Masked, players=("one", "two"), updates_per_round=40).train(600)
    losses = run.trainer.losses
    mask = torch.tensor([[False, True, False]])
    assert policy_actions(losses._policies, torch.ones(1, 2), mask).tolist() == [[1], [1]]
    starts = run.replay.columns["start"][: len(run.replay)]
    assert starts.any() and not starts.all()
    assert losses._round_began > 0 and len(losses._policies) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hypotheses": 0}, "num_hypotheses: 0 must be a whole number at least 1"),
        ({"num_hypotheses": 2.5}, "num_hypotheses"),
        ({"updates_per_round": 3}, "updates_per_round: 3 must be a whole number at least 8"),
        ({"updates_per_round": 8}, "updates_per_round: 8 would silently do nothing here"),
        ({"num_hypotheses": 3, "num_learners": 2}, "compared by one learner"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        checked(BiAC, [["player_0"], ["player_1"]], **settings)


def test_hypotheses_are_for_one_leader_and_one_follower():
    with pytest.raises(ValueError, match="num_hypotheses: 3 is for one leader and one follower"):
        build(3, env="stackelberg_duopoly_v0", players=("firm_0", "firm_1"))


def test_agents_of_the_users_own_must_hold_several_hypotheses():
    class Own(HypothesesFollower):
        pass

    assert type(build(3, follower_module_class=Own).team["player_1"]) is Own

    class Alone(BiACLeader):
        pass

    assert not issubclass(Alone, HypothesesLeader)
    with pytest.raises(ValueError, match="is no subclass of HypothesesLeader: make it one"):
        build(3, leader_module_class=Alone)
