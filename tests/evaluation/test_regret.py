"""Regrets of what was learned, against exact answers, of every kind of algorithm."""

import copy
import functools
from types import SimpleNamespace

import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.levels_losses import LevelsLosses
from rllib_biac.algorithms.biac.levels_team import LevelsTeam
from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.envs.two_state_v0 import DISCOUNT
from rllib_biac.evaluation import Trained, play, regret
from rllib_biac.evaluation.best_response import learned_regret
from rllib_biac.evaluation.exact import exact_play
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.hierarchy import Hierarchy
from tests.games import Masked
from tests.training import Run, train

PLAYERS = ("player_0", "player_1")


def learned(algorithm, env, hierarchy, **settings):
    """Returns the regrets after 2000 env steps."""
    settings = {"epsilon": 1.0, "training_intensity": 64.0} | settings
    return regret(Trained(train(algorithm, env, hierarchy, 2000, **settings).team, env))


FORWARDS, BACKWARDS = [["player_0"], ["player_1"]], [["player_1"], ["player_0"]]


@pytest.mark.parametrize(
    ("state", "hierarchy"),
    [
        ("env", FORWARDS),
        ("observations", BACKWARDS),
        pytest.param("env", BACKWARDS, marks=pytest.mark.slow),
        pytest.param("observations", FORWARDS, marks=pytest.mark.slow),
    ],
)
def test_a_leader_and_a_follower_have_none(hierarchy, state):
    measured = learned(BiAC, "maintain_v0", hierarchy, state=state)
    assert measured.worst_response_regret == 0.0 and measured.leader_regret.max() == 0.0


def test_peers_end_where_a_commitment_would_gain():
    """At B-Y the leader has 10; had it committed to A and been answered by X, 20. Y is 15 short of X against A."""
    measured = learned(IDQN, "maintain_v0", [list(PLAYERS)], epsilon=[[0, 1.0], [1000, 0.1]])
    assert measured.leader_regret.max() == 10.0 and measured.worst_response_regret == 15.0


def test_answers_that_are_drawn_are_the_same_at_every_look():
    team = train(BiAC, "maintain_v0", [["player_0"], ["player_1"]], 100, response="sampled").team
    before = torch.get_rng_state()
    looks = {regret(Trained(team, "maintain_v0")).worst_response_regret for _ in range(8)}
    assert len(looks) == 1 and torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_networks_that_take_actions_in_answer_alike():
    levels = Algorithm("BiAC", BiACSettings, LevelsTeam, LevelsLosses)
    measured = learned(levels, "escape_v0", [["player_0"], ["player_1"]])
    assert measured.leader_regret.max() == 0.0


def test_states_are_measured_one_by_one():
    measured = learned(BiAC, "two_state_v0", [["player_0"], ["player_1"]], gamma=DISCOUNT)
    assert measured.leader_regret.shape == (1,) and measured.response_regret.shape == (1, 2)


@functools.cache
def follower_of_commitments(mixed):
    """Returns a team that has learned Maintain."""
    settings = {"max_states": 1, "mixed": mixed, "epsilon": 1.0, "training_intensity": 32.0}
    return train(CommitmentDQN, "maintain_v0", FORWARDS, 1500, **settings).team


def committed(share):
    """Returns a team that has learned Maintain and commits to A with this probability, else to B, and its game."""
    team = copy.deepcopy(follower_of_commitments(mixed=0 < share < 1))
    team.commit(torch.tensor([[share, 1 - share, 0.0]]))
    return Trained(team, "maintain_v0")


def test_a_commitment_is_measured_as_a_whole():
    """From a quarter A on the follower answers X, which pays the leader 30 - 10 · share of A; else Y, 10 of B."""
    exact = exact_play(committed(0.5))
    found = exact.commitment()
    assert exact.commits and exact.regret() is None and exact.nash() is None
    assert (found.secured, found.played) == pytest.approx((25, 25))
    assert found.response_regret == 0 and found.leader_regret == pytest.approx(2.5, abs=0.05)
    assert exact.regrets() == (found.response_regret, found.leader_regret)


def test_a_pure_commitment_is_measured_both_ways():
    played = play(committed(1.0), episodes=1, seed=0)
    assert played.commitment.secured == 20 and played.commitment.leader_regret == 0
    assert played.regret.worst_leader_regret == 0 and played.regrets == (0, 0)
    bad = exact_play(committed(0.0)).commitment()
    assert bad.leader_regret == 20 - bad.secured > 0


def test_what_follows_a_feedback_policy_as_a_commitment_is_measured_too():
    trained = Trained(
        train(BiAC, "entry_deterrence_v0", [[p] for p in PLAYERS], 1500, gamma=0.9).team, "entry_deterrence_v0"
    )
    found = exact_play(trained).commitment()
    assert found.best.lower == found.best.upper and found.leader_regret == pytest.approx(
        found.best.lower - found.secured
    )


def untrained(env, hierarchy, seed, algorithm=BiAC, env_config=None, **settings):
    """Returns random networks, which play badly, and their game."""
    team = Run(algorithm, env, hierarchy, seed=seed, env_config=env_config, **settings).team
    return Trained(team, env, env_config or {})


@pytest.mark.parametrize(("env", "env_config"), [("merge_v0", {}), ("escape_v0", {"horizon": 3})])
def test_games_without_tables_have_none_to_measure(env, env_config):
    agents = ["main_0", "auxiliary_0"] if env == "merge_v0" else PLAYERS
    assert regret(untrained(env, [[agent] for agent in agents], 0, env_config=env_config)) is None


