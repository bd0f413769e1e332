"""An algorithm of one's own, in one file: whatever the library's own can do, it can."""

import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from tests.training import Run, checked, differ, load_weights

EXAMPLES = Path(__file__).parents[2] / "examples"
ESCAPE = ["player_0", "player_1"]


@pytest.fixture
def own(monkeypatch):
    """The example as a module, found as from its own folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("own_algorithm")


def mixer_of(run):
    return {name: values for name, values in run.weights().items() if name.startswith("__shared__/mixer")}


# Without Ray.


def test_it_learns_escape(own):
    settings = {"training_intensity": 256.0, "epsilon": [[0, 1.0], [800, 1.0], [1500, 0.1]]}
    run = Run(own.QMIX.config_class.algorithm, "escape_v0", [ESCAPE], **settings)
    before = mixer_of(run)
    run.train(2500)
    played = run.team.act(torch.zeros(1, 1), observations={agent: torch.zeros(1, 1) for agent in ESCAPE})
    assert {agent: int(action) for agent, action in played.items()} == {"player_0": 2, "player_1": 2}  # C-Z
    assert differ(before, mixer_of(run))
    assert set(run.trainer.take_report()) >= {("__shared__", "qf_loss")}


def test_the_mixer_rises_with_every_utility(own):
    torch.manual_seed(0)
    mixer = own.Mixer(state_size=3, num_agents=4, width=8)
    q = torch.randn(64, 4, requires_grad=True)
    mixer(torch.cat([torch.randn(64, 3), q], 1)).sum().backward()
    assert (q.grad >= 0).all() and (q.grad > 0).any(0).all()


def test_what_belongs_to_nobody_is_saved_with_the_rest(own):
    algorithm = own.QMIX.config_class.algorithm
    one = Run(algorithm, "escape_v0", [ESCAPE]).train(200)
    other = Run(algorithm, "escape_v0", [ESCAPE], seed=1)
    assert differ(mixer_of(one), mixer_of(other))
    load_weights(other.team, one.team.weights())
    assert len(mixer_of(one)) == 16 and not differ(one.weights(), other.weights())  # network and target, 4 layers
    resumed = Run(algorithm, "escape_v0", [ESCAPE], seed=2).take_over(one.learned())
    rows = one.replay.sample(64)
    one.update(rows)
    resumed.update(rows)
    assert not differ(one.weights(), resumed.weights())


def test_play_does_without_the_mixer(own):
    team = Run(own.QMIX.config_class.algorithm, "escape_v0", [ESCAPE]).team
    team.drop_training_only()
    assert not [name for name in team["__shared__"].state_dict() if name.startswith("mixer")]
    assert set(team.act(torch.zeros(1, 1), observations={a: torch.zeros(1, 1) for a in ESCAPE})) == set(ESCAPE)


def test_its_settings_are_keywords_and_are_checked(own):
    config = own.QMIX.get_default_config().environment("escape_v0").hierarchy([ESCAPE])
    assert config.training(mixing_embed_dim=16, tau=0.01).settings().mixing_embed_dim == 16
    assert config.tau == 0.01
    config.validate()
    with pytest.raises(TypeError, match="mixing_dim"):
        config.training(mixing_dim=16)
    with pytest.raises(ValueError, match="mixing_embed_dim: 0"):
        config.training(mixing_embed_dim=0).validate()
    with pytest.raises(ValueError, match="no linear output"):
        checked(config.algorithm, [ESCAPE], normalize_targets=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mixing_embed_dim", "wide", "expected"),
        ("mixing_dim", 16, "mixing_embed_dim"),  # it says what may have been meant
        ("tau", "slow", "expected"),
    ],
)
def test_files_say_what_is_wrong_with_its_settings(own, key, value, message):
    from rllib_biac.rllib.config_keys import BadSettings, build

    with pytest.raises(BadSettings) as refused:
        build(own.QMIX.config_class, {key: value})
    assert refused.value.found[0][0] == (key,) and message in refused.value.found[0][1]


def test_its_classes_are_pickled_by_reference(own):
    config_class = own.QMIX.config_class
    for found in (own.QMIX, config_class):
        assert pickle.loads(pickle.dumps(found)) is found
    config = config_class().hierarchy([ESCAPE]).training(mixing_embed_dim=16)
    again = pickle.loads(pickle.dumps(config))
    assert type(again) is config_class and again.algo_class is own.QMIX and again.mixing_embed_dim == 16
    assert len(pickle.dumps(own.QMIX)) < 100
