"""Calls that make many fits are killed, made again, and end at the same bits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.checkpoint.trees import digest
from lmeformula.errors import CheckpointError, ModelError
from lmeformula.inference import in_turn
from lmeformula.inference.bootstrap import bootstrap
from tests.checkpoint import resumable_fits as fits

SLEEP = lf.datasets.load("sleepstudy")
TICKS = lf.datasets.load("grouseticks")


@pytest.fixture(scope="module")
def slopes() -> lf.Fit:
    return lf.fit("Reaction ~ Days + (Days|Subject)", SLEEP, progress=False)


@pytest.fixture(scope="module")
def ticks() -> lf.Fit:
    formula = "TICKS ~ YEAR + (1|BROOD) + (1|LOCATION)"
    return lf.fit(formula, TICKS, "poisson", method="laplace", progress=False)


def _bits(found: Any) -> str:
    if isinstance(found, pd.DataFrame):
        return digest(tuple(found[name].tolist() for name in found))
    if isinstance(found, lf.Fit):
        return digest((found.param_values, found.fixed_vcov, found.loglik.value))
    return digest(found)


def _drawn(fit: lf.Fit, n: int) -> pd.DataFrame:
    return fit.simulate(n, seed=3)


def _scores(fit: lf.Fit, **how: Any) -> Any:
    found = fit.cross_validate(4, seed=1, **how)
    return found.log_densities, found.predicted, found.error, found.outcomes


def _power(test: str) -> Callable[..., Any]:
    how = {"size": [5.0, 8.0], "num_groups": 10, "num_sims": 12, "seed": 2}
    return lambda fit, **more: lf.power(fit, "Days", test, **how, **more).to_frame()


# What is called of the fit of slopes, and of that of counts, which is fitted one by one.
SLOPES: dict[str, Callable[..., Any]] = {
    "bootstrap": lambda fit, **how: tuple(bootstrap(fit, 9, seed=1, **how)),
    "refit": lambda fit, **how: fit.refit(_drawn(fit, 1)["sim_1"], **how),
    "refit of many": lambda fit, **how: fit.refit(_drawn(fit, 7), **how).to_frame(),
    "profile": lambda fit, **how: fit.profile(
        ["Days", "sigma", "cor(Subject:Intercept,Days)"], **how
    ).to_frame(),
    "intervals": lambda fit, **how: fit.confint("profile", parm=["Days", "sigma"], **how),
    "cross-validation": _scores,
    "power": _power("wald"),
    "power by ratios": _power("lrt"),
    "power by t": _power("satterthwaite"),
}
COUNTS: dict[str, Callable[..., Any]] = {
    "bootstrap, Laplace": lambda fit, **how: tuple(bootstrap(fit, 4, seed=1, **how)),
    "cross-validation, Laplace": lambda fit, **how: _scores(fit, **how),
    "refit, Laplace": lambda fit, **how: fit.refit(_drawn(fit, 1)["sim_1"], **how),
    "profile, Laplace": lambda fit, **how: fit.confint("profile", parm=["sd(BROOD)"], **how),
}


def _check(call: Callable[..., Any], fit: lf.Fit, folder: Path) -> None:
    expected = _bits(call(fit))
    with fits.killed_at(-1) as entered:
        assert _bits(call(fit, checkpoint=folder)) == expected
    assert not folder.exists()
    for place in {1, max(1, len(entered) // 2), len(entered)}:
        with fits.killed_at(place), pytest.raises(fits.Killed):
            call(fit, checkpoint=folder)
        assert folder.exists()
        with fits.killed_at(-1) as again:
            assert _bits(call(fit, checkpoint=folder)) == expected
        assert len(again) < len(entered)
        assert not folder.exists()


@pytest.mark.parametrize("name", SLOPES)
def test_a_killed_call_goes_on_to_the_same_bits(name: str, slopes: lf.Fit, tmp_path: Path) -> None:
    with mock.patch.object(in_turn, "MOST_AT_A_TIME", 4):
        _check(SLOPES[name], slopes, tmp_path / "folder")


@pytest.mark.parametrize("name", COUNTS)
def test_a_killed_call_of_single_fits_goes_on(name: str, ticks: lf.Fit, tmp_path: Path) -> None:
    _check(COUNTS[name], ticks, tmp_path / "folder")


def test_a_checkpoint_of_another_call_is_refused(slopes: lf.Fit, tmp_path: Path) -> None:
    with fits.killed_at(1), pytest.raises(fits.Killed):
        bootstrap(slopes, 9, seed=1, checkpoint=tmp_path / "folder")
    for other in (
        lambda: bootstrap(slopes, 9, seed=2, checkpoint=tmp_path / "folder"),
        lambda: bootstrap(slopes, 8, seed=1, checkpoint=tmp_path / "folder"),
        lambda: slopes.cross_validate(4, seed=1, checkpoint=tmp_path / "folder"),
        lambda: slopes.refit(slopes.simulate(2), checkpoint=tmp_path / "folder"),
    ):
        with pytest.raises(CheckpointError, match="is of another"):
            other()


def test_an_interrupt_leaves_the_checkpoint(slopes: lf.Fit, tmp_path: Path) -> None:
    module = sys.modules[bootstrap.__module__]
    drawn, folder = module.with_drawn, tmp_path / "folder"
    calls = iter(range(100))

    def stopped(*given: Any) -> Any:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return drawn(*given)

    with mock.patch.object(module, "with_drawn", stopped):
        found = bootstrap(slopes, 9, seed=1, checkpoint=folder)
    assert found.is_interrupted
    assert folder.exists()
    with pytest.raises(CheckpointError):
        bootstrap(slopes, 7, seed=1, checkpoint=folder)


def test_wald_intervals_take_none(slopes: lf.Fit, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="take no checkpoint"):
        slopes.confint(checkpoint=tmp_path / "folder")
    assert np.array_equal(list(tmp_path.iterdir()), [])
