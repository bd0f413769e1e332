"""Regrets of what was learned, against exact answers, of every kind of algorithm."""

import numpy as np
import pytest
import torch

from rllib_biac import BiACConfig, IDQNConfig
from rllib_biac.core.best_response import learned_regret
from rllib_biac.core.games import StateReader, make_games
from rllib_biac.core.hierarchy import Hierarchy
from rllib_biac.core.play import regret
from rllib_biac.envs.two_state_v0 import DISCOUNT
from rllib_biac.experiments.metrics import unreported
from tests.core.games import Masked, learner_of


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


def test_evaluation_reports_them(ray):
    algo = (
        IDQNConfig()
        .environment("maintain_v0")
        .hierarchy([["player_0", "player_1"]])
        .training(lr=3e-4)
        .evaluation(evaluation_interval=1, evaluation_duration=1)
        .debugging(seed=0)
        .build_algo()
    )
    for _ in range(2):
        found = algo.train()["evaluation"]["regret"]
    algo.stop()
    assert found == {"response_regret": 15.0, "leader_regret": 10.0}  # at B-Y, as above
    for name in found:
        assert unreported(f"evaluation/regret/{name}", {"evaluation_interval": 1}) is None
        assert "evaluation_interval" in unreported(f"evaluation/regret/{name}", {})


def untrained(config, seed):
    """Returns random networks, which play badly."""
    config.validate()
    games = make_games(config.env, 1, np.random.default_rng(0), dict(config.env_config))
    torch.manual_seed(seed)
    return config.get_multi_rl_module_spec(spaces=StateReader(games, config.state).module_spaces()).build()


@pytest.mark.parametrize(
    ("env", "hierarchy", "seed"),
    [
        ("maintain_v0", [["player_0"], ["player_1"]], 0),
        ("escape_v0", [["player_1"], ["player_0"]], 0),
        ("two_state_v0", [["player_0"], ["player_1"]], 1),
        ("two_state_v0", [["player_0"], ["player_1"]], 4),
    ],
)
def test_learned_regrets_of_small_games_are_the_exact_ones(env, hierarchy, seed):
    config = BiACConfig().environment(env).hierarchy(hierarchy).training(gamma=DISCOUNT)
    module = untrained(config, seed)
    exact = regret(config, module)
    leader, follower = learned_regret(config, module, 1500, seed=0).values()
    assert exact.worst_response_regret > 0  # random networks are no equilibrium
    assert follower.worst.value == pytest.approx(exact.worst_response_regret)
    assert follower.played.value == pytest.approx(exact.played_response_regret[0])
    assert leader.played.value == leader.worst.value == pytest.approx(exact.worst_leader_regret)


def test_equals_are_measured_as_leader_and_follower():
    config = IDQNConfig().environment("maintain_v0").hierarchy([["player_0", "player_1"]])
    module = untrained(config, 1)
    exact = regret(config, module)
    leader, follower = learned_regret(config, module, 1500, seed=0).values()
    assert not leader.responds and follower.responds
    assert follower.worst.value == pytest.approx(exact.worst_response_regret) and follower.worst.value > 0
    assert leader.played.value == pytest.approx(exact.worst_leader_regret)


class Cournot:
    """Two firms that sell 1/3 each, whatever the other commits to: the Nash equilibrium."""

    hierarchy = Hierarchy([["firm_0"], ["firm_1"]])

    def act(self, state, *, given=None, **kwargs):
        return {firm: torch.full((len(state), 1), 1 / 3) for firm in self.hierarchy.agents} | (given or {})


def test_continuous_actions_are_measured_by_what_is_known_of_the_duopoly():
    """To q the best answer is (1 - q) / 2. 1/3 is that to 1/3; to 1 it loses 1/9. The leader gets 1/9, for 1/2 1/8."""
    config = BiACConfig().environment("stackelberg_duopoly_v0").hierarchy([["firm_0"], ["firm_1"]])
    leader, follower = learned_regret(config, Cournot(), 2500, seed=0).values()
    assert follower.played.value == pytest.approx(0.0, abs=2e-3)
    assert 0.08 < follower.worst.value <= 1 / 9
    assert leader.played.value == pytest.approx(1 / 8 - 1 / 9, abs=4e-3)
    assert leader.played.standard_error == pytest.approx(0.0, abs=1e-6)  # there is no chance in it


def test_a_bad_driver_is_found_out_where_there_are_no_tables():
    config = BiACConfig().environment("merge_v0").hierarchy([["main_0"], ["auxiliary_0"]])
    calls = []
    leader, follower = learned_regret(
        config, untrained(config, 0), 1500, seed=0, progress=lambda *steps: calls.append(steps)
    ).values()
    for found in (leader.played, follower.played, follower.worst):
        assert found.value > 3 * found.standard_error > 0
    assert calls == sorted(calls) and calls[-1] == (3000, 3000)


def test_masked_actions_are_neither_taken_nor_committed_to():
    config = BiACConfig().environment(Masked).hierarchy([["one"], ["two"]])  # it raises where one is
    leader, follower = learned_regret(config, untrained(config, 0), 1000, seed=0).values()
    assert follower.worst.value >= 0 and leader.played.value >= 0


def test_the_best_answer_has_nothing_left_to_gain():
    config = BiACConfig().environment("maintain_v0").hierarchy([["player_0"], ["player_1"]])

    class Equilibrium:
        hierarchy = Hierarchy([["player_0"], ["player_1"]])

        def act(self, state, *, given=None, **kwargs):
            leads = (given or {}).get("player_0", torch.zeros(len(state), dtype=torch.int64))
            return {"player_0": leads, "player_1": leads}  # A-X, B-Y, C-Z

    for found in learned_regret(config, Equilibrium(), 1000, seed=0).values():
        assert found.worst.value == found.played.value == 0.0


def test_agents_of_three_levels_are_measured_bottom_up():
    """All sell 1/4. If the third best-responds, q' pays the second (3/4 - q') q' / 2: at 3/8 9/128, at 1/4 1/16."""
    firms = [f"firm_{i}" for i in range(3)]

    class Three(Cournot):
        hierarchy = Hierarchy([[firm] for firm in firms])

        def act(self, state, *, given=None, **kwargs):
            return {firm: torch.full((len(state), 1), 0.25) for firm in firms} | (given or {})

    config = BiACConfig().environment("stackelberg_duopoly_v0", env_config={"firms": 3}).hierarchy([[f] for f in firms])
    found = learned_regret(config, Three(), 1500, seed=0)
    assert list(found) == firms and [own.responds for own in found.values()] == [False, True, True]
    assert found["firm_2"].played.value == pytest.approx(0.0, abs=4e-3)
    assert found["firm_1"].played.value == pytest.approx(9 / 128 - 1 / 16, abs=6e-3)
