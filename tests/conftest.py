"""One Ray cluster for the whole session."""

import functools

import pytest
import torch

from tests.installs import install

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Says which tests one process has to run: those of a file, all that share the cluster, and all slow ones.

    What fixtures make once per session or module is so made once, and what kills processes runs alone.
    """
    for item in items:
        if item.get_closest_marker("slow"):
            together = "slow"
        else:
            together = next((name for name in ("ray", "installed") if name in item.fixturenames), str(item.path))
        item.add_marker(pytest.mark.xdist_group(together))


@pytest.fixture(scope="session")
def ray():
    """Ray, started once: starting it costs seconds."""
    import ray

    from rllib_biac.experiments.cluster import worker_env

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=worker_env())
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A function that installs a copy of the checkout once and returns that environment's Python."""
    return functools.cache(lambda kind: install(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session")
def refill(ray):
    """A function that has Ray start workers, until two idle ones have imported the library."""

    @ray.remote(num_cpus=0)
    def import_library():
        import rllib_biac.rllib.registry  # noqa: F401

    # Two of one kind would be run by one worker.
    kinds = [import_library.options(scheduling_strategy=strategy) for strategy in ("DEFAULT", "SPREAD")]
    asked = [kind.remote() for kind in kinds]

    def refill():
        _, unfinished = ray.wait(asked, num_returns=len(asked), timeout=0)
        if not unfinished:
            asked[:] = [kind.remote() for kind in kinds]

    return refill


@pytest.fixture(autouse=True)
def idle_workers(request):
    """Remote runners and trials move into idle workers: one that is started for them imports for seconds first."""
    if "ray" in request.fixturenames:
        request.getfixturevalue("refill")()
