"""How training grows with the number of remote runners, and what would stop it first: Bi-AC on Highway Merge.

This program shows
    wall time per env step of two remote runners against one; time per iteration, bytes per env step and CPU time of
    the trial's own process (the driver), phase by phase, with 1 to 16 runners; the same driver before 1,000 runners
    that are played by stand-ins; and from these, on paper, how many runners a driver, a learner, a network can serve.
How to run
    python benchmarks/scaling.py --out benchmarks/results/scaling.md
    python benchmarks/scaling.py --parts speedup
Results to expect
    Where playing is most of the work, two runners on two quiet cores take at most 1 / 1.5 of the time of one. Where
    learning is, more runners change nothing. A fragment costs the driver about the same however long it is: longer
    fragments move the driver's limit, and only fewer updates per step that of the learner.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported
os.environ.update(RAY_worker_niceness="0")  # else runners give way to the driver, and to everything else
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import ray
import torch
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.thirdparty_files import psutil
from studies import made_with

from rllib_biac import BiACConfig
from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.async_sampling import AsyncSampler
from rllib_biac.rllib.runner import JointEnvRunner

BATCH = 64
LAGS = {"sync": None, "async": 1_000_000}
PYTHON_GAME = "rllib_biac.envs.merge_v0:parallel_env"


@dataclass(frozen=True)
class Setting:
    """How many remote runners, games of each, steps of a fragment in each game, rows trained per row, which lag."""

    runners: int
    games: int
    fragment: int
    intensity: float
    lag: int | None = None

    @property
    def rows(self) -> int:
        """Env steps of one fragment, all games of a runner together."""
        return self.games * self.fragment


def build(setting: Setting, env: str = "merge_v0", learners: int = 0) -> JointAlgorithm:
    """Builds an algorithm of this setting."""
    config = BiACConfig().environment(env).hierarchy([["main_0"], ["auxiliary_0"]]).learners(num_learners=learners)
    config.training(train_batch_size_per_learner=BATCH).debugging(seed=0, log_level="ERROR")
    return changed(config, setting).build_algo()


def changed(config: BiACConfig, setting: Setting) -> BiACConfig:
    """Returns a copy of a config with this setting. An iteration is two fragments of each runner, or more."""
    config = config.copy(copy_frozen=False)
    config.env_runners(
        num_env_runners=setting.runners,
        num_envs_per_env_runner=setting.games,
        rollout_fragment_length=setting.fragment,
        max_sampling_lag=setting.lag,
        sample_timeout_s=None,  # else, on a busy machine, runners would be taken for hanging
    )
    config.training(training_intensity=setting.intensity)
    steps = max(2 * setting.runners * setting.rows, 4096)
    return config.reporting(min_sample_timesteps_per_iteration=steps, min_time_s_per_iteration=None)


def become(runner: JointEnvRunner, config: BiACConfig) -> None:
    """Lets a living runner play as another config says; runs on the runner."""
    runner.config, runner.num_envs = config, config.num_envs_per_env_runner
    runner.make_env()


def switch(algo: JointAlgorithm, setting: Setting, runners: list[Any]) -> None:
    """Lets a living algorithm go on with another setting and with these runners: starting processes takes long."""
    algo.config = changed(algo.config, setting)
    group = algo.env_runner_group
    group._worker_manager = FaultTolerantActorManager(runners, init_id=1)
    group.foreach_env_runner(functools.partial(become, config=algo.config), local_env_runner=False)
    algo._async_sampler = None if setting.lag is None else AsyncSampler(group, setting.lag)
    algo._sync_weights()
    algo.train()


def runners_of(algo: JointAlgorithm) -> list[Any]:
    """Returns the handles of all remote runners."""
    return list(algo.env_runner_group._worker_manager.actors().values())


def train_for(algo: JointAlgorithm, seconds: float, iterations: int = 1) -> tuple[int, int]:
    """Trains for some seconds, and some iterations; returns how many env steps and iterations that made."""
    before, first = algo.local_replay_buffer.num_added, algo.iteration
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or algo.iteration < first + iterations:
        algo.train()
    return algo.local_replay_buffer.num_added - before, algo.iteration - first


class Window:
    """Seconds since it was opened: by the clock, and of CPU: the driver's, the runners', Ray's own processes'."""

    def __init__(self, algo: JointAlgorithm) -> None:
        pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        children = psutil.Process().children(recursive=True)
        self._groups = {
            "runners": [psutil.Process(pid) for pid in set(pids)],
            "ray": [child for child in children if child.name() in ("raylet", "gcs_server")],
            "children": children,
        }
        self._begin = self._now()

    def _now(self) -> dict[str, float]:
        times = psutil.cpu_times()
        groups = {name: sum(sum(each.cpu_times()[:2]) for each in group) for name, group in self._groups.items()}
        machine = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return {"wall": time.perf_counter(), "machine": machine, "driver": time.process_time(), **groups}

    def spent(self) -> dict[str, float]:
        """Returns seconds; `others` is the number of cores that whoever else uses the machine kept busy."""
        spent = {name: now - self._begin[name] for name, now in self._now().items()}
        others = spent["machine"] - spent["driver"] - spent["children"]
        return spent | {"others": max(others, 0.0) / spent["wall"]}


@contextmanager
def first_in_line(wanted: bool) -> Iterator[None]:
    """Lets this program's processes go before all others on the machine, if wanted, for a few seconds."""
    me = psutil.Process()
    threads = [thread.id for process in (me, *me.children(recursive=True)) for thread in process.threads()]

    def schedule(policy: int, priority: int) -> None:
        for thread in threads if wanted else ():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, os.sched_param(priority))

    schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


