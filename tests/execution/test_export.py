"""Exported policies play as the policy does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_biac.execution import StackelbergPolicy
from tests.execution.teams import inputs_of, same, team_of

KINDS = [
    "tables",
    "tables, masked",
    "tables, gelu",
    "chain, masked",
    "vector between",
    "local, MADDPG",
    "announced, masked",
    "local, images",
    "commitment",
]


def fast(*kinds):
    """All kinds, of which these alone are fast tests: one program takes a second or two to make."""
    return [kind if kind in kinds else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.fixture(scope="module")
def case(request):
    """A policy, what it sees by exported names, its actions by exported names, and their spaces."""
    team = team_of(request.param)
    policy = StackelbergPolicy.from_module(team)
    state, observations, masks = inputs_of(team, 500)
    named = {f"mask_{agent}": mask for agent, mask in (masks or {}).items()}
    if policy.description.by_observations:
        named |= {f"observation_{agent}": own.astype(np.float32) for agent, own in observations.items()}
        joint = policy.act(observations=observations, masks=masks)
    else:
        named["state"] = state
        joint = policy.act(state, masks=masks)
    spaces = {f"action_{agent}": team.spec.action_spaces[agent] for agent in policy.agents}
    return policy, named, {f"action_{agent}": action for agent, action in joint.items()}, spaces


def of_one(policy, named, expected, agent):
    """What an agent alone is given."""
    if not policy.description.by_observations:
        return named
    own = {name: array for name, array in named.items() if name.endswith(f"_{agent}")}
    return own | {f"action_{above}": expected[f"action_{above}"] for above in policy.description.above(agent)}


@pytest.mark.parametrize(
    "case", fast("tables, masked", "tables, histograms", "chain, masked", "local, images", "commitment"), indirect=True
)
def test_torch(case, tmp_path):
    policy, named, expected, spaces = case
    tensors = {name: torch.from_numpy(array) for name, array in named.items()}
    policy.export_torch(tmp_path / "all.pt2")
    program = torch.export.load(str(tmp_path / "all.pt2")).module()
    same({name: action.numpy() for name, action in program(tensors).items()}, expected, spaces)
    one_row = program({name: tensor[:1] for name, tensor in tensors.items()})
    same({name: action.numpy() for name, action in one_row.items()}, {k: v[:1] for k, v in expected.items()}, spaces)

    agent = policy.agents[-1]
    wanted = {name: torch.from_numpy(action) for name, action in expected.items()}
    policy.export_torch(tmp_path / "one.pt2", agent=agent)
    played = torch.export.load(str(tmp_path / "one.pt2")).module()(of_one(policy, tensors, wanted, agent))
    own = f"action_{agent}"
    same({name: action.numpy() for name, action in played.items()}, {own: expected[own]}, spaces)


@pytest.mark.parametrize("case", fast("vector between"), indirect=True)
def test_onnx(case, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    policy, named, expected, spaces = case
    agent = policy.agents[-1]
    for chosen in (None, agent):
        file = tmp_path / "policy.onnx"
        policy.export_onnx(file, agent=chosen)
        assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        assert outputs == (list(expected) if chosen is None else [f"action_{agent}"])
        given = named if chosen is None else of_one(policy, named, expected, agent)
        # What does not matter to an agent's own action may have been left out of its program.
        taken = {name: given[name] for name in (each.name for each in session.get_inputs())}
        for rows in (slice(None), slice(0, 1)):
            played = session.run(None, {name: array[rows] for name, array in taken.items()})
            same(dict(zip(outputs, played, strict=True)), {name: expected[name][rows] for name in outputs}, spaces)


@pytest.mark.parametrize("case", KINDS, indirect=True)
def test_mistakes_are_named(case, tmp_path):
    for export in (case[0].export_torch, case[0].export_onnx):
        with pytest.raises(ValueError, match="there is no agent 'car'"):
            export(tmp_path / "none.pt2", agent="car")
    with pytest.raises(ValueError, match=r"end in \.pt2"):
        case[0].export_torch(tmp_path / "policy.torch")


@pytest.mark.slow
def test_an_exported_program_runs_without_this_library(tmp_path):
    policy = StackelbergPolicy.from_module(team_of("tables"))
    policy.export_torch(tmp_path / "merge.pt2")
    script = (
        "import sys, torch\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "print({name: int(action) for name, action in program({'state': torch.ones(1, 8)}).items()})\n"
        "assert not {'rllib_biac', 'ray'} & set(sys.modules)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "merge.pt2")]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    joint = policy.act(np.ones(8))
    assert run.stdout.strip() == str({f"action_{agent}": action for agent, action in joint.items()})


@pytest.mark.slow
def test_the_export_to_onnx_says_nothing(tmp_path):
    pytest.importorskip("onnxscript")
    code = (
        "from tests.execution.teams import team_of\n"
        "from rllib_biac.execution import StackelbergPolicy\n"
        f"StackelbergPolicy.from_module(team_of('tables')).export_onnx({str(tmp_path / 'policy.onnx')!r})"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
