"""What RLlib sees of every algorithm is what its settings say: names, methods, types, defaults, documentation."""

import dataclasses
import functools
import inspect
import typing
from dataclasses import dataclass
from typing import Literal

import pytest
from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_biac.algorithms.dqn.losses import IDQNLosses
from rllib_biac.algorithms.dqn.team import DQNTeam
from rllib_biac.algorithms.maddpg import MADDPG
from rllib_biac.algorithms.maddpg.settings import MADDPGSettings
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.peers import PeersSettings
from rllib_biac.learning.settings import setting
from rllib_biac.rllib.config_keys import keys_of
from rllib_biac.rllib.register import register
from rllib_biac.rllib.registry import ALGORITHMS, load_algorithm


@dataclass(kw_only=True)
class OwnSettings(PeersSettings):
    """Settings of an algorithm of one's own: new ones, and one of everybody's with another default."""

    gamma: float = setting(0.5, "the discount, which is small here.", low=0.0, high=1.0)
    own_weight: float = setting(0.25, "how much the algorithm's own term counts.", low=0.0)
    own_kind: Literal["plain", "fancy"] = setting("plain", "which form it has.", group="env_runners")


@dataclass(kw_only=True)
class HeirSettings(MADDPGSettings):
    """Settings that add one to another algorithm's."""

    own_weight: float = setting(0.25, "how much the algorithm's own term counts.", low=0.0)


Own = register(Algorithm("Own", OwnSettings, DQNTeam, IDQNLosses), __name__)
Heir = register(Algorithm("Heir", HeirSettings, MADDPG.team, MADDPG.losses), __name__)

CONFIGS = {name: load_algorithm(name).config_class for name in ALGORITHMS}
CONFIGS |= {cls.__name__: cls.config_class for cls in (Own, Heir)}
signature = functools.cache(inspect.signature)  # the same methods are asked for once a setting
each_config = pytest.mark.parametrize("config_class", CONFIGS.values(), ids=CONFIGS)


def fluent_methods(config_class, keyword):
    """Returns the methods with such a keyword, as (class, name), the config's own class first."""
    return [
        (owner, name)
        for owner in config_class.__mro__
        for name, method in vars(owner).items()
        if inspect.isfunction(method) and not name.startswith("_")
        if (parameter := signature(method).parameters.get(keyword)) and parameter.default is NotProvided
    ]


def ours(methods):
    return [(owner, name) for owner, name in methods if not owner.__module__.startswith("ray.")]


def words(text):
    return " ".join(text.split())


def another(field, hint):
    """Returns a value other than the default that the setting may have."""
    if typing.get_origin(hint) is Literal:
        return next(choice for choice in typing.get_args(hint) if choice != field.default)
    special = {
        "replay_buffer_config": {"capacity": 77_777},
        "model_config": {"fcnet_hiddens": [5], "fcnet_activation": "tanh", "conv_filters": None},
        "leader_module_class": "package.module:Leader",
        "follower_module_class": "package.module:Follower",
        "losses_class": "package.module:Losses",
        "critic_lr": {"one": 0.5},
        "actor_lr": [[0, 0.5], [10, 0.1]],
        "epsilon": 0.75,
        "grad_clip": 3.0,
        "partners": {"one": "random"},
        "policies_to_train": ["one"],
        "lr_fade": 700.0,
        "spread_epsilon": True,
        "information": "own",
        "choose_after": 7,
        "leader_ignores": [1],
    }
    if field.name in special:
        return special[field.name]
    default = field.default
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int) else default / 2 + 0.0625


def fields_of(config_class):
    return dataclasses.fields(config_class.algorithm.settings)


@each_config
def test_settings_are_attributes_with_the_same_defaults(config_class):
    config = config_class()
    for field in fields_of(config_class):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        assert getattr(config.settings(), field.name) == default, field.name
        if field.name != "model_config":  # RLlib holds it elsewhere
            assert getattr(config, field.name) == default, field.name


@each_config
def test_each_setting_is_a_keyword_of_its_method_alone(config_class):
    keys = keys_of(config_class)
    for field in fields_of(config_class):
        methods = {method for _, method in fluent_methods(config_class, field.name)}
        assert methods == {keys[field.name].method} == {field.metadata["group"]}, field.name


@each_config
def test_settings_have_the_same_types(config_class):
    hints = typing.get_type_hints(config_class.algorithm.settings)
    for field in fields_of(config_class):
        for owner, method in ours(fluent_methods(config_class, field.name))[:1]:
            assert typing.get_type_hints(vars(owner)[method])[field.name] == hints[field.name], field.name


@each_config
def test_settings_are_explained_where_they_are_set(config_class):
    for field in fields_of(config_class):
        told = [vars(owner).get(field.metadata["group"]) for owner in config_class.__mro__]
        docs = [words(method.__doc__ or "") for method in told if method]
        assert any(f"{field.name}: {words(field.metadata['doc'])}" in doc for doc in docs), field.name


@each_config
def test_settings_go_into_the_config_and_come_back(config_class):
    settings = config_class.algorithm.settings
    hints = typing.get_type_hints(settings)
    given = {field.name: another(field, hints[field.name]) for field in fields_of(config_class)}
    plain = config_class().settings()
    assert all(value != getattr(plain, name) for name, value in given.items())
    config = config_class()
    for field in fields_of(config_class):
        assert getattr(config, field.metadata["group"])(**{field.name: given[field.name]}) is config
    assert config.settings() == settings(**given)
    assert config.copy(copy_frozen=False).settings() == settings(**given)
    assert config_class.from_state(config.get_state()).settings() == settings(**given)


@each_config
def test_defaults_are_accepted(config_class):
    config_class.algorithm.settings().check(Hierarchy([["one"], ["two"]]))
    config_class().settings().check(Hierarchy([["one"], ["two"]]))


@each_config
def test_a_fluent_method_says_what_it_takes_and_returns(config_class):
    for name in {field.metadata["group"] for field in fields_of(config_class)}:
        doc = getattr(config_class, name).__doc__
        assert doc.index("Args:") < doc.index("Returns:")
        assert max(map(len, doc.splitlines())) <= 120 or not ours([(config_class, name)])


@each_config
def test_an_unknown_keyword_is_refused(config_class):
    for method in ("training", "env_runners", "environment", "rl_module"):
        with pytest.raises(TypeError, match="unknown_setting"):
            getattr(config_class(), method)(unknown_setting=1)


def test_algorithms_of_ones_own_are_found_where_they_were_made():
    for cls in (Own, Heir):
        assert (cls.__module__, cls.__qualname__) == (__name__, cls.__name__)
        assert cls.get_default_config().algo_class is cls
        config = cls.config_class
        assert (config.__module__, config.__qualname__) == (__name__, f"{cls.__name__}.Config")
