"""Truncated games tell the state that agents left: what they see there, who acts next, and what it may do."""

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import AECEnv

from rllib_biac.envs.contract import Look
from rllib_biac.envs.errors import GameError
from rllib_biac.envs.parallel_batch import ParallelEnvBatch
from tests.foreign import Foreign, TruncatedAlone
from tests.foreign import Turns as TurnsByMasks

UNSEEN = "without an observation of the state that it left; give the last one"


def batch(game, **kwargs):
    return ParallelEnvBatch(game, 1, np.random.default_rng(0), **kwargs)


def at_its_end(game, **kwargs):
    """Returns a game at its first truncation; whoever acts plays action 0."""
    games = batch(game, **kwargs)
    games.reset()
    while not (step := games.step(dict.fromkeys("ab", np.zeros(1, int)))).truncated[0]:
        assert not step.terminated[0]
    return games


class CutOff(Foreign):
    """Is truncated after `length` steps."""

    def flags(self):
        return dict.fromkeys(self.possible_agents, False), dict.fromkeys(self.possible_agents, self.over())


class Emptied(CutOff):
    """Empties `agents` before it builds observations; `sees` lists who gets one all the same."""

    sees = ()

    def step(self, actions):
        seen, *rest = super().step(actions)
        return ({a: seen[a] for a in self.sees} if self.over() else seen), *rest


class OfRLlib:
    """RLlib's make. `ends` after three steps; who gets an observation then is `sees`, before that whom `turns` lets."""

    observation_spaces = action_spaces = dict.fromkeys("ab", spaces.Discrete(2))
    possible_agents = ("a", "b")

    def __init__(self, sees="", turns=False):
        self.sees, self.turns = sees, turns

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return dict.fromkeys("a" if self.turns else "ab", 0), {}

    def step(self, actions):
        self.time += 1
        cut = self.time == 3
        seen = self.sees if cut else "ab"[self.time % 2] if self.turns else "ab"
        return dict.fromkeys(seen, 0), dict.fromkeys(actions, 1.0), {"__all__": False}, {"__all__": cut}, {}


class OneEmptied(Emptied):
    sees = ("b",)


@pytest.mark.parametrize(
    ("game", "step"),
    [(Emptied, 4), (OneEmptied, 4), (OfRLlib, 3), (lambda: OfRLlib("b"), 3), (lambda: OfRLlib(turns=True), 3)],
)
def test_the_last_observation_is_missing(game, step):
    with pytest.raises(GameError, match=f"agent 'a' is truncated in game 0 at step {step} {UNSEEN}.*a look at"):
        batch(game)
    with pytest.raises(GameError, match=f"agent 'a' is truncated in game 0 at step {step} {UNSEEN}"):
        at_its_end(game, look=Look(steps=1, absences=getattr(game(), "turns", False)))


def test_who_is_truncated_alone_sees_the_state_that_it_left():
    class Unseen(TruncatedAlone):
        def step(self, actions):
            seen, *rest = super().step(actions)
            return {agent: seen[agent] for agent in self.agents}, *rest

    with pytest.raises(GameError, match=f"agent 'b' is truncated .* {UNSEEN}"):
        batch(Unseen)


class Left(CutOff):
    """`b` goes after step 2, without a flag; at the end it still is `absent`."""

    def step(self, actions):
        seen, *rest = super().step(actions)
        self.agents = [] if self.over() else ["a", "b"][: 2 - (self.time >= 2)]
        return {agent: own for agent, own in seen.items() if agent == "a" or self.time < 2}, *rest


def test_who_had_left_sees_nothing_at_the_end():
    assert at_its_end(Left).acts.tolist() == [[True, False]]


class Stunned(CutOff):
    """Nobody may do anything from step 2 on."""

    def info(self, agent):
        return {"action_mask": np.full(2, int(self.time < 2), np.int8)}


def test_a_game_in_which_nobody_acts_may_be_cut_off_there():
    assert not at_its_end(Stunned).acts.any()


class StunnedAtTheEnd(CutOff):
    def info(self, agent):
        return {"action_mask": np.full(2, int(not self.over()), np.int8)}


class NoMasksAtTheEnd(CutOff):
    def info(self, agent):
        return {} if self.over() else {"action_mask": np.array([1, 0], np.int8)}


