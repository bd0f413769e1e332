"""This program shows: what commitments learned from counts are worth in Four Rooms, beside published figures.

How to run:
    python benchmarks/four_rooms.py --seeds 10    # what was measured before stays

The game is that of Thoma et al. ("Contextual Bilevel Reinforcement Learning for Incentive Alignment", NeurIPS 2024): a
robot walks through four rooms to one of two goals, drawn for each episode. The leader gets 1 whenever the robot stands
on a certain cell, and may make up to 0.2 of penalties known, spread over the cells, to lead it there; at the goal it
pays `beta` times what it spread. The robot errs: it values the entropy of its steps times `lambda`.

In the words of this library: the leader commits to a mixed action, the same in all states. Its actions are the cells
and nothing. A robot that stands on the cell that is drawn pays 0.2; it knows the probabilities, and not the draw. So
this is a mixed commitment, not announced, of a leader that ignores the state, to a quantal follower.

What is learned: the robot walks at random and counts where steps lead; the leader, who knows its penalties, climbs in
the counted game by gradients through the robot's answer, as `CommitmentDQN` does. What that commitment is worth is
computed in the true game, by `quantal_response`. Raw results and the table go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.stats import t
from studies import RESULTS, made_with, markdown

from rllib_biac.algorithms.commitment.ascent import climbed
from rllib_biac.algorithms.commitment.known import KnownGame
from rllib_biac.algorithms.commitment.search import draw
from rllib_biac.equilibria import MarkovGame, quantal_response

RAW = RESULTS / "four_rooms.jsonl"
ROOMS = (
    "#############",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#     #     #",
    "## ####     #",
    "#     ### ###",
    "#     #     #",
    "#     #     #",
    "#           #",
    "#     #     #",
    "#############",
)
CELLS = [(row, column) for row in range(13) for column in range(13) if ROOMS[row][column] != "#"]
NUMBER = {cell: number for number, cell in enumerate(CELLS)}
START, TARGET, GOALS = NUMBER[4, 1], NUMBER[8, 4], (NUMBER[1, 9], NUMBER[11, 11])
NOTHING = len(CELLS)  # the leader's last action
# The chance of the step that is meant, and of each other one; as the published values were computed.
MEANT, OTHER = 1.0 - 4 * 0.33 / 3, 4 * 0.33 / 9
GAMMA, BUDGET, HORIZON = 0.99, 0.2, 200
STEPS, GAMES = 200_000, 500  # env steps that are counted, and of how many games at once
# Drawn commitments to climb from, beside one of next to no penalties and an even one: in runs, and with a known maze.
DRAWN, MORE = 0, 4
# (lambda, beta) -> means of a hypergradient (HPGD), adaptive model design (AMD) and zero-order search.
PUBLISHED = {
    (0.001, 1): (0.91, 0.58, 0.59),
    (0.001, 3): (0.51, 0.51, 0.50),
    (0.001, 5): (0.46, 0.46, 0.46),
    (0.003, 1): (0.95, 1.00, 0.91),
    (0.003, 3): (0.73, 0.39, 0.40),
    (0.003, 5): (0.29, 0.32, 0.32),
    (0.005, 1): (1.17, 1.28, 1.15),
    (0.005, 3): (1.01, 1.13, 1.02),
    (0.005, 5): (0.87, 0.97, 0.79),
}


@cache
def maze() -> np.ndarray:
    """Returns where steps lead, (cells, 4 steps, cells): into a wall they lead nowhere."""
    moves = np.zeros((len(CELLS), 4, len(CELLS)))
    for (row, column), number in NUMBER.items():
        to = [NUMBER.get((row + down, column + right), number) for down, right in ((-1, 0), (0, 1), (1, 0), (0, -1))]
        for step in range(4):
            for chance, other in zip(np.where(np.arange(4) == step, MEANT, OTHER), to, strict=True):
                moves[number, step, other] += chance
    return moves


def counted(seed: int) -> np.ndarray:
    """Walks at random, and returns how often steps led where: (2 goals, cells, 4 steps, cells)."""
    rng = np.random.default_rng(seed)
    following = maze().cumsum(-1)
    counts = np.zeros((2, len(CELLS), 4, len(CELLS)))
    goal, cell, left = rng.integers(2, size=GAMES), np.full(GAMES, START), np.full(GAMES, HORIZON)
    for _ in range(STEPS // GAMES):
        step = rng.integers(4, size=GAMES)
        drawn = rng.random((GAMES, 1)) * following[cell, step, -1:]
        after = (drawn >= following[cell, step]).sum(-1)
        np.add.at(counts, (goal, cell, step, after), 1.0)
        left -= 1
        # The step after the goal is reached pays, and leads nowhere: it is not walked here.
        over = (after == np.array(GOALS)[goal]) | (left == 0)
        goal = np.where(over, rng.integers(2, size=GAMES), goal)
        cell, left = np.where(over, START, after), np.where(over, HORIZON, left)
    return counts


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Returns what was counted as chances; where nothing was, a step leads nowhere."""
    total = counts.sum(-1, keepdims=True)
    stays = np.broadcast_to(np.eye(len(CELLS))[:, None], counts.shape[1:])
    return np.where(total > 0, counts / np.maximum(total, 1.0), stays)


