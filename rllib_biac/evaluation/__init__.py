"""How good trained play is: episodes, exact regrets, best responses that are learned. It takes teams and settings."""

from rllib_biac.evaluation.exact import regret
from rllib_biac.evaluation.greedy import greedy, greedy_on_observations
from rllib_biac.evaluation.play import Played, Start, play
from rllib_biac.evaluation.trained import Trained

__all__ = ["Played", "Start", "Trained", "greedy", "greedy_on_observations", "play", "regret"]