class TurnsUnmaskedAtTheEnd(CutOff, TurnsByMasks):
    """Turns by masks of zeros, which all are at the end."""

    def see(self, agent):
        seen = super().see(agent)
        return seen | ({"action_mask": np.zeros(2, np.int8)} if self.over() else {})


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (StunnedAtTheEnd, "without an action that it may take in the state that it left; give the action mask"),
        (NoMasksAtTheEnd, "without an action mask, and had one before; give that of the state that it left"),
        (TurnsUnmaskedAtTheEnd, "without an action that it may take"),
    ],
)
def test_the_last_action_masks_are_missing(game, message):
    with pytest.raises(GameError, match=f"agent 'a' is truncated in game 0 at step 4 {message}.*a look at"):
        batch(game)
    if game is not TurnsUnmaskedAtTheEnd:  # a game with absences is believed once it has been looked at
        with pytest.raises(GameError, match=f"agent 'a' is truncated in game 0 at step 4 {message}"):
            at_its_end(game, look=Look(steps=1, masks=True))


def test_masks_of_zeros_for_all_may_be_meant():
    for look in (Look(absences=True), Look(steps=1, masks=True, absences=True)):
        assert not at_its_end(StunnedAtTheEnd, look=look).acts.any()


class MasksAtTimes(CutOff):
    """`a` has a mask where something is forbidden, at times and in the last state but one."""

    def info(self, agent):
        return {"action_mask": np.array([1, 0], np.int8)} if agent == "a" and self.time in (0, 3) else {}


def test_an_absent_mask_says_that_all_is_allowed_where_it_does_so_in_play():
    masks = at_its_end(MasksAtTimes).action_masks()
    assert masks["a"].tolist() == [[True, True]]
    assert batch(MasksAtTimes).look.unmasked and not batch(StunnedAtTheEnd, look=Look(absences=True)).look.unmasked


class ComesLater(CutOff):
    """`b` comes late, and has a mask; in every other episode it comes only where the game is cut off, without one."""

    episodes = 0

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.episodes, self.agents = self.episodes + 1, ["a"]
        return {"a": self.see("a")}, {}

    def info(self, agent):
        return {"action_mask": np.array([1, 0], np.int8)} if agent == "b" and self.episodes % 2 else {}

    def step(self, actions):
        self.time += 1
        over = self.over()
        there = ["a", "b"] if over or (self.episodes % 2 and self.time > 1) else ["a"]
        self.agents = [] if over else there
        flags = dict.fromkeys(there, False), dict.fromkeys(there, over)
        seen, infos = ({agent: made(agent) for agent in there} for made in (self.see, self.info))
        return seen, dict.fromkeys(actions, 1.0), *flags, infos


def test_masks_of_another_episode_are_forgotten():
    games = at_its_end(ComesLater, look=Look(steps=1, masks=True, absences=True))
    games.reset()
    while not games.step(dict.fromkeys("ab", np.zeros(1, int))).truncated[0]:
        pass
    assert games.action_masks()["b"].tolist() == [[True, True]]


def test_absences_that_only_the_end_shows_may_be_written():
    with pytest.raises(GameError, match="or write absences: true if this agent is absent at times"):
        batch(OneEmptied)
    assert at_its_end(OneEmptied, look=Look(absences=True)).acts.tolist() == [[False, True]]


def test_a_state_in_which_nobody_ever_acts_is_none_that_was_left():
    with pytest.raises(GameError, match=r"agent 'a' is truncated .* the state that it left; give [^,]* \(seen"):
        batch(Emptied, look=Look(absences=True))


class StaysListed(CutOff):
    """`b` is terminated at step 2 and listed to the end, when who is truncated is taken out."""

    def flags(self):
        return {"b": self.time >= 2}, {"a": self.over()}

    def step(self, actions):
        found = super().step(actions)
        self.agents = ["b"] if self.over() else ["a", "b"]
        return found


class NobodyActsAfterTheEnd(CutOff):
    """A game that says itself who acts, until it is over."""

    @property
    def acting(self):
        return () if self.over() else ("a", "b")


@pytest.mark.parametrize(("game", "acts"), [(StaysListed, [True, False]), (NobodyActsAfterTheEnd, [True, True])])
def test_who_is_taken_out_at_the_end_could_have_acted(game, acts):
    assert at_its_end(game).acts.tolist() == [acts]


