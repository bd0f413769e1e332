"""Regrets of what was learned, against exact answers, of every kind of algorithm."""

import pytest

from rllib_biac import BiACConfig, IDQNConfig
from rllib_biac.core.play import regret
from rllib_biac.envs.two_state_v0 import DISCOUNT
from tests.core.games import learner_of


def learned(config, env, hierarchy, **settings):
    env_config = settings.pop("env_config", {})
    algo = (
        config.environment(env, env_config=env_config, **settings).hierarchy(hierarchy).debugging(seed=0).build_algo()
    )
    for _ in range(2):
        algo.train()
    measured = regret(algo.config, learner_of(algo).module)
    algo.stop()
    return measured


@pytest.mark.parametrize("hierarchy", [[["player_0"], ["player_1"]], [["player_1"], ["player_0"]]])
@pytest.mark.parametrize("state", ["env", "observations"])
def test_a_leader_and_a_follower_have_none(ray, hierarchy, state):
    measured = learned(BiACConfig(), "maintain_v0", hierarchy, state=state)
    assert measured.worst_response_regret == 0.0 and measured.leader_regret.max() == 0.0


def test_equals_end_where_a_commitment_would_gain(ray):
    """At B-Y the leader has 10; had it committed to A and been answered by X, 20. Y is 15 short of X against A."""
    measured = learned(IDQNConfig().training(lr=3e-4), "maintain_v0", [["player_0", "player_1"]])
    assert measured.leader_regret.max() == 10.0 and measured.worst_response_regret == 15.0


def test_networks_that_take_actions_in_answer_alike(ray, monkeypatch):
    monkeypatch.setattr("rllib_biac.algorithms.biac.biac._one_leads_one", lambda hierarchy: False)
    measured = learned(BiACConfig(), "escape_v0", [["player_0"], ["player_1"]])
    assert measured.leader_regret.max() == 0.0


def test_states_are_measured_one_by_one(ray):
    measured = learned(BiACConfig().training(gamma=DISCOUNT), "two_state_v0", [["player_0"], ["player_1"]])
    assert measured.leader_regret.shape == (1,) and measured.response_regret.shape == (1, 2)


@pytest.mark.parametrize(("env", "env_config"), [("merge_v0", {}), ("escape_v0", {"horizon": 3})])
def test_games_without_tables_have_none_to_measure(env, env_config):
    agents = ["main_0", "auxiliary_0"] if env == "merge_v0" else ["player_0", "player_1"]
    algo = BiACConfig().environment(env, env_config=env_config).hierarchy([[a] for a in agents]).build_algo()
    assert regret(algo.config, learner_of(algo).module) is None
    algo.stop()
