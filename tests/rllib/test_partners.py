"""Partners as a config names them: a checkpoint plays as it was trained, on either runner."""

import numpy as np
import pytest
import torch

from rllib_biac import BiACConfig
from rllib_biac.learning.games import make_games
from rllib_biac.learning.partners import Seen
from rllib_biac.rllib.partners import Frozen, partners_of
from tests.games import TwoStates, config


def test_what_partners_may_be():
    for wrong, message in (
        ("random", "write a mapping"),
        ({"one": 3}, "there is no 3"),
        ({"one": {"epsilon": 0.1}}, "write {policy"),
        ({"one": {"policy": "random", "epsilon": 2}}, "a number from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            partners_of(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["joint", "stock"])
def test_a_checkpoint_plays_as_it_was_trained(ray, tmp_path, runner):
    trained = config(TwoStates).build_algo()
    trained.train()
    trained.save_to_path(tmp_path / "saved")
    team = trained.learner_team()
    frozen = partners_of({"two": str(tmp_path / "saved")})["two"]
    assert isinstance(frozen, Frozen)
    games = make_games(TwoStates, 3, np.random.default_rng(0), {})
    games.reset()
    with torch.no_grad():
        played = team.act(torch.from_numpy(games.state()))["two"].numpy()
    np.testing.assert_array_equal(frozen(Seen("two", games, np.random.default_rng(0))), played)
    trained.stop()

    learner = BiACConfig().environment(TwoStates, partners={"two": str(tmp_path / "saved")}).hierarchy([["one"]])
    learner = learner.env_runners(env_runner_cls=runner, num_envs_per_env_runner=4)
    algo = learner.reporting(min_sample_timesteps_per_iteration=100).debugging(seed=0, log_level="ERROR").build_algo()
    assert set(algo.train()["env_runners"]["agent_episode_returns_mean"]) == {"one"}
    algo.stop()
    with pytest.raises(ValueError, match=r"knows no agent 'player_1'; its agents are one, two"):
        partners_of({"player_1": str(tmp_path / "saved")})


@pytest.mark.slow
def test_a_checkpoint_that_remembers_is_no_partner(ray, tmp_path):
    trained = config(TwoStates).environment(history=2).build_algo()
    trained.save_to_path(tmp_path / "saved")
    trained.stop()
    with pytest.raises(ValueError, match=r"was trained with history: 2.*train it with history: 1"):
        partners_of({"two": str(tmp_path / "saved")})
