"""Figure 4: how Bi-AC converges in Escape, and in which order its parts get there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rllib_biac.reproduce.experiment import Experiment, Table
from rllib_biac.reproduce.matrix_games import PLAYERS, equilibrium_of, game_of
from rllib_biac.reproduce.runs import Row
from rllib_biac.reproduce.training import built, settings, train_until

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVERY = 25  # env steps between two looks; one step of all 25 games
CLOSE = 1.0  # how near Q_1(C,Z) comes to its payoff, 30, to count as correct
C, Z = 2, 2
VARIANTS = {"paper": "the paper's settings", "main": "our settings"}
# In the order in which the paper has them.
EVENTS = ("Q1(C,Z) correct", "Q2(C,Z) highest of its row", "pi2 answers C with Z", "leader takes C")


def runs(seeds: int) -> list[Row]:
    """Returns the settings of all runs, seed by seed."""
    # All 25 games take a step before the next look.
    every = {"num_envs_per_env_runner": EVERY}
    return [settings("BiAC", "escape", variant, seed, **every) for seed in range(seeds) for variant in VARIANTS]


def learn(run: str, env: str, variant: str, seed: int, steps: int, config: Row) -> Row:
    """One run: what the leader and the follower make of row C, every 25 env steps."""
    seen: dict[str, list[Any]] = {"at": [], "q1": [], "q2": [], "pi2": [], "leader": []}
    with built(run, env, config, every=EVERY) as algo:
        for at in range(EVERY, steps + 1, EVERY):
            train_until(algo, at)
            tables = _tables(algo)
            answers = tables["pi2"].argmax(1)
            leader = int(tables["q1"][np.arange(len(answers)), answers].argmax())
            seen["at"].append(at)
            for name in ("q1", "q2", "pi2"):
                seen[name].append([round(float(value), 4) for value in tables[name][C]])
            seen["leader"].append(leader)
    return seen


def _tables(algo: Any) -> dict[str, np.ndarray]:
    """Returns Q_1, Q_2 in the game's own units and pi_2, each (|A_1|, |A_2|), of the networks that learn."""
    team, state = algo.learner_team(), torch.ones(1, 1)
    follower = team[PLAYERS[1]]
    with torch.no_grad():
        q = team.q_tables(state)
        logits = follower.table(follower.actor(follower.encode(state)))
    tables = (q[PLAYERS[0]], q[PLAYERS[1]], logits.softmax(2))
    return dict(zip(("q1", "q2", "pi2"), (table[0].numpy() for table in tables), strict=True))


def events(row: Row) -> list[int | None]:
    """Returns the env step from which on each of `EVENTS` holds at every look to the end; None if it does not."""
    payoff = game_of("escape").payoffs[0, C, Z]
    q1, q2, pi2 = (np.array(row[name]) for name in ("q1", "q2", "pi2"))  # (looks, 3)
    holds = (np.abs(q1[:, Z] - payoff) <= CLOSE, q2.argmax(1) == Z, pi2.argmax(1) == Z, np.array(row["leader"]) == C)
    return [_settled(row["at"], held) for held in holds]


def _settled(at: list[int], held: np.ndarray) -> int | None:
    if not held[-1]:
        return None
    broken = np.flatnonzero(~held)
    return at[broken[-1] + 1] if broken.size else at[0]


def tables(rows: list[Row]) -> list[Table]:
    """Returns when the events settle, over seeds and seed by seed, and whether the paper's order holds."""
    summary, single = [], []
    for variant, name in VARIANTS.items():
        group = [row for row in rows if row["variant"] == variant]
        times = [events(row) for row in group]
        whole = [[moment for moment in moments if moment is not None] for moments in times if None not in moments]
        cells = []
        for index in range(len(EVENTS)):
            held = sorted(moment for moments in times if (moment := moments[index]) is not None)
            cells.append(
                f"{np.median(held):,.0f} ({held[0]:,}–{held[-1]:,}), {len(held)} of {len(group)}" if held else "never"
            )
        pairs = [sum(moments[i] <= moments[i + 1] for moments in whole) for i in range(3)]
        ordered = sum(moments == sorted(moments) for moments in whole)
        summary.append([name, *cells, *(f"{pair} of {len(whole)}" for pair in pairs), f"{ordered} of {len(whole)}"])
        for row, moments in zip(group, times, strict=True):
            order = " < ".join(_order(moments)) if None not in moments else "–"
            single.append([name, str(row["seed"]), *("never" if m is None else f"{m:,}" for m in moments), order])
    event_columns = [f"{event}, env step" for event in EVENTS]
    return [
        Table(
            f"When each holds for good: median (range) of the runs in which it does; SE {equilibrium_of('escape')}",
            [
                "settings",
                *event_columns,
                "Q1 no later than Q2",
                "Q2 no later than pi2",
                "pi2 no later than the leader",
                "the paper's order",
            ],
            summary,
        ),
        Table("Run by run", ["settings", "seed", *event_columns, "order"], single),
    ]


def _order(moments: list[int | None]) -> list[str]:
    short = ("Q1", "Q2", "pi2", "leader")
    by_time: dict[int, list[str]] = {}
    for name, moment in sorted(zip(short, moments, strict=True), key=lambda pair: pair[1] or 0):
        by_time.setdefault(moment or 0, []).append(name)
    return [" = ".join(names) for names in by_time.values()]


def figures(rows: list[Row]) -> list[tuple[str, Figure]]:
    """Draws Q_1(C, ·), Q_2(C, ·), pi_2(· | C) and the leader's choice over env steps."""
    from rllib_biac.reproduce.figures import convergence

    columns = []
    for variant, name in VARIANTS.items():
        group = [row for row in rows if row["variant"] == variant]
        looks = {key: np.array([row[key] for row in group]) for key in ("q1", "q2", "pi2", "leader")}
        columns.append((name, group[0]["at"], looks))
    return [("Bi-AC in Escape: row C, over env steps", convergence(columns))]


FIG4 = Experiment(
    name="fig4",
    title="Figure 4: convergence of Bi-AC in Escape",
    seeds=20,
    runs=runs,
    run=learn,
    tables=tables,
    figures=figures,
    notes=(
        f"Looked at every {EVERY} env steps. Something holds for good from the first look after which it holds at "
        f"every look to the end; Q1(C,Z) is correct within {CLOSE:g} of its payoff, 30. The leader's choice is greedy. "
        "What holds before step 100 does so by chance: learning begins then.",
        "The paper's order: Q1(C,Z), then Q2(C,Z) above C-X and C-Y, then pi2 answers C with Z, then the leader takes "
        "C. It says that this is because the leader's critic learns faster: with “the paper's settings” at 0.01 "
        "against 0.001, with ours both at 0.001.",
        "Lines: median over seeds; bands: the middle 80%; thin lines: seed 0.",
    ),
)
