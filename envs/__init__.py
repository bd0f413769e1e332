"""Games to lead and follow in: PettingZoo `ParallelEnv`s and their batched forms. Imports neither ray nor torch."""

from rllib_biac.envs.adapters import adapt
from rllib_biac.envs.registry import game_ids, make, make_batched

__all__ = ["adapt", "game_ids", "make", "make_batched"]
