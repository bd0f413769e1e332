"""This program shows: which games by other people are trained on, which are refused, and what was learned.

How to run:
    python benchmarks/public_games/run.py --verdicts  # what becomes of each: Bi-AC, one seed, 2,000 steps; ten minutes
    python benchmarks/public_games/run.py             # everything: hours on two cores
    python benchmarks/public_games/run.py --games rps kitchen --algorithms BiAC IDQN --seeds 2

The games are in `games.yaml`, forty from sixteen packages, none changed by hand. They are installed without their
dependencies, each package into its own folder in `--folder`; pins of the library stay what they are. Each run is a
process of its own and takes the road of `rllib train file`: a YAML file is read, checked, resolved and trained. Who
leads is not tuned: the first agent of the game's own order leads, all others follow on one level; the baselines have
equals. Budget and settings are the same for all games and algorithms: defaults, but that exploration takes half of the
run and observations are normalised. Bi-AC is told `information: own` where observations tell less than the state (as
`rllib check` and the log of a run say it): there, and only there, play on the full state could not be deployed. Rows
go to `public_games.jsonl` in `--out`; what is in it is not run again.

What became of a run: trained; refused (before the first step, in words); late (refused in words, after the first step);
slow (not done in `--minutes`); SILENT (trained, while the game was asked for what it does not allow, or reports other
returns); CRASH (anything else).

Learned play is what can be deployed: each agent by its own observation wherever observations differ. It is played
against random play with the same starts. Cooperative games are judged by the sum of all returns; in others each side
(the leader; the followers) plays learned against random others, and against a frozen IDQN partner of the same seed.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from studies import RESULTS, Row, markdown, versions

LIST = yaml.safe_load((HERE / "games.yaml").read_text(encoding="utf-8"))
GAMES: dict[str, dict[str, Any]] = {game["name"]: game for game in LIST["games"]}
ALGORITHMS = ("IDQN", "MADDPG", "BiAC")  # IDQN first: others meet it as a partner
TRAINED, REFUSED, LATE, SLOW, SILENT, CRASH = "trained", "refused", "late", "slow", "SILENT", "CRASH"
MEMORY = 10 * 2**30  # bytes a run may hold


# Installing.


def install(package: str, folder: Path) -> Path:
    """Installs a package's requirements into its own folder, once. Returns the folder."""
    target = folder / package
    wanted = LIST["packages"][package]
    mark = target / "installed.txt"
    if wanted and not (mark.is_file() and mark.read_text(encoding="utf-8").split() == wanted):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(target)]
        subprocess.run([*command, *wanted], check=True)
        mark.write_text("\n".join(wanted), encoding="utf-8")
    target.mkdir(parents=True, exist_ok=True)
    return target


# One run, in a process of its own.


