"""The counted game: its values are those of the game itself, its errors those of counting."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.algorithms.commitment.ascent import climbed
from rllib_biac.algorithms.commitment.choice import settle
from rllib_biac.algorithms.commitment.counted import CountedGame
from rllib_biac.algorithms.commitment.search import draw
from rllib_biac.equilibria import MarkovGame, best_commitment, secured
from rllib_biac.equilibria.random_markov import sample_markov_games
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from tests.training import Run

LEADS = [["player_0"], ["player_1"]]
GAMMA = 0.8
ROWS = 3  # of the commitment; the game has two states


def drawn_game(seed, kind="dirichlet"):
    rewards, transitions = (tables[0] for tables in sample_markov_games(1, 2, 2, np.random.default_rng(seed), kind))
    return MarkovGame(rewards, transitions, GAMMA)


def learner(game, steps, **settings):
    own = {"training_intensity": 8.0, "model_config": MODEL_DEFAULTS, "max_states": ROWS, "mixed": True}
    config = {"rewards": game.rewards, "transitions": game.transitions, "horizon": 10}
    run = Run(CommitmentDQN, "markov_game_v0", LEADS, num_games=25, env_config=config, gamma=GAMMA, **own | settings)
    return run.train(steps)


def by_state(run):
    """The game's states in the order of the commitment's rows."""
    return run.team.leader.states[:2].argmax(1).numpy()


def count_exactly(run, game, rows=1e9):
    """Puts a game's own tables in the place of what was counted, as of so many rows of each kind."""
    leader, order = run.team.leader, by_state(run)
    leader.counts[:2] = rows
    leader.reward_mean[:, :2] = torch.from_numpy(game.rewards[:, order].copy())
    leader.reward_square_mean[:2] = leader.reward_mean[1, :2].square()
    leader.moves[:2, :, :, :2] = rows * torch.from_numpy(game.transitions[order][..., order].copy())


def drawn(run, count):
    """Commitments, (count, rows, 2)."""
    leader = run.team.leader
    return draw(count, leader.known, leader.alike, 2, mixed=True, generator=torch.Generator().manual_seed(0))


def exact(game, run, z, announced):
    """What a commitment secures, from where games start; z by rows."""
    policy = np.empty((2, 2))
    policy[by_state(run)] = z[:2].double().numpy()
    return secured(game, policy / policy.sum(1, keepdims=True), announced=announced)


@pytest.mark.parametrize("announced", [False, True])
def test_commitments_are_worth_what_they_secure(announced):
    game = drawn_game(1)
    run = learner(game, 150, announced=announced)
    count_exactly(run, game)
    z = drawn(run, 40)
    counted = CountedGame(run.team)
    found = [exact(game, run, one, announced).leader_payoff for one in z]
    assert counted.worth(z).numpy() == pytest.approx(found)
    least = counted.secured(z).numpy()  # against answers that are almost as good too
    assert (least <= np.array(found) + 1e-9).all() and np.isclose(least, found).sum() > 20


@pytest.mark.parametrize("announced", [False, True])
def test_gradients_are_those_of_small_steps(announced):
    game, errs = drawn_game(2), 0.3
    run = learner(game, 150, announced=announced)
    count_exactly(run, game)
    counted = CountedGame(run.team)
    z = drawn(run, 3).double()
    z = 0.05 + 0.9 * z[:, :2]
    found = counted.gradient(z, counted.answered(z, errs), errs)
    for state in range(2):
        step = torch.zeros_like(z)
        step[:, state] = torch.tensor([1e-3, -1e-3])
        above, below = (counted.answered(z + sign * step, errs).values @ counted._starts for sign in (1, -1))
        expected = (above - below) / 2e-3
        assert (found[:, state, 0] - found[:, state, 1]).numpy() == pytest.approx(expected.numpy(), rel=1e-2, abs=1e-2)


def test_climbing_comes_to_the_edge():
    """From anywhere gradients find the best commitment of a game in which it lies where the follower turns away."""
    game = drawn_game(8, "deterministic")
    run = learner(game, 150)
    count_exactly(run, game)
    counted = CountedGame(run.team)
    tried = climbed(counted, torch.full((1, ROWS, 2), 0.5), torch.arange(ROWS))
    best = best_commitment(game, mixed=True, tolerance=0.002)
    assert float(counted.secured(tried).max()) == pytest.approx(best.lower, abs=0.05)
    assert torch.allclose(tried.sum(2), torch.ones(len(tried), ROWS))


