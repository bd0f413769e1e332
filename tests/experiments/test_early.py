"""What a user mistakes most often is told before Ray and RLlib are loaded, with place and remedy."""

import pytest
from click.testing import CliRunner

from rllib_biac.cli.main import main

LEADS = "hierarchy: [[player_0], [player_1]]"
ESCAPE = "run: BiAC, env: escape_v0"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (f"run: , env: escape_v0, config: {{{LEADS}}}", "`run`: `run:` is missing"),
        (f"run: BiAK, env: escape_v0, config: {{{LEADS}}}", "unknown algorithm 'BiAK'. Did you mean 'BiAC'?"),
        (f"{ESCAPE}, config: {{{LEADS}, epsilonn: 0}}", "unknown key. Did you mean 'epsilon'?"),
        (
            f"{ESCAPE}, config: {{{LEADS}, num_env_runners: two}}",
            "`config: num_env_runners`: expected",
        ),
        (
            f"{ESCAPE}, config: {{{LEADS}, response: drawn}}",
            "`config: response`: expected 'greedy' or",
        ),
        (ESCAPE, "no hierarchy: write e.g. hierarchy: [['player_0'], ['player_1']]"),
        (
            f"{ESCAPE}, config: {{hierarchy: [[player_0], [player_2]]}}",
            "`config: hierarchy`: the hierarchy",
        ),
        (f"{ESCAPE}, config: {{hierarchy: [player_0, player_1]}}", "`config: hierarchy`: expected list"),
        (
            f"{ESCAPE}, config: {{{LEADS}, env_config: {{horizon: -1}}}}",
            "`config: env_config: horizon`: horizon",
        ),
        (
            f"{ESCAPE}, config: {{{LEADS}, env_config: {{size: 3}}}}",
            "unexpected keyword argument 'size'",
        ),
    ],
)
def test_it_is_told_before_ray_is_loaded(tmp_path, settings, said):
    (tmp_path / "mine.yaml").write_text(f"mine: {{{settings}}}")
    result = CliRunner().invoke(main, ["train", "file", str(tmp_path / "mine.yaml")])
    assert result.exit_code == 2 and said in result.output and "mine.yaml, line 1" in result.output
    assert "loading Ray" not in result.output
