"""What replay and networks will take, and what a machine or a container has left."""

import pytest

from rllib_biac.learning.memory import available_bytes, networks_bytes, replay_bytes
from rllib_biac.learning.replay import JointReplayBuffer
from rllib_biac.rllib.idqn import IDQN
from tests.games import Masked, sampler_of

GB = 2**30


@pytest.mark.parametrize(
    "make",
    [
        lambda: sampler_of("escape_v0"),
        lambda: sampler_of("merge_v0", [["main_0"], ["auxiliary_0"]]),
        lambda: sampler_of(Masked),
        lambda: sampler_of("merge_v0", [["main_0", "auxiliary_0"]], algorithm=IDQN.config_class.algorithm),
        lambda: sampler_of("stackelberg_duopoly_v0", [["firm_0"], ["firm_1"]], approximators=True),
    ],
    ids=["escape", "merge", "masks", "observations", "continuous, approximators"],
)
def test_replay_takes_what_was_said(make):
    sampler = make()
    replay = JointReplayBuffer(1000)
    replay.add(sampler.sample(40))
    assert sum(column.nbytes for column in replay.columns.values()) == replay_bytes(sampler.team.spec, 1000)


def test_networks_take_what_adam_holds():
    team = sampler_of("escape_v0").team
    sizes = [p.nbytes for p in team.parameters() if p.requires_grad]
    assert networks_bytes(team) >= 4 * sum(sizes) > 0


def machine(root, free, groups, lines):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(lines)
    for folder, files in groups.items():
        (root / "sys/fs/cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / "sys/fs/cgroup" / folder / name).write_text(f"{text}\n")


def test_a_containers_limit_counts(tmp_path):
    """Of version 2: the group itself has no limit, the one above it has; pages of files can be dropped."""
    above = {"memory.max": 4 * GB, "memory.current": 3 * GB, "memory.stat": f"anon 1\ninactive_file {GB}\n"}
    own = {"memory.max": "max", "memory.current": GB}
    machine(tmp_path, 8 * GB, {"job": above, "job/task": own}, "0::/job/task\n")
    assert available_bytes(tmp_path) == 2 * GB


def test_a_containers_limit_of_version_1(tmp_path):
    root = {"memory.limit_in_bytes": 2 * GB, "memory.usage_in_bytes": GB // 2}
    machine(tmp_path, 8 * GB, {"memory": root}, "4:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/x\n")
    assert available_bytes(tmp_path) == 3 * GB // 2


def test_without_a_limit_it_is_what_the_machine_has(tmp_path):
    machine(tmp_path, 8 * GB, {"": {"memory.max": "max", "memory.current": GB}}, "0::/\n")
    assert available_bytes(tmp_path) == 8 * GB
    assert available_bytes() > 0
    assert available_bytes(tmp_path / "nowhere") is None