@pytest.mark.parametrize(
    ("env", "hierarchy", "seed"),
    [
        ("maintain_v0", FORWARDS, 0),
        ("two_state_v0", FORWARDS, 1),
        pytest.param("escape_v0", BACKWARDS, 0, marks=pytest.mark.slow),
        pytest.param("two_state_v0", FORWARDS, 4, marks=pytest.mark.slow),
    ],
)
def test_learned_regrets_of_small_games_are_the_exact_ones(env, hierarchy, seed):
    trained = untrained(env, hierarchy, seed, gamma=DISCOUNT)
    exact = regret(trained)
    leader, follower = learned_regret(trained, 1500, seed=0).values()
    assert exact.worst_response_regret > 0  # random networks are no equilibrium
    assert follower.worst.value == pytest.approx(exact.worst_response_regret)
    assert follower.played.value == pytest.approx(exact.played_response_regret[0])
    assert leader.played.value == leader.worst.value == pytest.approx(exact.worst_leader_regret)


def test_the_same_seed_measures_the_same_whatever_else_was_drawn():
    trained = untrained("maintain_v0", [["player_0"], ["player_1"]], 0)
    measured = []
    for others in range(2):
        torch.manual_seed(others)
        drawn = torch.get_rng_state()
        measured.append(learned_regret(trained, 60, seed=0))
        assert torch.equal(torch.get_rng_state(), drawn)
    assert measured[0] == measured[1]


def test_peers_are_measured_as_leader_and_follower():
    trained = untrained("maintain_v0", [list(PLAYERS)], 1, IDQN)
    exact = regret(trained)
    leader, follower = learned_regret(trained, 1500, seed=0).values()
    assert not leader.responds and follower.responds
    assert follower.worst.value == pytest.approx(exact.worst_response_regret) and follower.worst.value > 0
    assert leader.played.value == pytest.approx(exact.worst_leader_regret)


def playing(env, hierarchy, actions, **env_config):
    """Returns a team that plays as a function says, state and given actions -> actions, and its game."""
    hierarchy = Hierarchy(hierarchy)
    team = SimpleNamespace(
        hierarchy=hierarchy,
        agents=hierarchy.agents,
        settings=BiAC.settings(),
        spec=SimpleNamespace(look=None),
        act=lambda state, *, given=None, **others: actions(len(state), given or {}),
    )
    return Trained(team, env, env_config)


def selling(quantity, firms):
    """Firms that sell so much, whatever the others commit to."""

    def actions(rows, given):
        return {firm: torch.full((rows, 1), quantity) for firm in firms} | given

    return playing("stackelberg_duopoly_v0", [[firm] for firm in firms], actions, firms=len(firms))


@pytest.mark.slow
def test_continuous_actions_are_measured_by_what_is_known_of_the_duopoly():
    """At Nash, 1/3 each. To q the best answer is (1 - q) / 2: to 1/3 it is 1/3; to 1, 1/3 loses 1/9. The leader gets
    1/9, for 1/2 1/8."""
    leader, follower = learned_regret(selling(1 / 3, ["firm_0", "firm_1"]), 2500, seed=0).values()
    assert follower.played.value == pytest.approx(0.0, abs=2e-3)
    assert 0.08 < follower.worst.value <= 1 / 9
    assert leader.played.value == pytest.approx(1 / 8 - 1 / 9, abs=4e-3)
    assert leader.played.standard_error == pytest.approx(0.0, abs=1e-6)  # there is no chance in it


def test_a_bad_driver_is_found_out_where_there_are_no_tables():
    trained, calls = untrained("merge_v0", [["main_0"], ["auxiliary_0"]], 1), []
    found = learned_regret(trained, 1500, seed=0, progress=lambda *steps: calls.append(steps))
    leader, follower = found.values()
    for found in (leader.played, follower.played, follower.worst):
        assert found.value > 3 * found.standard_error > 0
    assert calls == sorted(calls) and calls[-1] == (3000, 3000)


def test_masked_actions_are_neither_taken_nor_committed_to():
    trained = untrained(Masked, [["one"], ["two"]], 0)  # it raises where one is
    leader, follower = learned_regret(trained, 1000, seed=0).values()
    assert follower.worst.value >= 0 and leader.played.value >= 0


def test_the_best_answer_has_nothing_left_to_gain():
    def equilibrium(rows, given):
        leads = given.get("player_0", torch.zeros(rows, dtype=torch.int64))
        return {"player_0": leads, "player_1": leads}  # A-X, B-Y, C-Z

    trained = playing("maintain_v0", [["player_0"], ["player_1"]], equilibrium)
    for found in learned_regret(trained, 1000, seed=0).values():
        assert found.worst.value == found.played.value == 0.0


@pytest.mark.slow
def test_agents_of_three_levels_are_measured_bottom_up():
    """All sell 1/4. If the third best-responds, q' pays the second (3/4 - q') q' / 2: at 3/8 9/128, at 1/4 1/16."""
    firms = [f"firm_{i}" for i in range(3)]
    found = learned_regret(selling(0.25, firms), 1500, seed=0)
    assert list(found) == firms and [own.responds for own in found.values()] == [False, True, True]
    assert found["firm_2"].played.value == pytest.approx(0.0, abs=4e-3)
    assert found["firm_1"].played.value == pytest.approx(9 / 128 - 1 / 16, abs=6e-3)
