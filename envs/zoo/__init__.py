"""The zoo: families of leader-follower games that nobody tuned for, drawn by seed, with exact answers beside them.

`zoo_game(family, seed)` draws a game; as `zoo_v0` with `env_config: {family: ..., seed: ...}` everything that plays
games plays it. `scoring` says what right play is. Imports neither ray nor torch.
"""

from rllib_biac.envs.zoo.answers import DiscreteAnswer
from rllib_biac.envs.zoo.families import FAMILIES, Family, zoo_game
from rllib_biac.envs.zoo.game import ZooGame

__all__ = ["FAMILIES", "DiscreteAnswer", "Family", "ZooGame", "zoo_game"]
