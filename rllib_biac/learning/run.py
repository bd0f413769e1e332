"""Training in one process, as RLlib's shell does it and without Ray: a sampler, a replay buffer and a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.games import Game, as_seen, make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.sampler import Sampler
from rllib_biac.learning.settings import Settings


class Run:
    """A team in its game, and all that trains it.

    Only generators of its own are drawn from, but for torch's, which is seeded while the team is built.

    Args:
        algorithm: of `rllib_biac.algorithms`.
        env: the game: an id, or a factory.
        hierarchy: levels of agents, top first.
        settings: the algorithm's, checked.
        seed: of all that is drawn.
        num_games: that are played at once.
        env_config: handed to the game.

    Attributes:
        team: who plays.
        trainer, replay, sampler: what trains it.
        finished: what came of the algorithm's `finish`, by name; empty before.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        env: Game,
        hierarchy: Hierarchy,
        settings: Settings,
        *,
        seed: int = 0,
        num_games: int = 25,
        env_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        streams = np.random.SeedSequence(seed).spawn(3)
        env = as_seen(env, settings.history, settings.state)
        self._algorithm, self._game = algorithm, (env, dict(env_config or {}))
        self._finishing = streams[2]
        games = make_games(env, num_games, np.random.default_rng(streams[0]), dict(env_config or {}))
        self.generator = torch.Generator().manual_seed(int(streams[1].generate_state(1)[0]))
        self.sampler = Sampler(games, settings, self.generator, 100)
        torch.manual_seed(seed)
        self.team = algorithm.build_team(self.sampler.state.team_spec(hierarchy, settings))
        self.trainer = algorithm.build_trainer(self.team, seed=seed)
        self.sampler.team = self.team
        self.replay = JointReplayBuffer(settings.replay_buffer_config["capacity"], seed)
        self.own_columns = algorithm.own_columns and algorithm.own_columns(self.team.spec, seed)
        self.rows_to_train = 0.0
        self.finished: dict[str, float] = {}

    @property
    def env_steps(self) -> int:
        """Env steps played so far."""
        return self.sampler.env_steps

    def train(self, steps: int) -> Run:
        """Plays so many env steps, and learns from replay in between; returns itself."""
        size, played = self.settings.train_batch_size_per_learner, 0
        while played < steps:
            rows = self.sampler.sample(self.sampler.num_games)
            self.replay.add(self.own_columns(rows) if self.own_columns else rows)
            played += len(rows)
            if self.replay.num_added < self.settings.num_steps_sampled_before_learning_starts:
                continue
            self.rows_to_train += len(rows) * (self.settings.training_intensity or size)
            if updates := int(self.rows_to_train // size):
                self.rows_to_train -= updates * size
                drawn = self.replay.sample(updates * size)
                self.trainer.train(drawn.columns, minibatch_size=size, env_steps=self.sampler.env_steps, report=False)
            if self.team.is_due(self.sampler.env_steps):
                played += self._finish()
        return self

    def _finish(self) -> int:
        assert self._algorithm.finish is not None, "a team that is due belongs to an algorithm that finishes"
        env, config = self._game
        games = make_games(env, self.team.games_to_finish, np.random.default_rng(self._finishing), config)
        self.finished = self._algorithm.finish(self.team, games, self.generator)
        games.close()
        self.sampler.env_steps += int(self.finished["env_steps"])
        return int(self.finished["env_steps"])
