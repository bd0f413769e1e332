"""Finite Markov games: what the tables mean, both forms, and by enumeration what the games made of tables claim."""

import itertools

import numpy as np
import pytest

from rllib_biac.envs import entry_deterrence_v0, grid_coordination_v0, make, make_batched, two_state_v0
from rllib_biac.envs.parallel_batch import ParallelEnvBatch

# Three states, two players of 2 and 3 actions: state and action decide where it goes, and whether it ends.
RNG = np.random.default_rng(7)
REWARDS = RNG.integers(-9, 10, (2, 3, 2, 3)).astype(float)
CHANCES = RNG.dirichlet(np.ones(4), (3, 2, 3))[..., :3]  # the fourth is the chance that the game ends
CERTAIN = np.eye(4)[RNG.integers(4, size=(3, 2, 3))][..., :3]
ONE_STATE = {"rewards": [[[[1, 2]]], [[[3, 4]]]], "transitions": [[[[1], [0]]]]}


def values(rewards, transitions, discount, policies):
    """Returns the values, (players, states), of one joint action per state, (states, players)."""
    states = np.arange(len(policies))
    follows = transitions[states, *policies.T]
    return np.linalg.solve(np.eye(len(states)) - discount * follows, rewards[:, states, *policies.T].T).T


def stage_solution(q):
    """Returns the joint action, player_0 leading, of q (2, |A_1|, |A_2|), and by how much everything else is worse."""
    answers = q[1].argmax(1)
    led = q[0, np.arange(len(answers)), answers]
    first = led.argmax()
    runner_up = np.sort(q[1], axis=1)
    margin = min(np.min(runner_up[:, -1] - runner_up[:, -2]), np.subtract(*np.sort(led)[[-1, -2]]))
    return (first, answers[first]), margin


def fixed_points(game):
    """Returns every joint play, one joint action per state, whose values fulfil the bi-level Bellman equation."""
    found = {}
    joint = list(itertools.product(*map(range, game.REWARDS.shape[2:])))
    for play in itertools.product(joint, repeat=game.REWARDS.shape[1]):
        value = values(game.REWARDS, game.TRANSITIONS, game.DISCOUNT, np.array(play))
        q = game.REWARDS + game.DISCOUNT * np.moveaxis(game.TRANSITIONS @ value.T, -1, 0)
        solutions = [stage_solution(q[:, state]) for state in range(len(play))]
        if tuple(solution for solution, _ in solutions) == play:
            assert min(margin for _, margin in solutions) > 0, "a tie: the solution is not unique"
            found[play] = value
    return found


def commitments(game):
    """Returns for every leader policy, one action per state, the values when the follower answers it best."""
    _, states, leads, follows = game.REWARDS.shape
    answered = {}
    for leader in itertools.product(range(leads), repeat=states):
        plays = {
            follower: values(game.REWARDS, game.TRANSITIONS, game.DISCOUNT, np.array([leader, follower]).T)
            for follower in itertools.product(range(follows), repeat=states)
        }
        best = max(plays, key=lambda follower: plays[follower][1, 0])
        answered[leader] = best, plays[best][:, 0]
    return answered


def test_tables_are_played_as_written():
    game = make("markov_game_v0", rewards=REWARDS, transitions=CERTAIN, horizon=50)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(20):
        game.reset()
        state = 0
        while game.agents:
            joint = tuple(int(a) for a in rng.integers([2, 3]))
            observations, rewards, terminated, truncated, infos = game.step(dict(zip(game.agents, joint, strict=True)))
            assert tuple(rewards.values()) == tuple(REWARDS[:, state, *joint])
            following = CERTAIN[state, *joint]
            np.testing.assert_array_equal(observations["player_1"], following)  # one-hot, or zeros at the end
            np.testing.assert_array_equal(game.state(), following)
            assert terminated["player_0"] == (not following.any()) and not truncated["player_0"]
            if following.any():
                state = following.argmax()
            else:
                ended += 1
                assert infos["player_1"]["outcome"] == "-".join(map(str, joint))
    assert ended == 20


def test_truncation_names_a_timeout():
    game = make("markov_game_v0", **ONE_STATE, horizon=3)
    game.reset()
    for step in range(3):
        observations, _, terminated, truncated, infos = game.step({"player_0": 0, "player_1": 0})
        assert not terminated["player_0"] and truncated["player_0"] == (step == 2)
        assert observations["player_0"] == [1.0]
    assert infos["player_0"]["outcome"] == "timeout"
    game.reset()
    for action in (0, 0, 1):  # ends in the very last step
        _, _, terminated, truncated, infos = game.step({"player_0": 0, "player_1": action})
    assert terminated["player_0"] and not truncated["player_0"] and infos["player_0"]["outcome"] == "0-1"


