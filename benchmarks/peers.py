"""Training on Escape beside other libraries that a user might pick: BenchMARL, AgileRL and XuanCe.

This program shows
    env steps and updates per CPU-second, one update of 128 rows per env step, and how long each needs until greedy play
    is the equilibrium C-Z and stays there, in 20 runs.
How to run
    python benchmarks/peers.py --out benchmarks/results/peers.md
    The first run makes a virtual environment for each library (about 4 GB in `.venv-peers` with PyTorch for CPUs only;
    where pip would bring CUDA, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds). A library whose environment
    cannot be made is left out, and its row says why.
Results to expect
    Bi-AC, three networks, does several times the updates of BenchMARL and AgileRL and about twice those of XuanCe, and
    plays C-Z in all runs at its default learning rate. The others have no Bi-AC: it is their independent learners or
    MADDPG, at the best of a few settings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

# This file is also what runs inside the other libraries' environments, so only the standard library is imported here.

BATCH = 128
HIDDENS = [30, 30]
CAPACITY = 50_000 // 64 * 64  # XuanCe wants a multiple of the number of games
STARTS = 100  # env steps before the first update, where a library lets one say
GAMMA, TAU = 0.99, 0.01
ANNEALED, UNIFORM = ((0, 1.0), (2000, 0.1)), ((0, 1.0), (2000, 1.0))  # epsilon
NOISES = (0.1, 1.0)  # AgileRL has no epsilon; its noise on actions instead, the default and more
RATES = (1e-4, 1e-3, 5e-3)
GAMES = (1, 16, 64)  # played at once; as many updates per call
GAMES_TO_SOLUTION = 16
CHECKED = 64  # env steps between looks at greedy play
WARM = 100  # updates before anything is timed
AGENTS = ("player_0", "player_1")
NAMES = ("ABC", "XYZ")

PINS = {
    "BenchMARL": ("benchmarl==1.5.2", "torchrl==0.11.1", "tensordict==0.11.0", "pettingzoo==1.27.0"),
    "AgileRL": ("agilerl==2.58.0", "peft==0.21.2", "tensordict==0.13.0", "pettingzoo==1.26.1"),
    "XuanCe": ("xuance==1.4.4", "pettingzoo==1.27.0"),
}
COMMON = ("torch==2.13.0", "psutil==7.2.2")
OURS = "rllib_biac"


@dataclass(frozen=True)
class Job:
    """One way to train. `payoffs` is the common table, rows A B C, columns X Y Z; `defaults` keeps ours as they are."""

    library: str
    method: str
    payoffs: tuple[tuple[float, ...], ...]
    games: int = 1
    lr: float = 1e-3
    explore: Any = None  # epsilon's schedule, or AgileRL's noise
    seed: int = 0
    report: int = 1000  # env steps between our reports
    defaults: bool = False


@dataclass
class Status:
    """What a run has done so far, and its greedy joint action if asked."""

    steps: int
    updates: int
    greedy: Callable[[], list[int]]


# The four libraries.
# Each trains as the library's own documentation does, and yields after every iteration, first of all before any.


def train_ours(job: Job) -> Iterator[Status]:
    """Trains with an algorithm of this library, on `escape_v0` through its own runner."""
    import ray
    import torch

    import rllib_biac

    if not ray.is_initialized():
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    levels = [[agent] for agent in AGENTS] if job.method == "BiAC" else [list(AGENTS)]
    config = getattr(rllib_biac, f"{job.method}Config")().environment("escape_v0").hierarchy(levels)
    if not job.defaults:
        config.env_runners(num_envs_per_env_runner=job.games, epsilon=[list(point) for point in job.explore])
        config.training(
            train_batch_size_per_learner=BATCH,
            training_intensity=float(BATCH),  # rows trained per env step: one update
            num_steps_sampled_before_learning_starts=STARTS,
            replay_buffer_config={"capacity": CAPACITY},
            gamma=GAMMA,
            tau=TAU,
            lr=job.lr,
        )
        config.rl_module(model_config={"fcnet_hiddens": HIDDENS})
    config.reporting(min_sample_timesteps_per_iteration=job.report).debugging(seed=job.seed, log_level="ERROR")
    algo = config.build_algo()
    rows, group, size = [0], algo.learner_group, config.train_batch_size_per_learner
    update, one = group.update, torch.ones(1, 1)

    def counted(**kwargs: Any) -> Any:
        rows[0] += kwargs["batch"].env_steps()
        return update(**kwargs)

    def greedy() -> list[int]:
        with torch.no_grad():
            actions = group._learner.module.act(one, observations=dict.fromkeys(AGENTS, one))
        return [int(actions[agent]) for agent in AGENTS]

    group.update = counted
    steps = 0
    try:
        while True:
            yield Status(steps, rows[0] // size, greedy)
            steps = int(algo.train()["env_runners"]["num_env_steps_sampled_lifetime"])
    finally:
        algo.stop()


def train_benchmarl(job: Job) -> Iterator[Status]:
    """Trains BenchMARL's IQL on a PettingZoo game. Its loop calls back, so it has a thread, and waits for its turn."""
    import gymnasium as gym
    import numpy as np
    import torch
    from benchmarl.algorithms import IqlConfig
    from benchmarl.environments.pettingzoo.common import PettingZooClass
    from benchmarl.experiment import Callback, Experiment, ExperimentConfig
    from benchmarl.models.mlp import MlpConfig
    from pettingzoo import ParallelEnv
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper
    from torchrl.envs.utils import ExplorationType, set_exploration_type

    class Escape(ParallelEnv):
        metadata: dict[str, Any] = {"name": "escape", "render_modes": []}  # noqa: RUF012  (PettingZoo's own way)
        render_mode = None

        def __init__(self) -> None:
            self.possible_agents, self.agents = list(AGENTS), []
            self._observe = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
            self._act = {agent: gym.spaces.Discrete(3) for agent in AGENTS}

        def observation_space(self, agent: str) -> gym.Space:
            return self._observe

        def action_space(self, agent: str) -> gym.Space:
            return self._act[agent]

        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            self.agents = list(AGENTS)
            return {agent: np.ones(1, np.float32) for agent in AGENTS}, {agent: {} for agent in AGENTS}

        def step(self, actions: Any) -> Any:
            self.agents = []
            reward = job.payoffs[int(actions[AGENTS[0]])][int(actions[AGENTS[1]])]
            over, on = dict.fromkeys(AGENTS, True), dict.fromkeys(AGENTS, False)
            observations = {agent: np.ones(1, np.float32) for agent in AGENTS}
            return observations, dict.fromkeys(AGENTS, reward), over, on, {agent: {} for agent in AGENTS}

    class Unsaved:
        def __reduce__(self) -> Any:  # BenchMARL pickles what it trains with, for checkpoints; here there are none
            return object, ()

    class EscapeTask(Unsaved, PettingZooClass):
        def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Any:
            return lambda: PettingZooWrapper(Escape(), categorical_actions=True, seed=seed, device=device)

        def supports_continuous_actions(self) -> bool:
            return False

        def supports_discrete_actions(self) -> bool:
            return True

        def has_state(self) -> bool:
            return False

        def max_steps(self, env: Any) -> int:
            return 1

    class Over(Exception):
        pass

    turn, done, over = threading.Semaphore(0), threading.Semaphore(0), threading.Event()
    counts, failures = [0, 0], []

    class Turns(Unsaved, Callback):
        def on_train_end(self, training_td: Any, group: str) -> None:
            counts[:] = [self.experiment.total_frames, counts[1] + training_td.batch_size.numel()]
            done.release()
            turn.acquire()
            if over.is_set():
                raise Over

    config = ExperimentConfig.get_from_yaml()
    config.loggers, config.create_json, config.evaluation, config.render = [], False, False, False
    config.save_folder = os.getcwd()
    config.share_policy_params = False
    config.gamma, config.lr, config.polyak_tau = GAMMA, job.lr, TAU
    config.exploration_eps_init, config.exploration_eps_end = job.explore[0][1], job.explore[1][1]
    config.exploration_anneal_frames = job.explore[1][0]
    config.off_policy_n_envs_per_worker = job.games
    config.off_policy_collected_frames_per_batch = config.off_policy_n_optimizer_steps = job.games
    config.off_policy_train_batch_size = BATCH
    config.off_policy_memory_size = CAPACITY
    config.max_n_frames = 64 * 10**6
    experiment = Experiment(
        task=EscapeTask("ESCAPE", {}),
        algorithm_config=IqlConfig.get_from_yaml(),
        model_config=MlpConfig(num_cells=HIDDENS, layer_class=torch.nn.Linear, activation_class=torch.nn.ReLU),
        seed=job.seed,
        config=config,
        callbacks=[Turns()],
    )

    def run() -> None:
        turn.acquire()
        try:
            if not over.is_set():
                experiment.run()
        except Over:
            pass
        except BaseException as error:
            failures.append(error)
        done.release()

    def greedy() -> list[int]:
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            return experiment.policy(experiment.test_env.reset())["player", "action"].tolist()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield Status(0, 0, greedy)
        while True:
            turn.release()
            done.acquire()
            if failures:
                raise failures[0]
            yield Status(*counts, greedy)
    finally:
        over.set()
        turn.release()
        thread.join()


