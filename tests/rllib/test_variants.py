"""Variants as algorithms of RLlib: on RLlib's own runner, and as their checkpoints play."""

import numpy as np
import pytest
import torch

from rllib_biac import BiACConfig, BiLevelQConfig
from rllib_biac.rllib.reading import load
from tests.games import Masked, TwoStates, config, learner_of, stock


def test_several_hypotheses_know_where_games_start_on_rllibs_own_runner(ray):
    algo = stock(config(Masked, num_hypotheses=3, updates_per_round=40)).build_algo()
    algo.train()
    starts = algo.local_replay_buffer.columns["start"][: len(algo.local_replay_buffer)]
    assert starts.any() and not starts.all()
    losses = learner_of(algo).trainer.losses
    assert losses._round_began > 0 and len(losses._policies) == 2
    algo.stop()


@pytest.mark.slow
def test_tables_take_values_back_through_states_on_rllibs_own_runner(ray):
    """The SE is a_1 = a_2 = 1 in both states; the last is worth 4.5 and 3."""
    settings = BiLevelQConfig().environment(TwoStates).hierarchy([["one"], ["two"]]).training(gamma=0.5)
    settings = settings.env_runners(epsilon=1.0).reporting(min_sample_timesteps_per_iteration=2000)
    algo = stock(settings.debugging(seed=0, log_level="ERROR")).build_algo()
    algo.train()
    q1, q2 = (q.numpy() for q in learner_of(algo).trainer.team.q_tables(torch.eye(2)).values())
    np.testing.assert_allclose(q1[1], [[2, 4], [2.5, 4.5]], atol=0.01)
    np.testing.assert_allclose(q1[0], np.array([[1, 1], [2, 2]]) + 0.5 * 4.5, atol=0.05)
    np.testing.assert_allclose(q2[0], np.eye(2) + 0.5 * 3, atol=0.05)
    algo.stop()


VARIANTS = {
    "hypotheses": (BiACConfig, "two_state_v0", ["player_0", "player_1"], {"num_hypotheses": 3}),
    "approximators": (BiACConfig, "two_state_v0", ["player_0", "player_1"], {"approximators": True}),
    "levels": (BiACConfig, "stackelberg_duopoly_v0", ["firm_0", "firm_1"], {}),
    "soft_q": (BiACConfig, "stackelberg_duopoly_v0", ["firm_0", "firm_1"], {"continuous_leader": "soft_q"}),
    "tables": (BiLevelQConfig, "two_state_v0", ["player_0", "player_1"], {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_plays_as_what_was_saved(ray, tmp_path, variant):
    made, env, players, settings = VARIANTS[variant]
    configured = made().environment(env).hierarchy([[player] for player in players]).training(**settings)
    algo = (
        configured.reporting(min_sample_timesteps_per_iteration=200).debugging(seed=0, log_level="ERROR").build_algo()
    )
    algo.train()
    _, team = load(algo.save_to_path(str(tmp_path / "saved")))
    state, own = torch.ones(4, 1), algo.env_runner.module.team
    plays = [lambda team: team.act(state)]
    if variant == "approximators":
        seen = {player: torch.ones(4, *team[player].observation_shape) for player in players}
        plays.append(lambda team: team.act_on_observations(seen))
    with torch.no_grad():
        for play in plays:
            for player, actions in play(own).items():
                assert torch.equal(play(team)[player], actions)
    algo.stop()
