"""Training without Ray, for tests: a sampler, a replay buffer and a trainer in one loop."""

import pickle
import random

import numpy as np
import torch

from rllib_biac.learning.games import make_games
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.learning.sampler import Sampler
from rllib_biac.learning.settings import MODEL_DEFAULTS

SMALL = {
    "num_steps_sampled_before_learning_starts": 50,
    "training_intensity": None,
    "model_config": MODEL_DEFAULTS | {"fcnet_hiddens": [32, 32]},
}


def checked(algorithm, hierarchy, *, num_learners=1, **settings):
    """Returns an algorithm's settings; refuses them as `rllib run` does."""
    own = algorithm.settings(**settings)
    own.check(Hierarchy(hierarchy), num_learners)
    return own


def shared_generators():
    """Returns where the generators stand that everybody in a process shares."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()


class Run:
    """A team in its game, and all that trains it.

    Args:
        algorithm: of `rllib_biac.algorithms`.
        env: the game: an id, or a factory.
        hierarchy: levels of agents, top first.
        seed: of all that is drawn.
        num_games: that are played at once.
        env_config: handed to the game.
        settings: the algorithm's; what is left out is `SMALL`.
    """

    def __init__(self, algorithm, env, hierarchy, *, seed=0, num_games=10, env_config=None, **settings):
        self.settings = checked(algorithm, hierarchy, **SMALL | settings)
        streams = np.random.SeedSequence(seed).spawn(2)
        games = make_games(env, num_games, np.random.default_rng(streams[0]), dict(env_config or {}))
        self.generator = torch.Generator().manual_seed(int(streams[1].generate_state(1)[0]))
        self.sampler = Sampler(games, self.settings, self.generator, 100)
        torch.manual_seed(seed)
        self.team = algorithm.build_team(self.sampler.state.team_spec(Hierarchy(hierarchy), self.settings))
        self.trainer = algorithm.build_trainer(self.team, seed=seed)
        self.sampler.team = self.team
        self.replay = JointReplayBuffer(self.settings.replay_buffer_config["capacity"], seed)
        self.own_columns = algorithm.own_columns and algorithm.own_columns(self.team.spec, seed)
        self.rows_to_train = 0.0

    def train(self, steps):
        """Plays so many env steps, and learns from replay in between; returns itself.

        Only generators of its own are drawn from: what else a program draws changes no run.
        """
        shared = shared_generators()
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
        np.testing.assert_equal(shared_generators(), shared)
        return self

    def update(self, rows, size=None):
        """Learns from joint transitions; returns what the trainer reports."""
        self.trainer.train(rows.columns, minibatch_size=size)
        return self.trainer.take_report()

    def minibatch(self, rows):
        """Returns joint transitions as losses see them."""
        tensors = self.trainer.as_tensors(rows.columns)
        return tensors | self.trainer.losses.more_columns(tensors)

    def learned(self):
        """Returns what `take_over` needs of weights and trainer, as it comes back from a file."""
        return pickle.loads(pickle.dumps({"weights": self.team.weights(), "trainer": self.trainer.get_state()}))

    def take_over(self, learned):
        """Goes on from what another run's `learned()` returned; returns itself."""
        load_weights(self.team, learned["weights"])
        self.trainer.set_state(learned["trainer"])
        return self

    def weights(self):
        """Returns copies of all weights and normalisers, "agent/name" -> tensor."""
        weights = self.team.weights()
        return {f"{agent}/{name}": torch.as_tensor(v) for agent, own in weights.items() for name, v in own.items()}


def train(algorithm, env, hierarchy, steps, **settings):
    """Trains for so many env steps; arguments as for `Run`, which is returned."""
    return Run(algorithm, env, hierarchy, **settings).train(steps)


def load_weights(team, weights):
    """Gives a team weights that another one's `weights()` returned."""
    for name, member in team.members().items():
        member.load_state_dict({key: torch.as_tensor(values) for key, values in weights[name].items()})


def differ(one, other):
    """Tells whether any of the tensors differ."""
    return any(not torch.equal(one[key], other[key]) for key in one)