def test_what_was_counted_is_the_game():
    game = drawn_game(2, "deterministic")
    run = learner(game, 600)
    counted = CountedGame(run.team)
    order = by_state(run)
    assert counted._rewards[:, :2].numpy() == pytest.approx(game.rewards[:, order], abs=1e-5)
    assert counted._moves[:2, :, :, :2].numpy() == pytest.approx(game.transitions[order][..., order])
    assert float(run.team.leader.counts.sum()) == run.trainer.num_updates * 64
    assert float(counted._noise.max()) < 1e-6


@pytest.mark.parametrize("announced", [False, True])
def test_standard_errors_are_those_of_games_counted_anew(announced):
    """The spread of the follower's preferences over many counts of one game, each row seen 200 times."""
    game, rng, seen = drawn_game(3), np.random.default_rng(0), 200
    run = learner(game, 150, announced=announced)
    repeated = 2 * run.settings.training_intensity
    z = torch.tensor([[[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]]])
    count_exactly(run, game, seen * repeated)
    team, order = run.team, by_state(run)
    true = CountedGame(team).answered(z)
    preferences = []
    for _ in range(300):
        moves = rng.multinomial(seen, game.transitions[order][..., order]) * repeated
        team.leader.moves[:2, :, :, :2] = torch.from_numpy(moves)
        found = CountedGame(team).answered(z)
        preferences.append(((true.answer * found.q2).sum(3, keepdim=True) - found.q2)[0, :2].numpy())
    count_exactly(run, game, seen * repeated)
    spread, error = np.std(preferences, 0), CountedGame(team).error(z, true)[0, :2].numpy()
    other = spread > 1e-9  # the answer itself is preferred to itself by nothing, whatever was counted
    assert other.sum() == true.q2[0, :2].numel() // 2
    assert error[other] == pytest.approx(spread[other], rel=0.3)


def test_the_follower_answers_as_was_counted():
    game = drawn_game(4)
    run = learner(game, 150)
    count_exactly(run, game)
    team = run.team
    settle(team, torch.tensor([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]))
    answered = CountedGame(team).answered(team.leader.commitment[None])
    for _ in range(2):
        told = team.q_tables(team.leader.states[:2])["player_1"].numpy()
        assert told == pytest.approx(answered.q2_joint[0, :2].numpy(), rel=1e-5)
        assert torch.equal(team.responses(team.leader.states[:2])[:, :1], answered.answer[0, :2].argmax(2))
        run.train(25)  # until the next search nothing changes


def test_all_searches_go_by_counts():
    """Whoever says nothing of a choice has in the end what counts say is best."""
    game = drawn_game(8, "deterministic")
    run = learner(game, 1400, training_intensity=4.0, search_every=20)
    assert run.team.leader.searches > 1 and not run.team.leader.chosen
    best = best_commitment(game, mixed=True, tolerance=0.002)
    found = exact(game, run, run.team.leader.commitment, announced=False)
    assert found.leader_payoff == pytest.approx(best.lower, abs=0.05)


def test_the_choice_goes_to_the_edge():
    """What was counted tells where the follower turns away to within a small part of what lies between."""
    game = drawn_game(8, "deterministic")
    run = learner(game, 1400, choose_after=1000, choose_steps=320, training_intensity=4.0)
    best = best_commitment(game, mixed=True, tolerance=0.002)
    found = exact(game, run, run.team.leader.commitment, announced=False)
    assert best.lower > best_commitment(game, mixed=False).lower + 0.5  # mixing pays in this game
    assert found.leader_payoff == pytest.approx(best.lower, abs=0.05)
    assert run.finished["promised"] == pytest.approx(found.leader_payoff, abs=0.01)
    chosen = run.team.draw(3, None)  # all that is learned from now on is of this one
    assert torch.equal(chosen, run.team.leader.commitment.expand(3, -1, -1))


def test_games_that_end_need_no_discount():
    run = Run(
        CommitmentDQN,
        "entry_deterrence_v0",
        LEADS,
        gamma=1.0,
        max_states=2,
        choose_after=400,
        choose_steps=160,
        training_intensity=4.0,
        model_config=MODEL_DEFAULTS,
    ).train(700)
    assert run.finished["promised"] == pytest.approx(4) and run.finished["played"] == pytest.approx(4)


def test_what_was_never_tried_is_unknown():
    """Nobody keeps to a threat that hangs on an answer that nobody has seen."""
    game = drawn_game(1)
    run = learner(game, 150)
    count_exactly(run, game)
    z = drawn(run, 40)
    known = CountedGame(run.team).secured(z)
    run.team.leader.counts[:2, :, 1] = 0
    run.team.leader.moves[:2, :, 1] = 0
    unknown = CountedGame(run.team).secured(z)
    assert float(unknown.mean()) < float(known.mean()) - 0.2
