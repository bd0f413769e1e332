"""The solver of Highway Merge against its plain recursive form, and against what is known of the equilibrium."""

import numpy as np
import pytest

from rllib_biac.envs import make
from rllib_biac.envs.merge import rules
from rllib_biac.envs.merge.batched import start, step
from rllib_biac.envs.merge.exact import merge_equilibrium, outcome_shares, policy_outcomes
from rllib_biac.envs.merge.rules import PAPER, MergeRules

EFFECTIVE = ([rules.IDLE, rules.FASTER, rules.SLOWER], [rules.LANE_LEFT, rules.IDLE, rules.FASTER, rules.SLOWER])


def draw_starts(low, high, count, seed=0):
    main, auxiliary = np.random.default_rng(seed).uniform(low, high, (2, count))
    return np.column_stack([np.full(count, 215.0), main, np.full(count, 215.0), auxiliary])


def recursive(cars, lead, gamma, game=PAPER, effective=EFFECTIVE):
    """One joint action at a time: ((main's, auxiliary's value), outcome). `max` takes the first of equals."""

    def worth(own, other):
        pair = (own, other) if lead == 0 else (other, own)
        after, (outcome,), (rewards,) = step(cars, np.array(pair)[:, None], game)
        if outcome != rules.ONGOING:
            return rewards, outcome
        values, outcome = recursive(after, lead, gamma, game, effective)
        return rewards + gamma * values, outcome

    answered = [
        max((worth(own, other) for other in effective[1 - lead]), key=lambda found: found[0][1 - lead])
        for own in effective[lead]
    ]
    return max(answered, key=lambda found: found[0][lead])


STARTS = (
    [215.0, 32.0, 215.0, 37.0],
    [220.0, 38.0, 222.0, 39.0],
    [225.0, 36.0, 220.0, 45.0],
    [228.0, 50.0, 229.0, 40.0],
    [240.0, 30.0, 235.0, 31.0],
)


