"""The zoo's games are what their families promise, by seed, and their answers are those of brute force."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs import make, make_batched
from rllib_biac.envs.zoo import FAMILIES, zoo_game
from rllib_biac.envs.zoo.answers import margin
from rllib_biac.envs.zoo.continuous import DRAWS
from rllib_biac.envs.zoo.doorways import HORIZON, doorway_answer
from rllib_biac.envs.zoo.game import DECIDED
from rllib_biac.equilibria import MarkovGame, feedback_se, iterate, stackelberg
from rllib_biac.equilibria.sets import set_margin

ONE_STEP = [name for name, family in FAMILIES.items() if family.group == "one-step"]
WITH_TABLES = [*ONE_STEP, "markov_one", "markov_several", "markov_none", "corridor_10", "corridor_back_10"]


def led(answer):
    """A game's tables, the leader first."""
    return MarkovGame(answer.rewards, answer.following, answer.gamma)


SLOW = ("markov_several",)  # several equilibria, and none that is a close call, are rare


@pytest.mark.parametrize("family", [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW)) for f in FAMILIES])
def test_a_game_is_its_family_and_seed(family):
    one, again, other = zoo_game(family, 3), zoo_game(family, 3), zoo_game(family, 4)
    assert (one.margin, one.about, one.hierarchy) == (again.margin, again.about, again.hierarchy)
    assert one.margin >= DECIDED
    assert sorted(itertools.chain(*one.hierarchy)) == sorted(one.game.possible_agents)
    if FAMILIES[family].group != "Merge":
        np.testing.assert_array_equal(one.answer.values, again.answer.values)
        np.testing.assert_array_equal(one.answer.random, again.answer.random)
        assert not np.array_equal(one.answer.random, other.answer.random)
    assert FAMILIES[family].doc.endswith(".")


def test_who_cannot_be_drawn():
    with pytest.raises(ValueError, match="unknown family 'norml': write one of normal, integer"):
        zoo_game("norml", 0)
    for seed in (-1, 0.5, True):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            zoo_game("normal", seed)


def right_by_definition(q):
    """The plays that some best answer to every row makes the leader's choice, by trying all such answers."""
    leads, follows = q
    best = [np.flatnonzero(row == row.max()) for row in follows]
    right = np.zeros(leads.shape, bool)
    for answers in itertools.product(*best):
        paid = leads[np.arange(len(best)), list(answers)]
        for a in np.flatnonzero(paid == paid.max()):
            right[a, answers[a]] = True
    return right


@pytest.mark.parametrize("family", ONE_STEP)
def test_one_step_answers(family):
    for seed in range(8):
        zoo = zoo_game(family, seed)
        leader = zoo.game.possible_agents.index(zoo.hierarchy[0][0])
        payoffs = zoo.game.payoffs if leader == 0 else zoo.game.payoffs[::-1].swapaxes(1, 2)
        np.testing.assert_allclose(zoo.answer.q[0, 0], payoffs, rtol=1e-11, atol=1e-12 * np.abs(payoffs).max())
        (right,) = zoo.answer.right[0]
        if np.prod([float((row == row.max()).sum()) for row in payoffs[1]]) < 10_000:
            np.testing.assert_array_equal(right, right_by_definition(payoffs))
        a, b = np.argwhere(right)[0]
        assert zoo.answer.values[0, 0] <= payoffs[0][right].max() and payoffs[1, a, b] == payoffs[1, a].max()
        np.testing.assert_allclose(zoo.answer.random, payoffs.mean((1, 2)))


def test_what_one_step_families_promise():
    for seed in range(8):
        outlier = zoo_game("outlier", seed)
        cost = -(10.0 ** (1 + seed % 4))
        assert (outlier.game.payoffs == cost).sum() == 2
        assert not (outlier.answer.right[0] & (outlier.answer.q[0, :, 0] == cost)).any()
        sparse = zoo_game("sparse", seed)
        assert sparse.answer.right.sum() == 1 and max(sparse.game.sizes) <= 30
        assert sorted(zoo_game("rectangular", seed).game.sizes) == [2, 40]
        assert (zoo_game("units", seed).game.payoffs < 0).all()
        noisy = zoo_game("noise_50", seed)
        decides = stackelberg(noisy.answer.q[0, 0]).margin
        assert noisy.game.noise == pytest.approx(0.5 * decides)
    assert any(zoo_game("integer", seed).answer.right.sum() > 1 for seed in range(8))


