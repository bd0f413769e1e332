"""This program shows: Bi-AC with its default settings ends at the exact Stackelberg equilibrium of matrix games.

How to run:
    python benchmarks/matrix_games.py                  # everything: 1,300 runs of Escape and Maintain, 600 random games
    python benchmarks/matrix_games.py --only escape maintain --seeds 10

An interrupted study goes on where it was. Raw results (one line per run) and tables are written to `--out`.

Results to expect: Escape ends at C-Z and Maintain at A-X for every seed from step 1,000 on, in any unit of reward;
with `player_1` leading Maintain ends at C-Z. See benchmarks/results/matrix_games.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies import RESULTS, Row, markdown, quantiles, run_all, share, versions

CHECK_EVERY = 50
SETTLED_BY, LAST = 1_000, 3_000
RANDOM_STEPS = 10_000
SIZES = (3, 5, 10)
SHIFTS = {"×0.01": (0.01, 0.0), "×100": (100.0, 0.0), "−40": (1.0, -40.0), "+40": (1.0, 40.0)}


def payoffs_of(game: str, scale: float, shift: float) -> np.ndarray:
    """Returns the payoffs (2, |A_1|, |A_2|) of `escape`, `maintain` or `random_<n>_<index>`."""
    from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN

    if game.startswith("random"):
        _, size, index = game.split("_")
        rng = np.random.default_rng([int(size), int(index)])
        return rng.standard_normal((2, int(size), int(size)))
    return scale * {"escape": ESCAPE, "maintain": MAINTAIN}[game] + shift


def learn(game: str, seed: int, leader: int, scale: float, shift: float, steps: int, training: Row) -> Row:
    """One run: the play that was learned, held against the exact equilibrium every 50 steps."""
    from rllib_biac import BiACConfig
    from rllib_biac.equilibria import leader_regret, response_regret, stackelberg

    payoffs = payoffs_of(game, scale, shift)
    exact = stackelberg(payoffs, leader=leader)
    wanted = (int(exact.leader_action), int(exact.follower_action))
    agents = ["player_0", "player_1"]
    lead, follow = agents[leader], agents[1 - leader]
    algo = (
        BiACConfig()
        .environment("matrix_game_v0", env_config={"payoffs": payoffs.tolist()})
        .hierarchy([[lead], [follow]])
        .training(**training)
        .reporting(min_sample_timesteps_per_iteration=CHECK_EVERY if steps == LAST else 1_000)
        .debugging(seed=seed)
        .build_algo()
    )
    try:
        wrong, missed, play = [], [], {}
        done = 0
        while done < steps:
            done = int(algo.train()["num_env_steps_sampled_lifetime"])
            play = played(algo, lead, follow)
            response_gap = response_regret(payoffs, np.asarray(play["responses"]), leader=leader)
            if (play["leader"], play["responses"][play["leader"]]) != wanted:
                wrong.append(done)
            if response_gap.max() > 1e-6 * np.ptp(payoffs):
                missed.append(done)
        tables = play.pop("q")
        order = (0, 1, 2) if leader == 0 else (0, 2, 1)
        truth = payoffs.transpose(order)[[leader, 1 - leader]]
    finally:
        algo.stop()
    return {
        "settings_keys": ["game", "seed", "leader", "scale", "shift", "steps", "training"],
        "wrong_at": wrong,
        "responses_wrong_at": missed,
        "play": play,
        "enumerated": enumerated(tables),
        "wanted": list(wanted),
        "margin": float(exact.margin) / float(np.ptp(payoffs))
        if not game.startswith("random")
        else float(exact.margin),
        "leader_regret": float(leader_regret(payoffs, play["leader"], np.asarray(play["responses"]), leader=leader)),
        "enumerated_regret": float(leader_regret(payoffs, *[np.asarray(x) for x in enumerated(tables)], leader=leader)),
        "random_regret": float(exact.leader_payoff - payoffs[leader].mean()),
        "critic_error": [float(np.abs(tables[i] - truth[i]).max()) for i in range(2)],
        "payoff_range": float(np.ptp(payoffs)),
    }


def played(algo: Any, lead: str, follow: str) -> Row:
    """Returns the greedy play of the learner's networks, and their Q-values in the game's own units."""
    team = algo.learner_team()
    state = torch.ones(1, *team[lead].state_shape)
    with torch.no_grad():
        q = [team[agent].q_values(state)[0].numpy() for agent in (lead, follow)]
        preferences = team[follow].table(team[follow].actor(team[follow].encode(state)))[0].numpy()
    responses = preferences.argmax(1)
    values = q[0][np.arange(len(responses)), responses]
    return {"leader": int(values.argmax()), "responses": responses.tolist(), "q": q}


def enumerated(q: list[np.ndarray]) -> tuple[int, list[int]]:
    """The play of the same critics with the follower's best response enumerated instead of learned (Eq. 8)."""
    responses = q[1].argmax(1)
    return int(q[0][np.arange(len(responses)), responses].argmax()), responses.tolist()