def payoffs(beta: float) -> np.ndarray:
    """Returns what a state and the leader's action pay, (2 players, 2 goals, cells, cells and nothing)."""
    paid = np.zeros((2, 2, len(CELLS), NOTHING + 1))
    paid[0, :, TARGET] = 1.0
    paid[1, :, :, :NOTHING] = -BUDGET * np.eye(len(CELLS))
    for number, goal in enumerate(GOALS):
        paid[0, number, goal] = -beta * BUDGET * (np.arange(NOTHING + 1) != NOTHING)
        paid[1, number, goal] = 1.0
    return paid


def ending(moves: np.ndarray) -> np.ndarray:
    """Returns moves of both goals, (2, cells, 4, cells), with a game that ends one step after the goal is reached."""
    moves = np.broadcast_to(moves, (2, *moves.shape[-3:])).copy()
    for number, goal in enumerate(GOALS):
        moves[number, goal] = 0.0
    return moves


def joined(moves: np.ndarray) -> np.ndarray:
    """Returns moves of both goals as those of one game, (2 cells, 4, 2 cells)."""
    cells = len(CELLS)
    whole = np.zeros((2 * cells, 4, 2 * cells))
    whole[:cells, :, :cells], whole[cells:, :, cells:] = moves
    return whole


def starts() -> np.ndarray:
    """Returns the chances of the first state, (2 cells,)."""
    return np.where(np.arange(2 * len(CELLS)) % len(CELLS) == START, 0.5, 0.0)


def known(moves: np.ndarray, errs: float, beta: float) -> KnownGame:
    """Returns the game as the leader knows it: its payoffs, and moves (2, cells, 4, cells)."""
    paid = payoffs(beta).reshape(2, 2 * len(CELLS), -1, 1).repeat(4, 3)
    tables = (torch.from_numpy(table) for table in (paid, joined(moves)[:, None], starts()))
    return KnownGame(*tables, gamma=GAMMA, hears=False, temperature=errs, spread=1.0)  # as the goal pays


