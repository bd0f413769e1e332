"""One Ray cluster for the whole session."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray():
    """Ray, started once: starting it costs seconds."""
    import ray

    from rllib_biac.cli.run import worker_env

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=worker_env())
    yield ray
    ray.shutdown()
