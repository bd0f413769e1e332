"""What is evaluated: a team, and the game it was trained in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_biac.learning.games import Game
from rllib_biac.learning.team import Team


@dataclass(frozen=True)
class Trained:
    """A trained team and its game.

    Attributes:
        team: its networks; its settings say what is seen and what discounts.
        env: the game: its id, `package.module:factory`, or a factory of PettingZoo `ParallelEnv`s.
        env_config: handed to the game.
        num_games: how many are played at once where somebody learns to deviate.
    """

    team: Team
    env: Game
    env_config: Mapping[str, Any] = field(default_factory=dict)
    num_games: int = 25
