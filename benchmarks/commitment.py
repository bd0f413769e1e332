"""This program shows: what learned commitments to a whole policy (Eq. 5) secure, beside exact values and Bi-AC.

How to run:
    python benchmarks/commitment.py --seeds 20                     # everything
    python benchmarks/commitment.py --only three_state --seeds 3   # a part; what was measured before stays

Every learned commitment is played against the exact best response, ties against the leader (`equilibria.secured`): this
is what it secures, whatever the learned follower did. Raw results (one line per run) and the tables go to
benchmarks/results; runs that stand there are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from studies import RESULTS, made_with, markdown, share

from rllib_biac.algorithms import commitment
from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.commitment import CommitmentDQN
from rllib_biac.envs import entry_deterrence_v0
from rllib_biac.envs.matrix_game import ESCAPE, MAINTAIN
from rllib_biac.equilibria import MarkovGame, Secured, backward_induction, best_commitment, mixed_commitment, secured
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.run import Run

RAW = RESULTS / "commitment.jsonl"
LEVELS = Hierarchy((("player_0",), ("player_1",)))
# Steps over which returns are published undiscounted.
HORIZONS = {"three_state": 150, "prisoners_dilemma": 10}
RANDOM = 200  # matrix games
MAINTAINED = 100  # seeds of Maintain, unannounced
A, B, C = 0, 1, 2
FEW, MANY = 4_000, 20_000  # env steps in games of one or two states, and of three
PLAYED = {True: 9_600, False: 640}  # of all env steps, those that are played to choose: in games with `HORIZONS`, else
# Of the mixed three-state game at R = 2: what is changed, by name.
ABLATIONS: dict[str, dict[str, Any]] = {
    "no choice tested by play": {"choose_after": None},
    "64 candidates": {"num_candidates": 64},
    "no margin": {"answer_margin": 0.0},
}


def three_state(reward: float) -> MarkovGame:
    """Returns the three-state game whose follower gets `reward` in B if it plays 2 and the leader 0."""
    rewards, transitions = np.zeros((2, 3, 2, 3)), np.zeros((3, 2, 3, 3))
    transitions[A, :, 0, A] = transitions[A, :, 1, B] = transitions[A, :, 2, C] = 1
    transitions[B, 0, 0, A] = transitions[B, 0, 1, B] = transitions[B, 0, 2, C] = transitions[B, 1, :, A] = 1
    transitions[C, :, 0, A] = transitions[C, :, 1:, C] = 1
    rewards[0, A, :, 1] = rewards[1, A, :, 1:] = 1
    rewards[1, B, 1], rewards[1, B, 0, 2] = -1, reward
    return MarkovGame(rewards, transitions, 0.99)


def prisoners_dilemma() -> MarkovGame:
    """Returns the repeated prisoner's dilemma to players who remember one step.

    Its states are the start and what both did last; they cooperate (0) or defect (1).
    """
    payoffs = np.array([[3.0, 1.0], [4.0, 2.0]])
    rewards = np.broadcast_to(np.stack([payoffs, payoffs.T])[:, None], (2, 5, 2, 2))
    transitions = np.zeros((5, 2, 2, 5))
    for one in range(2):
        for other in range(2):
            transitions[:, one, other, 1 + 2 * one + other] = 1
    return MarkovGame(rewards, transitions, 0.99)


def dilemma_by_steps(horizon: int = HORIZONS["prisoners_dilemma"]) -> tuple[MarkovGame, np.ndarray]:
    """Returns the same game over a horizon, in which the step belongs to the state, and what is seen of its states.

    A player who does not go by the last component of what is seen remembers one step, and sees no time.
    """
    stationary = prisoners_dilemma()
    count = 1 + 4 * (horizon - 1)  # the start, and what both did last at the steps after
    memory = np.array([0, *np.tile(np.arange(1, 5), horizon - 1)])
    time = np.array([0, *np.repeat(np.arange(1, horizon), 4)])
    rewards, transitions = stationary.rewards[:, memory], np.zeros((count, 2, 2, count))
    for state in np.flatnonzero(time < horizon - 1):
        transitions[state, ..., 1 + 4 * time[state] : 5 + 4 * time[state]] = stationary.transitions[0, ..., 1:]
    features = np.column_stack([np.eye(5)[memory], time / horizon])
    return MarkovGame(rewards, transitions, 1.0), features


def random_matrix(seed: int) -> np.ndarray:
    """Returns the payoffs of a 3 x 3 game, independent standard normal."""
    return np.random.default_rng([16, seed]).standard_normal((2, 3, 3))


def game_of(case: dict[str, Any]) -> tuple[MarkovGame, str, dict[str, Any]]:
    """Returns a case's game, its id and its settings."""
    name = case["game"]
    if name == "dilemma_by_steps":
        game, features = dilemma_by_steps()
        return game, "markov_game_v0", tables_of(game) | {"features": features, "horizon": None}
    if name in HORIZONS:
        game = three_state(case["R"]) if name == "three_state" else prisoners_dilemma()
        return game, "markov_game_v0", tables_of(game) | {"horizon": HORIZONS[name]}
    if name == "entry_deterrence_v0":
        own = entry_deterrence_v0
        return MarkovGame(own.REWARDS, own.TRANSITIONS, own.DISCOUNT), name, {}
    if name == "random_matrix":
        payoffs = random_matrix(case["seed"])
        return MarkovGame.from_matrix(payoffs), "matrix_game_v0", {"payoffs": payoffs}
    return MarkovGame.from_matrix({"maintain_v0": MAINTAIN, "escape_v0": ESCAPE}[name]), name, {}