def test_chances_are_those_of_the_tables():
    n = 40_000
    start = np.array([0.2, 0.3, 0.5])
    game = make_batched(
        "markov_game_v0", n, np.random.default_rng(0), rewards=REWARDS, transitions=CHANCES, start=start
    )
    game.reset()
    first = game.state()
    np.testing.assert_allclose(first.mean(0), start, atol=0.01)
    step = game.step({"player_0": np.ones(n, int), "player_1": np.full(n, 2)})
    for state in range(3):
        here = first[:, state] == 1
        np.testing.assert_allclose(game.state()[here].mean(0), CHANCES[state, 1, 2], atol=0.02)
        np.testing.assert_allclose(step.terminated[here].mean(), 1 - CHANCES[state, 1, 2].sum(), atol=0.02)


def test_both_forms_draw_the_same_chances():
    kwargs = {"rewards": REWARDS, "transitions": CHANCES, "start": [0.5, 0.25, 0.25], "horizon": 4}
    plain, batch = (
        make("markov_game_v0", **kwargs),
        make_batched("markov_game_v0", 1, np.random.default_rng(3), **kwargs),
    )
    plain.np_random = np.random.default_rng(3)
    plain.reset()
    rng = np.random.default_rng(4)
    for _ in range(200):
        np.testing.assert_array_equal(batch.state()[0], plain.state())
        joint = {agent: int(rng.integers(space.n)) for agent, space in batch.action_spaces.items()}
        step = batch.step({agent: np.array([action]) for agent, action in joint.items()})
        _, rewards, terminated, truncated, _ = plain.step(joint)
        assert [step.terminated[0], step.truncated[0]] == [terminated["player_0"], truncated["player_0"]]
        assert {agent: reward[0] for agent, reward in step.rewards.items()} == rewards
        if not plain.agents:
            batch.reset()
            plain.reset()


@pytest.mark.parametrize(
    ("game", "kwargs"),
    [
        ("markov_game_v0", {"rewards": REWARDS, "transitions": CERTAIN, "horizon": 3}),
        ("two_state_v0", {"horizon": 4}),
        ("entry_deterrence_v0", {}),
        ("grid_coordination_v0", {"horizon": 6}),
    ],
)
def test_batched_form_equals_plain_form(game, kwargs):
    n, steps = 40, 30
    batch = make_batched(game, n, np.random.default_rng(0), **kwargs)
    plain = ParallelEnvBatch(lambda: make(game, **kwargs), n, np.random.default_rng(0))
    rng, done, seen = np.random.default_rng(1), None, set()
    for step in range(steps):
        for form in (batch, plain):
            form.reset(done)
            if step == 2:  # games that are restarted half-way run out of step with the others
                form.reset(np.arange(n) % 2 == 0)
        actions = {agent: rng.integers(space.n, size=n) for agent, space in batch.action_spaces.items()}
        ours, theirs = batch.step(actions), plain.step(actions)
        for agent in batch.possible_agents:
            np.testing.assert_array_equal(ours.rewards[agent], theirs.rewards[agent])
            np.testing.assert_array_equal(batch.observe()[agent], plain.observe()[agent])
        np.testing.assert_array_equal(batch.state(), plain.state())
        np.testing.assert_array_equal(ours.terminated, theirs.terminated)
        np.testing.assert_array_equal(ours.truncated, theirs.truncated)
        names = [None if o < 0 else batch.outcome_names[o] for o in ours.outcome]
        assert names == [None if o < 0 else plain.outcome_names[o] for o in theirs.outcome]
        seen.update(names)
        done = ours.terminated | ours.truncated
    assert seen - {None} <= set(batch.outcome_names)


def test_a_game_that_is_over_stays_over():
    game = make_batched("entry_deterrence_v0", 2, np.random.default_rng(0))
    out = {"player_0": np.zeros(2, int), "player_1": np.zeros(2, int)}
    game.step(out)
    step = game.step(out)
    assert step.terminated.all() and not step.rewards["player_0"].any() and not game.state().any()


def test_a_matrix_game_is_a_markov_game_of_one_state():
    payoffs = np.arange(12.0).reshape(2, 2, 3)
    game = make("markov_game_v0", rewards=payoffs[:, None], transitions=np.zeros((1, 2, 3, 1)))
    game.reset()
    _, rewards, terminated, _, infos = game.step({"player_0": 1, "player_1": 2})
    assert tuple(rewards.values()) == (5.0, 11.0) and terminated["player_0"]
    assert infos["player_0"]["outcome"] == "1-2"


