"""Standard errors where each row says much: counts about a million, and amounts and shares that vary by 0.1 %.

much.csv was simulated; the reference numbers are glmmTMB 1.1.5's, on R 4.2, of
`glmmTMB(y ~ x + (x | g) + (1 | h), family = ...)`, of binomial with `cbind(y, 1e6 - y)`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

DATA = Path(__file__).parent / "much.csv"
# logLik; errors of the intercept and of x, of the logarithms of the three sds, and of the log dispersion
REFERENCE = {
    "poisson": (-2232.471, (0.135469154, 0.054495519), (0.2057488, 0.2041253, 0.2552766), None),
    "gamma": (1059.173, (0.135476501, 0.054525499), (0.2057500, 0.2041256, 0.2552787), 0.0978238),
    "binomial": (-2019.333, (0.135535603, 0.054526536), (0.2057482, 0.2041261, 0.2552783), None),
    "nbinom2": (
        -2741.635,
        (0.135533431, 0.054439881),
        (0.2057669, 0.2041740, 0.2553034),
        0.0988069,
    ),
    "beta": (1301.844, (0.135457828, 0.054537971), (0.205751, 0.204128, 0.255291), 0.097823),
}


@pytest.mark.parametrize("family", REFERENCE)
def test_standard_errors_are_those_of_glmmTMB(family):
    fit = fitted(family)
    loglik, fixed, sds, own = REFERENCE[family]
    assert fit.converged
    assert fit.loglik.value == pytest.approx(loglik, abs=2e-3)
    np.testing.assert_allclose(fit.stderr, fixed, rtol=1e-4)
    relative = dict(zip(fit.param_names, fit.param_stderr / fit.param_values, strict=True))
    found = [relative[name] for name in ("sd(g:Intercept)", "sd(g:x)", "sd(h)")]
    np.testing.assert_allclose(found, sds, rtol=1e-4)
    if own is not None:
        assert relative[fit.param_names[-1]] == pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_so_are_those_of_the_iterative_solver(family):
    np.testing.assert_allclose(
        fitted(family, solver="iterative").stderr, REFERENCE[family][1], rtol=5e-3
    )


def fitted(family: str, **options: str) -> lf.Fit:
    response = "binomial | trials(m)" if family == "binomial" else family
    data = pd.read_csv(DATA).assign(m=10**6)
    return lf.fit(
        f"{response} ~ x + (x | g) + (1 | h)",
        data,
        family,
        method="laplace",
        progress=False,
        **options,
    )
