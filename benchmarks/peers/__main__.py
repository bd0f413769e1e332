"""Training on Escape beside other libraries that a user might pick: BenchMARL, AgileRL and XuanCe.

This program shows
    env steps and updates per CPU-second, one update of 128 rows per env step, and how long each needs until greedy play
    is the equilibrium C-Z and stays there.
How to run
    python benchmarks/peers --out benchmarks/results/peers.md
    python benchmarks/peers --only XuanCe --rounds 1 --seeds 0
    The first run makes a virtual environment for each library (about 5 GB in `.venv-peers` with PyTorch for CPUs only;
    where pip would bring CUDA, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds). A library whose environment
    cannot be made is left out, and its row says why.
Results to expect
    With 64 games at once Bi-AC, three networks, does about eleven times the updates of BenchMARL and AgileRL, and
    four times those of XuanCe; with one game at a time it is about as fast as XuanCe. It plays C-Z in all runs
    at its default learning rate. The others have no Bi-AC: it is their independent learners or MADDPG, at the best of
    a few settings.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch
from job import ANNEALED, CHECKED, UNIFORM, Job
from libraries import OURS, PINS, Library, environment

from rllib_biac.envs.matrix_game import ESCAPE

GAMES = (1, 16, 64)  # played at once, and updates per call
LONG = 25  # steps of an episode, of as many games at once as the last of these
GAMES_TO_SOLUTION = 16
RATES = (1e-3, 5e-3, 2e-2)
NOISES = (0.1, 1.0)  # AgileRL's default, and more


@dataclass
class Contender:
    """A method of a library, and what is searched for its time to solution: learning rates and exploration."""

    job: Job
    settings: list[tuple[float, Any]]

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.job.library} {self.job.method}" + (" at its defaults" if self.job.defaults else "")


def contenders() -> list[Contender]:
    """Returns all that are compared, this library's first."""
    # Independent learners find C-Z as long as the other one explores: it is the best answer to a random player.
    explored = [(lr, UNIFORM) for lr in RATES]
    annealed = [(lr, ANNEALED) for lr in RATES]
    noisy = [(lr, noise) for lr in RATES for noise in NOISES]
    biac = Job(OURS, "BiAC", tuple(map(tuple, ESCAPE[0].tolist())))
    return [
        Contender(biac, [(1e-3, ANNEALED)]),  # not searched
        Contender(replace(biac, games=25, defaults=True), [(1e-3, ANNEALED)]),
        Contender(replace(biac, method="IDQN"), explored),
        Contender(replace(biac, method="MADDPG"), explored + annealed),
        Contender(replace(biac, library="BenchMARL", method="IQL"), explored),
        Contender(replace(biac, library="XuanCe", method="IQL"), explored),
        Contender(replace(biac, library="AgileRL", method="MADDPG", explore=NOISES[0]), noisy),
    ]


def say(*words: Any) -> None:
    """Tells what goes on."""
    print(*words, file=sys.stderr, flush=True)


class Speeds:
    """What each contender did per CPU-second, in interleaved rounds: short episodes by `GAMES`, and long ones."""

    def __init__(self, entries: list[Contender], libraries: dict[str, Library], seconds: float, rounds: int) -> None:
        self._entries = entries
        self._measured: dict[Job, list[dict[str, float]]] = {job: [] for entry in entries for job in self._jobs(entry)}
        for k in range(rounds):
            for job, found in self._measured.items():
                found.append(libraries[job.library].ask(job, seconds=seconds))
            say(f"speed: round {k + 1} of {rounds}")

    @staticmethod
    def _jobs(entry: Contender) -> list[Job]:
        short = [entry.job] if entry.job.defaults else [replace(entry.job, games=games) for games in GAMES]
        return [*short, replace(short[-1], horizon=LONG)]

    def _best(self, entry: Contender) -> Job:
        return max(self._jobs(entry)[:-1], key=lambda job: median(found["updates"] for found in self._measured[job]))

    def _times(self, one: Job, other: Job) -> float:
        # Round by round, so that a slow moment of the machine meets both.
        pairs = zip(self._measured[one], self._measured[other], strict=True)
        return median(a["updates"] / b["updates"] for a, b in pairs)

    def rows(self) -> Iterable[str]:
        """Yields the rows of the table."""
        for entry in self._entries:
            for job in self._jobs(entry):
                updates, steps, start_up = (
                    [found[what] for found in self._measured[job]] for what in ("updates", "steps", "start_up")
                )
                spread = f"{min(updates):,.0f} to {max(updates):,.0f}"
                yield (
                    f"| {entry.name} | {job.horizon} | {job.games} | {median(updates):,.0f} | {spread} "
                    f"| {median(steps):,.0f} | {start_up[0]:.1f} |"
                )

    def ratios(self) -> Iterable[str]:
        """Yields the rows of how many times the updates of each peer Bi-AC and the peer's own method do here."""
        own = {e.job.method: e for e in self._entries if e.job.library == OURS and not e.job.defaults}
        for peer in self._entries:
            if peer.job.library == OURS:
                continue
            for mine in (own["BiAC"], own["IDQN" if peer.job.method == "IQL" else peer.job.method]):
                times = [self._times(*jobs) for jobs in zip(self._jobs(mine), self._jobs(peer), strict=True)]
                times.insert(len(GAMES), self._times(self._best(mine), self._best(peer)))
                yield f"| {mine.name} | {peer.name} | {' | '.join(f'{ratio:.1f}' for ratio in times)} |"


