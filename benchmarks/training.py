"""Training with one update (128 rows, all networks) per game step: Bi-AC beside RLlib's DQN and a plain torch loop.

This program shows
    updates and game steps per CPU-second on Escape, where Bi-AC's time goes, and the CPU-seconds until greedy play is
    the equilibrium C-Z and stays there.
How to run
    python benchmarks/training.py --out benchmarks/results/training.md
Results to expect
    Bi-AC does at least 40 times the updates of RLlib's multi-agent DQN, though it trains three networks, not two, and
    at least 0.6 times those of the plain torch loop, which bounds what is left to gain. Bi-AC finds C-Z; independent
    DQN may stay at A-X, Escape's other equilibrium.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # numpy reads them when it is imported
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # this machine's own processes only

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env
from sampling import LeanEscape  # beside this file
from studies import made_with

from rllib_biac import BiACConfig
from rllib_biac.envs.matrix_game import ESCAPE, ROWS_AND_COLUMNS

BATCH = 128
AGENTS = ("player_0", "player_1")
HIDDENS = ((64, 64), (30, 30))
GAMMA, TAU, LR, EPSILON, ENTROPY = 0.99, 0.01, 1e-3, [[0, 1.0], [2000, 0.1]], 0.05
CAPACITY = 50_000
# Settings of RLlib's DQN: replay buffer, games at once, steps per game and call. All make one update per game step.
BUFFERS: dict[str, dict[str, Any]] = {
    "uniform": {"type": "MultiAgentEpisodeReplayBuffer"},
    "prioritized": {"type": "MultiAgentPrioritizedEpisodeReplayBuffer", "alpha": 0.6, "beta": 0.4},
}
DQN_SETTINGS = (("uniform", 1, 1), ("uniform", 32, 1), ("uniform", 8, 4), ("prioritized", 32, 1))


class Trained:
    """An algorithm, its training calls counted: each `run()` is one `algo.train()`.

    Args:
        algo: the algorithm.
        updates_per_call: updates that one call of its learner group makes, given the call's arguments.
    """

    def __init__(self, algo: Algorithm, updates_per_call: Callable[[dict[str, Any]], int]) -> None:
        self.algo = algo
        self.updates = self.steps = 0
        update, group = algo.learner_group.update, algo.learner_group

        def counted(**kwargs: Any) -> Any:
            self.updates += updates_per_call(kwargs)
            return update(**kwargs)

        group.update = counted

    def run(self) -> tuple[int, int]:
        """Trains for one iteration; returns its updates and game steps."""
        updates = self.updates
        result = self.algo.train()
        steps, self.steps = self.steps, int(result["env_runners"]["num_env_steps_sampled_lifetime"])
        return self.updates - updates, self.steps - steps


def biac(hiddens: tuple[int, ...], games: int, steps: int, seed: int) -> Trained:
    """Returns Bi-AC, its losses and networks at their defaults but for the hidden layers."""
    config = (
        BiACConfig()
        .environment("escape_v0")
        .hierarchy([[AGENTS[0]], [AGENTS[1]]])
        .env_runners(num_envs_per_env_runner=games, epsilon=EPSILON)
        .training(
            train_batch_size_per_learner=BATCH,
            training_intensity=float(BATCH),  # rows trained per game step: one update
            num_steps_sampled_before_learning_starts=100,
            replay_buffer_config={"capacity": CAPACITY},
            tau=TAU,
            gamma=GAMMA,
            lr=LR,
        )
        .rl_module(model_config={"fcnet_hiddens": list(hiddens)})
        .reporting(min_sample_timesteps_per_iteration=steps)
        .debugging(seed=seed, log_level="ERROR")
    )
    return Trained(config.build_algo(), lambda call: call["batch"].env_steps() // BATCH)


def dqn(hiddens: tuple[int, ...], setting: tuple[str, int, int], steps: int, seed: int) -> Trained:
    """Returns RLlib's DQN with one policy per player and nothing that makes it heavier: no dueling, no double Q."""
    buffer, games, fragment = setting
    register_env("lean_escape", lambda _: LeanEscape())
    config = (
        DQNConfig()
        .environment("lean_escape", disable_env_checking=True)
        .multi_agent(policies=set(AGENTS), policy_mapping_fn=lambda agent, *_, **__: agent)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=games, rollout_fragment_length=fragment)
        .training(
            train_batch_size_per_learner=BATCH,
            training_intensity=float(BATCH),  # rows trained per game step: one update
            num_steps_sampled_before_learning_starts=100,
            replay_buffer_config=BUFFERS[buffer] | {"capacity": CAPACITY},
            target_network_update_freq=1,
            tau=TAU,
            gamma=GAMMA,
            lr=LR,
            epsilon=[tuple(point) for point in EPSILON],
            dueling=False,
            double_q=False,
        )
        .rl_module(
            model_config=DefaultModelConfig(fcnet_hiddens=list(hiddens), fcnet_activation="relu", head_fcnet_hiddens=[])
        )
        .reporting(min_sample_timesteps_per_iteration=max(steps, games * fragment), min_time_s_per_iteration=None)
        .debugging(seed=seed, log_level="ERROR")
    )
    return Trained(config.build_algo(), lambda call: 1)


