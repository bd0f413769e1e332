"""Spaces in words: one line each, and never alike where they differ."""

import numpy as np
import pytest
from gymnasium import spaces

from rllib_biac.envs.space_words import in_words, told_apart


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.Discrete(3, start=1), "Discrete(3, start=1)"),
        (spaces.Box(-1, 1, (500,)), "Box(-1.0, 1.0, (500,), float32)"),
        (spaces.Box(np.float32([0, 1]), np.float32([2, 3])), "Box([0. 1.], [2. 3.], (2,), float32)"),
        (spaces.Box(np.arange(99), np.full(99, 100), dtype=np.int64), "Box(0 to 98, 100, (99,), int64)"),
        (spaces.MultiDiscrete([3] * 60, start=[1] * 60), "MultiDiscrete(3, (60,), start=1)"),
        (spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)]), "Tuple(Discrete(2), MultiBinary(3))"),
    ],
)
def test_one_line(space, text):
    assert in_words(space) == text


def test_bounds_are_told_where_nothing_else_differs():
    high = np.full(60, 1.5)
    high[7] = 0.5
    other = high.copy()
    other[8] = 0.5
    one, two = (spaces.Box(-1, np.float32(bounds), (60,)) for bounds in (high, other))
    assert in_words(one) == in_words(two) == "Box(-1, 0.5 to 1.5, (60,), float32)"
    told = told_apart(one, two)
    assert told[0] != told[1] and "\n" not in told[0] + told[1]
