"""What is done once by play at the end of training: under RLlib too it counts as env steps, and is done once."""

import pytest
import torch

from rllib_biac.rllib.registry import config_class

PLAYED = 640


def algorithm(**learners):
    return (
        config_class("CommitmentDQN")()
        .environment("maintain_v0")
        .hierarchy([["player_0"], ["player_1"]])
        .training(mixed=True, max_states=1, choose_after=200, choose_steps=PLAYED, search_every=10, num_candidates=64)
        .env_runners(num_envs_per_env_runner=10, epsilon=1.0)
        .reporting(min_sample_timesteps_per_iteration=100)
        .learners(**learners)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )


@pytest.mark.parametrize("num_learners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_commitment_is_chosen_once(ray, num_learners, tmp_path):
    algo = algorithm(num_learners=num_learners)
    try:
        first, second, third = (algo.train() for _ in range(3))
        assert "finished" not in first and second["finished"]["env_steps"] == PLAYED
        steps = [result["num_env_steps_sampled_lifetime"] for result in (first, second, third)]
        assert steps == [100, 200 + PLAYED, 300 + PLAYED]
        played, learned = (team.leader for team in (algo.env_runner.module.team, algo.learner_team()))
        assert played.chosen and learned.chosen and torch.equal(played.commitment, learned.commitment)
        handed_on = algo.env_runner.module["player_0"].get_state(inference_only=True)
        assert "commitment" in handed_on and "moves" not in handed_on  # counts are large, and nobody plays by them
        path = algo.save_to_path(tmp_path / "saved")
        chosen = played.commitment.clone()
        algo.restore_from_path(path)
        fourth = algo.train()
        assert fourth["num_env_steps_sampled_lifetime"] == 400 + PLAYED
        assert torch.equal(algo.learner_team().leader.commitment, chosen)
    finally:
        algo.stop()
