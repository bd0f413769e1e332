"""This program shows: which of several fixed points of the bi-level Bellman equation Bi-AC ends at, and what it costs.

How to run:
    python benchmarks/fixed_points.py                               # everything
    python benchmarks/fixed_points.py --only two_state --seeds 10

Parts:
    two_state  the game of the paper's supplement: A-B is a false fixed point, B-A the one best for the leader.
    random     random games of two states and two actions that have several fixed points, start in either state: the
               share that end at the one best for the leader. Value iteration with exact tables beside.
    matrix     Escape and Maintain, which have one: nothing may be lost. Rounds are short, so that there are several.
    merge      Highway Merge with the settings of tuned_examples/merge_biac.yaml: match with the exact equilibrium.

The published form is `num_hypotheses: 1`; all other settings are the same in both. An interrupted study goes on where
it was. Raw results (one line per run) and tables go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from studies import RESULTS, Row, markdown, run_all, share, versions

PLAYERS = ("player_0", "player_1")
TWO_STATE_STEPS, RANDOM_STEPS, MERGE_STEPS = 8_000, 3_100, 24_000
MATRIX_STEPS = (1_000, 2_000, 3_000)
GAMMA = 0.9
MATRIX = {"escape_v0": [2, 2], "maintain_v0": [0, 0]}  # C-Z, A-X


def published_or_not(num_hypotheses: int) -> str:
    """Returns what a row of a table is called."""
    return "published form" if num_hypotheses == 1 else f"{num_hypotheses} hypotheses"


def played(algo: Any, states: np.ndarray) -> list[list[int]]:
    """Returns greedy play, a list per player, in states (n, d)."""
    from rllib_biac.core.play import greedy

    actions = greedy(algo.env_runner.module, states.astype(np.float32))
    return [actions[player].tolist() for player in PLAYERS]


def pair(num_hypotheses: int, seed: int, **training: Any) -> Any:
    """Returns the config of Bi-AC for two players."""
    from rllib_biac import BiACConfig

    return (
        BiACConfig()
        .hierarchy([[player] for player in PLAYERS])
        .training(num_hypotheses=num_hypotheses, **training)
        .debugging(seed=seed)
    )


def two_state(num_hypotheses: int, seed: int, steps: int) -> Row:
    """One run: the joint action that it ends at; settings are those of tuned_examples/two_state_biac.yaml."""
    algo = pair(num_hypotheses, seed, gamma=GAMMA, updates_per_round=600).environment("two_state_v0").build_algo()
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        actions = played(algo, np.ones((1, 1)))
    finally:
        algo.stop()
    return {"settings_keys": ["num_hypotheses", "seed", "steps"], "joint": [own[0] for own in actions]}


def random_game(seed: int) -> tuple[Any, Any]:
    """Returns the first game of a seed that has several fixed points, and these."""
    from rllib_biac.equilibria import MarkovGame, feedback_se
    from rllib_biac.equilibria.random_markov import sample_markov_games

    rng = np.random.default_rng([seed, 2])
    while True:
        rewards, transitions = sample_markov_games(1, 2, 2, rng, "deterministic")
        game = MarkovGame(rewards[0], transitions[0], GAMMA)
        found = feedback_se(game)
        if len(found) > 1:
            return game, found


def judged(found: Any, actions: list[list[int]]) -> Row:
    """Returns whether play is a fixed point, whether it is the best, and what is lost for the leader at the start."""
    values = found.leader_value.mean(-1)  # games start in either state
    same = (found.leader_action == actions[0]).all(-1) & (found.follower_action == actions[1]).all(-1)
    lost = float(values.max() - values[same].max()) if same.any() else None
    best = values.argmax()
    return {
        "fixed_point": bool(same.any()),
        "best": lost is not None and lost < 1e-9,
        "lost": lost,
        "margin": float(found.margin[best]),
    }


def random(num_hypotheses: int, seed: int, steps: int) -> Row:
    """One run on the random game of its seed."""
    game, found = random_game(seed)
    tables = {"rewards": game.rewards.tolist(), "transitions": game.transitions.tolist()}
    # Three rounds, in each of which the rate falls: what a round ends with is compared, and small margins decide.
    falling = [[k + at, lr] for k in (0, 1000, 2000) for at, lr in ((0, 4e-3), (500, 4e-3), (990, 4e-4))]
    algo = (
        pair(
            num_hypotheses,
            seed,
            gamma=GAMMA,
            lr=falling,
            tau=0.2,
            training_intensity=64.0,  # one update per env step
            updates_per_round=1000,
        )
        .environment("markov_game_v0", env_config=tables | {"start": [0.5, 0.5], "horizon": 25})
        .env_runners(epsilon=[[0, 1.0], [2000, 0.5]])  # joint actions far from what is played matter as much
        .rl_module(model_config={"fcnet_hiddens": [32, 32]})
        .build_algo()
    )
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        actions = played(algo, np.eye(2))
    finally:
        algo.stop()
    return {"settings_keys": ["num_hypotheses", "seed", "steps"], **judged(found, actions)}


def exact_tables(seed: int) -> Row:
    """One run: value iteration on the random game of its seed, from several kinds of starts."""
    from rllib_biac.equilibria import iterate

    game, found = random_game(seed)
    rng = np.random.default_rng([seed, 3])

    def ends(values: list[np.ndarray]) -> bool:
        """Returns whether the best of all that value iteration comes to rest at is the best fixed point."""
        solved = [iterate(game, start_values=one) for one in values]
        rest = [one for one in solved if one.period == 1]
        if not rest:
            return False
        top = max(rest, key=lambda one: one.leader_value[0].mean())
        return bool(judged(found, [top.leader_action[0].tolist(), top.follower_action[0].tolist()])["best"])

    return {
        "settings_keys": ["seed"],
        "zero": ends([np.zeros((2, 2))]),
        "values": ends([rng.normal(0, 10, (2, 2)) for _ in range(16)]),
        "policies": ends([committed(game, policy) for policy in itertools.product(range(2), repeat=2)]),
    }


def committed(game: Any, policy: tuple[int, ...]) -> np.ndarray:
    """Returns what a policy of the leader's is worth, (2, |S|), while the follower best-responds to it."""
    from rllib_biac.equilibria.feedback import stage_games

    states = np.arange(game.num_states)
    values = np.zeros((2, game.num_states))
    for _ in range(300):
        q = stage_games(game.rewards, game.transitions, game.gamma, values)  # (|S|, 2, |A_1|, |A_2|)
        answers = q[states, 1, policy].argmax(-1)
        values = q[states, :, policy, answers].T
    return values


