"""Freed memory is kept for the next update, unless the user has chosen otherwise."""

import platform
import subprocess
import sys

import pytest

ASKED = """
import os, resource
import torch
from rllib_biac.learning.allocator import keep_freed_memory
kept = keep_freed_memory()
torch.empty(2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    torch.ones(2**18), torch.ones(2**18)  # 1 MB each
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize("own", [{}, {"MALLOC_MMAP_THRESHOLD_": "131072"}])
@pytest.mark.slow
def test_memory_is_not_asked_for_again_page_by_page(own):
    done = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, check=True, env={"OMP_NUM_THREADS": "1", **own}
    )
    kept, faults = done.stdout.split()
    assert kept == str(not own)
    assert (int(faults) < 5_000) is not bool(own)  # 102,400 pages of 4 kB where each block is mapped anew
