"""Ranges, schedulers and searchers of an experiment file: what is drawn, stopped, perturbed, and what is refused."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import ray as ray_package
from ray.tune.schedulers import create_scheduler

from rllib_biac.cli.progress import stopped_early
from rllib_biac.experiments import checks, ranges, reading, schedulers
from rllib_biac.experiments.callbacks import Comparison
from rllib_biac.experiments.resolve import resolve
from rllib_biac.report.page import write_report
from tests.games import config, learner_of

GOOD = "run: BiAC, env: matrix_game_v0"
SAMPLERS = {
    "{choice: [a, [1, 2], 3]}": lambda value: value in ("a", [1, 2], 3),
    "{uniform: [0, 2]}": lambda value: 0 <= value <= 2 and isinstance(value, float),
    "{quniform: [0, 2, 0.5]}": lambda value: value in (0, 0.5, 1, 1.5, 2),
    "{loguniform: [1e-4, 1e-2]}": lambda value: 1e-4 <= value <= 1e-2,
    "{qloguniform: [0.5, 2, 0.5]}": lambda value: value in (0.5, 1, 1.5, 2),
    "{randint: [1, 4]}": lambda value: value in (1, 2, 3) and isinstance(value, int),
    "{qrandint: [2, 6, 2]}": lambda value: value in (2, 4, 6) and isinstance(value, int),
    "{lograndint: [1, 100]}": lambda value: 1 <= value < 100 and isinstance(value, int),
}


def parsed(text):
    return ranges.parse(reading._Loader(text).get_single_data())


@pytest.mark.parametrize("text", SAMPLERS)
def test_draws_lie_between_the_ends_and_reach_them(text):
    one, generator = parsed(text), np.random.default_rng(0)
    drawn = [one.draw(generator) for _ in range(300)]
    assert all(map(SAMPLERS[text], [*drawn, *one.ends]))
    if one.name in ("choice", "randint", "qrandint", "quniform"):
        assert {str(end) for end in one.ends} <= set(map(str, drawn))


def test_samples_are_drawn_one_by_one_and_the_seed_repeats_them(rllib, write, started):
    text = f"""
a:
  run: BiAC
  env: matrix_game_v0
  num_samples: 3
  config:
    seed: 4
    lr: {{loguniform: [1e-4, 1e-2]}}
    gamma: {{grid_search: [0.5, 0.9]}}
    model_config: {{fcnet_hiddens: {{choice: [[8], [16, 16]]}}}}
