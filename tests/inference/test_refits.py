"""Fits to many responses at once are the fits to each, in one record; bad responses are refused at first."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.design.respond import with_response
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.inference.refit import refit_alone
from lmeformula.inference.refits import Refits, fits_together
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn

# Further than this from a single fit's estimates, in standard errors, and log-likelihood: both are at the
# maximum but for rounding.
NEAR = 1e-9


def unbalanced(n: int = 160, num_groups: int = 16) -> pd.DataFrame:
    """Groups of about n / num_groups rows, with effects of intercept and slope that no fit misses."""
    r = np.random.default_rng(7)
    g = np.sort(r.integers(0, num_groups, n))
    x, effects = r.normal(size=n), r.normal(size=(num_groups, 2))
    y = 1.0 + 0.5 * x + effects[g, 0] + 0.8 * effects[g, 1] * x + r.normal(size=n)
    return pd.DataFrame(
        {"y": y, "x": x, "g": [f"g{i:02}" for i in g], "w": r.uniform(0.5, 2.0, n), "o": x**2}
    )


CASES = {
    "intercepts": ("y ~ x + (1 | g)", {}),
    "slopes": ("y ~ x + (x | g)", {}),
    "slopes, REML": ("y ~ x + (x | g)", {"reml": True}),
    "slopes apart": ("y ~ x + (x || g)", {}),
    "one variance": ("y ~ x + diag(x | g, hom = TRUE)", {}),
    "weights, offset": ("y | weights(w) ~ x + offset(o) + (1 | g)", {}),
    "sigma held": ("y ~ x + (1 | g)", {"sigma": 1.0}),
    "no fixed effects": ("y ~ 0 + (1 | g)", {"reml": True}),
}


def singly(fit: lf.Fit, designs: list[lf.Design]) -> list[lf.Fit]:
    return [refit_alone(fit, design) for design in designs]


def drawn(fit: lf.Fit, count: int, seed: int = 3) -> list[lf.Design]:
    return [with_drawn(fit, one) for one in responses(sampler_of(fit), count, seed)]


def compare(found: Refits, expected: list[lf.Fit]) -> None:
    error = np.array([one.param_stderr for one in expected])
    # On a boundary there is none.
    error = np.where(error > 0.0, error, np.nanmedian(np.where(error > 0.0, error, np.nan), axis=0))
    away = np.abs(found.values - np.array([one.param_values for one in expected])) / error
    assert away.max() < NEAR
    logliks = np.array([one.loglik.value for one in expected])
    assert np.abs(found.logliks - logliks).max() < NEAR
    fixed = np.array([one.stderr.to_numpy() for one in expected])
    np.testing.assert_allclose(found.stderr, fixed, rtol=1e-8)
    assert found.outcomes == tuple(one.outcome for one in expected)
    assert found.singular.tolist() == [one.singular for one in expected]


@pytest.mark.parametrize("name", CASES)
def test_gaussian_fits_side_by_side_are_single_fits(name):
    formula, options = CASES[name]
    fit = lf.fit(formula, unbalanced(), **options)
    designs = drawn(fit, 12)
    together = fits_together(fit)
    assert together is not None
    # Not by handing all of them to single fits.
    assert together(designs).found.mean() > 0.8
    found = fit.refit(np.column_stack([design.y for design in designs]))
    compare(found, singly(fit, designs))


@pytest.mark.parametrize("reml", [False, True])
def test_variances_of_zero_and_few_rows(reml):
    """Dyestuff: a tenth of its responses show no variance of batches; other maxima are looked for."""
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"), reml=reml)
    designs = drawn(fit, 40)
    together = fits_together(fit)
    assert together is not None
    assert together(designs).found.all()
    found = fit.refit(fit.simulate(40, seed=3))
    assert 0 < found.singular.sum() < 40
    assert (found.values[found.singular, 1] == 0.0).all()
    compare(found, singly(fit, designs))


@pytest.mark.parametrize("reml", [False, True])
def test_singular_covariances_with_correlations(reml):
    """Slopes that do not vary: half of the covariances are of rank one, with correlations of one."""
    data = unbalanced()
    fit = lf.fit("y ~ x + (x | g)", data, reml=reml)
    r = np.random.default_rng(2)
    Y = r.normal(size=(len(data), 10)) + r.normal(size=(16, 10))[pd.factorize(data["g"])[0]]
    designs = [with_response(fit.model.design, column) for column in Y.T]
    together = fits_together(fit)
    assert together is not None
    done = together(designs)
    assert done.found.mean() > 0.8
    assert 0 < done.singular[done.found].sum() < done.found.sum()
    compare(fit.refit(Y), [fit.refit(column) for column in Y.T])


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)"])
def test_few_rows_with_several_deviations(formula):
    """Of few rows a single fit looks at turned correlations and at each deviation alone, as these do."""
    fit = lf.fit(formula, unbalanced(80, 10))
    designs = drawn(fit, 12)
    together = fits_together(fit)
    assert together is not None
    assert together(designs).found.mean() > 0.6
    compare(fit.refit(np.column_stack([design.y for design in designs])), singly(fit, designs))


def test_crossed_factors_are_fitted_one_by_one():
    r = np.random.default_rng(3)
    n = 144
    g, h = np.arange(n) % 12, np.arange(n) // 12 % 6
    y = r.normal(size=n) + r.normal(size=12)[g] + r.normal(size=6)[h]
    fit = lf.fit("y ~ 1 + (1 | g) + (1 | h)", {"y": y, "g": g, "h": h})
    assert fits_together(fit) is None
    designs = drawn(fit, 3)
    compare(fit.refit(np.column_stack([one.y for one in designs])), singly(fit, designs))


def test_the_bootstrap_is_these_refits():
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
    from lmeformula.inference.bootstrap import bootstrap

    refits = fit.refit(fit.simulate(30, seed=4))
    np.testing.assert_array_equal(bootstrap(fit, 30, seed=4).values, refits.values)


def test_the_record():
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    found = fit.refit(fit.simulate(5, seed=1))
    frame = found.to_frame()
    assert frame.index.tolist() == [f"sim_{i}" for i in range(1, 6)]
    assert list(frame) == [
        "Intercept",
        "sd(Batch)",
        "sigma",
        "se(Intercept)",
        "loglik",
        "singular",
        "outcome",
    ]
    assert len(found) == 5
    assert set(frame["outcome"]) == {"CONVERGED"}
    second = found[1]
    assert second.loglik == frame["loglik"].iloc[1]
    assert second.converged
    assert [one.loglik for one in found] == found.logliks.tolist()
    assert repr(found).startswith("5 refits, 5 converged, ")
    with pytest.raises(IndexError):
        found[5]


def test_rows_with_missing_values_may_be_given_or_not():
    data = unbalanced()
    data.loc[data.index % 9 == 4, "x"] = np.nan
    fit = lf.fit("y ~ x + (1 | g)", data)
    Y = data["y"].to_numpy()[:, None] + np.random.default_rng(1).normal(size=(len(data), 2))
    used = fit.model.design.rows
    np.testing.assert_array_equal(fit.refit(Y).values, fit.refit(Y[used]).values)


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.ones((5, 3)), "in column 0: the new response has 5 values, and the fit used 30 rows"),
        (np.zeros((30, 0)), "there are no new responses"),
        (
            pd.DataFrame({"a": np.arange(30.0), "b": [np.nan] + [1.0, 2.0] * 14 + [3.0]}),
            "in column 'b': the new response is missing or infinite in 1 of the rows used",
        ),
        (pd.DataFrame({"a": np.ones(30)}), "in column 'a': .* is constant"),
        (pd.DataFrame({"a": ["u", "v"] * 15}), "in column 'a': .* the new one categorical"),
        (
            np.ma.masked_greater(np.arange(60.0).reshape(30, 2), 57.0),
            "in column 0: the new response is missing or infinite in 1 of the rows used",
        ),
        (1e200 * np.arange(60.0).reshape(30, 2), "in column 0: .* is as large as 5.8e.201"),
        (1e-300 * np.arange(60.0).reshape(30, 2), "in column 0: .* is as large as 5.8e-299"),
    ],
    ids=["rows", "none", "missing", "constant", "categories", "masked", "huge", "tiny"],
)
def test_bad_responses(Y, message):
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    with pytest.raises((FormulaDataError, ModelError), match=message):
        fit.refit(Y)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries(library):
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    Y = fit.simulate(3, seed=1)
    columns = {name: Y[name].to_numpy() for name in Y}
    module = pytest.importorskip(library)
    found = fit.refit(module.DataFrame(columns) if library == "polars" else module.table(columns))
    np.testing.assert_array_equal(found.values, fit.refit(Y).values)
    assert found.labels == ("sim_1", "sim_2", "sim_3")


def cbpp(method: str) -> lf.Fit:
    return lf.fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        lf.datasets.load("cbpp"),
        "binomial",
        method=method,
    )


@pytest.mark.parametrize("method", ["laplace", "quadrature"])
def test_binomial_fits_side_by_side_are_single_fits(method):
    """Single fits stop where 1e-9 of log-likelihood is in sight, 4.5e-5 standard errors off or less.

    Their modes are known to 1e-8 standard deviations, of 15 herds, which is in the log-determinant; and a sum
    over nodes to the square of SETTLED for each herd.
    """
    fit = cbpp(method)
    designs = drawn(fit, 6)
    together = fits_together(fit)
    assert together is not None
    assert together(designs).found.mean() > 0.8
    found, expected = fit.refit(fit.simulate(6, seed=3)), singly(fit, designs)
    error = np.array([one.param_stderr for one in expected])
    away = np.abs(found.values - np.array([one.param_values for one in expected])) / error
    assert away.max() < 2 * np.sqrt(2e-9)
    logliks = np.array([one.loglik.value for one in expected])
    assert np.abs(found.logliks - logliks).max() < 15 * 1e-9
    np.testing.assert_allclose(found.stderr, [one.stderr.to_numpy() for one in expected], rtol=1e-4)
    assert found.outcomes == tuple(one.outcome for one in expected)


@pytest.mark.parametrize("method", ["laplace", "quadrature"])
def test_variances_of_zero_of_binomial_fits(method):
    fit = cbpp(method)
    r, size = np.random.default_rng(1), fit.model.design.response.values.sum(axis=1)
    # Chances that no herd moves.
    Y = pd.DataFrame({i: r.binomial(size.astype(int), 0.15) for i in range(4)})
    found = fit.refit(Y)
    expected = [fit.refit(Y[i].to_numpy()) for i in Y]
    assert found.singular.any()
    assert found.singular.tolist() == [one.singular for one in expected]
    logliks = np.array([one.loglik.value for one in expected])
    assert np.abs(found.logliks - logliks).max() < 15 * 1e-9


def test_separated_responses_are_single_fits():
    """A period without incidences has no finite coefficient, and both say so."""
    fit = cbpp("laplace")
    k = fit.model.design.response.values[:, 0].copy()
    k[fit.model.design.X[:, 1] == 1.0] = 0.0
    found = fit.refit(pd.DataFrame({"k": k}))
    assert [one.name for one in found.outcomes] == ["SEPARATION"]


def grouped(family: str, seed: int = 5) -> lf.Fit:
    """Of 120 rows in 12 groups, which say little of how far the family is from a simpler one."""
    r = np.random.default_rng(seed)
    g, x = np.arange(120) % 12, r.normal(size=120)
    eta = 0.4 + 0.5 * x + 0.8 * r.normal(size=12)[g]
    y = {
        "nbinom2": lambda: r.negative_binomial(2.0, 2.0 / (2.0 + np.exp(eta))),
        "beta": lambda: r.beta(6.0 / (1.0 + np.exp(-eta)), 6.0 / (1.0 + np.exp(eta))),
        "student": lambda: eta + 0.7 * r.standard_t(3.0, size=120),
    }[family]()
    return lf.fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g}, family, method="laplace")


@pytest.mark.parametrize("family", ["nbinom2", "beta", "student"])
def test_own_parameters_that_rows_say_little_of_are_fitted_side_by_side(family):
    """The tolerances are those of `test_binomial_fits_side_by_side_are_single_fits`, of 12 groups."""
    fit = grouped(family)
    designs = drawn(fit, 8)
    together = fits_together(fit)
    assert together is not None
    done = together(designs)
    assert done.found.mean() > 0.6
    some = np.flatnonzero(done.found)[:2]
    for place, one in zip(some, singly(fit, [designs[place] for place in some]), strict=True):
        assert one.outcome.name == "CONVERGED"
        away = np.abs(done.values[place] - one.param_values) / one.param_stderr
        assert away.max() < 2 * np.sqrt(2e-9)
        assert done.logliks[place] == pytest.approx(one.loglik.value, abs=12e-9)


def test_own_parameters_at_their_limit_are_single_fits():
    """Counts that vary as Poisson ones do, or less, have no dispersion, and both say so."""
    fit = grouped("nbinom2")
    r = np.random.default_rng(1)
    Y = pd.DataFrame(r.poisson(3.0, size=(120, 3)))
    Y[2] = np.random.default_rng(2).binomial(6, 0.5, size=120)
    found, expected = fit.refit(Y), [fit.refit(Y[i].to_numpy()) for i in Y]
    assert "BOUNDARY" in [one.name for one in found.outcomes]
    assert found.outcomes == tuple(one.outcome for one in expected)
    logliks = np.array([one.loglik.value for one in expected])
    assert np.abs(found.logliks - logliks).max() < 12e-9


def test_a_bootstrap_loses_separated_responses_without_single_fits():
    """The second and the third response lack incidences in a period; the first has them in all."""
    fit = cbpp("laplace")
    first = fit.model.design.response.values[:, 0]
    Y = [first.copy() for _ in range(3)]
    for period, k in zip((1, 2), Y[1:], strict=True):
        k[fit.model.design.X[:, period] == 1.0] = 0.0
    together = fits_together(fit)
    assert together is not None
    done = together([with_drawn(fit, k) for k in Y], False)
    assert done.found.tolist() == [True, False, False]
    assert done.is_endless.tolist() == [False, True, True]
    expected = [fit.refit(k).outcome.name for k in Y]
    assert expected == ["CONVERGED", "SEPARATION", "SEPARATION"]
