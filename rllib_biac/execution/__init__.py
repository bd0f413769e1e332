"""Trained policies in anybody's program: each agent by itself, with numpy alone. Imports neither ray nor torch."""

from rllib_biac.execution.policy import AgentPolicy, StackelbergPolicy

__all__ = ["AgentPolicy", "StackelbergPolicy"]