def train_agilerl(job: Job) -> Iterator[Status]:
    """Trains AgileRL's MADDPG in the loop of its documentation, all games stepped as arrays by its vector interface."""
    import gymnasium as gym
    import numpy as np
    import torch
    from agilerl.algorithms import MADDPG
    from agilerl.components import ReplayBuffer
    from agilerl.components.data import MultiAgentTransition, transition_to_tensordict
    from agilerl.components.sampler import Sampler
    from agilerl.modules.custom_components import GumbelSoftmax
    from agilerl.vector import PettingZooVecEnv

    names = ("row", "column")  # agents whose names differ only in the number would share their networks
    payoffs = np.array(job.payoffs, np.float32)
    observed = {name: gym.spaces.Box(0.0, 1.0, (1,), np.float32) for name in names}
    acted = {name: gym.spaces.Discrete(3) for name in names}

    class Escape(PettingZooVecEnv):
        def __init__(self) -> None:
            super().__init__(job.games, observed, acted, list(names))
            self._ones = {name: np.ones((job.games, 1), np.float32) for name in names}
            self._over = dict.fromkeys(names, np.ones(job.games, bool))
            self._on = dict.fromkeys(names, np.zeros(job.games, bool))
            self._infos: dict[str, dict] = {name: {} for name in names}

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return self._ones, self._infos

        def step(self, actions: Any) -> Any:
            reward = payoffs[actions[names[0]], actions[names[1]]]
            return self._ones, dict.fromkeys(names, reward), self._over, self._on, self._infos

    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    agent = MADDPG(
        list(observed.values()),
        list(acted.values()),
        agent_ids=list(names),
        # The leanest it takes: critics of 30-30, actors of 30-30-30.
        net_config={
            "latent_dim": HIDDENS[0],
            "encoder_config": {"hidden_size": HIDDENS[:1], "layer_norm": False},
            "head_config": {"hidden_size": HIDDENS[1:], "layer_norm": False},
        },
        batch_size=BATCH,
        lr_actor=job.lr,
        lr_critic=job.lr,
        gamma=GAMMA,
        tau=TAU,
        O_U_noise=False,  # a walk that starts anew with each episode would not move in episodes of one step
        expl_noise=job.explore,
        vect_noise_dim=job.games,
        learn_step=1,
    )
    logits: list[torch.Tensor] = []  # its actors always draw; what they draw by is the greedy play

    def greedy() -> list[int]:
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: logits.append(inputs[0]))
            for actor in agent.actors.values()
            for module in actor.modules()
            if isinstance(module, GumbelSoftmax)
        ]
        logits.clear()
        with torch.no_grad():
            for name in names:
                agent.actors[name](torch.ones(1, 1))
        for hook in hooks:
            hook.remove()
        return [int(values.argmax()) for values in logits]

    memory, env = ReplayBuffer(CAPACITY), Escape()
    sampler = Sampler(memory=memory)
    agent.set_training_mode(True)
    observations, infos = env.reset()
    steps = updates = 0
    while True:
        yield Status(steps, updates, greedy)
        actions, raw = agent.get_action(obs=observations, infos=infos)
        following, rewards, terminated, _, infos = env.step(actions)
        transition = transition_to_tensordict(
            MultiAgentTransition(obs=observations, action=raw, reward=rewards, next_obs=following, done=terminated)
        )
        transition.batch_size = torch.Size([job.games])
        memory.add(transition)
        steps += job.games
        if len(memory) >= BATCH:
            for _ in range(job.games):
                agent.learn(sampler.sample(BATCH))
            updates += job.games
        observations = following