def described(setting: tuple[float, Any]) -> str:
    """Returns a searched setting in words."""
    lr, explore = setting
    if isinstance(explore, float):
        return f"lr {lr:g}, noise {explore:g}"
    return f"lr {lr:g}, epsilon 1" + (f" to {explore[1][1]:g}" if explore != UNIFORM else "")


@dataclass
class Search:
    """How long to look for a contender's best setting, and to run it."""

    steps: int
    seeds: int
    search_seeds: int

    @property
    def wanted(self) -> int:
        """Of how many seeds the time is told: 19 of 20."""
        return math.ceil(0.95 * self.seeds)

    def best(self, settings: list[tuple[float, Any]], run: Callable[..., dict[str, Any]]) -> tuple[Any, list[str]]:
        """Returns the setting that solved most seeds, then in the fewest env steps; and what was tried."""
        if len(settings) == 1:
            return settings[0], []
        ranks = []
        for setting in settings:
            took = [run(setting, 1000 + k)["at"] for k in range(self.search_seeds)]
            steps = [at["steps"] if at else self.steps for at in took]
            ranks.append((took.count(None), sum(steps), setting))
        tried = [f"{described(setting)}: {self.search_seeds - missed}" for missed, _, setting in ranks]
        return min(ranks, key=lambda rank: rank[:2])[2], tried

    def solve(self, entry: Contender, library: Library) -> tuple[str, str]:
        """Searches, and runs the best setting on seeds of its own; returns a table's row, and what was tried."""
        job = replace(entry.job, report=CHECKED)
        if not job.defaults:
            job = replace(job, games=GAMES_TO_SOLUTION)

        def run(setting: tuple[float, Any], seed: int) -> dict[str, Any]:
            lr, explore = setting
            return library.ask(replace(job, lr=lr, explore=explore, seed=seed), steps=self.steps)

        setting, tried = self.best(entry.settings, run)
        say(f"{entry.name}: {'; '.join(tried)}")
        found = [run(setting, seed) for seed in range(self.seeds)]
        hits = [run["at"] for run in found if run["at"]]
        ends = ", ".join(f"{play} {n}" for play, n in sorted(Counter(run["play"] for run in found).items()))
        say(f"{entry.name}: {len(hits)} of {self.seeds}, {ends}")
        cells = []
        for what, form in (("steps", ",.0f"), ("seconds", ".2f")):
            took = sorted(hit[what] for hit in hits)
            cells.append(format(median(took), form) if took else "-")
            cells.append(format(took[self.wanted - 1], form) if len(took) >= self.wanted else "not reached")
        chosen = "all default" if job.defaults else described(setting)
        row = f"| {entry.name} | {chosen} | {len(hits)} of {self.seeds} | {' | '.join(cells)} | {ends} |"
        return row, f"{entry.name} ({'; '.join(tried)})" if tried else ""

    def section(self, solved: list[tuple[str, str]]) -> list[str]:
        """Returns the lines of the time to solution, of what `solve` returned."""
        until = f"until {self.wanted} of {self.seeds}"
        return [
            f"## Time to solution: greedy play C-Z, kept until the end of {self.steps:,} env steps",
            "",
            f"| | setting | solved | env steps, median | env steps {until} | CPU-seconds, median | CPU-seconds {until} "
            "| greedy play at the end |",
            "|---|---|---:|---:|---:|---:|---:|---|",
            *(row for row, _ in solved),
            "",
            f"{GAMES_TO_SOLUTION} games at once, one update per env step, greedy play looked at every {CHECKED} env "
            "steps; medians are of the solved runs; CPU-seconds without start-up. Bi-AC is not searched. Of the others "
            f"the setting is run that solved most of {self.search_seeds} other seed(s), then in the fewest env steps; "
            f"seeds solved there: {'; '.join(note for _, note in solved if note)}. XuanCe explores with all agents and "
            "games at once or with none; AgileRL has no epsilon, and its actors, which draw their actions, add noise. "
            "A-X and B-Y are equilibria of Escape too, and worse: a method that stays there has learned something, but "
            "not this.",
            "",
        ]


