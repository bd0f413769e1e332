"""The ring against a plain list, its state, and what it refuses."""

import numpy as np
import pytest

from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.transitions import join


def rows(start, count, dtype=np.float32, agents=("one", "two")):
    """Transitions numbered from `start`: every column holds the number."""
    numbers = np.arange(start, start + count)
    state = np.stack([numbers, -numbers], 1).astype(dtype)
    return join(
        list(agents),
        states=state,
        next_states=state + 1,
        actions=dict.fromkeys(agents, numbers),
        rewards=dict.fromkeys(agents, numbers),
        terminated=numbers % 2 == 0,
        truncated=numbers % 3 == 0,
    )


@pytest.mark.parametrize("sizes", [(3, 3, 3), (10,), (7, 10, 1), (25, 4), (1,) * 13])
def test_holds_what_a_list_of_the_last_rows_holds(sizes):
    buffer, numbers = JointReplayBuffer(10, seed=0), []
    for size in sizes:
        buffer.add(rows(len(numbers), size))
        numbers += range(len(numbers), len(numbers) + size)
    kept = numbers[-10:]
    assert len(buffer) == len(kept)
    drawn = buffer.sample(2000)
    ids = drawn.columns["actions", "one"]
    assert set(ids.tolist()) == set(kept)
    np.testing.assert_array_equal(drawn.columns["state"][:, 1], -ids)
    np.testing.assert_array_equal(drawn.columns["next_state"][:, 0], ids + 1)
    np.testing.assert_array_equal(drawn.columns["terminated"], ids % 2 == 0)
    counts = np.bincount(ids - min(kept))
    assert counts.min() > 0.6 * counts.mean()


@pytest.mark.parametrize("filled", [0, 4, 23])
def test_state_round_trip_goes_on_exactly(filled):
    one, two = JointReplayBuffer(10, seed=0), JointReplayBuffer(10, seed=5)
    for at in range(filled):
        one.add(rows(at, 1))
    two.set_state(one.get_state())
    for buffer in (one, two):
        buffer.add(rows(100, 3))
    a, b = one.sample(50).columns, two.sample(50).columns
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_refusals():
    buffer = JointReplayBuffer(10)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1)
    buffer.add(rows(0, 2))
    with pytest.raises(ValueError, match="columns"):
        buffer.add(rows(0, 2, agents=("one", "three")))
    with pytest.raises(ValueError, match=r"'state'.*float64.*float32"):
        buffer.add(rows(0, 2, dtype=np.float64))
    assert len(buffer) == 2
    buffer.add(rows(2, 8))
    with pytest.raises(ValueError, match=r"replay_buffer_config: a capacity of .* GB, does not fit into memory"):
        JointReplayBuffer(2**50).add(rows(0, 2))
    with pytest.raises(ValueError, match="capacity"):
        JointReplayBuffer(5).set_state(buffer.get_state())
    np.testing.assert_array_equal(np.unique(buffer.sample(500).columns["actions", "one"]), np.arange(10))