def train_xuance(job: Job) -> Iterator[Status]:
    """Trains XuanCe's IQL. Its log of every single step, which no setting turns off, goes nowhere."""
    import gymnasium as gym
    import numpy as np
    import torch
    from xuance.environment import REGISTRY_MULTI_AGENT_ENV, RawMultiAgentEnv, make_envs
    from xuance.torch.agents import IQL_Agents

    class Escape(RawMultiAgentEnv):
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.agents, self.num_agents, self.agent_groups = list(AGENTS), 2, [list(AGENTS)]
            self.state_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
            self.observation_space = dict.fromkeys(AGENTS, self.state_space)
            self.action_space = {agent: gym.spaces.Discrete(3) for agent in AGENTS}
            for i, agent in enumerate(AGENTS):
                self.action_space[agent].seed(2 * config.env_seed + i)
            self.max_episode_steps = 1
            self._one = np.ones(1, np.float32)

        def reset(self, **kwargs: Any) -> Any:
            return dict.fromkeys(AGENTS, self._one), {}

        def step(self, actions: Any) -> Any:
            reward = job.payoffs[int(actions[AGENTS[0]])][int(actions[AGENTS[1]])]
            return (
                dict.fromkeys(AGENTS, self._one),
                dict.fromkeys(AGENTS, reward),
                dict.fromkeys(AGENTS, True),
                False,
                {},
            )

        def state(self) -> Any:
            return self._one

        def render(self, *args: Any) -> None:
            pass

        def close(self) -> None:
            pass

    class Quiet(IQL_Agents):
        def log_infos(self, info: dict, x_index: int) -> None:
            pass

    REGISTRY_MULTI_AGENT_ENV["escape"] = Escape
    config = argparse.Namespace(
        dl_toolbox="torch",
        device="cpu",
        agent="IQL",
        env_name="escape",
        env_id="escape",
        env_seed=job.seed,
        vectorize="DummyVecMultiAgentEnv",
        learner="IQL_Learner",
        policy="Basic_Q_network_marl",
        representation="Basic_MLP",
        representation_hidden_size=HIDDENS[:1],
        q_hidden_size=HIDDENS[1:],
        activation="relu",
        seed=job.seed,
        parallels=job.games,
        n_epochs=job.games,  # updates per call
        training_frequency=1,
        start_training=STARTS,
        running_steps=10**6,
        buffer_size=CAPACITY,
        batch_size=BATCH,
        learning_rate=job.lr,
        gamma=GAMMA,
        double_q=False,
        sync_frequency=100,
        start_greedy=job.explore[0][1],
        end_greedy=job.explore[1][1],
        decay_step_greedy=job.explore[1][0],
        use_rnn=False,
        use_grad_clip=False,
        grad_clip_norm=0.5,
        use_parameter_sharing=False,
        use_actions_mask=False,
        distributed_training=False,
        logger="tensorboard",
        render=False,
        render_mode="rgb_array",
        fps=50,
        log_dir="logs",
        model_dir="models",
    )
    agents = Quiet(config, make_envs(config))
    one = [{agent: np.ones(1, np.float32) for agent in AGENTS}]

    def greedy() -> list[int]:
        with torch.no_grad():
            actions = agents.get_actions(one, test_mode=True)["actions"][0]
        return [int(actions[agent]) for agent in AGENTS]

    while True:
        yield Status(agents.current_step, agents.learner.iterations, greedy)
        agents.train(max(1, CHECKED // job.games))


TRAIN = {OURS: train_ours, "BenchMARL": train_benchmarl, "AgileRL": train_agilerl, "XuanCe": train_xuance}


# Inside a library's environment: the worker.


def children_seconds() -> float:
    """Returns the CPU time, user and system, of this process's living descendants, such as Ray's."""
    import psutil

    spent = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has ended
            continue
        spent += times.user + times.system
    return spent


def timed(job: Job, runs: dict[Job, Iterator[Status]], seconds: float) -> dict[str, float]:
    """Trains for so many CPU-seconds, building and warming up first if the job is new, and says what was done."""
    if job not in runs:
        runs[job] = TRAIN[job.library](job)
        while next(runs[job]).updates < WARM:
            pass
    first = last = next(runs[job])
    begin, children = time.process_time(), children_seconds()
    while time.process_time() - begin < seconds:
        last = next(runs[job])
    spent = time.process_time() - begin + max(0.0, children_seconds() - children)
    return {"updates": (last.updates - first.updates) / spent, "steps": (last.steps - first.steps) / spent}


def solved(job: Job, steps: int) -> dict[str, Any]:
    """Trains for so many env steps, looking at greedy play every `CHECKED`.

    Returns:
        Env steps and CPU-seconds after which greedy play was C-Z until the end, or nothing, and the play at the end.
    """
    run = TRAIN[job.library](job)
    status = next(run)
    spent, looked, at, children = 0.0, 0, None, children_seconds()
    while status.steps < steps:
        begin = time.process_time()
        status = next(run)
        spent += time.process_time() - begin
        if status.steps - looked >= CHECKED or status.steps >= steps:
            looked, play = status.steps, status.greedy()
            if play != [2, 2]:
                at = None
            elif at is None:
                at = {"steps": status.steps, "seconds": spent + max(0.0, children_seconds() - children)}
    run.close()
    return {"at": at, "play": "-".join(names[action] for names, action in zip(NAMES, play, strict=True))}


def work(library: str) -> None:
    """Does jobs from standard input, one JSON line each, and answers on standard output; all other output is a log."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    runs: dict[Job, Iterator[Status]] = {}
    start_up = 0.0
    for line in sys.stdin:
        task = json.loads(line)
        job = hashable(task["job"])
        if not start_up:
            next(run := TRAIN[library](job))
            start_up = time.process_time() + children_seconds()
            run.close()
        if task["close"]:
            for run in runs.values():
                run.close()
            runs.clear()
        answer = timed(job, runs, task["seconds"]) if "seconds" in task else solved(job, task["steps"])
        answers.write(json.dumps(answer | {"start_up": start_up}) + "\n")


def hashable(fields: dict[str, Any]) -> Job:
    """Returns the job of JSON's fields."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return Job(**{name: frozen(value) for name, value in fields.items()})


# Outside: the parent.


class Worker:
    """A library's process. Asked for one thing at a time; a failure is raised as a RuntimeError with its last words."""

    def __init__(self, library: str, python: Path, folder: Path) -> None:
        self.library = library
        self._log = folder / f"{library}.log"
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, Path(__file__).resolve(), "--worker", library],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                cwd=folder,
                env=os.environ | one | {"RAY_AUTH_MODE": "disabled", "CUDA_VISIBLE_DEVICES": ""},
            )

    def ask(self, job: Job, close: bool = False, **task: float) -> dict[str, Any]:
        """Has it time a job (`seconds`) or train one to the end (`steps`); `close` ends the runs it keeps first."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"job": asdict(job), "close": close, **task}) + "\n")
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self._process.wait()
            lines = [line for line in self._log.read_text(errors="replace").split("\n") if line.strip()]
            raise RuntimeError(f"it ended with exit code {code}: {lines[-1] if lines else 'without a word'}")
        return json.loads(answer)

    def close(self) -> None:
        """Lets it end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def environment(library: str, folder: Path) -> Path:
    """Returns the Python of the library's virtual environment, made first if it is not there or has other versions.

    Raises:
        RuntimeError: if it cannot be made, with the last line of pip's complaint.
    """
    place = folder / library.lower()
    python, stamp, wanted = place / "bin" / "python", place / "installed.txt", "\n".join((*COMMON, *PINS[library]))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making {place}: {' '.join(wanted.split())}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", place],
        # torch first and by itself: a range in a library's own requirements could bring another build.
        [python, "-m", "pip", "install", "--quiet", COMMON[0]],
        [python, "-m", "pip", "install", "--quiet", *wanted.split()],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            complaints = [line for line in (done.stderr or done.stdout).split("\n") if "ERROR" in line]
            raise RuntimeError(complaints[-1] if complaints else f"{command[0]} failed ({done.returncode})")
    stamp.write_text(wanted)
    return python


