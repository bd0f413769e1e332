"""Result folders made by hand, as Ray Tune and `rllib reproduce` write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

AGENTS = ("player_0", "player_1")


def settings(**changed: Any) -> dict[str, Any]:
    """Returns what Tune writes to params.json, in short."""
    return {
        "env": "escape_v0",
        "levels": [["player_0"], ["player_1"]],
        "lr": 0.001,
        "seed": 0,
        "metrics_num_episodes_for_smoothing": 100,
        "policies": {"player_0": [None] * 4},
        **changed,
    }


def reports(count: int = 4) -> Iterable[dict[str, Any]]:
    """Yields what a trial reports."""
    for i in range(1, count + 1):
        share = i / count
        yield {
            "training_iteration": i,
            "num_env_steps_sampled_lifetime": 100.0 * i,
            "time_total_s": 0.5 * i,
            "timestamp": 1_700_000_000 + i,
            "done": i == count,
            "env_runners": {
                "agent_episode_returns_mean": {agent: 30 * share - k for k, agent in enumerate(AGENTS)},
                "outcome_share": {"C-Z": share, "A-X": 1 - share},
                "epsilon": 1 - 0.9 * share,
            },
            "learners": {agent: {"td_error_mean": 10.0 ** (1 - 2 * i), "qf_loss": 1.0 / i} for agent in AGENTS},
            "config": {"lr": 0.001},
        }


def trial(
    folder: Path, number: int = 0, label: str = "", tail: str = "", algorithm: str = "BiAC", **changed: Any
) -> Path:
    """Writes a trial into the folder of an experiment, `tail` after its last whole line."""
    place = folder / "_".join(filter(None, (f"{algorithm}_ab12c_{number:05d}", label)))
    place.mkdir(parents=True)
    (place / "params.json").write_text(json.dumps(settings(**changed)))
    (place / "result.json").write_text("".join(json.dumps(report) + "\n" for report in reports()) + tail)
    return place


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="640" height="480"><style>*{fill:red}</style>'
    '<rect id="same" width="9" height="9"/><script>document.title="hacked"</script></svg>'
)


def reproduction(folder: Path, *names: str, **changed: Any) -> Path:
    """Writes manifests, each with a figure and three rows of raw results."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.svg").write_text(SVG)
        (folder / f"{name}.jsonl").write_text('{"seed": 0}\n{"seed": 1}\n{"seed": 2}\n{"se')
        manifest = {
            "kind": "rllib_biac reproduction",
            "experiment": name,
            "title": f"The {name} of the paper",
            "command": f"rllib reproduce {name}",
            "versions": {"ray": "2.60.0"},
            "notes": ["Seeds are our own."],
            "tables": [
                {
                    "title": "Cooperation level",
                    "columns": ["algorithm", *(f"{n} × {n}" for n in range(2, 14)), "remark"],
                    "rows": [["Bi-AC", *[0.98765432] * 12, "w" * 40], ["MADDPG", *[None] * 12, True]],
                }
            ],
            "figures": [{"title": f"Picture of {name}", "svg": f"{name}.svg", "png": f"{name}.png"}],
            "raw": f"{name}.jsonl",
            "seconds": 3725.0,
        }
        (folder / f"{name}.json").write_text(json.dumps(manifest | changed))
    return folder