def tables_of(game: MarkovGame) -> dict[str, Any]:
    """Returns a game's tables as `markov_game_v0` takes them."""
    return {"rewards": game.rewards, "transitions": game.transitions}


def cases(seeds: int) -> list[dict[str, Any]]:
    """Returns all that is to be run, the seeds in the outer loop."""
    found: list[dict[str, Any]] = []
    for seed in range(seeds):
        one = {"game": "maintain_v0", "steps": FEW, "seed": seed, "mixed": True}
        found += [one | {"announced": told} for told in (False, True)]
        found += [{"game": "escape_v0", "mixed": True, "announced": False, "steps": FEW, "seed": seed}]
        found += [
            {"game": "entry_deterrence_v0", "mixed": m, "announced": False, "steps": FEW, "seed": seed} for m in (0, 1)
        ]
        for reward in (1.0, 1.5, 2.0):
            game = {"game": "three_state", "R": reward, "announced": False, "steps": MANY, "seed": seed}
            found += [game | {"mixed": mixed, "changed": ""} for mixed in (False, True)]
        found += [
            {"game": name, "mixed": 0, "announced": False, "steps": steps, "seed": seed}
            for name, steps in (("prisoners_dilemma", MANY), ("dilemma_by_steps", 2 * MANY))
        ]
        if seed < 3:
            found += [
                {"game": "three_state", "R": r, "run": "BiAC", "steps": 40_000, "seed": seed} for r in (1.0, 1.5, 2.0)
            ]
            found += [
                {"game": g, "run": "BiAC", "steps": FEW, "seed": seed}
                for g in ("maintain_v0", "entry_deterrence_v0", "prisoners_dilemma")
            ]
            game = {"game": "three_state", "R": 2.0, "announced": False, "steps": MANY, "seed": seed, "mixed": True}
            found += [game | {"changed": name} for name in ABLATIONS]
    found += [
        {"game": "maintain_v0", "steps": FEW, "seed": seed, "mixed": True, "announced": False}
        for seed in range(seeds, MAINTAINED if seeds > 1 else 0)
    ]
    found += [
        {"game": "random_matrix", "mixed": True, "announced": False, "steps": FEW, "seed": seed}
        for seed in range(RANDOM if seeds > 1 else 2)
    ]
    return [{"run": "CommitmentDQN"} | case for case in found]


