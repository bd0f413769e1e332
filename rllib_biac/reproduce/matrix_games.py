"""Tables 2 and 3: where every algorithm ends in Escape and Maintain."""

from __future__ import annotations

from collections import Counter
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_biac import envs
from rllib_biac.equilibria import stackelberg
from rllib_biac.evaluation.statistics import interquartile_mean, mean_text, share_text
from rllib_biac.reproduce.experiment import Experiment, Table
from rllib_biac.reproduce.runs import Row
from rllib_biac.reproduce.training import ALGORITHMS, RELEASED, built, greedy, settings, train_until

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAYERS = ("player_0", "player_1")
JUDGED = (1_000, 3_000)  # env steps after which play is judged
PLAYS = 100  # per judgement: one suffices where play is deterministic, as it is unless responses are sampled
TABULAR = "BiLevelQ"

# Paper, Tables 2 and 3: the leader's and the follower's mean payoff, the share of runs at the equilibrium in percent.
PAPER = {
    "escape": {
        "BiAC": (28.5, 28.5, 90),
        "IDQN": (20.55, 20.55, 37),
        "MADDPG": (23.4, 23.4, 56),
        "MATD3": (15.3, 15.3, 2),
        "HystereticDQN": (13.25, 13.25, 0),
        "LenientDQN": (13.4, 13.4, 0),
    },
    "maintain": {
        "BiAC": (20, 15, 100),
        "IDQN": (9.5, 5.5, 0),
        "MADDPG": (12, 4.5, 0),
        "MATD3": (11.5, 5, 0),
        "HystereticDQN": (9.1, 5.9, 0),
        "LenientDQN": (8.8, 6.2, 0),
    },
}

VARIANT_NAMES = {
    "main": "ours",
    "uniform": "ours, 1,000 uniform steps first",
    "raw": "ours, raw targets",
    "enumerated": "ours, response enumerated",
    "paper": "the paper's",
    "released": "as the released code has it",
}


@cache
def game_of(game: str) -> Any:
    """Returns the plain form of `escape` or `maintain`."""
    return envs.make(f"{game}_v0")


@cache
def equilibrium_of(game: str) -> str:
    """Returns the joint action that is the exact Stackelberg equilibrium, the row player leading, such as `C-Z`."""
    exact = stackelberg(game_of(game).payoffs)
    return game_of(game).outcome_name([int(exact.leader_action), int(exact.follower_action)])


def runs(game: str, seeds: int, algorithms: tuple[str, ...] = tuple(ALGORITHMS)) -> list[Row]:
    """Returns the settings of all runs of a table: every algorithm in every variant, seed by seed."""
    wanted = [(run, variant) for run in algorithms for variant in variants(run)]
    every = []
    for seed in range(seeds):
        every += [settings(run, game, variant, seed) for run, variant in wanted]
        every.append(tabular_settings(game, seed))
    return every


def variants(run: str) -> list[str]:
    """Returns the variants in which an algorithm stands in the tables."""
    more = ["enumerated", "paper"] if run == "BiAC" else ["released"] if run in RELEASED else []
    return ["main", "uniform", "raw", *more]


def tabular_settings(game: str, seed: int) -> Row:
    """Returns the settings of one run of tabular bi-level Q-learning, with the epsilon schedule of Bi-AC."""
    from rllib_biac.rllib.registry import config_class

    like = settings("BiAC", game, "main", seed)
    epsilon = like["config"].get("epsilon", config_class("BiAC")().epsilon)
    return like | {"run": TABULAR, "config": {"alpha": 0.1, "epsilon": epsilon}}


def learn(run: str, env: str, variant: str, seed: int, steps: int, config: Row) -> Row:
    """One run: its greedy play after 1,000 steps and in the end, and what training itself looked like by then."""
    game = env.removesuffix("_v0")
    if run == TABULAR:
        return _learn_tables(game, seed, steps, **config)
    judged, training = {}, {}
    with built(run, env, config, every=1_000) as algo:
        for until in (*(at for at in JUDGED if at < steps), steps):
            result = train_until(algo, until)["env_runners"]
            ones = np.ones((PLAYS, 1), np.float32)
            actions = greedy(algo, ones, dict.fromkeys(PLAYERS, ones), seed)
            judged[str(until)] = judge(game, np.stack([actions[player] for player in PLAYERS], axis=1))
            training[str(until)] = {
                "returns": {agent: round(float(r), 3) for agent, r in result["agent_episode_returns_mean"].items()},
                "outcome_share": {name: float(s) for name, s in sorted(result["outcome_share"].items()) if s},
            }
    return {"greedy": judged, "training": training}


def _learn_tables(game: str, seed: int, steps: int, alpha: float, epsilon: list[list[float]]) -> Row:
    """Learns a game's tables from one transition after the other, without replay (Zhang et al. 2020, Eqs. 8-11)."""
    from rllib_biac.algorithms.bilevel_q.trainer import equilibrium
    from rllib_biac.learning.settings import piecewise

    payoffs, rng = game_of(game).payoffs, np.random.default_rng(seed)
    q = np.zeros(payoffs.shape)  # (2, |A_1|, |A_2|)
    judged = {}
    for step in range(steps):
        explores = piecewise(epsilon, step)
        a1, _ = equilibrium(*q)
        if rng.random() < explores:
            a1 = int(rng.integers(q.shape[1]))
        a2 = int(q[1, a1].argmax())  # the answer to the action that was really taken
        if rng.random() < explores:
            a2 = int(rng.integers(q.shape[2]))
        q[:, a1, a2] += alpha * (payoffs[:, a1, a2] - q[:, a1, a2])  # Eqs. 10, 11; the game ends at once
        if step + 1 in (*JUDGED, steps):
            judged[str(step + 1)] = judge(game, np.array([equilibrium(*q)]))
    return {"greedy": judged, "training": {}}


