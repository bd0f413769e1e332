"""Memory of tensors that come and go with every update."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's `M_…`, of mallopt(3)
_KEPT = 64 * 2**20  # bytes that are kept at most at the end of a heap
_LARGE = 8 * 2**20  # blocks from here on are mapped one by one, as with glibc's own 128 kB and more
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep some of the memory it frees, for it is asked for again by the next update.

    glibc gives blocks of some 100 kB back to the system, and gets them anew page by page, which takes time from
    every update of small networks.

    Returns:
        Whether it does so from now on: not with another library than glibc, and not where the user has chosen.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _USERS_OWN):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
