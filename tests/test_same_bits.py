"""Training comes to the same bits as when they were recorded: a few cases of `benchmarks/same_bits.py`.

Where a change of the bits is meant, record them anew and say why in the changelog:

    python benchmarks/same_bits.py --write tests/fixtures/same_bits.json
"""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from same_bits import digest, measure, setting
from same_bits_cases import CASES

RECORDED = Path(__file__).parent / "fixtures" / "same_bits.json"
FAST = ("BiAC, masked", "BiAC, hypotheses", "levels, three, masked", "BiLevelQ", "IDQN", "MATD3, both kinds of actions")
CHOSEN = (
    *FAST,
    "BiAC",
    "BiAC, images",
    "BiAC, gumbel_softmax",
    "BiAC, approximators",
    "levels, both kinds of actions",
    "LenientDQN",
)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CHOSEN]
)
def test_the_bits_are_those_recorded(ray, name):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    here = setting()
    if here not in recorded:
        pytest.skip(f"bits are recorded for {'; '.join(recorded)}. Here is {here}, whose last bits may differ.")
    assert digest(measure(CASES[name])) == recorded[here][name]
