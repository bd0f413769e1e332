"""Agents that act on their own observations: what they commit to, what is answered, what is learned."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC, own_losses
from rllib_biac.algorithms.biac.own_losses import MOST_TRIED, OwnLosses
from rllib_biac.algorithms.biac.own_scene import ByCommitments, Scene
from rllib_biac.envs.signalling import SignallingGame
from rllib_biac.envs.signalling_v0 import tables
from rllib_biac.equilibria import decentralised_commitment, policy_value
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.walk import concatenated
from tests.games import Pictures
from tests.training import Run, checked

PAIR = [["player_0"], ["player_1"]]
THREE = {"payoffs": np.arange(36.0).reshape(3, 2, 3, 2) % 7}
SPEED = {"training_intensity": 16.0, "model_config": MODEL_DEFAULTS}


def run_of(kind="shared", **settings):
    announced = kind != "hidden"
    settings = {"information": "own", "announced": announced} | settings
    return Run(BiAC, "signalling_v0", PAIR, num_games=25, env_config={"kind": kind}, **settings)


def played(team, kind):
    """What both do in every state, (2, |S|)."""
    game = SignallingGame(*tables(kind))
    states = np.arange(len(game.prior))
    seen = {agent: torch.from_numpy(own) for agent, own in game.observations_of(states).items()}
    with torch.no_grad():
        acts = team.act(torch.eye(len(states)), observations=seen)
    return np.stack([acts[agent].numpy() for agent in game.possible_agents])


def test_no_agent_sees_more_than_its_own():
    """What the listener does depends on the state by its own observation and the announced action alone."""
    team = run_of("hidden", announced=True).team
    seen = {"player_0": torch.eye(2)[[0, 1, 0, 1]], "player_1": torch.eye(2)[[0, 0, 1, 1]]}
    with torch.no_grad():
        for given in (0, 1, 2):
            forced = {"player_0": torch.full((4,), given)}
            one = team.act(torch.randn(4, 4), observations=seen, given=forced)["player_1"]
            other = team.act(torch.randn(4, 4), observations=seen, given=forced)["player_1"]
            assert torch.equal(one, other) and one[0] == one[1] and one[2] == one[3]
            answers = team.responses(torch.randn(4, 4), observations=seen)
            assert torch.equal(answers[:, given], one)


def test_values_of_commitments_are_what_each_state_pays_under_them():
    """Plain form: for each state and action by itself, the follower hears of the commitment and what is done."""
    run = run_of()
    leader, follower = (run.team[agent] for agent in run.team.agents)
    for p in run.team.parameters():
        torch.nn.init.normal_(p, std=0.7)
    state = torch.eye(3)[[0, 1, 2, 0, 1]]
    scene = Scene(state, {"player_0": state, "player_1": torch.ones(5, 1)}, {})
    q = run.trainer.losses.tried("player_0", scene, state, {})
    for row in range(5):
        several = float((state == state[row]).all(1).sum() > 1)
        for action in range(3):
            does = torch.eye(3)[action]
            heard = torch.cat([several * state[row], torch.zeros(3)])  # it hears just what was spoken of
            news = torch.cat([torch.tensor([several, several]), heard, several * does])
            with torch.no_grad():
                answer = follower.actor(torch.cat([torch.ones(1), does, news])).argmax()
                value = leader.critic(torch.cat([state[row], does, torch.eye(3)[answer]]))
            torch.testing.assert_close(q[row, action], value[0])


def test_what_is_met_has_the_frequencies_of_the_game():
    """All do the same: who hears it believes what it would without news, although each row meets itself as well."""
    run = run_of()
    for p in run.team["player_0"].parameters():
        torch.nn.init.zeros_(p)
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(3)
    for _ in range(300):
        drawn = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 64, replacement=True, generator=generator)
        state = torch.eye(3)[drawn]
        here = Scene(state, {"player_0": state, "player_1": state[:, :1]}, {})
        scene, weights = run.trainer.losses.meet("player_1", here)
        news = scene.commitments["player_0"]
        asked = (news.does(torch.eye(3)[:1])[:, 0] > 0) & (news.seen[:, 2] > 0)  # that the third state does the same
        counts += (scene.state * (weights * asked).unsqueeze(1)).sum(0)
    torch.testing.assert_close(counts / counts.sum(), torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0.0)


def test_entropy_is_weighed_by_what_an_agents_own_actions_change():
    """What is common to all of a row's actions does not count, nor forbidden ones, nor rows of one action."""
    q = torch.tensor([[1.0, 3.0, 50.0], [101.0, 103.0, 9.0], [7.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, False], [True, False, False]])
    assert own_losses._spread(q, mask) == 1.0
    assert own_losses._spread(q[:, :2] * torch.tensor([[1.0], [1.0], [0.0]]), None) == pytest.approx(2.0 / 3.0)
    assert own_losses._spread(q[2:], mask[2:]) == 0.0


