"""Ray's private and moving names are what this library expects, and RLlib calls every override of them."""

import importlib
import inspect
import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_biac import BiACConfig
from rllib_biac.rllib import compat
from rllib_biac.rllib.ray_names import OVERRIDDEN, ROWS, Row


def _class_of(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _name(row):
    return f"{row.where.rpartition('.')[2]}.{row.name}"


# Names and signatures.


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_ray_has_the_name_as_expected(row):
    if row.since > compat.ray_version():
        pytest.skip(f"since Ray {row.since}")
    assert compat.difference(row) is None


@pytest.mark.parametrize("row", OVERRIDDEN, ids=_name)
def test_our_class_has_the_override(row):
    assert row.name in vars(_class_of(row.ours))


def test_all_private_names_that_we_override_are_listed():
    listed = {(_class_of(row.ours), row.name) for row in OVERRIDDEN}
    for ours in {cls for cls, _ in listed}:
        for name in vars(ours):
            bases = [base for base in ours.__mro__ if base.__module__.startswith("ray.") and name in vars(base)]
            if bases and name.startswith("_") and not name.startswith(("__", "_abc")):
                assert (ours, name) in listed, f"{ours.__name__}.{name} overrides {bases[0].__name__}.{name}"


# Versions.


def test_an_older_ray_is_refused_at_import(monkeypatch):
    monkeypatch.setattr("ray.__version__", "2.54.1")
    with pytest.raises(ImportError, match=r'needs Ray 2\.55 to 2\.60, and Ray 2\.54\.1 .* pip install "ray\[rllib\]>='):
        importlib.reload(compat)


@pytest.fixture
def newer_ray(monkeypatch):
    """The installed Ray, as if the supported range ended before it."""
    monkeypatch.setattr(compat, "NEWEST", (2, 0))
    compat.check.cache_clear()
    yield
    compat.check.cache_clear()


def test_a_newer_ray_in_which_all_names_are_the_same_warns_once(newer_ray):
    with pytest.warns(UserWarning, match=r"is tested with Ray .* is installed"):
        compat.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.check()


def test_a_newer_ray_without_a_name_is_refused(newer_ray, monkeypatch):
    monkeypatch.delattr(EnvRunnerGroup, "foreach_env_runner_async_fetch_ready")
    monkeypatch.setattr(Algorithm, "_evaluate_on_local_env_runner", lambda self, runner, steps: None)
    with pytest.raises(ImportError) as caught:
        compat.check()
    first, *named = str(caught.value).splitlines()
    assert "does not work with Ray" in first
    assert [line.split(": ")[0].split(".")[-1] for line in named] == [
        "_evaluate_on_local_env_runner",
        "foreach_env_runner_async_fetch_ready",
    ]
    assert "expected (self, env_runner), found (self, runner, steps)" in named[0]


def test_a_supported_ray_is_not_looked_through(monkeypatch):
    compat.check.cache_clear()
    monkeypatch.setattr(compat, "differences", lambda: pytest.fail("looked through"))
    compat.check()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (Row("ray.rllib.no_such_module", "name", "self", "why"), "ray.rllib.no_such_module is missing (why)"),
        (Row("ray.rllib.env.env_runner.NoClass", "name", "self", "why"), "NoClass is missing"),
        (Row("ray.rllib.env.env_runner.EnvRunner", "_no_attribute", None, "why"), "_no_attribute: is missing"),
        (Row("ray.rllib.env.env_runner.EnvRunner", "make_env", "property", "why"), "expected (property), found (self)"),
    ],
    ids=["module", "class", "attribute", "kind"],
)
def test_a_difference_is_told(row, says):
    assert says in compat.difference(row)


# Functions.


def test_dropped_answers_are_counted_since_ray_2_57(monkeypatch):
    group = SimpleNamespace(num_env_runners_dropped_lifetime=lambda: 3)
    monkeypatch.setattr("ray.__version__", "2.57.0")
    assert compat.dropped_answers(group) == 3
    monkeypatch.setattr("ray.__version__", "2.56.1")
    assert compat.dropped_answers(group) is None


