"""The parametric bootstrap: its refits, its intervals where they are known, what it does when stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference import bootstrap as module
from lmeformula.inference.bootstrap import bootstrap
from tests.prediction.fakes import fake_fit
from tests.store.fits import fitted


def test_fixed_effect_of_a_balanced_layout():
    """By hand: the estimate is the mean, normal with the variance of the fit, so quantiles are Wald's ends.

    A quantile at 2.5 % of 300 draws has the standard error sqrt(.025 * .975 / 300) / phi(1.96) = 0.154.
    """
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    row = fit.confint("boot", parm="Intercept", num_refits=300, seed=3).iloc[0]
    wald = fit.confint(parm="Intercept").iloc[0]
    error = 0.154 * fit.param_stderr[0]
    assert row["lower"] == pytest.approx(wald["lower"], abs=4 * error)
    assert row["upper"] == pytest.approx(wald["upper"], abs=4 * error)
    assert row["note"] == ""


@pytest.mark.parametrize(
    "name", ["exact", "bernoulli", "probit", "binomial", "poisson", "cumulative", "gamma"]
)
def test_a_refit_is_the_fit_to_what_was_simulated(name):
    fit = fitted(name)
    found = bootstrap(fit, 4, seed=6)
    assert (len(found.values), found.num_lost, found.is_interrupted) == (4, 0, False)
    draws = fit.simulate(4, seed=6)
    for column, values in zip(draws, found.values, strict=True):
        again = fit.refit(draws[column])
        assert again.converged
        error = np.where(again.param_stderr > 0, again.param_stderr, 1.0)
        assert (np.abs(values - again.param_values) < 2e-3 * error).all()


def test_automatic_derivatives_are_compiled_once_for_all_refits():
    """A user's family has none written out."""
    from lmeformula.likelihood.laplace.automatic import _programs
    from tests.store.fits import data
    from tests.what_works import own_family

    fit = lf.fit("c ~ x + (1 | g)", data(), own_family(), method="laplace")
    before = _programs.cache_info().misses
    found = bootstrap(fit, 3)
    assert len(found.values) + found.num_lost == 3
    assert _programs.cache_info().misses == before
    response = fit.model.family.response(fit.model.design)
    shapes = tuple(array.shape[1:] for array in response)
    shallow, deep = _programs(fit.model.family, 1, len(fit.params.own), shapes)
    assert (
        shallow.experimental_get_tracing_count(),
        deep.experimental_get_tracing_count(),
    ) == (1, 1)


def test_refits_of_a_monte_carlo_fit_are_moved_by_the_error_of_the_approximation():
    laplace = fitted("bernoulli")
    moved = replace(laplace, method="mcem", param_values=laplace.param_values + 0.3)
    first, second = bootstrap(laplace, 5).values, bootstrap(moved, 5).values
    np.testing.assert_allclose(second, first + 0.3, atol=1e-4)
    # Standard deviations stay where they can be.
    far = replace(laplace, method="mcem", param_values=laplace.param_values - 9.0)
    assert (bootstrap(far, 3).values[:, 2] == 0.0).all()


def test_same_seed_same_interval():
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    one, other, third = (fit.confint("boot", num_refits=100, seed=seed) for seed in (1, 1, 2))
    assert one.equals(other)
    assert not one.equals(third)
    assert one["lower"][1] == 0.0  # six batches: some responses have no variance between them


def stop_after(count, monkeypatch):
    real = module.responses

    def stopped(*arguments):
        for number, drawn in enumerate(real(*arguments)):
            if number == count:
                raise KeyboardInterrupt
            yield drawn

    monkeypatch.setattr(module, "responses", stopped)


def test_an_interrupt_leaves_the_refits_so_far(monkeypatch):
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    stop_after(60, monkeypatch)
    found = fit.confint("boot", num_refits=200)
    assert set(found["note"]) == {"interrupted after 60 of 200 refits"}
    assert (found["lower"] < found["upper"]).all()
    # At 99 % fewer than one of 60 is expected beyond both ends together.
    with pytest.raises(KeyboardInterrupt):
        fit.confint("boot", level=0.99, num_refits=200)


def test_responses_without_one_of_the_categories_are_counted():
    rng = np.random.default_rng(2)
    rating = np.array([1] * 60 + [2] * 59 + [3])
    data = pd.DataFrame({"rating": rating, "g": rng.integers(0, 6, 120)})
    data["rating"] += (rng.normal(size=6)[data["g"]] > 0) & (data["rating"] == 1)
    fit = lf.fit("rating ~ 1 + (1 | g)", data, "cumulative", method="laplace")
    found = fit.confint("boot", parm="1|2", num_refits=100)
    # One of 120 rows: no row with a chance of about exp(-1).
    lost = int(found["note"][0].split()[0])
    assert 100 * np.exp(-1) - 5 * 4.8 < lost < 100 * np.exp(-1) + 5 * 4.8
    assert found["note"][0].endswith("of 100 refits did not converge")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"solver": "iterative"}, {}, "no bootstrap of a model fitted by the iterative solver"),
        ({}, {"num_refits": 20}, "num_refits is 20"),
        ({}, {"level": 2.0}, "level is 2"),
    ],
)
def test_refusals(changes, options, message):
    with pytest.raises(ModelError, match=message):
        fake_fit(**changes).confint("boot", **options)


def test_an_option_of_refits_is_refused_by_other_methods():
    with pytest.raises(ModelError, match="intervals by 'wald' have no option 'num_refits'"):
        fake_fit().confint(num_refits=200)
