"""A slope column far from zero, by Monte Carlo EM: the fit of the column about zero, within its error."""

import numpy as np
import pytest

import lmeformula as lf
from tests.shifted import SHIFT, far, moved, moved_errors, years

# Monte Carlo errors that two fits may be apart.
RARE = 4.5
SLOW = pytest.mark.slow
CASES = [
    # With a slope of no variance: what stands for it is next to nothing at the rows, and not at zero.
    pytest.param("y ~ x + (x | g/p)", "gaussian", {}, id="nested vectors", marks=SLOW),
    pytest.param("grade ~ x + (x | g)", "cumulative", {}, id="thresholds", marks=SLOW),
    pytest.param("yes ~ x + (x | g)", "bernoulli", {}, id="binary", marks=SLOW),
    pytest.param("y ~ x + (x | g)", "gaussian", {}, id="gaussian", marks=SLOW),
    pytest.param("count ~ x + (x | g)", "poisson", {}, id="counts", marks=SLOW),
    pytest.param("yes ~ x + (x | g) + (1 | h)", "bernoulli", {}, id="crossed", marks=SLOW),
    pytest.param("yes ~ x + (x | g) + (1 | g:p)", "bernoulli", {}, id="nested", marks=SLOW),
    pytest.param("grade ~ x + (1 | g)", "cumulative", {}, id="fixed alone", marks=SLOW),
    pytest.param('y ~ x + (x | gr(g, dist = "student"))', "gaussian", {}, id="heavy", marks=SLOW),
    pytest.param(
        "yes ~ x + (x | g) + (1 | h)",
        "bernoulli",
        {"solver": "iterative"},
        id="iterative",
        marks=SLOW,
    ),
]


@pytest.mark.parametrize(("formula", "family", "options"), CASES)
def test_a_year_as_a_slope(formula, family, options):
    options = {"family": family, "method": "mcem", "seed": 1, "progress": False, **options}
    near = lf.fit(formula, years(), **{**options, "solver": "direct"})
    fit = lf.fit(formula, far(years()), **options)
    assert near.converged
    assert fit.converged, str(fit.diagnostics)
    error = RARE * np.hypot(near.loglik.mc_error, fit.loglik.mc_error)
    assert abs(fit.loglik.value - near.loglik.value) < 1e-7 + error
    # Both have errors of about the same size.
    inside = np.isfinite(near.param_stderr)
    np.testing.assert_array_equal(np.isfinite(fit.param_stderr), inside)
    stderr = fit.param_stderr[inside]
    gap = fit.param_values[inside] - moved(near.param_values, near.param_names)[inside]
    assert (np.abs(gap) < RARE * np.sqrt(2.0) * fit.param_mc_error[inside] + 1e-5 * stderr).all()
    assert fit.information == near.information
    unsure = 0.0 if fit.param_stderr_error is None else fit.param_stderr_error[inside]
    gap = stderr - moved_errors(near)[inside]
    assert (np.abs(gap) < RARE * np.sqrt(2.0) * unsure + 1e-3 * stderr).all()
    _has_the_same_effects(near, fit)


def _has_the_same_effects(near, fit):
    shift = np.array([[1.0, SHIFT], [0.0, 1.0]])
    for old, new, cov, spread in zip(
        near.modes, fit.modes, near.mode_cov, fit.mode_cov, strict=True
    ):
        back = shift if old.shape[1] == 2 else np.eye(1)
        sds = np.sqrt(np.einsum("lkk->lk", cov))
        assert (np.abs(new @ back.T - old) < 0.2 * sds).all()
        found = back @ spread @ back.T
        np.testing.assert_allclose(np.sqrt(np.einsum("lkk->lk", found)), sds, rtol=0.02)
    assert fit.watched.names == near.watched.names
    for place in range(0, 8, 2) if near.modes[0].shape[1] == 2 else ():
        draws = fit.watched.draws[:, place : place + 2] @ shift.T
        level = near.modes[0][place // 2]
        sds = np.sqrt(np.diag(near.mode_cov[0][place // 2]))
        assert (np.abs(draws.mean(axis=0) - level) < RARE * sds / np.sqrt(len(draws) / 20.0)).all()
    np.testing.assert_allclose(fit.predict(), near.predict(), atol=0.1)


def test_a_saved_fit_and_a_second_one_are_the_same(tmp_path):
    data = far(years())
    options = {"family": "bernoulli", "method": "mcem", "seed": 3, "progress": False}
    fits = [lf.fit("yes ~ x + (x | g)", data, **options) for _ in range(2)]
    assert fits[0].converged
    fits[0].save(tmp_path / "fit.lme")
    for other in (fits[1], lf.load(tmp_path / "fit.lme")):
        np.testing.assert_array_equal(other.param_values, fits[0].param_values)
        np.testing.assert_array_equal(other.param_vcov, fits[0].param_vcov)
        np.testing.assert_array_equal(other.ranef().value, fits[0].ranef().value)
        np.testing.assert_array_equal(other.watched.draws, fits[0].watched.draws)
        # New rows are read in the columns that were written.
        np.testing.assert_allclose(other.predict(data.head(20)), fits[0].predict().head(20))
