"""A policy taken out of the algorithm plays as it did, together and apart, from a file that numpy alone can read."""

import dataclasses
import functools
import io
import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from safetensors import safe_open
from safetensors.numpy import save

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.biac.team import BiACLeader
from rllib_biac.envs.actions import ActionReader
from rllib_biac.evaluation.greedy import greedy
from rllib_biac.execution import StackelbergPolicy
from rllib_biac.files import policy as files
from rllib_biac.files.damage import UNSEALED, DamagedFile, sealed
from rllib_biac.files.weights import load_weights
from rllib_biac.rllib.reading import save_team
from tests.execution.teams import CASES, inputs_of, same, team_of
from tests.foreign import Steerers
from tests.games import Probe
from tests.training import Run

MERGE = np.array([0.1, -0.4, 0.2, 0.0, -0.3, 0.9, 0.5, 0.0], np.float32)


teams = functools.cache(team_of)


@pytest.fixture(scope="module")
def merge():
    return StackelbergPolicy.from_module(teams("tables"))


def test_who_hears_of_actions_is_told_them():
    policy = StackelbergPolicy.from_module(teams("announced"))
    two, seen = policy.agent("two"), np.zeros(policy.description.inputs["two"])
    answers = [two.act(observation=seen, announced={"one": action}) for action in (0, 1)]
    both = two.act(observation=np.stack([seen, seen]), announced={"one": [0, 1]})
    np.testing.assert_array_equal(both, answers)
    for announced, message in (
        (None, "those of one are announced"),
        ({"one": 0, "three": 1}, "those of one are announced"),
        ({"one": 2}, "none of 0, ..., 1"),
        ({"one": 0.9}, "none of 0, ..., 1"),
        ({"one": float("nan")}, "none of 0, ..., 1"),
        ({"one": float("inf")}, "none of 0, ..., 1"),
        ({"one": "0"}, "none of 0, ..., 1"),
        ({"one": [0]}, r"has shape \(1,\): \(\) is expected"),
    ):
        with pytest.raises(ValueError, match=message):
            two.act(observation=seen, announced=announced)
    with pytest.raises(ValueError, match="none are announced to it"):
        policy.agent("one").act(observation=np.zeros(policy.description.inputs["one"]), announced={"two": 0})


@pytest.mark.parametrize("case", CASES)
def test_play_is_the_teams_play(tmp_path, case):
    team = teams(case)
    spaces = {agent: team.spec.action_spaces[agent] for agent in team.agents}
    StackelbergPolicy.from_module(team).save(tmp_path / "saved")
    policy = StackelbergPolicy.load(tmp_path / "saved")
    local = policy.description.by_observations
    state, observations, masks = inputs_of(team, 100 if "images" in case else 4000)
    expected = greedy(team, state, observations, masks)
    assert any(len(np.unique(action)) > 1 for action in expected.values()), "the test would show nothing"

    seen = {"observations": observations} if local else {"state": state}
    joint = policy.act(**seen, masks=masks)
    same(joint, expected, spaces)
    for agent, action in joint.items():
        assert action.dtype == expected[agent].dtype and action.shape == expected[agent].shape
        own = {"observation": observations[agent]} if local else {"state": state}
        own |= {"announced": {above: joint[above] for above in policy.description.above(agent)}}
        np.testing.assert_array_equal(policy.agent(agent).act(**own, masks=masks), action)

    for row in range(50):  # one by one, as plain numbers
        one = {agent: mask[row] for agent, mask in masks.items()} if masks else None
        seen = {"observations": {a: o[row] for a, o in observations.items()}} if local else {"state": state[row]}
        for agent, action in policy.act(**seen, masks=one).items():
            assert isinstance(action, int) or action.shape == spaces[agent].shape
            assert spaces[agent].contains(action)
            np.testing.assert_array_equal(action, joint[agent][row])
            own = {"observation": observations[agent][row]} if local else {"state": state[row]}
            own |= {"announced": {above: joint[above][row] for above in policy.description.above(agent)}}
            np.testing.assert_array_equal(policy.agent(agent).act(**own, masks=one), action)


