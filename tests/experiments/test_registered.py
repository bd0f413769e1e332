"""Games that a Python file registers with Tune, under a name."""

import cloudpickle
import pytest

from rllib_biac.envs.adapters import adapt
from rllib_biac.experiments import checks, reading
from rllib_biac.experiments.mistakes import Mistake
from rllib_biac.experiments.resolve import resolve

FILE = """
from ray import tune
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from rllib_biac import BiACConfig
from rllib_biac.envs import make

def creator(settings):
    game = make("escape_v0", horizon=settings.get("turns", 1))
    return ParallelPettingZooEnv(game) if {wrapped} else game

tune.register_env("my_escape_{wrapped}", creator)
config = BiACConfig().environment("my_escape_{wrapped}", env_config={{"turns": 2}})
config.hierarchy([["player_0"], ["player_1"]]).training(lr=0.5)
stop = {{"training_iteration": 1}}
"""


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_registered_name(tmp_path, wrapped):
    (tmp_path / "mine.py").write_text(FILE.format(wrapped=wrapped))
    (draft,) = reading.read(tmp_path / "mine.py")
    checks.check(draft)
    (trial,) = resolve(draft).trials
    config = trial.config
    assert config.lr == 0.5 and config.env.__name__ == f"my_escape_{wrapped}"
    # Workers have registered nothing: the factory brings the creator along.
    game = cloudpickle.loads(cloudpickle.dumps(config.env))(**config.env_config)
    played = adapt(game)
    played.reset(seed=0)
    nobody = dict.fromkeys(played.possible_agents, False)
    assert played.step({"player_0": 0, "player_1": 0})[2:4] == (nobody, nobody)  # it has two turns
    assert played.possible_agents == ["player_0", "player_1"]


def test_a_yaml_file_cannot_register(tmp_path):
    (tmp_path / "mine.yaml").write_text("mine: {run: BiAC, env: my_game}")
    (draft,) = reading.read(tmp_path / "mine.yaml")
    with pytest.raises(Mistake, match="known only to a Python file that registers it"):
        checks.check(draft)
