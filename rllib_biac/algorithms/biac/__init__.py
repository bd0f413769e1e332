"""Bi-level Actor-Critic (Zhang et al., AAAI 2020): a leader that commits, a follower that best-responds.

One leader and one follower with discrete actions read like the paper in `team` and `losses`. Each variant is a file of
its own, which the plain form does not import: hierarchies of any depth and continuous actions (`levels_team`,
`levels_losses`), several hypotheses (`hypotheses_team`, `hypotheses_losses`), partial observability (`approximators`).
"""

from __future__ import annotations

from rllib_biac.algorithms.biac.settings import BiACSettings
from rllib_biac.learning.algorithm import Algorithm
from rllib_biac.learning.loading import load_object
from rllib_biac.learning.losses import Losses
from rllib_biac.learning.team import Team, TeamSpec


def _team(spec: TeamSpec) -> type[Team]:
    """Returns the kind of team that these spaces, and this hierarchy, ask for.

    Raises:
        ValueError: if the settings name networks of the user's own that do not fit.
    """
    settings = spec.settings
    assert isinstance(settings, BiACSettings)
    team: type[Team]
    if settings.information == "own":
        from rllib_biac.algorithms.biac.own_team import OwnTeam

        return OwnTeam
    if not (spec.one_leads_one and spec.discrete):
        from rllib_biac.algorithms.biac.levels_team import LevelsTeam

        team = LevelsTeam
    else:
        from rllib_biac.algorithms.biac.team import BiACTeam

        pair = BiACTeam
        if settings.num_hypotheses > 1:
            from rllib_biac.algorithms.biac.hypotheses_team import HypothesesTeam

            pair = HypothesesTeam
        elif settings.num_atoms > 1:
            from rllib_biac.algorithms.biac.histogram_losses import HistogramLosses
            from rllib_biac.algorithms.biac.histogram_team import HistogramTeam

            named = settings.losses_class
            own = load_object(named) if isinstance(named, str) else named
            if isinstance(own, type) and not issubclass(own, HistogramLosses):
                raise ValueError(
                    f"losses_class: {named!r} fits critics of one number per value: with num_atoms write a subclass of "
                    "rllib_biac.algorithms.biac.histogram_losses.HistogramLosses, or leave num_atoms out."
                )
            pair = HistogramTeam
        pair.agent_classes(settings)
        team = pair
    if settings.approximators:
        from rllib_biac.algorithms.biac.approximators import with_approximators

        team = with_approximators(team)
    return team


def _losses(spec: TeamSpec) -> type[Losses]:
    """Returns the losses of the team that `_team` returns."""
    settings = spec.settings
    assert isinstance(settings, BiACSettings)
    losses: type[Losses]
    if settings.information == "own":
        from rllib_biac.algorithms.biac.own_losses import OwnLosses

        return OwnLosses
    if not (spec.one_leads_one and spec.discrete):
        from rllib_biac.algorithms.biac.levels_losses import LevelsLosses

        losses = LevelsLosses
    elif settings.num_hypotheses > 1:
        from rllib_biac.algorithms.biac.hypotheses_losses import HypothesesLosses

        losses = HypothesesLosses
    elif settings.num_atoms > 1:
        from rllib_biac.algorithms.biac.histogram_losses import HistogramLosses

        losses = HistogramLosses
    else:
        from rllib_biac.algorithms.biac.known_gradient import KnownGradientLosses

        losses = KnownGradientLosses
    if settings.approximators:
        from rllib_biac.algorithms.biac.approximator_losses import with_approximator_losses

        losses = with_approximator_losses(losses)
    return losses


BiAC = Algorithm("BiAC", BiACSettings, _team, _losses)