@dataclass
class Contender:
    """A method of a library, and the settings searched for its time to solution."""

    job: Job
    settings: list[tuple[float, Any]]

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.job.library} {self.job.method}" + (" at its defaults" if self.job.defaults else "")


def contenders(payoffs: tuple[tuple[float, ...], ...]) -> list[Contender]:
    """Returns all that are compared, this library's first."""
    grid = [(lr, epsilon) for lr in RATES for epsilon in (ANNEALED, UNIFORM)]
    noisy = [(lr, noise) for lr in RATES for noise in NOISES]
    biac = Job(OURS, "BiAC", payoffs, explore=ANNEALED)
    return [
        Contender(biac, [(1e-3, ANNEALED)]),  # not searched
        Contender(replace(biac, games=25, defaults=True), [(1e-3, ANNEALED)]),
        Contender(replace(biac, method="IDQN"), grid),
        Contender(replace(biac, method="MADDPG"), grid),
        Contender(replace(biac, library="BenchMARL", method="IQL"), grid),
        Contender(replace(biac, library="XuanCe", method="IQL"), grid),
        Contender(replace(biac, library="AgileRL", method="MADDPG", explore=NOISES[0]), noisy),
    ]


def say(*words: Any) -> None:
    """Tells what goes on."""
    print(*words, file=sys.stderr, flush=True)