def matrix(game: str, num_hypotheses: int, seed: int) -> Row:
    """One run: whether the equilibrium is played after so many steps."""
    algo = (
        pair(num_hypotheses, seed, updates_per_round=100)
        .environment(game)
        .reporting(min_sample_timesteps_per_iteration=MATRIX_STEPS[0])
        .build_algo()
    )
    found: Row = {}
    try:
        for steps in MATRIX_STEPS:
            algo.train()
            found[f"equilibrium_{steps}"] = [own[0] for own in played(algo, np.ones((1, 1)))] == MATRIX[game]
    finally:
        algo.stop()
    return {"settings_keys": ["game", "num_hypotheses", "seed"], **found}


def merge(num_hypotheses: int, seed: int, steps: int) -> Row:
    """One run: share of starts whose outcome is the exact equilibrium's."""
    from merge import tuned

    from rllib_biac import BiACConfig
    from rllib_biac.core.play import greedy
    from rllib_biac.envs.merge.exact import merge_equilibrium, policy_outcomes
    from rllib_biac.reproduce.merge_study import starts_of
    from rllib_biac.rllib.config_keys import build

    config = build(BiACConfig, tuned() | {"seed": seed, "num_hypotheses": num_hypotheses})
    algo = config.environment("merge_v0").build_algo()
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        outcomes = policy_outcomes(lambda states: greedy(algo.env_runner.module, states), starts_of(30.0))
    finally:
        algo.stop()
    match = float((outcomes == merge_equilibrium(starts_of(30.0)).outcome).mean())
    return {"settings_keys": ["num_hypotheses", "seed", "steps"], "match": match}