class TorchLoop:
    """Bi-AC's updates on Escape as a plain loop: stacked networks, gradients written out, one fused Adam, numpy replay.

    It plays `games` games at once, then makes as many updates, as Bi-AC does. Escape's payoffs are divided by a
    constant instead of being normalised, and nothing is logged or checked.
    """

    def __init__(self, hiddens: tuple[int, ...], games: int, seed: int) -> None:
        self.games = games
        self._random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        sizes = (1, *hiddens, 9)
        pairs = list(itertools.pairwise(sizes))
        spans = np.cumsum([0] + [n for i, o in pairs for n in (o * i, o)])
        self._flat = torch.empty(3, int(spans[-1]))  # both critics, then the actor
        self._leaves: list[torch.Tensor] = []
        for (i, o), start in zip(pairs, spans[::2], strict=False):
            weight = self._flat[:, start : start + o * i].view(3, o, i)
            bias = self._flat[:, start + o * i : start + o * i + o].unsqueeze(2)
            for leaf in (weight, bias):
                leaf.uniform_(-(i**-0.5), i**-0.5)
                self._leaves.append(leaf)
        self._target = self._flat[:2].clone()
        self._grad, self._average, self._square = (torch.zeros_like(self._flat) for _ in range(3))
        self._grads = []
        for (i, o), start in zip(pairs, spans[::2], strict=False):
            self._grads.append(self._grad[:, start : start + o * i].view(3, o, i))
            self._grads.append(self._grad[:, start + o * i : start + o * i + o].unsqueeze(2))
        self._steps = torch.zeros(())
        self._payoffs = (ESCAPE / 10.0).reshape(2, 9).astype(np.float32)
        self._states = np.zeros((CAPACITY, 1), np.float32)
        self._actions = np.zeros(CAPACITY, np.int64)
        self._rewards = np.zeros((CAPACITY, 2), np.float32)
        self._added = 0

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.T.expand(3, *x.T.shape)
        for weight, bias in zip(self._leaves[:-2:2], self._leaves[1:-2:2], strict=True):
            h = torch.relu(torch.baddbmm(bias, weight, h))
        return torch.baddbmm(self._leaves[-1], self._leaves[-2], h).transpose(1, 2)  # (3, batch, 9)

    @torch.no_grad()
    def _play(self) -> None:
        epsilon = float(np.interp(self._added, *zip(*EPSILON, strict=True)))
        states = np.ones((self.games, 1), np.float32)
        q1, _, logits = self._forward(torch.from_numpy(states))
        responses = logits.view(-1, 3, 3).argmax(2)
        a1 = q1.view(-1, 3, 3).gather(2, responses.unsqueeze(2)).squeeze(2).argmax(1).numpy()
        a1 = np.where(self._random.random(self.games) < epsilon, self._random.integers(3, size=self.games), a1)
        a2 = responses.numpy()[np.arange(self.games), a1]
        a2 = np.where(self._random.random(self.games) < epsilon, self._random.integers(3, size=self.games), a2)
        joint = a1 * 3 + a2
        at = (self._added + np.arange(self.games)) % CAPACITY
        self._states[at], self._actions[at], self._rewards[at] = states, joint, self._payoffs[:, joint].T
        self._added += self.games

    @torch.no_grad()
    def _update(self, states: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor) -> None:
        weights, biases = self._leaves[::2], self._leaves[1::2]
        inputs = [states.T.expand(3, *states.T.shape)]  # (3, in, batch) of each layer
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(torch.baddbmm(bias, weight, inputs[-1]).relu_())
        output = torch.baddbmm(biases[-1], weights[-1], inputs[-1])  # (3, 9, batch)
        gradient = torch.zeros_like(output)
        # The critics' mean square errors. One-step games: the targets are the rewards.
        at = actions.T.expand(2, 1, -1)  # (2, 1, batch)
        error = output[:2].gather(1, at) - rewards.T.unsqueeze(1)
        gradient[:2].scatter_(1, at, error * (2 / BATCH))
        # The actor's, -E_pi[Q_2 - c log pi] of every leader action: by each logit, pi (mean - value).
        q2, logits = output[1].view(3, 3, -1), output[2].view(3, 3, -1)
        log_pi = logits.log_softmax(1)
        pi, value = log_pi.exp(), q2 - ENTROPY * log_pi
        gradient[2] = ((pi * value).sum(1, keepdim=True) - value).mul_(pi).mul_(1 / (3 * BATCH)).view(9, -1)
        found = []  # last layer first, bias before weight
        for layer in reversed(range(len(weights))):
            found += [gradient.sum(2, keepdim=True), gradient.bmm(inputs[layer].transpose(1, 2))]
            if layer:
                gradient = weights[layer].transpose(1, 2).bmm(gradient)
                gradient = torch.ops.aten.threshold_backward.default(gradient, inputs[layer], 0)
        torch._foreach_copy_(self._grads, found[::-1])
        self._steps += 1
        torch._fused_adam_(
            [self._flat],
            [self._grad],
            [self._average],
            [self._square],
            [],
            [self._steps],
            amsgrad=False,
            lr=LR,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        self._target.lerp_(self._flat[:2], TAU)

    def run(self) -> tuple[int, int]:
        """Plays one step of all games and makes as many updates; returns how many of each."""
        self._play()
        at = self._random.integers(min(self._added, CAPACITY), size=self.games * BATCH)
        columns = [torch.from_numpy(column[at]) for column in (self._states, self._actions, self._rewards)]
        columns[1] = columns[1].unsqueeze(1)
        for minibatch in zip(*(column.split(BATCH) for column in columns), strict=True):
            self._update(*minibatch)
        return self.games, self.games


def rates(runs: list[Callable[[], tuple[int, int]]], seconds: float, rounds: int, name: str) -> np.ndarray:
    """Returns updates and game steps per CPU-second, (2, rounds, runs). Rounds alternate between the runs."""
    measured = np.empty((2, rounds, len(runs)))
    for k in range(rounds):
        for i, run in enumerate(runs):
            done, begin = np.zeros(2), time.process_time()
            while (spent := time.process_time() - begin) < seconds:
                done += run()
            measured[:, k, i] = done / spent
        print(f"{name}: round {k + 1} of {rounds}", file=sys.stderr)
    return measured


def best_dqn(hiddens: tuple[int, ...], seconds: float, seed: int) -> tuple[Trained, tuple[str, int, int], list[str]]:
    """Tries all settings of RLlib's DQN; returns the fastest, warm, and what each did."""
    tried: list[tuple[float, Trained, tuple[str, int, int]]] = []
    for setting in DQN_SETTINGS:
        trained = dqn(hiddens, setting, 32, seed)
        while trained.updates == 0:
            trained.run()
        updates, begin = 0, time.process_time()
        while (spent := time.process_time() - begin) < seconds:
            updates += trained.run()[0]
        tried.append((updates / spent, trained, setting))
        print(f"RLlib's DQN {hiddens} {setting}: {updates / spent:.1f} updates/s", file=sys.stderr)
    tried.sort(key=lambda entry: -entry[0])
    for _, trained, _ in tried[1:]:
        trained.algo.stop()
    notes = [f"{b} replay, {n} games, {f} steps: {rate:.1f}" for rate, _, (b, n, f) in tried]
    return tried[0][1], tried[0][2], notes


def speed(hiddens: tuple[int, ...], args: argparse.Namespace) -> tuple[list[str], str]:
    """Measures one size of networks; returns rows of the table and what was tried."""
    other, setting, notes = best_dqn(hiddens, args.seconds, args.seed)
    contenders = [
        ("RLlib's DQN, 2 networks", setting[1] * setting[2], other.run),
        ("plain torch loop, 3 networks", args.games, TorchLoop(hiddens, args.games, args.seed).run),
    ]
    own = [(k, biac(hiddens, k, 4 * k, args.seed)) for k in dict.fromkeys((args.games, 10))]
    contenders += [("Bi-AC, 3 networks", k, trained.run) for k, trained in own]
    for _, _, run in contenders[1:]:
        while run()[0] == 0:  # until updates begin
            pass
    name = "-".join(map(str, hiddens))
    measured = rates([run for _, _, run in contenders], args.seconds, args.rounds, name)
    (updates, steps), low, high = np.median(measured, axis=1), measured[0].min(axis=0), measured[0].max(axis=0)
    lines = [
        f"| {name} | {what} | {k} | {updates[i]:,.0f} | {low[i]:,.0f} to {high[i]:,.0f} | {steps[i]:,.0f} "
        f"| {updates[i] / updates[0]:.1f} | {updates[i] / updates[1]:.2f} |"
        for i, (what, k, _) in enumerate(contenders)
    ]
    for trained in (other, *(trained for _, trained in own)):
        trained.algo.stop()
    return lines, f"{name}: " + "; ".join(notes)


def phases(hiddens: tuple[int, ...], args: argparse.Namespace) -> list[str]:
    """Returns a table of where Bi-AC's CPU time goes."""
    trained = biac(hiddens, args.games, 1000, args.seed)
    algo = trained.algo
    spent: dict[str, float] = {}

    def clock(owner: Any, method: str, phase: str) -> None:
        inner = getattr(owner, method)

        def timed(*a: Any, **k: Any) -> Any:
            begin = time.process_time()
            try:
                return inner(*a, **k)
            finally:
                spent[phase] = spent.get(phase, 0.0) + time.process_time() - begin

        setattr(owner, method, timed)

    trainer = algo.learner_group._learner.trainer
    clock(algo, "_sample", "play")
    clock(algo.local_replay_buffer, "add", "replay, add")
    clock(algo.local_replay_buffer, "sample", "replay, sample")
    clock(algo.learner_group, "update", "learner")
    clock(trainer, "_update", "of it: updates")
    clock(trainer.losses, "differentiate", "of these: losses, gradients")
    clock(trainer.optimizers, "step", "of these: optimizer")
    clock(algo, "_sync_weights", "sync of weights")
    clock(algo, "_collect_metrics", "metrics")
    trained.run()
    spent.clear()
    updates, begin = 0, time.process_time()
    while (total := time.process_time() - begin) < max(args.seconds, 3.0):
        updates += trained.run()[0]
    algo.stop()
    parts = {phase: value for phase, value in spent.items() if not phase.startswith("of ")}
    order = ("play", "replay, add", "replay, sample", "learner", "of it: updates", "of these: losses, gradients")
    order += ("of these: optimizer", "sync of weights", "metrics")
    rows = {phase: spent[phase] for phase in order} | {"everything else": total - sum(parts.values())}
    return [f"| {phase} | {1e6 * value / updates:,.1f} | {value / total:.1%} |" for phase, value in rows.items()]


def joint_action(trained: Trained) -> str:
    """Returns the greedy joint action, such as `"C-Z"`."""
    module = trained.algo.learner_group._learner.module
    with torch.no_grad():
        if hasattr(module, "team"):
            actions = [int(a) for a in module.team.act(torch.ones(1, 1)).values()]
        else:
            batch = {agent: {"obs": torch.ones(1, 1)} for agent in AGENTS}
            outputs = module.forward_inference(batch)
            actions = [int(outputs[agent]["actions"]) for agent in AGENTS]
    return "-".join(names[a] for names, a in zip(ROWS_AND_COLUMNS, actions, strict=True))


def until_solved(trained: Trained, steps: int) -> tuple[float, int, str]:
    """Trains for so many game steps.

    Returns:
        CPU-seconds and game steps after which greedy play was C-Z until the end (infinity and -1 if it was not), and
        the greedy joint action at the end.
    """
    spent, solved = 0.0, (np.inf, -1)
    while trained.steps < steps:
        begin = time.process_time()
        trained.run()
        spent += time.process_time() - begin
        action = joint_action(trained)
        if action != "C-Z":
            solved = (np.inf, -1)
        elif solved[1] < 0:
            solved = (spent, trained.steps)
    trained.algo.stop()
    return *solved, action


def solutions(hiddens: tuple[int, ...], args: argparse.Namespace) -> list[str]:
    """Returns the rows of the time to solution, one per algorithm."""
    name, lines = "-".join(map(str, hiddens)), []
    contenders: list[tuple[str, int, Callable[[int], Trained]]] = [
        ("Bi-AC, 10 games", args.seeds, lambda seed: biac(hiddens, 10, 50, seed)),
        ("RLlib's DQN, 32 games", args.dqn_seeds, lambda seed: dqn(hiddens, ("uniform", 32, 1), 32, seed)),
    ]
    for what, seeds, build in contenders:
        if not seeds:
            continue
        found = []
        for seed in range(args.seed, args.seed + seeds):
            found.append(until_solved(build(seed), args.steps))
            print(f"{name}, {what}, seed {seed}: {found[-1]}", file=sys.stderr)
        solved = [entry for entry in found if entry[1] >= 0]
        ends = ", ".join(f"{action} {sum(f[2] == action for f in found)}" for action in sorted({f[2] for f in found}))
        seconds = f"{np.median([f[0] for f in solved]):.2f}" if solved else "-"
        took = f"{np.median([f[1] for f in solved]):,.0f}" if solved else "-"
        lines.append(f"| {name} | {what} | {len(solved)} of {seeds} | {seconds} | {took} | {ends} |")
    return lines


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, median reported (%(default)s)")
    parser.add_argument("--games", type=int, default=64, help="K: games, and updates, per call (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="game steps given for a solution (%(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of Bi-AC for the time to solution (%(default)s)")
    parser.add_argument("--dqn-seeds", type=int, default=3, help="of RLlib's DQN, which is slow (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the tables")
    args = parser.parse_args()

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    table, tried = [], []
    for hiddens in HIDDENS:
        lines, notes = speed(hiddens, args)
        table += lines
        tried.append(notes)
    shares = phases(HIDDENS[0], args)
    solved = [line for hiddens in HIDDENS for line in solutions(hiddens, args)] if args.seeds else []
    ray.shutdown()
    lines = [
        "# Training: one update of 128 rows, all networks, per game step of Escape, one core",
        "",
        "| hidden layers | | K | updates/s, median | range | game steps/s | times RLlib's DQN | times the torch loop |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *table,
        "",
        "K is the number of games sampled, and of minibatches trained, per call: what a call samples waits for at most "
        "K steps until it is learned from. Updates are counted at the learner. RLlib's DQN runs "
        "`training_intensity=128` with one policy per player (no dueling, no double Q, an environment without adapter) "
        f"at the fastest of these settings (updates/s): {' | '.join(tried)}. Its `independent` sampling is used: "
        "`synchronized` does not end "
        "on one-step episodes. The torch loop does Bi-AC's updates with stacked networks, gradients written out, one "
        "fused Adam and a numpy ring.",
        "",
        f"## Where Bi-AC's time goes ({'-'.join(map(str, HIDDENS[0]))}, K = {args.games})",
        "",
        "| phase | µs of CPU per update | share |",
        "|---|---:|---:|",
        *shares,
        "",
        f"## Time to solution: greedy play C-Z, kept until the end of {args.steps:,} game steps",
        "",
        "| hidden layers | | seeds solved | CPU-seconds, median | game steps, median | greedy play at the end |",
        "|---|---|---:|---:|---:|---|",
        *solved,
        "",
        "CPU-seconds are those of `algo.train()` from its first call, building the algorithm not included; both "
        "explore by the same epsilon schedule, one update per game step after the first 100. Bi-AC's greedy play "
        "is looked at every 50 game steps, DQN's every 32. DQN's players learn independently and may settle "
        "at A-X, which is an equilibrium of Escape too, and the worse one. A first answer may be C-Z by luck: only "
        "what is kept counts.",
        "",
        f"{args.rounds} interleaved rounds of {args.seconds:g} s of CPU time (`time.process_time`) each, "
        f"seed {args.seed}.",
        *made_with("ray", "torch", "numpy"),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