@pytest.mark.parametrize("masked", [False, True])
def test_a_leader_learns_what_its_actions_differ_by(masked, monkeypatch):
    """Neither what a state is worth, whatever is done there, nor the unit changes what its actor learns."""
    run = run_of()
    losses, state = run.trainer.losses, torch.eye(3)[[0, 1, 2, 0]]
    mask = torch.tensor([[True, True, False], [True, True, True], [False, True, True], [True, False, False]])
    here = Scene(state, {"player_0": state, "player_1": torch.ones(4, 1)}, {"player_0": mask} if masked else {})
    q = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def gradients(values):
        monkeypatch.setattr(losses, "tried", lambda *given: values)
        monkeypatch.setattr(losses, "effect_on_others", lambda *given: 0.0)
        run.trainer.team.zero_grad()
        losses.actor_loss("player_0", here).backward()
        return torch.cat([p.grad.flatten() for p in run.trainer.team["player_0"].actor.parameters()])

    plain = gradients(q)
    assert plain.norm() > 0.0
    torch.testing.assert_close(
        gradients(7.0 * q + torch.tensor([[100.0], [-30.0], [0.0], [5.0]])), plain, atol=1e-4, rtol=1e-4
    )


def test_a_commitment_counts_where_others_see_something_else(monkeypatch):
    """Row by row, for each action: what it changes that those who see this do it, in a row where it is not seen."""
    losses = run_of().trainer.losses
    one, two = losses.agents
    for parameter in losses.team[two].actor.parameters():  # a listener whom news move much
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    seen = torch.eye(3)[[0, 0, 1, 1, 2]]  # the last is seen once: nobody hears of it
    here = Scene(torch.randn(5, 3), {one: seen, two: torch.ones(5, 1)}, {})
    partners = [torch.arange(5).roll(k + 1) for k in range(own_losses.MEETINGS)]
    drawn = iter(partners)
    monkeypatch.setattr(losses, "_others", lambda rows: next(drawn))
    found = losses.effect_on_others(one, here)

    def worth(row, about, action):
        told = here.at(slice(row, row + 1)).told(one, seen[about : about + 1], action)
        joint = ByCommitments(losses.team, told).completed({}, 0)
        return losses.team[one].critic(concatenated(told.state, joint, losses.agents)).squeeze()

    with torch.no_grad():
        now = losses.team[one].coder.act(losses.team[one].output(seen))
        plain = torch.zeros(5, 3)
        for partner in partners:
            for row, about in enumerate(partner.tolist()):
                if about != 4 and not torch.equal(seen[row], seen[about]):
                    usual = worth(row, about, now[about : about + 1])
                    plain[about] += torch.stack([worth(row, about, a[None]) - usual for a in torch.eye(3)])
    alike = torch.tensor([2.0, 2.0, 2.0, 2.0, 1.0])
    assert plain.abs().max() > 0
    torch.testing.assert_close(found, plain / own_losses.MEETINGS * (5 / alike)[:, None])


