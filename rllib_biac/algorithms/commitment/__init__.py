"""Learning to commit to a whole policy (Eq. 5), pure or mixed: one leader, one follower, few states.

Eq. 5 is a feedback Stackelberg equilibrium of a larger game: the leader's first move is its whole policy z; from then
on it only plays z, and z is part of the state. So the critics see the state and z.
"""

from __future__ import annotations

from rllib_biac.algorithms.commitment.choice import finish
from rllib_biac.algorithms.commitment.losses import CommitmentLosses
from rllib_biac.algorithms.commitment.settings import CommitmentDQNSettings
from rllib_biac.algorithms.commitment.team import CommitmentTeam
from rllib_biac.learning.algorithm import Algorithm

CommitmentDQN = Algorithm("CommitmentDQN", CommitmentDQNSettings, CommitmentTeam, CommitmentLosses, finish=finish)
