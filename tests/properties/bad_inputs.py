"""Bad experiment files by the thousand, and what became of each: refused, accepted and visible, or a fault of ours."""

from __future__ import annotations

import copy
import math
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from rllib_biac.experiments import checks, reading
from rllib_biac.experiments.checks import CHECKPOINT_KEYS
from rllib_biac.experiments.metrics import METRICS
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.ranges import NAMES
from rllib_biac.experiments.reading import DEFAULT_STORAGE, KEYS
from rllib_biac.experiments.resolve import Experiment, resolve
from rllib_biac.report.settings import written
from rllib_biac.rllib.config import RUNNERS
from rllib_biac.rllib.config_keys import keys_of
from rllib_biac.rllib.registry import config_class
from rllib_biac.rllib.traps import TRAPS, trap

# What can become of an input. The last two are faults.
REFUSED, ACCEPTED, TRACE, SILENT = "refused", "accepted", "stack trace", "silent acceptance"

EXAMPLES = {name: path.read_text(encoding="utf-8") for name, path in reading.examples().items()}
DOCUMENTS = {name: yaml.safe_load(text) for name, text in EXAMPLES.items()}


@dataclass(frozen=True)
class Verdict:
    """What became of an input, and why."""

    outcome: str
    why: str


def judge(data: bytes, folder: Path, suffix: str = ".yaml") -> Verdict:
    """Does with a file what `rllib train file` does before it starts Ray.

    A refusal counts as one if it is a `Mistake` that names the file. An accepted file must show: each value written in
    it is looked up, by itself, in what would be trained. One that is not there has silently done nothing.
    """
    path = folder / f"input{suffix}"
    path.write_bytes(data)
    try:
        drafts = reading.read(path)
        for draft in drafts:
            checks.check(draft)
        experiments = [resolve(draft) for draft in drafts]
    except Mistake as mistake:
        told = str(mistake)
        good = path.name in told and "Traceback" not in told and len(told) > len(path.name) + 10
        raw = re.search(
            r"refused: \w+Error: |: (Attribute|Key|Index|Assertion|Overflow|ZeroDivision|Recursion)Error: ", told
        )
        return Verdict(REFUSED if good and not raw else TRACE, told)
    except Exception:
        return Verdict(TRACE, traceback.format_exc())
    lost = unseen(reading._Loader(data.decode("utf-8")).get_single_data(), experiments)
    return Verdict(SILENT, "; ".join(lost)) if lost else Verdict(ACCEPTED, "")


# Whether what was written is what would be trained.


def unseen(document: Any, experiments: list[Experiment]) -> list[str]:
    """Returns the places of a document that do not show in what it was resolved into."""
    names = [one.name for one in experiments]
    if not names or not isinstance(document, dict) or list(map(str, document)) != names:
        return ["the experiments' names"]
    return [
        f"{name}: {place}"
        for (name, settings), experiment in zip(document.items(), experiments, strict=True)
        for place in _unseen(settings, experiment)
    ]


def _unseen(settings: dict[str, Any], experiment: Experiment) -> Iterator[str]:
    configs = [trial.config for trial in experiment.trials]
    algorithm = config_class(settings["run"])
    if any(type(config) is not algorithm for config in configs):
        yield "run"
    samples = settings.get("num_samples", 1)
    if len(configs) % samples or len({trial.label for trial in experiment.trials}) < min(samples, len(configs)):
        yield "num_samples"
    told = {
        "stop": experiment.stop,
        "checkpoint_config": experiment.checkpoint_config,
        "max_failures": experiment.max_failures,
        "time_budget_s": experiment.time_budget_s,
        "scheduler": experiment.scheduler,
    }
    for key, value in told.items():
        if key in settings and not same(settings[key], value):
            yield key
    if "storage_path" in settings and Path(experiment.storage_path).name not in str(settings["storage_path"] + "~"):
        yield "storage_path"
    if (search := settings.get("search_alg")) is not None:
        kind = search if isinstance(search, str) else search["type"]
        if (kind == "optuna") != (experiment.search is not None):
            yield "search_alg"
    shown = [config.to_dict() | written(config.to_dict()) for config in configs]
    told_config = {**settings.get("config", {}), **({"env": settings["env"]} if "env" in settings else {})}
    for key, value in told_config.items():
        if key == "seed" and samples > 1 and value is not None:
            value = {"grid_search": [value + n for n in range(samples)]}  # sample n gets seed + n
        if not trap("config", key) and not _among(value, [_find(one, key) for one in shown]):
            yield f"config: {key}"
    allowed = {*KEYS, *(row.key for row in TRAPS if row.section == "experiment")}
    yield from (str(key) for key in settings if key not in allowed)