def experiment(task: Row, agents: list[str], less: list[str]) -> dict[str, Any]:
    """Returns the experiment file of a run, given the game's agents and those who observe less than the state."""
    from rllib_biac.rllib.config_keys import keys_of
    from rllib_biac.rllib.registry import config_class

    game, algorithm, steps = GAMES[task["game"]], task["algorithm"], task["steps"]
    config: dict[str, Any] = {
        "hierarchy": [agents[:1], agents[1:]] if algorithm == "BiAC" else [agents],
        "state": "observations",
        "seed": task["seed"],
        "epsilon": [[0, 1.0], [steps // 2, 0.1]],
        "normalize_observations": True,  # what others' games show is of any size
        "num_envs_per_env_runner": 10,
        "replay_buffer_config": {"capacity": steps},
        "store_buffer_in_checkpoints": False,
        "min_sample_timesteps_per_iteration": 1000,
    }
    if less and "information" in keys_of(config_class(algorithm)):
        config["information"] = "own"
    if "env_config" in game:
        config["env_config"] = game["env_config"]
    stop = {"num_env_steps_sampled_lifetime": steps}
    return {game["name"]: {"run": algorithm, "env": game["env"], "stop": stop, "config": config}}


def one(task: Row, kept: Path) -> Row:
    """Trains one algorithm on one game as `rllib train file` does, then plays. Returns what is to be known of it."""
    from public_games.audit import Audit, watch

    from rllib_biac.experiments import checks, reading
    from rllib_biac.experiments.mistakes import Mistake
    from rllib_biac.experiments.resolve import resolve
    from rllib_biac.learning.games import make_games
    from rllib_biac.learning.information import tell_less

    game, audit, start = GAMES[task["game"]], Audit(), time.monotonic()
    row: Row = {"verdict": CRASH, "message": "", "env_steps": 0}
    watch(audit)
    try:
        games = make_games(game["env"], 1, np.random.default_rng(0), game.get("env_config", {}))
        agents, less = games.possible_agents, tell_less(games, "observations")
        games.close()
    except Exception:  # the run itself meets it again, and is judged by what it says then
        agents, less = [f"agent_{i}" for i in range(game["agents"])], []
    row["agents"] = agents
    algo = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{game['name']}.yaml")
            document = experiment(task, agents, less)
            path.write_text(yaml.safe_dump(document), encoding="utf-8")
            draft = reading.read(path)[0]
            checks.check(draft)
            config = resolve(draft).trials[0].config.debugging(log_sys_usage=False)
        algo = config.build_algo()
        row["seconds_to_first_step"] = time.monotonic() - start
        trained_since = time.monotonic()
        while row["env_steps"] < task["steps"]:
            row["env_steps"] = int(algo.train()["num_env_steps_sampled_lifetime"])
        row["steps_per_second"] = row["env_steps"] / (time.monotonic() - trained_since)
        row |= {"verdict": TRAINED, "seconds": time.monotonic() - start}
        algo.save_to_path(str(kept))
        row |= compared(task, game, document[game["name"]]["config"], kept, audit)
    except (Mistake, ValueError, RuntimeError) as error:
        worded = isinstance(error, Mistake | ValueError) or type(error).__name__ == "GameError"
        row["verdict"] = CRASH if not worded else REFUSED if algo is None else LATE
        row["message"] = str(error)
    except MemoryError as error:
        row["message"] = f"MemoryError: {error}"
    except BaseException as error:  # whatever it is, a user would see it
        row["message"] = f"{type(error).__name__}: {error}"
    if row["verdict"] == CRASH:
        row["trace"] = traceback.format_exc()[-3000:]
    if row["verdict"] == TRAINED and audit.broken:
        row |= {"verdict": SILENT, "message": audit.broken[0]}
    return row | {"seconds": time.monotonic() - start, "game_steps": audit.steps}


def compared(task: Row, game: dict[str, Any], config: dict[str, Any], kept: Path, audit: Any) -> Row:
    """Plays a trained team, and random play with the same starts."""
    from public_games.playing import returns

    from rllib_biac.rllib.reading import read_trained

    trained = read_trained(kept)
    agents, look = list(trained.team.spec.agents), trained.team.spec.look
    sides = [agents] if game["pays"] == "cooperative" else [agents[:1], agents[1:]]
    common = (game["env"], game.get("env_config", {}), config["state"])
    seed = 10_000 + task["seed"]
    partner_at = kept.parent / kept.name.replace(f"-{task['algorithm']}-", "-IDQN-")
    partners: dict[str, Any] = {"random": None}
    if len(sides) > 1 and partner_at.is_dir():
        partners["IDQN"] = read_trained(partner_at)
    plays, cut = [], 0
    for side in sides:
        for name, partner in partners.items():
            learned, cut_now = returns(*common, side, trained, partner, task["episodes"], seed, look, audit)
            by_chance, _ = returns(*common, side, None, partner, task["episodes"], seed, look)
            cut += cut_now
            plays.append({"side": side, "partner": name, "learned": learned.tolist(), "random": by_chance.tolist()})
    return {"plays": plays, "cut": cut, "information": config.get("information", "full")}


# All runs.


def tasks(options: argparse.Namespace) -> list[Row]:
    """Returns the settings of all runs asked for."""
    return [
        {"game": game, "algorithm": algorithm, "seed": seed, "steps": options.steps, "episodes": options.episodes}
        for seed in range(options.seeds)
        for game in options.games
        for algorithm in options.algorithms
    ]


def run(task: Row, options: argparse.Namespace) -> Row:
    """Does one run in a process of its own, and says what became of that process."""
    package = GAMES[task["game"]]["package"]
    try:
        found = install(package, options.folder)
    except subprocess.CalledProcessError as error:
        return {"verdict": CRASH, "message": f"pip could not install {package}: {error}", "seconds": 0.0}
    kept = options.folder / "runs" / f"{task['game']}-{task['algorithm']}-{task['seed']}-{task['steps']}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "row.json")
        command = [sys.executable, __file__, "--one", json.dumps(task), "--kept", str(kept), "--answer", str(answer)]
        # Behind the library's own packages, so that a game's requirements shadow none of them.
        environment = os.environ | {"GAME_PATH": str(found)}
        start = time.monotonic()
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60 * options.minutes, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return {"verdict": SLOW, "message": "", "seconds": time.monotonic() - start}
        if answer.is_file():
            return json.loads(answer.read_text(encoding="utf-8"))
        died = f"the process ended with {ended.returncode}: {ended.stderr[-500:]}"
        return {"verdict": CRASH, "message": died, "seconds": time.monotonic() - start}


def answer_one(options: argparse.Namespace) -> None:
    """Does the run of a child process."""
    sys.path.append(os.environ["GAME_PATH"])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    row = one(json.loads(options.one), options.kept.absolute())
    options.answer.write_text(json.dumps(row), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # some games leave threads or a display behind, which would keep the process


# The page.


def differences(rows: list[Row], game: str, algorithm: str, partner: str) -> list[tuple[str, np.ndarray]]:
    """Returns learned minus random play of each side, (seeds, episodes)."""
    found = [row for row in rows if (row["game"], row["algorithm"]) == (game, algorithm) and row.get("plays")]
    sides: dict[str, list[np.ndarray]] = {}
    for row in found:
        for play in row["plays"]:
            if play["partner"] == partner:
                side = "+".join(play["side"])
                sides.setdefault(side, []).append(np.subtract(play["learned"], play["random"]))
    return [(side, np.stack(each)) for side, each in sides.items()]


def cell(found: list[tuple[str, np.ndarray]]) -> tuple[str, bool]:
    """Returns the text of a comparison, one line per side, and whether the mean over sides is above random play."""
    from public_games.playing import interval

    if not found:
        return "", False
    rng = np.random.default_rng(0)
    parts = []
    for _, each in found:
        mean, low, high = interval(each, rng)
        parts.append(f"{mean:+.3g} [{low:.3g}, {high:.3g}]")
    _, low, _ = interval(np.mean([each for _, each in found], axis=0), rng)
    return "<br>".join(parts), low > 0


def page(rows: list[Row], options: argparse.Namespace) -> str:
    """Returns the page of results."""
    counts: Counter[str] = Counter()
    ran = [name for name in reversed(ALGORITHMS) if any(row["algorithm"] == name for row in rows)]
    table, above, wrong = [], Counter[str](), []
    for game in GAMES.values():
        own = [row for row in rows if (row["game"], row["algorithm"]) == (game["name"], "BiAC")]
        became = " / ".join(sorted({row["verdict"] for row in own})) or "not run"
        counts[became] += 1
        message = next((row["message"] for row in own if row["message"]), "")
        texts = []
        for algorithm in ran:
            text, better = cell(differences(rows, game["name"], algorithm, "random"))
            above[algorithm] += better
            texts.append(text)
        if "IDQN" in ran:
            texts.append(cell(differences(rows, game["name"], "BiAC", "IDQN"))[0])
        seconds = np.median([row["seconds"] for row in own]) if own else 0
        told = " ".join(message.split()).replace("|", "\\|")
        table.append(
            [game["name"], game["package"], game["kind"], game["agents"], game["pays"], game["expect"], became,
             f"{seconds:.0f}", *texts]
        )  # fmt: skip
        if told or became not in (TRAINED, "not run"):
            wrong.append([game["name"], became, game["why"], told[:400]])
    head = ["game", "package", "make", "agents", "pays", "expected", "became", "s", *ran,
            *(["BiAC against IDQN"] if "IDQN" in ran else [])]  # fmt: skip
    said = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    better = ", ".join(f"{name} in {above[name]}" for name in ran)
    seeds = len({row["seed"] for row in rows})
    budget = f"--seeds {seeds} --steps {options.steps} --episodes {options.episodes} --minutes {options.minutes:g}"
    return "\n".join(
        [
            "# Games by other people",
            "",
            f"Forty games from {len({game['package'].split('-')[0] for game in GAMES.values()})} packages, each named "
            f"in YAML alone; {options.steps:,} env steps each; {seeds} seed(s). What became of Bi-AC's runs: {said}. "
            f"Above random play (lower end of the 95% interval above 0; mean over the sides): {better}.",
            "",
            "Numbers are the return of learned play less that of random play with the same starts, with its 95% "
            "interval; two lines: the leader's side, the followers' side. What the words mean and who leads is said in "
            "`benchmarks/public_games/run.py`.",
            "",
            markdown(head, table),
            "",
            "## What was said where nothing was trained",
            "",
            markdown(["game", "became", "what is special", "message"], wrong),
            "",
            f"Made by `python benchmarks/public_games/run.py --algorithms {' '.join(ran)} {budget}` with {versions()}.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rllib_biac_public_games"
    parser.add_argument("--folder", type=Path, default=cache, help=f"of packages and checkpoints (default: {cache})")
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each run (default: 5)")
    parser.add_argument("--steps", type=int, default=10_000, help="env steps of each run (default: 10,000)")
    parser.add_argument("--episodes", type=int, default=100, help="of each comparison (default: 100)")
    parser.add_argument("--minutes", type=float, default=15, help="until a run counts as slow (default: 15)")
    parser.add_argument("--verdicts", action="store_true", help="Bi-AC alone, one seed, 2,000 steps, 10 episodes")
    parser.add_argument("--again", nargs="*", default=[], help="verdicts to run again, e.g. refused CRASH")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of public_games.jsonl and .md")
    for hidden, kind in (("--one", str), ("--kept", Path), ("--answer", Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        answer_one(options)
    if options.verdicts:
        options.algorithms, options.seeds, options.steps, options.episodes = ["BiAC"], 1, 2_000, 10
    options.folder = options.folder.absolute()
    raw = options.out / "public_games.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()] if raw.is_file() else []
    done = {
        json.dumps({key: row[key] for key in ("game", "algorithm", "seed", "steps", "episodes")}): row for row in rows
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is done is on the page, whoever ends the program
    try:
        for task in tasks(options):
            key = json.dumps(task)
            if key in done and done[key]["verdict"] not in options.again:
                continue
            done[key] = task | run(task, options)
            with raw.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[key]) + "\n")
            row = done[key]
            print(f"{task['game']} {task['algorithm']} {task['seed']}: {row['verdict']} in {row['seconds']:.0f} s "
                  f"{' '.join(row['message'].split())[:300]}", flush=True)  # fmt: skip
    finally:
        shown = [row for row in done.values() if [row["steps"], row["episodes"]] == [options.steps, options.episodes]]
        (options.out / "public_games.md").write_text(page(shown, options), encoding="utf-8")
    return int(any(row["verdict"] in (SILENT, CRASH, LATE) for row in shown))


if __name__ == "__main__":
    sys.exit(main())
