"""This program shows: what each part of learning to commit is for, on the three-state game at R = 2.

How to run:
    python benchmarks/commitment_ablations.py --seeds 3    # what was measured before stays
    python benchmarks/commitment_ablations.py --seeds 20 --only 'search over z, 20 fresh followers'

One thing is changed at a time, in the form that chooses by counts and in the one that chooses by critics. All are
judged as in benchmarks/commitment.py, by what they secure against an exact best response. Raw results and the table go
to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from commitment import HORIZONS, LEVELS, published, tables_of, three_state
from studies import RESULTS, made_with, markdown

from rllib_biac.algorithms.commitment import CommitmentDQN, choice
from rllib_biac.algorithms.commitment.losses import COMMITMENT, CommitmentLosses
from rllib_biac.algorithms.commitment.search import draw
from rllib_biac.algorithms.commitment.team import CommitmentTeam
from rllib_biac.equilibria import MarkovGame, best_commitment, secured
from rllib_biac.learning.run import Run
from rllib_biac.walk.commitment import beside

RAW = RESULTS / "commitment_ablations.jsonl"
STEPS, PLAYED = 20_000, 9_600
TICKET, BANK = "ticket", 4096
CRITICS = {"counted": False, "training_intensity": 16.0}
# Of the settings, by name; what is no setting is below.
CHANGES: dict[str, dict[str, Any]] = {
    "as it is: by counts": {},
    "by counts, 64 candidates": {"num_candidates": 64},
    "by counts, no margin": {"answer_margin": 0.0},
    "by counts, nothing played": {"choose_after": None},
    "exact commitment in the counted game": {},
    "by critics": CRITICS,
    "by critics, no relabelling": CRITICS,
    "by critics, value only": CRITICS | {"choose_after": None},
    "by critics, play only": CRITICS,
    "by critics, 64 candidates": CRITICS | {"num_candidates": 64},
    "by critics, no margin": CRITICS | {"answer_margin": 0.0},
    "by critics, z not in the follower": CRITICS,
}
# Instead of it all: by name, how many commitments are tried, each with a follower of its own who learns from nothing.
FRESH = {f"search over z, {count} fresh followers": count for count in (20, 100)}


class Tickets:
    """Gives each row a number on its way into replay, by which it keeps one commitment."""

    def __init__(self, spec: Any, seed: int | None) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, rows: Any) -> Any:
        """Returns rows with their tickets."""
        return replace(rows, columns={**rows.columns, TICKET: self._rng.integers(BANK, size=len(rows))})


class KeptCommitments(CommitmentLosses):
    """Rows keep the commitment that they were given at first."""

    def normalise_targets(self, rows: Any) -> None:
        """As without the change, but for the column of commitments."""
        leader, own = self.team.leader, torch.Generator().manual_seed(0)
        self.team.meet(rows["state"])
        bank = draw(BANK, leader.known, leader.alike, leader.num_actions[0], mixed=True, generator=own)
        with mock.patch.object(self.team, "draw", lambda count, generator: bank[rows[TICKET]]):
            super().normalise_targets(rows)


def unseen(z: torch.Tensor) -> torch.Tensor:
    """Returns commitments that tell nothing."""
    return torch.full_like(z, 1.0 / z.shape[2])


class BlindFollower(CommitmentTeam):
    """The follower's critic does not see z."""

    def says(self, x: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
        """As without the change, but for the follower."""
        q1, _ = super().says(x, z)
        _, q2 = super().says(x, unseen(z))
        return [q1, q2]


class BlindLosses(CommitmentLosses):
    """What a follower learns by that does not see z: its answers are those to no commitment."""

    def forward_online(self, batch: Any) -> Any:
        """Both critics' outputs, the follower's without z."""
        return super().forward_online(batch) | self._follower(batch["state"], batch[COMMITMENT], target=False)

    def next_values(self, rows: Any) -> dict[str, torch.Tensor]:
        """As without the change, but for what the follower likes."""
        compute = self.networks.compute

        def blind(network: str, seen: torch.Tensor, *, target: bool) -> Any:
            both = compute(network, seen, target=target)
            return both | self._follower(rows["next_state"], rows[COMMITMENT], target=target, compute=compute)

        with mock.patch.object(self.networks, "compute", blind):
            return super().next_values(rows)

    def _follower(self, x: torch.Tensor, z: torch.Tensor, *, target: bool, compute: Any = None) -> Any:
        found = (compute or self.networks.compute)("critic", beside(x, unseen(z)), target=target)
        return {key: value for key, value in found.items() if key[0] == self.agents[1]}


def train(name: str, seed: int) -> dict[str, Any]:
    """Trains one form, and returns its row."""
    game, algorithm, horizon = three_state(2.0), CommitmentDQN, HORIZONS["three_state"]
    settings = {"choose_after": STEPS - PLAYED, "choose_steps": PLAYED, "training_intensity": 4.0} | CHANGES[name]
    if name.endswith("no relabelling"):
        algorithm = replace(algorithm, own_columns=Tickets, losses=KeptCommitments)
    if name.endswith("not in the follower"):
        algorithm = replace(algorithm, team=BlindFollower, losses=BlindLosses)
    own = algorithm.settings(gamma=0.99, mixed=True, max_states=3, train_batch_size_per_learner=256, **settings)
    own.check(LEVELS)
    config, begin = tables_of(game) | {"horizon": horizon}, time.process_time()
    refuted = 1e9 if name.endswith("play only") else -choice._NOTHING  # what is promised counts for nothing
    with mock.patch.object(choice, "_NOTHING", -refuted):
        run = Run(algorithm, "markov_game_v0", LEVELS, own, seed=seed, env_config=config).train(STEPS)
    z = run.team.commitment(torch.eye(3)).double()
    policy = (z / z.sum(1, keepdim=True)).numpy()
    if name.startswith("exact"):
        policy = exactly(run.team.leader)
    return row_of(name, seed, time.process_time() - begin, policy)


def train_fresh(name: str, seed: int) -> dict[str, Any]:
    """Searches over z with a fresh follower each, in as many env steps as the others take, and returns the row.

    A follower tries answers at random, counts what comes of them, and best-responds to these counts in one episode,
    whose return the leader goes by.
    """
    game, horizon, begin = three_state(2.0), HORIZONS["three_state"], time.process_time()
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    known = torch.ones(3, dtype=torch.bool)
    policies = draw(FRESH[name], known, torch.arange(3), 2, mixed=True, generator=generator).double().numpy()
    policies /= policies.sum(-1, keepdims=True)

    def step(policy: np.ndarray, state: int, answer: int) -> tuple[np.ndarray, int]:
        action = rng.choice(2, p=policy[state])
        return game.rewards[:, state, action, answer], rng.choice(3, p=game.transitions[state, action, answer])

    returns = []
    for policy in policies:
        paid, moves, state = np.zeros((3, 3)), np.zeros((3, 3, 3)), 0
        for _ in range(STEPS // len(policies) - horizon):
            answer = rng.integers(3)
            rewards, after = step(policy, state, answer)
            paid[state, answer] += rewards[1]
            moves[state, answer, after] += 1
            state = after
        counts = moves.sum(-1).clip(1.0)
        values = np.zeros(3)
        for _ in range(2_000):
            q = paid / counts + game.gamma * (moves / counts[..., None]) @ values
            values = q.max(-1)
        state, total = 0, 0.0
        for _ in range(horizon):
            rewards, state = step(policy, state, int(q[state].argmax()))
            total += rewards[0]
        returns.append(total)
    policy = policies[int(np.argmax(returns))]
    return row_of(name, seed, time.process_time() - begin, policy)


def row_of(name: str, seed: int, cpu: float, policy: np.ndarray) -> dict[str, Any]:
    """Returns the row of a form that found a policy, (|S|, |A_1|), in so many CPU-seconds."""
    game = three_state(2.0)
    found = secured(game, policy, announced=False)
    value = published(game, policy, found, HORIZONS["three_state"])
    cpu = round(cpu, 1)
    return {"name": name, "seed": seed, "cpu": cpu, "policy": policy.round(4).tolist(), "undiscounted": value}


def exactly(leader: Any) -> np.ndarray:
    """Returns the best commitment of the game as it was counted, found by branch and bound, (|S|, |A_1|)."""
    counts = leader.counts.clamp(min=1.0)
    moves = (leader.moves / counts[..., None]).numpy()
    counted = MarkovGame(leader.reward_mean.numpy(), moves / moves.sum(-1, keepdims=True).clip(1.0), 0.99)
    order = leader.states.argmax(1).numpy()  # which state each row stands for
    found = best_commitment(counted, mixed=True, tolerance=0.002, start=int(np.flatnonzero(order == 0)[0]))
    policy = np.empty_like(found.policy)
    policy[order] = found.policy
    return policy


def main() -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[*CHANGES, *FRESH], choices=[*CHANGES, *FRESH])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []
    for seed in range(args.seeds):
        for name in args.only:
            if not any((row["name"], row["seed"]) == (name, seed) for row in rows):
                rows.append(train_fresh(name, seed) if name in FRESH else train(name, seed))
                with RAW.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    found = []
    for name in (*CHANGES, *FRESH):
        own = [row["undiscounted"] for row in rows if row["name"] == name]
        cpu = median([row["cpu"] for row in rows if row["name"] == name] or [0.0])
        found.append([name, *(f"{of(own):.1f}" for of in (median, min, max)), str(len(own)), f"{cpu:.0f}"])
    pure = best_commitment(three_state(2.0), mixed=False)
    value = published(three_state(2.0), pure.policy, secured(three_state(2.0), pure.policy, announced=False), 150)
    found.append(["pure, by enumeration in the game's tables", *[f"{value:.1f}"] * 3, "-", "-"])
    text = [
        "# What each part of learning to commit is for",
        "",
        "Three-state game, R = 2, mixed (supremum 62.8, pure 50, feedback 0): the leader's undiscounted return over "
        f"150 steps against an exact best response, ties against it. {STEPS:,} env steps, of which {PLAYED:,} are "
        "played to choose, but where nothing is played or value alone decides. By critics: `counted: false`, each row "
        "replayed 16 times (4 by counts). No relabelling: each row keeps one of 4,096 commitments that were drawn "
        "at first. Play only: the candidate of the best mean return is taken, whatever was promised. Search over z: "
        "each commitment that is tried has a follower of its own, who counts what random answers bring and "
        "best-responds to that in one episode; the best return decides.",
        "",
        *markdown(["form", "median", "worst", "best", "runs", "CPU-s"], found).splitlines(),
        "",
        *made_with("rllib_biac", "torch", "numpy"),
    ]
    (RESULTS / "commitment_ablations.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
