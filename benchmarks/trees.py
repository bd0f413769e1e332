"""This program shows: in games in turns Bi-AC finds the subgame perfect equilibrium.

How to run:
    python benchmarks/trees.py                    # 200 random trees; about half an hour on one core
    python benchmarks/trees.py --trees 20 --cpus 2

A tree is a game of perfect information: at each node one of two agents, drawn at random, has two or three moves;
leaves lie at depth 1 to 4 and pay normal numbers. It is a PettingZoo `AECEnv`, read as any game in turns: one row per
turn, who is not on turn is absent. Both agents see where they are. The default settings play, but for gamma 1, 6,000
steps and the exploration that goes with them. Exact answers are backward induction's.

Right is a tree in which greedy play takes the equilibrium's path; the nodes off that path are counted beside. Trees in
which some move is better than the next by less than 0.05 (payoffs have SD 1) are drawn anew; how many is printed.

Results to expect: the equilibrium's path in 200 of 200 trees.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import AECEnv
from studies import RESULTS, Row, made_with, markdown, run_all, share

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.run import Run

AGENTS = ("ann", "bob")
DEPTH, MOVES, MARGIN, STEPS = 4, 3, 0.05, 6000
SETTINGS: dict[str, Any] = {
    "gamma": 1.0,
    "state": "observations",
    "epsilon": [[0, 1.0], [STEPS // 2, 1.0], [STEPS, 0.2]],
}


@dataclasses.dataclass
class Node:
    """A node of a tree: whose turn it is and where its moves lead, or what a leaf pays."""

    number: int
    owner: int = 0
    children: list[Node] = dataclasses.field(default_factory=list)
    pays: np.ndarray | None = None
    value: np.ndarray | None = None  # (2,), of the subgame perfect equilibrium
    best: int = 0


class Drawn:
    """A random tree and its equilibrium."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.nodes: list[Node] = []
        self.margin = np.inf
        self.root = self._grow(rng, 0)

    def _grow(self, rng: np.random.Generator, depth: int) -> Node:
        node = Node(len(self.nodes), int(rng.integers(2)))
        self.nodes.append(node)
        if depth == DEPTH or (depth > 0 and rng.random() < 0.2):
            node.pays = node.value = rng.normal(size=2)
            return node
        node.children = [self._grow(rng, depth + 1) for _ in range(int(rng.integers(2, MOVES + 1)))]
        values = np.array([child.value for child in node.children])[:, node.owner]
        node.best = int(values.argmax())
        node.value = node.children[node.best].value
        first, second = np.sort(values)[::-1][:2]
        self.margin = min(self.margin, float(first - second))
        return node


def draw(seed: int) -> tuple[Drawn, int]:
    """Returns a decided tree, and how many were drawn before it."""
    rng = np.random.default_rng(seed)
    for before in range(1000):
        if (tree := Drawn(rng)).margin >= MARGIN:
            return tree, before
    raise RuntimeError("no decided tree in 1,000")


class TreeGame(AECEnv):
    """A tree as PettingZoo writes games in turns."""

    metadata = {"name": "tree_v0"}  # noqa: RUF012

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.tree, _ = draw(seed)
        self.possible_agents = list(AGENTS)
        self._seen = Box(0.0, 1.0, (len(self.tree.nodes),), np.float32)
        self._does = Discrete(MOVES)

    def observation_space(self, agent: str) -> Box:
        return self._seen

    def action_space(self, agent: str) -> Discrete:
        return self._does

    def observe(self, agent: str) -> np.ndarray:
        return np.eye(len(self.tree.nodes), dtype=np.float32)[self.node.number]

    def reset(self, seed: int | None = None, options: dict | None = None) -> None:
        self.agents = list(AGENTS)
        self.node = self.tree.root
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations, self.truncations = dict.fromkeys(AGENTS, False), dict.fromkeys(AGENTS, False)
        self._turn()

    def _turn(self) -> None:
        self.agent_selection = AGENTS[self.node.owner]
        allowed = (np.arange(MOVES) < len(self.node.children)).astype(np.int8)
        self.infos = {agent: {"action_mask": allowed} if agent == self.agent_selection else {} for agent in AGENTS}

    def step(self, action: int | None) -> None:
        if self.terminations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[self.agent_selection] = 0.0
        self.node = self.node.children[action]
        over = self.node.pays is not None
        self.rewards = (
            dict(zip(AGENTS, map(float, self.node.pays), strict=True)) if over else dict.fromkeys(AGENTS, 0.0)
        )
        self.terminations = dict.fromkeys(AGENTS, over)
        self._accumulate_rewards()
        if not over:
            self._turn()


