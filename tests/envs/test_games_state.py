"""Games that are put back where they stood go on as they did."""

import numpy as np
import pytest

from rllib_biac.envs import game_ids, make_batched
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from tests.games import TwoStates

NUM_GAMES = 20
SETTINGS = {
    "matrix_game_v0": {"payoffs": [[[1, 2], [3, 4]], [[4, 3], [2, 1]]], "horizon": 5},
    "markov_game_v0": {
        "rewards": [[[[1, 0], [0, 2]], [[0, 1], [3, 0]]], [[[0, 1], [2, 0]], [[1, 1], [0, 3]]]],
        "transitions": [[[[0.5, 0.5], [0.2, 0.6]], [[1, 0], [0, 1]]], [[[0.3, 0.3], [0, 0.9]], [[0, 1], [0.5, 0]]]],
    },
    "escape_v0": {"horizon": 5},
    "maintain_v0": {"horizon": 5},
}


def play(games, chance, steps):
    """Plays at random; returns everything there was to see."""
    seen = []
    for _ in range(steps):
        actions = {
            agent: np.array([space.sample() for _ in range(NUM_GAMES)])
            if not hasattr(space, "n")
            else chance.integers(space.n, size=NUM_GAMES)
            for agent, space in games.action_spaces.items()
        }
        step = games.step(actions)
        done = step.terminated | step.truncated
        seen += [games.state(), *games.observe().values(), *step.rewards.values(), done, step.outcome]
        games.reset(done)
        seen.append(games.state())
    return seen


@pytest.mark.parametrize("game", game_ids())
def test_games_go_on_where_they_stood(game):
    rngs = [np.random.default_rng(seed) for seed in (0, 1)]
    made = [make_batched(game, NUM_GAMES, rng, **SETTINGS.get(game, {})) for rng in rngs]
    one, other = made
    one.reset()
    play(one, np.random.default_rng(2), 3)
    state, chance = one.get_state(), rngs[0].bit_generator.state
    for space in one.action_spaces.values():
        space.seed(5)
    then = play(one, np.random.default_rng(3), 12)  # the state stays as it was
    other.reset()
    play(other, np.random.default_rng(4), 1)
    other.set_state(state)
    rngs[1].bit_generator.state = chance
    for space in other.action_spaces.values():
        space.seed(5)
    for before, now in zip(then, play(other, np.random.default_rng(3), 12), strict=True):
        np.testing.assert_array_equal(before, now)


def test_somebody_elses_games_say_that_they_cannot():
    games = ParallelEnvBatch(TwoStates, 2, np.random.default_rng(0))
    assert games.get_state() is None
    with pytest.raises(NotImplementedError, match="ParallelEnvBatch cannot be put back"):
        games.set_state({})
