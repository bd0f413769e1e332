"""What agents see of a game with a `history`: the last few looks side by side, in both forms of a game."""

import numpy as np
import pytest

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.evaluation.play import play
from rllib_biac.evaluation.trained import Trained
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.learning.games import as_seen, make_copies, make_games
from rllib_biac.learning.partners import GameWithPartners, at_random
from rllib_biac.learning.transitions import CUT
from rllib_biac.walk.recent import Recent
from tests import foreign
from tests.games import Pictures
from tests.training import Run, checked, train

MERGE = {"main_speed": 35, "auxiliary_speed": 38, "main_x": 150, "auxiliary_x": 160}


class Recall(foreign.Foreign):
    """A cue, which tells what to play at the third step; at the second and the third nobody sees it."""

    length = 3

    def see(self, agent):
        cue = getattr(self, "cue", 0)
        return np.array([cue if self.time == 0 else 0.0, self.time / 3], np.float32)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.cue = self.rng.choice([-1.0, 1.0])
        return super().reset(seed=seed)

    def pay(self, agent, actions):
        return float(actions[agent] == (self.cue > 0)) if self.time == 3 else 0.0


def test_the_last_ones_lie_side_by_side_and_the_first_fills_all_places():
    recent = Recent(3)
    recent.start(np.array([[1, 2], [3, 4]]))
    assert recent().tolist() == [[1, 2] * 3, [3, 4] * 3]
    recent.add(np.array([[5, 6], [7, 8]]))
    assert recent().tolist() == [[1, 2, 1, 2, 5, 6], [3, 4, 3, 4, 7, 8]]
    recent.start(np.array([[0, 0], [9, 9]]), np.array([False, True]))
    assert recent().tolist() == [[1, 2, 1, 2, 5, 6], [9, 9] * 3]


def looks(games):
    return {"state": games.state(), **games.observe()}


def test_arrays_see_what_copies_see_and_both_what_the_game_shows():
    kinds = [as_seen("merge_v0", 3, "env"), as_seen("merge_v0", 1, "env")]
    stacked, plain = (make_games(kind, 4, np.random.default_rng(0), MERGE) for kind in kinds)
    copies = make_copies(kinds[0], 4, np.random.default_rng(0), MERGE)
    rng, windows = np.random.default_rng(1), {}
    for games in (stacked, plain, copies):
        games.reset()
    windows = {name: [seen] * 3 for name, seen in looks(plain).items()}
    for _ in range(12):
        for name, window in windows.items():
            expected = np.concatenate(window, axis=-1)
            np.testing.assert_array_equal(looks(stacked)[name], expected)
            np.testing.assert_array_equal(looks(copies)[name], expected)
        actions = {agent: rng.integers(5, size=4) for agent in plain.possible_agents}
        steps = [games.step(actions) for games in (plain, stacked, copies)]
        for name, seen in looks(plain).items():
            windows[name] = [*windows[name][1:], seen]
        done = steps[0].terminated
        assert all((step.terminated == done).all() for step in steps)
        for name, window in windows.items():  # before the next start the last step's look is there to be learned from
            np.testing.assert_array_equal(looks(stacked)[name], np.concatenate(window, axis=-1))
        for games in (plain, stacked, copies):
            games.reset(done)
        for name, seen in looks(plain).items():
            for window in windows[name]:
                window[done] = seen[done]
    for name, space in stacked.observation_spaces.items():
        assert space.shape == (24,) and looks(stacked)[name].dtype == space.dtype
    assert stacked.state_space.shape == (24,)


@pytest.mark.parametrize("make", [make_games, make_copies])
def test_what_is_known_of_a_game_is_known_of_it_with_a_memory_and_of_it_with_partners(make):
    with_memory = as_seen(foreign.TruncatedAlone, 2, "observations")
    for kind in (
        with_memory,
        *(GameWithPartners(one, {"b": at_random}) for one in (foreign.TruncatedAlone, with_memory)),
    ):
        games = make(kind, 2, np.random.default_rng(0), {})
        assert games.cuts and games.ends_apart and games.look.cuts
        plain = games.games if isinstance(games.games, ParallelEnvBatch) else games.games.games
        games.reset()
        absent = False
        for _ in range(20):
            games.step({agent: np.zeros(2, int) for agent in games.possible_agents})
            np.testing.assert_array_equal(games.acts, plain.acts[:, : len(games.possible_agents)])
            absent |= not plain.acts.all()
        assert absent


def test_a_trainer_does_not_overlook_who_is_truncated_alone():
    run = Run(BiAC, foreign.TruncatedAlone, [["a"], ["b"]], state="observations").train(60)
    rows = run.replay.sample(32)
    rows.columns.pop((CUT, "b"))
    with pytest.raises(AssertionError, match="rows do not say when 'b' is truncated alone"):
        run.update(rows)


