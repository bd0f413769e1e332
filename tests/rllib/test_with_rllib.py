"""What people do with any RLlib algorithm, done with this one."""

import numpy as np
import pytest
import torch

from rllib_biac import IDQNConfig
from rllib_biac.algorithms.biac.team import BiACFollower, BiACLeader
from rllib_biac.experiments.metrics import unreported
from rllib_biac.learning.networks import MLP
from rllib_biac.rllib.connector import JointTransitionsConnector
from tests.games import Apart, Endless, Masked, TwoStates, config, greedy, q_tables, scripted, stock


class WideLeader(BiACLeader):
    def build_network(self):
        return MLP([self.state_shape[0], 48, int(np.prod(self.num_actions))])


class WideFollower(BiACFollower):
    def build_network(self):
        return MLP([self.state_shape[0], 40, int(np.prod(self.num_actions))])


@pytest.mark.slow
def test_a_remote_learner_learns(ray):
    algo = config().learners(num_learners=1).build_algo()
    results = [algo.train() for _ in range(2)]
    losses = [result["learners"]["player_0"]["qf_loss"] for result in results]
    assert losses[1] < losses[0]
    # `lr` is 1e-3 and Adam's steps are about as long: what the runner plays with has been learned.
    fresh = config().build_algo()
    weights = [each.env_runner.module.team["player_0"].critic.layers[0].weight for each in (algo, fresh)]
    assert (weights[0] - weights[1]).abs().max() > 1e-3
    fresh.stop()
    algo.stop()


@pytest.mark.parametrize(
    ("on", "runners"),
    [(lambda c: c, 0), (stock, 0), pytest.param(lambda c: c, 1, marks=pytest.mark.slow)],
    ids=["joint", "stock", "joint_remote"],
)
def test_evaluation_is_greedy(ray, on, runners):
    settings = on(config("maintain_v0")).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=runners, evaluation_duration=10
    )
    algo = settings.env_runners(epsilon=1.0).build_algo()
    result = algo.train()["evaluation"]["env_runners"]
    assert result["num_episodes"] >= 10
    assert list(result["outcome_share"].values()).count(1.0) == 1
    assert result["epsilon"] == 0.0
    algo.stop()


def test_callbacks_and_metrics(ray):
    seen = []
    settings = config().callbacks(on_train_result=lambda *, result, **kwargs: seen.append(result["training_iteration"]))
    algo = settings.build_algo()
    result = algo.train()
    assert seen == [1]
    assert result["env_runners"]["num_env_steps_sampled"] == 200
    assert result["learners"]["__all_modules__"]["num_env_steps_trained"] == 160 * 64  # from step 50 on
    assert 0 < result["env_runners"]["outcome_share"]["C-Z"] < 1
    assert "np." not in repr((result["env_runners"], result["learners"]))  # Python's own numbers
    assert 0 < result["cpu_time_this_iter_s"] < 2 * result["time_this_iter_s"] + 1
    algo.stop()


@pytest.mark.parametrize("by_name", [False, True])
def test_networks_of_your_own(ray, by_name):
    classes = (WideLeader, WideFollower)
    if by_name:
        classes = tuple(f"{cls.__module__}:{cls.__name__}" for cls in classes)
    settings = config().rl_module(leader_module_class=classes[0], follower_module_class=classes[1])
    algo = settings.build_algo()
    algo.train()
    leader, follower = (algo.learner_team()[player] for player in ("player_0", "player_1"))
    assert type(leader) is WideLeader and type(follower) is WideFollower
    assert leader.critic.sizes == (1, 48, 9) and follower.actor.sizes == (1, 40, 9)
    algo.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_normalised_observations_reach_the_runners(ray, on):
    algo = on(config(TwoStates, normalize_observations=True)).build_algo()
    algo.train()
    played, learned = (team["one"] for team in (algo.env_runner.module.team, algo.learner_team()))
    np.testing.assert_allclose(learned.state_mean.numpy(), [0.5, 0.5], atol=0.05)
    np.testing.assert_array_equal(played.state_mean.numpy(), learned.state_mean.numpy())
    np.testing.assert_array_equal(played.state_std.numpy(), learned.state_std.numpy())
    algo.stop()


@pytest.mark.slow
def test_tune(ray, tmp_path):
    from ray import tune

    settings = config().environment("escape_v0")
    tuner = tune.Tuner(
        settings.algo_class,
        param_space=settings,
        run_config=tune.RunConfig(stop={"training_iteration": 2}, storage_path=str(tmp_path), verbose=0),
    )
    (result,) = list(tuner.fit())
    assert result.error is None and result.metrics["training_iteration"] == 2


def test_evaluating_on_the_training_runner_counts_no_training_episodes(ray):
    algo = config("escape_v0").reporting(min_sample_timesteps_per_iteration=1500).build_algo()
    algo.train()
    played = algo.evaluate()["env_runners"]
    assert played["outcome_share"]["C-Z"] == 1.0
    assert played["agent_episode_returns_mean"]["player_0"] == 30.0
    algo.stop()


