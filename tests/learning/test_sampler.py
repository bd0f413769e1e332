"""Games and a team to joint transitions: counting of episodes, exploration, ends of games, errors of games."""

import types

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.envs.errors import GameError
from rllib_biac.learning.episodes import FinishedEpisodes
from rllib_biac.learning.sampler import Exploration
from rllib_biac.learning.transitions import ACTIONS, STATE
from tests.games import Broken, Endless, Masked, TwoStates, sampler_of, scripted
from tests.training import Run

FAULTS = {
    "observation": r"observation of agent 'two' .*step 3",
    "reward": r"reward of agent 'two' .*step 3",
    "vanish": r"agent 'two' has no observation .*step 3",
    "raise": r"ZeroDivisionError\('what a game may do'\) in step\(\)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_game_is_named_and_nothing_of_the_call_returned(fault):
    sampler = sampler_of(Broken, env_config={"fault": fault})
    with pytest.raises(GameError, match=FAULTS[fault]):
        sampler.sample(40)
    assert sampler.steps == sampler.env_steps == 0


def test_after_an_error_the_games_start_anew():
    sampler = sampler_of("escape_v0", env_config={"horizon": 4})
    sampler.sample(20)
    act, sampler.team.act = sampler.team.act, None
    with pytest.raises(TypeError):
        sampler.sample(20)
    sampler.team.act = act
    rows = sampler.sample(40)
    assert rows.columns["truncated"].reshape(4, 10).all(1).tolist() == [False, False, False, True]


def test_episodes_are_counted_evenly():
    """Each game plays its share of long and short episodes; the means and outcomes come from those episodes alone."""
    sampler = sampler_of("escape_v0", env_config={"horizon": 3})
    sampler.sample(20)
    sampler.episodes = 0
    rows = sampler.sample(0, num_episodes=25, explore=False)
    assert sampler.episodes == sampler.finished.count == 25
    assert rows.env_steps() == 3 * 3 * 10  # 10 games play 3 rounds; 5 of them only count 2
    assert sampler.finished.lengths().mean() == 3
    assert sum(sampler.finished.outcome_shares(sampler.games.outcome_names).values()) == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [(2, 2), (5, 3), (9,), (1,) * 7])
def test_finished_episodes_keep_the_last_ones(sizes):
    kept, everything = FinishedEpisodes(4, ["one", "two"]), np.zeros((0, 2))
    for size in sizes:
        returns = np.arange(2.0 * size).reshape(size, 2) + 100 * len(everything)
        lengths = returns[:, 0].astype(int)
        kept.add(returns, lengths, lengths % 2)
        everything = np.concatenate([everything, returns])
    last = everything[-4:]
    assert sorted(kept.returns().tolist()) == sorted(last.tolist())
    assert sorted(kept.lengths().tolist()) == sorted(last[:, 0].astype(int).tolist())
    assert kept.outcome_shares(["even", "odd"])["odd"] == np.mean(last[:, 0].astype(int) % 2)
    smaller = FinishedEpisodes(2, ["one", "two"])
    smaller.set_state(kept.get_state())
    assert sorted(smaller.returns().tolist()) == sorted(everything[-2:].tolist())


def test_epsilon_follows_its_schedule():
    sampler, seen = sampler_of("escape_v0", epsilon=[[0, 1.0], [100, 1.0], [200, 0.0]]), []
    for _ in range(21):
        sampler.sample(10)
        seen.append(sampler.epsilon)
    assert seen == pytest.approx([1.0] * 11 + [0.9 - 0.1 * k for k in range(10)])
    rows = sampler.sample(10)
    assert len(set(rows.columns["actions", "player_0"].tolist())) == 1  # greedy by now
    rows = sampler.sample(200, random_actions=True)
    assert set(rows.columns["actions", "player_0"].tolist()) == {0, 1, 2}