def test_noise_is_normal_and_the_means_are_the_table():
    zoo = zoo_game("noise_100", 0)
    games = make_batched("zoo_v0", 20_000, np.random.default_rng(0), family="noise_100", seed=0)
    games.reset()
    paid = games.step({agent: np.ones(20_000, int) for agent in games.possible_agents}).rewards
    for i, agent in enumerate(games.possible_agents):
        assert paid[agent].mean() == pytest.approx(zoo.game.payoffs[i, 1, 1], abs=5 * zoo.game.noise / 141)
        assert paid[agent].std() == pytest.approx(zoo.game.noise, rel=0.03)


def test_set_margin():
    rng = np.random.default_rng(0)
    games = rng.standard_normal((500, 2, 3, 4))
    np.testing.assert_allclose(set_margin(games), stackelberg(games).margin)
    for q in rng.integers(0, 4, (100, 2, 3, 3)).astype(float):
        decides = min(float(set_margin(q)), 10.0)
        right = right_by_definition(q)
        for _ in range(20):
            seen = stackelberg(q + 0.4999 * decides * rng.uniform(-1, 1, q.shape))
            assert right[int(seen.leader_action), int(seen.follower_action)]


@pytest.mark.parametrize("seed", [4, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4))])
def test_strata(seed):
    for name, counts in (("one", {1}), ("several", set(range(2, 1000))), ("none", {0})):
        zoo = zoo_game(f"markov_{name}", seed)
        solution = feedback_se(led(zoo.answer))
        assert len(solution) == len(zoo.answer) and len(solution) in counts
        for k in range(len(solution)):
            at = (k, np.arange(solution.leader_action.shape[1]))
            assert zoo.answer.right[*at, solution.leader_action[k], solution.follower_action[k]].all()
        np.testing.assert_allclose(zoo.answer.values[:, 0], solution.leader_value @ zoo.answer.start, atol=1e-9)
        assert 3 <= zoo.about["states"] <= 12


def test_either_player_leads():
    for family in ("normal", "corridor_10"):
        assert {zoo_game(family, seed).hierarchy[0] for seed in range(8)} == {("player_0",), ("player_1",)}


@pytest.mark.parametrize("family", ["corridor_10", "corridor_25", "corridor_100", "corridor_back_10"])
def test_corridors(family):
    zoo = zoo_game(family, 0)
    found = iterate(led(zoo.answer))
    assert found.period == 1
    np.testing.assert_allclose(zoo.answer.values[0], [found.leader_value[0, 0], found.follower_value[0, 0]], rtol=1e-9)
    assert zoo.answer.right.sum() == zoo.about["states"]  # forward, and nothing else
    assert zoo.about["horizon"] >= 5 * zoo.about["states"] and zoo.gamma >= 1 - 1 / zoo.about["states"]
    # Uniform play steps forward with probability 1/4 and else stays, or falls back.
    chances = zoo.answer.start
    for _ in range(zoo.about["horizon"]):
        chances = chances @ zoo.answer.following.mean((1, 2))
    arrived = 1 - chances.sum()
    assert arrived < 1e-3 if "back" in family else arrived > 0.95


