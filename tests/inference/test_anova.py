"""Likelihood-ratio tests against lme4's, with Monte Carlo errors, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.em.outcome import Outcome
from lmeformula.errors import ModelError
from lmeformula.face import Fit
from lmeformula.history import LogLik
from lmeformula.inference.comparable import check_comparable
from lmeformula.model import compile
from tests.prediction.fakes import DATA, fake_fit

TABLES = json.loads((Path(__file__).parents[1] / "reference/intervals.json").read_text("utf-8"))[
    "tables"
]


@cache
def fit_of(data: str, formula: str, reml: bool = False) -> Fit:
    family = "binomial" if data == "cbpp" else "gaussian"
    method = "laplace" if data == "cbpp" else "exact"
    return lf.fit(formula, lf.datasets.load(data), family, method=method, reml=reml)


@pytest.mark.parametrize("entry", TABLES, ids=lambda entry: entry["data"])
def test_as_in_lme4(entry):
    """lme4 is within 1e-6 of these deviances for Gaussian fits, and within 6e-4 by its approximation."""
    fits = [fit_of(entry["data"], formula) for formula in entry["formulas"]]
    frame = lf.anova(*reversed(fits)).to_frame()
    expected = entry["table"]
    tolerance = 1e-5 if entry["data"] == "sleepstudy" else 1.2e-3
    assert frame["npar"].tolist() == expected["npar"]
    for column in ("AIC", "BIC", "logLik", "deviance"):
        assert frame[column].to_numpy() == pytest.approx(expected[column], abs=tolerance)
    assert frame["Chisq"][1:].astype(float).tolist() == pytest.approx(
        expected["Chisq"][1:], abs=2 * tolerance
    )
    assert frame["Df"][1:].astype(int).tolist() == expected["Df"][1:]
    assert frame["p"][1:].astype(float).tolist() == pytest.approx(
        expected["p"][1:], rel=2 * tolerance
    )
    assert frame["Chisq"].isna().tolist() == [True] + [False] * (len(fits) - 1)


SLEEP = "Reaction ~ Days + (1 | Subject)"
TEXT = """\
Likelihood-ratio tests
   npar      AIC      BIC   logLik  Chisq  Df      p
