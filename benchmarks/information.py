"""This program shows: what agents that act on their own observations learn to say, and to understand.

How to run:
    pip install --target GAMES mpe2; PYTHONPATH=GAMES python benchmarks/information.py

1. The three signalling games (`signalling_v0`), default settings, 20 seeds: is what is learned the best decentralised
   commitment, as exact enumeration of all policies finds it, and is the answer a best response?
2. Random Bayesian games, whose best commitments need not be reachable by changing one observation's action at a time.
3. simple_speaker_listener and simple_reference (mpe2), Bi-AC with `information: own` beside MADDPG at equal steps and
   equal settings: the greedy return, the same with the speaker's message forced to be constant (the best constant), and
   random play.

Everything is trained by `rllib_biac.learning.run`, without Ray. Raw results and the table go to
`--out`; what is in it already is not computed again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies import RESULTS, Row, made_with, markdown, run_all, share

STEPS = {"signalling": 10_000, "simple_speaker_listener": 15_000, "simple_reference": 15_000}
# All others are defaults.
MPE_SETTINGS = {"gamma": 0.95, "state": "observations", "normalize_observations": True}


def train(algorithm: Any, env: Any, levels: list[list[str]], seed: int, steps: int, **given: Any) -> Any:
    """Trains a team in one process, and returns it."""
    from rllib_biac.learning.hierarchy import Hierarchy
    from rllib_biac.learning.run import Run

    settings, hierarchy = algorithm.settings(**given), Hierarchy(levels)
    settings.check(hierarchy)
    return Run(algorithm, env, hierarchy, settings, seed=seed).train(steps).team


def one_step(payoffs: Any, prior: Any, seen: Any, announced: bool, seed: int, steps: int) -> Row:
    """Trains Bi-AC in a one-step game and holds what it learned against the exact answer."""
    from rllib_biac.algorithms.biac import BiAC
    from rllib_biac.envs.signalling import SignallingGame
    from rllib_biac.equilibria import decentralised_commitment, policy_value

    torch.set_num_threads(1)
    game = SignallingGame(payoffs, prior, seen)
    levels = [["player_0"], ["player_1"]]
    given = {"information": "own", "announced": announced}
    team = train(BiAC, lambda: SignallingGame(payoffs, prior, seen), levels, seed, steps, **given)
    states = np.arange(len(prior))
    observations = {agent: torch.from_numpy(own) for agent, own in game.observations_of(states).items()}
    with torch.no_grad():
        acts = team.act(torch.eye(len(prior)), observations=observations)
    first, second = (acts[agent].numpy() for agent in game.possible_agents)
    paid = (game.prior * game.payoffs[:, states, first, second]).sum(1)
    policy = [int(first[np.flatnonzero(game.seen[0] == o)[0]]) for o in range(int(game.seen[0].max()) + 1)]
    exact = decentralised_commitment(payoffs, prior, seen, announced=announced)
    value = policy_value(payoffs, prior, seen, policy, announced=announced)
    return {
        "policy": policy,
        "leader": float(paid[0]),
        "exact": exact.optimistic,
        "secured": exact.pessimistic,
        "response_regret": float(value.follower_payoff - paid[1]),
    }


def signalling(kind: str, seed: int, steps: int) -> Row:
    """One of the three games."""
    from rllib_biac.envs.signalling_v0 import tables

    return one_step(*tables(kind), kind != "hidden", seed, steps)


def random_game(draw: int, announced: bool, seed: int, steps: int) -> Row:
    """A random game: both see one of two things, nobody all; payoffs standard normal."""
    rng = np.random.default_rng(draw)
    payoffs = rng.normal(size=(2, 4, 3, 3))
    prior = rng.dirichlet(np.full(4, 2.0))
    return one_step(payoffs, prior, np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), announced, seed, steps)


def speaker_listener(name: str) -> Any:
    """Returns one of mpe2's games, with discrete actions."""
    import importlib

    version = {"simple_speaker_listener": "v4", "simple_reference": "v3"}[name]
    module = importlib.import_module(f"mpe2.{name}_{version}")
    return module.parallel_env(max_cycles=25, continuous_actions=False)


