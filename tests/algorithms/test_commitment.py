"""Learning to commit: targets against their plain form, exact answers of known games, and what is refused."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.commitment import CommitmentDQN, choice
from rllib_biac.algorithms.commitment.losses import COMMITMENT
from rllib_biac.algorithms.commitment.search import draw, near, search
from rllib_biac.algorithms.commitment.worth import candidates
from rllib_biac.envs.entry_deterrence_v0 import DISCOUNT, REWARDS, TRANSITIONS
from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.equilibria import MarkovGame, secured
from rllib_biac.learning.games import make_games
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.transitions import NEXT_STATE, TERMINATED
from rllib_biac.learning.transitions import REWARDS as REWARD
from tests.games import Masked, TwoStates
from tests.training import Run, checked

PLAYERS = ("player_0", "player_1")
LEADS = [[player] for player in PLAYERS]


def learner(env, players=PLAYERS, **settings):
    own = {"training_intensity": 16.0, "model_config": MODEL_DEFAULTS, "max_states": 2, "mixed": True}
    return Run(CommitmentDQN, env, [[player] for player in players], num_games=25, **own | settings)


def committed(run, states):
    """The commitment in such states, (|S|, |A_1|) float64."""
    leader = run.team.leader
    z = leader.probabilities(leader.commitment.expand(len(states), -1, -1), leader.rows(states)).double()
    return (z / z.sum(1, keepdim=True)).numpy()


@pytest.fixture(scope="module")
def maintain():
    return learner("maintain_v0", max_states=1).train(2000)


def test_maintain_unannounced_mixes(maintain):
    found = secured(MarkovGame.from_matrix(MAINTAIN), committed(maintain, torch.ones(1, 1)), announced=False)
    assert 26 < found.leader_payoff <= 27.5  # the supremum; 20 by pure commitment


def test_maintain_announced_pays_what_pure_commitment_does():
    run = learner("maintain_v0", max_states=1, announced=True).train(2000)
    found = secured(MarkovGame.from_matrix(MAINTAIN), committed(run, torch.ones(1, 1)), announced=True)
    assert 19 < found.leader_payoff <= 20


def test_entry_deterrence_makes_the_threat_that_no_feedback_equilibrium_makes():
    run = learner("entry_deterrence_v0", gamma=DISCOUNT, mixed=False).train(2000)
    z = committed(run, torch.eye(2))
    assert set(z.ravel()) == {0.0, 1.0}
    found = secured(MarkovGame(REWARDS, TRANSITIONS, DISCOUNT), z, announced=False)
    assert found.leader_payoff == pytest.approx(4)


def test_a_wider_margin_stays_further_from_where_the_follower_turns_away(maintain):
    settings, shares = maintain.team.settings, []
    for margin in (0.0, 1.5, 4.5):  # by which the follower is to prefer X to Y
        settings.answer_margin = margin / float(maintain.team.follower.error)
        shares.append(float(candidates(maintain.team, torch.Generator().manual_seed(0))[0, 0, 0]))
    settings.answer_margin = 1.0
    assert shares[0] == pytest.approx(0.25, abs=0.02)  # a quarter A: the follower is indifferent
    assert shares[0] < shares[1] - 0.005 < shares[2] - 0.05


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("announced", [False, True])
def test_targets_are_those_of_the_plain_form(announced, temperature):
    """A row under any commitment: what the game paid, and the mean over the leader's next draw."""
    players = ("one", "two")
    run = learner(TwoStates, players, announced=announced, gamma=0.8, temperature=temperature).train(150)
    rows = run.trainer.as_tensors(run.replay.sample(64).columns)
    run.trainer.losses.normalise_targets(rows)
    targets = run.trainer.losses.compute_targets(rows)
    one, two = (run.team[player] for player in players)
    assert rows[TERMINATED].any() and not rows[TERMINATED].all()
    for k, z in enumerate(rows[COMMITMENT]):
        x = rows[NEXT_STATE][k]
        seen = torch.cat([x, (2 * z[:, 1:] - 1).flatten()])
        q1, q2 = (own.raw(own.critic_target(seen)).detach().view(own.num_actions) for own in (one, two))
        at = [s for s in range(int(one.count)) if torch.equal(one.states[s], x)]
        chances = z[at[0]] if at else torch.full(q1.shape[:1], 1 / len(q1))
        values = np.zeros(2)
        for a, chance in enumerate(chances):
            liked = q2[a] if announced else sum(p * row for p, row in zip(chances, q2, strict=True))
            p = (liked / temperature).softmax(0) if temperature else torch.eye(len(liked))[int(liked.argmax())]
            bonus = -temperature * float((p * p.log()).sum()) if temperature else 0.0
            values += float(chance) * np.array([float(p @ q1[a]), float(p @ q2[a]) + bonus])
        for i, player in enumerate(players):
            expected = float(rows[REWARD, player][k]) + 0.8 * (not rows[TERMINATED][k]) * values[i]
            assert float(targets[player][k]) == pytest.approx(expected, abs=1e-4)


