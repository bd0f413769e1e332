"""This program shows: how well Highway Merge can be played by cars that see 10, 30 or 60 m, over all starts.

How to run:
    python benchmarks/partial_observability.py

For each sensor range it brackets the return of a leader that commits to the best policy of its own observations, the
follower answering with the best policy of its own (`rllib_biac.envs.merge.exact_observed`), beside the feedback
Stackelberg equilibrium of the game in which both always see all, and beside what Bi-AC learns
(tuned_examples/merge_observed_biac.yaml). Starts are the centres of 40 × 40 cells of the two speeds, U(30, 40) m/s.
Raw results and tables go to `--out`; what is in it already is not computed again. Takes about a minute on two cores,
and half a minute for each learned run.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
from studies import RESULTS, Row, markdown, run_all, versions

from rllib_biac.envs.merge.exact_observed import Policy

SENSOR_RANGES = (10.0, 30.0, 60.0)  # m
CELLS = 40  # of each speed
GAMMA = 0.99  # as in tuned_examples/merge_biac.yaml
LEADER, FOLLOWER = "main_0", "auxiliary_0"


def oracle(sensor_range: float, cells: int, gamma: float) -> Row:
    """One sensor range: the bracket, the pair that makes its lower end, and the game in which all is seen."""
    from rllib_biac.envs.merge.exact import outcome_shares
    from rllib_biac.envs.merge.exact_observed import midpoint_starts, observed_equilibrium

    found = observed_equilibrium(midpoint_starts(cells), sensor_range, LEADER, gamma)
    return {
        "lower": found.lower,
        "upper": found.upper,
        "cooperative": found.cooperative,
        "full": float(found.full.mean()),
        "leader": float(found.play.value[LEADER].mean()),
        "follower": float(found.play.value[FOLLOWER].mean()),
        "shares": outcome_shares(found.play.outcome),
        "outcomes": "".join(map(str, found.play.outcome)),
    }


def oracle_rows(out: Path = RESULTS, cpus: int | None = None) -> list[Row]:
    """Returns the rows of `oracle`, one per sensor range, computing those that are not in `out` yet."""
    runs = [{"sensor_range": reach, "cells": CELLS, "gamma": GAMMA} for reach in SENSOR_RANGES]
    return run_all(oracle, runs, out / "partial_observability.jsonl", cpus)


def learn(sensor_range: float, seed: int, cells: int, gamma: float) -> Row:
    """One run of the tuned example: how its approximators play from every start."""
    import torch
    import yaml

    from rllib_biac import BiACConfig, tuned_examples
    from rllib_biac.core.rl_module import as_tensors
    from rllib_biac.envs.merge.exact import outcome_shares
    from rllib_biac.envs.merge.exact_observed import midpoint_starts, observed_play
    from rllib_biac.rllib.config_keys import build

    text = (Path(next(iter(tuned_examples.__path__))) / "merge_observed_biac.yaml").read_text(encoding="utf-8")
    experiment = yaml.safe_load(text)["merge_observed_biac"]
    settings = experiment["config"] | {"seed": seed, "gamma": gamma, "evaluation_interval": None}
    settings["env_config"] |= {"sensor_range": sensor_range}
    algo = build(BiACConfig, settings).environment("merge_v0").debugging(log_sys_usage=False).build_algo()
    (steps,) = experiment["stop"].values()
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        module = algo.env_runner.module

        def played_by(agent: str) -> Policy:
            own = module[agent].unwrapped()

            def play(observations: np.ndarray) -> np.ndarray:
                seen = (as_tensors({agent: observations}) or {})[agent]
                with torch.no_grad():
                    return own.coder.act(own.approximator(own.encode_observation(seen))).argmax(1).numpy()

            return play

        policies = {agent: played_by(agent) for agent in (LEADER, FOLLOWER)}
        play = observed_play(policies, midpoint_starts(cells), sensor_range, gamma)
    finally:
        algo.stop()
    return {
        "leader": float(play.value[LEADER].mean()),
        "follower": float(play.value[FOLLOWER].mean()),
        "shares": outcome_shares(play.outcome),
        "outcomes": "".join(map(str, play.outcome)),
    }


def learned_rows(seeds: int, out: Path = RESULTS, cpus: int | None = None) -> list[Row]:
    """Returns the rows of `learn`, `seeds` for each sensor range, making those that are not in `out` yet."""
    runs = [
        {"sensor_range": reach, "seed": seed, "cells": CELLS, "gamma": GAMMA}
        for reach in SENSOR_RANGES
        for seed in range(seeds)
    ]
    return run_all(learn, runs, out / "partial_observability_learned.jsonl", cpus)


def learned_table(oracles: list[Row], learned: list[Row]) -> str:
    """Returns the table of learned play, the worst seed judged by the most that any policy could bring the leader."""
    lines = []
    for best in oracles:
        rows = [row for row in learned if row["sensor_range"] == best["sensor_range"]]
        leader, follower = (np.array([row[agent] for row in rows]) for agent in ("leader", "follower"))
        same = [np.mean([a == b for a, b in zip(row["outcomes"], best["outcomes"], strict=True)]) for row in rows]
        lines.append(
            [
                f"{best['sensor_range']:g}",
                f"{len(rows)}",
                f"{np.median(leader):.3f} / {leader.min():.3f}",
                f"{np.median(follower):.3f} / {follower.min():.3f}",
                f"{100 * np.median(leader) / best['upper']:.2f} / {100 * leader.min() / best['upper']:.2f}",
                f"{100 * np.median(leader) / best['full']:.2f} / {100 * leader.min() / best['full']:.2f}",
                f"{100 * np.median(same):.2f} / {100 * min(same):.2f}",
                f"{100 * max(row['shares']['crash'] for row in rows):.2f}",
            ]
        )
    return markdown(
        [
            "sensor range, m",
            "seeds",
            "leader, median / worst seed",
            "follower",
            "leader in % of the most that the best decentralised policy brings",
            "in % of the game in which all is seen",
            "same outcome as the QMDP pair, % of starts",
            "crash, worst seed, %",
        ],
        lines,
    )


def oracle_table(rows: list[Row]) -> str:
    """Returns the table of the bracket."""
    return markdown(
        [
            "sensor range, m",
            "leader, best decentralised, at least / at most",
            "95% of the most",
            "leader / follower, QMDP pair",
            "leader, all seen",
            "main / auxiliary first / crash, QMDP pair, %",
        ],
        [
            [
                f"{row['sensor_range']:g}",
                f"{row['lower']:.2f} / {row['upper']:.2f}",
                f"{0.95 * row['upper']:.2f}",
                f"{row['leader']:.2f} / {row['follower']:.2f}",
                f"{row['full']:.2f}",
                " / ".join(f"{100 * share:.1f}" for share in row["shares"].values()),
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Computes the brackets and writes their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="learned runs of each sensor range")
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    rows = oracle_rows(args.out, args.cpus)
    learned = learned_rows(args.seeds, args.out, args.cpus)
    command = shlex.join(["python", "benchmarks/partial_observability.py", *sys.argv[1:]])
    text = (
        "# Highway Merge, partially observable\n\n"
        f"Returns: discounted by {GAMMA} per decision, means over {CELLS} × {CELLS} starts, speeds U(30, 40) m/s. "
        f"Made by `{command}` ({versions()}).\n\n{oracle_table(rows)}\n\n"
        "## Learned by Bi-AC with approximators\n\n"
        "Settings of tuned_examples/merge_observed_biac.yaml, 24,000 env steps; each car acts by its own observation "
        f"alone.\n\n{learned_table(rows, learned)}\n"
    )
    (args.out / "partial_observability.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