def mean_return(team: Any, name: str, seed: int, episodes: int, act: Any) -> float:
    """Returns the mean return of all agents over episodes, discounts aside, by what `act` makes of greedy actions."""
    from rllib_biac.learning.games import StateReader, make_games

    games = make_games(lambda: speaker_listener(name), episodes, np.random.default_rng(seed), {})
    state = StateReader(games, "observations")
    games.reset()
    total = np.zeros(episodes)
    for _ in range(25):
        observations = {agent: torch.from_numpy(own) for agent, own in games.observe().items()}
        with torch.no_grad():
            actions = act(team, torch.from_numpy(state()), observations)
        step = games.step({agent: np.asarray(action) for agent, action in actions.items()})
        total += sum(step.rewards.values()) / len(step.rewards)
    games.close()
    return float(total.mean())


def steered(towards: Any) -> Any:
    """Returns play of simple_speaker_listener by hand: the listener steers to `towards(landmarks, goal)`, (batch, 2).

    It takes the move after which it would roll out nearest: speed fades by a quarter a step of 0.1, a push adds 0.5.
    """
    pushes = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])

    def act(team: Any, state: Any, observations: Any) -> Any:
        seen, goal = observations["listener_0"], observations["speaker_0"].argmax(1)
        velocity, landmarks = seen[:, None, :2], seen[:, 2:8].view(-1, 3, 2)
        speed = 0.75 * velocity + 0.5 * pushes  # (batch, 5, 2)
        left = towards(landmarks, goal)[:, None] - speed * 0.1 / 0.25
        return {"speaker_0": goal, "listener_0": left.square().sum(2).argmin(1)}

    return act


to_the_goal = steered(lambda landmarks, goal: landmarks[torch.arange(len(goal)), goal])
between_all = steered(lambda landmarks, goal: landmarks.mean(1))  # the best that can be done without being told


def speech(name: str, how: str, seed: int, steps: int) -> Row:
    """Trains in one of mpe2's games; plays with what was learned, with constant messages, at random."""
    from rllib_biac.algorithms.biac import BiAC
    from rllib_biac.algorithms.maddpg import MADDPG

    torch.set_num_threads(1)
    agents = list(speaker_listener(name).possible_agents)
    given: dict[str, Any] = dict(MPE_SETTINGS)
    algorithm, levels = (MADDPG, [agents]) if how == "MADDPG" else (BiAC, [[agent] for agent in agents])
    if how != "MADDPG":
        given |= {"information": "own", "announced": how == "announced"}
    team = train(algorithm, lambda: speaker_listener(name), levels, seed, steps, **given)
    speaker = agents[0]
    rng = torch.Generator().manual_seed(seed)

    def learned(team: Any, state: Any, observations: Any) -> Any:
        return team.act(state, observations=observations)

    def silenced(message: int) -> Any:
        def act(team: Any, state: Any, observations: Any) -> Any:
            return team.act(state, observations=observations, given={speaker: torch.full((len(state),), message)})

        return act

    def silenced_all(message: int) -> Any:
        """In simple_reference everybody moves and speaks: an action is 5 · message + move."""

        def act(team: Any, state: Any, observations: Any) -> Any:
            return {a: action % 5 + 5 * message for a, action in team.act(state, observations=observations).items()}

        return act

    def at_random(team: Any, state: Any, observations: Any) -> Any:
        return team.act(state, observations=observations, epsilon=1.0, generator=rng)

    constants = [silenced(m) for m in range(3)]
    if name == "simple_reference":
        constants = [silenced_all(m) for m in range(10)]
    episodes = 300
    by_hand: Row = {}
    if name == "simple_speaker_listener":
        for what, act in (("told", to_the_goal), ("silent", between_all)):
            by_hand[what] = mean_return(team, name, 10_000 + seed, episodes, act)
    return by_hand | {
        "learned": mean_return(team, name, 10_000 + seed, episodes, learned),
        "constant": [mean_return(team, name, 10_000 + seed, episodes, act) for act in constants],
        "random": mean_return(team, name, 10_000 + seed, episodes, at_random),
    }


def rows_of(args: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row]]:
    """Returns the rows of all three parts, computing those that are not in `--out` yet."""
    kinds = ("shared", "pooling", "hidden")
    steps = args.steps
    games = [{"kind": kind, "seed": seed, "steps": steps} for seed in range(args.seeds) for kind in kinds]
    drawn = [
        {"draw": draw, "announced": announced, "seed": 0, "steps": steps}
        for announced in (True, False)
        for draw in range(args.random_games)
    ]
    spoken = [
        {"name": name, "how": how, "seed": seed, "steps": STEPS[name]}
        for name in args.games
        for seed in range(args.mpe_seeds)
        for how in args.methods
    ]
    raw = args.out / "information"
    return (
        run_all(signalling, games, raw.with_name("information_signalling.jsonl"), args.cpus),
        run_all(random_game, drawn, raw.with_name("information_random.jsonl"), args.cpus),
        run_all(speech, spoken, raw.with_name("information_speech.jsonl"), args.cpus),
    )