def test_masks_may_be_of_some_agents_and_lists(merge):
    best = merge.act(MERGE)
    mask = [action != best["auxiliary_0"] for action in range(5)]
    assert merge.act(MERGE.tolist(), masks={"auxiliary_0": mask})["auxiliary_0"] != best["auxiliary_0"]
    assert merge.agent("main_0").act(MERGE, masks={"auxiliary_0": [1, 1, 1, 1, 1]}) == best["main_0"]


@pytest.mark.parametrize("entry", [-np.inf, np.nan, 2, -1, 0.5, "1", None])
def test_masks_of_other_entries_than_0_and_1_are_refused(merge, entry):
    with pytest.raises(ValueError, match=r"the mask of main_0, .* is none: write 1 or True"):
        merge.agent("main_0").act(MERGE, masks={"main_0": [1, 1, 1, 1, entry]})


def test_a_mask_of_zeros_stands_for_nothing_to_do(merge):
    assert merge.agent("main_0").act(MERGE, masks={"main_0": [0.0] * 5}) == 0


def test_double_and_single_precision_are_one_state(merge):
    state = np.random.default_rng(0).normal(size=(500, 8))
    for agent, action in merge.act(state).items():
        np.testing.assert_array_equal(action, merge.act(state.astype(np.float32))[agent])


