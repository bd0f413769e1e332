"""Numbers that are not finite stop training at once, and say whose they are."""

import numpy as np
import pytest
import torch

from rllib_biac.algorithms.biac import BiAC
from rllib_biac.algorithms.bilevel_q import BiLevelQ
from rllib_biac.algorithms.dqn import IDQN
from rllib_biac.learning.diverged import Diverged, check_weights
from rllib_biac.learning.model_config import MODEL_DEFAULTS
from tests.games import TwoStates
from tests.training import Run

LEADS = [["one"], ["two"]]


def trained(algorithm=BiAC, **settings):
    run = Run(algorithm, TwoStates, LEADS if algorithm is not IDQN else [["one", "two"]], **settings).train(60)
    return run, run.replay.sample(64).columns


@pytest.mark.parametrize(("network", "agent"), [("critic", "one"), ("actor", "two"), ("critic_target", "two")])
def test_a_weight_is_named(network, agent):
    run, rows = trained()
    check_weights(run.team)
    with torch.no_grad():
        next(iter(getattr(run.team[agent], network).parameters())).view(-1)[3] = torch.nan
    with pytest.raises(Diverged, match=r"after \d+ updates, of \w+, [\w.]+ holds"):
        run.trainer.train(rows, minibatch_size=32)
    with pytest.raises(Diverged, match="smaller lr"):
        check_weights(run.team)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("algorithm", [BiAC, IDQN, BiLevelQ])
def test_a_target_is_named(algorithm):
    """Rewards that are finite by themselves, and not any more once they are learned from."""
    run, rows = trained(algorithm, **({"model_config": MODEL_DEFAULTS} if algorithm is BiLevelQ else {}))
    before = run.weights()
    rows = dict(rows) | {("rewards", "one"): np.full(64, np.inf, np.float32)}
    with pytest.raises(Diverged, match=r"after \d+ updates, .*\bone\b"):
        run.trainer.train(rows, minibatch_size=32)
    assert before.keys() == run.weights().keys()


def test_a_loss_is_named():
    run, rows = trained()
    differentiate = run.trainer.losses.differentiate

    def infinite(batch, *, told=True):
        losses = differentiate(batch, told=told)
        return losses | {("two", "qf_loss"): torch.tensor(torch.inf)}

    run.trainer.losses.differentiate = infinite
    with pytest.raises(Diverged, match="qf_loss of two is inf"):
        run.trainer.train(rows, minibatch_size=32)


def test_large_weights_stop_it_before_they_are_infinite():
    run, rows = trained()
    with torch.no_grad():
        next(iter(run.team["two"].actor.parameters())).mul_(1e22)
    with pytest.raises(Diverged, match=r"of two, actor[\w.]+ holds weights beyond"):
        run.trainer.train(rows, minibatch_size=32)