@pytest.mark.parametrize(
    "which", [slice(2, None), pytest.param(slice(2), marks=pytest.mark.slow)], ids=["late", "early"]
)
@pytest.mark.parametrize("lead", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_equals_the_plain_recursion(lead, which):
    starts = np.array(STARTS[which])
    solved = merge_equilibrium(starts, leader=rules.AGENTS[lead], gamma=0.9)
    for i, each in enumerate(starts):
        values, outcome = recursive(start(each[None]), lead, 0.9)
        assert solved.outcome[i] == outcome
        np.testing.assert_allclose([solved.leader_value[i], solved.follower_value[i]], [values[lead], values[1 - lead]])


def test_equals_the_plain_recursion_by_other_rules():
    """Other rewards, one in every second; other speeds; an action per speed."""
    game = MergeRules(
        actions="speeds",
        speed_levels=3,
        speed_limits=(25, 55),
        crash_reward=-70,
        speed_weight=6,
        speed_change_weight=0.2,
    )
    starts = np.array([[225.0, 36.0, 220.0, 45.0], [240.0, 30.0, 235.0, 31.0]])
    solved = merge_equilibrium(starts, gamma=0.9, game=game)
    assert solved.q["main_0"].shape == (2, 4, 4)
    for i, each in enumerate(starts):
        values, outcome = recursive(start(each[None], game), 0, 0.9, game, [range(4)] * 2)
        assert solved.outcome[i] == outcome
        np.testing.assert_allclose([solved.leader_value[i], solved.follower_value[i]], values)


@pytest.mark.parametrize("leader", rules.AGENTS)
def test_first_action_is_the_stackelberg_action_of_the_root_tables(leader):
    solved = merge_equilibrium(draw_starts(30, 40, 20), leader)
    q = [solved.q[agent] for agent in rules.AGENTS]
    if leader == rules.AUXILIARY:
        q = [table.swapaxes(1, 2) for table in q[::-1]]
    leader_q, follower_q = q
    answer = follower_q.argmax(axis=2)
    by_action = np.take_along_axis(leader_q, answer[:, :, None], axis=2)[:, :, 0]
    choice = by_action.argmax(axis=1)
    joint = np.column_stack([choice, answer[np.arange(20), choice]])
    np.testing.assert_array_equal(solved.action, joint if leader == rules.MAIN else joint[:, ::-1])
    np.testing.assert_array_equal(solved.leader_value, by_action.max(axis=1))


def test_actions_without_effect_are_worth_the_same():
    q = merge_equilibrium(draw_starts(30, 40, 10)).q
    for tables in q.values():
        for action in (rules.LANE_LEFT, rules.LANE_RIGHT):
            np.testing.assert_array_equal(tables[:, action], tables[:, rules.IDLE])
            np.testing.assert_array_equal(tables[:, :, action], tables[:, :, rules.IDLE])


@pytest.mark.slow
def test_known_shares():
    paper, released = draw_starts(30, 40, 300), draw_starts(38, 40, 100)
    main, auxiliary = merge_equilibrium(paper), merge_equilibrium(paper, leader="auxiliary_0")
    assert main.shares() == pytest.approx({"main_first": 0.746, "auxiliary_first": 0.254, "crash": 0.0}, abs=0.07)
    assert auxiliary.shares() == pytest.approx({"main_first": 0.255, "auxiliary_first": 0.745, "crash": 0.0}, abs=0.07)
    assert main.contested.mean() == pytest.approx(0.491, abs=0.07)
    np.testing.assert_array_equal(main.contested, auxiliary.contested)
    np.testing.assert_array_equal(main.contested, (main.outcome == 0) & (auxiliary.outcome == 1))
    assert not main.tied.any()

    assert merge_equilibrium(released).shares()["main_first"] == 1.0
    assert merge_equilibrium(released, leader="auxiliary_0").shares()["auxiliary_first"] == 1.0
    assert merge_equilibrium(released).contested.all()


def test_main_yields_where_it_is_slower_by_a_target_speed():
    starts = draw_starts(30, 40, 200, seed=3)
    outcome = merge_equilibrium(starts).outcome
    slower, faster = starts[:, 1] < 34.9, starts[:, 3] > 35.1
    assert (outcome[slower & faster] == rules.AUXILIARY_FIRST).all()
    assert (outcome[~(starts[:, 1] < 35.5) & ~faster] == rules.MAIN_FIRST).all()


def test_a_tie_across_outcomes_is_noted():
    """To one who counts only the present decision, all first moves are alike: no game is over after one."""
    solved = merge_equilibrium(draw_starts(30, 40, 20), gamma=0.0)
    assert solved.tied.mean() > 0.5
    assert (solved.leader_value == 0).all() and (solved.action == 0).all()


def test_equilibrium_does_not_depend_on_the_batch():
    starts = draw_starts(30, 40, 150)
    together, apart = merge_equilibrium(starts), merge_equilibrium(starts[140:])
    np.testing.assert_array_equal(together.outcome[140:], apart.outcome)
    np.testing.assert_array_equal(together.q["main_0"][140:], apart.q["main_0"])


def test_policy_outcomes_are_those_of_the_game():
    """A policy of the state, played by the arrays and by highway-env."""

    def policy(states):
        ahead = states[:, 0] * 50 + states[:, 2] * 15 > states[:, 4] * 50 + states[:, 6] * 15
        return {
            "main_0": np.where(ahead, rules.FASTER, rules.SLOWER),
            "auxiliary_0": np.where(ahead, rules.SLOWER, rules.IDLE),
        }

    starts = draw_starts(30, 40, 40)
    outcomes = policy_outcomes(policy, starts)
    env = make("merge_v0")
    for each, outcome in zip(starts, outcomes, strict=True):
        env.reset(options=dict(zip(rules.START_NAMES, each, strict=True)))
        while env.agents:
            actions = policy(env.state()[None])
            *_, infos = env.step({agent: int(action[0]) for agent, action in actions.items()})
        assert infos["main_0"]["outcome"] == rules.OUTCOMES[outcome]
    assert 0 < outcome_shares(outcomes)["main_first"] < 1


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="leader"):
        merge_equilibrium(draw_starts(30, 40, 1), leader="main")
    for no_starts in (np.zeros(4), np.zeros((0, 4))):
        with pytest.raises(ValueError, match="shape"):
            merge_equilibrium(no_starts)
    with pytest.raises(ValueError, match="speeds"):
        merge_equilibrium(draw_starts(30, 40, 1), game=MergeRules(actions="acceleration"))
