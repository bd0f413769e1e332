"""The market: profits, quantities, the known answers by nested search, and what is refused."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from rllib_biac.envs import make, make_batched
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from rllib_biac.envs.stackelberg_duopoly_v0 import equilibrium


def sell(game, *actions):
    game.reset()
    actions = [a if isinstance(a, int) else np.array([a], np.float32) for a in actions]
    return game.step(dict(zip(game.possible_agents, actions, strict=True)))


def answers(above, firms, price, cost):
    """Returns what the firms from `len(above)` on sell, each best against the answers to it: numbers, no formula."""
    if len(above) == firms:
        return []

    def loss(quantity):
        sold = [*above, quantity, *answers([*above, quantity], firms, price, cost)]
        return -(price(sum(sold)) - cost) * quantity

    best = minimize_scalar(loss, bounds=(0, 2), method="bounded", options={"xatol": 1e-6}).x
    return [best, *answers([*above, best], firms, price, cost)]


@pytest.mark.parametrize(
    ("firms", "market"),
    [(1, {}), (2, {}), (3, {}), (2, {"intercept": 3.0, "slope": 2.0, "cost": 0.5})],
)
def test_equilibrium_by_search(firms, market):
    intercept, slope, cost = (market.get(k, d) for k, d in (("intercept", 1.0), ("slope", 1.0), ("cost", 0.0)))
    searched = answers([], firms, lambda total: intercept - slope * total, cost)
    np.testing.assert_allclose(equilibrium(firms, **market), searched, atol=2e-3)


def test_the_equilibrium_of_two_and_three():
    np.testing.assert_array_equal(equilibrium(), [0.5, 0.25])
    np.testing.assert_array_equal(equilibrium(3, intercept=5, slope=2, cost=1), [1.0, 0.5, 0.25])
    _, profits, terminated, truncated, infos = sell(make("stackelberg_duopoly_v0"), *equilibrium())
    assert profits == {"firm_0": 0.125, "firm_1": 0.0625}
    assert all(terminated.values()) and not any(truncated.values()) and not any(infos.values())


def test_profits():
    game = make("stackelberg_duopoly_v0", firms=3, intercept=10, slope=2, cost=1)
    assert tuple(sell(game, 1.0, 0.5, 0.0)[1].values()) == (6.0, 3.0, 0.0)
    assert tuple(sell(game, 4.5, 1.0, 0.0)[1].values()) == (-9.0, -2.0, 0.0)  # no floor under the price
    together = make("stackelberg_duopoly_v0", firms=3, intercept=10, slope=2, cost=1, variant="cooperative")
    assert tuple(sell(together, 1.0, 0.5, 0.0)[1].values()) == (9.0, 9.0, 9.0)


def test_the_best_together_and_cournot():
    grid = np.linspace(0, 1, 101)
    both = {"firm_0": np.repeat(grid, 101)[:, None], "firm_1": np.tile(grid, 101)[:, None]}
    total = make("stackelberg_duopoly_v0", variant="cooperative").profits(both)["firm_0"].reshape(101, 101)
    assert total.max() == pytest.approx(1 / 4)
    best = np.argwhere(total > total.max() - 1e-9)
    np.testing.assert_allclose(grid[best].sum(1), 1 / 2)
    assert len(best) == 51

    third = {"firm_0": np.linspace(0, 1, 301)[:, None], "firm_1": np.full((301, 1), 1 / 3)}
    alone = make("stackelberg_duopoly_v0").profits(third)["firm_0"]
    assert alone.argmax() == 100  # 1/3 is the best answer to 1/3


def test_discrete_firms_among_continuous_ones():
    game = make("stackelberg_duopoly_v0", firms=3, discrete={"firm_0": 7, "firm_2": [0.0, 0.125, 0.1]})
    assert game.action_space("firm_0").n == 7 and game.action_space("firm_2").n == 3
    assert game.action_space("firm_1").shape == (1,) and game.action_space("firm_1").high == 1.0
    np.testing.assert_allclose(game.quantities["firm_0"], np.arange(7) / 6)
    _, profits, *_ = sell(game, 3, 0.25, 1)
    np.testing.assert_allclose(list(profits.values()), 0.125 * np.array([0.5, 0.25, 0.125]))


def solve(discrete, levels):
    """Returns the quantities of the equilibrium of two firms, firm_0 leading, by trying all of `levels` actions."""
    game = make("stackelberg_duopoly_v0", discrete=discrete)
    tried = {f: np.arange(n) if f in discrete else np.linspace(0, 1, n)[:, None] for f, n in levels.items()}
    first, second = tried.values()
    cells = {"firm_0": np.repeat(first, len(second), 0), "firm_1": np.concatenate([second] * len(first))}
    profits = [profit.reshape(len(first), len(second)) for profit in game.profits(cells).values()]
    response = profits[1].argmax(1)
    leader = profits[0][np.arange(len(first)), response].argmax()
    chosen = zip(levels, tried.values(), (leader, response[leader]), strict=True)
    return [game.quantities[f][i] if f in discrete else float(actions[i, 0]) for f, actions, i in chosen]


def test_mixed_hierarchies():
    assert solve({"firm_0": 7}, {"firm_0": 7, "firm_1": 401}) == [0.5, 0.25]
    assert solve({"firm_1": 65}, {"firm_0": 401, "firm_1": 65}) == pytest.approx([0.5, 0.25], abs=0.1)
    # With few quantities to answer by, the leader can keep the follower out.
    assert solve({"firm_0": 7, "firm_1": 5}, {"firm_0": 7, "firm_1": 5}) == pytest.approx([5 / 6, 0])


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"firms": 4, "intercept": 2.3, "slope": 0.7, "cost": 0.1},
        {"variant": "cooperative", "discrete": {"firm_1": 5}},
        {"firms": 3, "discrete": {"firm_0": [0.1, 0.9], "firm_1": 3, "firm_2": 2}},
    ],
)
def test_batched_form_equals_plain_form(kwargs):
    n = 50
    batch = make_batched("stackelberg_duopoly_v0", n, np.random.default_rng(0), **kwargs)
    plain = ParallelEnvBatch(lambda: make("stackelberg_duopoly_v0", **kwargs), n, np.random.default_rng(0))
    assert batch.action_spaces == plain.action_spaces and batch.observation_spaces == plain.observation_spaces
    for space in batch.action_spaces.values():
        space.seed(1)
    for _ in range(4):
        batch.reset()
        plain.reset()
        actions = {a: np.stack([space.sample() for _ in range(n)]) for a, space in batch.action_spaces.items()}
        ours, theirs = batch.step(actions), plain.step(actions)
        for firm in batch.possible_agents:
            np.testing.assert_array_equal(ours.rewards[firm], theirs.rewards[firm])
            np.testing.assert_array_equal(batch.observe()[firm], plain.observe()[firm])
        np.testing.assert_array_equal(batch.state(), plain.state())
        for array in ("terminated", "truncated", "outcome"):
            np.testing.assert_array_equal(getattr(ours, array), getattr(theirs, array))


def test_the_bounds_may_be_played_whatever_the_rounding():
    game = make("stackelberg_duopoly_v0", intercept=0.7, slope=3.0, cost=0.1)
    highest = game.action_space("firm_0").high
    game.reset()
    game.step({"firm_0": highest, "firm_1": np.zeros(1, np.float32)})


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"firms": 0}, "firms must be a whole number"),
        ({"firms": 2.0}, "firms must be a whole number"),
        ({"intercept": "high"}, "intercept must be a finite number"),
        ({"cost": float("nan")}, "cost must be a finite number"),
        ({"slope": 0}, "positive slope"),
        ({"cost": -1}, "cost of at least 0"),
        ({"cost": 1.0}, "intercept above the cost"),
        ({"variant": "collusive"}, "competitive, cooperative"),
        ({"discrete": {"firm_2": 3}}, "firm_0, firm_1.*{firm_0: 7}"),
        ({"discrete": 7}, "{firm_0: 7}"),
        ({"discrete": {"firm_0": 1}}, "at least 2"),
        ({"discrete": {"firm_0": True}}, "at least 2"),
        ({"discrete": {"firm_0": []}}, "a list of quantities"),
        ({"discrete": {"firm_0": [0.5, 1.5]}}, r"within \[0, 1\]"),
        ({"discrete": {"firm_0": ["much"]}}, "a list of quantities"),
    ],
)
def test_unfit_options_are_refused_with_what_to_write(kwargs, says):
    with pytest.raises(ValueError, match=says):
        make("stackelberg_duopoly_v0", **kwargs)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (np.full((2, 1), 1.5), r"firm_1: actions must be one quantity each, within \[0, 1\]"),
        (np.full((2, 1), -0.1), "firm_1"),
        (np.full((2, 1), np.nan), "firm_1"),
        (np.zeros(2), "firm_1"),
    ],
)
def test_actions_out_of_their_space_are_refused(action, says):
    batch = make_batched("stackelberg_duopoly_v0", 2, np.random.default_rng(0), discrete={"firm_0": 3})
    with pytest.raises(ValueError, match=says):
        batch.step({"firm_0": np.zeros(2, int), "firm_1": action})
    for wrong in (np.array([0, 3]), np.array([0, -1]), np.zeros(2)):
        with pytest.raises(ValueError, match="firm_0: actions must be whole numbers, 0 to 2"):
            batch.step({"firm_0": wrong, "firm_1": np.zeros((2, 1))})


def test_at_least_one_game():
    with pytest.raises(ValueError, match="num_games"):
        make_batched("stackelberg_duopoly_v0", 0, np.random.default_rng(0))
