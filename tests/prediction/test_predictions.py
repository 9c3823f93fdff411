"""One call for means, intervals and draws: each is that of its own function, and takes no argument in vain."""

from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.prediction.predict import predict
from lmeformula.prediction.predict_draws import predict_draws
from lmeformula.prediction.predict_intervals import predict_interval


@cache
def fitted() -> lf.Fit:
    return lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))


SAME = {
    "means": ({"re_form": "NA"}, predict, {"re_form": "NA"}),
    "averaged": ({"averaged": True, "kind": "link"}, predict, {"averaged": True, "kind": "link"}),
    "defaults that are given": ({"level": 0.95, "seed": 0, "averaged": False}, predict, {}),
    "draws": ({"kind": "draws", "num_draws": 7, "seed": 3}, predict_draws, {"num_draws": 7, "seed": 3}),
    "interval": (
        {"interval": "prediction", "level": 0.8, "include": ["residual"]},
        predict_interval,
        {"interval": "prediction", "level": 0.8, "include": ["residual"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_predictions_are_those_of_their_function(name):
    given, behind, own = SAME[name]
    found, expected = fitted().predict(**given), behind(fitted(), **own)
    compared = pd.testing.assert_frame_equal if found.ndim == 2 else pd.testing.assert_series_equal
    compared(found, expected)


IN_VAIN = {
    "level": {"level": 0.9},
    "seed": {"seed": 1},
    "include": {"include": ["residual"]},
    "num_draws": {"num_draws": 10},
    "weights": {"weights": [1.0], "kind": "draws"},
    "averaged": {"averaged": True, "kind": "draws"},
}


@pytest.mark.parametrize("name", IN_VAIN)
def test_an_argument_of_another_way_is_named(name):
    with pytest.raises(ModelError, match=f"^{name} is an argument of predictions"):
        fitted().predict(**IN_VAIN[name])


def test_an_average_with_an_interval_is_refused():
    with pytest.raises(
        ModelError, match="averaged is an argument of predictions without an interval"
    ):
        fitted().predict(averaged=True, interval="confidence")


def test_odd_values_are_no_defaults():
    with pytest.raises(ModelError, match="seed is an argument"):
        fitted().predict(seed=False)
    with pytest.raises(ModelError, match="level is 'high'"):
        fitted().predict(interval="confidence", level="high")