def settings(game: str, seed: int, leader: int = 0, scale: float = 1.0, shift: float = 0.0, steps: int = LAST) -> Row:
    """Returns the settings of one run with the default config."""
    return {
        "game": game,
        "seed": seed,
        "leader": leader,
        "scale": scale,
        "shift": shift,
        "steps": steps,
        "training": {},
    }


def parts(seeds: int, games: int) -> dict[str, list[Row]]:
    """Returns all parts of the study: name -> settings of its runs."""
    study = {}
    for game in ("escape", "maintain"):
        study[game] = [settings(game, seed) for seed in range(seeds)]
    study["maintain, player_1 leads"] = [settings("maintain", seed, leader=1) for seed in range(seeds)]
    for game in ("escape", "maintain"):
        for name, (scale, shift) in SHIFTS.items():
            study[f"{game} {name}"] = [settings(game, seed, scale=scale, shift=shift) for seed in range(seeds)]
    for game in ("escape", "maintain"):
        study[f"{game}, held-out seeds"] = [settings(game, seed) for seed in range(1000, 1000 + seeds)]
    for size in SIZES:
        runs = [settings(f"random_{size}_{i}", i, steps=RANDOM_STEPS) for i in range(games)]
        study[f"random {size}×{size}"] = runs
    return study


def table(study: dict[str, list[Row]]) -> str:
    """Returns the tables as Markdown."""
    named, random = [], []
    for name, rows in study.items():
        if name.startswith("random"):
            random.append(_random_row(name, rows))
            continue
        total = len(rows)
        at_1000 = sum(SETTLED_BY not in row["wrong_at"] for row in rows)
        always = sum(not any(step >= SETTLED_BY for step in row["wrong_at"]) for row in rows)
        answers = sum(not any(step >= SETTLED_BY for step in row["responses_wrong_at"]) for row in rows)
        last_wrong = [max(row["wrong_at"], default=0) for row in rows]
        error = [max(row["critic_error"]) / row["payoff_range"] for row in rows]
        named.append(
            [
                name,
                share(at_1000, total),
                share(always, total),
                share(answers, total),
                f"{np.median(last_wrong):.0f} / {max(last_wrong)}",
                quantiles(100 * e for e in error),
            ]
        )
    text = ""
    if named:
        text += markdown(
            [
                "game",
                f"SE at step {SETTLED_BY:,}",
                f"SE at every {CHECK_EVERY} steps from there to {LAST:,}",
                "responses right to ALL leader actions, likewise",
                "last step seen wrong, median / worst",
                "critics' largest error, % of the payoff range, median / worst",
            ],
            named,
        )
    if random:
        text += f"\n\nRandom games (independent standard normal payoffs), {RANDOM_STEPS:,} steps:\n\n" + markdown(
            [
                "size",
                "exact SE, games with margin ≥ 0.1",
                "exact SE, all games",
                "leader regret, mean",
                "enumerated response: exact SE, margin ≥ 0.1",
                "enumerated response: leader regret, mean",
                "random play: leader regret, mean",
            ],
            random,
        )
    return text


def _random_row(name: str, rows: list[Row]) -> list[Any]:
    def exact(row: Row, play: tuple[int, list[int]]) -> bool:
        return [play[0], play[1][play[0]]] == row["wanted"]

    clear = [row for row in rows if row["margin"] >= 0.1]
    learned = [exact(row, (row["play"]["leader"], row["play"]["responses"])) for row in rows]
    return [
        name.removeprefix("random "),
        share(sum(exact(row, (row["play"]["leader"], row["play"]["responses"])) for row in clear), len(clear)),
        share(sum(learned), len(rows)),
        f"{np.mean([row['leader_regret'] for row in rows]):.4f}",
        share(sum(exact(row, row["enumerated"]) for row in clear), len(clear)),
        f"{np.mean([row['enumerated_regret'] for row in rows]):.4f}",
        f"{np.mean([row['random_regret'] for row in rows]):.2f}",
    ]


def main() -> None:
    """Runs the study, or the parts asked for, and writes its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--games", type=int, default=200, help="random games of each size")
    parser.add_argument("--only", nargs="*", help="parts whose names begin so, e.g. escape 'random 3'")
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    chosen = {
        name: runs
        for name, runs in parts(args.seeds, args.games).items()
        if not args.only or any(name.startswith(prefix) for prefix in args.only)
    }
    every = [run for runs in chosen.values() for run in runs]
    rows = iter(run_all(learn, every, args.out / "matrix_games.jsonl", args.cpus))
    study = {name: [next(rows) for _ in runs] for name, runs in chosen.items()}
    command = shlex.join(["python", "benchmarks/matrix_games.py", *sys.argv[1:]])
    text = f"# Matrix games, default `BiACConfig`\n\nMade by `{command}` ({versions()}).\n\n{table(study)}\n"
    (args.out / "matrix_games.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
