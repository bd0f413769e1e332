"""Game steps per CPU-second of Highway Merge: the plain game on highway-env beside N games as arrays.

This program shows
    how many joint decisions a second one core plays, random actions, starts and observations included.
How to run
    python benchmarks/merge_twin.py --out benchmarks/results/merge_twin.md
Results to expect
    At 256 games the arrays are at least 40 times as fast as the plain game; at 1 game, about equally fast.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported

import highway_env
import numpy as np
from studies import made_with

from rllib_biac.envs import make, make_batched

SIZES = (1, 64, 256, 1024, 4096)


def plain(rng: np.random.Generator) -> Callable[[], int]:
    """Returns a function that plays one step of the plain game and tells how many steps it played."""
    game = make("merge_v0")
    game.reset(seed=int(rng.integers(2**31)))

    def play() -> int:
        game.step({agent: int(rng.integers(5)) for agent in game.possible_agents})
        if not game.agents:
            game.reset()
        return 1

    return play


def batched(num_games: int, rng: np.random.Generator) -> Callable[[], int]:
    """Returns a function that plays one step of N games and tells how many steps it played."""
    game = make_batched("merge_v0", num_games, rng)

    def play() -> int:
        step = game.step({agent: rng.integers(5, size=num_games) for agent in game.possible_agents})
        game.observe()
        if step.terminated.any():
            game.reset(step.terminated)
            game.observe()
        return num_games

    return play


def rates(players: list[Callable[[], int]], seconds: float, rounds: int) -> np.ndarray:
    """Returns steps per CPU-second, (rounds, players). Rounds alternate, so that a noisy minute hits all of them."""
    measured = np.empty((rounds, len(players)))
    for row in measured:
        for i, play in enumerate(players):
            played, begin = 0, time.process_time()
            while (spent := time.process_time() - begin) < seconds:
                played += play()
            row[i] = played / spent
    return measured


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, median reported (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the table")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    measured = rates([plain(rng), *(batched(n, rng) for n in SIZES)], args.seconds, args.rounds)
    median, low, high = np.median(measured, axis=0), measured.min(axis=0), measured.max(axis=0)
    lines = [
        "# Highway Merge: game steps per CPU-second, one core",
        "",
        "| | games at once | steps/s, median | range | times the plain game |",
        "|---|---:|---:|---:|---:|",
    ]
    for i, n in enumerate((1, *SIZES)):
        name = "arrays" if i else f"plain (highway-env {highway_env.__version__})"
        spread = f"{low[i]:,.0f} to {high[i]:,.0f}"
        lines.append(f"| {name} | {n} | {median[i]:,.0f} | {spread} | {median[i] / median[0]:.1f} |")
    lines += [
        "",
        f"A step is one joint decision of one game; random actions, resets and observations included. {args.rounds} "
        f"rounds of {args.seconds:g} s of CPU time (`time.process_time`) each, seed {args.seed}.",
        *made_with("numpy", "highway-env"),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if args.out:
        args.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