# Two runners against one.

# name -> the game, games of a runner, steps of a fragment, rows trained per row
SPEEDUPS: dict[str, tuple[str, int, int, float]] = {
    "Merge, little learning": ("merge_v0", 256, 16, 0.0625),
    "Merge, as much learning as in the tuned example": ("merge_v0", 32, 4, 16.0),
    "Merge as a PettingZoo game in Python": (PYTHON_GAME, 16, 16, 4.0),
}


def compare(args: argparse.Namespace) -> list[str]:
    """Measures one and two runners in turn, round by round; returns the lines of the table."""
    lines = [
        "| what | | games x steps of a fragment | an update of 64 rows every | wall time per env step, µs: one runner "
        "| two | times as fast, median | range | cores that others used beside one, two | rounds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (env, games, fragment, intensity) in SPEEDUPS.items():
        algo = build(Setting(2, games, fragment, intensity), env)
        both = runners_of(algo)
        for how, lag in LAGS.items():
            setting = Setting(2, games, fragment, intensity, lag)
            rounds: list[list[float]] = []  # of one and of two: wall time per env step; cores that others used
            begin = time.monotonic()
            quiet = 0
            while len(rounds) < args.rounds or (quiet < args.rounds and time.monotonic() - begin < args.patience):
                walls, others = [], []
                for runners in (1, 2):
                    switch(algo, replace(setting, runners=runners), both[:runners])
                    with first_in_line(args.real_time):
                        algo.train()
                        window = Window(algo)
                        steps, _ = train_for(algo, args.seconds)
                        spent = window.spent()
                    walls.append(spent["wall"] / steps)
                    others.append(spent["others"])
                rounds.append([*walls, *others])
                quiet += max(others) <= args.quiet
            # The quietest rounds, whatever they say: chosen by what others did, not by what was measured.
            chosen = np.array(sorted(rounds, key=lambda each: max(each[2:]))[: args.rounds])
            one, two = 1e6 * np.median(chosen[:, :2], axis=0)
            ratios = chosen[:, 0] / chosen[:, 1]
            lines.append(
                f"| {name} | {how} | {games} x {fragment} | {BATCH / intensity:,.0f} steps | {one:.1f} | {two:.1f} "
                f"| {np.median(ratios):.2f} | {ratios.min():.2f} to {ratios.max():.2f} "
                f"| {np.median(chosen[:, 2]):.2f}, {np.median(chosen[:, 3]):.2f} | {len(rounds)} |"
            )
            print(lines[-1], flush=True)
        algo.env_runner_group._worker_manager = FaultTolerantActorManager(both, init_id=1)
        algo.stop()
    return lines


# What the driver pays.

PHASES = ("ask and fetch", "into replay", "out of replay", "learn", "weights", "metrics", "rest")


class Phases:
    """CPU time of this process by what it is spent on, Ray's threads in it included."""

    def __init__(self, algo: JointAlgorithm) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = [0.0]  # spent in watched calls within the one that is running
        self._watched: list[tuple[Any, str]] = []
        self._watch(algo, "train", "rest")
        self._watch(algo, "_sample", "ask and fetch")
        self._watch(algo.local_replay_buffer, "add", "into replay")
        self._watch(algo.local_replay_buffer, "sample", "out of replay")
        self._watch(algo.learner_group, "update", "learn")
        self._watch(algo, "_sync_weights", "weights")
        self._watch(algo, "_collect_metrics", "metrics")

    def _watch(self, owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            begin = time.process_time()
            try:
                return plain(*args, **kwargs)
            finally:
                spent = time.process_time() - begin
                self.seconds[name] += spent - self._inner.pop()
                self._inner[-1] += spent

        setattr(owner, method, watched)
        self._watched.append((owner, method))

    def stop(self) -> None:
        """Leaves everything as it was."""
        for owner, method in self._watched:
            delattr(owner, method)


class Bytes:
    """Sizes of what goes between driver and runners, as Ray serialises it; headers of its messages are not counted."""

    def __init__(self, algo: JointAlgorithm) -> None:
        self.sent: Counter[str] = Counter()
        self.puts = 0
        self._group, self._put = algo.env_runner_group, ray.put
        self._methods = ("foreach_env_runner", "foreach_env_runner_async_fetch_ready")
        for method in self._methods:
            setattr(self._group, method, self._weighing(getattr(self._group, method)))
        ray.put = self._weighed_put

    def _weighing(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def weighing(*args: Any, **kwargs: Any) -> Any:
            results = plain(*args, **kwargs)
            self.sent["from runners"] += sum(map(serialised, results))
            self.sent["requests"] += len(results) * serialised(kwargs.get("func", args[0] if args else None))
            return results

        return weighing

    def _weighed_put(self, value: Any, **kwargs: Any) -> Any:
        self.sent["weights"] += serialised(value)
        self.puts += 1
        return self._put(value, **kwargs)

    def stop(self) -> None:
        """Leaves everything as it was."""
        ray.put = self._put
        for method in self._methods:
            delattr(self._group, method)


def serialised(value: Any) -> int:
    """Returns how many bytes Ray sends for it."""
    return ray._private.worker.global_worker.get_serialization_context().serialize(value).total_bytes


@dataclass
class Cost:
    """What a setting costs: CPU microseconds and bytes per env step; seconds by the clock per iteration."""

    setting: Setting
    phases: dict[str, float]
    driver: float
    runners: float
    ray: float
    sent: dict[str, float]
    weights: float  # bytes of all networks
    iteration: float
    others: float


def cost(algo: JointAlgorithm, setting: Setting, runners: list[Any], seconds: float) -> Cost:
    """Measures a setting: by the clock, and afterwards, for a little, what is sent."""
    switch(algo, setting, runners)
    window, phases = Window(algo), Phases(algo)
    steps, iterations = train_for(algo, seconds, iterations=3)
    spent = window.spent()
    phases.stop()
    weighed = Bytes(algo)
    sent_steps, _ = train_for(algo, 0.0, iterations=2)
    weighed.stop()
    per_step = {name: 1e6 * value / steps for name, value in (spent | phases.seconds).items()}
    return Cost(
        setting,
        {name: per_step.get(name, 0.0) for name in PHASES},
        per_step["driver"],
        per_step["runners"],
        per_step["ray"],
        {name: size / sent_steps for name, size in weighed.sent.items()},
        weighed.sent["weights"] / max(weighed.puts, 1),
        spent["wall"] / iterations,
        spent["others"],
    )


class StandIn(JointEnvRunner):
    """A runner that plays once and answers with the same fragment and metrics from then on, at next to no cost.

    It is many runners to the driver, and answers each call as the next of them.
    """

    names: Iterator[int] = itertools.repeat(1)

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the function with itself under its next name."""
        self.worker_index = next(self.names)
        return super().apply(func, *args, **kwargs)

    def make_env(self) -> None:
        """Makes the games, of which the next call plays a fragment."""
        super().make_env()
        self._answer: tuple[list[JointTransitions], dict[str, Any]] | None = None

    def sample(self, **kwargs: Any) -> list[JointTransitions]:
        """Returns the fragment of the first call."""
        if self._answer is None:
            self._answer = super().sample(**kwargs), super().get_metrics()
        return self._answer[0]

    def get_metrics(self) -> dict[str, Any]:
        """Returns the metrics of the first call."""
        return self._answer[1] if self._answer else super().get_metrics()

    def set_state(self, state: dict[str, Any]) -> None:
        """Has no use for weights."""


def answer_as(runner: StandIn, names: list[int]) -> None:
    """Tells a stand-in which runners it is from the next call on."""
    runner.names = itertools.cycle(names)


# Runners, games of each, steps of a fragment.
REAL = (*((runners, 32, 8) for runners in (1, 2, 4, 8, 16)), (16, 32, 1), (16, 32, 32), (16, 256, 16))
STAND_INS = ((16, 32, 8), (100, 32, 8), (1000, 32, 8), (1000, 32, 32))
INTENSITY = {False: 1.0, True: 1 / 64}  # of stand-ins: what updates cost is known from real runners

Costs = dict[tuple[bool, str], list[Cost]]  # (whether runners are stand-ins, sync or async) -> what each setting costs


def costs(args: argparse.Namespace, standing_in: bool) -> Costs:
    """Measures all settings with real runners, or with stand-ins."""
    sizes = STAND_INS if standing_in else REAL
    processes = 2 if standing_in else max(runners for runners, _, _ in sizes)
    algo = build(Setting(1 if standing_in else processes, 32, 8, INTENSITY[standing_in]))
    real = found = runners_of(algo)
    if standing_in:
        remote, config = ray.remote(num_cpus=0)(StandIn), algo.env_runner_group._remote_config
        found = [remote.remote(config=config, worker_index=1 + i, num_workers=processes) for i in range(processes)]
    measured: Costs = {}
    for how, lag in LAGS.items():
        for runners, games, fragment in sizes:
            setting = Setting(runners, games, fragment, INTENSITY[standing_in], lag)
            if standing_in:
                names = [list(range(1 + i, 1 + runners, processes)) for i in range(processes)]
                ray.get([each.apply.remote(answer_as, own) for each, own in zip(found, names, strict=True)])
            one = cost(algo, setting, [found[i % processes] for i in range(runners)], args.seconds)
            measured.setdefault((standing_in, how), []).append(one)
            print(one, file=sys.stderr, flush=True)
    algo.env_runner_group._worker_manager = FaultTolerantActorManager(real, init_id=1)
    algo.stop()
    return measured


def cost_rows(measured: Costs) -> list[str]:
    """Returns the lines of the table of costs."""
    head = [
        "runners",
        "",
        "games x steps of a fragment",
        "s per iteration",
        *(f"driver: {name}" for name in PHASES),
        "driver, all",
        "runners",
        "raylet and GCS",
        "bytes from runners",
        "requests, bytes",
        "weights, bytes, to each node",
    ]
    lines = [f"| {' | '.join(head)} |", f"|---:|---|---|{'---:|' * (len(head) - 3)}"]
    for (standing_in, how), found in measured.items():
        for each in found:
            setting, sent = each.setting, each.sent
            playing = "-" if standing_in else f"{each.runners:.1f}"
            cells = [
                f"{setting.runners:,}{', stand-ins' if standing_in else ''}",
                how,
                f"{setting.games} x {setting.fragment}",
                f"{each.iteration:.2f}",
                *(f"{each.phases[name]:.2f}" for name in PHASES),
                f"{each.driver:.1f}",
                playing,
                f"{each.ray:.1f}",
                *(f"{sent[name]:.1f}" for name in ("from runners", "requests", "weights")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


# On paper.


@dataclass
class Model:
    """What the driver pays for a fragment, for an env step and for an update, in microseconds of CPU time."""

    fragment: float
    step: float
    update: float

    @classmethod
    def fitted(cls, found: list[Cost]) -> Model:
        """Fits the three to measurements with fragments of different lengths."""
        rows = np.array([each.setting.rows for each in found], float)
        names = ("ask and fetch", "into replay", "weights", "metrics", "rest")
        paid = np.array([sum(each.phases[name] for name in names) for each in found]) * rows
        # By relative error: a long fragment's cost is no better known than a short one's.
        (fragment, step), *_ = np.linalg.lstsq(np.column_stack([1 / paid, rows / paid]), np.ones(len(rows)), rcond=None)
        learning = [(each.phases["learn"] + each.phases["out of replay"]) / each.setting.intensity for each in found]
        return cls(max(float(fragment), 0.0), max(float(step), 0.0), BATCH * float(np.median(learning)))


NETWORK = 1.25e9  # bytes/s: 10 Gbit/s
# A game's own cost per env step in microseconds (None: Merge, as measured), games of a runner, steps of a fragment,
# rows trained per row.
PAPER = (
    (None, 256, 16, 16.0),
    (None, 256, 16, 1.0),
    (None, 256, 16, 0.0625),
    (1_000.0, 32, 1, 16.0),
    (1_000.0, 32, 16, 16.0),
    (1_000.0, 32, 16, 1.0),
    (20_000.0, 8, 1, 16.0),
    (20_000.0, 8, 32, 16.0),
    (20_000.0, 8, 32, 1.0),
    (20_000.0, 8, 32, 0.25),
)


def on_paper(measured: Costs) -> list[str]:
    """Returns what the driver pays, fitted, and how many runners it could then serve."""
    lines = ["| driver | | per fragment, µs | per env step, µs | per update, µs |", "|---|---|---:|---:|---:|"]
    models: dict[tuple[bool, str], Model] = {}
    for (standing_in, how), found in measured.items():
        most = max(each.setting.runners for each in found)
        model = models[standing_in, how] = Model.fitted([each for each in found if each.setting.runners == most])
        who = f"{most:,} {'stand-ins' if standing_in else 'runners'}"
        update = "-" if standing_in else f"{model.update:,.0f}"
        lines.append(f"| {who} | {how} | {model.fragment:,.0f} | {model.step:.2f} | {update} |")
    model = replace(models[True, "async"], update=models[False, "async"].update)
    by_games = {each.setting.games: each for each in measured[False, "async"] if each.setting.fragment in (8, 16)}
    lines += [
        "",
        "| game's own cost per env step | games x steps of a fragment | an update every | runners until the driver's "
        "own work is the limit | until learning is | until both, in turn, are | until a network of 10 Gbit/s is "
        "| first wall |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for game, games, fragment, intensity in PAPER:
        rows = games * fragment
        near = by_games[256 if games == 256 else 32]
        playing = near.runners + (game or 0.0)  # of a runner, µs per env step
        driver, learning = model.fragment / rows + model.step, model.update * intensity / BATCH
        # At most every fragment is asked for with weights of its own.
        wire = near.sent["from runners"] + near.weights / rows
        limits = {
            "driver": playing / driver,
            "learning": playing / learning,
            "network": playing / 1e6 * NETWORK / wire,
        }
        cells = [
            f"Merge: {near.runners:.0f} µs with networks" if game is None else f"{game / 1000:g} ms",
            f"{games} x {fragment}",
            f"{BATCH / intensity:,.0f} steps",
            *(
                f"{count:,.0f}" if count >= 10 else f"{count:.2g}"
                for count in (limits["driver"], limits["learning"], playing / (driver + learning), limits["network"])
            ),
            min(limits, key=lambda name: limits[name]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


PARTS = ("speedup", "runners", "stand-ins")


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of one runner against two (default: %(default)s)")
    parser.add_argument(
        "--quiet", type=float, default=0.1, help="cores that others may use in a round (default: %(default)s)"
    )
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds to wait for quiet rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--real-time", action="store_true", help="let no other process come between while speedups are measured (root)"
    )
    parser.add_argument("--out", type=Path, help="where to write the tables")
    args = parser.parse_args()

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=64, include_dashboard=False, log_to_driver=False)
    lines = ["# Remote runners: how training grows with their number", ""]
    if "speedup" in args.parts:
        lines += ["## Two against one", "", *compare(args), "", *ABOUT_SPEEDUP, ""]
    measured: Costs = {}
    for part, standing_in in (("runners", False), ("stand-ins", True)):
        if part in args.parts:
            measured |= costs(args, standing_in)
    if measured:
        lines += ["## What the driver pays", "", *cost_rows(measured), "", *ABOUT_COSTS, ""]
    if {"runners", "stand-ins"} <= set(args.parts):
        lines += ["## On paper: up to 1,000 runners", "", *on_paper(measured), "", *ABOUT_PAPER, ""]
    ray.shutdown()
    lines += [
        *made_with("ray", "torch", "numpy"),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if args.out:
        args.out.write_text(table, encoding="utf-8")


ABOUT_SPEEDUP = (
    "Bi-AC, hidden layers 64-64, wall time of whole iterations: playing, replay, learning, weights. With `sync` every "
    "runner plays with the newest weights and the slowest is waited for; with `async` (`max_sampling_lag`) playing "
    "goes on while learning does. One and two runners take turns within each round, some seconds each. Of all rounds "
    "those count in which others used the machine least, whatever they say of the ratio. With `--real-time` nobody "
    "else comes between while it is measured, and others have what is left over.",
)
ABOUT_COSTS = (
    "CPU time in µs per env step, an update of 64 rows every 64 steps (stand-ins: every 4,096); more runners than "
    "cores. An iteration is two fragments of each runner, at least 4,096 steps. The driver is the "
    "trial's process, Ray's threads in it included. *Ask and fetch* is sending requests, waiting, unpacking what was "
    "played; *out of replay* and *learn* are minibatches and updates; *weights*: out of the learner, into the object "
    "store, to runners; *rest*: RLlib's around it. Bytes per env step, as Ray serialises them, without the headers of "
    "its messages. With more runners one publication of weights serves more env steps.",
    "",
    "Stand-ins are two processes that answer under many names, at once and always the same: so the driver is measured "
    "before more runners than there is room for here. What it pays for asking, fetching and unpacking is real.",
)
ABOUT_PAPER = (
    "A runner takes p µs per env step, on one CPU. The driver pays f per fragment, e per env step and u per update "
    "(first table; the second takes those of 1,000 stand-ins, async), that is f / n + e + u / k per env step, with n = "
    "games x steps of a fragment and an update every k steps. It can serve p / (f / n + e + u / k) runners; where "
    "there are more, they wait. A network of B bytes/s carries p B / (b + w / n) of them, where b are bytes per env "
    "step and w those of all networks, if no two fragments share their weights.",
)


if __name__ == "__main__":
    main()