def test_a_sampler_counts_the_steps_of_all_for_its_schedule():
    sampler = sampler_of("escape_v0")
    sampler.share = 3
    sampler.sample(20)
    sampler.sample(20, explore=False)  # what evaluation plays does not count
    assert (sampler.env_steps, sampler.steps) == (60, 40)


@pytest.mark.parametrize("exploration", ["per_agent", "joint"])
def test_exploration_is_per_agent_or_joint(exploration):
    """Agents explore alone or together, in the shares that epsilon says."""
    team, generator = sampler_of("escape_v0", exploration=exploration).team, torch.Generator().manual_seed(0)
    state = torch.ones(30_000, 1)
    play = {agent: int(action[0]) for agent, action in team.act(state[:1]).items()}
    taken = team.act(state, epsilon=0.5, generator=generator)
    leads = taken["player_0"] == play["player_0"]
    # An action is the greedy one with 1/2 + 1/2 * 1/3.
    assert leads.float().mean().item() == pytest.approx(2 / 3, abs=0.02)
    answers = team.responses(state[:1])[0][taken["player_0"]] == taken["player_1"]
    both = (leads & answers).float().mean().item()
    assert both == pytest.approx(4 / 9 if exploration == "per_agent" else 1 / 2 + 1 / 18, abs=0.02)


