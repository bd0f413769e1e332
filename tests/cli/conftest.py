"""The command with a stand-in for the algorithms, as the tests of experiments have it."""

from tests.experiments.conftest import rllib, started, write

__all__ = ["rllib", "started", "write"]