b: {{{GOOD}, num_samples: 3, config: {{seed: 4, lr: {{loguniform: [1e-4, 1e-2]}}}}}}
c: {{{GOOD}, num_samples: 3, config: {{seed: 4, lr: {{loguniform: [1e-4, 1e-2]}}}}}}
"""
    result = rllib("train", "file", write(text))
    assert result.exit_code == 0, result.output
    a, b, c = ([trial.config for trial in experiment.trials] for experiment in started)
    assert [one.gamma for one in a] == [0.5] * 3 + [0.9] * 3
    assert [one.seed for one in a] == [4, 5, 6] * 2
    assert len({one.lr for one in b}) == 3 and [one.lr for one in b] == [one.lr for one in c]
    assert all(1e-4 <= one.lr <= 1e-2 and one._model_config["fcnet_hiddens"] in ([8], [16, 16]) for one in a)


ASHA = "type: asha, metric: env_runners/agent_episode_returns_mean/player_1, mode: max"
PBT = "type: pbt, metric: env_runners/episode_return_mean, mode: max, perturbation_interval: 2"
STOP = "stop: {training_iteration: 8}, num_samples: 4"
# What is wrong, and what the message has to say.
MISTAKES = {
    "one end": ("config: {lr: {uniform: 3}}", ["`config: lr: uniform`", "[low, high]"]),
    "three ends": ("config: {lr: {uniform: [1, 2, 3]}}", ["`{uniform: [low, high]}`"]),
    "ends the wrong way round": ("config: {lr: {uniform: [2, 1]}}", ["low < high"]),
    "an end that is no number": ("config: {lr: {uniform: [0, .nan]}}", ["finite numbers"]),
    "an end in words": ("config: {lr: {uniform: [0, high]}}", ["finite numbers"]),
    "orders of magnitude from 0": ("config: {lr: {loguniform: [0, 1]}}", ["low > 0"]),
    "fractions for whole numbers": ("config: {num_env_runners: {randint: [0, 1.5]}}", ["whole numbers"]),
    "a step that does not fit": ("config: {lr: {quniform: [0, 1, 0.3]}}", ["multiples"]),
    "no options": ("config: {lr: {choice: []}}", ["`{choice: [first, second]}`"]),
    "a range beside something": ("config: {lr: {uniform: [0, 1], x: 1}}", ["alone"]),
    "a range inside a range": ("config: {lr: {choice: [{uniform: [0, 1]}, 2]}}", ["inside a range"]),
    "a range without ends": ("config: {lr: {randn: [0, 1]}}", ["no ends", "uniform"]),
    "an unknown range": ("config: {lr: {unifrom: [0, 1]}}", ["`config: lr`", "float"]),
    "an invalid end": ("config: {gamma: {uniform: [0.5, 1.5]}}", ["`config: gamma: uniform`", "1.5 can be drawn"]),
    "an option of the wrong kind": ("config: {lr: {choice: [0.1, fast]}}", ["`config: lr`", "'fast'"]),
    "an unknown game as an option": ("config: {}, env: {choice: [escape_v0, nowhere]}", ["`env`", "'nowhere'"]),
    "too many trials": ("config: {}, num_samples: 1000000000", ["1,000,000,000 trials"]),
    "a scheduler's name": (f"{STOP}, scheduler: asha", ["`scheduler`", "mapping such as `{type: asha"]),
    "an unknown scheduler": (f"{STOP}, scheduler: {{type: ahsa}}", ["`scheduler: type`", "'asha'", "pbt"]),
    "no type": (f"{STOP}, scheduler: {{metric: x}}", ["`type` is missing"]),
    "an unknown key": (
        f"{STOP}, scheduler: {{{ASHA}, grace_perid: 1}}",
        ["`scheduler: grace_perid`", "'grace_period'"],
    ),
    "no metric": (f"{STOP}, scheduler: {{type: asha, mode: max}}", ["`metric` is missing"]),
    "an unknown metric": (
        f"{STOP}, scheduler: {{type: asha, metric: env_runners/episode_retrun_mean, mode: max}}",
        ["`scheduler: metric`", "'env_runners/episode_return_mean'"],
    ),
    "a metric of nobody": (
        f"{STOP}, config: {{hierarchy: [[player_0], [player_2]]}}, scheduler: {{{ASHA}}}",
        ["no agent 'player_1'"],
    ),
    "a metric that is not evaluated": (
        f"{STOP}, scheduler: {{type: asha, metric: evaluation/env_runners/episode_return_mean, mode: max}}",
        ["`evaluation_interval: 1`"],
    ),
    "no mode": (
        f"{STOP}, scheduler: {{type: asha, metric: env_runners/episode_return_mean}}",
        ["`mode`", "max or min"],
    ),
    "a wrong number": (f"{STOP}, scheduler: {{{ASHA}, reduction_factor: 1}}", ["reduction_factor", "greater than 1"]),
    "an unknown time": (f"{STOP}, scheduler: {{{ASHA}, time_attr: training_iterations}}", ["'training_iteration'"]),
    "a single trial": (f"stop: {{training_iteration: 8}}, scheduler: {{{ASHA}}}", ["only one", "num_samples"]),
    "asha without an end": (f"num_samples: 2, scheduler: {{{ASHA}}}", ["`max_t` is missing"]),
    "asha that stops nobody": (f"{STOP}, scheduler: {{{ASHA}, grace_period: 8}}", ["none would be stopped"]),
    "asha in steps": (
        f"num_samples: 2, stop: {{num_env_steps_sampled_lifetime: 99}}, "
        f"scheduler: {{{ASHA}, time_attr: num_env_steps_sampled_lifetime}}",
        ["`grace_period` is missing"],
    ),
    "pbt of nothing": (f"{STOP}, scheduler: {{{PBT}}}", ["`hyperparam_mutations` is missing"]),
    "pbt that perturbs nobody": (
        f"{STOP}, scheduler: {{{PBT.replace('2', '8')}, hyperparam_mutations: {{lr: [1, 2]}}}}, config: {{lr: 1}}",
        ["none would be perturbed"],
    ),
    "pbt of what is not in config": (
        f"{STOP}, scheduler: {{{PBT}, hyperparam_mutations: {{lr: {{uniform: [0.1, 1]}}}}}}",
        ["`scheduler: hyperparam_mutations: lr`", "not in `config:`"],
    ),
    "pbt of networks": (
        f"{STOP}, scheduler: {{{PBT}, hyperparam_mutations: {{model_config: {{fcnet_hiddens: [[8]]}}}}}}",
        ["cannot change while a trial trains"],
    ),
    "pbt of an unknown key": (
        f"{STOP}, scheduler: {{{PBT}, hyperparam_mutations: {{entropy_coef: [1]}}}}",
        ["'entropy_coeff'"],
    ),
    "pbt of a schedule by factors": (
        f"{STOP}, config: {{lr: [[0, 1], [9, 2]]}}, scheduler: {{{PBT}, hyperparam_mutations: {{lr: "
        "{uniform: [0.1, 1]}}}",
        ["starts as a number"],
    ),
    "pbt into what is refused": (
        f"{STOP}, config: {{gamma: 0.5}}, scheduler: {{{PBT}, hyperparam_mutations: {{gamma: {{uniform: [0, 2]}}}}}}",
        ["a mutation can give 2.0"],
    ),
    "pbt into a malformed range": (
        f"{STOP}, config: {{gamma: 0.5}}, scheduler: {{{PBT}, hyperparam_mutations: {{gamma: {{uniform: 2}}}}}}",
        ["`scheduler: hyperparam_mutations: gamma: uniform`"],
    ),
    "pbt from a number": (
        f"{STOP}, config: {{gamma: 0.5}}, scheduler: {{{PBT}, hyperparam_mutations: {{gamma: 0.3}}}}",
        ["expected a range", "0.3"],
    ),
    "pbt with wrong factors": (
        f"{STOP}, config: {{lr: 1}}, scheduler: {{{PBT}, perturbation_factors: 2, hyperparam_mutations: {{lr: [1]}}}}",
        ["[1.2, 0.8]"],
    ),
    "an unknown searcher": (f"{STOP}, config: {{lr: {{uniform: [0, 1]}}}}, search_alg: optima", ["'optuna'"]),
    "nothing to search": (f"{STOP}, search_alg: random", ["nothing to search"]),
    "optuna without a metric": (
        f"{STOP}, config: {{lr: {{uniform: [0.1, 1]}}}}, search_alg: optuna",
        ["`search_alg`", "`metric` is missing"],
    ),
    "optuna with a grid": (
        f"{STOP}, config: {{lr: {{uniform: [0.1, 1]}}, gamma: {{grid_search: [0, 1]}}}}, search_alg: "
        "{type: optuna, metric: env_runners/episode_return_mean, mode: max}",
        ["`{choice: [...]}`"],
    ),
    "stop at no number": ("stop: {training_iteration: .nan}", ["never reached"]),
    "stop at infinity": ("stop: {env_runners/episode_return_mean: .inf}", ["never reached"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_told(rllib, write, started, name):
    text, fragments = MISTAKES[name]
    head = "run: BiAC" if "env:" in text else GOOD
    result = rllib("train", "file", write(f"mine: {{{head}, {text}}}\n"))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and not started
    for fragment in ("game.yaml", "'mine'", *fragments):
        assert fragment in result.output


def test_optuna_missing_is_told(rllib, write, started, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = f"mine: {{{GOOD}, {STOP}, config: {{lr: {{uniform: [0.1, 1]}}}}, scheduler: {{{ASHA}}}, search_alg: optuna}}"
    result = rllib("train", "file", write(text))
    assert result.exit_code == 2 and not started
    assert 'pip install -e ".[optuna]"' in result.output


@pytest.mark.parametrize(
    "path", [path for path in reading.examples().values() if path.parent.name == "sweeps"], ids=lambda p: p.stem
)
def test_packaged_sweeps_resolve(path):
    for draft in reading.read(path):
        checks.check(draft)
        assert len(resolve(draft).trials) > 1


# Trials under Tune.


@pytest.mark.slow
def test_asha_stops_the_worse_and_the_report_says_so(ray, rllib, write, tmp_path):
    # The stub's player_1 earns the learning rate.
    text = (
        f"mine: {{{GOOD}, {STOP}, config: {{lr: {{grid_search: [0.4, 0.1]}}}}, scheduler: {{{ASHA}, grace_period: 2}}}}"
    )
    result = rllib("train", "file", write(text.replace("num_samples: 4", "num_samples: 2")), "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    stopped = [line.partition(":")[0] for line in result.output.splitlines() if ": stopped early: iter 2" in line]
    assert stopped and all(label.startswith("lr=0.1") for label in stopped)
    assert result.output.splitlines()[-1].startswith("best at the end by env_runners/agent_episode")
    assert "lr=0.4" in result.output.splitlines()[-1]
    page = write_report(tmp_path / "mine", tmp_path / "report.html").read_text()
    assert page.count("stopped early</td>") == len(stopped) and "finished</td>" in page


@pytest.mark.slow
def test_pbt_perturbs_within_its_range_and_the_report_says_so(ray, rllib, write, tmp_path):
    scheduler = (
        "{type: pbt, metric: env_runners/agent_episode_returns_mean/player_1, mode: max, perturbation_interval: 1, "
        "synch: true, quantile_fraction: 0.5, resample_probability: 0, perturbation_factors: [10], "
        "hyperparam_mutations: {lr: {uniform: [0.1, 0.7]}}}"
    )
    text = f"mine: {{{GOOD}, stop: {{training_iteration: 4}}, config: {{lr: {{grid_search: [0.2, 0.1]}}}}, "
    result = rllib("train", "file", write(f"{text}scheduler: {scheduler}}}"), "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    assert "lr=0.1: done: iter 4" in result.output
    assert "  ended with: lr=0.7\n" in result.output  # ten times 0.2 would leave the range
    page = write_report(tmp_path / "mine", tmp_path / "report.html").read_text()
    assert "Changed on the way" in page and "<code>0.7</code>" in page


@pytest.mark.slow
def test_a_metric_that_never_comes_is_told(ray, rllib, write, tmp_path):
    metric = "env_runners/outcome_share/merge"
    scheduler = f"scheduler: {{type: asha, metric: {metric}, mode: max}}"
    text = f"mine: {{{GOOD}, stop: {{training_iteration: 4}}, num_samples: 2, {scheduler}}}"
    result = rllib("train", "file", write(text), "--storage-path", tmp_path)
    assert result.exit_code == 1
    assert f"{metric} is not reported" in result.output and "'env_runners/outcome_share/merged'" in result.output
    assert f"{metric} was never reported" in result.output


@pytest.mark.slow
def test_optuna_suggests_valid_trials(ray, rllib, write, tmp_path):
    pytest.importorskip("optuna")
    search = "search_alg: {type: optuna, metric: env_runners/agent_episode_returns_mean/player_1, mode: max}"
    text = (
        f"mine: {{{GOOD}, stop: {{training_iteration: 1}}, num_samples: 3, {search}, "
        "config: {seed: 1, lr: {uniform: [0.1, 0.7]}, env_config: {payoffs: {choice: [[[1]], [[2]]]}}}}"
    )
    result = rllib("train", "file", write(text), "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    reports = [json.loads(path.read_text()) for path in (tmp_path / "mine").glob("*/result.json")]
    assert len({report["config"]["lr"] for report in reports}) == 3
    assert all(0.1 <= report["config"]["lr"] <= 0.7 for report in reports)
    assert all(report["config"]["env_config"]["payoffs"] in ([[1]], [[2]]) for report in reports)
    best = max(report["config"]["lr"] for report in reports)
    assert f"best at the end by env_runners/agent_episode_returns_mean/player_1: lr={best:.4g}" in result.output


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_checkpoint(ray, rllib, write, tmp_path):
    text = f"mine: {{{GOOD}, stop: {{training_iteration: 6}}, max_failures: 1, config: {{die_at: 4}}}}"
    flags = ("--storage-path", tmp_path, "--checkpoint-freq", 1)
    result = rllib("train", "file", write(text), *flags)
    assert result.exit_code == 0, result.output
    assert "done: iter 6" in result.output
    (reports,) = (tmp_path / "mine").glob("*/result.json")
    restored = [json.loads(line)["iterations_since_restore"] for line in reports.read_text().splitlines()]
    assert restored == [1, 2, 3, 1, 2, 3]
    assert list((tmp_path / "mine").glob("*/error.txt"))
    page = write_report(tmp_path / "mine", tmp_path / "report.html").read_text()
    assert "finished</td>" in page and "training failed" not in page
    assert ray_package.is_initialized()


def test_what_asha_has_compared_outlives_an_interruption():
    def asha():
        scheduler = create_scheduler("async_hyperband", metric="x", mode="max", max_t=9, reduction_factor=2)
        for name in ("a", "b", "c"):
            scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))
        return scheduler

    def report(scheduler, name, value):
        return scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), {"training_iteration": 1, "x": value})

    before, after, fresh = asha(), asha(), asha()
    report(before, "a", 1.0)
    report(before, "b", 2.0)
    saved = pickle.dumps(Comparison("x", before, print).get_state())  # as Tune does
    Comparison("x", after, print).set_state(pickle.loads(saved))
    assert report(before, "c", 0.0) == report(after, "c", 0.0) == "STOP"
    assert report(fresh, "c", 0.0) == "CONTINUE"


def test_an_early_end_is_one_that_no_criterion_asked_for():
    assert stopped_early({"training_iteration": 3, "a": {"b": 1}}, {"training_iteration": 4, "a/b": 2})
    assert not stopped_early({"training_iteration": 3, "a": {"b": 2}}, {"training_iteration": 4, "a/b": 2})
    assert not stopped_early({"training_iteration": 3}, {})


# What a perturbed trial does with its new settings.

PERTURBED = {
    "critic_lr": 0.02,
    "actor_lr": 0.03,
    "gamma": 0.5,
    "tau": 0.7,
    "target_network_update_freq": 3,
    "grad_clip": 0.9,
    "adam_epsilon": 1e-3,
    "training_intensity": 32.0,
    "entropy_coeff": 0.4,
    "gumbel_temperature": 2.0,
    "epsilon": 0.25,
    "exploration_noise": 0.3,
}


def rates(algorithm):
    rates = learner_of(algorithm).trainer.optimizers.rates
    return {"critic": rates["player_0", "critic"], "actor": rates["player_1", "actor"]}


def test_a_restored_trial_trains_with_its_new_settings(ray, tmp_path):
    old = config("maintain_v0").training(lr=0.001, lr_fade=None)
    donor = old.copy(copy_frozen=False).build_algo()
    donor.train()
    checkpoint = donor.save_to_path(str(tmp_path / "donor"))
    new = old.copy(copy_frozen=False).update_from_dict(PERTURBED)
    taker = old.copy(copy_frozen=False).build_algo()
    watching = taker._monitor
    assert taker.reset_config(new.to_dict())
    assert watching.stopped and taker._monitor.is_alive()  # RLlib starts a thread anew each time
    taker.restore_from_path(checkpoint)
    learner = learner_of(taker)
    plays, learns = taker.env_runner.module.team.settings, learner.trainer.losses.settings
    for key, value in PERTURBED.items():
        assert getattr(taker.config, key) == getattr(learner.config, key) == value
        assert getattr(plays, key) == getattr(learns, key) == value
    updates, steps = learner.trainer.num_updates, taker._env_steps
    assert updates == learner_of(donor).trainer.num_updates > 0
    result = taker.train()
    assert rates(taker) == {"critic": 0.02, "actor": 0.03}
    assert result["env_runners"]["epsilon"] == 0.25
    rows = 32.0 * (taker._env_steps - steps)
    expected = rows / taker.config.train_batch_size_per_learner
    assert learner.trainer.num_updates - updates == pytest.approx(expected, abs=1)
    for algorithm in (donor, taker):
        algorithm.stop()


def test_a_schedule_goes_on_where_the_checkpoint_was(ray, tmp_path):
    donor = config("maintain_v0").training(lr=0.001).build_algo()
    donor.train()
    steps = donor._env_steps
    checkpoint = donor.save_to_path(str(tmp_path / "donor"))
    taker = config("maintain_v0").training(lr=[[0, 0.0], [4 * steps, 0.4]]).build_algo()
    taker.restore_from_path(checkpoint)
    taker.train()  # as many steps again
    assert rates(taker) == {"critic": pytest.approx(0.2), "actor": pytest.approx(0.2)}
    for algorithm in (donor, taker):
        algorithm.stop()


def test_all_that_may_change_on_the_way_is_held_to_it():
    elsewhere = {"lr", "actor_regularization", "target_noise", "target_noise_clip", "policy_delay", "hysteresis"}
    assert set(schedulers.MUTABLE) == set(PERTURBED) | elsewhere
