"""The tables of the tabular rows find the exact equilibrium."""

import pytest

from rllib_biac.reproduce import matrix_games


@pytest.mark.parametrize("game", ["escape", "maintain"])
def test_every_seed_ends_at_the_equilibrium(game):
    for seed in range(30):
        row = matrix_games.learn(**matrix_games.tabular_settings(game, seed))
        assert row["greedy"]["3000"]["name"] == matrix_games.equilibrium_of(game), seed
