"""Loggers of Tune's in an experiment file: what trials report reaches them."""

import sys

import pytest

TEXT = """
mine:
  run: BiAC
  env: escape_v0
  stop: {training_iteration: 2}
  loggers: LOGGERS
  config: {}
"""
LOGGER = """
import json
from ray.tune.logger import LoggerCallback

class Mine(LoggerCallback):
    def __init__(self, file, mark="-"):
        self.file, self.mark = file, mark

    def log_trial_result(self, iteration, trial, result):
        with open(self.file, "a") as file:
            file.write(f"{self.mark}{result['training_iteration']}")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_loggers.py").write_text(LOGGER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "log.txt"
    sys.modules.pop("my_loggers", None)


@pytest.mark.slow
def test_reports_reach_them(rllib, write, ray, tmp_path, module):
    given = f"[{{my_loggers:Mine: {{file: {module}, mark: '+'}}}}]"
    result = rllib("train", "file", write(TEXT.replace("LOGGERS", given)), "--storage-path", tmp_path)
    assert result.exit_code == 0, result.output
    assert module.read_text() == "+1+2"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mlflow", "expected a list of classes, not 'mlflow'"),
        ("[mlflow]", "'mlflow' is no class, nor one with its arguments"),
        ("[{my_loggers:Mine: 3}]", "is no class, nor one with its arguments"),
        ("[{my_loggers:Mine: {1: 2}}]", "arguments have names"),
        ("[my_loggers:Mine]", "my_loggers:Mine cannot be made: Mine.__init__() missing 1 required"),
        ("[my_loggers:Yours]", "my_loggers:Yours cannot be made: 'my_loggers:Yours' cannot be loaded"),
        ("[builtins:dict]", "builtins:dict is no callback of Tune's"),
    ],
)
def test_mistakes(rllib, write, module, given, told):
    result = rllib("train", "file", write(TEXT.replace("LOGGERS", given)), "--dry-run")
    assert result.exit_code == 2 and told in result.output and "game.yaml, line 6" in result.output
