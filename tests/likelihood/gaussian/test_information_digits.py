"""Standard errors where effects are large beside sigma, against differences of a likelihood of 60 digits.

The references are roots of the diagonal of the inverse of minus the second derivatives at the maximum, found by
Newton's method, of the same likelihoods in mpmath 1.4.1 with 60 digits: differences with steps of 1e-15.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf


def far_from_zero() -> pd.DataFrame:
    """Five groups whose intercepts and slopes go together, at an x about a thousand: sd 3778, sigma .008."""
    rng = np.random.default_rng(7)
    g, x = np.repeat(np.arange(5), 8), np.round(rng.normal(size=40) + 1000.0, 3)
    b = rng.normal(size=(5, 2))[:, 0][g]
    noise = rng.normal(size=40)
    return pd.DataFrame(
        {"y": np.round(500 + 4 * b * (x - 999.0) + 0.01 * noise, 4), "x": x, "g": g}
    )


def steep() -> pd.DataFrame:
    """Four groups with intercepts of thousands and slopes that nearly undo them, and sigma one."""
    rng = np.random.default_rng(4)
    g, x = np.arange(40) % 4, (np.arange(40) // 4).astype(float)
    b, own = rng.normal(size=4)[g], rng.normal(size=4)[g]
    y = np.round(2000 * b - 100 * b * x + 0.3 * own * x + rng.normal(size=40), 3)
    return pd.DataFrame({"y": y, "x": x, "g": g})


@pytest.mark.parametrize(
    ("data", "term", "reml", "sds", "correlation"),
    [
        (far_from_zero(), "(x | g)", False, (1194.720959, 1.19591667, 0.0009687460876), None),
        (far_from_zero(), "(x | g)", True, (1493.401069, 1.494895708, 0.0009972386051), None),
        (steep(), "(x | g)", False, (622.3728615, 31.1032774, 0.1299935569), 8.736393885e-7),
        (steep(), "(x | g)", True, (829.8304695, 41.47102776, 0.1299935569), 1.055463526e-6),
        (steep(), "cs(x | g)", False, (622.3728615, 31.1032774, 0.1299935569), 8.736393885e-7),
    ],
)
def test_errors_of_sds_that_go_along_with_one_another(data, term, reml, sds, correlation):
    """Each alone is known to a millionth of its size, and both together as an sd of so many groups is."""
    fit = lf.fit(f"y ~ x + {term}", data, reml=reml, progress=False)
    assert fit.outcome is lf.Outcome.CONVERGED, fit.certificate
    found = np.array(fit.param_stderr)[[2, 3, 5]]
    # A correlation that is a millionth from -1 leaves of a double's digits those of eps / (1 + rho)^2, and
    # which they are hangs on the processor's kernels: 1e-6 on one, 4e-5 on another.
    digits = 1e-5 if correlation is None else np.finfo(float).eps / correlation**2
    np.testing.assert_allclose(found, sds, rtol=digits)
    if correlation is None:
        assert fit.singular
        assert np.isnan(fit.param_stderr[4])
    else:
        np.testing.assert_allclose(fit.param_stderr[4], correlation, rtol=digits)


def test_errors_without_a_residual_and_with_a_correlation_at_its_bound():
    """Of twelve rows that effects meet exactly; the sd of x had been off by 6 %.

    In the reference sigma is zero, and the correlation minus one.
    """
    y = "-0.4134092864024884 4.241495158697191 1.9545306456628069 -0.8208125968755812 "
    y += "0.9644723031303843 1.747428512901596 -0.9147423882129134 -8.605071250040748 "
    y += "-0.7337678712834245 -2.905951340413092 3.939924835228214 5.381513257721937"
    data = pd.DataFrame(
        {
            "y": [float(value) for value in y.split()],
            "x": [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            "a": list("uxuuuuuvuvux"),
            "g": [0, 3, 1, 0, 2, 1, 2, 4, 0, 4, 1, 3],
            "h": [3, 1, 0, 4, 0, 0, 2, 2, 3, 4, 3, 2],
            "k": [1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1],
            "w": [0.5, 2.0, 2.0, 10.0, 1.0, 1.0, 10.0, 0.5, 10.0, 1.0, 0.5, 10.0],
        }
    )
    formula = "y ~ 1 + x + a + (1 + x | g) + (1 | g:h) + (1 | g:k)"
    fit = lf.fit(formula, data, weights="w", progress=False)
    assert fit.outcome is lf.Outcome.BOUNDARY
    found = np.array(fit.param_stderr)[[4, 5, 7, 8]]
    # At ten times what stands for a sigma of zero.
    expected = [0.53593843, 0.78487719, 0.24128678, 0.090015866]
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert np.isnan(np.array(fit.param_stderr)[[6, 9]]).all()
