"""Teams of every kind of play, with random weights and normalisers."""

import numpy as np
import torch
from gymnasium import spaces

from rllib_biac.learning.games import StateReader, as_seen, make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from rllib_biac.rllib.registry import load_algorithm
from tests.games import Apart, Continuous, Kinds, Masked, Navigation, Pictures, ThreePlayers, TwoStates


class Three(ThreePlayers):
    """Three players of different kinds: two, four and three actions, or a vector in place of the second's."""

    num_actions = (2, 4, 3)
    kind = "discrete"

    def action_space(self, agent):
        if agent == "two" and self.kind == "vector":
            return spaces.Box(np.array([-0.5, 3.0], np.float32), np.array([0.1, 50.0], np.float32))
        return super().action_space(agent)


class ThreeKinds(Three):
    kind = "vector"


class MaskedThree(Three):
    """Of each player's actions one is forbidden."""

    def infos(self):
        return {
            agent: {"action_mask": np.arange(size) != self.time % size}
            for agent, size in zip(self.possible_agents, self.num_actions, strict=True)
        }


ONE_TWO, EQUALS = [["one"], ["two"]], [["one", "two"]]
# name -> algorithm, game, hierarchy, settings
CASES = {
    "tables": ("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]], {}),
    "tables, auxiliary leads": ("BiAC", "merge_v0", [["auxiliary_0"], ["main_0"]], {}),
    "tables, enumerated": ("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]], {"response": "enumerated"}),
    "tables, histograms": ("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]], {"num_atoms": 9}),
    "tables, histograms, enumerated": ("BiAC", Masked, ONE_TWO, {"num_atoms": 9, "response": "enumerated"}),
    "tables, histograms, images": (
        "BiAC",
        Pictures,
        ONE_TWO,
        {"num_atoms": 9, "conv_filters": [[4, 3, 2], [5, [2, 3], 1, "valid"]]},
    ),
    "tables, masked": ("BiAC", Masked, ONE_TWO, {}),
    "tables, images": ("BiAC", Pictures, ONE_TWO, {"conv_filters": [[4, 3, 2], [5, [2, 3], 1, "valid"]]}),
    "tables, observations as state": ("BiAC", Apart, ONE_TWO, {"state": "observations"}),
    **{f"tables, {name}": ("BiAC", TwoStates, ONE_TWO, {"fcnet_activation": name}) for name in ("silu", "elu", "gelu")},
    "tables, history": ("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]], {"history": 3}),
    "chain": ("BiAC", Three, [["one"], ["two"], ["three"]], {}),
    "two followers": ("BiAC", Three, [["three"], ["two", "one"]], {}),
    "two leaders": ("BiAC", Three, [["one", "two"], ["three"]], {}),
    "equals, by the state": ("BiAC", Three, [["one", "two", "three"]], {}),
    "chain, masked": ("BiAC", MaskedThree, [["two"], ["three"], ["one"]], {}),
    "leaders, masked": ("BiAC", MaskedThree, [["two", "three"], ["one"]], {}),
    "vector below": ("BiAC", Kinds, ONE_TWO, {}),
    "vector leads": ("BiAC", Kinds, [["two"], ["one"]], {"fcnet_activation": "tanh"}),
    "vector between": ("BiAC", ThreeKinds, [["one"], ["two"], ["three"]], {}),
    "vectors": ("BiAC", Continuous, ONE_TWO, {}),
    **{f"local, {run}": (run, Apart, EQUALS, {}) for run in ("IDQN", "HystereticDQN", "LenientDQN", "MADDPG", "MATD3")},
    "local, masked": ("IDQN", Masked, EQUALS, {}),
    "local actors, masked": ("MADDPG", Masked, EQUALS, {}),
    "local, vectors": ("MADDPG", Navigation, EQUALS, {}),
    "announced": ("BiAC", Three, [["one"], ["two"], ["three"]], {"information": "own"}),
    "announced, masked": ("BiAC", MaskedThree, [["two", "three"], ["one"]], {"information": "own"}),
    "announced, vectors": ("BiAC", ThreeKinds, [["two"], ["one", "three"]], {"information": "own"}),
    "not announced": ("BiAC", ThreeKinds, [["two"], ["one", "three"]], {"information": "own", "announced": False}),
    "local, images, history": (
        "IDQN",
        Pictures,
        EQUALS,
        {"conv_filters": [[4, 4, 2]], "history": 2, "state": "observations"},
    ),
    "commitment": ("CommitmentDQN", Apart, ONE_TWO, {}),
    "local, images": ("IDQN", Pictures, EQUALS, {"conv_filters": [[4, 4, 2]]}),
    "tables, plain layers": ("BiAC", "merge_v0", [["main_0"], ["auxiliary_0"]], {"fcnet_rms_norm": False}),
    "vectors, normalised layers": ("BiAC", ThreeKinds, [["one"], ["two"], ["three"]], {"fcnet_rms_norm": True}),
    "local, normalised layers": ("MADDPG", Apart, EQUALS, {"fcnet_rms_norm": True}),
    "announced, normalised layers": (
        "BiAC",
        ThreeKinds,
        [["two"], ["one", "three"]],
        {"information": "own", "fcnet_rms_norm": True},
    ),
    "commitment, normalised layers": ("CommitmentDQN", Apart, ONE_TWO, {"fcnet_rms_norm": True}),
}


def team_of(case, classes=None):
    """Returns the team of all agents, its numbers drawn at random, everything that play may depend on too."""
    run, env, levels, how = CASES[case]
    algorithm = load_algorithm(run).config_class.algorithm
    model = MODEL_DEFAULTS | {"fcnet_hiddens": [32, 24]} | {key: how[key] for key in how if key in MODEL_DEFAULTS}
    others = {key: how[key] for key in how if key not in MODEL_DEFAULTS}
    settings = algorithm.settings(model_config=model, **others, **(classes or {}))
    games = make_games(as_seen(env, settings.history, settings.state), 1, np.random.default_rng(0), {})
    team = algorithm.build_team(StateReader(games, settings.state).team_spec(Hierarchy(levels), settings))
    games.close()
    generator = torch.Generator().manual_seed(7)
    shared = {}
    with torch.no_grad():
        for agent in team.agents:
            own = team[agent]
            for p in own.parameters():
                scale = 2.0 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.3
                p.copy_(scale * torch.randn(p.shape, generator=generator))
            for name, buffer in own.named_buffers(recurse=False):
                if name.endswith("_mean"):
                    drawn = torch.randn(buffer.shape, generator=generator)
                elif name.endswith("_std") and buffer.max() == 1.0:
                    drawn = 0.5 + torch.rand(buffer.shape, generator=generator)
                else:
                    continue
                # Everybody normalises the state alike.
                buffer.copy_(shared.setdefault(name, drawn) if name.startswith("state") else drawn)
    if run == "CommitmentDQN":
        leader, rows = team.leader, settings.max_states - 1
        team.meet(leader.encode(torch.randn(rows, *leader.state_shape, generator=generator)))
        team.commit(team.draw(1, generator)[0])
    return team


def inputs_of(team, rows, seed=0):
    """Returns random states (rows, ...), observations and masks (None if the game has none), as `team.act` takes."""
    rng = np.random.default_rng(seed)
    spec = team.spec

    def draw(shape, of):
        if len(shape) == 3:
            lights = rng.integers(256, size=(rows, *shape[:2], 1)) * (rng.random((rows, 1, 1, shape[2])) < 0.5)
            return (lights * rng.random((rows, 1, 1, 1))).astype(np.uint8)
        return (2.0 * rng.normal(size=(rows, *shape)) + of).astype(np.float32)

    state = draw(spec.state_space.shape, 0.0)
    if spec.settings.algorithm() == "CommitmentDQN":  # states that recur, and one that was never met
        leader = team.leader
        known = (leader.states * leader.state_std + leader.state_mean).numpy()
        state = known[rng.integers(len(known), size=rows)]
    observations, masks = {}, {}
    for agent in team.agents:
        if spec.settings.uses_observations:
            observations[agent] = draw(spec.observation_spaces[agent].shape, 0.5)
        if spec.masked:
            size = int(spec.action_spaces[agent].n)
            masks[agent] = rng.random((rows, size)) < 0.6
            masks[agent][np.arange(rows), rng.integers(size, size=rows)] = True
    return state, observations or None, masks or None


def same(one, other, action_spaces):
    """Holds joint actions against each other: discrete ones exactly, continuous ones to float32's rounding."""
    assert list(one) == list(other)
    for agent, action in one.items():
        if isinstance(action_spaces[agent], spaces.Discrete):
            np.testing.assert_array_equal(action, other[agent])
        else:
            span = action_spaces[agent].high - action_spaces[agent].low
            np.testing.assert_allclose(action / span, other[agent] / span, atol=1e-5, rtol=0)
