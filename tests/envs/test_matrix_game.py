"""Matrix games: payoffs, ends of episodes, names of outcomes, and what is refused."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs import make, make_batched
from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.equilibria.random_games import sample_payoffs

PAYOFFS_3P = np.arange(3 * 2 * 3 * 4).reshape(3, 2, 3, 4)


def play(game, **actions):
    game.reset(seed=0)
    return game.step(actions)


@pytest.mark.parametrize(
    ("game", "joint", "rewards", "name"),
    [
        ("escape_v0", (0, 0), (15, 15), "A-X"),
        ("escape_v0", (2, 2), (30, 30), "C-Z"),
        ("escape_v0", (0, 2), (0, 0), "A-Z"),
        ("maintain_v0", (0, 0), (20, 15), "A-X"),
        ("maintain_v0", (1, 0), (30, 0), "B-X"),
        ("maintain_v0", (1, 1), (10, 5), "B-Y"),
        ("maintain_v0", (2, 2), (5, 10), "C-Z"),
    ],
)
def test_table_1(game, joint, rewards, name):
    _, reward, terminated, truncated, infos = play(make(game), player_0=joint[0], player_1=joint[1])
    assert tuple(reward.values()) == rewards
    assert all(terminated.values()) and not any(truncated.values())
    assert {info["outcome"] for info in infos.values()} == {name}


def test_a_repeated_game_is_truncated_not_terminated():
    game = make("maintain_v0", horizon=3)
    game.reset()
    for step in range(3):
        _, _, terminated, truncated, infos = game.step({"player_0": step, "player_1": step})
        assert not any(terminated.values())
        assert all(truncated.values()) == (step == 2)
        assert ("outcome" in infos["player_0"]) == (step == 2)
    assert infos["player_1"]["outcome"] == "C-Z" and game.agents == []


def test_scale_and_shift():
    np.testing.assert_allclose(make("escape_v0", scale=2.0, shift=-1.0).payoffs, 2 * ESCAPE - 1)
    np.testing.assert_allclose(make("maintain_v0", scale=0.1).payoffs, 0.1 * MAINTAIN)


def test_payoffs_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        make("matrix_game_v0", payoffs=PAYOFFS_3P).payoffs[0] = 0


def test_any_number_of_players_and_actions():
    assert make("matrix_game_v0", payoffs=[[1, 2, 3]]).possible_agents == ["player_0"]
    game = make("matrix_game_v0", payoffs=PAYOFFS_3P.tolist())
    for joint in itertools.product(range(2), range(3), range(4)):
        _, reward, *_, infos = play(game, **dict(zip(game.possible_agents, joint, strict=True)))
        assert list(reward.values()) == PAYOFFS_3P[(slice(None), *joint)].tolist()
        assert infos["player_2"]["outcome"] == "-".join(map(str, joint))


@pytest.mark.parametrize(
    "payoffs",
    [1, [1, 2], [[]], [[[1, 2]], [[1]]], [[[1, 2], [3, 4]]], [[1, 2], [3, 4]], [["a", "b"]], [[1, float("nan")]]],
)
def test_unfit_payoffs_are_refused_with_what_to_write(payoffs):
    with pytest.raises(ValueError, match="payoffs must be numbers of shape"):
        make("matrix_game_v0", payoffs=payoffs)


def test_other_unfit_arguments_are_refused():
    for horizon in (0, 1.5, "2", True):
        with pytest.raises(ValueError, match="horizon"):
            make("escape_v0", horizon=horizon)
    for names in ([["a"], ["x", "y", "z"]], [["a", "a", "b"], ["x", "y", "z"]], [["a", "b", "c"]]):
        with pytest.raises(ValueError, match="action_names"):
            make("matrix_game_v0", payoffs=ESCAPE, action_names=names)
    with pytest.raises(ValueError, match="num_games"):
        make_batched("escape_v0", 0, np.random.default_rng(0))


@pytest.mark.parametrize("action", [-1, 3])
def test_actions_out_of_range_are_refused(action):
    with pytest.raises(ValueError):
        play(make("escape_v0"), player_0=0, player_1=action)
    batch = make_batched("escape_v0", 2, np.random.default_rng(0))
    with pytest.raises(ValueError):
        batch.step({"player_0": np.zeros(2, int), "player_1": np.array([0, action])})


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize(
    ("game", "kwargs"),
    [("escape_v0", {}), ("maintain_v0", {"scale": 0.5}), ("matrix_game_v0", {"payoffs": PAYOFFS_3P})],
)
def test_batched_form_equals_plain_form(game, kwargs, horizon):
    n, kwargs = 5, {**kwargs, "horizon": horizon}
    batch = make_batched(game, n, np.random.default_rng(0), **kwargs)
    plain = ParallelEnvBatch(lambda: make(game, **kwargs), n, np.random.default_rng(0))
    assert batch.possible_agents == plain.possible_agents
    assert batch.observation_spaces == plain.observation_spaces and batch.state_space == plain.state_space
    rng = np.random.default_rng(1)
    done = np.ones(n, bool)
    for step in range(12):
        restart = done if step else None
        for form in (batch, plain):
            form.reset(restart)
        if step == 2:  # games that are restarted half-way run out of step with the others
            for form in (batch, plain):
                form.reset(np.arange(n) % 2 == 0)
        actions = {agent: rng.integers(space.n, size=n) for agent, space in batch.action_spaces.items()}
        ours, theirs = batch.step(actions), plain.step(actions)
        for agent in batch.possible_agents:
            np.testing.assert_array_equal(ours.rewards[agent], theirs.rewards[agent])
            np.testing.assert_array_equal(batch.observe()[agent], plain.observe()[agent])
        np.testing.assert_array_equal(batch.state(), plain.state())
        np.testing.assert_array_equal(ours.terminated, theirs.terminated)
        np.testing.assert_array_equal(ours.truncated, theirs.truncated)
        names = [None if o < 0 else batch.outcome_names[o] for o in ours.outcome]
        assert names == [None if o < 0 else plain.outcome_names[o] for o in theirs.outcome]
        done = ours.terminated | ours.truncated


def test_too_many_joint_actions_are_not_named():
    batch = make_batched("matrix_game_v0", 2, np.random.default_rng(0), payoffs=np.zeros((2, 101, 100)))
    batch.reset()
    step = batch.step({agent: np.zeros(2, int) for agent in batch.possible_agents})
    assert batch.outcome_names == [] and (step.outcome == -1).all()


@pytest.mark.parametrize(("size", "covariance", "seed"), [(3, 0.0, 0), (10, 0.8, 5), (1, -1, 2), (4, 1, 3)])
def test_random_games_are_those_of_the_studies(size, covariance, seed):
    game = make("random_matrix_game_v0", size=size, covariance=covariance, seed=seed)
    drawn = sample_payoffs(1, size, covariance, np.random.default_rng(seed))[0]
    np.testing.assert_array_equal(game.payoffs, drawn)
    game.reset(seed=99)
    np.testing.assert_array_equal(game.payoffs, drawn)


def test_random_games_have_the_covariance_asked_for():
    payoffs = make("random_matrix_game_v0", size=200, covariance=0.6).payoffs.reshape(2, -1)
    np.testing.assert_allclose(np.cov(payoffs), [[1, 0.6], [0.6, 1]], atol=0.03)
    np.testing.assert_array_equal(*make("random_matrix_game_v0", covariance=1).payoffs)


def test_a_batch_holds_copies_of_one_random_game():
    batch = make_batched("random_matrix_game_v0", 50, np.random.default_rng(0), size=4, seed=3)
    payoffs = make("random_matrix_game_v0", size=4, seed=3).payoffs
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(4, size=(2, 50))
    step = batch.step({"player_0": rows, "player_1": columns})
    for i in range(2):
        np.testing.assert_array_equal(step.rewards[f"player_{i}"], payoffs[i, rows, columns].astype(np.float32))


@pytest.mark.parametrize(
    "kwargs", [{"size": 0}, {"size": 2.0}, {"covariance": 1.1}, {"covariance": "0"}, {"seed": -1}, {"seed": None}]
)
def test_unfit_random_games_are_refused(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        make("random_matrix_game_v0", **kwargs)
