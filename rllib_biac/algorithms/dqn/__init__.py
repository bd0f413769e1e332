"""Independent deep Q-learning and its two variants for cooperation: hysteretic and lenient."""

from __future__ import annotations

from rllib_biac.algorithms.dqn.losses import HystereticDQNLosses, IDQNLosses, LenientDQNLosses
from rllib_biac.algorithms.dqn.settings import HystereticDQNSettings, IDQNSettings, LenientDQNSettings
from rllib_biac.algorithms.dqn.team import DQNTeam
from rllib_biac.algorithms.dqn.temperatures import Leniency
from rllib_biac.learning.algorithm import Algorithm

IDQN = Algorithm("IDQN", IDQNSettings, DQNTeam, IDQNLosses)
HystereticDQN = Algorithm("HystereticDQN", HystereticDQNSettings, DQNTeam, HystereticDQNLosses)
LenientDQN = Algorithm("LenientDQN", LenientDQNSettings, DQNTeam, LenientDQNLosses, own_columns=Leniency)
