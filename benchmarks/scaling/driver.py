"""What the driver pays for its runners: CPU time phase by phase, and bytes."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from settings import LAGS, Setting, Window, build, runners_of, switch, train_for

from rllib_biac.learning.transitions import JointTransitions
from rllib_biac.rllib.algorithm import JointAlgorithm
from rllib_biac.rllib.runner import JointEnvRunner

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
