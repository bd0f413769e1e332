"""What an algorithm is: settings, a team, losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from rllib_biac.envs.batched import BatchedGame
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.losses import Losses
from rllib_biac.learning.settings import Settings
from rllib_biac.learning.team import Team, TeamSpec
from rllib_biac.learning.trainer import Trainer


@dataclass(frozen=True)
class Algorithm:
    """An algorithm, complete: everything else about it follows from this.

    Attributes:
        name: what a user writes after `run:`.
        settings: what it can be told.
        team: the kind of team, or a function from a spec to the kind that these spaces and this hierarchy ask for.
        losses: what that team learns by, or likewise a function.
        trainer: how it learns from joint transitions.
        own_columns: makes what adds columns to new rows on their way into replay; called with the spec and a seed.
        finish: does what is done once, by play, when the team `is_due`; called with the team, `games_to_finish` games
            and what draws. It returns what came of it by name, `env_steps` being those that were played.
    """

    name: str
    settings: type[Settings]
    team: type[Team] | Callable[[TeamSpec], type[Team]]
    losses: type[Losses] | Callable[[TeamSpec], type[Losses]]
    trainer: type[Trainer] = Trainer
    own_columns: Callable[[TeamSpec, int | None], Any] | None = None
    finish: Callable[[Any, BatchedGame, torch.Generator | None], dict[str, float]] | None = None

    def team_for(self, spec: TeamSpec) -> type[Team]:
        """Returns the kind of team that a game's spaces and the hierarchy ask for.

        Raises:
            ValueError: naming what the algorithm cannot do in this game, and what to write instead.
        """
        spec.settings.check_game(spec)
        return self.team if isinstance(self.team, type) else self.team(spec)

    def losses_for(self, spec: TeamSpec) -> type[Losses]:
        """Returns what a game's team learns by: the algorithm's losses, or those that the settings name.

        Raises:
            ValueError: if the settings name something else.
        """
        given = spec.settings.losses_class
        if given is None:
            return self.losses if isinstance(self.losses, type) else self.losses(spec)
        named = load_object(given) if isinstance(given, str) else given
        if not (isinstance(named, type) and issubclass(named, Losses)):
            raise ValueError(f"losses_class: {given!r} is no subclass of rllib_biac.learning.losses.Losses.")
        return named

    def build_team(self, spec: TeamSpec, *, seed: int | None = None) -> Team:
        """Builds the team of a game.

        Args:
            spec: of the game and the hierarchy.
            seed: of the initial weights; by default PyTorch's own generator draws them.
        """
        team = self.team_for(spec)
        if seed is None:
            return team(spec)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return team(spec)

    def build_trainer(self, team: Team, *, seed: int | None = None, num_learners: int = 1) -> Trainer:
        """Builds what trains a team; arguments as for `Trainer`."""
        return self.trainer(team, self.losses_for(team.spec), seed=seed, num_learners=num_learners)
