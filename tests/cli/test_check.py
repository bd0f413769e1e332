"""`rllib check` says what a file is understood to mean, and refuses what cannot be trained."""

import pytest

from rllib_biac import BiACConfig, IDQNConfig
from rllib_biac.cli.check import lines
from rllib_biac.rllib.understood import understand
from tests import foreign


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
    assert config.looked is None  # it was not changed


def test_what_is_said_of_a_history():
    config = BiACConfig().environment("escape_v0", history=3).hierarchy([["player_0"], ["player_1"]])
    text, plain = said(config), said(config.copy().environment("escape_v0", history=1))
    assert text["history"] == ["the last 3 observations and states side by side, counted above"]
    assert "history" not in plain and text["state"] != plain["state"]


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
