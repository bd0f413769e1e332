"""One script of actions through RLlib's runner and connector, and through the batched runner: the same rows."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac.team import BiACTeam
from rllib_biac.rllib.connector import JointTransitionsConnector
from rllib_biac.rllib.stock_runner import StockEnvRunner
from tests import foreign
from tests.games import Endless, Masked, Stateless, TwoStates, config, scripted, stock


def by_call(counts):
    """The same, but cycling through joint actions call by call."""

    def act(self, state, **kwargs):
        sizes = self[self.agents[0]].num_actions
        call = counts.setdefault(id(self), 0)
        counts[id(self)] += 1
        joint = np.unravel_index((5 * call) % np.prod(sizes), sizes)
        return {agent: torch.full((len(state),), int(a)) for agent, a in zip(self.agents, joint, strict=True)}

    return act


def configs():
    fixed = {"main_x": 150, "auxiliary_x": 150, "main_speed": [35, 35], "auxiliary_speed": [38, 38]}
    merge = config("merge_v0", [["main_0"], ["auxiliary_0"]])
    yield "merge", merge.environment("merge_v0", env_config=fixed)
    yield "horizon", config().environment("escape_v0", env_config={"horizon": 4})
    yield "one_step", config("maintain_v0")
    yield "history", config().environment("escape_v0", history=3, env_config={"horizon": 4})
    yield "history_of_observations", config(Endless).environment(Endless, state="observations", history=2)
    yield "masked", config(Masked)
    yield "truncated", config(Endless)
    yield "two_states", config(TwoStates)
    yield "observations", config(Stateless).environment(Stateless, state="observations")
    for game in (foreign.Leaver, foreign.LateComer, foreign.Turns, foreign.EndsApart, foreign.TruncatedLeaver):
        yield game.__name__, config(game, [["a"], ["b"]]).environment(game, state="observations")


CONFIGS = dict(configs())
BY_CALL = ("horizon", "one_step", "truncated", "history", "history_of_observations")


def as_rows(transitions, columns):
    return [tuple(np.asarray(transitions.columns[c][i]).tobytes() for c in columns) for i in range(len(transitions))]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("fragment", [1, 5, 7])
def test_both_runners_give_the_same_rows(ray, monkeypatch, name, fragment):
    monkeypatch.setattr(
        BiACTeam,
        "act",
        by_call({}) if name in ("horizon", "one_step", "truncated", "history", "history_of_observations") else scripted,
    )
    rows, dtypes = {}, {}
    for kind in ("joint", "stock"):
        configured = CONFIGS[name].copy(copy_frozen=False).env_runners(num_envs_per_env_runner=1)
        configured = configured if kind == "joint" else stock(configured)
        configured.validate()
        runner = configured.env_runner_cls(config=configured, worker_index=0)
        join = JointTransitionsConnector(runner.module.team.spec.agents)
        rows[kind] = []
        while len(rows[kind]) < 36:
            sampled = runner.sample(num_timesteps=fragment)
            for part in sampled if kind == "joint" else [join(episodes=sampled).get("joint")]:
                if part is not None:
                    columns = sorted(part.columns, key=str)
                    dtypes[kind] = {c: (part.columns[c].dtype, part.columns[c].shape[1:]) for c in columns}
                    rows[kind] += as_rows(part, columns)
        runner.stop()
    assert isinstance(runner, StockEnvRunner)
    assert dtypes["joint"] == dtypes["stock"]
    # One game each, so that even their order is the same.
    assert rows["joint"][:36] == rows["stock"][:36]
    assert len(set(rows["joint"])) > 1 or name in ("observations", "EndsApart")