@pytest.mark.parametrize("players", [1, 3])
def test_any_number_of_players(players):
    rewards = np.arange(players * 2 * 2**players).reshape(players, 2, *[2] * players)
    transitions = np.zeros((2, *[2] * players, 2))
    transitions[0, ..., 1] = 1
    game = make("markov_game_v0", rewards=rewards.tolist(), transitions=transitions.tolist())
    game.reset()
    for state in range(2):
        _, given, *_ = game.step(dict.fromkeys(game.possible_agents, 1))
        assert list(given.values()) == rewards[(slice(None), state, *[1] * players)].tolist()
    assert not game.agents


def test_what_is_seen_and_how_ends_are_called_can_be_given():
    game = make("markov_game_v0", **ONE_STATE, features=[[2.5, -1.0]], outcomes=[[["", "won"]]], start=[1.0])
    observations, _ = game.reset()
    np.testing.assert_array_equal(observations["player_0"], np.array([2.5, -1.0], np.float32))
    assert game.outcome_names == ["won", "timeout"]
    observations, *_, infos = game.step({"player_0": 0, "player_1": 1})
    assert infos["player_1"]["outcome"] == "won" and not observations["player_0"].any()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rewards": [[1, 2], [3, 4]]}, r"rewards must have the shape \(n players, \|S\|"),
        ({"rewards": [[[[1, 2]]]]}, "one table per player"),
        ({"rewards": [[[[1, 2]]], [[[3]]]]}, "unequal length"),
        ({"rewards": [[[["a", 2]]], [[[3, 4]]]]}, "not a number"),
        ({"rewards": [[[[1, float("inf")]]], [[[3, 4]]]]}, r"rewards must be finite.*\[0, 0, 0, 1\]"),
        ({"transitions": [[[1, 0]]]}, r"transitions must have the shape.*\(1, 1, 2, 1\)"),
        ({"transitions": [[[[1], [-0.5]]]]}, r"state 0 under the joint action \[0, 1\].*sum to 1"),
        ({"transitions": [[[[1.5], [0]]]]}, r"state 0 under the joint action \[0, 0\].*sum to 1"),
        ({"start": 1}, "start must be a state, 0 to 0, or 1 probabilities"),
        ({"start": -1}, "start must be a state"),
        ({"start": True}, "start must be a state"),
        ({"start": [0.5]}, "sum to 1"),
        ({"start": "first"}, "start must be numbers"),
        ({"horizon": 0}, "horizon must be a whole number"),
        ({"action_names": [["a"], ["b"]]}, "action_names"),
        ({"outcomes": [["", ""]]}, r"outcomes must be names of shape.*\(1, 1, 2\)"),
        ({"features": [[1], [2]]}, r"features must have shape \(1, d\)"),
    ],
)
def test_unfit_tables_are_refused_with_what_to_write(changed, says):
    with pytest.raises(ValueError, match=says):
        make("markov_game_v0", **{**ONE_STATE, **changed})


def test_other_unfit_arguments_are_refused():
    with pytest.raises(ValueError, match="num_games"):
        make_batched("two_state_v0", 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="horizon"):
        make("two_state_v0", horizon=2.5)
    game = make_batched("two_state_v0", 2, np.random.default_rng(0))
    for action in (-1, 2):
        with pytest.raises(ValueError):
            game.step({"player_0": np.zeros(2, int), "player_1": np.array([0, action])})


def test_two_state_is_the_paper_s():
    game = make("two_state_v0")
    stays = {(0, 0): (0, 0), (1, 1): (-1, -1)}
    ends = {(0, 1): (0, 10), (1, 0): (10, 0)}
    for joint, rewards in {**stays, **ends}.items():
        game.reset()
        observations, given, terminated, _, infos = game.step(dict(zip(game.agents, joint, strict=True)))
        assert tuple(given.values()) == rewards and terminated["player_0"] == (joint in ends)
        assert observations["player_0"] == [float(joint in stays)]
        assert infos["player_0"].get("outcome") == {(0, 1): "A-B", (1, 0): "B-A"}.get(joint)


def test_two_state_has_a_false_fixed_point():
    found = fixed_points(two_state_v0)
    assert {play: value[:, 0].tolist() for play, value in found.items()} == {
        ((0, 1),): [0.0, 10.0],  # (A, B), the false one
        ((1, 0),): [10.0, 0.0],  # (B, A)
    }
    whole = commitments(two_state_v0)
    assert max(whole, key=lambda leader: whole[leader][1][0]) == (1,)
    np.testing.assert_allclose(whole[1,][1], [10, 0])
    np.testing.assert_allclose(whole[0,][1], [0, 10])


