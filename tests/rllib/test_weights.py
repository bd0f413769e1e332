"""Files of all networks: numbers are taken over only by networks that compute with them in the same way."""

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save
from torch import nn

from rllib_biac.files.damage import UNSEALED, DamagedFile, sealed
from rllib_biac.files.weights import _PERCEPTRONS, load_weights
from rllib_biac.rllib.reading import perceptrons, save_team
from tests.execution.teams import team_of


@pytest.mark.parametrize(
    ("saved", "loading", "written"),
    [
        ("commitment", "commitment, normalised layers", "false"),
        ("commitment, normalised layers", "commitment", "true"),
        ("tables, plain layers", "tables", "false"),
        ("tables", "tables, plain layers", "true"),
    ],
)
def test_networks_that_compute_otherwise_do_not_take_numbers_over(saved, loading, written, tmp_path):
    """Policies of tables describe no network, and networks of a user's own none at all; yet theirs are compared."""
    save_team(tmp_path / "weights.safetensors", team_of(saved), "BiAC")
    other = team_of(loading)
    with pytest.raises(ValueError, match=rf"Write model_config: \{{fcnet_rms_norm: {written}\}}"):
        load_weights(tmp_path / "weights.safetensors", other.weights(), perceptrons(other))
    same = team_of(saved)
    assert load_weights(tmp_path / "weights.safetensors", same.weights(), perceptrons(same)).keys() == set(same.agents)


def test_perceptrons_within_networks_of_the_users_own_count(tmp_path):
    def wrapped(case):
        team = team_of(case)
        for member in team.members().values():
            member.critic = nn.Sequential(member.critic)
        return team

    save_team(tmp_path / "weights.safetensors", wrapped("tables"), "BiAC")
    other = wrapped("tables, plain layers")
    with pytest.raises(ValueError, match="fcnet_rms_norm: true"):
        load_weights(tmp_path / "weights.safetensors", other.weights(), perceptrons(other))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}}", '{"main_0": [1]}', '{"main_0": [["relu"]]}', '{"main_0": null}', "[" * 9999]
)
def test_what_is_said_of_networks_may_be_damaged(text, tmp_path):
    team, file = team_of("tables"), tmp_path / "weights.safetensors"
    save_team(file, team, "BiAC")
    with safe_open(file, "np") as opened:
        about = opened.metadata()
    assert _PERCEPTRONS in about
    file.write_bytes(sealed(save(load_file(file), about | {_PERCEPTRONS: text, "seal": UNSEALED})))
    with pytest.raises(DamagedFile, match="how its networks compute cannot be read"):
        load_weights(file, team.weights(), perceptrons(team))
