"""Who knows what in play, as RLlib's users have it: both runners, checkpoints, resuming, commands, warnings."""

import json
import logging

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from rllib_biac import BiACConfig, MADDPGConfig
from rllib_biac.cli.main import main
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.games import make_games
from rllib_biac.learning.information import tell_less
from rllib_biac.rllib.reading import load
from tests.exact import differing, numbers, state
from tests.games import stock

PAIR = [["player_0"], ["player_1"]]


def configured(kind="shared", **settings):
    config = BiACConfig().environment("signalling_v0", env_config={"kind": kind}, **settings).hierarchy(PAIR)
    config = config.training(num_steps_sampled_before_learning_starts=50).reporting(
        min_sample_timesteps_per_iteration=100
    )
    return config.debugging(seed=0, log_level="ERROR")


def greedy(team):
    seen = {agent: torch.eye(*team.spec.observation_spaces[agent].shape) for agent in team.agents}
    seen["player_1"] = seen["player_1"].expand(3, -1)
    with torch.no_grad():
        return team.act(torch.eye(3), observations=seen)


@pytest.mark.parametrize("announced", [True, False])
def test_a_checkpoint_goes_on_plays_and_says_what_it_needs(ray, tmp_path, announced):
    algo = configured(information="own", announced=announced).build_algo()
    algo.train()
    path = algo.save_to_path(str(tmp_path / "saved"))
    _, team = load(path)
    played = greedy(algo.env_runner.module.team)
    for agent, actions in greedy(team).items():
        assert torch.equal(actions, played[agent])
    policy = StackelbergPolicy.load(path)
    seen = {"player_0": np.eye(3), "player_1": np.ones((3, 1))}
    for agent, actions in policy.act(observations=seen).items():
        np.testing.assert_array_equal(actions, played[agent].numpy())
    again = type(algo).from_checkpoint(path)
    assert differing(numbers(algo.train()), numbers(again.train())) == {}
    assert differing(state(algo), state(again)) == {}
    again.stop()
    algo.stop()
    result = CliRunner().invoke(main, ["evaluate", path, "--episodes", "2", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)["deployable"]
    assert said.startswith("deployable: each agent acts on its own observation")
    assert said.endswith("announced actions of the levels above") == announced


def test_rllibs_own_runner_plays_by_observations(ray):
    algo = stock(configured(information="own")).build_algo()
    result = [algo.train() for _ in range(2)][-1]
    assert np.isfinite(result["learners"]["player_1"]["actor_loss"])
    algo.stop()


def test_full_information_is_said_where_it_tells_more(ray, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "rllib_biac"):
        configured("pooling").environment(env="signalling_v0").validate()
        configured("pooling").validate()
    (said,) = [record.getMessage() for record in caplog.records if "who knows what" in record.getMessage()]
    assert "player_1" in said and "information: own" in said
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rllib_biac"):
        configured("shared", information="full").validate()
        BiACConfig().environment("maintain_v0").hierarchy(PAIR).validate()
        MADDPGConfig().environment("signalling_v0").hierarchy([["player_0", "player_1"]]).validate()
    assert "who knows what" not in caplog.text
    algo = configured(information="full").build_algo()
    algo.train()
    path = algo.save_to_path(str(tmp_path / "saved"))
    algo.stop()
    result = CliRunner().invoke(main, ["evaluate", path, "--episodes", "2"])
    assert "not deployable without the full state, of which player_1 observes less" in result.output


def test_who_observes_less_than_the_state():
    def less(env, source="env", **kwargs):
        games = make_games(env, 1, np.random.default_rng(0), kwargs)
        return tell_less(games, source)

    assert less("signalling_v0") == ["player_1"]
    assert less("signalling_v0", "observations") == ["player_1"]
    assert less("signalling_v0", kind="hidden") == ["player_0", "player_1"]
    assert less("maintain_v0") == less("merge_v0") == []  # of the cars each sees both, itself first
    assert less("merge_v0", sensor_range=10.0) != []
