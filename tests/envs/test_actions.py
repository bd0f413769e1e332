"""What a team plays against what a game takes: everything handed to a game lies in the game's own space."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rllib_biac.envs.actions import MAX_JOINT_ENTRIES, ActionReader, null_action
from rllib_biac.envs.errors import GameError

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "uint8", "int16", "int32", "uint32", "int64")
SHAPES = st.one_of(st.just(()), hnp.array_shapes(max_dims=3, max_side=3))


@st.composite
def float_boxes(draw):
    shape, dtype = draw(SHAPES), np.dtype(draw(st.sampled_from(FLOATS)))
    largest = min(float(np.finfo(dtype).max), float(np.finfo(np.float32).max))
    ends = hnp.arrays(np.float64, shape, elements=st.floats(-largest, largest))
    one, other = draw(ends).astype(dtype), draw(ends).astype(dtype)
    return spaces.Box(np.minimum(one, other), np.maximum(one, other), dtype=dtype)


@st.composite
def integer_boxes(draw):
    shape, dtype = draw(hnp.array_shapes(max_dims=2, max_side=2)), np.dtype(draw(st.sampled_from(INTEGERS)))
    info = np.iinfo(dtype)
    most = min(info.max - 4, 2**62)  # above it gymnasium's own sampling overflows
    low = draw(hnp.arrays(dtype, shape, elements=st.integers(info.min, most)))
    return spaces.Box(low, low + draw(hnp.arrays(dtype, shape, elements=st.integers(0, 4))), dtype=dtype)


@st.composite
def multi_discretes(draw):
    shape, dtype = draw(hnp.array_shapes(max_dims=2, max_side=2)), draw(st.sampled_from(["int8", "int32", "int64"]))
    sizes = draw(hnp.arrays(dtype, shape, elements=st.integers(1, 5)))
    return spaces.MultiDiscrete(sizes, dtype=dtype, start=draw(hnp.arrays(dtype, shape, elements=st.integers(-9, 9))))


COUNTED = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 30), st.integers(-(10**9), 10**9)),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 10), hnp.array_shapes(max_dims=2, max_side=3))),
    integer_boxes(),
    multi_discretes(),
)


@given(COUNTED)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_counted_actions_are_all_of_the_games_and_no_two_alike(space):
    reader = ActionReader(space)
    n = int(reader.space.n)
    assert reader.space == spaces.Discrete(n)
    actions = reader.to_game(np.arange(n))
    assert all(space.contains(action) for action in actions)
    assert len({np.asarray(action).tobytes() for action in actions}) == n
    for _ in range(3):  # whatever the game can be given is among them
        with np.errstate(invalid="ignore"):  # gymnasium samples some integers through floats
            sample = space.sample()
        assert any(np.array_equal(sample, action) for action in actions) or not space.contains(sample)


@given(float_boxes(), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_floats_lie_in_the_games_own_box(space, data):
    reader = ActionReader(space)
    team = reader.space
    assert team.dtype == np.float32
    assert team.shape == (max(1, space.low.size),)
    assert (team.low <= team.high).all()
    free = data.draw(hnp.arrays(np.float32, (4, *team.shape), elements=st.floats(allow_nan=False, width=32)))
    with np.errstate(over="ignore", invalid="ignore"):
        inside = [team.low + (team.high - team.low) * np.float32(part) for part in (0, 0.3, 1)]
    rows = np.stack([*free, *(row for row in inside if np.isfinite(row).all()), team.low, team.high]).astype(np.float32)
    for action, row in zip(reader.to_game(rows), rows, strict=True):
        assert isinstance(action, np.ndarray)
        assert space.contains(action)
        low, high = space.low.ravel(), space.high.ravel()
        fits = (low <= row) & (row <= high)  # what needs no clipping is only rounded
        with np.errstate(over="ignore"):
            assert (action.ravel()[fits] == np.clip(row.astype(space.dtype), low, high)[fits]).all()


def test_bounds_that_are_no_float32():
    for dtype in FLOATS:
        space = spaces.Box(0.1, 0.3, (2, 2), np.dtype(dtype))
        reader = ActionReader(space)
        for low, high in ((reader.space.low, reader.space.high), (np.full(4, -1), np.full(4, 1))):
            rows = np.linspace(low, high, 1000, dtype=np.float32)
            assert all(space.contains(action) for action in reader.to_game(rows))
        # what a program plays without this reader, as it comes out of its network
        if dtype != "float16":
            assert space.contains(reader.space.low.reshape(2, 2))
            assert space.contains(reader.space.high.reshape(2, 2))


def test_a_vector_of_floats_is_seen_as_it_is():
    space = spaces.Box(np.float32([-1, 0]), np.float32([1, 5]))
    assert ActionReader(space).space is space
    np.testing.assert_array_equal(ActionReader(space).to_game(np.float32([[0.1, 7]])), [np.float32([0.1, 5])])


def test_what_a_game_keeps_is_its_own():
    for space, action in ((spaces.MultiDiscrete([2, 3]), np.array([4])), (spaces.Box(-1, 1, (2,)), np.zeros((1, 2)))):
        reader, action = ActionReader(space), np.array(action)
        kept = reader.to_game(action)[0]
        before = kept.copy()
        kept[:] = 1
        np.testing.assert_array_equal(reader.to_game(action)[0], before)


def test_plain_integers():
    assert ActionReader(spaces.Discrete(3, start=5)).to_game(np.array([0, 2], np.int8)) == [5, 7]
    assert type(ActionReader(spaces.Discrete(3)).to_game(np.array([1]))[0]) is int


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(-np.inf, 1, (2,)), "finite bounds"),
        (spaces.Box(-1e300, 1, (2,), np.float64), "finite bounds"),
        (spaces.Box(0, 1, (0,)), "one or more entries"),
        (spaces.MultiDiscrete([10] * 4), "10,000 combinations, and 1 to 4,096"),
        (spaces.MultiBinary(13), "8,192 combinations"),
        (spaces.MultiBinary(100), "about 1e30 combinations"),
        (spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64), "about 1e19 combinations"),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]), "not one array"),
        (spaces.Dict({"move": spaces.Discrete(2)}), "not one array"),
        (spaces.Text(3), "not one array"),
    ],
)
def test_refused(space, words):
    with pytest.raises(ValueError, match=words) as error:
        ActionReader(space, "agent 'car'")
    assert str(error.value).startswith("agent 'car': action space")
    assert "write" in str(error.value)


def test_the_largest_number_of_combinations():
    space = spaces.MultiBinary(12)
    assert ActionReader(space).space.n == MAX_JOINT_ENTRIES


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Discrete(3), [3]),
        (spaces.Discrete(3), [-1]),
        (spaces.Discrete(3), [0.5]),
        (spaces.Discrete(3), 1),
        (spaces.MultiBinary(2), [[0, 1]]),
        (spaces.Box(0, 1, (2,)), [[np.nan, 0]]),
        (spaces.Box(0, 1, (2,)), [[0, 0, 0]]),
        (spaces.Box(0, 1, (2,)), [["a", "b"]]),
    ],
)
def test_actions_of_another_kind(space, actions):
    with pytest.raises(GameError, match="actions of agent 'car'"):
        ActionReader(space, "agent 'car'").to_game(np.array(actions))


@given(COUNTED, st.data())
@settings(max_examples=50, deadline=None)
def test_a_combination_is_allowed_if_all_its_values_are(space, data):
    reader = ActionReader(space)
    actions = np.array([np.ravel(a) for a in reader.to_game(np.arange(reader.space.n))], object)
    lowest, highest = actions.min(0), actions.max(0)
    masks = [data.draw(hnp.arrays(np.int8, int(n), elements=st.integers(0, 1))) for n in highest - lowest + 1]
    expected = [all(m[v] for m, v in zip(masks, row - lowest, strict=True)) for row in actions]
    assert reader.allowed(np.concatenate(masks)).tolist() == expected
    if len(masks) > 1:
        assert reader.allowed(tuple(masks)).tolist() == expected


@pytest.mark.parametrize(
    ("space", "mask", "words"),
    [
        (spaces.Discrete(2), [1, 1, 1], r"shape \(3,\); write \(2,\)"),
        (spaces.Discrete(2), [0, -np.inf], "write 1 for what is allowed"),
        (spaces.Discrete(2), [True, None], "write 1 for what is allowed"),
        (spaces.MultiDiscrete([2, 3]), np.ones((2, 3)), r"write \(5,\)"),
        (spaces.Box(0, 1, (2,)), [1, 1], "finite number of actions"),
    ],
)
def test_masks_of_another_form(space, mask, words):
    with pytest.raises(GameError, match=words):
        ActionReader(space, "agent 'car'").allowed(np.array(mask))


@given(st.one_of(COUNTED, float_boxes()))
@settings(max_examples=50, deadline=None)
def test_nothing_is_an_action_too(space):
    assert space.contains(null_action(space))