def learn(tree: int, seed: int) -> Row:
    """Trains on one tree; returns whether play takes the equilibrium's path, and how many nodes are right."""
    torch.set_num_threads(1)
    begin = time.process_time()
    drawn, before = draw(tree)
    own = BiAC.settings(**SETTINGS)
    levels = [[AGENTS[0]], [AGENTS[1]]]
    hierarchy = Hierarchy(levels)
    own.check(hierarchy)
    run = Run(BiAC, TreeGame, hierarchy, own, seed=seed, env_config={"seed": tree}).train(STEPS)
    inner = [node for node in drawn.nodes if node.children]
    played = _greedy(run, drawn, inner)
    node, on_path = drawn.root, True
    while node.children:
        on_path &= played[node.number] == node.best
        node = node.children[played[node.number]]
    right = [played[node.number] == node.best for node in inner]
    return {
        "path": bool(on_path),
        "nodes": len(right),
        "right": int(sum(right)),
        "regret": float(drawn.root.value[drawn.root.owner] - node.pays[drawn.root.owner]),
        "redrawn": before,
        "cpu_s": time.process_time() - begin,
    }


def _greedy(run: Run, tree: Drawn, inner: list[Node]) -> dict[int, int]:
    """Returns what is played at each node, number -> move."""
    rows, masks = [], {agent: np.zeros((len(inner), MOVES), bool) for agent in AGENTS}
    for row, node in enumerate(inner):
        here = np.eye(len(tree.nodes), dtype=np.float32)[node.number]
        rows.append(np.concatenate([part for i in range(2) for part in (here, [np.float32(i == node.owner)])]))
        masks[AGENTS[node.owner]][row, : len(node.children)] = True
        masks[AGENTS[1 - node.owner]][row, 0] = True
    with torch.no_grad():
        actions = run.team.act(
            torch.from_numpy(np.stack(rows).astype(np.float32)),
            masks={agent: torch.from_numpy(mask) for agent, mask in masks.items()},
        )
    return {node.number: int(actions[AGENTS[node.owner]][row]) for row, node in enumerate(inner)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    runs = [{"tree": tree, "seed": tree} for tree in range(args.trees)]
    rows = run_all(learn, runs, args.out / "trees.jsonl", args.cpus)
    hits = sum(row["path"] for row in rows)
    nodes, right = sum(row["nodes"] for row in rows), sum(row["right"] for row in rows)
    columns = [
        "trees",
        "greedy play takes the equilibrium's path",
        "decision nodes right, on the path or off it",
        "largest loss of who moves first (payoffs have SD 1)",
        "trees redrawn for their margin",
        "CPU-seconds a tree",
    ]
    table = [
        len(rows),
        share(hits, len(rows)),
        share(right, nodes),
        f"{max(row['regret'] for row in rows):.2f}",
        sum(row["redrawn"] for row in rows),
        f"{np.median([row['cpu_s'] for row in rows]):.1f}",
    ]
    text = [
        "# Games in turns",
        "",
        f"Bi-AC on random trees of perfect information, {STEPS:,} steps each, against backward induction.",
        "",
        *markdown(columns, [table]).splitlines(),
        "",
        *made_with("rllib_biac", "torch", "pettingzoo"),
        "",
    ]
    (args.out / "trees.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
