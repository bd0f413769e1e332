"""What is read from the source of a config is what the imported class says."""

import subprocess
import sys
from typing import Any, ForwardRef, get_args

import pytest

from rllib_biac.rllib.config_keys import keys_of
from rllib_biac.rllib.known_keys import known_keys
from rllib_biac.rllib.registry import ALGORITHMS, config_class


@pytest.mark.parametrize("name", ALGORITHMS)
def test_names_and_annotations_are_those_of_the_class(name):
    found, keys = known_keys(ALGORITHMS[name]), keys_of(config_class(name))
    assert found.keys() == keys.keys()
    unlike = {key: hint for key, hint in found.items() if hint != keys[key].hint}
    assert isinstance(get_args(unlike.pop("evaluation_config"))[0], ForwardRef)
    assert set(unlike.values()) == {Any}  # classes that would have to be imported
    assert len(unlike) < 15 and len(found) > 200


@pytest.mark.parametrize("name", ["examples.own_algorithm:QMIX", "tests.games:TwoStates", "nowhere:Name", "json:dumps"])
def test_of_what_is_not_written_out_nothing_is_known(name):
    assert known_keys(name) == {}


def test_an_experiment_is_checked_without_ray_and_torch():
    code = (
        "from rllib_biac.experiments.checks import check; from rllib_biac.experiments.reading import Draft\n"
        "try: check(Draft('mine', {'run': 'BiAC', 'env': 'merge_v0', 'config': {'num_env_runner': 2}}, 'x'))\n"
        "except Exception as error: print(error)\n"
        "import sys; print({'ray', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, loaded = done.stdout.splitlines()
    assert "unknown key. Did you mean 'num_env_runners'?" in said and loaded == "set()"
