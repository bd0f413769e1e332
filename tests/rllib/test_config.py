"""Every mistake in a config has an answer that says what to write instead."""

import copy

import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_biac import BiACConfig, IDQNConfig
from rllib_biac.experiments.cluster import check_resources
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.reading import Draft
from rllib_biac.experiments.resolve import resolve
from rllib_biac.rllib.compat import ray_version
from rllib_biac.rllib.config_keys import BadSettings, build
from rllib_biac.rllib.ray_names import NEWEST
from rllib_biac.rllib.refusals import MAY_BE_NONE, NUMBERS, REFUSED, RUNNER_CALLBACKS
from tests.games import Continuous, OnePlayer, Stateless, ThreePlayers, TwoStates, Unbounded, config, stock


def other_than(default):
    """Some value that is not the default; a class where none is, for RLlib wants one for some."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    return {"batch_mode": "complete_episodes"}.get(default, "something") if isinstance(default, str) else int


def changed(key):
    settings = config()
    setattr(settings, key, other_than(getattr(AlgorithmConfig(), key, None)))
    return settings


@pytest.mark.parametrize("key", [row.attribute for row in REFUSED if row.joint_only])
def test_the_stock_runner_takes_what_only_it_honours(key):
    settings = changed(key)
    value = {"batch_mode": "complete_episodes", "gym_env_vectorize_mode": "async"}.get(key, getattr(settings, key))
    setattr(settings, key, value)
    stock(settings).validate()


@pytest.mark.parametrize("name", RUNNER_CALLBACKS)
def test_callbacks_that_would_not_be_called(name):
    cls = type("Mine", (RLlibCallback,), {name: lambda self, **kwargs: None})
    for callbacks in ({"callbacks_class": cls}, {name: lambda **kwargs: None}):
        with pytest.raises(ValueError, match=f"{name} would never be called: write env_runner_cls: stock"):
            config().callbacks(**callbacks).validate()
        stock(config().callbacks(**callbacks)).validate()


def test_other_callbacks_pass():
    config().callbacks(on_train_result=lambda **kwargs: None).validate()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tau", 0.0),  # one of the algorithm's settings; all are in the tests of learning
        ("lr", [[0, "1"], [10, 0.1]]),  # of those that RLlib checks as well
        ("lr", []),
        ("num_envs_per_env_runner", 0),
        ("min_sample_timesteps_per_iteration", 0.5),
        ("rollout_fragment_length", 0),
        ("sample_timeout_s", 0),
        ("seed", -1),
        ("store_buffer_in_checkpoints", "yes"),
        ("num_learners", -1),
        ("num_cpus_for_main_process", None),
        ("num_cpus_per_env_runner", -0.5),
        ("num_gpus_per_env_runner", -1),
        ("num_cpus_per_learner", "many"),
        ("num_gpus_per_learner", -1),
        ("custom_resources_per_learner", {"arm": -1}),
        ("local_gpu_idx", -1),
        ("evaluation_sample_timeout_s", 0),
        ("max_num_env_runner_restarts", -2),
        ("num_consecutive_env_runner_failures_tolerance", -1),
        ("env_runner_health_probe_timeout_s", -1),
        # What would never end, or take all memory there is.
        ("training_intensity", 1e12),
        ("training_intensity", float("inf")),
        ("num_env_runners", 10**9),
        ("min_sample_timesteps_per_iteration", 10**15),
        ("min_time_s_per_iteration", 1e12),
        ("sample_timeout_s", 1e12),
        ("evaluation_duration", 10**15),
        ("leader_module_class", "nowhere:Class"),
        ("leader_module_class", int),
        ("follower_module_class", "rllib_biac.algorithms.biac.team:BiACLeader"),
    ],
)
def test_bad_values_are_named(key, value):
    settings = config()
    setattr(settings, key, value)
    with pytest.raises(ValueError) as raised:
        settings.validate()
    assert key in str(raised.value) or str(value) in str(raised.value)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("env_runners", {"num_envs_per_env_runner": 0}, "num_envs_per_env_runner: 0 must be a whole number at least 1"),
        ("env_runners", {"num_envs_per_env_runner": "2"}, "num_envs_per_env_runner: '2' must be a whole number"),
        ("env_runners", {"rollout_fragment_length": 0}, "rollout_fragment_length: 0: write a whole number of steps"),
        ("training", {"grad_clip_by": "size"}, "grad_clip_by: 'size' is none of value, norm, global_norm"),
        ("training", {"lr": [[0, 0.001]]}, r"lr: \[\[0, 0.001\]\] has a single point; .* the number alone"),
    ],
)
def test_what_rllib_refuses_too_is_refused_in_our_words(method, given, message):
    for change in (lambda c: getattr(c, method)(**given), lambda c: c.update_from_dict(given)):
        with pytest.raises(ValueError, match=message):
            change(config()).validate()


def test_each_number_of_rllibs_is_held_to_its_range():
    for key, low, *_ in NUMBERS:
        for value in (low - 1, "many", *([] if key in MAY_BE_NONE else [None])):
            settings = config()
            if not hasattr(settings, key):
                assert ray_version() < NEWEST, f"{key} is no setting of RLlib's"
                continue
            setattr(settings, key, value)
            with pytest.raises(ValueError, match=key):
                settings.validate()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_num_env_runner_restarts", -1),  # without end
        ("evaluation_unhealthy_workers_timeout_s", None),
        ("env_runner_restore_timeout_s", None),
        ("num_cpus_per_learner", "auto"),
        ("num_cpus_for_main_process", 0.5),
        ("num_gpus_per_env_runner", 0.25),
        ("custom_resources_per_learner", {"arm": 2}),
    ],
)
def test_what_ray_and_rllib_take_is_not_refused(key, value):
    settings = config()
    setattr(settings, key, value)
    settings.validate()


def test_a_value_left_out_is_called_missing():
    for key in ("num_envs_per_env_runner", "callbacks"):
        with pytest.raises(BadSettings, match="the value is missing"):
            build(BiACConfig, {key: None})
    with pytest.raises(BadSettings) as raised:
        build(BiACConfig, {"num_envs_per_env_runner": None, "rollout_fragment_length": "x"})
    (_, first), (_, second) = raised.value.found  # each has its own reason
    assert "missing" in first and "rollout_fragment_length" in second


@pytest.mark.parametrize(
    ("model_config", "message"),
    [
        ({"fcnet_hidens": [8]}, "fcnet_hidens is unknown here: did you mean fcnet_hiddens"),
        ({"fcnet_hiddens": 64}, r"fcnet_hiddens: 64: write a list"),
        ({"fcnet_hiddens": [64, 0]}, "write a list"),
        ({"fcnet_activation": "rellu"}, "none of relu, tanh"),
        ({"fcnet_rms_norm": "yes"}, "fcnet_rms_norm: 'yes': write true or false"),
    ],
)
def test_model_config_mistakes(model_config, message):
    with pytest.raises(ValueError, match=message):
        config().rl_module(model_config=model_config).validate()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (None, r"no hierarchy: write"),
        ([], "write a list of levels"),
        ("player_0", "write a list of levels"),
        ([["player_0"], 3], "level 3 is no list of agents"),
        ([["player_0"], []], "is no list of agents"),
        ([["player_0"], ["player_0"]], "names player_0 more than once"),
        ([["player_0"], ["player_7"]], "names player_7, but the game's agents are player_0, player_1"),
        ([["player_0"]], r"gives player_1 no level"),
        ([["player_0"], ["player_1"], ["player_2"]], r"names player_2, but the game's agents are player_0, player_1"),
    ],
)
def test_hierarchy_mistakes(levels, message):
    settings = BiACConfig().environment("escape_v0")
    with pytest.raises(ValueError, match=message):
        (settings if levels is None else settings.hierarchy(levels)).validate()


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (OnePlayer, r"names two, but the game's agents are one"),
        (ThreePlayers, r"gives three no level"),
        (Unbounded, r"agent 'one': action space Box.*finite bounds"),
        (Stateless, r"no state\(\).*state: observations"),
        ("escap_v0", r"Did you mean 'escape_v0'"),
        ("nowhere:game", "cannot import"),
        (None, "no game: write env"),
    ],
)
def test_games_that_do_not_fit(game, message):
    settings = config(TwoStates)
    settings.env = game
    with pytest.raises(ValueError, match=message):
        settings.validate()


def test_continuous_actions_are_refused_where_they_do_not_work():
    settings = IDQNConfig().environment(Continuous).hierarchy([["one", "two"]])
    with pytest.raises(ValueError, match=r"agent 'one' has action space Box.*discrete actions"):
        settings.validate()


def test_who_plays_is_said_by_the_hierarchy_alone():
    with pytest.raises(ValueError, match="hierarchy says who plays"):
        config().multi_agent(policy_mapping_fn=lambda agent, episode: "player_0").validate()
    with pytest.raises(ValueError, match="leader_module_class"):
        config().rl_module(rl_module_spec=RLModuleSpec()).validate()


def test_a_copy_says_the_same():
    settings = config()
    assert copy.deepcopy(settings).to_dict().keys() == settings.to_dict().keys()
    assert BiACConfig.from_state(settings.get_state()).levels == settings.levels


@pytest.mark.parametrize(
    ("wrong", "place", "told"),
    [
        ({"lr": None}, "`config: lr`", r"neither a number nor a schedule \[\[env step, value\]"),
        ({"log_level": "LOUD"}, "`config: log_level`", "'LOUD' is none of DEBUG, INFO, WARN, ERROR"),
        ({"placement_strategy": "PAC"}, "`config: placement_strategy`", "'PAC' is none of PACK"),
        (
            {"custom_resources_per_env_runner": {"disk": "big"}},
            "`config: custom_resources_per_env_runner: disk`",
            "'big' must be a number",
        ),
        (
            {"evaluation_config": {"explore": "no"}},
            "`config: evaluation_config: explore`",
            "expected true or false, not 'no'",
        ),
        (
            {"evaluation_interval": 1, "evaluation_config": {"env_config": {"horizonn": 3}}},
            "`config: evaluation_config: env_config: horizonn`",
            "unexpected keyword argument",
        ),
        (
            {"evaluation_interval": 1, "evaluation_config": {"env": "merge_v0"}},
            "`config: evaluation_config`",
            "its game has other agents or spaces than that of training",
        ),
        (
            {"policies_to_train": ["player_2"]},
            "`config: policies_to_train`",
            "'player_2' is not in the hierarchy, whose agents are player_0, player_1",
        ),
    ],
)
def test_an_experiment_is_told_which_setting_is_wrong(wrong, place, told):
    config = {"hierarchy": [["player_0"], ["player_1"]], **wrong}
    draft = Draft("mine", {"run": "BiAC", "env": "maintain_v0", "config": config}, "file.yaml")
    with pytest.raises(Mistake, match=f"{place}: .*{told}"):
        resolve(draft)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"num_env_runners": 2}, "a trial needs 3 CPUs and there are 2; lower num_env_runners"),
        (
            {"num_env_runners": 1, "custom_resources_per_env_runner": {"disk": 0.5}},
            "a trial needs 0.5 of 'disk' and there are 0; leave custom_resources out",
        ),
    ],
)
def test_what_ray_would_wait_for_for_ever_is_refused(monkeypatch, config, told):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0, "memory": 1e9})
    hierarchy = {"hierarchy": [["player_0"], ["player_1"]]}
    plain, greedy = (
        resolve(Draft("mine", {"run": "BiAC", "env": "maintain_v0", "config": hierarchy | own}, "file.yaml"))
        for own in ({"num_env_runners": 1}, config)
    )
    check_resources([plain])
    with pytest.raises(Mistake, match=told):
        check_resources([greedy])


def test_the_settings_of_evaluation_are_of_their_kinds():
    config = build(BiACConfig, {"evaluation_config": {"num_envs_per_env_runner": 2.0, "env_config": {"horizon": 3}}})
    number = config.evaluation_config["num_envs_per_env_runner"]
    assert number == 2 and isinstance(number, int)
    settings = {"env": "maintain_v0", "hierarchy": [["player_0"], ["player_1"]], "evaluation_interval": 1}
    config = build(BiACConfig, settings | {"evaluation_config": {"env_config": {"horizon": 3}}})
    config.validate()
    assert config.get_evaluation_config_object().env_config == {"horizon": 3}
