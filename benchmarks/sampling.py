"""Game steps per CPU-second: `JointEnvRunner` beside RLlib's own `MultiAgentEnvRunner`, the same networks playing.

This program shows
    how many joint transitions a second one core plays and hands over; networks, exploration and metrics included.
How to run
    python benchmarks/sampling.py --out benchmarks/results/sampling.md
Results to expect
    At 256 games the joint runner is at least 100 times as fast as RLlib's at its best on the one-step game, and at
    least 50 times on the 25-step one; at 1,024 games at least 300 times. Highway Merge is reported as well. With larger
    networks the same arithmetic takes a larger part of the time of both, and ratios fall.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # no Ray cluster is started here

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.tune.registry import register_env
from studies import made_with

from rllib_biac import BiACConfig
from rllib_biac.envs import make
from rllib_biac.envs.matrix_game import ESCAPE

JOINT_SIZES = (64, 256, 1024)
STOCK_SIZES = (1, 8, 32, 128)
STEPS_PER_CALL = (8, 32)  # per game; tried for each size of both runners, the faster is reported
GAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "Escape, 1 step": ("escape_v0", {}),
    "Escape, 25 steps": ("escape_v0", {"horizon": 25}),
    "Highway Merge": ("merge_v0", {}),
}
FACTORS = {"Escape, 1 step": 100, "Escape, 25 steps": 50}  # expected at 256 games
HIDDENS = ([64, 64], [30, 30])  # the library's default, and the size that other libraries are measured with


class LeanEscape(MultiAgentEnv):
    """Escape with nothing to spare: constant dicts and one look-up a step. Faster than any adapter."""

    def __init__(self, horizon: int = 1) -> None:
        super().__init__()
        self.horizon = horizon
        self.possible_agents = ["player_0", "player_1"]
        self.agents = list(self.possible_agents)
        self.observation_spaces = {agent: gym.spaces.Box(0.0, 1.0, (1,), np.float32) for agent in self.agents}
        self.action_spaces = {agent: gym.spaces.Discrete(3) for agent in self.agents}
        one = np.ones(1, np.float32)
        self._observations = dict.fromkeys(self.agents, one)
        self._payoffs = ESCAPE[0].tolist()
        self._on = dict.fromkeys((*self.agents, "__all__"), False)
        self._over = dict.fromkeys((*self.agents, "__all__"), True)
        self._time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Starts an episode."""
        self._time = 0
        return self._observations, {}

    def step(self, action_dict: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Plays one joint action; both players are paid alike."""
        self._time += 1
        reward = self._payoffs[action_dict["player_0"]][action_dict["player_1"]]
        over = self._time >= self.horizon
        return (
            self._observations,
            {"player_0": reward, "player_1": reward},
            self._over if over and self.horizon == 1 else self._on,
            self._over if over and self.horizon > 1 else self._on,
            {},
        )


class LeanParallel(MultiAgentEnv):
    """A PettingZoo `ParallelEnv` whose agents all start and end together, passed through."""

    def __init__(self, game: str, **kwargs: Any) -> None:
        super().__init__()
        self._game = make(game, **kwargs)
        self.possible_agents = list(self._game.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = {agent: self._game.observation_space(agent) for agent in self.agents}
        self.action_spaces = {agent: self._game.action_space(agent) for agent in self.agents}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Starts an episode."""
        return self._game.reset(seed=seed)

    def step(self, action_dict: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Plays one joint action."""
        observations, rewards, terminated, truncated, _ = self._game.step(action_dict)
        return (
            observations,
            rewards,
            terminated | {"__all__": all(terminated.values())},
            truncated | {"__all__": all(truncated.values())},
            {},
        )


def base_config(game: str, kwargs: dict[str, Any], hiddens: list[int], seed: int) -> BiACConfig:
    """Returns the config both runners take their networks from."""
    leader, follower = make(game, **kwargs).possible_agents
    return (
        BiACConfig()
        .environment(game, env_config=kwargs, state="observations", disable_env_checking=True)
        .hierarchy([[leader], [follower]])
        .rl_module(model_config={"fcnet_hiddens": hiddens})
        .debugging(seed=seed)
    )


def joint_runner(
    game: str, kwargs: dict[str, Any], hiddens: list[int], num_games: int, steps: int, seed: int
) -> Callable[[], int]:
    """Returns a function that samples once from a `JointEnvRunner` and tells how many steps it played."""
    config = base_config(game, kwargs, hiddens, seed).env_runners(
        num_envs_per_env_runner=num_games, rollout_fragment_length=steps, epsilon=0.1
    )
    runner = config.env_runner_cls(config=config, worker_index=0)

    def play() -> int:
        return sum(len(rows) for rows in sampled(runner))

    return play


def stock_runner(
    game: str, kwargs: dict[str, Any], hiddens: list[int], num_envs: int, steps: int, seed: int
) -> Callable[[], int]:
    """Returns a function that samples once from RLlib's runner and tells how many steps it played.

    Its leanest setting: the plainest environment, no checks of it, episodes left as lists.
    """
    name = f"lean_{game}_{kwargs}"
    register_env(name, lambda _: LeanEscape(**kwargs) if game == "escape_v0" else LeanParallel(game, **kwargs))
    config = base_config(game, kwargs, hiddens, seed).env_runners(
        env_runner_cls="stock",
        num_envs_per_env_runner=num_envs,
        rollout_fragment_length=steps,
        epsilon=0.1,
        episodes_to_numpy=False,
    )
    config.env = name
    runner = MultiAgentEnvRunner(config=config, worker_index=0)

    def play() -> int:
        return sum(episode.env_steps() for episode in sampled(runner))  # a reset is no step

    return play


def sampled(runner: EnvRunner) -> list[Any]:
    """Samples once and reduces the metrics, as an algorithm does once per call."""
    samples = runner.sample()
    runner.get_metrics()
    return samples


def rates(players: list[Callable[[], int]], seconds: float, rounds: int, name: str) -> np.ndarray:
    """Returns steps per CPU-second, (rounds, players). Rounds alternate, so that a noisy minute hits all of them."""
    measured = np.empty((rounds, len(players)))
    for play in players:
        play()
    for k, row in enumerate(measured):
        for i, play in enumerate(players):
            played, begin = 0, time.process_time()
            while (spent := time.process_time() - begin) < seconds:
                played += play()
            row[i] = played / spent
        print(f"{name}: round {k + 1} of {rounds}", file=sys.stderr)
    return measured


def table_rows(game: str, hiddens: list[int], args: argparse.Namespace) -> list[str]:
    """Measures one game with networks of one size and returns its rows of the table."""
    name, kwargs = GAMES[game]
    kinds = {"RLlib's": (stock_runner, STOCK_SIZES), "joint": (joint_runner, JOINT_SIZES)}
    tried = [(kind, size, steps) for kind, (_, sizes) in kinds.items() for size in sizes for steps in STEPS_PER_CALL]
    players = [kinds[kind][0](name, kwargs, hiddens, size, steps, args.seed) for kind, size, steps in tried]
    networks = "-".join(map(str, hiddens))
    measured = rates(players, args.seconds, args.rounds, f"{game}, {networks}")
    median, low, high = np.median(measured, axis=0), measured.min(axis=0), measured.max(axis=0)
    best = max((rate for rate, (kind, *_) in zip(median, tried, strict=True) if kind == "RLlib's"))
    lines = []
    for kind, (_, sizes) in kinds.items():
        for size in sizes:
            i = max((i for i, t in enumerate(tried) if t[:2] == (kind, size)), key=lambda i: median[i])
            mark, ratio = " (best)" if median[i] == best else "", median[i] / best
            lines.append(
                f"| {game} | {networks} | {kind}, {tried[i][2]} steps a call{mark} | {size} | {median[i]:,.0f} "
                f"| {low[i]:,.0f} to {high[i]:,.0f} | {ratio:.{0 if ratio > 10 else 2}f} |"
            )
            if kind == "joint" and size == 256 and game in FACTORS:
                print(f"{game}: {ratio:.0f} times at 256 games, expected {FACTORS[game]} or more", file=sys.stderr)
    return lines


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, median reported (%(default)s)")
    parser.add_argument("--games", nargs="+", choices=list(GAMES), default=list(GAMES), help="which games to play")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the table")
    args = parser.parse_args()

    torch.set_num_threads(1)
    lines = [
        "# Sampling: game steps per CPU-second, one core, networks playing",
        "",
        "| game | hidden layers | runner | games at once | steps/s, median | range | times RLlib's best |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for hiddens in HIDDENS:
        for game in args.games:
            lines += table_rows(game, hiddens, args)
    steps = " or ".join(map(str, STEPS_PER_CALL))
    lines += [
        "",
        "A step is one joint decision of one game; resets are not counted, but their time is. Both runners play "
        "Bi-AC's modules, built from one config on the same observations, epsilon 0.1, reduce their metrics once per "
        f"call, and get the faster of {steps} steps per game and call. RLlib's `MultiAgentEnvRunner` gets its leanest "
        "setting: an environment without adapter or info, no environment checks, episodes left as lists.",
        f"{args.rounds} interleaved rounds of {args.seconds:g} s of CPU time (`time.process_time`) each, "
        f"seed {args.seed}.",
        *made_with("ray", "torch", "numpy"),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if args.out:
        args.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
