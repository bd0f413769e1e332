"""Every setting is checked once, by the settings themselves, and a refusal says what to write instead."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.algorithms.bilevel_q.settings import BiLevelQSettings
from rllib_biac.algorithms.dqn.settings import IDQNSettings
from rllib_biac.algorithms.maddpg.settings import MADDPGSettings
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.learning.networks import kind_of
from rllib_biac.learning.settings import Settings, piecewise, setting
from rllib_biac.learning.team import TeamSpec

CHAIN = Hierarchy([["one"], ["two"]])
PEERS = Hierarchy([["one", "two"]])


def check(settings=BiACSettings, *, num_learners=1, **given):
    settings(**given).check(CHAIN, num_learners)


def refused(message, **given):
    with pytest.raises(ValueError) as raised:
        check(**given)
    assert re.search(message, str(raised.value)), str(raised.value)


def test_everything_may_be_what_it_is():
    check()
    check(
        epsilon=[[0, 1.0], [10, 0.5], [20, 0]],
        lr=[[0, 1e-3]],
        critic_lr={"one": 1e-3, "two": [[0, 1e-3], [5, 0]]},
        actor_lr=1e-4,
        training_intensity=None,
        grad_clip=None,
        tau=1,
        gamma=0,
        replay_buffer_config={"capacity": 256},
        lr_fade=None,
        averaging=0,
        model_config=MODEL_DEFAULTS | {"fcnet_hiddens": (8,), "fcnet_activation": "gelu"},
    )


@pytest.mark.parametrize(
    ("key", "value", "bounds"),
    [
        ("tau", 0.0, "a number greater than 0.0 and at most 1.0"),
        ("tau", 1.5, "a number greater than 0.0 and at most 1.0"),
        ("gamma", -0.1, "a number at least 0.0 and at most 1.0"),
        ("gamma", float("nan"), "a number at least 0.0 and at most 1.0"),
        ("gamma", True, "a number at least 0.0 and at most 1.0"),
        ("gamma", None, "a number at least 0.0 and at most 1.0"),
        ("training_intensity", 0, "a number greater than 0.0"),
        ("train_batch_size_per_learner", 0, "a whole number at least 1"),
        ("train_batch_size_per_learner", 1.5, "a whole number at least 1"),
        ("num_steps_sampled_before_learning_starts", -1, "a whole number at least 0"),
        ("target_network_update_freq", 0.5, "a whole number at least 1"),
        ("normalizer_horizon", 0, "a number at least 1"),
        ("adam_epsilon", 0, "a number greater than 0.0 and at most 1.0"),
        ("grad_clip", 0, "a number greater than 0.0"),
        ("grad_clip", "1", "a number greater than 0.0"),
        ("entropy_coeff", -1, "a number at least 0.0"),
        ("gumbel_temperature", 0, "a number greater than 0.0"),
        ("num_hypotheses", 10**9, "a whole number at least 1 and at most 100"),
        ("updates_per_round", 7, "a whole number at least 8"),
        ("num_leader_actions", 1, "a whole number at least 2 and at most 1,000,000"),
        ("approximated_share", 1.1, "a number at least 0.0 and at most 1.0"),
        ("exploration_noise", -0.1, "a number at least 0.0"),
        ("history", 10**12, "a whole number at least 1 and at most 1,000"),
        ("max_episode_steps", 10**18, "a whole number at least 1 and at most 1,000,000,000"),
    ],
)
def test_numbers_stay_within_their_bounds(key, value, bounds):
    refused(f"^{key}: {re.escape(repr(value))} must be {bounds}\\.$", **{key: value})


@pytest.mark.parametrize("key", ["tau", "gamma", "lr", "critic_lr", "epsilon", "grad_clip", "training_intensity"])
def test_numbers_are_some_for_networks_too(key):
    refused(f"^{key}: 1e-60 is beyond the numbers of float32", **{key: 1e-60})


def test_what_is_infinite_may_be_said_to_be():
    check(lr_fade=float("inf"), grad_clip=float("inf"))
    refused(r"^lr_fade: 1e\+60 is beyond the numbers of float32, .* write a smaller one", lr_fade=1e60)


def test_networks_have_an_end():
    refused("fcnet_hiddens: 20,000 layers: write at most 100", model_config={"fcnet_hiddens": [8] * 20_000})


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [
        ("grad_clip_by", "size", "value, norm, global_norm"),
        ("actor_loss", "reinforce", "expectation, gumbel_softmax, score_function"),
        ("response", "greedily", "greedy, sampled, enumerated"),
        ("exploration", "both", "per_agent, joint"),
        ("state", "image", "env, observations"),
        ("continuous_leader", None, "actor, soft_q"),
        ("normalize_targets", "yes", "True, False"),
        ("normalize_observations", None, "True, False"),
        ("approximators", 3, "True, False"),
    ],
)
def test_a_choice_is_one_of_its_options(key, value, options):
    refused(f"^{key}: {value!r} is none of {options}\\.$", **{key: value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("often", "'often' is neither a number nor a schedule"),
        ([["0", 1.0], [10, 0.1]], r"neither a number nor a schedule \[\[env step, value\], ...\]"),
        ([[0, True]], "neither a number nor a schedule"),
        ([[0, 1.0, 2.0]], "neither a number nor a schedule"),
        ([0, 1.0], "neither a number nor a schedule"),
        (None, "None is neither a number nor a schedule"),
        (True, "True is neither a number nor a schedule"),
        ([], r"the steps of \[\] must rise from 0"),
        ([[10, 1.0], [20, 0.1]], "must rise from 0"),
        ([[0, 1.0], [0, 0.1]], "must rise from 0"),
        ([[0, 1.0], [20, 0.5], [10, 0.1]], "must rise from 0"),
        (1.5, r"1.5 must stay within \[0.0, 1.0\]"),
        ([[0, 1.0], [10, 2.0]], r"must stay within \[0.0, 1.0\]"),
        ([[0, float("nan")]], r"must stay within \[0.0, 1.0\]"),
    ],
)
def test_schedules(value, message):
    refused(f"^epsilon: .*{message}", epsilon=value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": [[0, "1"], [10, 0.1]]}, "^lr: .* is neither a number nor a schedule"),
        ({"lr": 11.0}, r"^lr: 11.0 must stay within \[0.0, 10.0\]"),
        ({"critic_lr": -1e-3}, r"^critic_lr: -0.001 must stay within \[0.0, 10.0\]"),
        ({"critic_lr": "1e-3"}, "^critic_lr: '1e-3' is neither a number nor a schedule"),
        ({"critic_lr": {"two": [[1, 1e-3]]}}, "^critic_lr: the steps of .* must rise from 0"),
        ({"actor_lr": {"two": 20}}, "^actor_lr: 20 must stay within"),
        ({"actor_lr": {"three": 1e-3}}, "^actor_lr names three; the agents are one, two"),
        ({"critic_lr": {"one": 1e-3, "four": 1, 5: 1}}, "^critic_lr names four, 5; the agents are one, two"),
    ],
)
def test_learning_rates_of_each_agent(given, message):
    refused(message, **given)


def test_an_agent_that_is_not_named_has_everybodys_learning_rate():
    settings = BiACSettings(lr=0.5, critic_lr={"one": 0.25}, actor_lr=0.125)
    found = {key: settings.network_lr(*key) for key in (("one", "critic"), ("two", "critic"), ("two", "actor"))}
    assert found == {("one", "critic"): 0.25, ("two", "critic"): 0.5, ("two", "actor"): 0.125}
    assert settings.network_lr("one", "critic_twin") == 0.25 and kind_of("critic_twin") == "critic"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"replay_buffer_config": {"capacity": 1.5}}, r"write \{capacity: rows\}, with rows a whole number"),
        ({"replay_buffer_config": {"capacity": True}}, r"write \{capacity: rows\}"),
        ({"replay_buffer_config": {"capacity": 0}}, r"write \{capacity: rows\}"),
        ({"replay_buffer_config": {}}, r"write \{capacity: rows\}"),
        ({"replay_buffer_config": 1000}, r"write \{capacity: rows\}"),
        ({"replay_buffer_config": {"type": "X", "capacity": 1000}}, r"write \{capacity: rows\}"),
        ({"replay_buffer_config": {"capacity": 10}}, "a capacity of 10 holds less than one update's 256 rows"),
        ({"replay_buffer_config": {"capacity": 300}, "num_learners": 2}, "holds less than one update's 512 rows"),
    ],
)
def test_replay(given, message):
    refused(f"^replay_buffer_config: .*{message}", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fcnet_hidens": [8]}, r"fcnet_hidens is unknown here: did you mean fcnet_hiddens\? Known: fcnet_hiddens, "),
        ({"vf_share_layers": True}, "vf_share_layers is unknown here: Known: "),
        ({"fcnet_hiddens": 64}, r"fcnet_hiddens: 64: write a list of widths, e.g. \[64, 64\]"),
        ({"fcnet_hiddens": [64, 0]}, "write a list of widths"),
        ({"fcnet_hiddens": [64, 2**17]}, "write widths of at most 65,536"),
        ({"fcnet_activation": "rellu"}, "fcnet_activation: 'rellu' is none of relu, tanh, silu, elu, gelu"),
    ],
)
def test_networks(given, message):
    refused(f"^model_config: .*{message}", model_config=MODEL_DEFAULTS | given)


# What single algorithms add.


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        (BiACSettings, {"num_hypotheses": 2, "num_learners": 2}, "write num_learners: 0 or 1, or num_hypotheses: 1"),
        (BiACSettings, {"num_atoms": 2}, "num_atoms: 2: so few intervals .*: write 9 or more, or 1"),
        (BiACSettings, {"num_atoms": 0}, "num_atoms: 0 must be a whole number at least 1 and at most 1,001"),
        (BiACSettings, {"num_atoms": 10**9}, "num_atoms: 1000000000 must be a whole number"),
        (BiACSettings, {"num_atoms": 21.5}, "num_atoms: 21.5 must be a whole number"),
        (BiACSettings, {"num_atoms": None}, "num_atoms: None must be a whole number"),
        (BiACSettings, {"num_atoms": True}, "num_atoms: True must be a whole number"),
        (BiACSettings, {"num_atoms": "21"}, "num_atoms: '21' must be a whole number"),
        (BiACSettings, {"num_atoms": 21, "num_hypotheses": 2}, "num_atoms: 21 does not go with several hypotheses"),
        (BiACSettings, {"num_atoms": 21, "normalize_targets": False}, "leave normalize_targets at true, or"),
        (BiACSettings, {"num_atoms": 21, "information": "own"}, "num_atoms: 21 does not go with information: own"),
        (BiLevelQSettings, {"normalize_targets": True}, "tables hold raw values"),
        (BiLevelQSettings, {"num_learners": 2}, r"write 0 \(in the trial's process\) or 1"),
        (BiLevelQSettings, {"model_config": MODEL_DEFAULTS | {"fcnet_hiddens": [3]}}, "tables, no networks"),
        (BiLevelQSettings, {"lr": 1.5}, r"lr: 1.5 must stay within \[0.0, 1.0\]"),
        (BiLevelQSettings, {"initial_q": "0"}, "initial_q: '0' must be a number at least -inf"),
    ],
)
def test_what_algorithms_add(settings, given, message):
    refused(message, settings=settings, **given)


def spec(settings, hierarchy=CHAIN, action=Discrete(3), state=Box(-1.0, 1.0, (2,), np.float32)):  # noqa: B008
    actions = {agent: action if agent == "one" else Discrete(2) for agent in hierarchy.agents}
    seen = dict.fromkeys(actions, state)
    return TeamSpec(hierarchy, hierarchy.agents, seen, actions, state, False, settings)


@pytest.mark.parametrize(
    ("settings", "what", "message"),
    [
        (BiACSettings(), {"action": Discrete(3, start=1)}, "agent 'one' .* must start at 0"),
        (BiACSettings(), {"action": MultiDiscrete([2, 2])}, r"BiAC supports .* and vectors of numbers"),
        (BiACSettings(), {"action": Box(-1.0, 1.0, (2, 2), np.float32)}, "vectors of numbers"),
        (BiACSettings(), {"action": Box(-1, 1, (2,), np.int64)}, "vectors of numbers"),
        (BiACSettings(), {"action": Box(-1.0, 1.0, (0,), np.float32)}, "there is nothing to choose"),
        (BiACSettings(), {"action": Box(-np.inf, 1.0, (1,), np.float32)}, "finite bounds, low < high"),
        (BiACSettings(), {"action": Box(1.0, 1.0, (1,), np.float32)}, "finite bounds, low < high"),
        (BiACSettings(response="sampled"), {"action": Box(-1.0, 1.0, (1,), np.float32)}, "^response: 'sampled' is for"),
        (BiACSettings(continuous_leader="soft_q"), {}, "soft_q is for one leader with continuous actions"),
        (BiACSettings(), {"hierarchy": PEERS, "state": Box(0, 1, (4, 4, 3))}, r"state has shape \(4, 4, 3\).*a vector"),
        (BiLevelQSettings(), {"hierarchy": PEERS}, r"write two levels of one agent, \[\[leader\], \[follower\]\]"),
        (IDQNSettings(), {}, r"IDQN has no leader, .* write one level of peers, \[\['one', 'two'\]\]"),
        (IDQNSettings(), {"hierarchy": PEERS, "action": Box(-1.0, 1.0, (1,), np.float32)}, "IDQN supports discrete"),
        (MADDPGSettings(), {"hierarchy": PEERS, "state": Box(0, 1, (4, 4, 3))}, r"critics of MADDPG .* a vector"),
    ],
)
def test_games_that_an_algorithm_cannot_play(settings, what, message):
    with pytest.raises(ValueError, match=message):
        settings.check_game(spec(settings, **what))


# Fields, and what follows from them.


def test_defaults_that_can_change_are_each_owners_own():
    one, other = Settings(), Settings()
    one.model_config["fcnet_hiddens"].append(3)
    one.replay_buffer_config["capacity"] = 1
    assert (other.model_config, other.replay_buffer_config) == (MODEL_DEFAULTS, {"capacity": 50_000})
    assert MODEL_DEFAULTS["fcnet_hiddens"] == [64, 64]


def test_a_setting_of_ones_own_is_checked_by_what_it_says():
    @dataclasses.dataclass(kw_only=True)
    class MixSettings(Settings):
        width: int = setting(32, "of the mixer.", low=1, high=64)
        anything: Any = setting(None, "what a user likes.")

    check(MixSettings)
    refused("^width: 65 must be a whole number at least 1 and at most 64", settings=MixSettings, width=65)
    assert MixSettings.algorithm() == "Mix"


@pytest.mark.parametrize("field", dataclasses.fields(BiACSettings), ids=lambda field: field.name)
def test_every_setting_says_what_it_does(field):
    assert field.metadata["doc"].endswith(".") and len(field.metadata["doc"]) > 10
    assert field.metadata["group"] in ("environment", "multi_agent", "env_runners", "training", "rl_module")


def test_schedules_are_interpolated_and_held_at_both_ends():
    schedule = [[0, 1.0], [10, 0.5], [30, 0.1]]
    assert [piecewise(schedule, t) for t in (0, 5, 10, 20, 30, 99)] == pytest.approx([1.0, 0.75, 0.5, 0.3, 0.1, 0.1])
    assert piecewise(0.25, 7) == 0.25
