"""Power against distributions that are known exactly, and what it refuses before it simulates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy.stats import binom, chi2, f, ncf, nct, norm

import lmeformula as lf
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.inference.power_record import Power
from tests.prediction.fakes import fake_fit

# Powers are shares of so many responses; one of 2,000 tests lies further than this many errors off.
SIMS, FAR = 1500, 3.5


def balanced(num_groups: int = 8, per_group: int = 6) -> pd.DataFrame:
    """x sums to zero in every group, z is of groups; groups differ so much that none has no variance."""
    r = np.random.default_rng(1)
    g = np.repeat(np.arange(num_groups), per_group)
    x = np.tile(np.arange(per_group) - (per_group - 1) / 2, num_groups)
    z = np.repeat(np.arange(num_groups) % 2, per_group)
    y = 0.1 * x + 5.0 * r.normal(size=num_groups)[g] + r.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{i}" for i in g]})


TRUE = {"sd(g)": 5.0, "sigma": 1.0}


def is_near(found: Power, expected: float) -> None:
    error = np.sqrt(expected * (1.0 - expected) / found.points[0].num_sims)
    assert abs(found.power - expected) < FAR * error
    assert found.points[0].num_lost == 0


@pytest.fixture(scope="module")
def fit() -> lf.Fit:
    return lf.fit("y ~ x + (1 | g)", balanced())


@pytest.fixture(scope="module")
def reml() -> lf.Fit:
    return lf.fit("y ~ x + (1 | g)", balanced(), reml=True)


def within(size: float, data: pd.DataFrame) -> tuple[int, float]:
    """Degrees of freedom and noncentrality of the t statistic of x: of the regression within groups."""
    return len(data) - data["g"].nunique() - 1, size * float(np.sqrt((data["x"] ** 2).sum()))


@pytest.mark.parametrize("size", [0.0, 0.2])
def test_wald_within_groups(reml, size):
    """By REML the estimate over its standard error is Student's t, compared with the normal quantile."""
    found = lf.power(reml, "x", size=size, params=TRUE, num_sims=SIMS, seed=3)
    df, away = within(size, balanced())
    z = norm.isf(0.025)
    is_near(found, nct.sf(z, df, away) + nct.cdf(-z, df, away))


def test_likelihood_ratios_within_groups(fit):
    """Twice the difference is (N - l) log(1 + F / (N - l - 1)), as groups' means say nothing of x."""
    found = lf.power(fit, "x", "lrt", size=0.2, params=TRUE, num_sims=SIMS, seed=4)
    df, away = within(0.2, balanced())
    least = df * np.expm1(chi2.isf(0.05, 1) / (df + 1))
    is_near(found, ncf.sf(least, 1, df, away**2))


def test_satterthwaite_within_groups(reml):
    found = lf.power(reml, "x", "satterthwaite", size=0.25, params=TRUE, num_sims=150, seed=5)
    df, away = within(0.25, balanced())
    is_near(found, ncf.sf(f.isf(0.05, 1, df), 1, df, away**2))


def test_more_groups_and_rows(reml):
    """Twice the groups with half of the rows: the distribution is that of the design with those."""
    found = lf.power(
        reml,
        "x",
        size=0.5,
        num_groups=16,
        rows_per_group=3,
        params=TRUE,
        num_sims=SIMS,
        seed=6,
    )
    (point,) = found.points
    assert (point.num_groups, point.num_rows) == (16, 48)
    rows = balanced()[balanced().groupby("g").cumcount() < 3]
    x = rows["x"] - rows["x"].mean()  # the same of each group
    df, away = 48 - 16 - 1, 0.5 * np.sqrt(2.0 * (x**2).sum())
    z = norm.isf(0.025)
    is_near(found, nct.sf(z, df, away) + nct.cdf(-z, df, away))


def test_a_binomial_effect_of_groups_is_found_as_by_the_exact_test_of_counts():
    """Without variance between groups: k of n by a probit of a constant. Wald's z is a function of k alone."""
    n, groups, size = 240, 12, 0.25
    data = {"k": np.arange(groups) % 3 + 9, "m": 11 - np.arange(groups) % 3, "g": np.arange(groups)}
    fit = lf.fit("cbind(k, m) ~ 1 + (1 | g)", data, "binomial", method="laplace")
    found = lf.power(fit, "Intercept", size=size, params={"sd(g)": 1e-6}, num_sims=400, seed=2)
    k = np.arange(1, n)
    z = np.log(k / (n - k)) * np.sqrt(k * (n - k) / n)
    chances = binom.pmf(k, n, 1.0 / (1.0 + np.exp(-size)))
    expected = chances[np.abs(z) > norm.isf(0.025)].sum()
    # Half of the fits find some variance between groups, and a larger error: power is less, by no more than
    # for as many more standard errors as the largest of those has, and never more.
    error = np.sqrt(expected * (1.0 - expected) / 400)
    assert expected - 0.12 - FAR * error < found.power < expected + FAR * error