def test_ends_are_told_apart():
    """The last state of a game is the next state of its last row; only `terminated` ends the bootstrap."""
    cases = (
        (sampler_of(Endless, num_games=2), "truncated", 3),
        (sampler_of(TwoStates, num_games=2), "terminated", 2),
        (sampler_of("escape_v0", num_games=2, env_config={"horizon": 4}), "truncated", 4),
    )
    for sampler, key, length in cases:
        rows = sampler.sample(24)
        other = "terminated" if key == "truncated" else "truncated"
        assert rows.columns[key][::2].tolist() == ([False] * (length - 1) + [True]) * (12 // length)
        assert not rows.columns[other].any()
        goes_on = ~(rows.columns["terminated"] | rows.columns["truncated"])[:-2]
        np.testing.assert_array_equal(rows.columns["next_state"][:-2][goes_on], rows.columns["state"][2:][goes_on])
    assert rows.env_steps() == 24 and rows.agent_steps() == 48


def test_games_side_by_side_give_the_rows_of_one():
    fixed = {"main_x": 150, "auxiliary_x": 150, "main_speed": [35, 35], "auxiliary_speed": [38, 38]}
    found = []
    for games in (1, 3):
        sampler = sampler_of("merge_v0", num_games=games, env_config=fixed)
        sampler.team.act = types.MethodType(scripted, sampler.team)
        columns = sampler.sample(30 * games).columns
        found.append([tuple(np.asarray(column[i]).tobytes() for column in columns.values()) for i in range(30 * games)])
    one, three = found
    assert three[::3] == three[1::3] == three[2::3] == one


def test_a_sampler_goes_on_from_its_state():
    """Another sampler that takes over weights, generators and state plays on in the same way."""
    one, other = (sampler_of("merge_v0", seed=seed, window=5) for seed in (0, 1))
    one.sample(300)
    other.team.load_state_dict(one.team.state_dict())
    other.generator.set_state(one.generator.get_state())
    other.rng.bit_generator.state = one.rng.bit_generator.state
    other.set_state(one.get_state())
    other.env_steps = one.env_steps
    played, there = one.sample(300).columns, other.sample(300).columns
    assert played.keys() == there.keys()
    for key, column in played.items():
        np.testing.assert_array_equal(there[key], column)
    np.testing.assert_array_equal(other.finished.returns(), one.finished.returns())
    assert one.steps == other.steps == 600 and one.episodes == other.episodes > 0


def test_forbidden_actions_are_never_played():
    """`Masked` raises an error for them."""
    sampler = sampler_of(Masked, epsilon=0.7)
    rows = sampler.sample(600)
    for agent in ("one", "two"):
        taken = rows.columns["actions", agent]
        assert rows.columns["action_mask", agent][np.arange(600), taken].all()
        assert set(taken.tolist()) == {0, 1, 2}


class Silent(TwoStates):
    """Pays the same until its seventh step, and never ends."""

    def pay(self, one, two):
        return (1.0 if self.time < 7 else 2.0, 0.0), False, False


def test_the_clock_of_exploration_waits_for_something_to_learn():
    """It stops at step 20, a tenth of the schedule, and goes on at step 60."""
    sampler = sampler_of(Silent, epsilon=[[0, 1.0], [200, 0.0]])
    told = [sampler.sample(10) and sampler.epsilon for _ in range(10)]
    assert told == pytest.approx([1.0, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9, 0.85, 0.8, 0.75])
    assert sampler.exploration.waited == 60


@pytest.mark.parametrize("ends", [False, True])
def test_an_end_is_something_to_learn_from_and_equal_rewards_are_not(ends):
    exploration, schedule = Exploration(), [[0, 1.0], [10, 0.0]]
    paid = {"one": np.full(3, -1.0), "two": np.zeros(3)}
    exploration.see(0, paid, np.zeros(3, bool))
    exploration.see(5, paid, np.array([False, ends, False]))
    assert exploration.waited == (5 if ends else None)
    assert exploration.epsilon(schedule, 10) == pytest.approx(0.4 if ends else 0.9)
    assert exploration.epsilon(0.3, 10) == 0.3
    other = Exploration()
    other.set_state(exploration.get_state())
    assert other.epsilon(schedule, 10) == exploration.epsilon(schedule, 10)


def test_what_is_told_at_once_delays_nothing():
    exploration, paid = Exploration(), {"one": np.array([0.0, 1.0])}
    exploration.see(10, paid, np.zeros(2, bool))
    shown = [exploration.epsilon([[0, 1.0], [100, 0.0]], t) for t in (0, 10, 50, 100)]
    assert shown == pytest.approx([1.0, 0.9, 0.5, 0.0])


class TestSpreadEpsilon:
    """Games that are played at once explore unequally."""

    @pytest.mark.parametrize("exploration", ["per_agent", "joint"])
    def test_how_often_each_game_takes_random_actions(self, exploration):
        """Of two actions a random one is the other in half the cases: game i does so with probability eps^(i/N) / 2."""
        settings = {"epsilon": 0.1, "spread_epsilon": True, "exploration": exploration}
        run = Run(BiAC, "escape_v0", [["player_0"], ["player_1"]], num_games=4, **settings)
        rows = run.sampler.sample(12_000).columns
        leads = rows[ACTIONS, "player_0"].reshape(-1, 4)
        states = torch.from_numpy(rows[STATE])
        greedy = run.team.act(states)["player_0"].numpy().reshape(-1, 4)
        expected = 0.1 ** (np.arange(1, 5) / 4) * (1 - 1 / run.team.sizes["player_0"])
        np.testing.assert_allclose((leads != greedy).mean(0), expected, atol=0.035)  # 4 standard errors of 3,000 steps

    @pytest.mark.parametrize(
        ("algorithm", "settings", "spreads"),
        [
            (BiAC, {}, True),
            (BiAC, {"spread_epsilon": False}, False),
            (BiAC, {"information": "own"}, False),
            (BiAC, {"information": "own", "spread_epsilon": True}, True),
            (IDQN, {}, True),
            (BiLevelQ, {}, False),
            (CommitmentDQN, {}, False),
        ],
    )
    def test_who_does_so_unless_told(self, algorithm, settings, spreads):
        assert algorithm.settings(**settings).spreads_epsilon is spreads

    def test_greedy_play_is_so_in_all_games(self):
        run = Run(BiAC, TwoStates, [["one"], ["two"]], spread_epsilon=True)
        rows = run.sampler.sample(200, explore=False).columns
        greedy = run.team.act(torch.from_numpy(rows[STATE]))
        for agent in run.team.agents:
            assert rows[ACTIONS, agent].tolist() == greedy[agent].tolist()
