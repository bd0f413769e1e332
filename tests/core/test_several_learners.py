"""Several learners do together what one does on the joined minibatches."""

import numpy as np
import pytest
import tree

from rllib_biac.core.learner import shares_of_minibatches
from rllib_biac.core.transitions import JointTransitions
from tests.core.games import config


def trained(num_learners, rows_each):
    """Weights, optimizers and normalisers after 75 updates of 64 rows on uniformly random play."""
    configured = config(train_batch_size_per_learner=rows_each, training_intensity=16, normalize_observations=True)
    configured.env_runners(epsilon=1.0).learners(num_learners=num_learners, num_cpus_per_learner=0.5)
    algo = configured.build_algo()
    for _ in range(2):
        result = algo.train()
    state = algo.learner_group.get_state()["learner"]
    algo.stop()
    assert result["learners"]["__all_modules__"]["num_updates_lifetime"] > 50
    return dict(tree.flatten_with_path({key: state[key] for key in ("rl_module", "optimizer")})), state["joint_learner"]


def test_two_learners_are_one_on_the_joined_batch(ray):
    one, statistics = trained(0, 64)
    two, shared = trained(2, 32)
    assert one.keys() == two.keys()
    for key, value in one.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(np.asarray(two[key]), np.asarray(value), atol=1e-5, rtol=1e-4, err_msg=str(key))
    for agent, moments in statistics["targets"].items():
        assert moments["count"] == shared["targets"][agent]["count"]
        np.testing.assert_allclose(shared["targets"][agent]["mean"], moments["mean"], rtol=1e-9)
        np.testing.assert_allclose(shared["targets"][agent]["square"], moments["square"], rtol=1e-9)


@pytest.mark.parametrize("num_learners", [1, 2, 4])
def test_each_learner_gets_its_part_of_every_minibatch(num_learners):
    columns = {"terminated": np.zeros(24, bool), "at": np.arange(24), ("obs", "a"): np.arange(48).reshape(24, 2)}
    shares = shares_of_minibatches(JointTransitions(columns, 2), 3, num_learners)
    assert [len(share) for share in shares] == [24 // num_learners] * num_learners
    size = 8 // num_learners  # of its part
    for k in range(3):
        parts = [share.columns["at"][k * size : (k + 1) * size] for share in shares]
        assert sorted(np.concatenate(parts)) == list(range(8 * k, 8 * k + 8))
    for share in shares:
        np.testing.assert_array_equal(share.columns["obs", "a"][:, 0], 2 * share.columns["at"])
