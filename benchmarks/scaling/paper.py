"""On paper: how many runners a driver, a learner and a network can serve, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from driver import Cost, Costs
from settings import BATCH


@dataclass
class Model:
    """What the driver pays for a fragment, for an env step and for an update, in microseconds of CPU time."""

    fragment: float
    step: float
    update: float

    @classmethod
    def fitted(cls, found: list[Cost]) -> Model:
        """Fits the three to measurements with fragments of different lengths."""
        rows = np.array([each.setting.rows for each in found], float)
        names = ("ask and fetch", "into replay", "weights", "metrics", "rest")
        paid = np.array([sum(each.phases[name] for name in names) for each in found]) * rows
        # By relative error: a long fragment's cost is no better known than a short one's.
        (fragment, step), *_ = np.linalg.lstsq(np.column_stack([1 / paid, rows / paid]), np.ones(len(rows)), rcond=None)
        learning = [(each.phases["learn"] + each.phases["out of replay"]) / each.setting.intensity for each in found]
        return cls(max(float(fragment), 0.0), max(float(step), 0.0), BATCH * float(np.median(learning)))


NETWORK = 1.25e9  # bytes/s: 10 Gbit/s
# A game's own cost per env step in microseconds (None: Merge, as measured), games of a runner, steps of a fragment,
# rows trained per row.
PAPER = (
    (None, 256, 16, 16.0),
    (None, 256, 16, 1.0),
    (None, 256, 16, 0.0625),
    (1_000.0, 32, 1, 16.0),
    (1_000.0, 32, 16, 16.0),
    (1_000.0, 32, 16, 1.0),
    (20_000.0, 8, 1, 16.0),
    (20_000.0, 8, 32, 16.0),
    (20_000.0, 8, 32, 1.0),
    (20_000.0, 8, 32, 0.25),
)


def on_paper(measured: Costs) -> list[str]:
    """Returns what the driver pays, fitted, and how many runners it could then serve."""
    lines = ["| driver | | per fragment, µs | per env step, µs | per update, µs |", "|---|---|---:|---:|---:|"]
    models: dict[tuple[bool, str], Model] = {}
    for (standing_in, how), found in measured.items():
        most = max(each.setting.runners for each in found)
        model = models[standing_in, how] = Model.fitted([each for each in found if each.setting.runners == most])
        who = f"{most:,} {'stand-ins' if standing_in else 'runners'}"
        update = "-" if standing_in else f"{model.update:,.0f}"
        lines.append(f"| {who} | {how} | {model.fragment:,.0f} | {model.step:.2f} | {update} |")
    model = replace(models[True, "async"], update=models[False, "async"].update)
    by_games = {each.setting.games: each for each in measured[False, "async"] if each.setting.fragment in (8, 16)}
    lines += [
        "",
        "| game's own cost per env step | games x steps of a fragment | an update every | runners until the driver's "
        "own work is the limit | until learning is | until both, in turn, are | until a network of 10 Gbit/s is "
        "| first wall |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for game, games, fragment, intensity in PAPER:
        rows = games * fragment
        near = by_games[256 if games == 256 else 32]
        playing = near.runners + (game or 0.0)  # of a runner, µs per env step
        driver, learning = model.fragment / rows + model.step, model.update * intensity / BATCH
        # At most every fragment is asked for with weights of its own.
        wire = near.sent["from runners"] + near.weights / rows
        limits = {
            "driver": playing / driver,
            "learning": playing / learning,
            "network": playing / 1e6 * NETWORK / wire,
        }
        cells = [
            f"Merge: {near.runners:.0f} µs with networks" if game is None else f"{game / 1000:g} ms",
            f"{games} x {fragment}",
            f"{BATCH / intensity:,.0f} steps",
            *(
                f"{count:,.0f}" if count >= 10 else f"{count:.2g}"
                for count in (limits["driver"], limits["learning"], playing / (driver + learning), limits["network"])
            ),
            min(limits, key=lambda name: limits[name]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


ABOUT_PAPER = (
    "A runner takes p µs per env step, on one CPU. The driver pays f per fragment, e per env step and u per update "
    "(first table; the second takes those of 1,000 stand-ins, async), that is f / n + e + u / k per env step, with n = "
    "games x steps of a fragment and an update every k steps. It can serve p / (f / n + e + u / k) runners; where "
    "there are more, they wait. A network of B bytes/s carries p B / (b + w / n) of them, where b are bytes per env "
    "step and w those of all networks, if no two fragments share their weights.",
)