def test_a_record_of_tune_is_read():
    from ray.tune.utils.serialization import TuneFunctionEncoder

    written = {"trial_data": [("a", 1)], "function": test_a_record_of_tune_is_read, "kind": {1, 2}}
    read = compat.read_record(json.dumps(written, cls=TuneFunctionEncoder))
    assert read["trial_data"] == [["a", 1]]
    assert read["kind"] == {1, 2}


# Calls.


def _watch(monkeypatch, row, called):
    """Has a class's method, and what subclasses put in its place, say that it was called."""

    def saying(function):
        def wrapper(*args, **kwargs):
            called.add((row.ours, row.name))
            return function(*args, **kwargs)

        wrapper.__signature__ = inspect.signature(function)
        wrapper.__annotations__ = function.__annotations__
        return wrapper

    waiting = [_class_of(row.ours)]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        held = vars(cls).get(row.name)
        if isinstance(held, staticmethod | classmethod):
            monkeypatch.setattr(cls, row.name, type(held)(saying(held.__func__)))
        elif isinstance(held, property):
            monkeypatch.setattr(cls, row.name, property(saying(held.fget)))
        elif held is not None:
            monkeypatch.setattr(cls, row.name, saying(held))


@pytest.mark.parametrize("run", ["train", "stock"])
def test_every_override_is_called_in_a_run(run, ray, monkeypatch, tmp_path):
    called = set()
    rows = [row for row in OVERRIDDEN if row.run == run]
    for row in rows:
        _watch(monkeypatch, row, called)
    config = (
        BiACConfig()
        .environment("escape_v0")
        .hierarchy([["player_0"], ["player_1"]])
        .env_runners(env_runner_cls="stock" if run == "stock" else "joint", num_envs_per_env_runner=2)
        .training(num_steps_sampled_before_learning_starts=4, train_batch_size_per_learner=4)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .checkpointing(store_buffer_in_checkpoints=True)
        .evaluation(evaluation_interval=1, evaluation_duration=2)
        .reporting(min_sample_timesteps_per_iteration=10)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    algo.train()
    algo.train()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    algo.stop()
    restored = type(algo).from_checkpoint(checkpoint)
    assert restored.train()["training_iteration"] == 3
    restored.stop()
    assert [_name(row) for row in rows if (row.ours, row.name) not in called] == []


SEEDED = """
import sys, torch
from ray.rllib.utils.debug import update_global_seed_if_necessary
from rllib_biac.rllib import compat
with compat.seeding_without_compiler():
    update_global_seed_if_necessary("torch", 3)
quick = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
drawn, spared = torch.rand(3), "torch._inductor" not in sys.modules
update_global_seed_if_necessary("torch", 3)
plain = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
assert quick == plain == (True, False), (quick, plain)
assert torch.equal(drawn, torch.rand(3)) and spared
"""


@pytest.mark.slow
def test_seeding_spares_the_compiler_and_seeds_alike():
    done = subprocess.run([sys.executable, "-c", SEEDED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_trials_begin_in_waiting_workers_only_where_these_have_what_tune_sets(monkeypatch):
    from ray.tune.execution import class_cache

    tunes = class_cache.DEFAULT_ENV_VARS or compat.TRIAL_ENV
    assert tunes == compat.TRIAL_ENV
    monkeypatch.setattr(class_cache, "DEFAULT_ENV_VARS", tunes)
    for name in tunes:
        monkeypatch.delenv(name, raising=False)
    compat.start_trials_in_waiting_workers()
    assert tunes == class_cache.DEFAULT_ENV_VARS

    for name, value in tunes.items():
        monkeypatch.setenv(name, value)
    compat.start_trials_in_waiting_workers()
    assert class_cache.DEFAULT_ENV_VARS == {}