def test_entry_deterrence_needs_commitment():
    """Both the best whole policy and the only fixed point, over all policies of both."""
    accommodate, fight, out, enter = 0, 1, 0, 1
    ((play, value),) = fixed_points(entry_deterrence_v0).items()
    assert play == ((accommodate, enter), (accommodate, enter))
    np.testing.assert_allclose(value[:, 0], [1.8, 0.9])

    whole = commitments(entry_deterrence_v0)
    best = max(whole, key=lambda leader: whole[leader][1][0])
    assert best == (accommodate, fight) and whole[best][0][0] == out
    np.testing.assert_allclose(whole[best][1], [4, 0])
    assert sorted(worth[0] for _, worth in whole.values())[-2] < 4, "another commitment is as good"


def test_entry_deterrence_names_what_became_of_the_market():
    game = make("entry_deterrence_v0")
    assert sorted(game.outcome_names) == ["deterred", "fought", "shared", "withdrawn"]
    for plays, outcome, rewards in (
        ([(0, 0)], "deterred", (4, 0)),
        ([(1, 0)], "deterred", (3, 0)),
        ([(0, 1), (0, 1)], "shared", (2, 1)),
        ([(0, 1), (1, 1)], "fought", (0, -2)),
        ([(1, 1), (0, 0)], "withdrawn", (4, -3)),
    ):
        game.reset()
        for joint in plays:
            _, given, *_, infos = game.step(dict(zip(game.possible_agents, joint, strict=True)))
        assert not game.agents and tuple(given.values()) == rewards
        assert infos["player_0"]["outcome"] == outcome


MOVES = {"stay": 0, "up": 1, "down": 2, "left": 3, "right": 4}


@pytest.mark.parametrize(
    ("first", "second", "outcome", "reward"),
    [
        (["right"], ["left"], "10", 10),
        (["down", "down", "right"], ["down", "down", "left"], "20", 20),
        (["right"] + 2 * ["down"], ["down", "left", "down"], "20", 20),
        (["right", "stay"], ["up", "left"], "10", 10),  # the edge stops player_1, player_0 waits
        (["right"] + 15 * ["stay"], 16 * ["right"], "timeout", 0),
        (["down", "up"] * 8, ["down", "up"] * 8, "timeout", 0),
    ],
)
def test_the_grid(first, second, outcome, reward):
    game = make("grid_coordination_v0")
    game.reset()
    for moves in zip(first, second, strict=True):
        assert game.agents, "over too soon"
        given = game.step({agent: MOVES[move] for agent, move in zip(game.agents, moves, strict=True)})
        if game.agents:
            assert set(given[1].values()) == {0.0} and given[0]["player_0"].sum() == 2
    assert not game.agents and set(given[1].values()) == {reward}
    assert {info["outcome"] for info in given[4].values()} == {outcome}


def test_the_grid_s_layout():
    game = make("grid_coordination_v0")
    observations, _ = game.reset()
    assert np.flatnonzero(observations["player_1"]).tolist() == [0, 9 + 2]
    game.step({"player_0": MOVES["down"], "player_1": MOVES["left"]})
    assert np.flatnonzero(game.state()).tolist() == [3, 9 + 1]


@pytest.mark.parametrize("discount", [0.9, grid_coordination_v0.DISCOUNT])
@pytest.mark.parametrize(("square", "steps", "worth"), [(1, 1, 10), (7, 3, 20)])
def test_both_squares_are_nash_and_the_far_one_stackelberg(discount, square, steps, worth):
    """The rewards are common, so that every fixed point of leader or follower is one of the best joint play."""
    rewards, transitions = grid_coordination_v0.REWARDS[0], grid_coordination_v0.TRANSITIONS
    np.testing.assert_array_equal(rewards, grid_coordination_v0.REWARDS[1])
    start = 0 * 9 + 2

    def towards(own):
        """Returns the move, rows first, of one that walks to the square and waits there."""
        row, column = divmod(own, 3)
        to_row, to_column = divmod(square, 3)
        if row != to_row:
            return MOVES["down" if row < to_row else "up"]
        return MOVES["stay"] if column == to_column else MOVES["right" if column < to_column else "left"]

    policies = np.array([[towards(state // 9), towards(state % 9)] for state in range(81)])
    value = values(rewards[None], transitions, discount, policies)[0]
    np.testing.assert_allclose(value[start], worth * discount ** (steps - 1))

    q = rewards + discount * transitions @ value  # (81, 5, 5)
    states = np.arange(81)
    # One step of policy improvement finds nothing, for neither of them, in no state: the play is a Nash equilibrium.
    assert (q.max(1)[states, policies[:, 1]] <= value + 1e-9).all()
    assert (q.max(2)[states, policies[:, 0]] <= value + 1e-9).all()

    best = np.zeros(81)
    for _ in range(400):
        best = (rewards + discount * transitions @ best).max((1, 2))
    assert best[start] == pytest.approx(20 * discount**2)
    assert (value[start] == pytest.approx(best[start])) == (worth == 20)
