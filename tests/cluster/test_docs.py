"""The cluster files on docs/cluster.md are what Ray takes, as far as a test without a cloud can tell."""

import re
from pathlib import Path

import pytest
import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
DOCUMENTS = [
    document
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    for document in yaml.safe_load_all(block)
]


@pytest.mark.parametrize("cluster", [each for each in DOCUMENTS if "cluster_name" in each])
def test_launchers_clusters_fit_rays_schema(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    for commands in (prepared["head_start_ray_commands"], prepared["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token ray start" in commands[-1]


def test_pods_find_their_volumes():
    kinds = {each["kind"]: each for each in DOCUMENTS if "kind" in each}
    assert kinds.keys() == {"PersistentVolumeClaim", "RayJob"}
    spec = kinds["RayJob"]["spec"]
    cluster = spec["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (volume,) = pod["volumes"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == kinds["PersistentVolumeClaim"]["metadata"]["name"]
        assert mount["name"] == volume["name"]
        assert f"--storage-path {mount['mountPath']} " in spec["entrypoint"]
