"""This program shows: two revisions of this library learn the same, to the last bit.

How to run:
    python benchmarks/same_bits.py HEAD                    # a revision against the working tree
    python benchmarks/same_bits.py HEAD~3 HEAD             # two revisions
    python benchmarks/same_bits.py HEAD --cases BiAC IDQN  # some cases only
    python benchmarks/same_bits.py HEAD --table            # also writes benchmarks/results/same_bits.md
    python benchmarks/same_bits.py --write tests/fixtures/same_bits.json   # records the working tree, for the tests

Each revision trains every case in a process of its own: a tiny game, tiny networks, some hundred updates. The process
takes `rllib_biac`, `rllib_biac.envs` and `rllib_biac.tuned_examples` from that revision alone. Three things are
compared: all weights, target networks and normalisers among them; all numbers that training reports, times aside; and
greedy play, in `evaluate()` and by `StackelbergPolicy`. The program uses public names only, so that it runs with any
revision from 0.1.0 on. It ends with code 1 if anything differs.

Results to expect: "equal" everywhere, if the revisions differ by moves only. One revision takes one to two minutes of
CPU time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # no Ray cluster but a local one is started here

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).parent / "results" / "same_bits.md"
PARTS = ("weights", "metrics", "play")
ITERATIONS = 2
STEPS = 160  # env steps, and about as many updates, per iteration

Levels = list[list[str]]
# part -> name -> number or hash
Measured = dict[str, dict[str, str]]


class Walk(ParallelEnv):
    """A game of up to 4 steps on a ring of three places, which all agents' actions turn. It ends at place 2.

    The state is (place, time, 1). Agent 0 sees the place, agent 1 the time, agent 2 the place.
    """

    metadata = {"name": "walk_v0"}  # noqa: RUF012  (PettingZoo's own way)
    names: tuple[str, ...] = ("one", "two")
    actions: tuple[spaces.Space, ...] = (spaces.Discrete(3), spaces.Discrete(3), spaces.Discrete(2))
    last_step = 4
    masked = False
    state_space = spaces.Box(-10.0, 10.0, (3,), np.float32)
    seen = spaces.Box(-10.0, 10.0, (2,), np.float32)

    def __init__(self) -> None:
        self.possible_agents = list(self.names)
        self.agents: list[str] = []
        self.rng = np.random.default_rng(0)
        self.place = self.time = 0

    def observation_space(self, agent: str) -> spaces.Space:
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        return self.actions[self.names.index(agent)]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.names)
        self.place, self.time = int(self.rng.integers(2)), 0
        return self.observe(), self.infos()

    def state(self) -> np.ndarray:
        return np.array([self.place, self.time, 1.0], np.float32)

    def observe(self) -> dict[str, np.ndarray]:
        parts = (self.place, self.time, self.place)
        return {agent: np.array([parts[i], 1.0], np.float32) for i, agent in enumerate(self.names)}

    def infos(self) -> dict[str, Any]:
        if not self.masked:
            return {agent: {} for agent in self.names}
        sizes = [int(space.n) if isinstance(space, spaces.Discrete) else 0 for space in self.actions]
        return {
            agent: {"action_mask": np.arange(sizes[i]) != (self.time + i) % sizes[i]}
            for i, agent in enumerate(self.names)
        }

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        values = [float(np.asarray(actions[agent], np.float64).ravel()[0]) for agent in self.names]
        rewards = {}
        for i, agent in enumerate(self.names):
            others = sum(values) - values[i]
            rewards[agent] = 1.0 - (values[i] - 0.5 * self.place - 0.5 * i) ** 2 + 0.25 * (i + 1) * others * self.place
        self.place = (self.place + round(sum(values))) % 3
        self.time += 1
        terminated = self.place == 2
        truncated = not terminated and self.time == self.last_step
        if terminated or truncated:
            self.agents = []
        both = dict.fromkeys(self.names, terminated), dict.fromkeys(self.names, truncated)
        return self.observe(), rewards, *both, self.infos()


class Seen(Walk):
    """Agents see the state."""

    seen = Walk.state_space

    def observe(self) -> dict[str, np.ndarray]:
        return {agent: self.state() for agent in self.names}


class OneStep(Walk):
    """One step, then the game is cut."""

    last_step = 1


class Masked(Walk):
    """Each agent may not take one of its actions, another one at each step."""

    masked = True


class Three(Walk):
    """Three agents."""

    names = ("one", "two", "three")


class MaskedThree(Three):
    """Three agents with forbidden actions."""

    masked = True


_VECTOR = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 3.0], np.float32))
_NUMBER = spaces.Box(-1.0, 2.0, (1,), np.float32)


class Continuous(Walk):
    """One agent chooses a number, the other a vector of two."""

    actions = (_NUMBER, _VECTOR)


class Kinds(Three):
    """A discrete leader, a vector below it, a discrete agent at the bottom."""

    actions = (spaces.Discrete(3), _VECTOR, spaces.Discrete(2))


class Images(Walk):
    """The state and what agents see is an image."""

    state_space = seen = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def state(self) -> np.ndarray:
        image = np.zeros((8, 8, 3), np.uint8)
        image[2 * self.time : 2 * self.time + 2, :, self.place] = 200
        return image

    def observe(self) -> dict[str, np.ndarray]:
        return {agent: self.state() for agent in self.names}


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        run: the algorithm.
        game: a factory, or the id of a game.
        levels: the hierarchy; default: one leads two in BiAC and BiLevelQ, else all agents are peers.
        training: settings of `training()`.
        runners: settings of `env_runners()`.
        model: of the networks, beside tiny layers.
        state: what critics see, as `environment()` has it.
    """

    run: str
    game: Any = Walk
    levels: Levels | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    runners: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    state: str = "env"

    @property
    def hierarchy(self) -> Levels:
        """The levels, the default filled in."""
        if self.levels is not None:
            return self.levels
        return [["one"], ["two"]] if self.run in ("BiAC", "BiLevelQ") else [list(self.game.names)]


