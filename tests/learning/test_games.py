"""Copies of a game are made alike, whatever a copy does with the settings that it is given."""

import threading

import numpy as np
import pytest

from rllib_biac.learning.games import make_copies, make_games, make_one
from tests.foreign import Foreign


class TakesTheFirst(Foreign):
    """Takes what it needs out of the settings that it is given."""

    def __init__(self, **settings):
        super().__init__()
        self.pay_first, self.lock = settings["map"]["pays"].pop(0), settings["lock"]


def take_the_first(config):
    return TakesTheFirst(**config)


NAMED = "tests.learning.test_games"


@pytest.mark.parametrize("make", [make_games, make_copies])
@pytest.mark.parametrize("game", [TakesTheFirst, f"{NAMED}:TakesTheFirst", f"{NAMED}:take_the_first"])
def test_what_a_copy_takes_out_of_its_settings_is_there_for_the_next(game, make):
    lock = threading.Lock()  # which cannot be copied
    settings = {"map": {"pays": [3, 4, 5]}, "lock": lock}
    copies = make(game, 4, np.random.default_rng(0), settings).copies
    copies.append(make_one(game, settings))
    assert [each.pay_first for each in copies] == [3] * 5
    assert all(each.lock is lock for each in copies)
    assert settings == {"map": {"pays": [3, 4, 5]}, "lock": lock}
