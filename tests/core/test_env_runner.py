"""What a game does wrong reaches the user, on either runner, here or in another process; and counting of episodes."""

import os
import signal

import numpy as np
import pytest

from rllib_biac.core.env_runner import FinishedEpisodes, JointEnvRunner
from rllib_biac.envs.errors import GameError
from tests.core.games import Broken, config, stock

FAULTS = {
    "observation": r"observation of agent 'two' .*step 3",
    "reward": r"reward of agent 'two' .*step 3",
    "vanish": r"agent 'two' has no observation .*step 3",
    "raise": r"ZeroDivisionError\('what a game may do'\) in step\(\)",
}


def broken(fault, on=lambda c: c):
    return on(config(Broken).environment(Broken, env_config={"fault": fault}))


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_game_is_named_and_nothing_of_it_kept(ray, fault, on):
    algo = broken(fault, on).env_runners(rollout_fragment_length=4).build_algo()
    with pytest.raises(GameError, match=FAULTS[fault]):
        algo.train()
    assert len(algo.local_replay_buffer) == 0
    algo.stop()


@pytest.mark.parametrize("on", [lambda c: c, stock], ids=["joint", "stock"])
def test_a_broken_game_in_another_process_is_named_too(ray, on):
    """RLlib alone would restart the runner again and again."""
    algo = broken("raise", on).env_runners(num_env_runners=1).build_algo()
    with pytest.raises(GameError, match=FAULTS["raise"]):
        algo.train()
    algo.stop()


def test_a_broken_game_stops_a_remote_evaluation(ray):
    settings = broken("reward").evaluation(evaluation_num_env_runners=1, evaluation_interval=1)
    algo = settings.build_algo()
    with pytest.raises(GameError, match=FAULTS["reward"]):
        algo.evaluate()
    algo.stop()


def test_after_an_error_the_games_start_anew(ray):
    algo = config("escape_v0").environment("escape_v0", env_config={"horizon": 4}).build_algo()
    runner = algo.env_runner
    runner.sample(num_timesteps=20)
    act, runner.module.act = runner.module.act, None
    with pytest.raises(TypeError):
        runner.sample(num_timesteps=20)
    runner.module.act = act
    (part,) = runner.sample(num_timesteps=40)
    assert part.columns["truncated"].reshape(4, 10).all(1).tolist() == [False, False, False, True]
    algo.stop()


@pytest.mark.slow
def test_a_killed_runner_is_replaced(ray):
    algo = config().env_runners(num_env_runners=2).build_algo()
    algo.train()
    pid = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)[0]
    os.kill(pid, signal.SIGKILL)
    steps = []
    # The other runner goes on meanwhile; the new one is up after a few seconds.
    while len(steps) < 4 or algo.env_runner_group.num_healthy_remote_workers() < 2:
        steps.append(algo.train()["num_env_steps_sampled_lifetime"])
    assert steps[-1] > steps[0] > 0
    pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    assert pid not in pids
    algo.stop()


def test_episodes_are_counted_evenly(ray):
    """Of long and short episodes each game plays its share; `outcome_share` and the means come from them alone."""
    algo = config("escape_v0").environment("escape_v0", env_config={"horizon": 3}).build_algo()
    runner = algo.env_runner
    runner.sample(num_timesteps=20)
    runner.get_metrics()
    (part,) = runner.sample(num_episodes=25, explore=False)
    metrics = runner.get_metrics()
    assert metrics["num_episodes"].peek() == 25
    assert part.env_steps() == 3 * 3 * 10  # 10 games play 3 rounds; 5 of them only count 2
    assert metrics["episode_len_mean"].peek() == 3
    (shares,) = [{name: float(value.peek()) for name, value in metrics["outcome_share"].items()}]
    assert sum(shares.values()) == pytest.approx(1.0)
    algo.stop()


@pytest.mark.parametrize("sizes", [(2, 2), (5, 3), (9,), (1,) * 7])
def test_finished_episodes_keep_the_last_ones(sizes):
    kept, everything = FinishedEpisodes(4, ["one", "two"]), np.zeros((0, 2))
    for size in sizes:
        returns = np.arange(2.0 * size).reshape(size, 2) + 100 * len(everything)
        lengths = returns[:, 0].astype(int)
        kept.add(returns, lengths, lengths % 2)
        everything = np.concatenate([everything, returns])
    last = everything[-4:]
    assert sorted(kept.returns().tolist()) == sorted(last.tolist())
    assert sorted(kept.lengths().tolist()) == sorted(last[:, 0].astype(int).tolist())
    assert kept.outcome_shares(["even", "odd"])["odd"] == np.mean(last[:, 0].astype(int) % 2)


def test_epsilon_follows_its_schedule(ray):
    algo = config().env_runners(epsilon=[[0, 1.0], [100, 1.0], [200, 0.0]], num_envs_per_env_runner=10).build_algo()
    runner, seen = algo.env_runner, []
    for _ in range(21):
        runner.sample(num_timesteps=10)
        seen.append(runner._epsilon)
    assert seen == pytest.approx([1.0] * 11 + [0.9 - 0.1 * k for k in range(10)])
    (part,) = runner.sample(num_timesteps=10)
    assert len(set(part.columns["actions", "player_0"].tolist())) == 1  # greedy by now
    (part,) = runner.sample(num_timesteps=200, random_actions=True)
    assert set(part.columns["actions", "player_0"].tolist()) == {0, 1, 2}
    algo.stop()


@pytest.mark.parametrize("exploration", ["per_agent", "joint"])
def test_exploration_is_per_agent_or_joint(ray, exploration):
    """With greedy play at 0, 0: explored alone or together, in the shares that epsilon says."""
    import torch

    algo = config("escape_v0").env_runners(epsilon=0.5, exploration=exploration).build_algo()
    module, generator = algo.env_runner.module, torch.Generator().manual_seed(0)
    state = torch.ones(30_000, 1)
    play = {agent: int(action[0]) for agent, action in module.act(state[:1]).items()}
    taken = module.act(state, epsilon=0.5, generator=generator)
    leads = taken["player_0"] == play["player_0"]
    # An action is the greedy one with 1/2 + 1/2 * 1/3.
    assert leads.float().mean().item() == pytest.approx(2 / 3, abs=0.02)
    answers = module.act(state, epsilon=1e-12, generator=generator)["player_1"][0] == taken["player_1"]
    both = (leads & answers).float().mean().item()
    assert both == pytest.approx(4 / 9 if exploration == "per_agent" else 1 / 2 + 1 / 18, abs=0.02)
    algo.stop()


def test_more_games_than_fit_into_memory_are_named():
    settings = config("merge_v0", [["main_0"], ["auxiliary_0"]]).env_runners(num_envs_per_env_runner=2**44)
    with pytest.raises(ValueError, match=r"num_envs_per_env_runner: 17,592,186,044,416 games do not fit into memory"):
        JointEnvRunner(config=settings)
