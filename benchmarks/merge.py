"""This program shows: Bi-AC learns Highway Merge, judged start by start against the exact Stackelberg equilibrium.

How to run:
    python benchmarks/merge.py                       # everything: 60 runs of 24,000 env steps
    python benchmarks/merge.py --only "U(30,40)" --seeds 2

Settings are those of tuned_examples/merge_biac.yaml; only the seed, the start speeds, the unit of reward and the leader
change. An interrupted study goes on where it was. Raw results (one line per run), tables and the phase diagram are
written to `--out`.

Results to expect: greedy play ends as the exact equilibrium does on at least 99% of starts for every seed. Main first
in 75% of starts alone proves nothing (always FASTER/SLOWER gets 100% of them); the match does.
See benchmarks/results/merge.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from studies import RESULTS, Row, markdown, run_all, versions

from rllib_biac.reproduce.merge_study import AGENTS, NUM_STARTS, X, digits, exact, outcomes_of, starts_of

STEPS = (12_000, 24_000)  # when play is judged
GRID = np.linspace(30.0, 40.0, 41)
CELLS = {"<35 / <35": (0, 0), "<35 / ≥35": (0, 1), "≥35 / <35": (1, 0), "≥35 / ≥35": (1, 1)}


def tuned() -> Row:
    """Returns the settings of the tuned example, and of nothing else."""
    from rllib_biac import tuned_examples

    text = (Path(next(iter(tuned_examples.__path__))) / "merge_biac.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["merge_biac"]["config"]


def grid_starts() -> np.ndarray:
    """Returns the starts (41 · 41, 4) of the phase diagram: main's speed slowest to fastest, then auxiliary's."""
    main, auxiliary = (speeds.ravel() for speeds in np.meshgrid(GRID, GRID, indexing="ij"))
    return np.column_stack([np.full(main.size, X), main, np.full(main.size, X), auxiliary])


def learn(seed: int, low: float, leader: str, reward_scale: float) -> Row:
    """One run: what becomes of every start under the play that was learned."""
    from rllib_biac import BiACConfig
    from rllib_biac.envs.merge.exact import policy_outcomes
    from rllib_biac.rllib.config_keys import build

    follower = AGENTS[1 - AGENTS.index(leader)]
    ranges = {"main_speed": [low, 40.0], "auxiliary_speed": [low, 40.0], "reward_scale": reward_scale}
    config = build(BiACConfig, tuned() | {"env_config": ranges, "hierarchy": [[leader], [follower]], "seed": seed})
    algo = config.environment("merge_v0").build_algo()
    module = algo.env_runner.module

    def play(state: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {agent: action.numpy() for agent, action in module.act(torch.from_numpy(state)).items()}

    judged: Row = {}
    try:
        done = 0
        for steps in STEPS:
            while done < steps:
                result = algo.train()
                done = int(result["num_env_steps_sampled_lifetime"])
            judged[f"outcomes_{steps}"] = digits(policy_outcomes(play, starts_of(low)))
        judged["grid"] = digits(policy_outcomes(play, grid_starts()))
    finally:
        algo.stop()
    return {"settings_keys": ["seed", "low", "leader", "reward_scale"], **judged}


def parts(seeds: int) -> dict[str, list[Row]]:
    """Returns all parts of the study: name -> settings of its runs."""

    def runs(first: int = 0, low: float = 30.0, leader: str = AGENTS[0], reward_scale: float = 1.0) -> list[Row]:
        return [
            {"seed": seed, "low": low, "leader": leader, "reward_scale": reward_scale}
            for seed in range(first, first + seeds)
        ]

    return {
        "U(30,40)": runs(),
        "U(30,40), held-out seeds": runs(first=1000),
        "U(38,40)": runs(low=38.0),
        "U(30,40), rewards ×0.01": runs(reward_scale=0.01),
        "U(30,40), rewards ×100": runs(reward_scale=100.0),
        "U(30,40), auxiliary_0 leads": runs(leader=AGENTS[1]),
    }


def judge(outcomes: np.ndarray, low: float, leader: str) -> list[str]:
    """Returns match, match on contested starts, match per speed cell, and shares of outcomes, in percent."""
    from rllib_biac.envs.merge.exact import outcome_shares

    truth = exact(low, leader)
    hit = outcomes == truth.outcome
    fast = starts_of(low)[:, [1, 3]] >= 35.0
    cells = []
    for cell in CELLS.values():
        here = (fast == np.array(cell, bool)).all(1)
        cells.append(f"{100 * hit[here].mean():.1f}" if here.any() else "–")
    shares = outcome_shares(outcomes)
    contested = f"{100 * hit[truth.contested].mean():.1f}" if truth.contested.any() else "–"
    return [
        f"{100 * hit.mean():.1f}",
        contested,
        *cells,
        *(f"{100 * shares[name]:.1f}" for name in ("main_first", "auxiliary_first", "crash")),
    ]


COLUMNS = [
    "match with the exact SE, %",
    "match on contested starts, %",
    *(f"match, main {name.split(' / ')[0]}, auxiliary {name.split(' / ')[1]} m/s, %" for name in CELLS),
    "main first, %",
    "auxiliary first, %",
    "crash, %",
]


def tables(study: dict[str, list[Row]]) -> str:
    """Returns a summary, and per part a table with one row per seed, constant policies and the exact answer."""
    from rllib_biac.envs.merge.rules import ACTION_NAMES
    from rllib_biac.envs.merge.exact import policy_outcomes

    text, summary = "", []
    for name, rows in study.items():
        low, leader = rows[0]["low"], rows[0]["leader"]
        lines = [
            [f"seed {row['seed']}", *judge(outcomes_of(row[f"outcomes_{STEPS[-1]}"]), low, leader)] for row in rows
        ]
        early = [float(judge(outcomes_of(row[f"outcomes_{STEPS[0]}"]), low, leader)[0]) for row in rows]
        match = [float(line[1]) for line in lines]
        contested = [float(line[2]) for line in lines if line[2] != "–"]
        truth = exact(low, leader)
        summary.append(
            [
                name,
                len(rows),
                f"{min(match):.1f} / {np.median(match):.1f}",
                f"{min(contested):.1f} / {np.median(contested):.1f}" if contested else "–",
                f"{min(early):.1f} / {np.median(early):.1f}",
                f"{max(float(line[-1]) for line in lines):.1f}",
                " / ".join(f"{np.mean([float(line[column]) for line in lines]):.1f}" for column in (-3, -2)),
                f"{100 * truth.shares()['main_first']:.1f} / {100 * truth.shares()['auxiliary_first']:.1f}",
            ]
        )
        for main, auxiliary in (("FASTER", "SLOWER"), ("SLOWER", "FASTER"), ("IDLE", "IDLE")):
            constant = policy_outcomes(
                lambda state, main=main, auxiliary=auxiliary: {
                    AGENTS[0]: np.full(len(state), ACTION_NAMES.index(main)),
                    AGENTS[1]: np.full(len(state), ACTION_NAMES.index(auxiliary)),
                },
                starts_of(low),
            )
            lines.append([f"always {main} / {auxiliary}", *judge(constant, low, leader)])
        lines.append(["exact equilibrium", *judge(truth.outcome, low, leader)])
        text += f"\n\n## {name}\n\n" + markdown(["", *COLUMNS], lines)
    head = markdown(
        [
            "starts",
            "seeds",
            "match, worst / median seed, %",
            "match on contested starts, worst / median, %",
            f"match at {STEPS[0]:,} steps, worst / median, %",
            "crashes, worst seed, %",
            "main / auxiliary first, mean, %",
            "exact",
        ],
        summary,
    )
    return head + text


def phase_diagram(rows: list[Row], path: Path) -> None:
    """Draws who goes first over both start speeds: exact, learned by seed 0, and how many seeds agree with exact."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from rllib_biac.envs.merge.exact import merge_equilibrium

    truth = merge_equilibrium(grid_starts(), gamma=tuned()["gamma"]).outcome
    learned = [outcomes_of(row["grid"]) for row in rows]
    shape, extent = (len(GRID), len(GRID)), (GRID[0], GRID[-1], GRID[0], GRID[-1])
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    colours = ["#3b6fb6", "#e09f3e", "#9e2a2b"]
    for axis, title, outcomes in ((axes[0], "exact", truth), (axes[1], f"learned, seed {rows[0]['seed']}", learned[0])):
        axis.imshow(
            outcomes.reshape(shape), origin="lower", extent=extent, cmap=ListedColormap(colours), vmin=0, vmax=2
        )
        axis.set_title(title)
    agree = np.mean([outcomes == truth for outcomes in learned], axis=0).reshape(shape)
    image = axes[2].imshow(agree, origin="lower", extent=extent, cmap="viridis", vmin=0, vmax=1)
    axes[2].set_title(f"share of {len(rows)} seeds equal to the exact")
    figure.colorbar(image, ax=axes[2], shrink=0.8)
    for axis in axes:
        axis.set_xlabel("auxiliary car's start speed, m/s")
    axes[0].set_ylabel("main car's start speed, m/s")
    names = ("main first", "auxiliary first", "crash")
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the study, or the parts asked for, and writes its tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each part")
    parser.add_argument("--only", nargs="*", help="parts whose names begin so")
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    chosen = {
        name: runs
        for name, runs in parts(args.seeds).items()
        if not args.only or any(name.startswith(prefix) for prefix in args.only)
    }
    every = [run for runs in chosen.values() for run in runs]
    rows = iter(run_all(learn, every, args.out / "merge.jsonl", args.cpus))
    study = {name: [next(rows) for _ in runs] for name, runs in chosen.items()}
    if plain := [
        row
        for row in (r for rs in study.values() for r in rs)
        if row["low"] == 30.0 and row["leader"] == AGENTS[0] and row["reward_scale"] == 1.0
    ]:
        phase_diagram(plain, args.out / "merge_phase_diagram.png")
    command = shlex.join(["python", "benchmarks/merge.py", *sys.argv[1:]])
    text = (
        "# Highway Merge, settings of `tuned_examples/merge_biac.yaml`\n\n"
        f"Greedy play after {STEPS[-1]:,} env steps, on {NUM_STARTS:,} starts used for nothing else. A start is "
        "contested if whoever leads goes first. Made by "
        f"`{command}` ({versions()}).\n\n{tables(study)}\n"
    )
    (args.out / "merge.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