def speed(
    entries: list[Contender], workers: dict[str, Worker], args: argparse.Namespace
) -> tuple[list[str], list[str]]:
    """Returns the rows of the table of speeds, and those of the ratios."""
    jobs = [
        replace(entry.job, games=games)
        for entry in entries
        for games in ((entry.job.games,) if entry.job.defaults else GAMES)
    ]
    measured: dict[Job, list[dict[str, float]]] = {job: [] for job in jobs}
    for k in range(args.rounds):
        for job in jobs:
            measured[job].append(workers[job.library].ask(job, seconds=args.seconds))
        say(f"speed: round {k + 1} of {args.rounds}")
    names = {replace(entry.job, games=0): entry.name for entry in entries}

    def rate(job: Job) -> float:
        return median(m["updates"] for m in measured[job])

    lines = []
    for job, rounds in measured.items():
        low, high = min(m["updates"] for m in rounds), max(m["updates"] for m in rounds)
        steps = median(m["steps"] for m in rounds)
        lines.append(
            f"| {names[replace(job, games=0)]} | {job.games} | {rate(job):,.0f} | {low:,.0f} to {high:,.0f} "
            f"| {steps:,.0f} | {rounds[0]['start_up']:.1f} |"
        )
    ratios = []
    own = {entry.job.method: entry.job for entry in entries if entry.job.library == OURS and not entry.job.defaults}
    for entry in entries:
        if entry.job.library == OURS:
            continue
        twin = own["IDQN" if entry.job.method == "IQL" else entry.job.method]
        for mine in (own["BiAC"], twin):
            # Round by round, so that a slow moment of the machine meets both.
            at = [
                median(
                    a["updates"] / b["updates"]
                    for a, b in zip(
                        measured[replace(mine, games=k)], measured[replace(entry.job, games=k)], strict=True
                    )
                )
                for k in GAMES
            ]
            best = max(rate(replace(mine, games=k)) for k in GAMES) / max(
                rate(replace(entry.job, games=k)) for k in GAMES
            )
            cells = " | ".join(f"{ratio:.1f}" for ratio in (*at, best))
            ratios.append(f"| {mine.library} {mine.method} | {entry.name} | {cells} |")
    return lines, ratios