def test_doorway_by_plain_recursion():
    zoo = zoo_game("doorway", 0)
    game, leader = zoo.game, zoo.game.possible_agents.index(zoo.hierarchy[0][0])
    values = {}
    for time in reversed(range(HORIZON)):
        now = {}
        for at in range(len(game.following)):
            q = np.empty((2, 5, 5))
            for lead, follow in itertools.product(range(5), repeat=2):
                joint = (lead, follow) if leader == 0 else (follow, lead)
                after = int(game.following[at, *joint])
                later = (0.0, 0.0) if after == game.over else values.get(after, (0.0, 0.0))
                for i, agent in enumerate((leader, 1 - leader)):
                    q[i, lead, follow] = game.rewards[agent, at, *joint] + zoo.gamma * later[i]
            q = q.round(9)
            answers = q[1].argmax(1)
            lead = int(q[0][np.arange(5), answers].argmax())
            now[at] = tuple(q[:, lead, answers[lead]])
        values = now
        if time < HORIZON - 8:
            break  # the last steps are enough to hold the recursion against
    expected = doorway_answer(game, leader)
    positions = len(game.following)
    found = np.take_along_axis(
        expected.q[0].reshape(HORIZON, positions, 2, 25)[HORIZON - 9],
        stackelberg_cells(expected.q[0].reshape(HORIZON, positions, 2, 5, 5)[HORIZON - 9])[:, None, None],
        -1,
    )[..., 0]
    np.testing.assert_allclose(found, [values[at] for at in range(positions)], atol=1e-7)


def stackelberg_cells(q):
    solution = stackelberg(q)
    return solution.leader_action * q.shape[-1] + solution.follower_action


def test_doorway_robots_take_turns():
    """The rules by hand: no two in one cell, no changing places, the door is the one way."""
    game = zoo_game("doorway", 1).game
    cells = game.done + 1
    one, other = np.divmod(np.arange(len(game.following)), cells)
    apart = (one != other) | (one == game.done)
    after = np.stack(np.divmod(game.following[apart], cells))
    assert ((after[0] != after[1]) | (after[0] == game.done)).all()
    swapped = (after[0] == other[apart][:, None, None]) & (after[1] == one[apart][:, None, None])
    assert not (swapped & (after[0] != after[1])).any()


@pytest.mark.parametrize("family", [*(f for f in WITH_TABLES if f not in SLOW), "doorway", *DRAWS])
def test_batched_is_plain(family):
    """From equal states equal actions pay the same, and come to the same states."""
    rng = np.random.default_rng(0)
    plain = make("zoo_v0", family=family, seed=2)
    batched = make_batched("zoo_v0", 3, rng, family=family, seed=2)
    noise = getattr(plain, "noise", 0.0)
    for episode in range(3):
        seen, _ = plain.reset(seed=episode)
        batched.reset()
        agents = plain.possible_agents
        assert batched.state().dtype == np.float32 and plain.state_space.contains(plain.state())
        while plain.agents:
            if family in DRAWS:
                batched.set_state({"seen": np.repeat(plain.state()[None], 3, 0)})
            elif "markov" in family:  # put where the plain one is: chance is drawn apart
                batched.set_state({"states": np.repeat(plain._state, 3), "time": np.full(3, plain._time)})
            assert all(np.array_equal(own, plain.state()) for own in seen.values())
            np.testing.assert_array_equal(batched.state(), np.repeat(plain.state()[None], 3, 0))
            actions = {agent: plain.action_spaces[agent].sample() for agent in agents}
            seen, rewards, terminated, truncated, _ = plain.step(actions)
            step = batched.step({agent: np.stack([np.asarray(actions[agent])] * 3) for agent in agents})
            for agent in agents:
                np.testing.assert_allclose(step.rewards[agent], rewards[agent], rtol=1e-5, atol=1e-6 + 10 * noise)
            if "markov" not in family:
                assert (step.terminated == terminated[agents[0]]).all()
            assert (step.truncated | step.terminated | ~np.array(truncated[agents[0]])).all()


def on_a_grid(game, z, level, size=41):
    """Plays a hierarchy of one number each by trying all of a grid: what the levels from `level` on come to."""
    if level == len(game.levels):
        return z
    (player,) = game.levels[level]
    tries = game.discrete.get(player, np.linspace(-1, 1, size))
    best = None
    for number in tries:
        own = z.copy()
        own[game.blocks[player]] = number
        own = on_a_grid(game, own, level + 1, size)
        paid = game.payoffs(own[None])[player, 0]
        if best is None or paid > best[0]:
            best = (paid, own)
    return best[1]


