"""This program shows: how often trained agents win in turns, and how long they live, against and beside random play.

How to run:
    python benchmarks/turns.py                                   # three games, two algorithms, five seeds each
    python benchmarks/turns.py --games tictactoe --seeds 1 --out /tmp

Tic-tac-toe and connect four (PettingZoo's, in turns, masks say what is free) are trained by self-play of a hierarchy in
which the first mover leads, and by IDQN, by default settings and without Ray, or with
`--training-intensity`. Then each side in turn plays greedily
against a partner that plays at random; random play against random play is the measure. In knights, archers, zombies
agents die. Nobody plays against them, so learned play is compared with random play from the same starts: the sum of all
returns, one per zombie.

It needs pymunk for the knights (`pip install pymunk`). Raw results go to `--out`; what is in it is not computed again.

Results to expect: a learned first mover wins more than .85 of tic-tac-toe (random play .54). In connect four, at 40,000
turns and before values were bounded (`bound_values`), the first mover won .64 by default settings and .93 with
`--training-intensity 24`: where each row is trained on 128 times, values grew beyond any return there.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from studies import RESULTS, Row, made_with, markdown, run_all

# Game -> how it is made, who leads, whether the sides are against each other, and env steps of a run.
GAMES: dict[str, dict[str, Any]] = {
    "tictactoe": {
        "env": "pettingzoo.classic.tictactoe_v3:env",
        "hierarchy": [["player_1"], ["player_2"]],
        "opposed": True,
        "steps": 40_000,
    },
    "connect_four": {
        "env": "pettingzoo.classic.connect_four_v3:env",
        "hierarchy": [["player_0"], ["player_1"]],
        "opposed": True,
        "steps": 40_000,
    },
    "knights_archers_zombies": {
        "env": "pettingzoo.butterfly.knights_archers_zombies_v11:parallel_env",
        "env_config": {"max_cycles": 300},
        "hierarchy": [["archer_0"], ["archer_1", "knight_0", "knight_1"]],
        "opposed": False,
        "steps": 5_000,
    },
}
ALGORITHMS = ("BiAC", "IDQN")
INTENSITY = 128.0  # the default `training_intensity`


def learn(
    game: str, algorithm: str, seed: int, steps: int, episodes: int, training_intensity: float = INTENSITY
) -> Row:
    """Trains once, then plays each side against random play. Returns the returns of every episode."""
    from public_games.playing import returns

    from rllib_biac.algorithms.biac import BiAC
    from rllib_biac.algorithms.dqn import IDQN
    from rllib_biac.evaluation.trained import Trained
    from rllib_biac.learning.hierarchy import Hierarchy
    from rllib_biac.learning.run import Run

    what = GAMES[game]
    everybody = [agent for level in what["hierarchy"] for agent in level]
    chosen = {"BiAC": BiAC, "IDQN": IDQN}[algorithm]
    hierarchy = Hierarchy(what["hierarchy"] if algorithm == "BiAC" else [everybody])
    settings = chosen.settings(state="observations", training_intensity=training_intensity)
    settings.check(hierarchy)
    game_of = (what["env"], what.get("env_config", {}))
    run = Run(chosen, game_of[0], hierarchy, settings, seed=seed, env_config=game_of[1]).train(steps)
    trained = Trained(run.team, *game_of)
    sides = [[agent] for agent in everybody] if what["opposed"] else [everybody]
    row: Row = {}
    for side in sides:
        for who, player in (("learned", trained), ("random", None)):
            common = (*game_of, settings.state, side)
            played, _ = returns(*common, player, None, episodes, 10_000 + seed, run.team.spec.look)
            row["+".join(side) + f" {who}"] = played.tolist()
    return row


def share(hits: np.ndarray) -> str:
    """Returns a share with its 95% interval (Clopper-Pearson)."""
    low, high = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, "exact")
    return f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]"


def intensity_of(run: Row) -> float:
    """Returns how often a run trained each row."""
    return run.get("training_intensity", INTENSITY)


def page(runs: list[Row], rows: list[Row]) -> str:
    """Returns the page of results."""
    from public_games.playing import interval

    won, lived = [], []
    intensities = sorted(set(map(intensity_of, runs)), reverse=True)
    for game, what in GAMES.items():
        for algorithm, intensity in itertools.product(ALGORITHMS, intensities):
            these = (game, algorithm, intensity)
            pairs = zip(runs, rows, strict=True)
            own = [row for run, row in pairs if (run["game"], run["algorithm"], intensity_of(run)) == these]
            if not own:
                continue
            named = [game, algorithm, f"{len(own)} × {own[0]['steps']:,}", f"{intensity:g}"]
            for side in sorted({key.rsplit(" ", 1)[0] for key in own[0] if key.endswith(" learned")}):
                learned = np.array([row[f"{side} learned"] for row in own])
                by_chance = np.array([row[f"{side} random"] for row in own])
                if what["opposed"]:
                    shares = [share(learned.ravel() > 0), share(learned.ravel() == 0), share(by_chance.ravel() > 0)]
                    by_seed = " ".join(f"{value:.2f}" for value in (learned > 0).mean(1))
                    won.append([*named, side, *shares, by_seed])
                else:
                    mean, low, high = interval(learned - by_chance, np.random.default_rng(0))
                    means = [f"{learned.mean():.2f}", f"{by_chance.mean():.2f}"]
                    lived.append([*named, *means, f"{mean:+.2f} [{low:.2f}, {high:.2f}]"])
    head = ["game", "algorithm", "seeds × env steps", "each row trained"]
    return "\n".join(
        [
            "# Games in turns, and a game in which agents die",
            "",
            "Default settings but for how often each row is trained; "
            f"{runs[0]['episodes']} episodes of each side and seed.",
            "",
            markdown([*head, "side", "won", "drawn", "random play wins", "won, by seed"], won),
            "",
            *([markdown([*head, "return of all", "of random play", "difference"], lived), ""] if lived else []),
            *made_with("rllib_biac", "pettingzoo", "torch"),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="env steps of each run (default: the game's own number)")
    parser.add_argument("--episodes", type=int, default=200, help="of each side against random play (default: 200)")
    parser.add_argument(
        "--training-intensity", nargs="+", type=float, default=[INTENSITY], help="how often each row is trained"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of turns.jsonl and turns.md")
    parser.add_argument("--cpus", type=int, default=None, help="runs at once (default: all cores)")
    options = parser.parse_args()
    runs: list[Row] = [
        {
            "game": game,
            "algorithm": algorithm,
            "seed": seed,
            "steps": options.steps or GAMES[game]["steps"],
            "episodes": options.episodes,
            **({} if intensity == INTENSITY else {"training_intensity": intensity}),
        }
        for game in options.games
        for intensity in options.training_intensity
        for algorithm in options.algorithms
        for seed in range(options.seeds)
    ]
    rows = run_all(learn, runs, options.out / "turns.jsonl", options.cpus)
    (options.out / "turns.md").write_text(page(runs, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
