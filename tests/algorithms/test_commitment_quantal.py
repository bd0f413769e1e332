"""A follower that errs: what is learned and counted is what is exact."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.algorithms.commitment.counted import CountedGame
from rllib_biac.envs.matrix_game import MAINTAIN
from rllib_biac.equilibria import MarkovGame, quantal_commitment, quantal_response
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from tests.algorithms.test_commitment_counted import by_state, count_exactly, drawn, drawn_game
from tests.algorithms.test_commitment_counted import learner as markov_learner
from tests.training import Run

LEADS = [["player_0"], ["player_1"]]
TEMPERATURE = 4.0  # Maintain's payoffs lie between 0 and 30


def learner(scale, **settings):
    return Run(
        CommitmentDQN,
        "matrix_game_v0",
        LEADS,
        env_config={"payoffs": scale * np.asarray(MAINTAIN)},
        num_games=25,
        mixed=True,
        max_states=1,
        temperature=scale * TEMPERATURE,
        training_intensity=16.0,
        model_config=MODEL_DEFAULTS,
        **settings,
    ).train(1500)


@pytest.fixture(scope="module")
def maintain():
    return learner(1.0, choose_after=1000, choose_steps=320)


def exact(z):
    """What a commitment is worth to the leader of Maintain."""
    policy = z.double().numpy()
    policy /= policy.sum(1, keepdims=True)
    return quantal_response(MarkovGame.from_matrix(MAINTAIN), policy, TEMPERATURE, announced=False).leader_payoff


def test_the_best_commitment_to_a_follower_that_errs(maintain):
    best = quantal_commitment(MAINTAIN, TEMPERATURE)
    assert exact(maintain.team.leader.commitment) == pytest.approx(best.lower, abs=0.02 * np.ptp(MAINTAIN[0]) / 2)
    assert maintain.finished["promised"] == pytest.approx(exact(maintain.team.leader.commitment), abs=0.01)
    by_critics = learner(1.0, counted=False)
    assert exact(by_critics.team.leader.commitment) == pytest.approx(best.lower, abs=0.02 * np.ptp(MAINTAIN[0]))


def test_it_answers_by_a_softmax(maintain):
    state, many = torch.ones(4000, 1), torch.Generator().manual_seed(0)
    z = maintain.team.leader.commitment
    played = maintain.team.act(state, generator=many)["player_1"].numpy()
    policy = (z / z.sum(1, keepdim=True)).double().numpy()
    response = quantal_response(MarkovGame.from_matrix(MAINTAIN), policy, TEMPERATURE, announced=False).response
    assert np.bincount(played, minlength=response.shape[1]) / 4000 == pytest.approx(response[0], abs=0.03)


def test_rewards_and_temperature_in_other_units_are_the_same_game(maintain):
    other = learner(100.0, choose_after=1000, choose_steps=320)
    assert exact(other.team.leader.commitment) == pytest.approx(exact(maintain.team.leader.commitment), abs=0.02)


@pytest.mark.parametrize("announced", [False, True])
def test_counted_values_are_those_of_the_quantal_response(announced):
    game = drawn_game(5)
    run = markov_learner(game, 150, announced=announced, temperature=0.5)
    count_exactly(run, game)
    z = drawn(run, 20)
    counted = CountedGame(run.team)
    policies = np.empty((20, 2, 2))
    policies[:, by_state(run)] = z[:, :2].double().numpy()
    policies /= policies.sum(2, keepdims=True)
    found = [quantal_response(game, policy, 0.5, announced=announced).leader_payoff for policy in policies]
    assert counted.worth(z).numpy() == pytest.approx(found)
    assert torch.equal(counted.worth(z), counted.secured(z))