def train(case: dict[str, Any]) -> dict[str, Any]:
    """Trains one run without Ray, and returns its row."""
    game, env, config = game_of(case)
    gamma = game.gamma or 0.99
    algorithm, steps, horizon = CommitmentDQN, case["steps"], HORIZONS.get(case["game"])
    by_steps = case["game"] == "dilemma_by_steps"
    long = horizon is not None or by_steps
    more: dict[str, Any] = {}
    if case["run"] == "BiAC":
        algorithm, learned = BiAC, steps
    else:
        learned = steps - PLAYED[long]
        more |= {"mixed": bool(case["mixed"]), "announced": case["announced"], "max_states": game.num_states}
        more |= {"choose_after": learned, "choose_steps": PLAYED[long], "train_batch_size_per_learner": 256}
        more |= {"training_intensity": 4.0} if long else {}
        more |= {"leader_ignores": [5]} if by_steps else {}
        more |= ABLATIONS.get(case.get("changed", ""), {})
    more["lr"] = [[0, 1e-3], [learned // 2, 1e-3], [learned, 1e-4]]
    settings = algorithm.settings(gamma=gamma, **more)
    settings.check(LEVELS)
    begin = time.process_time()
    run = Run(algorithm, env, LEVELS, settings, seed=case["seed"], env_config=config).train(steps)
    row = case | {"cpu": round(time.process_time() - begin, 1), "env_steps": run.env_steps}
    states = torch.eye(game.num_states) if game.num_states > 1 else torch.ones(1, 1)
    states = torch.tensor(config["features"], dtype=torch.float32) if by_steps else states
    if case["run"] == "BiAC":
        played = run.team.act(states)
        policy = np.eye(game.num_actions[0])[played["player_0"].numpy()]
        row["announced"] = False
        joint = policy, np.eye(game.num_actions[1])[played["player_1"].numpy()]
        row["played"] = played_return(game, *joint, horizon=horizon)
    else:
        z = run.team.commitment(states).double()
        policy = (z / z.sum(1, keepdim=True)).numpy()
        row |= {"promised": run.finished.get("promised"), "chosen_by": run.finished}
    found = secured(game, policy, announced=row["announced"])
    row |= {"policy": policy.round(4).tolist(), "secured": found.leader_payoff}
    if horizon:
        row["undiscounted"] = published(game, policy, found, horizon)
    return row


def published(game: MarkovGame, policy: np.ndarray, found: Secured, horizon: int) -> float:
    """Returns the leader's undiscounted return over a horizon against the exact stationary best response."""
    return played_return(game, policy, np.eye(game.num_actions[1])[found.response], horizon=horizon)


def played_return(game: MarkovGame, one: np.ndarray, two: np.ndarray, horizon: int | None) -> float:
    """Returns the leader's return from state 0, both (|S|, |A_i|): undiscounted over a horizon, else discounted."""
    reward = np.einsum("sab,sa,sb->s", game.rewards[0], one, two)
    move = np.einsum("sabt,sa,sb->st", game.transitions, one, two)
    at, total = np.eye(game.num_states)[0], 0.0
    for step in range(horizon or 1_000):
        total += float(at @ reward) * (1.0 if horizon else game.gamma**step)
        at = at @ move
    return total


def supremum(reward: float, points: int = 2_001) -> tuple[float, float]:
    """Returns the best p, the probability of 1 in B, on a grid, and the undiscounted return: nothing else counts."""
    game = three_state(reward)
    best = (0.0, -np.inf)
    for p in np.linspace(0, 1, points):
        policy = np.array([[1, 0], [1 - p, p], [1, 0]])
        value = published(game, policy, secured(game, policy, announced=False), HORIZONS["three_state"])
        best = max(best, (float(p), value), key=lambda one: one[1])
    return best


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the tables as lines of Markdown."""
    lines = [
        "Three-state game, undiscounted return of the leader over 150 steps, gamma 0.99, against the exact follower:",
        "",
    ]
    found = []
    for reward in (1.0, 1.5, 2.0):
        p, value = supremum(reward)
        exact = {True: f"{value:.1f}, p = {p:.3f}", False: "50.0"}
        own = [row for row in rows if row["game"] == "three_state" and row["R"] == reward]
        for mixed in (False, True):
            group = [row for row in own if row.get("mixed") == mixed and not row["changed"]]
            found.append([f"{reward:g}", "mixed" if mixed else "pure", exact[mixed], *summary(group, "undiscounted")])
        for name in ABLATIONS:
            if group := [row for row in own if row.get("changed") == name]:
                found.append([f"{reward:g}", f"mixed, {name}", exact[True], *summary(group, "undiscounted")])
        group = [row for row in own if row["run"] == "BiAC"]
        found.append([f"{reward:g}", "Bi-AC (feedback)", "0.0", *summary(group, "played")])
    head = ["R", "learned", "exact", "median", "worst", "best", "runs", "env steps", "CPU-s", "promised - secured"]
    lines += [*markdown(head, found).splitlines(), ""]
    lines += [
        "Repeated prisoner's dilemma, whose players remember one step (payoffs 3 and 3, 1 and 4, 2 and 2), gamma 0.99: "
        "the leader's undiscounted return over 10 steps. Where the follower sees the step, nothing is discounted, and "
        "the leader does not see it (`leader_ignores`).",
        "",
    ]
    group = [row for row in rows if row["game"] == "prisoners_dilemma"]
    dilemma = prisoners_dilemma()
    best = best_commitment(dilemma, mixed=False).policy
    value = published(dilemma, best, secured(dilemma, best, announced=False), HORIZONS["prisoners_dilemma"])
    learned, bi_ac = ([row for row in group if row["run"] == run] for run in ("CommitmentDQN", "BiAC"))
    timed = [row for row in rows if row["game"] == "dilemma_by_steps"]
    found = [
        ["pure", f"{value:.1f}", *summary(learned, "undiscounted")],
        ["pure, follower sees the step", f"{best_of_memory_one():.1f}", *summary(timed, "secured")],
        ["Bi-AC (feedback)", "20.0", *summary(bi_ac, "played")],
    ]
    lines += [*markdown(head[1:], found).splitlines(), ""]
    lines += ["Games of one or two states, discounted return:", ""]
    found = []
    entry = entry_deterrence_v0
    feedback = backward_induction(MarkovGame(entry.REWARDS, entry.TRANSITIONS, entry.DISCOUNT)).leader_value[0, 0]
    short: list[tuple[str, str, dict[str, Any], float]] = [
        ("maintain_v0", "mixed, unannounced", {"announced": False}, mixed_commitment(MAINTAIN).leader_payoff),
        ("maintain_v0", "mixed, announced", {"announced": True}, 20.0),
        ("maintain_v0", "Bi-AC (feedback)", {"run": "BiAC"}, 20.0),
        ("escape_v0", "mixed, unannounced", {}, mixed_commitment(ESCAPE).leader_payoff),
        ("entry_deterrence_v0", "pure", {"mixed": 0}, 4.0),
        ("entry_deterrence_v0", "mixed", {"mixed": 1}, 4.0),
        ("entry_deterrence_v0", "Bi-AC (feedback)", {"run": "BiAC"}, feedback),
    ]
    for game, learned, only, exact in short:
        only = {"run": "CommitmentDQN"} | only
        group = [row for row in rows if row["game"] == game and only.items() <= row.items()]
        key = "played" if only["run"] == "BiAC" else "secured"
        found.append([game, learned, f"{exact:.2f}", *summary(group, key)])
    lines += [*markdown(["game", *head[1:]], found).splitlines(), ""]
    held = {"run": "CommitmentDQN", "game": "maintain_v0", "announced": False}
    if kept := [row["secured"] for row in rows if held.items() <= row.items()]:
        enough = share(sum(value >= 27.3 for value in kept), len(kept))
        lines += [f"Maintain, mixed, unannounced, secures at least 27.3: {enough}.", ""]
    own = [row for row in rows if row["game"] == "random_matrix"]
    if gaps := [gap(row) for row in own]:
        hits = {most: share(sum(g <= most for g in gaps), len(gaps)) for most in (1, 3)}
        lines += [
            f"{len(gaps)} random 3 x 3 matrix games (normal payoffs), mixed, unannounced, against linear programs: gap "
            f"in % of the range of the leader's payoffs: median {median(gaps):.2f}, worst {max(gaps):.1f}; at most 1%: "
            f"{hits[1]}; at most 3%: {hits[3]}.",
            "",
        ]
    return lines


def best_of_memory_one() -> float:
    """Returns what the best pure commitment secures of those that remember one step, against who also sees the step."""
    game, features = dilemma_by_steps()
    memory = features[:, :5].argmax(1)
    every = (np.eye(2)[list(actions)][memory] for actions in product((0, 1), repeat=5))
    return max(secured(game, policy, announced=False).leader_payoff for policy in every)


def gap(row: dict[str, Any]) -> float:
    """Returns what a random matrix game's commitment secures less than the best, in % of the leader's payoff range."""
    payoffs = random_matrix(row["seed"])
    return 100 * (mixed_commitment(payoffs).leader_payoff - row["secured"]) / float(np.ptp(payoffs[0]))


def summary(rows: list[dict[str, Any]], key: str) -> list[str]:
    """Returns median, worst, best, number of runs, env steps, CPU-seconds and promised minus secured."""
    if not rows:
        return ["-"] * 7
    values = [row[key] for row in rows]
    over = [row["promised"] - row["secured"] for row in rows if row.get("promised") is not None]
    return [
        *(f"{of(values):.2f}" for of in (median, min, max)),
        str(len(rows)),
        f"{rows[0]['env_steps']:,}",
        f"{median(row['cpu'] for row in rows):.0f}",
        f"{median(over):.2f}" if over else "-",
    ]


def size() -> list[str]:
    """Returns how large the algorithm is, and which files outside its folder are for it alone or name it."""
    root = Path(commitment.__file__).parents[2]
    own = sorted(Path(commitment.__file__).parent.glob("*.py"))
    count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)
    needles = "algorithms.commitment", "walk.commitment", "CommitmentDQN", "commitment_sha256"
    named = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        if path not in own and any(needle in path.read_text(encoding="utf-8") for needle in needles)
    ]
    return [
        f"The algorithm's folder, `rllib_biac/algorithms/commitment`, has {len(own)} files of {count:,} lines. Outside "
        f"it these files of `rllib_biac` name it, its walk or its hash: {', '.join(f'`{name}`' for name in named)}.",
        "",
    ]


def main() -> None:
    """Runs what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=[], help="games")
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no run begins after so long")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = args.raw.read_text(encoding="utf-8").splitlines() if args.raw.exists() else []
    rows = [json.loads(line) for line in lines]
    begin = time.monotonic()
    for case in cases(args.seeds):
        made = any(case.items() <= row.items() for row in rows)
        if made or (args.only and case["game"] not in args.only) or time.monotonic() - begin > 60 * args.minutes:
            continue
        rows.append(train(case))
        with args.raw.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    text = [
        "# Committing to a whole policy",
        "",
        "What learned commitments (`CommitmentDQN`, Eq. 5) secure: the leader's return if the follower best-responds "
        "exactly and breaks ties against the leader. Exact values of mixed commitments are suprema over stationary "
        "policies; no policy attains them. Commitments are made before the start, which is always the same state. "
        "Bi-AC learns feedback equilibria; its rows say what its own play returns. Promised: what counts (or critics) "
        "expect, discounted, less what is secured, median. Env steps include those that were played to choose the "
        "commitment (`choose_steps`); no figure here is of that play. Some rows change one setting.",
        "",
        *table(rows),
        *size(),
        *made_with("rllib_biac", "torch", "numpy"),
    ]
    (RESULTS / "commitment.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
