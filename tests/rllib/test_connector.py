"""One script of actions through RLlib's runner and connector, and through the batched runner: the same rows."""

import zlib

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac.biac_rl_module import BiACModule
from tests.core.games import Endless, Masked, Stateless, TwoStates, config, stock


def scripted(self, state, *, observations=None, masks=None, epsilon=0.0, generator=None):
    """Actions that look random but follow from the state alone, allowed ones only."""
    actions = {}
    for k, (agent, size) in enumerate(
        zip(self.hierarchy.agents, self[self.hierarchy.agents[0]].num_actions, strict=True)
    ):
        drawn = []
        for i, row in enumerate(state.numpy().astype(np.float32)):
            allowed = np.flatnonzero(masks[agent][i].numpy()) if masks else np.arange(size)
            drawn.append(allowed[zlib.crc32(row.tobytes() + bytes([k])) % len(allowed)])
        actions[agent] = torch.tensor(drawn)
    return actions


def by_call(counts):
    """The same, but cycling through joint actions call by call."""

    def act(self, state, **kwargs):
        sizes = self[self.hierarchy.agents[0]].num_actions
        call = counts.setdefault(id(self), 0)
        counts[id(self)] += 1
        joint = np.unravel_index((5 * call) % np.prod(sizes), sizes)
        return {agent: torch.full((len(state),), int(a)) for agent, a in zip(self.hierarchy.agents, joint, strict=True)}

    return act


def configs():
    fixed = {"main_x": 150, "auxiliary_x": 150, "main_speed": [35, 35], "auxiliary_speed": [38, 38]}
    merge = config("merge_v0", [["main_0"], ["auxiliary_0"]])
    yield "merge", merge.environment("merge_v0", env_config=fixed)
    yield "horizon", config().environment("escape_v0", env_config={"horizon": 4})
    yield "one_step", config("maintain_v0")
    yield "masked", config(Masked)
    yield "truncated", config(Endless)
    yield "two_states", config(TwoStates)
    yield "observations", config(Stateless).environment(Stateless, state="observations")


CONFIGS = dict(configs())


def as_rows(transitions, columns):
    return [tuple(np.asarray(transitions.columns[c][i]).tobytes() for c in columns) for i in range(len(transitions))]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("fragment", [1, 5, 7])
def test_both_runners_give_the_same_rows(ray, monkeypatch, name, fragment):
    monkeypatch.setattr(BiACModule, "act", by_call({}) if name in ("horizon", "one_step", "truncated") else scripted)
    rows, dtypes = {}, {}
    for runner in ("joint", "stock"):
        configured = CONFIGS[name].copy(copy_frozen=False).env_runners(num_envs_per_env_runner=1)
        algo = (configured if runner == "joint" else stock(configured)).build_algo()
        rows[runner] = []
        while len(rows[runner]) < 36:
            sampled = algo.env_runner.sample(num_timesteps=fragment)
            for part in sampled if runner == "joint" else [algo._connector(episodes=sampled).get("joint")]:
                if part is not None:
                    columns = sorted(part.columns, key=str)
                    dtypes[runner] = {c: (part.columns[c].dtype, part.columns[c].shape[1:]) for c in columns}
                    rows[runner] += as_rows(part, columns)
        algo.stop()
    assert dtypes["joint"] == dtypes["stock"]
    # One game each, so that even their order is the same.
    assert rows["joint"][:36] == rows["stock"][:36]
    assert len(set(rows["joint"])) > 1 or name == "observations"


def test_games_side_by_side_give_the_rows_of_one(ray, monkeypatch):
    monkeypatch.setattr(BiACModule, "act", scripted)
    found = []
    for games in (1, 3):
        algo = CONFIGS["merge"].copy(copy_frozen=False).env_runners(num_envs_per_env_runner=games).build_algo()
        (part,) = algo.env_runner.sample(num_timesteps=30 * games)
        found.append(as_rows(part, sorted(part.columns, key=str)))
        algo.stop()
    one, three = found
    assert set(one) == set(three) and len(three) == 3 * len(one)
    assert [row for row in three for _ in range(1)][::3] == one


def test_ends_are_told_apart(ray):
    """The last state of a game is the next state of its last row; only `terminated` ends the bootstrap."""
    for name, key in (("truncated", "truncated"), ("two_states", "terminated"), ("horizon", "truncated")):
        algo = CONFIGS[name].copy(copy_frozen=False).env_runners(num_envs_per_env_runner=2).build_algo()
        (part,) = algo.env_runner.sample(num_timesteps=24)
        length = {"truncated": 3, "two_states": 2, "horizon": 4}[name]
        other = "terminated" if key == "truncated" else "truncated"
        assert part.columns[key][::2].tolist() == ([False] * (length - 1) + [True]) * (12 // length)
        assert not part.columns[other].any()
        algo.stop()
    assert part.env_steps() == 24 and part.agent_steps() == 48