SPACES = [
    Discrete(3, start=1),
    Discrete(2, start=-4),
    MultiDiscrete([2, 3], start=[1, -1]),
    MultiDiscrete([[2, 2], [1, 3]]),
    MultiBinary(3),
    MultiBinary((2, 2)),
    Box(-2, 1, (2,), np.int8),
    Box(2**63, 2**63 + 2, (1,), np.uint64),
    Box(-1, 2, (2, 2), np.float64),
    Box(-1, 2, (), np.float32),
    Box(-1, 2, (2,), np.float16),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_are_those_of_the_games_own_space(tmp_path, space):
    class Own(Probe):
        def action_space(self, agent):
            return space if agent == "one" else Discrete(2)

    def same_actions(one, other):
        np.testing.assert_allclose(one, other, rtol=2e-3 if getattr(space, "dtype", 0) == np.float16 else 1e-5)
        assert type(one) is type(other) and getattr(one, "dtype", None) == getattr(other, "dtype", None)
        assert space.contains(one)

    run = Run(BiAC, Own, [["one"], ["two"]])
    StackelbergPolicy.from_module(run.team).save(tmp_path / "policy.safetensors")
    policy = StackelbergPolicy.load(tmp_path / "policy.safetensors")
    states = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    expected = ActionReader(space).to_game(greedy(run.team, states)["one"])
    for taken, own in zip(policy.act(states)["one"], expected, strict=True):
        same_actions(int(taken) if isinstance(own, int) else np.asarray(taken), own)
    for state, own in zip(states[:5], expected, strict=False):
        same_actions(policy.act(state)["one"], own)
        same_actions(policy.agent("one").act(state), own)
    assert policy.description.actions["two"].taken is None


@pytest.mark.parametrize("space", SPACES[:8], ids=str)
def test_announced_actions_are_those_of_the_games_own_space(space):
    class Own(Probe):
        def action_space(self, agent):
            return space if agent == "one" else Discrete(2)

    run = Run(BiAC, Own, [["one"], ["two"]], information="own")
    reader, rows = ActionReader(space), inputs_of(run.team, 6)[1]
    two = StackelbergPolicy.from_module(run.team).agent("two")
    tensors = {agent: torch.from_numpy(own) for agent, own in rows.items()}
    number = np.arange(6) % reader.space.n
    with torch.no_grad():
        given = {"one": torch.from_numpy(number)}
        played = run.team.act(torch.zeros(6, 2), observations=tensors, given=given)["two"].numpy()
    announced = np.stack([np.asarray(action) for action in reader.to_game(number)])
    np.testing.assert_array_equal(two.act(observation=rows["two"], announced={"one": announced}), played)
    with pytest.raises(ValueError, match=r"(?s)the announced action of one.* is none of the game's"):
        two.act(observation=rows["two"][0], announced={"one": np.full_like(announced[0], 77)})
    for entry in ("x", 0.9, np.inf):
        with pytest.raises(ValueError, match=r"(?s)the announced action of one.* is none of the game's"):
            two.act(observation=rows["two"][0], announced={"one": np.full(announced[0].shape, entry)})


@pytest.mark.parametrize("entry", [np.nan, np.inf, None, "0.5"])
def test_announced_continuous_actions_are_finite_numbers(entry):
    class Own(Probe):
        def action_space(self, agent):
            return Box(-1, 1, (1,)) if agent == "one" else Discrete(2)

    team = Run(BiAC, Own, [["one"], ["two"]], information="own").team
    two, seen = StackelbergPolicy.from_module(team).agent("two"), inputs_of(team, 1)[1]["two"][0]
    two.act(observation=seen, announced={"one": [0.5]})
    with pytest.raises(ValueError, match=r"the announced action of one.* is"):
        two.act(observation=seen, announced={"one": [entry]})


@pytest.mark.parametrize(
    "changed",
    [{"counts": [2]}, {"start": []}, {"counts": None}, {"shape": [2]}, {"dtype": "U1"}, {"more": 1}, {"dtype": "x"}],
)
def test_actions_that_are_none(changed):
    class Own(Probe):
        def action_space(self, agent):
            return Discrete(3, start=1)

    described = asdict(StackelbergPolicy.from_module(Run(BiAC, Own, [["one"], ["two"]]).team).description)
    described = json.loads(json.dumps(described))
    assert files.Description.from_json(described).actions["one"].taken.start == (1,)
    described["actions"]["one"]["taken"] |= changed
    with pytest.raises((ValueError, TypeError, KeyError)):
        files.Description.from_json(described)


def test_a_saved_policy_needs_neither_ray_nor_torch(merge, tmp_path):
    merge.save(tmp_path / "merge.policy")
    script = (
        "import json, sys\n"
        "from rllib_biac.execution import StackelbergPolicy\n"
        "policy = StackelbergPolicy.load(sys.argv[1])\n"
        "state = json.loads(sys.argv[2])\n"
        "actions = {agent: policy.agent(agent).act(state) for agent in policy.agents}\n"
        "heavy = {name.partition('.')[0] for name in sys.modules} & {'ray', 'torch', 'gymnasium', 'scipy', 'pandas'}\n"
        "print(json.dumps([actions, sorted(heavy)]))\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "merge.policy"), json.dumps(MERGE.tolist())]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=100).stdout
    assert json.loads(printed) == [merge.act(MERGE), []]


def test_it_says_what_it_is(merge):
    both = "main_0 (5 actions), auxiliary_0 (5 actions); sees state (8,)"
    assert repr(merge) == f"<StackelbergPolicy: {both}>"
    assert repr(merge.agent("auxiliary_0")) == f"<AgentPolicy: auxiliary_0 of {merge!r}>"


def test_mistakes_are_named(merge):
    nan = np.where(np.arange(8) == 2, np.nan, MERGE)
    for call, message in (
        (lambda: merge.agent("car"), "no agent 'car': the agents are main_0, auxiliary_0"),
        (lambda: merge.act(), r"give the state, of shape \(8,\)"),
        (lambda: merge.act(MERGE[:4]), r"the state has shape \(4,\): \(8,\) is expected, or \(n, \*\(8,\)\)"),
        (lambda: merge.act(np.zeros((2, 2, 8))), "the state has shape"),
        (lambda: merge.act(0.0), "the state has shape"),
        (lambda: merge.act({"main_0": MERGE}), "the state is a dict, .* hand a dict of observations over as observ"),
        (lambda: merge.act("fast"), r"the state is a str, not numbers of shape \(8,\)"),
        (lambda: merge.act([[1.0], [1.0, 2.0]]), "the state is a list, not numbers"),
        (lambda: merge.act(nan), "the state has entries that are not finite"),
        (lambda: merge.act([MERGE, MERGE + np.inf]), "the state has entries that are not finite"),
        (lambda: merge.agent("main_0").act(observation=MERGE), "no approximator was trained .*: give the state"),
        (lambda: merge.act(observations={"main_0": MERGE}), "no approximator was trained .*: give the state"),
        (lambda: merge.act(MERGE, masks={"car": np.ones(5)}), "no agent 'car'"),
        (lambda: merge.act(MERGE, masks={"main_0": np.ones(4)}), r"mask of main_0 has shape \(4,\): \(5,\) is"),
        (lambda: merge.act(MERGE[None], masks={"main_0": np.ones(5)}), r"\(1, 5\) is expected"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

    local = StackelbergPolicy.from_module(teams("local, IDQN"))
    both = {"one": [0.5], "two": [1.0, 0.0, 1.0, 0.0]}
    for call, message in (
        (lambda: local.act(np.zeros(3)), "act on their own observations, not on the state"),
        (lambda: local.agent("two").act(np.zeros(3)), r"not on the state: give those, of {'two': \(4,\)}"),
        (lambda: local.act(observations={"one": [0.5]}), "the observation of two is missing"),
        (lambda: local.act(observations=both | {"three": [1.0]}), "no agent 'three'"),
        (lambda: local.agent("two").act(observation=[0.5]), "the observation of two has shape"),
        (lambda: local.act(observations=both | {"one": [[0.5]]}), "some observations are single, others a batch"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

    vectors = StackelbergPolicy.from_module(teams("vectors"))
    with pytest.raises(ValueError, match=r"the mask of one has shape \(2,\): \(1,\) is expected"):
        vectors.act([1.0, 0.0], masks={"one": [True, False]})
    assert vectors.act([1.0, 0.0], masks={"one": [False]})["one"].tolist() == [0.0]  # absent: the middle of its range


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_all_networks_plays_too(tmp_path, case):
    team = teams(case)
    file = tmp_path / "weights.safetensors"
    save_team(file, team, "BiAC")
    expected, loaded = StackelbergPolicy.from_module(team), StackelbergPolicy.load(file)
    assert json.dumps(asdict(loaded.description)) == json.dumps(asdict(expected.description))
    assert loaded.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    for agent, own in load_weights(file, team.weights()).items():
        for name, tensor in team[agent].state_dict().items():
            assert own[name].shape == tensor.shape
            np.testing.assert_array_equal(own[name], tensor.numpy())


class Own(torch.nn.Sequential):
    """A network that no description here describes."""


class OwnLeader(BiACLeader):
    def build_network(self):
        return Own(super().build_network())


def test_networks_of_the_users_own_are_refused(tmp_path):
    team = team_of("tables", classes={"leader_module_class": OwnLeader})
    with pytest.raises(ValueError, match="the network of main_0 is a Own of your own"):
        StackelbergPolicy.from_module(team)
    save_team(tmp_path / "weights.safetensors", team, "BiAC")  # to train on with
    assert load_weights(tmp_path / "weights.safetensors", team.weights()).keys() == {"main_0", "auxiliary_0"}
    with pytest.raises(ValueError, match="none to play here: the network of main_0 is a Own of your own"):
        StackelbergPolicy.load(tmp_path / "weights.safetensors")


def test_a_policy_is_a_copy():
    team = team_of("tables, silu")
    policy = StackelbergPolicy.from_module(team)
    before = {name: array.copy() for name, array in policy.arrays.items()}
    with torch.no_grad():
        for agent in team.agents:
            for tensor in team[agent].state_dict().values():
                tensor.add_(1.0)
    for name, array in policy.arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "bounds", [[[np.nan], [1]], [[1], [-1]], [[-1, -1], [1, 1]], [[-np.inf], [1]], [[-1e300], [1]]]
)
def test_bounds_that_are_none(tmp_path, bounds):
    file = tmp_path / "steers.safetensors"
    run = Run(BiAC, Steerers, [["a"], ["b"]], num_games=1, state="observations")
    description, held = run.team.describe()
    files.write(file, held, description)
    assert StackelbergPolicy.load(file).agents == ("a", "b")
    wrong = dataclasses.replace(description.actions["b"], bounds=bounds)
    actions = {**description.actions, "b": wrong}
    files.write(file, held, dataclasses.replace(description, actions=actions))
    with pytest.raises(DamagedFile, match="b has 1 continuous actions, and the bounds"):
        StackelbergPolicy.load(file)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code in a policy was run')",)


def test_damaged_and_foreign_files_are_named(merge, tmp_path):
    file = tmp_path / "merge.safetensors"
    merge.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["merge.safetensors"]
    good = file.read_bytes()
    with safe_open(file, "numpy") as opened:
        metadata, arrays = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    about = json.loads(metadata["description"])
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # as older versions wrote, and as one may hide a pickle

    def file_of(**changed):
        described = {"description": json.dumps(about | changed.pop("about", {}))}
        held = arrays | changed.pop("arrays", {})
        return sealed(save(held, {**metadata, **described, "seal": UNSEALED, **changed}))

    for content in (
        good[: len(good) // 2],
        good[:100],
        b"",
        b"nothing of the kind",
        pickle.dumps(Bomb()),
        archive.getvalue(),
        save(arrays),
        file_of(description="{}"),
        file_of(description="[1]"),
        file_of(description="3"),
        file_of(description="("),
        file_of(format="somebody's 2"),
        file_of(format="rllib_biac policy 99"),
        file_of(names='{"mean/state": "nowhere"}'),
        file_of(about={"play": "chess"}),
        file_of(about={"colour": "red"}),
        file_of(about={"masked": "no"}),
        *(
            file_of(about={"networks": about["networks"] | {"main_0": about["networks"]["main_0"] | wrong}})
            for wrong in ({"rms_norm": "no"}, {"rms_norm": 1}, {"num_atoms": 0}, {"num_atoms": 9.7}, {"gain": 2})
        ),
        file_of(description=metadata["description"][:-1] + ', "masked": true}'),
        good.replace(b'"format":"rllib_biac policy 3"', b'"format":"rllib_biac policy 2"'),
        save(arrays, {name: text for name, text in metadata.items() if name != "seal"}),
        file_of(description="[" * 100_000),
    ):
        file.write_bytes(content)
        with pytest.raises(DamagedFile, match="is damaged or no policy"):
            StackelbergPolicy.load(file)

    for content, message in (
        (file_of(arrays={"mean/state": np.zeros(3)}), "arrays do not fit"),
        (file_of(arrays={"main_0/1/bias": np.zeros(7, np.float32)}), "arrays do not fit"),
        (
            file_of(arrays={"main_0/1/bias": np.full(24, np.nan, np.float32)}),
            "main_0/1/bias holds numbers that are not",
        ),
        (file_of(about={"networks": {}}), "arrays do not fit"),
        (
            file_of(about={"networks": about["networks"] | {"main_0": about["networks"]["main_0"] | {"num_atoms": 5}}}),
            r"arrays do not fit its description: KeyError\('atoms'\)",
        ),
        (file_of(about={"inputs": {"state": [10**9, 10**9]}}), "arrays do not fit"),
        (file_of(about={"actions": {"main_0": {"size": 10**9}, "auxiliary_0": {"size": 5}}}), "arrays do not fit"),
        (file_of(arrays={"main_0/1/bias": np.full(24, 4e37, np.float32)}), "weights beyond 1.8e"),
        (file_of(arrays={"main_0/1/bias": np.ones(24, np.complex64)}), "holds complex numbers"),
        (file_of(arrays={"std/state": 0 * arrays["std/state"]}), "state is divided by is not always more than 0"),
        (file_of(about={"levels": [["main_0"], ["main_0"]]}), "an agent has two places"),
        (file_of(about={"history": 0}), "a history of 0"),
        (file_of(about={"history": 3}), "a history of 3, and inputs"),
        (file_of(arrays={"main_0/1/bias": np.ones(24, np.int32)}), "main_0/1/bias holds int32, not real numbers"),
        (
            file_of(about={"actions": about["actions"] | {"main_0": {"size": 5, "bounds": [[0.0] * 5, [1.0] * 5]}}}),
            "tables have values of continuous actions",
        ),
    ):
        file.write_bytes(content)
        with pytest.raises(DamagedFile, match=message):
            StackelbergPolicy.load(file)

    file.write_bytes(good)
    assert StackelbergPolicy.load(str(file)).act(MERGE) == merge.act(MERGE)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFile, match="is no file but a pipe"):
        StackelbergPolicy.load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        StackelbergPolicy.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is no checkpoint"):
        StackelbergPolicy.load(tmp_path)
