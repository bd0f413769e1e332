"""Commitments outside of training: drawn as they say, together and apart, and never those of two runs."""

import numpy as np
import pytest
import torch

from rllib_biac.execution import StackelbergPolicy
from rllib_biac.execution.export import TorchPolicy
from rllib_biac.files.damage import DamagedFile
from rllib_biac.files.weights import load_weights
from rllib_biac.rllib.reading import save_team
from tests.execution.teams import CASES, inputs_of, team_of

ROWS = 20_000


def mixed(announced, tmp_path):
    """A team with a mixed commitment, what it is in its file, and states it has rows for."""
    CASES["mixed"] = (*CASES["commitment"][:3], {"mixed": True, "announced": announced})
    try:
        team = team_of("mixed")
    finally:
        del CASES["mixed"]
    StackelbergPolicy.from_module(team).save(tmp_path / "mixed.safetensors")
    state, _, _ = inputs_of(team, ROWS)
    return team, StackelbergPolicy.load(tmp_path / "mixed.safetensors"), state


@pytest.mark.parametrize("announced", [False, True])
def test_actions_are_drawn_as_the_commitment_says(announced, tmp_path):
    team, policy, state = mixed(announced, tmp_path)
    leader, follower = policy.agents
    joint = policy.act(state, rng=np.random.default_rng(0))
    assert len(np.unique(joint[leader])) == 2
    z = team.leader.commitment.numpy()
    for row, (known, chances) in enumerate(zip(team.leader.states, z, strict=True)):
        here = team.leader.rows(team.leader.encode(torch.from_numpy(state))).numpy() == row
        assert here.any() == bool(row < team.leader.count), known
        if here.any():
            np.testing.assert_allclose(np.bincount(joint[leader][here], minlength=2) / here.sum(), chances, atol=0.03)
    with torch.no_grad():
        given = {leader: torch.from_numpy(joint[leader])}
        expected = team.act(torch.from_numpy(state), given=given, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(joint[follower], expected[follower].numpy())

    # Apart: the leader draws by itself; the follower hears the action only where that is how it learned.
    np.testing.assert_array_equal(policy.agent(leader).act(state, rng=np.random.default_rng(0)), joint[leader])
    heard = {"announced": {leader: joint[leader]}} if announced else {}
    np.testing.assert_array_equal(policy.agent(follower).act(state, **heard), joint[follower])
    with pytest.raises(ValueError, match="announced"):
        policy.agent(follower).act(state, **({} if announced else {"announced": {leader: joint[leader]}}))


@pytest.mark.parametrize("announced", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_programs_draw_by_the_number_they_are_given(announced, tmp_path):
    _, policy, state = mixed(announced, tmp_path)
    leader, follower = policy.agents
    joint = policy.act(state, rng=np.random.default_rng(0))
    seen = {"state": torch.from_numpy(state)}
    uniform = {f"uniform_{leader}": torch.from_numpy(np.random.default_rng(0).random(ROWS)).float()}
    played = TorchPolicy(policy).traced().module()(seen | uniform)
    alone = TorchPolicy(policy, leader).traced().module()(seen | uniform)
    for found in (played, alone):
        assert (found[f"action_{leader}"].numpy() == joint[leader]).mean() > 0.999  # a number at the border of two
    action = played[f"action_{leader}"]
    heard = {f"action_{leader}": action} if announced else {}
    answer = TorchPolicy(policy, follower).traced().module()(seen | heard)[f"action_{follower}"]
    assert torch.equal(answer, played[f"action_{follower}"])


def test_who_draws_needs_a_generator_and_who_answers_does_not(tmp_path):
    _, policy, state = mixed(False, tmp_path)
    for act in (policy.act, policy.agent(policy.agents[0]).act):
        with pytest.raises(ValueError, match="give rng"):
            act(state[0])
    assert isinstance(policy.agent(policy.agents[1]).act(state[0]), int)


def test_parts_of_two_runs_are_told_apart(tmp_path):
    """All files of one commitment name its SHA-256; a follower that knows another one is refused."""
    team, other = team_of("commitment"), team_of("commitment")
    other.commit(1.0 - team.leader.commitment)
    leader, follower = team.agents
    policy = StackelbergPolicy.from_module(team)
    for agent in (None, *team.agents):
        policy.export_torch(tmp_path / "part.pt2", agent)
        files = {"commitment": ""}
        torch.export.load(str(tmp_path / "part.pt2"), extra_files=files)
        assert files["commitment"] == policy.description.commitment.sha256
    assert policy.description.commitment.sha256 != StackelbergPolicy.from_module(other).description.commitment.sha256

    save_team(tmp_path / "one", team, "CommitmentDQN")
    weights = load_weights(tmp_path / "one", team.weights())
    assert weights[leader]["sha256"].tobytes().hex() == policy.description.commitment.sha256
    team[follower].load_state_dict(other[follower].state_dict())
    with pytest.raises(ValueError, match=f"the networks of {follower} know another commitment"):
        team.check()
    with pytest.raises(ValueError, match="from one checkpoint"):
        StackelbergPolicy.from_module(team)


def test_a_changed_commitment_in_a_file_is_found(tmp_path):
    policy = StackelbergPolicy.from_module(team_of("commitment"))
    policy.arrays["commitment"] = 1.0 - policy.arrays["commitment"]
    policy.save(tmp_path / "changed")
    with pytest.raises(DamagedFile, match="another one than its SHA-256"):
        StackelbergPolicy.load(tmp_path / "changed")


@pytest.mark.slow
def test_onnx_draws_too_and_names_its_commitment(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    _, policy, state = mixed(True, tmp_path)
    leader, follower = policy.agents
    policy.export_onnx(tmp_path / "all.onnx")
    session = runtime.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["commitment"] == policy.description.commitment.sha256
    uniform = np.random.default_rng(0).random(ROWS)
    action, answer = session.run(None, {"state": state, f"uniform_{leader}": uniform.astype(np.float32)})
    joint = policy.act(state, rng=np.random.default_rng(0))
    same = action == joint[leader]
    assert same.mean() > 0.999
    np.testing.assert_array_equal(answer[same], joint[follower][same])
