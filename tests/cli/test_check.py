"""`rllib check` says what a file is understood to mean, and refuses what cannot be trained."""

import numpy as np
import pytest
from gymnasium import spaces

from rllib_biac import BiACConfig, BiLevelQConfig, IDQNConfig
from rllib_biac.cli.check import lines
from rllib_biac.rllib.understood import spreads_of, understand
from tests import foreign
from tests.games import Probe


def said(config):
    found = lines(config, understand(config))
    return {name: [text for key, text in found if key == name] for name, _ in found}


def test_what_is_said_of_a_game_whose_agents_leave():
    config = BiACConfig().environment(foreign.Leaver, state="observations").hierarchy([["b"], ["a"]])
    text = said(config)
    assert text["who leads"] == ["b, who leads a"] and text["joint actions"] == ["4"]
    assert "absent at times" in text["come and go"][0] and text["masks"] == ["all actions always are allowed"]
    assert text["state"] == ["6 numbers, all agents' observations side by side"]
    assert len(text["networks"]) == len(text["agent"]) == 2 and "are free" in text["memory"][0]
    assert "steps per second" in text["speed"][0]
    assert text["rewards"] == ["a: always 1 a step", "b: 0 to 1 a step"]
    assert config.looked is None  # it was not changed


def test_masks_that_are_not_read_are_said():
    class Tells(foreign.Foreign):
        def legal_moves(self):
            return [0]

    text = said(BiACConfig().environment(Tells, state="observations").hierarchy([["a"], ["b"]]))
    assert text["masks"] == [
        "all actions always are allowed; not read: the game's own legal_moves (masks come in "
        "infos[agent]['action_mask'])"
    ]


def test_what_is_said_of_a_history():
    config = BiACConfig().environment("escape_v0", history=3).hierarchy([["player_0"], ["player_1"]])
    text, plain = said(config), said(config.copy().environment("escape_v0", history=1))
    assert text["history"] == ["the last 3 observations and states side by side, counted above"]
    assert "history" not in plain and text["state"] != plain["state"]


class Scales(Probe):
    """What is seen is of size 1 and of size `size`."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def state(self):
        return self.rng.standard_normal(2).astype(np.float32).clip(-2, 2) * np.array([1.0, self.size], np.float32)


@pytest.mark.parametrize(("size", "said_of"), [(1.0, False), (0.2, True), (5.0, True)])
def test_scales_that_differ_much_are_said_with_what_to_write(size, said_of):
    config = BiACConfig().environment(lambda: Scales(size)).hierarchy([["one"], ["two"]])
    text = said(config)
    assert ("scales" in text) is said_of
    if said_of:
        assert "normalize_observations: true" in text["scales"][0]
        assert "scales" not in said(config.copy(copy_frozen=False).training(normalize_observations=True))


class CutOff(foreign.Foreign):
    def flags(self):
        return {}, dict.fromkeys(self.possible_agents, self.over())


@pytest.mark.parametrize(("game", "without_end"), [(CutOff, True), (foreign.Circles, True), (foreign.Foreign, False)])
def test_values_without_bound_are_said_before_training(game, without_end, caplog):
    config = BiACConfig().environment(game, state="observations").hierarchy([["a"], ["b"]]).training(gamma=1.0)
    told = said(config).get("values", [])
    assert len(told) == without_end == len([line for line in caplog.messages if line.endswith("do end it")])
    if without_end:
        assert told[0].startswith("gamma: 1: no episode was terminated in a look of")
        assert f"{game.__qualname__}: {told[0]}" in caplog.messages
    assert "values" not in said(config.copy(copy_frozen=False).training(gamma=0.99))


def test_tables_are_not_told_to_normalise():
    config = BiLevelQConfig().environment(lambda: Scales(5.0)).hierarchy([["one"], ["two"]])
    assert "scales" not in said(config)


def test_whether_something_is_there_has_no_scale():
    rare = np.zeros((100, 2))
    rare[0] = 1.0
    assert spreads_of(rare) is None
    assert spreads_of(np.array([[0.0, 3.0, 2.0], [1.0, 3.0, 4.0]])) == (1.0, 1.0)  # the second never differs


def test_spaces_of_many_bounds_take_one_line():
    config = BiACConfig().environment("merge_v0").hierarchy([["main_0"], ["auxiliary_0"]])
    found = understand(config)
    wide = spaces.Box(np.float32([-np.inf] * 30 + [-1]), np.float32([np.inf] * 30 + [1]))
    found.spec.observation_spaces["main_0"] = spaces.Dict({"far": wide, "kind": spaces.MultiDiscrete([2] * 60 + [9])})
    told = dict(lines(config, found)[2:3])["agent"]
    assert "sees Dict('far': Box(-inf to -1, 1 to inf, (31,), float32), 'kind': MultiDiscrete(2 to 9, (61,)))" in told
    assert "\n" not in told


def test_peers_have_no_leader():
    text = said(IDQNConfig().environment("escape_v0").hierarchy([["player_0", "player_1"]]))
    assert text["who leads"] == ["nobody: player_0 and player_1 are peers"] and "come and go" not in text


def test_what_does_not_fit_is_refused_with_its_numbers():
    config = BiACConfig().environment("escape_v0").hierarchy([["player_0"], ["player_1"]])
    with pytest.raises(ValueError, match=r"capacity of 10,000,000,000,000 steps takes .* GB .* GB of memory are free"):
        config.training(replay_buffer_config={"capacity": 10**13}).validate()
    wide = config.copy().training(replay_buffer_config={"capacity": 1000})
    with pytest.raises(ValueError, match=r"the networks take .* GB while they are trained"):
        wide.rl_module(model_config={"fcnet_hiddens": [2**16, 2**16, 2**16]}).validate()