def _find(shown: dict[str, Any], key: Any) -> Any:
    kept_as = (
        ("callbacks_class",)
        if key == "callbacks"
        else (
            *(key, f"_{key}", f"callbacks_{key}"),
            str(key).removeprefix("custom_"),
            str(key).replace("evaluation", "eval"),
        )
    )
    return next((shown[name] for name in kept_as if name in shown), _MISSING)


def _among(value: Any, shown: list[Any]) -> bool:
    """Tells whether trials show a value: all of them, or of a sweep each value one; a draw shows as some value."""
    if isinstance(value, dict) and len(value) == 1 and (name := next(iter(value))) in ("grid_search", *NAMES):
        return all(_among_some(one, shown) for one in value[name]) if name == "grid_search" else _MISSING not in shown
    if isinstance(value, dict) and all(isinstance(one, dict) for one in shown):
        return all(_among(inner, [one.get(key, _MISSING) for one in shown]) for key, inner in value.items())
    return all(same(value, one) for one in shown)


def _among_some(value: Any, shown: list[Any]) -> bool:
    return any(same(value, one) for one in shown)


def same(value: Any, shown: Any) -> bool:
    """Tells whether a value that was written is the one that is shown."""
    if isinstance(value, dict) and isinstance(shown, dict):
        return all(key in shown and same(inner, shown[key]) for key, inner in value.items())
    if isinstance(value, list) and isinstance(shown, list | tuple):
        return len(value) == len(shown) and all(map(same, value, shown))
    if isinstance(shown, type) or callable(shown):  # written by its name
        return isinstance(value, str) and (RUNNERS.get(value) is shown or value.rpartition(":")[2] == shown.__name__)
    if isinstance(value, bool) != isinstance(shown, bool):
        return False
    if isinstance(value, int | float) and isinstance(shown, int | float):
        return math.isclose(value, shown) if abs(value) < 1e300 else bool(value == shown)
    return bool(value == shown) and isinstance(value, str) == isinstance(shown, str)


_MISSING = object()

# Inputs.

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**15, max_value=10**400),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["3", "1e-3", "true", "~", "max", "min", "asha", "pbt", "optuna", "BiAC", "escape_v0", "player_0"]),
    st.dates(),
)
_CONFIG_KEYS = sorted(keys_of(config_class("BiAC")))
_WORDS = st.one_of(
    st.sampled_from([*KEYS, *CHECKPOINT_KEYS, *METRICS, *NAMES, "grid_search", "type", "metric", "mode"]),
    st.sampled_from(_CONFIG_KEYS),
    st.sampled_from([row.key for row in TRAPS]),
    st.text(max_size=6),
    st.integers(-2, 2),
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=3)),
    max_leaves=6,
)


def _dump(document: Any) -> bytes:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@st.composite
def _example(draw: st.DrawFn) -> Any:
    return copy.deepcopy(DOCUMENTS[draw(st.sampled_from(sorted(DOCUMENTS)))])


@st.composite
def trees(draw: st.DrawFn) -> bytes:
    """Any structure at all, or one below an experiment's name beside a right `run` and `env`."""
    tree = draw(_TREES)
    if draw(st.booleans()):
        settings = draw(st.dictionaries(_WORDS, _TREES, max_size=3))
        config = draw(st.dictionaries(st.one_of(st.sampled_from(_CONFIG_KEYS), _WORDS), _TREES, max_size=2))
        hierarchy = {"hierarchy": [["player_0"], ["player_1"]]}
        tree = {"mine": {"run": "BiAC", "env": "escape_v0", "config": {**hierarchy, **config}, **settings}}
    return _dump(tree)


@st.composite
def wrong_values(draw: st.DrawFn) -> bytes:
    """An example with one value, or a whole branch, replaced by anything."""
    document = draw(_example())
    path = draw(st.sampled_from(list(_places(document))))
    _at(document, path[:-1])[path[-1]] = draw(_TREES)
    return _dump(document)


_BAD_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    0,
    -0.5,
    0.5,
    1.5,
    1e-320,
    1e308,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    True,
    None,
    "1",
    "0.001",
    "ten",
    [1],
    {"a": 1},
]