def test_pictures_lie_in_channels():
    games = make_games(as_seen(Pictures, 3, "observations"), 2, np.random.default_rng(0), {})
    games.reset()
    for agent, space in games.observation_spaces.items():
        assert space.contains(games.observe()[agent][0])
        alone = games.games.observation_spaces[agent].shape
        assert space.shape == (*alone[:2], 3 * alone[2])
    assert games.state_space is None  # nobody asked for it


def test_games_are_put_back_with_what_was_seen():
    def go_on(games, rng, steps=5):
        for _ in range(steps):
            step = games.step({agent: rng.integers(5, size=3) for agent in games.possible_agents})
            games.reset(step.terminated)
        return looks(games)

    game = as_seen("merge_v0", 3, "env")
    one, other = (make_games(game, 3, np.random.default_rng(0), MERGE) for _ in range(2))
    one.reset()
    go_on(one, np.random.default_rng(1), steps=2)
    kept = one.get_state()
    other.reset()
    other.set_state(kept)
    first = go_on(one, np.random.default_rng(2))
    np.testing.assert_equal(go_on(other, np.random.default_rng(2)), first)
    third_party = make_games(as_seen(Recall, 2, "observations"), 1, np.random.default_rng(0), {})
    assert third_party.get_state() is None


@pytest.mark.parametrize(
    ("history", "information", "right"),
    [(1, "full", 0.5), (3, "full", 1.0), pytest.param(3, "own", 1.0, marks=pytest.mark.slow)],
)
def test_what_one_look_does_not_tell_is_learned_from_several(history, information, right):
    given = {"lr": 3e-3, "epsilon": [[0, 1.0], [1000, 0.2]], "information": information}
    run = train(BiAC, Recall, [["a"], ["b"]], 1500, state="observations", history=history, **given)
    run.sampler.sample(0, num_episodes=100, explore=False)
    returns = run.sampler.finished.returns().mean(axis=0)
    np.testing.assert_allclose(returns, right, atol=0.2 if right < 1 else 1e-6)


def test_a_policy_with_a_memory_plays_as_the_team_does(tmp_path):
    run = Run(BiAC, Recall, [["a"], ["b"]], state="observations", history=3, num_games=5)
    StackelbergPolicy.from_module(run.team).save(tmp_path / "recall.safetensors")
    policy = StackelbergPolicy.load(tmp_path / "recall.safetensors")
    assert policy.description.history == 3
    raw = make_games(Recall, 5, np.random.default_rng(3), {})
    stacked = make_games(as_seen(Recall, 3, "observations"), 5, np.random.default_rng(3), {})
    memory = policy.memory()
    for _ in range(2):  # episodes
        raw.reset()
        stacked.reset()
        memory.forget()
        for _ in range(3):
            seen = memory.see(raw.observe())
            state = np.concatenate([seen[agent] for agent in raw.possible_agents], axis=1)
            actions = policy.act(state)
            expected = run.team.act(as_state(stacked), epsilon=0.0)
            np.testing.assert_equal(actions, {agent: own.numpy() for agent, own in expected.items()})
            raw.step(actions)
            stacked.step(actions)
    with pytest.raises(ValueError, match=r"holds the last 3 looks.*policy.memory\(\)"):
        policy.act(np.zeros(4))


def as_state(games):
    import torch

    seen = games.observe()
    return torch.from_numpy(np.concatenate([seen[agent] for agent in games.possible_agents], axis=1))


def test_where_it_cannot_hold_it_is_refused():
    with pytest.raises(ValueError, match="history: 2: a commitment is one row of probabilities per state"):
        checked(CommitmentDQN, [["a"], ["b"]], history=2)
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="history"):
            checked(BiAC, [["a"], ["b"]], history=wrong)
    checked(BiLevelQ, [["a"], ["b"]], history=2)  # its states are then those of the game and of the one before


@pytest.mark.slow
def test_evaluation_and_who_learns_to_deviate_remember_as_much():
    given = {"lr": 3e-3, "epsilon": [[0, 1.0], [1000, 0.2]]}
    run = train(BiAC, Recall, [["a"], ["b"]], 1500, state="observations", history=3, **given)
    played = play(
        Trained(run.team, as_seen(Recall, 3, "observations"), {}, 10), episodes=10, seed=0, best_response=1000
    )
    assert played.returns == {"a": [1.0] * 10, "b": [1.0] * 10}
    assert {agent: one.worst.value for agent, one in played.learned_regret.items()} == {"a": 0.0, "b": 0.0}