def test_the_error_of_the_critic_is_measured_whatever_chance_does():
    """Rewards of a one-step game, to which chance adds: the error is how far the critic is off their means."""
    run = learner("maintain_v0", max_states=1).train(300)
    rows = run.trainer.as_tensors(run.replay.sample(256).columns)
    rows = {key: torch.cat([column] * 100) for key, column in rows.items()}
    noise = torch.randn(len(rows[TERMINATED]), generator=torch.Generator().manual_seed(0))
    follower = run.team.follower
    with torch.no_grad():
        z = run.team.draw(4000, torch.Generator().manual_seed(0))
        off = run.team.says(torch.ones(4000, 1), z)[1] - torch.tensor(MAINTAIN[1].tolist())
        played = torch.bincount(run.trainer.losses._joint(rows), minlength=9) / len(noise)
        expected = float((off.square().mean(0).flatten() * played).sum().sqrt())
    for scale in (0.0, 3.0):
        noisy = rows | {(REWARD, "player_1"): rows[REWARD, "player_1"] + scale * noise}
        assert float(run.trainer.losses._critic_error(noisy)) == pytest.approx(expected, rel=0.1)
    assert follower.error > 0 or not run.team.leader.searches


def test_the_leader_draws_from_its_commitment_and_the_follower_answers_that():
    run = learner("maintain_v0", max_states=1).train(150)
    run.team.commit(torch.tensor([[0.2, 0.8, 0.0]]))
    played = run.team.act(torch.ones(4000, 1), generator=torch.Generator().manual_seed(0))
    shares = np.bincount(played["player_0"].numpy(), minlength=3) / 4000
    assert shares == pytest.approx([0.2, 0.8, 0], abs=0.03)
    q2 = run.team.q_tables(torch.ones(1, 1))["player_1"][0].detach().numpy()
    assert set(played["player_1"].tolist()) == {int((np.array([0.2, 0.8, 0]) @ q2).argmax())}


def test_states_that_were_never_met_are_played_uniformly():
    run = learner("entry_deterrence_v0").train(150)
    assert committed(run, torch.full((1, 2), 7.0)).tolist() == [[0.5, 0.5]]


def test_drawn_commitments_are_probabilities():
    known, generator = torch.tensor([True, True, False]), torch.Generator().manual_seed(0)
    for mixed in (False, True):
        z = draw(600, known, torch.arange(3), 3, mixed=mixed, generator=generator)
        z = near(z[:1], z, 0.3, mixed=mixed, generator=generator)
        assert (z >= 0).all() and torch.allclose(z.sum(-1), torch.ones(600, 3))
        assert torch.allclose(z[:, 2], torch.tensor(1 / 3))
        assert bool(((z[:, :2] == 0) | (z[:, :2] == 1)).all()) is not mixed


def test_the_search_finds_what_is_best():
    goal, generator = torch.tensor([[0.7, 0.1, 0.2], [0.0, 1.0, 0.0]]), torch.Generator().manual_seed(0)

    def again(count):
        return draw(count, torch.ones(2, dtype=torch.bool), torch.arange(2), 3, mixed=True, generator=generator)

    found = search(
        lambda z: -(z - goal).abs().sum((1, 2)), again(1000), again, torch.arange(2), mixed=True, generator=generator
    )
    assert (found[0] - goal).abs().max() < 0.02


def test_too_many_states_are_told():
    with pytest.raises(ValueError, match="more than 1 states"):
        learner("entry_deterrence_v0", max_states=1).train(150)


