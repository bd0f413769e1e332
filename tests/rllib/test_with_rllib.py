"""What people do with any RLlib algorithm, done with this one."""

import numpy as np
import pytest

from rllib_biac.algorithms.biac.biac_rl_module import BiACFollower, BiACLeader
from rllib_biac.core.networks import MLP
from tests.core.games import TwoStates, config, learner_of, stock


class WideLeader(BiACLeader):
    def build_network(self):
        return MLP([self.state_shape[0], 48, int(np.prod(self.num_actions))])


class WideFollower(BiACFollower):
    def build_network(self):
        return MLP([self.state_shape[0], 40, int(np.prod(self.num_actions))])


@pytest.mark.parametrize(("on", "runners"), [(lambda c: c, 2), (stock, 1)], ids=["joint", "stock"])
def test_remote_runners_play_with_the_learners_weights(ray, on, runners):
    algo = on(config()).env_runners(num_env_runners=runners).build_algo()
    result = algo.train()
    assert result["num_env_steps_sampled_lifetime"] >= 200
    own = learner_of(algo).module["player_0"].critic.layers[0].weight.detach().numpy()
    for weight in algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.module["player_0"].critic.layers[0].weight.detach().numpy(), local_env_runner=False
    ):
        np.testing.assert_array_equal(weight, own)
    algo.stop()


def test_a_remote_learner_learns(ray):
    algo = config().learners(num_learners=1).build_algo()
    results = [algo.train() for _ in range(2)]
    losses = [result["learners"]["player_0"]["qf_loss"] for result in results]
    assert losses[1] < losses[0]
    # `lr` is 1e-3 and Adam's steps are about as long: what the runner plays with has been learned.
    fresh = config().build_algo()
    weights = [each.env_runner.module["player_0"].critic.layers[0].weight for each in (algo, fresh)]
    assert (weights[0] - weights[1]).abs().max() > 1e-3
    fresh.stop()
    algo.stop()


@pytest.mark.parametrize(
    ("on", "runners"), [(lambda c: c, 0), (stock, 0), (lambda c: c, 1)], ids=["joint", "stock", "joint_remote"]
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
    algo.stop()


@pytest.mark.parametrize("by_name", [False, True])
def test_networks_of_your_own(ray, by_name):
    classes = (WideLeader, WideFollower)
    if by_name:
        classes = tuple(f"{cls.__module__}:{cls.__name__}" for cls in classes)
    settings = config().rl_module(leader_module_class=classes[0], follower_module_class=classes[1])
    algo = settings.build_algo()
    algo.train()
    module = learner_of(algo).module
    assert type(module["player_0"]) is WideLeader and type(module["player_1"]) is WideFollower
    assert module["player_0"].critic.sizes == (1, 48, 9) and module["player_1"].actor.sizes == (1, 40, 9)
    algo.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_normalised_observations_reach_the_runners(ray, on):
    algo = on(config(TwoStates, normalize_observations=True)).build_algo()
    algo.train()
    played, learned = (m["one"] for m in (algo.env_runner.module, learner_of(algo).module))
    np.testing.assert_allclose(learned.state_mean.numpy(), [0.5, 0.5], atol=0.05)
    np.testing.assert_array_equal(played.state_mean.numpy(), learned.state_mean.numpy())
    np.testing.assert_array_equal(played.state_std.numpy(), learned.state_std.numpy())
    algo.stop()


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
