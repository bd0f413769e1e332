"""This program shows: what becomes of games that break the rules, one fault each, by kind, runner and space.

How to run:
    python benchmarks/bad_games               # 60 faults, drawn with seed 0; about a minute on one core
    python benchmarks/bad_games --count 1000  # more draws of the same kinds
    python benchmarks/bad_games --kinds nan text --out /tmp

A game of two agents, `ann` and `bob`, is clean but for one fault: of one kind, at one step, of one agent, from one
episode on, in observations of one space, read by one runner. `joint` is `ParallelEnvBatch` sampled by `Sampler`;
`stock` is the same game as RLlib's `MultiAgentEnv`; `native` is a `MultiAgentEnv` by somebody else, `gymnasium` a
gymnasium environment of two agents, both read for `joint`; `play` is greedy, as in evaluation. Each kind states what is
right:

- caught: a GameError or a ValueError that names what is wrong, where: agent and step, or agent and space;
- harmless: every row equals the row of the same seed without the fault (or of a game that says the same in plain
  words);
- allowed: the rows may differ, but the game must get nothing but actions it allows.

What is harmless may also be refused. Besides, in every game: no action outside of the action space or of the mask.
Faults are: SILENT (not caught, and rows that differ), CRASH (another exception, or one that ends the program), HANG,
and VAGUE (caught, with a message that leaves out the agent or the place). With any, the program ends with code 1.

Results to expect: none.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[1:3]]

from studies import RESULTS, markdown, versions

from bad_games.judging import FAULTS, RUNNERS, judge
from bad_games.kinds import AGENTS, ALLOWED, CAUGHT, HARMLESS, KINDS, Case


def draw(count: int, seed: int, kinds: list[str], runners: list[str]) -> list[Case]:
    """Draws cases: kinds in turn, each round in a new order, everything else at random."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        for name in rng.permutation(kinds)[: count - len(cases)]:
            kind = KINDS[str(name)]
            possible = [runner for runner in kind.runners if runner in runners] or list(kind.runners)
            cases.append(
                Case(
                    kind=str(name),
                    runner=str(rng.choice(possible)),
                    space=str(rng.choice(kind.spaces)),
                    step=int(rng.integers(kind.first, kind.last + 1)),
                    agent=str(rng.choice(AGENTS)),
                    episode=int(rng.integers(3)),
                )
            )
    return cases


def report(cases: list[Case], verdicts: list[tuple[str, str]], seed: int) -> str:
    """Returns the page: counts, then each case."""
    counts = Counter(verdict for verdict, _ in verdicts)
    order = (CAUGHT, HARMLESS, ALLOWED, *FAULTS)
    table = [["right", *order]]
    for right in (CAUGHT, HARMLESS, ALLOWED):
        of = Counter(v for c, (v, _) in zip(cases, verdicts, strict=True) if KINDS[c.kind].right == right)
        table.append([right, *(str(of[word]) for word in order)])
    rows = [["kind", "runner", "space", "step", "agent", "from episode", "right", "became", "why"]]
    for case, (verdict, why) in sorted(zip(cases, verdicts, strict=True), key=lambda pair: pair[1][0] not in FAULTS):
        said = " ".join(why.split()).replace("|", "\\|")
        rows.append(
            [
                case.kind,
                case.runner,
                case.space,
                str(case.step),
                case.agent,
                str(case.episode),
                KINDS[case.kind].right,
                verdict,
                said[:160],
            ]
        )
    wrong = sum(counts[word] for word in FAULTS)
    return "\n".join(
        [
            "# Games that break the rules",
            "",
            f"{len(cases)} faults of {len({case.kind for case in cases})} kinds, drawn with seed {seed}: in {wrong} "
            "the library is wrong. What the words mean is said in `benchmarks/bad_games`.",
            "",
            markdown(table[0], table[1:]),
            "",
            markdown(rows[0], rows[1:]),
            "",
            f"Made by `python benchmarks/bad_games --count {len(cases)} --seed {seed}` with {versions()}.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="how many faults (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=sorted(KINDS), help="only these kinds")
    parser.add_argument("--runners", nargs="+", default=list(RUNNERS), choices=RUNNERS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of bad_games.md")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no such kinds: {sorted(unknown)}; there are: {', '.join(sorted(KINDS))}")
    cases = draw(options.count, options.seed, options.kinds, options.runners)
    verdicts = []
    for number, case in enumerate(cases):
        verdicts.append(judge(case))
        if verdicts[-1][0] in FAULTS:
            print(f"{number}: {case}: {verdicts[-1][0]}: {verdicts[-1][1]}"[:600], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bad_games.md").write_text(report(cases, verdicts, options.seed), encoding="utf-8")
    print(dict(Counter(verdict for verdict, _ in verdicts)))
    return int(any(verdict in FAULTS for verdict, _ in verdicts))


if __name__ == "__main__":
    sys.exit(main())