@pytest.mark.parametrize(
    ("env", "hierarchy", "message"),
    [
        (Masked, None, "forbids actions"),
        ("maintain_v0", [list(PLAYERS)], r"write two levels"),
    ],
)
def test_games_that_it_cannot_play_are_refused(env, hierarchy, message):
    with pytest.raises(ValueError, match=message):
        Run(CommitmentDQN, env, hierarchy or [["one"], ["two"]])


def test_normalised_states_are_refused():
    with pytest.raises(ValueError, match="table over states"):
        checked(CommitmentDQN, LEADS, normalize_observations=True)


def test_the_choice_is_made_once_and_its_play_counts():
    run = learner("entry_deterrence_v0", gamma=DISCOUNT, choose_after=1500, choose_steps=640).train(1475)
    leader = run.team.leader
    assert not run.finished and not leader.chosen
    run.train(700)
    assert run.env_steps == 1475 + 25 + 640 + 50 == 2190  # 700 more, up to a whole step of 25 games
    assert leader.chosen and run.finished["env_steps"] == 640
    chosen = run.team.leader.commitment.clone()
    found = secured(MarkovGame(REWARDS, TRANSITIONS, DISCOUNT), committed(run, torch.eye(2)), announced=False)
    assert found.leader_payoff == pytest.approx(4) == run.finished["played"]
    run.train(1000)
    assert torch.equal(chosen, leader.commitment)


def test_play_refutes_what_critics_promise(maintain, monkeypatch):
    """A candidate that the critics like too much is passed over, however good they say it is."""
    good, bad = torch.tensor([[0.3, 0.7, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    monkeypatch.setattr(maintain.team.settings, "counted", False)
    games = make_games("maintain_v0", 64, np.random.default_rng(0), {})
    for promised, kept in (([50.0, 26.9], good), ([0.0, 26.9], bad), ([50.0, 49.0], good)):
        monkeypatch.setattr(choice, "candidates", lambda *_: torch.stack([bad, good]))
        monkeypatch.setattr(choice, "worth", lambda team, z, own=promised: torch.tensor(own).repeat(8))
        found = choice.choose(maintain.team, games, 640, torch.Generator().manual_seed(0))
        assert torch.equal(found.z, kept) and found.env_steps == 640
        assert found.played == pytest.approx(27 if kept is good else 5, abs=2.5)


def test_what_is_cut_off_the_critic_adds():
    """A game of two states without end: returns of five steps and of fifty are of one size."""
    run = learner("two_state_v0", gamma=0.9, max_states=1, mixed=False).train(1500)
    z = run.team.leader.commitment[None]
    means = []
    for rounds in (1, 30):
        games = make_games("two_state_v0", 16, np.random.default_rng(0), {})
        with torch.no_grad():
            means.append(np.mean(choice._returns(run.team, games, z, rounds, torch.Generator().manual_seed(0))[0]))
    assert means[0] == pytest.approx(means[1], rel=0.05)


def test_the_leader_may_ignore_a_part_of_the_state():
    """Of two steps, which the follower tells apart, the leader does not: it does the same where all else is alike."""
    rewards, transitions = np.random.default_rng(3).standard_normal((2, 3, 2, 2)), np.zeros((3, 2, 2, 3))
    transitions[0, 0, :, 1] = transitions[0, 1, :, 2] = 1  # the leader's action decides which state comes second
    config = {"rewards": rewards, "transitions": transitions, "horizon": None}
    config |= {"features": [[1, 0, 0], [1, 0, 1], [0, 1, 1]]}  # two states, and the time
    own = {"mixed": False, "gamma": 1.0, "max_states": 3, "leader_ignores": [2], "search_every": 20}
    run = learner("markov_game_v0", env_config=config, **own).train(600)
    z = committed(run, torch.tensor(config["features"], dtype=torch.float32))
    assert np.array_equal(z[0], z[1])
    game, (one, other) = MarkovGame(rewards, transitions, 1.0), np.eye(2)
    every = [[a, a, b] for a in (one, other) for b in (one, other)]
    best = max(secured(game, policy, announced=False).leader_payoff for policy in every)
    assert secured(game, z, announced=False).leader_payoff == pytest.approx(best)


def test_parts_that_no_state_has_are_told():
    with pytest.raises(ValueError, match="leader_ignores: 2: the state has components 0 to 1"):
        learner("entry_deterrence_v0", leader_ignores=[2])
