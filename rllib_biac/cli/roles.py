"""`rllib compare-roles`: what the two agents of an experiment get if the one leads, and if the other does."""

from __future__ import annotations

import json
from typing import Any

import click
import numpy as np

from rllib_biac.cli.ticker import Ticker
from rllib_biac.evaluation.roles import Order
from rllib_biac.evaluation.roles import compare_roles as both_orders
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resolve import Experiment

_STEPS = "num_env_steps_sampled_lifetime"


def compare_roles(experiment: Experiment, steps: int | None, seeds: int, episodes: int) -> dict[str, Any]:
    """Trains an experiment's first trial in both orders, without Ray, beside exact values.

    Args:
        experiment: of two agents on two levels.
        steps: env steps of each run; None: those at which the experiment stops.
        seeds: runs of each order, from the experiment's own seed on.
        episodes: that are played of each run where the game has no tables.

    Returns:
        What `show` prints.

    Raises:
        Mistake: if there are not two agents of whom one leads, it is unknown how long to train, or the other order is
            refused.
    """
    config: Any = experiment.trials[0].config
    levels = [list(level) for level in config.levels]
    if [len(level) for level in levels] != [1, 1]:
        raise Mistake(
            f"{experiment.name}: the hierarchy is {levels!r}: roles are compared of two agents, one of whom leads the "
            "other: [[leader], [follower]]."
        )
    if steps is None:
        steps = experiment.stop.get(_STEPS)
    if not steps:
        raise Mistake(f"{experiment.name}: how long to train each order? Write --steps, or `stop: {{{_STEPS}: ...}}`.")
    for order in (levels, levels[::-1]):
        config = config.copy(copy_frozen=False)
        config.hierarchy(order)
        try:
            config.validate()
        except ValueError as error:
            raise Mistake(f"{experiment.name}, {order[0][0]} leading: {error}") from error
    first = config.seed or 0
    ticker = Ticker("learning both orders", "env steps")
    try:
        orders = both_orders(
            config.algorithm,
            config.settings(),
            config.game(),
            [level[0] for level in levels],
            env_config=config.env_config,
            steps=int(steps),
            seeds=range(first, first + seeds),
            episodes=episodes,
            num_games=config.num_envs_per_env_runner,
            progress=ticker,
        )
    finally:
        ticker.close()
    return {
        "experiment": experiment.name,
        "algorithm": config.algorithm.name,
        "gamma": config.gamma,
        "env_steps": int(steps),
        "seeds": list(range(first, first + seeds)),
        "learned": "discounted" if all(order.discounted for order in orders) else f"mean of {episodes} episodes",
        "orders": [_order(order) for order in orders],
    }


def _order(order: Order) -> dict[str, Any]:
    both = order.leader, order.follower
    exact = None
    if order.exact is not None:
        ends = [(worth.notion, (worth.leader, worth.follower)) for worth in order.exact]
        exact = {
            notion: {agent: list(map(float, own)) for agent, own in zip(both, values, strict=True)}
            for notion, values in ends
        }
    return {
        "leader": order.leader,
        "follower": order.follower,
        "exact": exact,
        "learned": dict(zip(both, order.mean, strict=True)),
        "each": [dict(zip(both, values, strict=True)) for values in order.learned],
    }


def show(found: dict[str, Any], as_json: bool) -> None:
    """Prints the results of `compare_roles` as a table, or as JSON."""
    if as_json:
        click.echo(json.dumps(found))
        return
    agents = list(found["orders"][0]["learned"])
    seeds = f"seed {found['seeds'][0]}" if len(found["seeds"]) == 1 else f"mean of {len(found['seeds'])} seeds"
    click.echo(f"{found['experiment']}: {found['algorithm']}, {found['env_steps']:,} env steps, {seeds}")
    rows = [["", "", *agents]]
    for order in found["orders"]:
        named = f"{order['leader']} leads"
        for notion, values in (order["exact"] or {}).items():
            rows.append([named, notion, *(_ends(values[agent]) for agent in agents)])
            named = ""
        rows.append([named, "learned", *(f"{order['learned'][agent]:.4g}" for agent in agents)])
    widths = np.array([[len(cell) for cell in row] for row in rows]).max(0)
    for row in rows:
        left = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        right = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        click.echo("  " + "  ".join([*left, *right]))
    exact = f"Exact values are discounted by {found['gamma']:g} a step, from the start."
    if all(order["exact"] is None for order in found["orders"]):
        exact = "Exact values are not known in this game."
    learned = "so are learned ones" if found["learned"] == "discounted" else f"learned ones: {found['learned']}"
    click.echo(f"{exact} {learned[0].upper()}{learned[1:]}.")


def _ends(values: list[float]) -> str:
    """Returns one number, or two where they differ in what is shown."""
    low, high = (f"{value:.4g}" for value in values)
    return low if low == high else f"{low} to {high}"