1     4  1802.08  1814.85  -897.04
2     6  1763.94  1783.10  -875.97  42.14   2  <1e-9
1: Reaction ~ Days + (1 | Subject)
2: Reaction ~ Days + (Days | Subject)
2 against 1: + (1 + Days | Subject) - (1 | Subject)
2: tests variances against zero, the edge of what they can be, where the chi-
square distribution gives too large a p."""


def test_text():
    shown = fit_of("sleepstudy", SLEEP).anova(
        fit_of("sleepstudy", "Reaction ~ Days + (Days | Subject)")
    )
    assert repr(shown) == TEXT
    assert "Likelihood-ratio" in shown._repr_html_()


SMALL = "y ~ x + (1 | g) + (1 | h)"


def noisy(difference: float, error: float, df: int = 1) -> tuple[Fit, Fit]:
    """Two fits whose log-likelihoods differ by that much, each with that Monte Carlo error."""
    smaller = fake_fit(SMALL, method="mcem", loglik=LogLik(-20.0, error, 5, 12))
    larger = fake_fit(method="mcem", loglik=LogLik(-20.0 + difference, error, 5 + df, 12))
    return smaller, larger


# chi-square with one degree: 3.84 is the 5 % point. Errors are of each log-likelihood.
VERDICTS = [
    (3.0, 0.0, "significant"),
    (1.0, 0.0, "not significant"),
    (3.0, 0.1, "significant"),
    (2.0, 0.1, "undecided"),
    (1.85, 0.1, "undecided"),
    (1.0, 0.1, "not significant"),
    (1.0, 0.5, "undecided"),
    (-0.05, 0.1, "not significant"),
]


@pytest.mark.parametrize(("difference", "error", "verdict"), VERDICTS)
def test_monte_carlo_errors_are_carried_through(difference, error, verdict):
    row = lf.anova(*noisy(difference, error)).models[1]
    assert row.chisq == pytest.approx(2 * difference)
    assert row.chisq_mc_error == pytest.approx(2 * np.sqrt(2) * error)
    reach = 1.959964 * row.chisq_mc_error
    assert row.p == pytest.approx(chi2.sf(2 * difference, 1))
    assert row.p_low == pytest.approx(chi2.sf(2 * difference + reach, 1), rel=1e-5)
    assert row.p_high == pytest.approx(chi2.sf(2 * difference - reach, 1), rel=1e-5)
    assert row.verdict == verdict


def test_families_are_named_where_they_differ():
    data, formula = lf.datasets.load("epil2"), "y ~ Visit + (1 | subject)"
    fits = [lf.fit(formula, data, name, method="laplace") for name in ("poisson", "nbinom2")]
    labels = repr(lf.anova(*fits)).splitlines()
    assert f"1: {formula}, poisson" in labels
    assert f"2: {formula}, nbinom2" in labels


def test_what_the_error_could_account_for_is_said():
    undecided = lf.anova(*noisy(2.0, 0.1))
    assert undecided.to_frame()["verdict"][1] == "undecided"
    text = " ".join(repr(undecided).split())
    assert "2: undecided. The Monte Carlo error of the log-likelihoods could account for" in text
    assert "p lies between 0.033 and 0.063" in text
    assert "undecided" not in repr(lf.anova(*noisy(3.0, 0.1)))
    assert "MC error" not in repr(lf.anova(*noisy(3.0, 0.0)))


def test_criteria_have_the_errors_of_the_log_likelihood():
    fit = noisy(0.0, 0.1)[0]
    assert fit.glance()["aic_mc_error"][0] == pytest.approx(0.2)


def test_more_lenient_levels_decide():
    fits = noisy(2.0, 0.1)
    assert lf.anova(*fits, level=0.1).models[1].verdict == "significant"
    assert lf.anova(*fits, level=0.01).models[1].verdict == "not significant"


def test_half_the_p_for_one_variance():
    smaller = fake_fit("y ~ x + (1 | g)", loglik=LogLik(-20.0, 0.0, 4, 12))
    larger = fake_fit(SMALL, loglik=LogLik(-19.0, 0.0, 5, 12))
    assert "half of it is right for one variance" in lf.anova(smaller, larger).notes[0]
    # A correlation alone is inside its bounds.
    apart = fake_fit("y ~ x + (x || g) + (1 | h)", loglik=LogLik(-19.0, 0.0, 6, 12))
    assert lf.anova(apart, fake_fit(loglik=LogLik(-18.0, 0.0, 7, 12))).notes == ()


CAVEATS = {
    "not converged": (
        fake_fit(SMALL, loglik=LogLik(-20.0, 0.0, 5, 12), outcome=Outcome.ITERATIONS_EXHAUSTED),
        "1: not converged",
    ),
    "another random effect": (
        fake_fit("y ~ x + (1 | g) + (0 + x | h)", loglik=LogLik(-20.0, 0.0, 5, 12)),
        "2: 1 does not look like a special case of it",
    ),
    "another fixed effect": (
        fake_fit("y ~ x + I(x**2) + (1 | h)", loglik=LogLik(-20.0, 0.0, 5, 12)),
        "2: 1 does not look like a special case of it",
    ),
    "lower": (
        fake_fit(SMALL, loglik=LogLik(-6.0, 0.0, 5, 12)),
        "2: the log-likelihood is lower than that of 1",
    ),
}


@pytest.mark.parametrize("case", CAVEATS)
def test_caveats(case):
    other, sentence = CAVEATS[case]
    assert any(sentence in note for note in lf.anova(other, fake_fit()).notes)


SHIFTED = DATA.assign(y=DATA["y"] + 1.0)
REFUSALS = {
    "alone": (None, "takes two fits or more"),
    "other rows": (fake_fit(SMALL, DATA[:11], loglik=LogLik(-20.0, 0.0, 5, 11)), "11 and 12"),
    "other response": (
        fake_fit(SMALL, SHIFTED, loglik=LogLik(-20.0, 0.0, 5, 12)),
        "different responses",
    ),
    "other weights": (
        fake_fit(f"y | weights(x + 1) {SMALL[1:]}", loglik=LogLik(-20.0, 0.0, 5, 12)),
        "different weights",
    ),
    "REML and not": (
        fake_fit(SMALL, reml=True, loglik=LogLik(-20.0, 0.0, 5, 12)),
        "the other of the restricted",
    ),
    "as many parameters": (
        fake_fit("y ~ x + (x | h) + (1 | g)"),
        "two fits have 7 parameters each",
    ),
    "no log-likelihood": (
        fake_fit(SMALL, loglik=LogLik(np.nan, np.nan, 5, 12)),
        "before its first iteration",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    other, message = REFUSALS[case]
    with pytest.raises(ModelError, match=message):
        lf.anova(*([fake_fit()] if other is None else [other, fake_fit()]))


def test_restricted_likelihoods_of_different_fixed_effects_are_refused():
    one = fit_of("sleepstudy", SLEEP, reml=True)
    other = fit_of("sleepstudy", "Reaction ~ 1 + (1 | Subject)", reml=True)
    with pytest.raises(ModelError, match="restricted likelihoods of different fixed effects"):
        one.anova(other)
    larger = fit_of("sleepstudy", "Reaction ~ Days + (Days | Subject)", reml=True)
    assert one.anova(larger).models[1].df == 2


def test_kinds_of_likelihood_and_families_are_kept_apart():
    rows = DATA.assign(y=np.arange(12) % 2)
    designed = lf.design(SMALL, rows)
    bernoulli = fake_fit(
        SMALL, rows, model=compile(designed, "bernoulli"), loglik=LogLik(-8.0, 0.0, 4, 12)
    )
    poisson = replace(bernoulli, model=compile(designed, "poisson"))
    with pytest.raises(ModelError, match="the families differ: bernoulli and poisson"):
        lf.anova(bernoulli, poisson)
    with pytest.raises(ModelError, match="one log-likelihood is by laplace, the other by mcem"):
        lf.anova(
            replace(bernoulli, method="laplace"),
            replace(bernoulli, method="mcem", loglik=LogLik(-7.0, 0.01, 5, 12)),
        )
    # By quadrature, and by draws, it is the likelihood itself.
    drawn = replace(bernoulli, method="mcem", loglik=LogLik(-7.0, 0.01, 5, 12))
    check_comparable([replace(bernoulli, method="quadrature"), drawn])


def crossed_rows():
    rng = np.random.default_rng(3)
    g, h, x = rng.integers(0, 300, 1500), rng.integers(0, 200, 1500), rng.normal(size=1500)
    y = 1.0 + 0.05 * x + rng.normal(size=300)[g] + (0.6 + 0.4 * x) * rng.normal(size=200)[h]
    return {"y": y + rng.normal(size=1500), "x": x, "g": g, "h": h}


# A pair of models, and how far below that of independent fits the error of their difference is.
SHARED = {
    "a fixed effect": ("y ~ 1 + (1 | g) + (1 | h)", "y ~ x + (1 | g) + (1 | h)", 0.05),
    "a slope": ("y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | g) + (x | h)", 2.0),
}


@pytest.mark.parametrize("name", SHARED)
def test_fits_by_the_same_random_signs_differ_by_less(name):
    *formulas, share = SHARED[name]
    data = crossed_rows()
    small, large = (lf.fit(formula, data, solver="direct") for formula in formulas)
    right = 2.0 * (large.loglik.value - small.loglik.value)
    ratios = []
    for seed in range(12):
        fits = [lf.fit(formula, data, solver="iterative", seed=seed) for formula in formulas]
        row = lf.anova(*fits).models[1]
        independent = 2.0 * np.hypot(*(fit.loglik.mc_error for fit in fits))
        assert row.chisq_mc_error < share * independent
        # Both maxima are short of their own by the squares of their errors.
        ratios.append((row.chisq - right) / np.hypot(row.chisq_mc_error, 1e-5))
    # Eight probes tell an error to t with seven degrees of freedom, of variance one as it is stated.
    t = scipy.stats.t(7).rvs((50_000, 12), random_state=2) * np.sqrt(5.0 / 7.0)
    low, high = np.quantile((t**2).mean(axis=1), [1e-4, 1.0 - 1e-4])
    assert low < np.mean(np.square(ratios)) < high
    # Other signs are independent.
    other = lf.fit(formulas[0], data, solver="iterative", seed=99)
    row = lf.anova(other, fits[1]).models[1]
    assert row.chisq_mc_error == pytest.approx(
        2.0 * np.hypot(other.loglik.mc_error, fits[1].loglik.mc_error)
    )
