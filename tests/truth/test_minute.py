"""A minute of the campaign with fixed seeds: `benchmarks/truth` says what is held to what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from truth.generate import case
from truth.judge import judge

SEED = 7
FEW = {
    "gaussian": range(120),
    "laplace": (1, 2, 3, 6, 7, 9, 11),
    "mcem": (0,),
    "quadrature": (2, 8, 10, 15),
}
NAMES = [f"{method}:{SEED}:{index}" for method, indices in FEW.items() for index in indices]


@pytest.mark.parametrize("name", NAMES)
def test_properties_hold(name):
    method, seed, index = name.split(":")
    verdict = judge(case(method, int(seed), int(index)))
    assert verdict.failures == (), f"benchmarks/campaign.py --case {name}"
