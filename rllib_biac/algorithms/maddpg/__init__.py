"""MADDPG (Lowe et al. 2017), and MATD3 (Ackermann et al. 2019): twin critics, target smoothing, delayed policies."""

from __future__ import annotations

from rllib_biac.algorithms.maddpg.losses import MADDPGLosses, MATD3Losses
from rllib_biac.algorithms.maddpg.settings import MADDPGSettings, MATD3Settings
from rllib_biac.algorithms.maddpg.team import MADDPGTeam, MATD3Team
from rllib_biac.learning.algorithm import Algorithm

MADDPG = Algorithm("MADDPG", MADDPGSettings, MADDPGTeam, MADDPGLosses)
MATD3 = Algorithm("MATD3", MATD3Settings, MATD3Team, MATD3Losses)
