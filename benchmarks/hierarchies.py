"""This program shows: Bi-AC on hierarchies of any depth, continuous and discrete, against exact answers, and its cost.

How to run:
    python benchmarks/hierarchies.py                          # everything
    python benchmarks/hierarchies.py --only firms --seeds 5
    python benchmarks/hierarchies.py --only grid --grid-seeds 100

Parts:
    firms   two and three firms in a row (`stackelberg_duopoly_v0`): quantities against (1/2, 1/4, 1/8).
    grid    `grid_coordination_v0`: meeting on 20 is the equilibrium, meeting on 10 a Nash equilibrium; IDQN beside.
    cost    seconds per update with 2, 3, 4, 6 levels and 4 to 64 actions per agent, one agent a level; with a picture.

Raw results (one line per run) and tables go to benchmarks/results, the picture to docs/images. What is finished is not
run again; the file of tables has the parts asked for.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from matplotlib.figure import Figure
from pettingzoo import ParallelEnv
from studies import RESULTS, Row, markdown, run_all, share, versions

from rllib_biac.reproduce.figures import BLUE, GREEN, ORANGE

FIRM_STEPS = {2: 40_000, 3: 60_000}
GRID_STEPS = 20_000
LEVELS, ACTIONS = (2, 3, 4, 6), (4, 16, 64)
UPDATES = 200
COST_IMAGE = RESULTS.parents[1] / "docs" / "images" / "hierarchy_cost.png"


def firms(firms: int, seed: int, steps: int) -> Row:
    """One run: the quantities that firms in a row settle on."""
    from rllib_biac import BiACConfig
    from rllib_biac.envs.stackelberg_duopoly_v0 import equilibrium
    from rllib_biac.evaluation import greedy

    names = [f"firm_{i}" for i in range(firms)]
    algo = (
        BiACConfig()
        .environment("stackelberg_duopoly_v0", env_config={"firms": firms})
        .hierarchy([[name] for name in names])
        .training(
            critic_lr=[[0, 3e-3], [steps // 2, 1e-3], [steps, 1e-4]],
            actor_lr=[[0, 1e-3], [steps // 2, 3e-4], [steps, 1e-5]],
            train_batch_size_per_learner=128,
            training_intensity=32.0,
            num_steps_sampled_before_learning_starts=500,
        )
        .env_runners(epsilon=[[0, 1.0], [steps // 4, 1.0], [steps // 2, 0.1]], exploration_noise=0.1)
        .rl_module(model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"})
        .debugging(seed=seed)
        .build_algo()
    )
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        play = greedy(algo.env_runner.module.team, np.ones((1, 1), np.float32))
    finally:
        algo.stop()
    quantities = [float(play[name][0, 0]) for name in names]
    exact = equilibrium(firms).tolist()
    return {"settings_keys": ["firms", "seed", "steps"], "quantities": quantities, "exact": exact}


def grid(run: str, seed: int, steps: int) -> Row:
    """One run: where greedy play of the grid ends."""
    from rllib_biac.envs import make_batched
    from rllib_biac.envs.grid_coordination_v0 import DISCOUNT
    from rllib_biac.evaluation import greedy
    from rllib_biac.rllib.registry import config_class

    games = make_batched("grid_coordination_v0", 1, np.random.default_rng(seed))
    agents = games.possible_agents
    algo = (
        config_class(run)()
        .environment("grid_coordination_v0")
        .hierarchy([[agent] for agent in agents] if run == "BiAC" else [agents])
        .training(gamma=DISCOUNT, lr=[[0, 1e-3], [steps // 2, 1e-3], [steps, 1e-4]])
        .env_runners(epsilon=[[0, 1.0], [steps // 2, 0.1]])
        .debugging(seed=seed)
        .build_algo()
    )
    try:
        while algo.train()["num_env_steps_sampled_lifetime"] < steps:
            pass
        games.reset()
        over = False
        while not over:
            step = games.step(greedy(algo.env_runner.module.team, games.state(), games.observe()))
            over = bool(step.terminated[0] | step.truncated[0])
    finally:
        algo.stop()
        games.close()
    return {"settings_keys": ["run", "seed", "steps"], "outcome": games.outcome_names[int(step.outcome[0])]}


class ManyLevels(ParallelEnv):
    """One step; everybody is paid for being one above the agent before."""

    def __init__(self, levels: int, actions: int) -> None:
        self.metadata = {"name": "many_levels_v0"}
        self.possible_agents = [f"agent_{i}" for i in range(levels)]
        self.agents: list[str] = []
        self._space = spaces.Discrete(actions)
        self.state_space = spaces.Box(1.0, 1.0, (1,), np.float32)

    def observation_space(self, agent: str) -> spaces.Box:
        """Returns the space of a constant."""
        return self.state_space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Returns the actions."""
        return self._space

    def state(self) -> np.ndarray:
        """Returns 1."""
        return np.ones(1, np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        """Starts."""
        self.agents = list(self.possible_agents)
        return {a: self.state() for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        """Plays the one step."""
        everyone = self.possible_agents
        before = [0, *(actions[agent] for agent in everyone)]
        rewards = {a: float(actions[a] == (before[i] + 1) % self._space.n) for i, a in enumerate(everyone)}
        self.agents = []
        over = dict.fromkeys(everyone, True)
        return (
            {a: self.state() for a in everyone},
            rewards,
            over,
            dict.fromkeys(everyone, False),
            {agent: {} for agent in everyone},
        )


def cost(levels: int, actions: int) -> Row:
    """One run: CPU seconds per update of 64 rows, and per decision of 256 games."""
    import torch

    from rllib_biac import BiACConfig

    algo = (
        BiACConfig()
        .environment(lambda: ManyLevels(levels, actions))
        .hierarchy([[f"agent_{i}"] for i in range(levels)])
        .debugging(seed=0)
        .build_algo()
    )
    try:
        algo.train()
        trainer = algo.learner_group._learner.trainer
        rows = algo.local_replay_buffer.sample(64 * UPDATES).columns
        begin = time.process_time()
        trainer.train(rows, minibatch_size=64)
        update = (time.process_time() - begin) / UPDATES
        state = torch.ones(256, 1)
        begin = time.process_time()
        with torch.no_grad():
            for _ in range(20):
                algo.env_runner.module.team.act(state)
        decide = (time.process_time() - begin) / 20
    finally:
        algo.stop()
    found = {"update_ms": 1000 * update, "decide_ms": 1000 * decide}
    return {"settings_keys": ["levels", "actions"], **found}


def firms_table(rows: list[Row]) -> str:
    """Returns errors of the quantities in percent, median and worst seed."""
    lines = []
    for number in sorted({row["firms"] for row in rows}):
        group = [row for row in rows if row["firms"] == number]
        errors = np.array([100 * np.abs(np.divide(row["quantities"], row["exact"]) - 1) for row in group])
        cells = [f"{np.median(column):.1f} / {column.max():.1f}" for column in errors.T]
        lines.append([number, len(group), *cells, *["–"] * (3 - number)])
    return markdown(["firms", "seeds", *(f"firm_{i}: error %, median / worst seed" for i in range(3))], lines)


def grid_table(rows: list[Row]) -> str:
    """Returns how many seeds meet where."""
    lines = []
    for run in dict.fromkeys(row["run"] for row in rows):
        ends = [row["outcome"] for row in rows if row["run"] == run]
        lines.append([run, share(ends.count("20"), len(ends)), ends.count("10"), ends.count("timeout")])
    return markdown(["method", "meets on 20, the equilibrium", "meets on 10", "does not meet"], lines)


def cost_table(rows: list[Row]) -> str:
    """Returns CPU milliseconds per update and per decision."""
    lines = [
        [
            levels,
            *(
                f"{row['update_ms']:.1f} / {row['decide_ms']:.1f}"
                for actions in ACTIONS
                for row in rows
                if (row["levels"], row["actions"]) == (levels, actions)
            ),
        ]
        for levels in LEVELS
    ]
    return markdown(["levels", *(f"{n} actions: ms per update / per decision of 256 games" for n in ACTIONS)], lines)


def draw_cost(rows: list[Row]) -> Figure:
    """Draws CPU milliseconds over levels, a line for each number of actions."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    panels = (("update_ms", "one update of 64 rows"), ("decide_ms", "one decision of 256 games"))
    for axis, (column, title) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        for actions, colour in zip(ACTIONS, (BLUE, ORANGE, GREEN), strict=True):
            line = sorted((row["levels"], row[column]) for row in rows if row["actions"] == actions)
            axis.plot(*zip(*line, strict=True), "o-", color=colour, label=f"{actions} actions per agent")
        axis.set(title=title, xlabel="levels, one agent each", xticks=LEVELS, yscale="log")
        axis.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("CPU time, ms")
    figure.axes[0].legend(frameon=False)
    return figure


def parts(seeds: int, grid_seeds: int) -> dict[str, tuple[Any, list[Row], Any]]:
    """Returns all parts of the study: name -> function, settings of its runs, table."""
    return {
        "firms": (
            firms,
            [{"firms": n, "seed": seed, "steps": steps} for n, steps in FIRM_STEPS.items() for seed in range(seeds)],
            firms_table,
        ),
        "grid": (
            grid,
            [{"run": run, "seed": s, "steps": GRID_STEPS} for run in ("BiAC", "IDQN") for s in range(grid_seeds)],
            grid_table,
        ),
        "cost": (cost, [{"levels": n, "actions": k} for n in LEVELS for k in ACTIONS], cost_table),
    }


def main() -> None:
    """Runs the study, or the parts asked for, and writes its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=["firms", "grid", "cost"])
    parser.add_argument("--seeds", type=int, default=20, help="seeds of firms")
    parser.add_argument("--grid-seeds", type=int, default=100, help="seeds of each method on the grid")
    parser.add_argument("--cpus", type=int, help="runs at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--image", type=Path, default=COST_IMAGE, help="picture of the cost")
    args = parser.parse_args()
    command = shlex.join(["python", "benchmarks/hierarchies.py", *sys.argv[1:]])
    text = f"# Hierarchies of any depth\n\nMade by `{command}` ({versions()}).\n"
    for name, (function, runs, table) in parts(args.seeds, args.grid_seeds).items():
        if args.only and name not in args.only:
            continue
        rows = run_all(function, runs, args.out / "hierarchies.jsonl", 1 if name == "cost" else args.cpus)
        text += f"\n## {name}\n\n{table(rows)}\n"
        if name == "cost":
            draw_cost(rows).savefig(args.image, dpi=150)
            text += f"\n![CPU time over levels]({os.path.relpath(args.image, args.out)})\n"
    (args.out / "hierarchies.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