@pytest.mark.parametrize(
    ("family", "size", "near"),
    [
        ("lq_pair", 161, 0.03),
        ("lq_boundary", 81, 0.05),
        ("lq_two_peaks", 81, 0.05),
        ("lq_three", 25, 0.13),
        ("lq_discrete_leader", 161, 0.03),
        ("lq_discrete_follower", 161, 0.03),
    ],
)
def test_quadratic_games_by_grid(family, size, near):
    for seed in range(1 if family == "lq_three" else 2):
        zoo = zoo_game(family, seed)
        found = on_a_grid(zoo.game, zoo.answer.z[0] * (np.arange(len(zoo.answer.z[0])) == 0), 0, size)
        for block in zoo.game.blocks:
            np.testing.assert_allclose(found[block], zoo.answer.z[0][block], atol=near)


@pytest.mark.parametrize("family", ["lq_peers_below", "lq_peers_above", "lq_four", "lq_vector", "lq_context"])
def test_nobody_gains_by_another_action(family):
    """Deviations in actions, the levels below answering by best-response steps that know payoffs alone."""
    zoo = zoo_game(family, 1)
    game, rng = zoo.game, np.random.default_rng(0)

    def settle(z, level):
        """Lets the levels from `level` on answer, each player by Newton's step on its own payoff, until none moves."""
        if level >= len(game.levels):
            return z
        for _ in range(60):
            before = z.copy()
            for i in game.levels[level]:
                z = newton(z, i, level)
            if np.abs(z - before).max() < 1e-9:
                break
        return settle(z, level + 1)

    def paid(z, i, own, level):
        other = z.copy()
        other[game.blocks[i]] = own
        return game.payoffs(settle(other, level + 1)[None])[i, 0]

    def newton(z, i, level, h=0.1):
        """A quadratic payoff's maximum from central differences, which are exact for it."""
        own, size = z[game.blocks[i]].copy(), game.sizes[i]
        basis = h * np.eye(size)
        middle = paid(z, i, own, level)
        up, down = ([paid(z, i, own + sign * e, level) for e in basis] for sign in (1, -1))
        gradient = (np.array(up) - np.array(down)) / (2 * h)
        hessian = np.diag((np.array(up) + np.array(down) - 2 * middle) / h**2)
        for a, b in itertools.combinations(range(size), 2):
            both = paid(z, i, own + basis[a] + basis[b], level)
            hessian[a, b] = hessian[b, a] = (both - up[a] - up[b] + middle) / h**2
        z = z.copy()
        z[game.blocks[i]] = own - np.linalg.solve(hessian, gradient)
        return z

    z = zoo.answer.z[0]
    start = np.concatenate([z[: 1 + game.context], np.zeros(sum(game.sizes))])
    deep = len(game.levels) > 3
    found = z if deep else settle(start, 0)  # four levels of Newton's steps within each other take too long
    np.testing.assert_allclose(found, z, atol=1e-6)
    for _ in range(5):
        for level, players in enumerate(game.levels):
            if deep and level == 0:
                continue
            for i in players:
                own = z[game.blocks[i]]
                other = np.clip(own + rng.normal(0, 0.2, game.sizes[i]), -1, 1)
                assert paid(z, i, other, level) <= paid(z, i, own, level) + 1e-9


@pytest.mark.parametrize("family", ["lq_pair", "lq_context", "lq_two_peaks", "lq_discrete_leader", "lq_peers_above"])
def test_uniform_play_by_sampling(family):
    zoo = zoo_game(family, 0)
    rng, game = np.random.default_rng(0), zoo.game
    seen = np.repeat(zoo.answer.states, 200_000 // len(zoo.answer.states), 0)
    actions = {
        agent: rng.integers(space.n, size=len(seen))
        if hasattr(space, "n")
        else rng.uniform(-1, 1, (len(seen), *space.shape))
        for agent, space in game.action_spaces.items()
    }
    np.testing.assert_allclose(game.payoffs(game.numbers(seen, actions)).mean(1), zoo.answer.random, atol=0.02)


def test_margins_are_in_units_of_stage_payoffs():
    q = zoo_game("normal", 0).answer.q[0]
    assert margin(q * np.array([1e-6, 1e3])[:, None, None]) == pytest.approx(margin(q))