def test_a_factor_is_tested_with_all_its_coefficients():
    data = balanced()
    data["a"] = np.array(list("uvw"))[np.arange(len(data)) % 3]
    fit = lf.fit("y ~ a + (1 | g)", data, reml=True)
    none = {"a[T.v]": 0.0, "a[T.w]": 0.0, **TRUE}
    found = lf.power(fit, "a", params=none, num_sims=SIMS, seed=7)
    # F of two and 48 - 8 - 2, compared with the chi-square quantile.
    is_near(found, f.sf(chi2.isf(0.05, 2) / 2, 2, 38))
    assert np.isnan(found.points[0].size)


def test_a_curve(reml):
    found = lf.power(reml, "x", size=[0.1, 0.3], num_groups=[4, 8], num_sims=100, seed=1)
    frame = found.to_frame()
    assert list(frame) == [
        "size",
        "num_groups",
        "num_rows",
        "power",
        "lower",
        "upper",
        "num_sims",
        "num_lost",
    ]
    assert frame["num_groups"].tolist() == [4, 4, 8, 8]
    assert frame["num_rows"].tolist() == [24, 24, 48, 48]
    exact = scipy.stats.beta.ppf(0.025, *_ends(frame["power"][0] * 100))
    assert frame["lower"][0] == pytest.approx(exact)
    ax = found.plot()
    assert ax.get_ylabel() == "power"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["size 0.1", "size 0.3"]
    assert len(repr(found).splitlines()) == 5
    with pytest.raises(ModelError, match="several sizes"):
        found.power  # noqa: B018


def _ends(count: float) -> tuple[float, float]:
    """Of the beta distribution whose quantile is the lower end of Clopper's and Pearson's interval."""
    return round(count), 100 - round(count) + 1


def test_the_same_seed_gives_the_same(reml):
    one, other = (lf.power(reml, "x", size=0.3, num_sims=60, seed=8) for _ in range(2))
    assert one.points == other.points


def test_a_likelihood_ratio_needs_both_fits_side_by_side_or_alone():
    """Crossed factors are fitted one by one: the same record."""
    r = np.random.default_rng(2)
    n = 96
    data = pd.DataFrame(
        {"g": np.arange(n) % 12, "h": np.arange(n) // 12 % 4, "x": r.normal(size=n)}
    )
    data["y"] = data["x"] + r.normal(size=12)[data["g"]] + r.normal(size=4)[data["h"]]
    data["y"] += r.normal(size=n)
    fit = lf.fit("y ~ x + (1 | g) + (1 | h)", data)
    found = lf.power(fit, "x", "lrt", along="g", num_groups=6, num_sims=3, seed=1)
    assert found.points[0].num_groups == 6
    assert found.power == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effect": "w"}, "there is no fixed effect 'w'"),
        ({"effect": ["x", "Intercept"], "size": 1.0}, "the effect has 2 coefficients"),
        ({"effect": "x", "test": "F"}, "test is 'F'"),
        ({"effect": "x", "along": "h"}, "there is no grouping factor 'h'"),
        ({"effect": "x", "num_groups": 1}, "num_groups is 1"),
        ({"effect": "x", "num_groups": []}, "num_groups is "),
        ({"effect": "x", "rows_per_group": 0}, "rows_per_group is 0"),
        (
            {"effect": "x", "rows_per_group": 1, "num_groups": 2},
            "do not determine all coefficients",
        ),
        ({"effect": "x", "size": np.nan}, "size is nan"),
        ({"effect": "x", "params": {"sd(h)": 1.0}}, r"there is no parameter 'sd\(h\)'"),
        ({"effect": "x", "params": {"sigma": -1.0}}, "sigma is -1"),
        ({"effect": "x", "level": 1.5}, "level is 1.5"),
        ({"effect": "x", "test": "lrt"}, "restricted likelihoods"),
    ],
)
def test_refusals(reml, arguments, message):
    with pytest.raises((ModelError, FormulaDataError), match=message):
        lf.power(reml, **arguments)


def test_what_cannot_be_refitted_in_time_is_refused():
    for changes in ({"method": "mcem"}, {"solver": "iterative"}):
        with pytest.raises(ModelError, match="by Monte Carlo EM or by the iterative solver"):
            lf.power(fake_fit(**changes), "x")
    with pytest.raises(ModelError, match="no satterthwaite degrees of freedom"):
        lf.power(fake_fit(family="poisson", method="laplace"), "x", "satterthwaite")