@st.composite
def bad_numbers(draw: st.DrawFn) -> bytes:
    """An example with one of its numbers replaced by one that is no number, out of range, huge, or a string."""
    document = draw(_example())
    numbers = [path for path in _places(document) if isinstance(_at(document, path), int | float)]
    path = draw(st.sampled_from(numbers))
    _at(document, path[:-1])[path[-1]] = draw(st.sampled_from(_BAD_NUMBERS))
    return _dump(document)


@st.composite
def settings(draw: st.DrawFn) -> bytes:
    """An example with one of RLlib's and our settings added, whatever its value."""
    document = draw(_example())
    config = next(iter(document.values()))["config"]
    config[draw(st.sampled_from(_CONFIG_KEYS))] = draw(st.one_of(_SCALARS, st.sampled_from(_BAD_NUMBERS), _TREES))
    return _dump(document)


@st.composite
def misspelt_keys(draw: st.DrawFn) -> bytes:
    """An example with a letter of one key dropped, doubled or changed. Never right, unless another key results."""
    document = draw(_example())
    paths = [path for path in _places(document) if len(path) > 1 and isinstance(path[-1], str)]
    path = draw(st.sampled_from(paths))
    key = path[-1]
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from(["", key[at] * 2, "x", key[at].upper() if key[at].islower() else "q"]))
    parent = _at(document, path[:-1])
    renamed = {(key[:at] + letter + key[at + 1 :] if k == key else k): value for k, value in parent.items()}
    parent.clear()
    parent.update(renamed)
    return _dump(document)


@st.composite
def misplaced(draw: st.DrawFn) -> bytes:
    """An example with one branch moved to another place."""
    document = draw(_example())
    path = draw(st.sampled_from(list(_places(document))))
    branch = _at(document, path[:-1]).pop(path[-1])
    homes = [(), *(p for p in _places(document) if isinstance(_at(document, p), dict))]
    _at(document, draw(st.sampled_from(homes)))[path[-1]] = branch
    return _dump(document)


@st.composite
def duplicate_keys(draw: st.DrawFn) -> bytes:
    """An example with one key written twice in its mapping. Never right."""
    lines = EXAMPLES[draw(st.sampled_from(sorted(EXAMPLES)))].splitlines()
    keyed = [n for n, line in enumerate(lines) if ": " in line and not line.lstrip().startswith(("#", "-"))]
    n = draw(st.sampled_from(keyed))
    indent = len(lines[n]) - len(lines[n].lstrip())
    key = lines[n].lstrip().partition(":")[0]
    return "\n".join(
        [*lines[:n], f"{' ' * indent}{key}: {draw(st.sampled_from(['1', 'x', '[]', '{}']))}", *lines[n:]]
    ).encode()


@st.composite
def garbled_text(draw: st.DrawFn) -> bytes:
    """An example's text with characters deleted, inserted or cut off."""
    text = EXAMPLES[draw(st.sampled_from(sorted(EXAMPLES)))]
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.sampled_from([0, 1, 1, 3, 10, 10**6]))
        put = draw(
            st.sampled_from(["", "", ":", " ", "\t", "\n", "{", "]", "&a ", "*a", "- ", "'", '"', "#", "|", "!x ", "0"])
        )
        text = text[:at] + put + text[at + cut :]
    return text.encode()


_TAGS = [
    "!!python/object/apply:os.system [echo]",
    "!!python/name:os.system",
    "!!binary aGVsbG8=",
    "!!binary '*'",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!int x",
    "!!float x",
    "!!float .nan",
    "!!bool perhaps",
    "!!timestamp 2020-13-45",
    "2020-13-45",
    "0x",
    "0b2",
    "1:30:99",
    "!mine 3",
    "&a [*a]",
    "&a {b: *a}",
    "*nowhere",
    "<<: 3",
    "{<<: 3}",
    "{<<: [3]}",
    "{? [a] : 1}",
    "{? {a: 1} : 1}",
    "[&a [x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], "
    "&d [*c,*c,*c,*c,*c,*c,*c,*c], [*d,*d,*d,*d,*d,*d,*d,*d]]",
    "[" * 600 + "]" * 600,
    "1" * 5000,
    '"\\0"',
    '"\\ud800"',
    "|\n    text",
    ">-\n    text",
    "=",
    "~",
    "''",
]