def described(setting: tuple[float, Any]) -> str:
    """Returns a searched setting in words."""
    lr, explore = setting
    how = f"noise {explore:g}" if isinstance(explore, float) else f"epsilon 1 to {explore[1][1]:g}"
    return f"lr {lr:g}, {how if explore != UNIFORM else 'epsilon 1'}"


def solution(entry: Contender, worker: Worker, args: argparse.Namespace) -> tuple[str, str]:
    """Searches a contender's best setting and runs it on seeds of its own; returns a table row and what was tried."""
    job = replace(entry.job, report=CHECKED)
    if not job.defaults:
        job = replace(job, games=GAMES_TO_SOLUTION)

    def runs(setting: tuple[float, Any], seeds: range) -> list[dict[str, Any]]:
        lr, explore = setting
        return [
            worker.ask(replace(job, lr=lr, explore=explore, seed=seed), close=True, steps=args.steps) for seed in seeds
        ]

    tried = []
    for setting in entry.settings if len(entry.settings) > 1 else []:
        found = runs(setting, range(1000, 1000 + args.search_seeds))
        hits = [run["at"]["steps"] for run in found if run["at"]]
        took = sum(hits) + args.steps * (len(found) - len(hits))
        tried.append((-len(hits), took, setting))
        say(f"{entry.name}, {described(setting)}: {len(hits)} of {len(found)}")
    tried.sort(key=lambda trial: trial[:2])
    setting = tried[0][2] if tried else entry.settings[0]
    found = runs(setting, range(args.seeds))
    hits = [run["at"] for run in found if run["at"]]
    wanted = math.ceil(0.95 * args.seeds)  # 19 of 20

    def when(what: str, form: str) -> str:
        if len(hits) < wanted:
            return f"not within {args.steps:,} steps" if what == "steps" else "-"
        return format(sorted(hit[what] for hit in hits)[wanted - 1], form)

    middle = [f"{median(hit[what] for hit in hits):{form}}" if hits else "-" for what, form in FORMS.items()]
    ends = ", ".join(f"{play} {n}" for play, n in sorted(Counter(run["play"] for run in found).items()))
    say(f"{entry.name}: {len(hits)} of {args.seeds}, {ends}")
    chosen = "all default" if job.defaults else described(setting)
    row = (
        f"| {entry.name} | {chosen} | {len(hits)} of {args.seeds} | {middle[0]} | {middle[1]} "
        f"| {when('steps', FORMS['steps'])} | {when('seconds', FORMS['seconds'])} | {ends} |"
    )
    notes = [f"{described(s)}: {-missed}" for missed, _, s in tried]
    return row, f"{entry.name} ({'; '.join(notes)})" if notes else ""