def test_where_there_are_many_actions_fewer_rows_tell_of_each(monkeypatch):
    """An update tries no more actions than `MOST_TRIED` in all, whatever their number; critics learn from all rows."""
    payoffs = np.arange(2.0 * 3 * 64).reshape(2, 3, 64)
    run = Run(BiAC, "matrix_game_v0", PAIR, env_config={"payoffs": payoffs}, information="own").train(50)
    seen = {}
    plain = OwnLosses.actor_loss
    monkeypatch.setattr(
        OwnLosses, "actor_loss", lambda self, agent, here: seen.update({agent: here}) or plain(self, agent, here)
    )
    rows = run.replay.sample(256).columns
    run.trainer.train(rows, minibatch_size=256)
    assert len(seen["player_0"].state) == 256  # 3 actions
    assert len(seen["player_1"].state) == len(seen["player_1"].x["player_0"]) == MOST_TRIED // 64


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shared", "pooling", "hidden"])
def test_signalling_games_are_learned_exactly(kind):
    exact = decentralised_commitment(*tables(kind), announced=kind != "hidden")
    run = run_of(kind, **SPEED).train(8000)
    first, second = played(run.team, kind)
    game = SignallingGame(*tables(kind))
    paid = (game.prior * game.payoffs[:, np.arange(len(game.prior)), first, second]).sum(1)
    assert paid[0] == pytest.approx(exact.optimistic)
    policy = [int(first[np.flatnonzero(game.seen[0] == o)[0]]) for o in range(int(game.seen[0].max()) + 1)]
    best = policy_value(*tables(kind), policy, announced=kind != "hidden").follower_payoff
    assert paid[1] == pytest.approx(best)


@pytest.mark.slow
def test_one_does_not_join_those_whom_it_would_bring_into_disrepute():
    """With a good state as rare as 0.3, saying in the bad state what is said in the good one ends all acceptance."""
    payoffs, _, seen = tables("pooling")
    game = (payoffs, [0.3, 0.7], seen)
    run = Run(BiAC, lambda: SignallingGame(*game), PAIR, num_games=25, information="own", **SPEED).train(6000)
    states = torch.eye(2)
    with torch.no_grad():
        acts = run.team.act(states, observations={"player_0": states, "player_1": torch.ones(2, 1)})
    assert acts["player_0"][0] != acts["player_0"][1] and acts["player_1"].tolist() == [0, 1]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("game", "levels", "config"),
    [
        ("matrix_game_v0", [["player_0"], ["player_1"], ["player_2"]], THREE),
        ("matrix_game_v0", [["player_0", "player_1"], ["player_2"]], THREE),
        ("matrix_game_v0", [["player_0"], ["player_1", "player_2"]], THREE),
        ("matrix_game_v0", [["player_0", "player_1", "player_2"]], THREE),
        ("stackelberg_duopoly_v0", [["firm_0"], ["firm_1"]], {}),
    ],
)
def test_any_hierarchy_learns(game, levels, config, announced):
    run = Run(BiAC, game, levels, env_config=config, information="own", announced=announced)
    before = run.team.weights()
    run.train(70)
    run.trainer.losses.num_updates = 1000  # continuous actors begin late
    run.train(20)
    after = run.team.weights()
    for agent in run.team.agents:
        for key in ("actor", "critic"):
            names = [name for name in after[agent] if name.startswith(f"{key}.")]
            assert names and all(np.isfinite(after[agent][name]).all() for name in names)
            assert any((before[agent][name] != after[agent][name]).any() for name in names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"announced": False}, "announced: false is for information: own"),
        ({"information": "full", "announced": False}, "announced: false is for information: own"),
        ({"information": "own", "approximators": True}, "approximators: True does not go with information: own"),
        ({"information": "own", "response": "sampled"}, "response: 'sampled' does not go with information: own"),
        ({"information": "own", "num_hypotheses": 2}, "num_hypotheses: 2 does not go with information: own"),
        ({"information": "mine"}, "information: 'mine' is none of full, own"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        checked(BiAC, PAIR, **settings)


def test_pictures_are_refused():
    with pytest.raises(ValueError, match="which takes a vector"):
        Run(
            BiAC,
            Pictures,
            [["one"], ["two"]],
            information="own",
            model_config=MODEL_DEFAULTS | {"conv_filters": [[4, 3, 2]]},
        )


def test_one_row_at_a_time_is_enough():
    run = run_of(train_batch_size_per_learner=1).train(100)
    assert all(np.isfinite(own).all() for member in run.team.weights().values() for own in member.values())
