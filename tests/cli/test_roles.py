"""`rllib compare-roles`: what is printed, and what is refused."""

import json

import pytest
from click.testing import CliRunner

from rllib_biac.cli.main import main

FILE = """
entry:
  run: BiAC
  env: entry_deterrence_v0
  {stop}
  config:
    gamma: 0.9
    hierarchy: {levels}
    train_batch_size_per_learner: 64
    training_intensity: 16
    averaging: 0
"""
LEADS = "[[player_0], [player_1]]"


def rllib(*arguments):
    return CliRunner().invoke(main, ["compare-roles", *map(str, arguments)])


@pytest.fixture
def written(write):
    return lambda stop="", levels=LEADS: write(FILE.format(stop=stop, levels=levels))


def test_a_table_and_the_same_as_json(written):
    file = written("stop: {num_env_steps_sampled_lifetime: 300}")
    told = rllib(file).output.splitlines()
    assert told[0] == "entry: BiAC, 300 env steps, seed 0"
    assert told[1].split() == ["player_0", "player_1"]
    (row,) = [line.split() for line in told if "player_0 leads" in line]
    assert row == ["player_0", "leads", "feedback", "SE", "1.8", "0.9"]
    assert sum("learned" in line for line in told[:-1]) == 2
    assert told[-1] == "Exact values are discounted by 0.9 a step, from the start. So are learned ones."

    found = json.loads(rllib(file, "--steps", 100, "--seeds", 2, "--json").output)
    assert found["env_steps"] == 100 and found["seeds"] == [0, 1] and found["learned"] == "discounted"
    first, second = found["orders"]
    assert (first["leader"], second["leader"]) == ("player_0", "player_1")
    assert first["exact"]["pure commitment"]["player_0"] == pytest.approx([4, 4])
    assert len(first["each"]) == 2
    assert first["learned"]["player_1"] == pytest.approx(sum(one["player_1"] for one in first["each"]) / 2)


def test_what_cannot_be_compared_is_said(written):
    unknown = rllib(written())
    assert unknown.exit_code == 2 and "Write --steps" in unknown.output
    peers = rllib(written(levels="[[player_0, player_1]]"), "--steps", 100)
    assert peers.exit_code == 2 and "[[leader], [follower]]" in peers.output
