"""Training comes to the same bits as when they were recorded: a few cases of `benchmarks/same_bits.py`.

Where a change of the bits is meant, record them anew and say why in the changelog:

    python benchmarks/same_bits.py --write tests/fixtures/same_bits.json
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "fixtures" / "same_bits.json"
CHOSEN = (
    "BiAC",
    "BiAC, masked",
    "BiAC, images",
    "BiAC, gumbel_softmax",
    "BiAC, hypotheses",
    "BiAC, approximators",
    "levels, three, masked",
    "levels, both kinds of actions",
    "BiLevelQ",
    "IDQN",
    "LenientDQN",
    "MATD3, both kinds of actions",
)


def program():
    spec = importlib.util.spec_from_file_location("same_bits", ROOT / "benchmarks" / "same_bits.py")
    module = sys.modules["same_bits"] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SAME_BITS = program()


@pytest.mark.parametrize("name", CHOSEN)
def test_the_bits_are_those_recorded(ray, name):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    setting = SAME_BITS.setting()
    if setting not in recorded:
        pytest.skip(f"bits are recorded for {'; '.join(recorded)}. Here is {setting}, whose last bits may differ.")
    assert SAME_BITS.digest(SAME_BITS.measure(SAME_BITS.CASES[name])) == recorded[setting][name]