def page(speeds: Speeds, solutions: list[str], absent: list[str], args: argparse.Namespace) -> str:
    """Returns all tables, and how they were made."""
    at_once = " | ".join(f"{k} at once" if k > 1 else "1 game" for k in GAMES)
    lines = [
        "# Other libraries: one update of 128 rows, all networks, per env step of Escape, one core",
        "",
        "| | steps of an episode | games at once | updates/s, median | range | env steps/s | start-up, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *speeds.rows(),
        "",
        *(["| not measured | why |", "|---|---|", *absent, ""] if absent else []),
        "Per CPU-second, user and system, after the first 100 updates; Ray's processes, which watch the machine as "
        "time goes by, are included at what they cost on a core of one's own. Start-up, in CPU-seconds, is from an "
        "empty process until training can begin. Hidden layers 30-30; Bi-AC trains three networks, IDQN and IQL two, "
        "MADDPG four (AgileRL's actors have one more hidden layer, which it cannot leave out). Games at once is also "
        "the number of updates per call. The row at its defaults plays 25 games, has layers of 64-64 and makes one "
        "update of 64 rows every 4 env steps. Where all episodes of a minibatch end, as all of one step do, there is "
        "nothing to bootstrap from, and this library leaves its target networks out; the others compute them in vain. "
        f"Episodes of {LONG} steps, which are cut off and not terminated, show what remains without that. "
        "Each library runs as is fastest for it: no logs, no evaluation, no layer norm, no double Q; BenchMARL and "
        "XuanCe step their games one by one, as they do any PettingZoo game, AgileRL as arrays without processes. "
        "BenchMARL's MADDPG takes no discrete actions, nor does XuanCe's, so it is their independent Q-learning.",
        "",
        "## Updates per CPU-second of the first as a multiple of the second",
        "",
        f"| | beside | {at_once} | each at its best | {GAMES[-1]} at once, {LONG} steps each |",
        "|---|---|" + "---:|" * (len(GAMES) + 2),
        *speeds.ratios(),
        "",
        *solutions,
        f"{args.rounds} interleaved rounds of {args.seconds:g} s of CPU time each, one thread.",
        f"Python {platform.python_version()}, ray {ray.__version__}, torch {torch.__version__}, "
        f"{', '.join(pin for name in args.only for pin in PINS[name])}, {platform.system()} {platform.machine()}.",
        "",
        f"    python {' '.join(sys.argv)}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(PINS), default=list(PINS), help="these libraries")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, median reported (%(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each to a solution; 0: none (%(default)s)")
    parser.add_argument("--search-seeds", type=int, default=2, help="runs per searched setting (%(default)s)")
    parser.add_argument("--steps", type=int, default=1024, help="env steps given for a solution (%(default)s)")
    parser.add_argument("--venvs", type=Path, default=Path(__file__).resolve().parents[2] / ".venv-peers")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    args = parser.parse_args()

    pythons, absent = {OURS: Path(sys.executable)}, []
    for name in args.only:
        try:
            pythons[name] = environment(name, args.venvs)
        except RuntimeError as error:
            absent.append(f"| {name} | its environment could not be made: {error} |")
    with tempfile.TemporaryDirectory() as folder:
        libraries = {name: Library(name, python, Path(folder)) for name, python in pythons.items()}
        entries = []
        for entry in contenders():
            if entry.job.library in libraries:
                try:
                    libraries[entry.job.library].ask(entry.job, seconds=0.1)
                except RuntimeError as error:
                    absent.append(f"| {entry.name} | it does not run: {error} |")
                    continue
                entries.append(entry)
        speeds = Speeds(entries, libraries, args.seconds, args.rounds)
        search = Search(args.steps, args.seeds, args.search_seeds)
        solved: list[tuple[str, str]] = []
        text = page(speeds, [], absent, args)
        for entry in entries if args.seeds else []:
            if args.out:
                args.out.write_text(text, encoding="utf-8")
            solved.append(search.solve(entry, libraries[entry.job.library]))
            text = page(speeds, search.section(solved), absent, args)
        for library in libraries.values():
            library.close()
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
