"""Properties that hold of whatever is thrown at them. The full matrix is `python benchmarks/bad_inputs.py`."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rllib_biac.learning.hierarchy import Hierarchy
from rllib_biac.learning.replay import JointReplayBuffer
from tests.learning.test_replay import rows
from tests.properties import bad_flags, bad_inputs
from tests.properties.games import CASES, train

# The same inputs in every run; times differ too much between machines to be held to.
settings.register_profile(
    "suite", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("suite")


@pytest.mark.parametrize("kind", bad_inputs.KINDS)
def test_a_bad_file_is_refused_in_words_or_shows(kind, tmp_path):
    @settings(max_examples=25, phases=[Phase.generate, Phase.shrink])
    @given(bad_inputs.KINDS[kind])
    def holds(data):
        verdict = bad_inputs.judge(data, tmp_path)
        assert verdict.outcome in (bad_inputs.REFUSED, bad_inputs.ACCEPTED), (
            f"{verdict.why}\n{data.decode(errors='replace')}"
        )
        assert kind not in bad_inputs.NEVER_RIGHT or verdict.outcome == bad_inputs.REFUSED

    holds()


@pytest.mark.parametrize("kind", bad_flags.KINDS)
def test_bad_flags_are_refused_in_words_or_show(kind, tmp_path):
    @settings(max_examples=25, phases=[Phase.generate, Phase.shrink])
    @given(bad_flags.KINDS[kind])
    def holds(argv):
        verdict = bad_flags.judge(argv, tmp_path)
        assert verdict.outcome in (bad_inputs.REFUSED, bad_inputs.ACCEPTED), f"{argv}\n{verdict.why}"

    holds()


def test_the_judge_of_flags_sees_what_was_lost(tmp_path):
    right = ["train", "file", "escape_biac", "--dry-run", "--config", "lr=0.5", "--seed", "3", "--num-samples", "2"]
    right += ["--stop", '{"training_iteration": 7}', "--env", "maintain_v0", "--experiment-name", "mine"]
    accepted = bad_flags.judge(right, tmp_path)
    assert accepted.outcome == bad_inputs.ACCEPTED
    assert not bad_flags.unseen(right, accepted.why)
    for shown, other in (
        ("lr: 0.5", "lr: 0.6"),
        ("seed: 3", "seed: 0"),
        ("2 trial(s)", "1 trial(s)"),
        ('"training_iteration": 7', '"training_iteration": 8'),
        ("in maintain_v0, ", "in escape_v0, "),
        ("mine: 2", "other: 2"),
    ):
        assert shown in accepted.why
        assert bad_flags.unseen(right, accepted.why.replace(shown, other)), shown
    assert bad_flags.unseen(right, "Nothing was started")
    assert bad_flags.judge(["example", "list"], tmp_path).outcome == bad_inputs.ACCEPTED


def test_the_judge_sees_what_was_lost(tmp_path):
    text = b"mine: {run: BiAC, env: escape_v0, config: {hierarchy: [[player_0], [player_1]], lr: 0.5}}"
    assert bad_inputs.judge(text, tmp_path).outcome == bad_inputs.ACCEPTED
    document = bad_inputs.reading._Loader(text.decode()).get_single_data()
    (tmp_path / "x.yaml").write_bytes(text)
    (draft,) = bad_inputs.reading.read(tmp_path / "x.yaml")
    experiments = [bad_inputs.resolve(draft)]
    assert not bad_inputs.unseen(document, experiments)
    for path, value in {("config", "lr"): 0.6, ("config", "gama"): 1, ("stop",): {"x": 1}, ("nonsense",): 1}.items():
        other = copy.deepcopy(document)
        bad_inputs._at(other["mine"], path[:-1])[path[-1]] = value
        assert bad_inputs.unseen(other, experiments), path


# Hierarchies.

_NAMES = st.text(max_size=3)
_JUNK = st.one_of(st.none(), st.integers(), st.floats(), _NAMES, st.dictionaries(_NAMES, _NAMES, max_size=1))


def _may_be_saved(name):
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\0"} & set(name)


@given(st.one_of(_JUNK, st.lists(st.one_of(_JUNK, st.lists(st.one_of(_NAMES, _JUNK), max_size=3)), max_size=3)))
def test_a_hierarchy_is_levels_of_different_names_or_is_refused(levels):
    right = (
        isinstance(levels, list)
        and levels
        and all(isinstance(level, list) and level and all(map(_may_be_saved, level)) for level in levels)
    )
    names = [agent for level in levels for agent in level] if right else []
    if right and len(set(names)) == len(names):
        assert [list(level) for level in Hierarchy(levels).levels] == levels
        assert list(Hierarchy(levels).agents) == names
    else:
        with pytest.raises(ValueError, match="hierarchy"):
            Hierarchy(levels)


@given(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), st.lists(st.sampled_from("abcde"), unique=True))
def test_a_hierarchy_fits_the_game_of_the_same_agents_only(levels, agents):
    hierarchy = Hierarchy([[name] for name in levels])
    if set(levels) == set(agents):
        hierarchy.check_against(agents)
    else:
        with pytest.raises(ValueError, match="agents"):
            hierarchy.check_against(agents)


# Spaces.


def test_a_game_of_any_spaces_trains_or_is_refused_in_words(ray):
    @settings(max_examples=8)
    @given(CASES)
    def holds(case):
        train(case)

    holds()


# Replay.


class Replay(RuleBasedStateMachine):
    """The ring beside a plain list of all rows ever added."""

    @initialize(capacity=st.integers(1, 12), seed=st.integers(0, 9))
    def start(self, capacity, seed):
        self.buffer = JointReplayBuffer(capacity, seed=seed)
        self.added = []

    def kept(self):
        return self.added[-self.buffer.capacity :]

    @rule(count=st.integers(1, 30))
    def add(self, count):
        self.buffer.add(rows(len(self.added), count))
        self.added += range(len(self.added), len(self.added) + count)

    @precondition(lambda self: self.added)
    @rule(count=st.integers(1, 20))
    def sample(self, count):
        drawn = self.buffer.sample(count).columns
        numbers = drawn["actions", "one"]
        assert len(numbers) == count and set(numbers.tolist()) <= set(self.kept())
        np.testing.assert_array_equal(drawn["state"], np.stack([numbers, -numbers], 1))
        np.testing.assert_array_equal(drawn["next_state"], drawn["state"] + 1)
        np.testing.assert_array_equal(drawn["terminated"], numbers % 2 == 0)
        np.testing.assert_array_equal(drawn["truncated"], numbers % 3 == 0)
        np.testing.assert_array_equal(drawn["rewards", "two"], numbers)

    @precondition(lambda self: not self.added)
    @rule()
    def sample_of_nothing(self):
        with pytest.raises(ValueError, match="empty"):
            self.buffer.sample(1)

    @rule(seed=st.integers(0, 9))
    def go_on_elsewhere(self, seed):
        """A restored ring draws what the saved one would have drawn, and takes rows in where it would have."""
        state = pickle.loads(pickle.dumps(self.buffer.get_state()))
        restored = JointReplayBuffer(self.buffer.capacity, seed=seed)
        restored.set_state(state)
        if self.added:
            before, after = (one.sample(7).columns for one in (self.buffer, restored))
            for key, column in before.items():
                np.testing.assert_array_equal(column, after[key])
        self.buffer = restored

    @precondition(lambda self: self.added)
    @rule(more=st.integers(1, 5))
    def another_capacity_keeps_all_rows_or_refuses(self, more):
        other = JointReplayBuffer(self.buffer.capacity + more)
        state = self.buffer.get_state()
        if len(self.added) <= self.buffer.capacity:
            other.set_state(state)
            assert len(other) == len(self.buffer)
        else:
            with pytest.raises(ValueError, match="capacity"):
                other.set_state(state)

    @invariant()
    def holds_what_the_list_ends_with(self):
        assert len(self.buffer) == len(self.kept())
        held = self.buffer.columns.get(("actions", "one"), np.zeros(0))[: len(self.buffer)]
        assert sorted(held.tolist()) == self.kept()


TestReplay = Replay.TestCase
TestReplay.settings = settings(max_examples=30, stateful_step_count=15)
