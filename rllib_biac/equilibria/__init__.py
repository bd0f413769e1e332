"""Exact game theory, the oracle for every test: equilibria, margins and regrets. Imports numpy and scipy only."""

from rllib_biac.equilibria.accuracy import TooWideError
from rllib_biac.equilibria.best_commitment import BestCommitment, best_commitment
from rllib_biac.equilibria.commitment import Secured, secured
from rllib_biac.equilibria.decentralised import DecentralisedCommitment, decentralised_commitment, policy_value
from rllib_biac.equilibria.feedback import FeedbackSE, backward_induction, feedback_se
from rllib_biac.equilibria.hierarchy import HierarchySE, hierarchy_se, pure_nash_n
from rllib_biac.equilibria.markov import CommitmentSE, MarkovGame, commitment_se, cooperation_level, policy_game
from rllib_biac.equilibria.matrix import (
    StackelbergEquilibrium,
    leader_regret,
    pure_nash,
    response_regret,
    stackelberg,
)
from rllib_biac.equilibria.mixed import MixedCommitment, mixed_commitment
from rllib_biac.equilibria.quantal import QuantalResponse, quantal_commitment, quantal_response
from rllib_biac.equilibria.regret import (
    CommitmentRegret,
    NashComparison,
    PlayRegret,
    commitment_regret,
    compare_with_nash,
    play_regret,
)
from rllib_biac.equilibria.single_controller import single_controller_commitment
from rllib_biac.equilibria.value_iteration import Iteration, iterate

__all__ = [
    "BestCommitment",
    "CommitmentRegret",
    "CommitmentSE",
    "DecentralisedCommitment",
    "FeedbackSE",
    "HierarchySE",
    "Iteration",
    "MarkovGame",
    "MixedCommitment",
    "NashComparison",
    "PlayRegret",
    "QuantalResponse",
    "Secured",
    "StackelbergEquilibrium",
    "TooWideError",
    "backward_induction",
    "best_commitment",
    "commitment_regret",
    "commitment_se",
    "compare_with_nash",
    "cooperation_level",
    "decentralised_commitment",
    "feedback_se",
    "hierarchy_se",
    "iterate",
    "leader_regret",
    "mixed_commitment",
    "play_regret",
    "policy_game",
    "policy_value",
    "pure_nash",
    "pure_nash_n",
    "quantal_commitment",
    "quantal_response",
    "response_regret",
    "secured",
    "single_controller_commitment",
    "stackelberg",
]
