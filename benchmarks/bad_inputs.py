"""This program shows: what becomes of bad experiment files, flags, hierarchies, odd games and replay, by the thousand.

How to run:
    python benchmarks/bad_inputs.py                # 1,000 of each kind, 200 games; about ten minutes on one core
    python benchmarks/bad_inputs.py --files 50 --flags 50 --games 10 --properties 50 --out /tmp

Each file is taken as far as `rllib train file` takes it before it starts Ray: read, checked, resolved into validated
configs. Command lines are run, `rllib train` with `--dry-run`, the others on what is not there. Each ends in one of
four ways:

- refused: a message that says what is wrong, and names the file where it is in one;
- accepted: every value written in the file, or setting on the command line, is found again in what would be trained;
- stack trace: anything raised but a message, or a message that only quotes an exception of Python's;
- silent acceptance: a value is in nothing that would be trained, or it stands twice.

Of the accepted files some are trained for one iteration. Each game of random spaces is refused by its config, or
trained. Hierarchies of anything are refused in words or kept as written, and sequences of operations on replay leave
what a plain list would hold, or are refused: these are properties of the tests, on many more inputs. The last two ways,
whatever fails in training, and an input for which a property does not hold, are faults, printed with the input; the
program then ends with code 1.

Results to expect: no faults.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import logging
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from studies import RESULTS, markdown, versions

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.properties import bad_flags, bad_inputs, games, test_properties

OUTCOMES = (bad_inputs.REFUSED, bad_inputs.ACCEPTED, bad_inputs.TRACE, bad_inputs.SILENT)
# Trained files keep their settings but for what would take long.
SHORT = {
    "min_sample_timesteps_per_iteration": 200,
    "evaluation_duration": 2,
    "evaluation_num_env_runners": 0,
    "num_env_runners": 0,
    "num_learners": 0,
}
SECONDS = 120  # until a training counts as hanging


def every(strategy: Any, count: int, number: int, do: Callable[[Any], None]) -> None:
    """Does something with `count` inputs of a strategy, the same ones for the same `number`."""

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(value: Any) -> None:
        do(value)

    one()


def train_a_little(data: bytes, folder: Path) -> str:
    """Trains the first trial of an accepted file for an iteration. Returns what went wrong, "" if nothing did."""
    path = folder / "accepted.yaml"
    path.write_bytes(data)
    draft = bad_inputs.reading.read(path)[0]
    config = bad_inputs.resolve(draft).trials[0].config.copy(copy_frozen=False)
    if config.max_sampling_lag is not None:
        return ""  # which needs runners of their own, and more CPUs than there are here
    for key, value in SHORT.items():
        setattr(config, key, min(value, getattr(config, key)) if isinstance(getattr(config, key), int) else value)
    signal.alarm(SECONDS)
    try:
        wanted, there = config.algo_class.default_resource_request(config.to_dict()), ray.cluster_resources()
        if any(amount > there.get(kind, 0) for kind, amount in wanted.required_resources.items()):
            return ""  # a valid wish that this machine does not grant: the command refuses it, for Ray would wait
        algorithm = config.build_algo()
        try:
            algorithm.train()
        finally:
            algorithm.stop()
    except Exception as error:
        if isinstance(error, ValueError) and "not fit into memory" in str(error):
            return ""  # nor may it have that much memory
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return ""


def _hangs(*_: Any) -> None:
    raise TimeoutError(f"not trained within {SECONDS} s")


def judge_files(strategy: Any, count: int, trained: int, number: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Returns what became of `count` files, of which `trained` accepted ones are trained, and the faults in words."""
    counts: Counter[str] = Counter({"trained": 0, "failed": 0})
    accepted: dict[bytes, None] = {}
    faults = []

    def judged(data: bytes) -> None:
        verdict = bad_inputs.judge(data, folder)
        counts[verdict.outcome] += 1
        if verdict.outcome == bad_inputs.ACCEPTED:
            accepted[data] = None
        elif verdict.outcome != bad_inputs.REFUSED:
            faults.append(f"{verdict.outcome}: {verdict.why}\n{data.decode(errors='replace')}")

    every(strategy, count, number, judged)
    for data in list(accepted)[:: max(1, len(accepted) // max(trained, 1))][:trained]:
        counts["trained"] += 1
        if text := train_a_little(data, folder):
            counts["failed"] += 1
            faults.append(f"training: {text}\n{data.decode(errors='replace')}")
    return counts, faults


def judge_flags(strategy: Any, count: int, number: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Returns what became of `count` command lines, and the faults in words."""
    counts: Counter[str] = Counter()
    faults = []

    def judged(argv: list[str]) -> None:
        verdict = bad_flags.judge(argv, folder)
        counts[verdict.outcome] += 1
        if verdict.outcome not in (bad_inputs.ACCEPTED, bad_inputs.REFUSED):
            faults.append(f"{verdict.outcome}: {argv}\n{verdict.why}")

    every(strategy, count, number, judged)
    return counts, faults


def play_games(count: int, number: int) -> tuple[Counter[str], list[str]]:
    """Returns what became of `count` games of random spaces, and the faults in words."""
    counts: Counter[str] = Counter()
    faults = []

    def played(case: games.Case) -> None:
        try:
            counts["refused" if games.train(case) else "trained"] += 1
        except Exception:
            counts["failed"] += 1
            faults.append(f"game: {case}\n{traceback.format_exc()}")

    every(games.CASES, count, number, played)
    return counts, faults


def hold_properties(count: int, number: int) -> tuple[list[list[Any]], list[str]]:
    """Returns a row per property with the number of inputs it was tried on, and the faults in words."""
    options = settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    rows, faults = [], []
    for name, run in (
        (
            "hierarchies: levels of anything",
            test_properties.test_a_hierarchy_is_levels_of_different_names_or_is_refused,
        ),
        ("hierarchies: beside any game", test_properties.test_a_hierarchy_fits_the_game_of_the_same_agents_only),
        ("replay: sequences of up to 15 operations", test_properties.Replay),
    ):
        failed = 0
        try:
            if isinstance(run, type):
                run_state_machine_as_test(seed(number)(run), settings=settings(options, stateful_step_count=15))
            else:
                seed(number)(options(run))()
        except Exception:
            failed = 1
            faults.append(f"{name}\n{traceback.format_exc()}")
        rows.append([name, count, failed])
        print(*rows[-1], sep=" | ", flush=True)
    return rows, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="files of each kind")
    parser.add_argument("--flags", type=int, default=1000, help="command lines of each kind")
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--properties", type=int, default=1000, help="hierarchies, and sequences of replay operations")
    parser.add_argument("--trained", type=int, default=10, help="accepted files of each kind to train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _hangs)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    # Training would start one of its own, or find somebody else's.
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False)
    faults: list[str] = []
    rows = []
    columns = (*OUTCOMES, "trained", "failed")
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, strategy) in enumerate(bad_inputs.KINDS.items(), options.seed):
            counts, found = judge_files(strategy, options.files, options.trained, number, Path(folder))
            faults += found
            rows.append([kind, sum(counts[one] for one in OUTCOMES), *(counts[one] for one in columns)])
            print(*rows[-1], sep=" | ", flush=True)
        for number, (kind, lines) in enumerate(bad_flags.KINDS.items(), options.seed):
            counts, found = judge_flags(lines, options.flags, number, Path(folder))
            faults += found
            rows.append([kind, sum(counts.values()), *(counts[one] for one in OUTCOMES), 0, 0])
            print(*rows[-1], sep=" | ", flush=True)
    sums = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    played, found = play_games(options.games, options.seed)
    faults += found
    header = ["input", "inputs", *OUTCOMES, "accepted ones trained for an iteration", "of them failed"]
    held, found = hold_properties(options.properties, options.seed)
    faults += found
    text = (
        "# Bad inputs\n\nWhat `rllib train file` makes of experiment files that are wrong in many ways, before it "
        "starts Ray, and `rllib` of command lines. What the columns mean is said in `benchmarks/bad_inputs.py`, which "
        f"made this ({versions()}).\n\n{markdown(header, [*rows, ['all', *sums]])}\n\n"
        "Games of two agents with random observation, action and state spaces (Box of many dtypes and shapes, "
        "Discrete, MultiDiscrete, MultiBinary, Text, Dict, Tuple, Sequence), for Bi-AC, I-DQN and MADDPG: "
        f"{sum(played.values())}, of which {played['refused']} were refused with a message, {played['trained']} "
        f"trained for an iteration, and {played['failed']} failed otherwise.\n\n"
        f"{markdown(['property', 'inputs', 'faults found'], held)}\n\n    python {' '.join(sys.argv)}\n"
    )
    (options.out / "bad_inputs.md").write_text(text, encoding="utf-8")
    print(text)
    if faults:
        print(*faults, sep="\n----\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
