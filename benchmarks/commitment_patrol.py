"""This program shows: what learned commitments secure in a patrol game, from 3 states to 1,024, beside a bracket.

How to run:
    python benchmarks/commitment_patrol.py               # all sizes, one seed each
    python benchmarks/commitment_patrol.py --sizes 3x1   # some; what was measured before stays

`patrol_v0` is solved by `single_controller_commitment`, and the feedback SE by policy iteration. Commitments are tables
of all states. Raw results, the table and the picture of the gap against the size of z go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from studies import RESULTS, made_with, markdown

from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.envs import patrol_v0
from rllib_biac.equilibria import MarkovGame, secured, single_controller_commitment
from rllib_biac.equilibria.single_controller import feedback_value
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.run import Run

RAW = RESULTS / "commitment_patrol.jsonl"
LEVELS = Hierarchy((("player_0",), ("player_1",)))
GAMMA = 0.9
# bays and hours -> env steps; a row of a minibatch holds a whole z, which takes time where z is large
SIZES = {"3x1": 20_000, "4x2": 20_000, "8x4": 40_000, "16x8": 80_000, "32x16": 160_000, "64x16": 300_000}
BATCH = 1_000


def train(size: str, seed: int) -> dict[str, Any]:
    """Solves a game, learns a commitment in it, and returns the row."""
    bays, hours = map(int, size.split("x"))
    game = MarkovGame(*patrol_v0.tables(bays, hours), GAMMA)
    start = np.full(game.num_states, 1.0 / game.num_states)
    exact = single_controller_commitment(game, start=start)
    steps = SIZES[size]
    settings = CommitmentDQN.settings(
        gamma=GAMMA,
        mixed=True,
        epsilon=0.5,  # so that all is tried
        max_states=game.num_states,
        train_batch_size_per_learner=BATCH,
        training_intensity=1.0,
        search_every=(steps - 2 * BATCH) // BATCH,  # one search, at the end
    )
    settings.check(LEVELS)
    begin = time.process_time()
    run = Run(CommitmentDQN, "patrol_v0", LEVELS, settings, seed=seed, num_games=BATCH, env_config=config_of(size))
    run.train(steps)
    states = run.sampler.games._game.tables()[2]
    z = run.team.commitment(torch.from_numpy(states)).double()
    found = secured(game, (z / z.sum(1, keepdim=True)).numpy(), announced=False, start=start)
    tried = run.team.leader.counts[: int(run.team.leader.count)] > 0
    return {
        "size": size,
        "seed": seed,
        "states": game.num_states,
        "numbers": game.num_states * (game.num_actions[0] - 1),
        "env_steps": run.env_steps,
        "cpu": round(time.process_time() - begin, 1),
        "feedback": feedback_value(game, start=start),
        "exact": [exact.lower, exact.upper],
        "secured": found.leader_payoff,
        "searches": int(run.team.leader.searches),
        "tried": float(tried.sum()) / (game.num_states * 12),
    }


def config_of(size: str) -> dict[str, Any]:
    """Returns what makes a game of that size."""
    bays, hours = map(int, size.split("x"))
    return {"bays": bays, "hours": hours}


def gap(row: dict[str, Any], below: float) -> float:
    """Returns what a return misses of the bracket's upper end, in % of what commitment gains over the feedback SE."""
    return 100 * (row["exact"][1] - below) / (row["exact"][1] - row["feedback"])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws the gap against the size of z, the exact policy's beside."""
    figure, axes = plt.subplots(figsize=(5.5, 3.5))
    sizes = [row["numbers"] for row in rows]
    axes.plot(sizes, [gap(row, row["secured"]) for row in rows], "o-", label="learned")
    axes.plot(sizes, [gap(row, row["exact"][0]) for row in rows], "x--", label="linear program's policy")
    axes.set(xscale="log", xlabel="numbers in z", ylabel="gap to the upper bound, % of the gain", ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Runs what is missing, and writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=SIZES)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []
    for size in args.sizes:
        for seed in range(args.seeds):
            if any((row["size"], row["seed"]) == (size, seed) for row in rows):
                continue
            rows.append(train(size, seed))
            with RAW.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    rows.sort(key=lambda row: row["states"])
    draw(rows, RESULTS / "commitment_patrol.svg")
    found = [
        [
            f"{row['states']:,}",
            f"{row['numbers']:,}",
            f"{row['feedback']:.3f}",
            f"{row['exact'][0]:.3f} to {row['exact'][1]:.3f}",
            f"{row['secured']:.3f}",
            f"{100 * (1 - row['exact'][0] / row['feedback']):.0f}%",
            f"{gap(row, row['secured']):.2f}%",
            f"{100 * row['tried']:.1f}%",
            f"{row['env_steps']:,}",
            f"{row['cpu']:.0f}",
        ]
        for row in rows
    ]
    head = ["states", "numbers in z", "feedback SE", "bracket", "secured", "less lost", "gap", "tried"]
    head += ["env steps", "CPU-s"]
    text = [
        "# Committing to a whole policy on patrol: up to 1,024 states",
        "",
        "`patrol_v0`: the boat's discounted return (gamma 0.9, any start), all losses. Bracket: of the best stationary "
        "mixed commitment, not announced, by `single_controller_commitment`; its upper end also holds for commitments "
        "with signals. Secured: what the learned commitment (`CommitmentDQN`, `mixed: true`, nothing played to choose "
        "it) is worth against an exact best response, ties against the boat. Less lost: by the bracket's lower end "
        "than in the feedback SE. Gap: what is secured less than the upper end, in % of what that gains over the "
        "feedback SE. Tried: share of states and joint actions that were ever replayed.",
        "",
        *markdown(head, found).splitlines(),
        "",
        "![Gap against the size of z](commitment_patrol.svg)",
        "",
        *made_with("rllib_biac", "torch", "numpy", "scipy"),
    ]
    (RESULTS / "commitment_patrol.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