def grouped(rows: list[Row], *keys: str) -> dict[tuple, list[Row]]:
    """Returns rows by the values of some settings, in the order in which they first appear."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def seconds(rows: list[Row]) -> str:
    """Returns the median of CPU seconds per run."""
    return f"{np.median([row['cpu_seconds'] for row in rows]):.1f}"


def two_state_table(rows: list[Row]) -> str:
    """Returns how many seeds end where."""
    lines = []
    for (number,), group in grouped(rows, "num_hypotheses").items():
        ends = [tuple(row["joint"]) for row in group]
        lines.append(
            [published_or_not(number), share(ends.count((1, 0)), len(ends)), ends.count((0, 1)), seconds(group)]
        )
    return markdown(["Bi-AC", "ends at B-A, the best for the leader", "at A-B, the false one", "CPU seconds"], lines)


def random_table(rows: list[Row]) -> str:
    """Returns how many games end where."""
    lines = []
    for (number,), group in grouped(rows, "num_hypotheses").items():
        clear = [row["best"] for row in group if row["margin"] >= 0.05]
        lines.append(
            [
                published_or_not(number),
                share(sum(row["best"] for row in group), len(group)),
                sum(row["fixed_point"] and not row["best"] for row in group),
                sum(not row["fixed_point"] for row in group),
                share(sum(clear), len(clear)),
                seconds(group),
            ]
        )
    head = ["Bi-AC", "ends at the fixed point best for the leader", "at another", "at none"]
    return markdown([*head, "best, where its margin is 0.05 or more", "CPU seconds"], lines)


def tables_table(rows: list[Row]) -> str:
    """Returns how many games exact value iteration solves."""
    names = {
        "zero": "from zero",
        "values": "the best of 16 random values, normal with deviation 10",
        "policies": "the best of all 4 policies of the leader's, the follower best-responding",
    }
    lines = [[name, share(sum(row[key] for row in rows), len(rows))] for key, name in names.items()]
    return markdown(["value iteration with exact tables starts", "ends at the fixed point best for the leader"], lines)


def matrix_table(rows: list[Row]) -> str:
    """Returns how many seeds play the equilibrium after how many steps."""
    lines = [
        [
            game,
            published_or_not(number),
            *(share(sum(row[f"equilibrium_{n}"] for row in group), len(group)) for n in MATRIX_STEPS),
        ]
        for (game, number), group in grouped(rows, "game", "num_hypotheses").items()
    ]
    return markdown(["game", "Bi-AC", *(f"equilibrium after {n:,} steps" for n in MATRIX_STEPS)], lines)


def merge_table(rows: list[Row]) -> str:
    """Returns the match per seed."""
    lines = []
    for (number,), group in grouped(rows, "num_hypotheses").items():
        each = ", ".join(f"{100 * row['match']:.1f}" for row in group)
        lines.append([published_or_not(number), each, seconds(group)])
    return markdown(["Bi-AC", "match per seed, %", "CPU seconds"], lines)


def parts(seeds: int, games: int, merge_seeds: int) -> dict[str, list[tuple[Any, list[Row], Any]]]:
    """Returns all parts of the study: name -> functions, settings of their runs, tables."""
    return {
        "two_state": [
            (
                two_state,
                [{"num_hypotheses": n, "seed": s, "steps": TWO_STATE_STEPS} for n in (1, 3) for s in range(seeds)],
                two_state_table,
            )
        ],
        "random": [
            (
                random,
                [{"num_hypotheses": n, "seed": s, "steps": RANDOM_STEPS} for n in (1, 5) for s in range(games)],
                random_table,
            ),
            (exact_tables, [{"seed": seed} for seed in range(games)], tables_table),
        ],
        "matrix": [
            (
                matrix,
                [{"game": g, "num_hypotheses": n, "seed": s} for g in MATRIX for n in (1, 3) for s in range(seeds)],
                matrix_table,
            )
        ],
        "merge": [
            (
                merge,
                [{"num_hypotheses": n, "seed": s, "steps": MERGE_STEPS} for n in (1, 3) for s in range(merge_seeds)],
                merge_table,
            )
        ],
    }


def main() -> None:
    """Runs the study, or the parts asked for, and writes its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=["two_state", "random", "matrix", "merge"])
    parser.add_argument("--seeds", type=int, default=100, help="seeds of two_state and of each game of matrix")
    parser.add_argument("--games", type=int, default=200, help="random games")
    parser.add_argument("--merge-seeds", type=int, default=5, help="seeds of merge")
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    command = shlex.join(["python", "benchmarks/fixed_points.py", *sys.argv[1:]])
    text = f"# Several fixed points\n\nMade by `{command}` ({versions()}).\n"
    for name, studies in parts(args.seeds, args.games, args.merge_seeds).items():
        if args.only and name not in args.only:
            continue
        text += f"\n## {name}\n"
        for function, runs, table in studies:
            rows = run_all(function, runs, args.out / f"fixed_points_{function.__name__}.jsonl", args.cpus)
            text += f"\n{table(rows)}\n"
    (args.out / "fixed_points.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