@st.composite
def tags(draw: st.DrawFn) -> bytes:
    """An example with YAML's tags, anchors, aliases and odd values in the place of one value."""
    lines = EXAMPLES[draw(st.sampled_from(sorted(EXAMPLES)))].splitlines()
    keyed = [n for n, line in enumerate(lines) if ":" in line and not line.lstrip().startswith(("#", "-"))]
    n = draw(st.sampled_from(keyed))
    lines[n] = f"{lines[n].partition(':')[0]}: {draw(st.sampled_from(_TAGS))}"
    return "\n".join(lines).encode()


@st.composite
def not_text(draw: st.DrawFn) -> bytes:
    """Any bytes, or an example with a few of them in it, in another encoding, or behind a mark of one."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    data = EXAMPLES[draw(st.sampled_from(sorted(EXAMPLES)))].encode()
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
        return data.decode().encode(encoding)
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]


_NUMBERS = st.sampled_from([0, 1, 2, 3, 0.001, 0.1, 1.0, -1, 1e9, math.nan, math.inf, True, "2", None, 10**400])
_RANGES = st.builds(
    lambda name, values: {name: values},
    st.sampled_from([*NAMES, "grid_search", "randn", "unifrom"]),
    st.one_of(_NUMBERS, st.lists(_NUMBERS, max_size=4), _TREES),
)


@st.composite
def sweeps(draw: st.DrawFn) -> bytes:
    """An example with ranges, schedulers and searchers of pieces that fit together or do not."""
    document = draw(_example())
    settings = next(iter(document.values()))
    settings["num_samples"] = draw(st.sampled_from([1, 2, 3, 10**6, -1, 0.5]))
    for _ in range(draw(st.integers(0, 2))):
        key = draw(
            st.sampled_from(["lr", "gamma", "tau", "hierarchy", "seed", "train_batch_size_per_learner", "env_config"])
        )
        settings["config"][key] = draw(_RANGES)
    mutated = st.dictionaries(
        st.sampled_from(["lr", "gamma", "tau", "model_config", "hierarchy"]), st.one_of(_RANGES, _TREES), max_size=2
    )
    values = {
        "type": st.sampled_from(["asha", "pbt", "median_stopping_rule", "hyperband", "ASHA", 3]),
        "metric": st.sampled_from([*METRICS, "env_runners/agent_episode_returns_mean/player_0", "loss", None]),
        "mode": st.sampled_from(["max", "min", "most", 1]),
        "time_attr": st.sampled_from(["training_iteration", "time_total_s", "steps"]),
        "perturbation_interval": _NUMBERS,
        "grace_period": _NUMBERS,
        "max_t": _NUMBERS,
        "reduction_factor": _NUMBERS,
        "quantile_fraction": _NUMBERS,
        "perturbation_factors": st.one_of(_NUMBERS, st.lists(_NUMBERS, max_size=2)),
        "hyperparam_mutations": st.one_of(mutated, _TREES),
        "max_concurrent": _NUMBERS,
    }
    kind = draw(st.sampled_from(["scheduler", "search_alg", "both"]))
    first = ["type", "metric", "mode"]
    for key in ("scheduler", "search_alg") if kind == "both" else (kind,):
        chosen = [*(first if draw(st.booleans()) else []), *draw(st.lists(st.sampled_from(sorted(values)), max_size=3))]
        types = st.sampled_from(["random", "optuna", "bayes"]) if key == "search_alg" else values["type"]
        settings[key] = {one: draw(types if one == "type" else values[one]) for one in dict.fromkeys(chosen)}
    return _dump(document)


# What is wrong in each, in a user's words -> the inputs.
KINDS: dict[str, st.SearchStrategy[bytes]] = {
    "any structure, known and unknown keys": trees(),
    "an example, one value replaced by anything": wrong_values(),
    "an example, one number bad: NaN, huge, negative, a string": bad_numbers(),
    "an example, any setting added with any value": settings(),
    "an example, one key misspelt": misspelt_keys(),
    "an example, one branch at another place": misplaced(),
    "an example, one key written twice": duplicate_keys(),
    "an example, its text garbled or cut off": garbled_text(),
    "an example, tags, anchors, aliases, odd values": tags(),
    "binary, other encodings": not_text(),
    "ranges, schedulers, searchers at random": sweeps(),
}
# Those of which none can be right.
NEVER_RIGHT = ("an example, one key written twice",)
assert DEFAULT_STORAGE
