"""Pictures of played episodes: each says which episode it is, and all have one size."""

import numpy as np
import pytest

from rllib_biac.evaluation import Played
from rllib_biac.report.films import caption, captioned


@pytest.mark.parametrize(("width", "height"), [(61, 41), (640, 201)])
def test_captions(width, height):
    played = Played({"main_0": [42.0, 1.5], "auxiliary_0": [18.0, -3.0]}, [1, 1], ends=["main_first", ""])
    played.frames = [np.full((height, width, 3), 9, np.uint8)] * 3
    played.episode_of_frame = [0, 0, 1]
    assert caption(played, 0) == "Episode 1 of 2: main_first. main_0 42, auxiliary_0 18"
    assert caption(played, 1) == "Episode 2 of 2. main_0 1.5, auxiliary_0 -3"
    first, same, other = captioned(played)
    assert first.size == same.size == other.size and not first.width % 2 and not first.height % 2
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert (np.asarray(first)[:height, :width] == 9).all()  # the picture itself is not touched


def test_no_pictures():
    assert captioned(Played({"a": [1.0]}, [1])) == []