def is_exact(row: Row) -> bool:
    return abs(row["leader"] - row["exact"]) < 1e-6 and row["response_regret"] < 1e-6


def table_of_games(rows: list[Row]) -> str:
    """One line per signalling game."""
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        lines.append([kind, f"{own[0]['exact']:g}", share(sum(map(is_exact, own)), len(own))])
    return markdown(["game", "exact: leader's return", "seeds exact"], lines)


def table_of_random_games(rows: list[Row]) -> str:
    """How often the best of all policies is found, and how far below it play is."""
    lines = []
    for announced in (True, False):
        own = [row for row in rows if row["announced"] is announced]
        if not own:
            continue
        below = np.array([row["exact"] - row["leader"] for row in own])
        best = sum(map(is_exact, own))
        answers = sum(row["response_regret"] < 1e-6 for row in own)
        lines.append(
            ["yes" if announced else "no", f"{best} of {len(own)}", f"{answers} of {len(own)}", f"{below.mean():.3f}"]
        )
    return markdown(["announced", "exact", "answers best", "mean shortfall of the leader"], lines)


def table_of_speech(rows: list[Row]) -> str:
    """Per game and method: what learning gains over random play, and what of it a constant message costs."""
    lines = []
    for name, how in dict.fromkeys((row["name"], row["how"]) for row in rows):
        own = [row for row in rows if (row["name"], row["how"]) == (name, how)]
        learned, random = (np.array([row[key] for row in own]) for key in ("learned", "random"))
        constant = np.array([max(row["constant"]) for row in own])
        cost = (learned - constant) / (learned - random)
        said = {"unannounced": "Bi-AC own, not announced", "announced": "Bi-AC own, announced"}.get(how, how)
        each = ", ".join(f"{value:.1f}" for value in learned)
        told, silent = ([row[key] for row in own if key in row] for key in ("told", "silent"))
        gain = f"{np.mean((learned - constant) / (learned - silent)):.0%}" if silent else ""
        lines.append(
            [
                name,
                said,
                f"{own[0]['steps']:,}",
                f"{learned.mean():.1f} ({each})",
                f"{constant.mean():.1f}",
                f"{random.mean():.1f}",
                f"{cost.mean():.0%}",
                f"{np.mean(silent):.1f}, {np.mean(told):.1f}" if silent else "",
                gain,
            ]
        )
    head = ["game", "method", "env steps", "greedy return, mean (seeds)", "best constant message", "random play"]
    return markdown([*head, "cost / gain", "by hand: not told, told", "cost / gain over not told"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of each signalling game")
    parser.add_argument("--steps", type=int, default=STEPS["signalling"], help="env steps of a one-step game's run")
    parser.add_argument("--random-games", type=int, default=20, help="of each kind")
    parser.add_argument("--mpe-seeds", type=int, default=2)
    parser.add_argument("--games", nargs="*", default=["simple_speaker_listener", "simple_reference"])
    parser.add_argument("--methods", nargs="*", default=["MADDPG", "unannounced", "announced"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cpus", type=int, default=None)
    args = parser.parse_args()
    games, drawn, spoken = rows_of(args)
    parts = [
        "# Who knows what in play",
        "",
        f"Signalling games, {args.steps:,} env steps, default settings:",
        "",
    ]
    parts += [table_of_games(games), ""]
    if drawn:
        parts += [f"Random games of 4 states, {args.steps:,} env steps, default settings:", ""]
        parts += [table_of_random_games(drawn), ""]
    if spoken:
        parts += [
            f"mpe2, discount {MPE_SETTINGS['gamma']}, normalize_observations, all else default; mean over agents, 300 "
            "episodes of 25 steps. Cost / gain: what the best constant message costs, of what learning gained over "
            "random play, or over the best that a listener can do who is not told (by hand: between all landmarks).",
            "",
            table_of_speech(spoken),
            "",
        ]
    text = "\n".join([*parts, *made_with("rllib_biac", "torch", "numpy"), ""])
    (args.out / "information.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