def test_evaluation_reports_regrets(ray):
    """At B-Y the leader has 10; had it committed to A and been answered by X, 20. Y is 15 short of X against A."""
    algo = (
        IDQNConfig()
        .environment("maintain_v0")
        .hierarchy([["player_0", "player_1"]])
        .training(lr=3e-4, lr_fade=None, averaging=0, train_batch_size_per_learner=64, training_intensity=16)
        .env_runners(spread_epsilon=False)
        .evaluation(evaluation_interval=1, evaluation_duration=1)
        .debugging(seed=0)
        .build_algo()
    )
    for _ in range(2):
        found = algo.train()["evaluation"]["regret"]
    algo.stop()
    assert found == {"response_regret": 15.0, "leader_regret": 10.0}
    for name in found:
        assert unreported(f"evaluation/regret/{name}", {"evaluation_interval": 1}) is None
        assert "evaluation_interval" in unreported(f"evaluation/regret/{name}", {})


# RLlib's own runner.


def trained_on_stock(game, iterations, **training):
    algo = stock(config(game, lr=3e-3, **training)).build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


@pytest.mark.slow
def test_truncated_bootstraps_on_rllibs_own_runner(ray):
    algo = trained_on_stock(Endless, 4, gamma=0.5, tau=0.1)
    for table in q_tables(algo, np.eye(2, dtype=np.float32)[0]).values():
        np.testing.assert_allclose(table, 2.0, atol=0.05)
    algo.stop()


def test_forbidden_actions_are_never_taken_on_rllibs_own_runner(ray):
    """The game raises at a forbidden action. What is best among the allowed ones is learned."""
    algo = trained_on_stock(Masked, 4, gamma=0.0)
    masks = {agent: torch.ones(3, 3, dtype=bool) for agent in ("one", "two")}
    for t in range(3):
        masks["one"][t, t % 3] = masks["two"][t, (t + 1) % 3] = False
    joint = greedy(algo, np.array([[t, 1.0] for t in range(3)], np.float32), masks)
    assert joint["one"].tolist() == [2, 2, 1] and joint["two"].tolist() == [2, 1, 2]
    algo.stop()


@pytest.mark.parametrize("fragment", [1, 5])
@pytest.mark.parametrize("game", [Apart, Masked])
def test_both_runners_give_the_same_rows_with_the_observations_of_each(ray, monkeypatch, game, fragment):
    """One script of actions, which look random but follow from the state."""
    settings = IDQNConfig().environment(game).hierarchy([["one", "two"]]).env_runners(num_envs_per_env_runner=1)
    monkeypatch.setattr("rllib_biac.algorithms.dqn.team.DQNTeam.act", scripted)
    rows, dtypes = {}, {}
    for kind in ("joint", "stock"):
        own = settings.copy(copy_frozen=False).debugging(seed=0).env_runners(env_runner_cls=kind)
        own.validate()
        runner = own.env_runner_cls(config=own, worker_index=0)
        join = JointTransitionsConnector(runner.module.team.spec.agents, keep_observations=True)
        rows[kind] = []
        while len(rows[kind]) < 24:
            sampled = runner.sample(num_timesteps=fragment)
            for part in sampled if kind == "joint" else [join(episodes=sampled).get("joint")]:
                if part is None:
                    continue
                columns = sorted(part.columns, key=str)
                dtypes[kind] = {c: (part.columns[c].dtype, part.columns[c].shape[1:]) for c in columns}
                rows[kind] += [tuple(part.columns[c][i].tobytes() for c in columns) for i in range(len(part))]
        runner.stop()
    assert dtypes["joint"] == dtypes["stock"]
    assert {("obs", "one"), ("next_obs", "two")} < dtypes["joint"].keys()
    if game is Apart:  # its bits are drawn from the game's own seed, which RLlib chooses by itself
        assert set(rows["joint"]) & set(rows["stock"])
    else:
        assert rows["joint"][:24] == rows["stock"][:24]


def test_an_evaluation_lasts_until_the_next_one(ray, tmp_path):
    """RLlib would report NaN in between, which a scheduler or a stop criterion takes for a value."""
    algo = config("maintain_v0").evaluation(evaluation_interval=3, evaluation_duration=2).build_algo()
    reported = [algo.train().get("evaluation") for _ in range(5)]
    assert reported[:2] == [None, None]
    assert reported[2]["env_runners"]["episode_return_mean"] == reported[2]["env_runners"]["episode_return_mean"]
    assert reported[3] == reported[4] == reported[2] and "regret" in reported[2]
    path = algo.save_to_path(tmp_path / "saved")
    algo.stop()
    restored = type(algo).from_checkpoint(path)
    assert restored.train()["evaluation"] != reported[2]  # it is time again
    restored.restore_from_path(path)
    restored.stop()