class InTurns(AECEnv):
    """Three turns, then truncated; `first`: who is done steps first. Masks stand in `infos` or in what is seen."""

    metadata = {"name": "in_turns"}  # noqa: RUF012
    possible_agents = ("a", "b")

    def __init__(self, first=False, where="infos"):
        self.first, self.where = first, where

    def observation_space(self, agent):
        seen = spaces.Box(0, 9, (1,), np.float32)
        return spaces.Dict(observation=seen, action_mask=spaces.MultiBinary(2)) if self.where == "seen" else seen

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        seen = np.full(1, self.time, np.float32)
        return {"observation": seen, "action_mask": np.array([0, 1], np.int8)} if self.where == "seen" else seen

    def reset(self, seed=None, options=None):
        self.time, self.agents, self.agent_selection = 0, ["a", "b"], "a"
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: self.info() for agent in self.agents}

    def info(self):
        return {"action_mask": np.array([0, 1], np.int8)} if self.where == "infos" else {}

    def step(self, action):
        agent = self.agent_selection
        if self.truncations[agent]:
            return self._was_dead_step(action)
        self._cumulative_rewards[agent] = 0
        self.time += 1
        self.rewards = dict.fromkeys(self.agents, 0) | {agent: 1}
        self.agent_selection = "b" if agent == "a" else "a"
        self.truncations = dict.fromkeys(self.agents, self.time == 3)
        self._accumulate_rewards()
        if self.first:
            self._deads_step_first()
        return None


class SelectsItsFirst(InTurns):
    """Who is on turn alone has a mask that is not zero; where it is cut off the game selects `a`, whoever that is."""

    def step(self, action):
        dead = self.truncations[self.agent_selection]
        super().step(action)
        if not dead:
            on_turn = "ab"[self.time % 2]
            self.infos = {agent: {"action_mask": np.array([0, agent == on_turn], np.int8)} for agent in self.agents}
            self.agent_selection = "a" if self.time == 3 else on_turn


class LosesB(InTurns):
    """`b`, whose turn would be next where it is cut off, is terminated there."""

    def step(self, action):
        result = super().step(action)
        if self.time == 3:
            self.terminations = {agent: agent == "b" for agent in self.agents}
        return result


class ByList(CutOff):
    """`agents` are who is on turn; nobody else sees anything."""

    length = 3

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.agents = ["a"]
        return {"a": self.see("a")}, {}

    def step(self, actions):
        _, _, *rest = super().step(actions)
        on_turn = "ab"[self.time % 2]
        self.agents = [] if self.over() else [on_turn]
        return {on_turn: self.see(on_turn)}, {agent: 1.0 for agent in actions}, *rest


class ByListToTheEnd(ByList):
    """Everybody sees the game, and `agents` still are who is on turn at the end."""

    def step(self, actions):
        _, *rest = super().step(actions)
        self.agents = ["ab"[self.time % 2]]
        return {agent: self.see(agent) for agent in "ab"}, *rest


@pytest.mark.parametrize("where", ["infos", "seen", "nowhere"])
@pytest.mark.parametrize("first", [False, True])
def test_whose_turn_it_would_be_where_a_game_in_turns_is_cut_off(first, where):
    games = at_its_end(lambda: InTurns(first, where))
    assert games.acts.tolist() == [[False, True]]
    masks = games.action_masks()
    assert masks["a"].tolist() == [[True, False]]  # the null action
    assert masks["b"].tolist() == [[where == "nowhere", True]]
    assert [own[0, -1] for own in games.observe().values()] == [0, 1]


def test_masks_tell_whose_turn_it_would_be_where_the_game_does_not():
    games = at_its_end(SelectsItsFirst)
    assert games.acts.tolist() == [[False, True]]
    assert {agent: mask.tolist() for agent, mask in games.action_masks().items()} == {
        "a": [[True, False]],
        "b": [[False, True]],
    }


@pytest.mark.parametrize("first", [False, True])
def test_who_is_terminated_is_passed_over(first):
    assert at_its_end(lambda: LosesB(first)).acts.tolist() == [[True, False]]


@pytest.mark.parametrize("game", [ByList, ByListToTheEnd, lambda: OfRLlib("b", turns=True)])
def test_who_would_act_next_where_agents_are_absent_at_times(game):
    games = at_its_end(game)
    assert games.acts.tolist() == [[False, True]]
    assert {agent: mask.tolist() for agent, mask in games.action_masks().items()} == {
        "a": [[True, False]],
        "b": [[True, True]],
    }
