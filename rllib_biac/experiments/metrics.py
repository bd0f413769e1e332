"""The metrics that a run reports. Stop criteria, schedulers and searchers may name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rllib_biac.rllib.hints import did_you_mean

_EPISODES = (
    *(f"episode_{what}_{how}" for what in ("return", "len") for how in ("mean", "min", "max")),
    "num_episodes_lifetime",
    "num_env_steps_sampled_lifetime",
)
_PER_AGENT = ("agent_episode_returns_mean", "module_episode_returns_mean", "num_agent_steps_sampled_lifetime")
# Metrics that only grow. A scheduler may count time with them.
TIMES = ("training_iteration", "num_env_steps_sampled_lifetime", "time_total_s")
# A name that ends in "/" is a group: an agent, a module or an outcome follows.
METRICS = (
    *TIMES,
    "num_training_step_calls_per_iteration",
    "time_since_restore",
    "iterations_since_restore",
    "done",
    *(f"env_runners/{name}" for name in _EPISODES),
    *(f"evaluation/env_runners/{name}" for name in _EPISODES),
    *(f"{prefix}env_runners/{group}/" for prefix in ("", "evaluation/") for group in (*_PER_AGENT, "outcome_share")),
    "evaluation/regret/response_regret",
    "evaluation/regret/leader_regret",
    "learners/",
)
_GROUPS = tuple(name for name in METRICS if name.endswith("/"))


def unreported(metric: Any, config: Any) -> str | None:
    """Returns the reason why a run with this config never reports a metric, None if it may report it.

    Args:
        metric: the metric, as the user wrote it.
        config: the experiment's `config:`, a mapping or an algorithm config.
    """
    settings = config if isinstance(config, dict) else {}
    # A callback may log its own metrics. We cannot know them before it runs.
    if not (metric in METRICS or str(metric).startswith(_GROUPS)) and "callbacks" not in settings:
        return f"unknown metric.{did_you_mean(metric, METRICS)}"
    if metric in _GROUPS:
        return f"this is a group of metrics; write one of the group, `{metric}...`."
    if str(metric).startswith("evaluation/") and isinstance(config, dict) and not config.get("evaluation_interval"):
        return "only evaluation reports this; write `evaluation_interval: 1` in `config:`."
    agents = _words(settings.get("hierarchy"))
    last = str(metric).rpartition("/")[2]
    if any(f"{group}/" in str(metric) for group in _PER_AGENT) and agents and last not in agents:
        return f"the hierarchy has no agent {last!r}.{did_you_mean(last, agents)}"
    return None


def _words(tree: Any) -> list[str]:
    """Returns all strings in a tree: the agents of a hierarchy, or of all hierarchies of a sweep."""
    if isinstance(tree, dict | list):
        return [word for branch in (tree.values() if isinstance(tree, dict) else tree) for word in _words(branch)]
    return [tree] if isinstance(tree, str) else []


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the numbers of a report, nested keys joined by `/`."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
