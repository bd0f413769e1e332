"""Trained policies in anybody's program: each agent by itself, with numpy alone. Imports neither ray nor torch."""

from rllib_biac.execution.memory import Memory
from rllib_biac.execution.policy import AgentPolicy, StackelbergPolicy

__all__ = ["AgentPolicy", "Memory", "StackelbergPolicy"]
