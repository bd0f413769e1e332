"""Training without Ray, for tests."""

import pickle
import random

import numpy as np
import torch

from rllib_biac.learning import run
from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.model_config import MODEL_DEFAULTS

SMALL = {
    "num_steps_sampled_before_learning_starts": 50,
    "train_batch_size_per_learner": 64,
    "training_intensity": None,
    "lr_fade": None,
    "spread_epsilon": False,
    "bound_values": False,
    "averaging": 0.0,
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


class Run(run.Run):
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
        own = checked(algorithm, hierarchy, **SMALL | settings)
        kwargs = {"seed": seed, "num_games": num_games, "env_config": env_config}
        super().__init__(algorithm, env, Hierarchy(hierarchy), own, **kwargs)

    def train(self, steps):
        """Plays so many env steps, and learns from replay in between; returns itself.

        Only generators of its own are drawn from: what else a program draws changes no run.
        """
        shared = shared_generators()
        super().train(steps)
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
