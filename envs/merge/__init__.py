"""Highway Merge: two cars, one lane; who goes first? The game on highway-env, and N of them as arrays."""

from rllib_biac.envs.merge.batched import BatchedMerge
from rllib_biac.envs.merge.parallel import ParallelMerge

__all__ = ["BatchedMerge", "ParallelMerge"]