FORMS = {"steps": ",.0f", "seconds": ".2f"}


def solutions(
    entries: list[Contender], workers: dict[str, Worker], args: argparse.Namespace
) -> tuple[list[str], list[str]]:
    """Returns the rows of the time to solution and what was searched, `--jobs` libraries at once."""

    def of(library: str) -> dict[str, tuple[str, str]]:
        return {e.name: solution(e, workers[library], args) for e in entries if e.job.library == library}

    results: dict[str, tuple[str, str]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for part in pool.map(of, sorted(workers, key=list(TRAIN).index, reverse=True)):
            results |= part
    rows = [results[entry.name] for entry in entries]
    return [row for row, _ in rows], [note for _, note in rows if note]


def main() -> None:
    """Measures and prints, and writes where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(PINS), default=list(PINS), help="these libraries")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, median reported (%(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each to a solution; 0: none (%(default)s)")
    parser.add_argument("--search-seeds", type=int, default=3, help="runs per searched setting (%(default)s)")
    parser.add_argument("--steps", type=int, default=1024, help="env steps given for a solution (%(default)s)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="solved at once (%(default)s)")
    parser.add_argument("--venvs", type=Path, default=Path(__file__).resolve().parents[1] / ".venv-peers")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    parser.add_argument("--worker", choices=list(TRAIN), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return

    import ray
    import torch

    from rllib_biac.envs.matrix_game import ESCAPE

    pythons, absent = {OURS: Path(sys.executable)}, []
    for library in args.only:
        try:
            pythons[library] = environment(library, args.venvs)
        except RuntimeError as error:
            absent.append(f"| {library} | its environment could not be made: {error} |")
    with tempfile.TemporaryDirectory() as folder:
        workers = {library: Worker(library, python, Path(folder)) for library, python in pythons.items()}
        entries = []
        for entry in contenders(tuple(map(tuple, ESCAPE[0].tolist()))):
            if entry.job.library in workers:
                try:
                    workers[entry.job.library].ask(entry.job, seconds=0.1)  # all at once would be hard to tell apart
                except RuntimeError as error:
                    absent.append(f"| {entry.name} | it does not run: {error} |")
                    continue
                entries.append(entry)
        rows, ratios = speed(entries, workers, args)
        solved_rows, notes = solutions(entries, workers, args) if args.seeds else ([], [])
        for worker in workers.values():
            worker.close()

    at_once = " | ".join(f"{k} at once" if k > 1 else "1 game" for k in GAMES)
    lines = [
        "# Other libraries: one update of 128 rows, all networks, per env step of Escape, one core",
        "",
        "| | games at once | updates/s, median | range | env steps/s | start-up, s |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *(["| not measured | why |", "|---|---|", *absent, ""] if absent else []),
        "Per CPU-second, user and system, child processes included. Start-up, in CPU-seconds, is not in it: from an "
        "empty process until training can begin. Hidden layers 30-30; Bi-AC trains three networks, IDQN and IQL two, "
        "MADDPG four (AgileRL's actors have one more hidden layer, which it cannot leave out). Games at once is also "
        "the number of updates per call. The row at its defaults plays 25 games, has layers of 64-64 and makes one "
        "update of 64 rows every 4 env steps. "
        "Each library runs as is best for it: no logs, no evaluation, no layer norm, no double Q; BenchMARL and XuanCe "
        "step their games one by one, as they do any PettingZoo game, AgileRL as arrays without processes. "
        "BenchMARL's MADDPG takes no discrete actions, nor does XuanCe's, so it is their independent Q-learning.",
        "",
        "## Updates per CPU-second of the first as a multiple of the second",
        "",
        f"| | beside | {at_once} | each at its best |",
        "|---|---|" + "---:|" * (len(GAMES) + 1),
        *ratios,
        "",
        f"## Time to solution: greedy play C-Z, kept until the end of {args.steps:,} env steps",
        "",
        "| | setting | solved | env steps, median | CPU-seconds, median "
        f"| env steps until {math.ceil(0.95 * args.seeds)} of {args.seeds} | CPU-seconds until then "
        "| greedy play at the end |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        *solved_rows,
        "",
        f"One update per env step, {GAMES_TO_SOLUTION} games at once, greedy play looked at every {CHECKED} env steps; "
        "medians are of the solved runs; CPU-seconds without start-up. Bi-AC is not searched. Of the others the best "
        f"setting on {args.search_seeds} other seeds is run, by seeds solved, then by env steps; seeds solved there: "
        f"{'; '.join(notes) or 'none searched'}. XuanCe's epsilon is one for all agents and games together; AgileRL "
        "has none, and its actors, which draw their actions, add noise. A-X and B-Y are equilibria of Escape too, and "
        "worse.",
        "",
        f"{args.rounds} interleaved rounds of {args.seconds:g} s of CPU time each, one thread.",
        f"Python {platform.python_version()}, ray {ray.__version__}, torch {torch.__version__}, "
        f"{', '.join(pin for library in args.only for pin in PINS[library])}, "
        f"{platform.system()} {platform.machine()}.",
        "",
        f"    python {' '.join(sys.argv)}",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
