"""Terms with as many coefficients as rows: refused only where nothing tells the residual from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

import lmeformula as lf
from lmeformula.design import design
from lmeformula.errors import FormulaDataError
from lmeformula.model.residual import check_residual


def _frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    row = np.arange(60)
    return pd.DataFrame(
        {
            "y": random.normal(size=60),
            "x": random.normal(size=60),
            "row": row,
            "half": row // 2,
            "third": row // 3,
            "t": row % 2,
            "f": np.array(list("abc"))[row % 3],
            "w": random.uniform(0.5, 2.0, 60),
        }
    )


REFUSED = {
    "y ~ x + (1 | row)": (
        "the grouping factor 'row' has as many levels as there are rows, 60\n"
        "    y ~ x + (1 | row)\n"
        "            ^^^^^^^^^\n"
        "Its variance cannot be told from the residual one: group by something that several rows share."
    ),
    "y ~ x + (t | half)": (
        "the term on 'half' has 2 coefficients for each of 30 levels, 60 in all, for 60 rows\n"
        "    y ~ x + (t | half)\n"
        "            ^^^^^^^^^^\n"
        "Its variances cannot be told from the residual one: use fewer columns before the bar; or without a "
        'residual, of rows with a covariance of their own, write {"mu": ..., "sigma": "~ 0"}.'
    ),
}


@pytest.mark.parametrize("formula", REFUSED)
def test_message(formula: str) -> None:
    with pytest.raises(FormulaDataError) as caught:
        check_residual(design(formula, _frame()))
    assert str(caught.value) == REFUSED[formula]


@pytest.mark.parametrize(
    ("formula", "is_told"),
    [
        ("y ~ 1 + (1 | row)", False),
        ("y | weights(w) ~ 1 + (1 | row)", True),
        ("y ~ 1 + (x | row)", False),
        ("y ~ 1 + (0 + x | row)", True),
        ("y ~ 1 + (0 + t | row)", True),
        ("y ~ 1 + (x | half)", True),
        ("y ~ 1 + (t || half)", True),
        ("y ~ 1 + (0 + f | third)", False),
        ("y ~ 1 + diag(0 + f | third)", False),
        ("y ~ 1 + homdiag(0 + f | third)", False),
        ("y ~ 1 + cs(0 + f | third)", True),
        ("y ~ 1 + homcs(0 + f | third)", False),
        ("y ~ 1 + homcs(1 + f | third)", True),
        ("y ~ 1 + homdiag(1 + f | third)", True),
        ("y ~ 1 + ar1(0 + f | third)", True),
        ("y ~ 1 + hetar1(0 + f | third)", True),
    ],
)
def test_what_decides_is_the_covariance_and_not_the_count(formula: str, is_told: bool) -> None:
    made = design(formula, _frame())
    if is_told:
        check_residual(made)
    else:
        with pytest.raises(FormulaDataError, match="cannot be told"):
            check_residual(made)


def test_meta_analysis() -> None:
    """One row a study with a known residual variance: against the likelihood written out."""
    random = np.random.default_rng(3)
    variance = random.uniform(0.02, 0.3, 15)
    effect = 0.4 + random.normal(0, 0.5, 15) + random.normal(0, np.sqrt(variance))
    data = pd.DataFrame({"y": effect, "w": 1 / variance, "study": np.arange(15).astype(str)})

    def deviance(tau: float) -> float:
        total = variance + tau**2
        mean = np.sum(effect / total) / np.sum(1 / total)
        return float(np.sum(np.log(2 * np.pi * total) + (effect - mean) ** 2 / total))

    best = scipy.optimize.minimize_scalar(
        deviance, bounds=(0.0, 3.0), method="bounded", options={"xatol": 1e-10}
    )
    fit = lf.fit("y ~ 1 + (1 | study)", data, weights="w", sigma=1.0, progress=False)
    assert fit.outcome.converged
    assert fit.loglik.value == pytest.approx(-0.5 * best.fun, abs=1e-9)
    assert fit.varcorr.terms[0].sd[0] == pytest.approx(best.x, abs=1e-5)