def judge(game: str, actions: np.ndarray) -> Row:
    """Returns the most frequent of some plays, (n, 2) int, its name, all shares, and the mean payoffs."""
    payoffs = game_of(game).payoffs
    counts = Counter(map(tuple, actions.tolist()))
    ((joint, _),) = counts.most_common(1)
    means = payoffs[:, actions[:, 0], actions[:, 1]].mean(1)
    return {
        "joint_action": list(joint),
        "name": game_of(game).outcome_name(joint),
        "shares": {game_of(game).outcome_name(key): n / len(actions) for key, n in sorted(counts.items())},
        "returns": dict(zip(PLAYERS, map(float, means), strict=True)),
    }


def groups(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Returns rows by algorithm and variant, in the order in which a seed's runs stand."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["run"], row["variant"]), []).append(row)
    return grouped


def label(run: str, variant: str) -> tuple[str, str]:
    """Returns an algorithm's name in the paper, and a variant's in words."""
    if run == TABULAR:
        return "bi-level Q, tabular", "alpha 0.1"
    return ALGORITHMS[run][0], VARIANT_NAMES[variant]


def table(game: str, rows: list[Row]) -> Table:
    """Returns the table of a game: what the greedy play of every algorithm and variant ends at."""
    wanted = equilibrium_of(game)
    lines = []
    for (run, variant), group in groups(rows).items():
        early, last = (str(step) for step in JUDGED)
        payoffs = [[row["greedy"][last]["returns"][player] for row in group] for player in PLAYERS]
        ends = Counter(row["greedy"][last]["name"] for row in group)
        hits = [sum(row["greedy"][at]["name"] == wanted for row in group) for at in (early, last)]
        elsewhere = [f"{name} {count}" for name, count in ends.most_common() if name != wanted]
        paper = PAPER[game].get(run)
        lines.append(
            [
                *label(run, variant),
                *(cell for values in payoffs for cell in (mean_text(values), f"{interquartile_mean(values):.2f}")),
                *(share_text(count, len(group)) for count in hits),
                ", ".join(elsewhere) or "–",
                *([f"{paper[0]:g}", f"{paper[1]:g}", f"{paper[2]}%"] if paper else ["–"] * 3),
            ]
        )
    columns = [
        "algorithm",
        "settings",
        "leader: mean [95%]",
        "leader: interquartile mean",
        "follower: mean [95%]",
        "follower: interquartile mean",
        *(f"runs at {wanted} after {step:,} steps [95%]" for step in JUDGED),
        "runs that end elsewhere",
        "paper: leader",
        "paper: follower",
        f"paper: {wanted}",
    ]
    return Table(f"Greedy play in {game.title()}; the equilibrium is {wanted}", columns, lines)


def figures(game: str, rows: list[Row]) -> list[tuple[str, Figure]]:
    """Draws where the runs of every algorithm and variant end, and both payoffs beside the paper's."""
    from rllib_biac.reproduce.figures import ends_and_payoffs

    last, names = str(JUDGED[-1]), game_of(game).outcome_name
    sizes = game_of(game).sizes
    lines = []
    for (run, variant), group in groups(rows).items():
        lines.append(
            (
                " · ".join(label(run, variant)),
                Counter(row["greedy"][last]["name"] for row in group),
                [[row["greedy"][last]["returns"][player] for row in group] for player in PLAYERS],
                PAPER[game].get(run, (None, None))[:2],
            )
        )
    joint = [names((a1, a2)) for a1 in range(sizes[0]) for a2 in range(sizes[1])]
    title = f"{game.title()}: greedy joint action in the end, and payoffs"
    return [(title, ends_and_payoffs(game.title(), lines, joint, equilibrium_of(game)))]


NOTES = (
    "A run is judged by its most frequent joint action without exploration, after 1,000 and after 3,000 env steps; "
    "payoffs are those of that play after 3,000 steps.",
    "“ours”: the settings of the tuned examples (epsilon falls from the start, critics learn normalised targets). "
    "“1,000 uniform steps first”: the same epsilon schedule, begun 1,000 steps later; uniformly random play before, as "
    "in the paper.",
    "“the paper's”: tuned_examples/*_biac_paper.yaml, with responses sampled (Eq. 12 to the letter); 100 plays tell "
    "the most frequent joint action.",
    "“as the released code has it”: not what these methods are. For Hysteretic- and Lenient-DQN targets above 1 are "
    "cut to 1, so that a payoff of 30 cannot be told from one of 10; for I-DQN targets go on beyond the end of the "
    "game, by the online network.",
    "Intervals: bootstrap for means, Clopper-Pearson for shares. Raw rows hold training-time shares too (the last 100 "
    "episodes, exploration included).",
)


def _experiment(name: str, game: str) -> Experiment:
    return Experiment(
        name=name,
        title=f"Table {name[-1]}: {game.title()}",
        seeds=100,
        runs=partial(runs, game),
        run=learn,
        tables=lambda rows: [table(game, rows)],
        figures=partial(figures, game),
        notes=NOTES,
    )


TABLE2 = _experiment("table2", "escape")
TABLE3 = _experiment("table3", "maintain")