CHAIN = [["one"], ["two"], ["three"]]
_SCHEDULES = {
    "lr": [[0, 0.01], [200, 0.001]],
    "critic_lr": {"one": 0.02, "two": [[0, 0.01], [300, 0.0]]},
    "actor_lr": 0.005,
    "adam_epsilon": 1e-4,
    "tau": 0.1,
    "target_network_update_freq": 3,
    "gamma": 0.9,
}
_CONVOLUTIONS = {"conv_filters": [[4, 4, 2], [4, [2, 3], 1, "valid"]]}
NORMALISED = {"normalize_observations": True}

CASES: dict[str, Case] = {
    "BiAC": Case("BiAC"),
    "BiAC, one step": Case("BiAC", OneStep),
    "BiAC, the second leads": Case("BiAC", levels=[["two"], ["one"]]),
    "BiAC, masked": Case("BiAC", Masked),
    "BiAC, images": Case("BiAC", Images, model=_CONVOLUTIONS),
    "BiAC, normalised observations": Case("BiAC", training=NORMALISED),
    "BiAC, raw targets": Case("BiAC", training={"normalize_targets": False}),
    "BiAC, observations as state": Case("BiAC", runners={"exploration": "joint"}, state="observations"),
    "BiAC, sampled": Case("BiAC", training={"response": "sampled"}),
    "BiAC, sampled, masked": Case("BiAC", Masked, training={"response": "sampled"}),
    "BiAC, enumerated": Case("BiAC", training={"response": "enumerated"}),
    "BiAC, gumbel_softmax": Case("BiAC", training={"actor_loss": "gumbel_softmax", "gumbel_temperature": 0.5}),
    "BiAC, score_function": Case("BiAC", Masked, training={"actor_loss": "score_function", "entropy_coeff": 0.1}),
    **{
        f"BiAC, clipped by {by}": Case("BiAC", training={"grad_clip": 0.01, "grad_clip_by": by})
        for by in ("value", "norm", "global_norm")
    },
    "BiAC, schedules": Case("BiAC", training=_SCHEDULES, model={"fcnet_activation": "tanh"}),
    "BiAC, approximators": Case("BiAC", training={"approximators": True}),
    "BiAC, hypotheses": Case("BiAC", training={"num_hypotheses": 3, "updates_per_round": 40}),
    "BiAC, hypotheses, masked": Case("BiAC", Masked, training={"num_hypotheses": 2, "updates_per_round": 40}),
    "BiAC, stock runner": Case("BiAC", runners={"env_runner_cls": "stock"}),
    "BiAC, merge_v0": Case("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]]),
    "levels, three": Case("BiAC", Three, CHAIN),
    "levels, three, masked": Case("BiAC", MaskedThree, CHAIN),
    "levels, two followers": Case("BiAC", Three, [["three"], ["two", "one"]], training=NORMALISED),
    "levels, two leaders": Case("BiAC", Three, [["one", "three"], ["two"]]),
    "levels, continuous": Case("BiAC", Continuous),
    "levels, soft_q": Case("BiAC", Continuous, training={"continuous_leader": "soft_q", "num_leader_actions": 16}),
    "levels, both kinds of actions": Case("BiAC", Kinds, CHAIN, training={"grad_clip": 0.05}),
    "levels, approximators": Case("BiAC", Kinds, CHAIN, training={"approximators": True}),
    "BiLevelQ": Case("BiLevelQ"),
    "BiLevelQ, masked": Case("BiLevelQ", Masked, training={"initial_q": 1.0}),
    "BiLevelQ, schedule": Case("BiLevelQ", OneStep, training={"lr": [[0, 0.5], [300, 0.0]]}),
    "IDQN": Case("IDQN"),
    "IDQN, masked": Case("IDQN", MaskedThree),
    "IDQN, images": Case("IDQN", Images, model=_CONVOLUTIONS),
    "IDQN, normalised observations": Case("IDQN", Seen, training=NORMALISED),
    "IDQN, stock runner": Case("IDQN", Masked, runners={"env_runner_cls": "stock"}),
    "HystereticDQN": Case("HystereticDQN", training={"hysteresis": 0.3}),
    "LenientDQN": Case("LenientDQN"),
    "LenientDQN, masked": Case("LenientDQN", Masked),
    "MADDPG": Case("MADDPG"),
    "MADDPG, three, masked": Case("MADDPG", MaskedThree),
    "MADDPG, continuous": Case("MADDPG", Continuous),
    "MADDPG, normalised observations": Case("MADDPG", Seen, training=NORMALISED),
    "MATD3": Case("MATD3", training={"grad_clip": 0.05, "grad_clip_by": "norm"}),
    "MATD3, continuous": Case("MATD3", Continuous),
    "MATD3, both kinds of actions": Case("MATD3", Kinds),
}
"""name -> what is trained."""


def build(case: Case) -> Any:
    """Builds the algorithm of a case."""
    import rllib_biac

    # One update per env step; tables have settings of their own for that.
    updates = {} if case.run == "BiLevelQ" else {"train_batch_size_per_learner": 16, "training_intensity": None}
    plain = getattr(rllib_biac, f"{case.run}Config")()
    if case.run != "BiLevelQ" and hasattr(plain, "averaging"):  # as before there were these settings
        updates |= {"averaging": 0.0, "lr_fade": None}
    config = (
        plain.environment(case.game, state=case.state)
        .hierarchy(case.hierarchy)
        .training(
            **{"num_steps_sampled_before_learning_starts": 40, "replay_buffer_config": {"capacity": 200}}
            | updates
            | dict(case.training)
        )
        .env_runners(
            **{"num_env_runners": 0, "num_envs_per_env_runner": 4, "epsilon": [[0, 1.0], [200, 0.2]]}
            | dict(case.runners)
        )
        .learners(num_learners=0)
        .evaluation(evaluation_duration=12)
        .reporting(min_sample_timesteps_per_iteration=STEPS)
        .debugging(seed=3, log_level="ERROR")
    )
    if case.run != "BiLevelQ":
        config.rl_module(model_config={"fcnet_hiddens": [16, 8], **case.model})
    return config.build_algo()


def measure(case: Case) -> Measured:
    """Trains a case and returns what it came to."""
    from safetensors.numpy import load_file

    from rllib_biac.execution import StackelbergPolicy

    algo = build(case)
    metrics: dict[str, str] = {}
    for i in range(ITERATIONS):
        metrics |= {f"{i}/{name}": number for name, number in numbers(algo.train()).items()}
    play = {f"evaluate/{name}": number for name, number in numbers(algo.evaluate()).items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        algo.save_weights(file)
        tensors = load_file(file)
        policy = None if case.run == "BiLevelQ" else StackelbergPolicy.load(file)  # tables are none
    algo.stop()
    if policy is not None:
        for name, own in {"policy": policy, "approximators": policy.on_observations}.items():
            if own is not None:
                play |= {f"{name}/{agent}": hashed(action) for agent, action in played(own).items()}
    # What a policy file holds twice goes by a name of its own, which says nothing new.
    weights = {name: hashed(array) for name, array in tensors.items() if not name.startswith("policy/")}
    return {"weights": weights, "metrics": metrics, "play": play}


def played(policy: Any) -> dict[str, Any]:
    """Returns what a policy does with inputs drawn at random."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(scale=2.0, size=(64, *shape)) for name, shape in policy.description.inputs.items()}
    return policy.act(observations=inputs) if policy.description.play == "local" else policy.act(inputs["state"])


def numbers(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a result reports of play and learning, path -> number; times aside."""
    found: dict[str, str] = {}

    def walk(node: Mapping[str, Any], path: str) -> None:
        for key, value in node.items():
            if is_time(str(key)):
                continue
            if isinstance(value, Mapping):
                walk(value, f"{path}/{key}")
            elif isinstance(value, int | float | np.number):
                found[f"{path}/{key}"] = repr(float(value))

    for part in ("env_runners", "learners", "regret"):
        walk(result.get(part, {}), part)
    return found


def is_time(key: str) -> bool:
    """Tells whether a metric, or a group of them, measures seconds."""
    return key == "sample" or any(word in key for word in ("time", "throughput", "per_second", "duration", "connector"))


def hashed(array: Any) -> str:
    """Returns dtype, shape and the hash of all bits."""
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {array.shape} {sha256(array.tobytes()).hexdigest()[:16]}"


def digest(measured: Measured) -> dict[str, str]:
    """Returns one hash per part."""
    return {part: sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16] for part, own in measured.items()}


def setting() -> str:
    """Returns what decides about the last bits beside the code."""
    import ray
    import torch

    libraries = ", ".join(f"{each.__name__} {each.__version__}" for each in (torch, np, ray))
    return f"{libraries}, CPU {torch.backends.cpu.get_cpu_capability()}"


class TreeFinder:
    """Finds the packages of one tree, ahead of whatever is installed."""

    def __init__(self, tree: Path) -> None:
        self.folders = {
            "rllib_biac": tree / "rllib_biac",
            "rllib_biac.envs": tree / "envs",
            "rllib_biac.tuned_examples": tree / "tuned_examples",
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Returns where a package is, None for all other modules."""
        if (folder := self.folders.get(name)) is None or not (folder / "__init__.py").is_file():
            return None
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def import_from(tree: Path) -> None:
    """Lets this process import the library from a tree only, whatever is installed."""
    # The finder of an editable install would add what the tree does not have.
    others = [finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")]
    sys.meta_path[:] = [TreeFinder(tree), *others]


def check_imported_from(tree: Path) -> None:
    """Raises RuntimeError if a module of the library came from elsewhere."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "rllib_biac" and file and not Path(file).resolve().is_relative_to(tree.resolve()):
            raise RuntimeError(f"{name} was imported from {file}, not from {tree}.")


def measure_tree(tree: Path, names: list[str], file: Path) -> None:
    """Measures cases with the library of a tree, in this process, and writes them to a file."""
    import_from(tree)
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    found: dict[str, Measured] = {}
    begin = time.process_time()
    for name in names:
        try:
            found[name] = measure(CASES[name])
        except Exception as error:  # the other cases count, too
            found[name] = {part: {"failed": f"{type(error).__name__}: {error}"} for part in PARTS}
    check_imported_from(tree)
    print(f"    {len(names)} cases in {time.process_time() - begin:.0f} s of CPU time", flush=True)
    file.write_text(json.dumps({"setting": setting(), "cases": found}), encoding="utf-8")
    ray.shutdown()


@contextmanager
def revision_in(revision: str | None) -> Iterator[Path]:
    """Gives the folder that holds a revision's files, the checkout for None."""
    if revision is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def measure_apart(revision: str | None, names: list[str]) -> dict[str, Any]:
    """Measures cases with a revision, None for the working tree, in a new process."""
    with revision_in(revision) as tree, tempfile.TemporaryDirectory() as folder:
        print(f"{revision or 'the working tree'}:", flush=True)
        file = Path(folder) / "measured.json"
        command = [sys.executable, __file__, "--tree", str(tree), "--out", str(file), "--cases", *names]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        subprocess.run(command, env=environment | {"PYTHONPATH": str(tree)}, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def difference(one: dict[str, str], other: dict[str, str]) -> str:
    """Returns "equal", or how many numbers differ and which is the first."""
    if failed := one.get("failed") or other.get("failed"):
        return f"failed: {failed}"
    unlike = [name for name in sorted({**one, **other}) if one.get(name) != other.get(name)]
    if not unlike:
        return "equal"
    first = unlike[0]
    return f"{len(unlike)} of {len({**one, **other})} differ: {first}: {one.get(first)} and {other.get(first)}"


def record(measured: dict[str, Any], file: Path) -> None:
    """Writes the hashes of a revision into a file, beside those of other settings."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    hashes = {name: digest(own) for name, own in measured["cases"].items()}
    known[measured["setting"]] = known.get(measured["setting"], {}) | hashes
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_table(revisions: list[str], rows: list[list[Any]], numbers_compared: int) -> None:
    """Writes the results as a page."""
    from studies import made_with, markdown

    equal = sum(row[1:] == ["equal"] * len(PARTS) for row in rows)
    lines = [
        "# Same bits",
        "",
        f"{revisions[0]} and {revisions[1]}: {equal} of {len(rows)} cases equal, {numbers_compared:,} numbers and "
        f"arrays compared. Each case: {ITERATIONS} iterations of {STEPS} env steps, seed 3.",
        "",
        markdown(["case", *PARTS], rows),
        "",
        *made_with("ray", "torch", "numpy"),
        "",
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


def main() -> int:
    """Compares two revisions, or records one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="*", metavar="REV", help="one or two; the second is the working tree")
    parser.add_argument("--cases", nargs="+", metavar="NAME", choices=CASES, default=list(CASES))
    parser.add_argument("--write", type=Path, metavar="FILE", help="record the hashes of the last revision here")
    parser.add_argument("--table", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tree:
        measure_tree(arguments.tree, arguments.cases, arguments.out)
        return 0
    if len(arguments.revisions) > 2 or not (arguments.revisions or arguments.write):
        parser.error("name one or two revisions, or none and --write FILE.")
    if arguments.table and not arguments.revisions:
        parser.error("--table compares two revisions: name one.")
    revisions: list[str | None] = [*arguments.revisions, None][:2] if arguments.revisions else [None]
    measured = [measure_apart(revision, arguments.cases) for revision in revisions]
    if arguments.write:
        failed = [name for name, own in measured[-1]["cases"].items() if "failed" in own["weights"]]
        if failed:
            print("nothing is recorded, for these cases failed:")
            print(*(f"    {name}: {measured[-1]['cases'][name]['weights']['failed']}" for name in failed), sep="\n")
            return 1
        record(measured[-1], arguments.write)
    if len(measured) == 1:
        return 0
    one, other = (each["cases"] for each in measured)
    rows = [[name, *(difference(one[name][part], other[name][part]) for part in PARTS)] for name in arguments.cases]
    for name, *found in rows:
        alike = set(found) == {"equal"}
        print(f"{name}: {'equal' if alike else ''}")
        if not alike:
            print(*(f"    {part}: {each}" for part, each in zip(PARTS, found, strict=True)), sep="\n")
    if arguments.table:
        compared = sum(len(part) for case in one.values() for part in case.values())
        write_table([revision or "the working tree" for revision in revisions], rows, compared)
    return int(any(each != "equal" for row in rows for each in row[1:]))


if __name__ == "__main__":
    sys.exit(main())