def commitment(game: KnownGame, seed: int, drawn: int) -> np.ndarray:
    """Climbs from several commitments, and returns the best one by that game, (cells and nothing,)."""
    first = torch.full((2 + drawn, game.num_states, NOTHING + 1), 1.0 / (NOTHING + 1))
    first[0, :, :NOTHING], first[0, :, NOTHING] = 0.1 / NOTHING, 0.9
    alike = torch.zeros(game.num_states, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    first[2:] = draw(
        drawn, torch.ones(len(alike), dtype=torch.bool), alike, NOTHING + 1, mixed=True, generator=generator
    )
    tried = climbed(game, first, alike)
    return tried[int(game.worth(tried).argmax()), 0].double().numpy()


def worth(z: np.ndarray, errs: float, beta: float) -> float:
    """Returns what a commitment is worth to the leader in the true game."""
    # Nothing is announced, so that the mean over the leader's actions is all that the robot knows.
    paid = (payoffs(beta) @ (z / z.sum())).reshape(2, -1, 1, 1).repeat(4, 3)
    game = MarkovGame(paid, joined(ending(maze()))[:, None], GAMMA)
    return quantal_response(game, np.ones((game.num_states, 1)), errs, announced=False, start=starts()).leader_payoff


def learn(errs: float, beta: float, seed: int) -> dict[str, Any]:
    """Counts, commits, and returns the row."""
    begin = time.process_time()
    game = known(ending(frequencies(counted(seed))), errs, beta)
    z = commitment(game, seed, DRAWN)
    cpu = round(time.process_time() - begin, 1)
    return {
        "lambda": errs,
        "beta": beta,
        "seed": seed,
        "env_steps": STEPS,
        "cpu": cpu,
        "promised": float(game.worth(torch.from_numpy(z).expand(1, game.num_states, -1))[0]),
        "worth": worth(z, errs, beta),
        "spread": round(BUDGET * float(1.0 - z[NOTHING] / z.sum()), 4),
    }


def best_found(errs: float, beta: float) -> dict[str, Any]:
    """Returns what no penalties are worth, and the best that is found where the maze is known."""
    none = np.eye(NOTHING + 1)[NOTHING]
    found = commitment(known(ending(maze()), errs, beta), 0, MORE)
    alone = worth(none, errs, beta)
    return {"lambda": errs, "beta": beta, "none": alone, "best": max(alone, worth(found, errs, beta))}


def interval(values: list[float]) -> str:
    """Returns a mean and its 95% interval (Student's t)."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return f"{mean:.2f}"
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return f"{mean:.2f} ± {half:.2f}"


def main() -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no run begins after so long")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []
    begin = time.monotonic()
    for seed in (None, *range(args.seeds)):
        for errs, beta in PUBLISHED:
            case = {"lambda": errs, "beta": beta} | ({} if seed is None else {"seed": seed})
            made = any(case.items() <= row.items() and ("seed" in row) == (seed is not None) for row in rows)
            if made or time.monotonic() - begin > 60 * args.minutes:
                continue
            rows.append(best_found(errs, beta) if seed is None else learn(errs, beta, seed))
            with RAW.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    found = []
    for (errs, beta), others in PUBLISHED.items():
        own = [row for row in rows if (row["lambda"], row["beta"]) == (errs, beta)]
        learned = [row for row in own if "seed" in row]
        ends = [row for row in own if "seed" not in row]
        found.append(
            [
                f"{errs:g}",
                f"{beta}",
                *(f"{value:.2f}" for value in others),
                interval([row["worth"] for row in learned]) if learned else "-",
                f"{len(learned)}",
                f"{np.median([row['cpu'] for row in learned]):.0f}" if learned else "-",
                *(f"{row['none']:.2f}" for row in ends),
                *(f"{max([row['best'], *(run['worth'] for run in learned)]):.2f}" for row in ends),
            ]
        )
    head = [
        "lambda",
        "beta",
        "HPGD",
        "AMD",
        "zero order",
        "learned here",
        "runs",
        "CPU-s",
        "no penalties",
        "best found",
    ]
    text = [
        "# Four Rooms: penalties that lead a robot",
        "",
        "What the leader gets, discounted, of a robot that errs (`lambda`), less what it spreads (`beta`). HPGD, AMD "
        "and zero order: as published by Thoma et al. (NeurIPS 2024), means of ten seeds, after 10,000 iterations of "
        "10,000 env steps each, with the best of four learning rates; their robots know the maze. Learned here: mean "
        f"and 95% interval of the runs, of {STEPS:,} env steps of random walks each, whose counts are all that is "
        "known of the maze; computed in the true game, as the published ones were. Best found: by the same gradients "
        "where the maze is known, or in one of the runs; a lower bound of the optimum. There are many hills.",
        "",
        *markdown(head, found).splitlines(),
        "",
        *made_with("rllib_biac", "torch", "numpy", "scipy"),
    ]
    (RESULTS / "four_rooms.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
