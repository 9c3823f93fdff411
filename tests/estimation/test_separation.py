"""Coefficients without a finite estimate: found, named, and not found where there are none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.optimize

import lmeformula as lf
from lmeformula.errors import ConvergenceError

RNG = np.random.default_rng(0)
N = 200
G, X = np.arange(N) % 20, RNG.normal(size=N)
TREATED = RNG.random(N) < 0.3
ETA = 0.5 * X + RNG.normal(size=20)[G]
YES = RNG.random(N) < 1 / (1 + np.exp(-ETA))
GRADE = 1 + np.digitize(ETA + RNG.logistic(size=N), [-1.0, 0.5, 2.0])
COUNT = RNG.poisson(np.exp(ETA))
CELL = np.array(list("abc"))[np.arange(N) % 3]
FRAME = {
    "x": X,
    "g": G,
    "t": TREATED.astype(float),
    "f": CELL,
    "year": 2000.0 + np.arange(N) % 7,
    "far": np.where(np.arange(N) == 5, 1e4, X),
    "yes": YES,
    "always": YES | TREATED,
    "never_elsewhere": YES & TREATED,
    "cell": YES & ~((CELL == "b") & TREATED),
    "sign": X > 0,
    "steep": RNG.random(N) < 1 / (1 + np.exp(-20 * X)),
    "once": np.arange(N) == np.flatnonzero(~TREATED)[3],
    "k": 5 * (YES | TREATED),
    "m": 5 - 5 * (YES | TREATED),
    "grade": GRADE,
    "top": np.where(TREATED, 4, GRADE),
    "bottom_elsewhere": np.where(TREATED, GRADE, 1),
    "step": 1 + np.digitize(X, [-1.0, 0.0, 1.0]),
    "count": COUNT,
    "none": np.where(TREATED, 0, COUNT),
    "time": RNG.gamma(2.0, np.exp(1e-3 * ETA)),
    "o": np.full(N, -20.0),
    "large": COUNT * 1_000,
}
SEPARATED = {
    "yes": ("always ~ x + t + (1 | g)", "bernoulli", {"t"}),
    "probit": ("always ~ x + t + (1 | g)", "bernoulli(probit)", {"t"}),
    "cloglog": ("always ~ x + t + (1 | g)", "bernoulli(cloglog)", {"t"}),
    "out of trials": ("cbind(k, m) ~ x + t + (1 | g)", "binomial", {"t"}),
    "the reference": ("never_elsewhere ~ x + t + (1 | g)", "bernoulli", {"Intercept", "t"}),
    "an interaction": ("cell ~ f * t + (1 | g)", "bernoulli", {"f[T.b]:t"}),
    "one yes": ("once ~ x + t + (1 | g)", "bernoulli", {"t"}),
    "everything": ("sign ~ x + (1 | g)", "bernoulli", {"Intercept", "x"}),
    "no counts": ("none ~ x + t + (1 | g)", "poisson", {"t"}),
    "the top": ("top ~ x + t + (1 | g)", "cumulative", {"t"}),
    "the top by steps": ("top ~ x + t + (1 | g)", "sratio", {"t"}),
    "the top by neighbours": ("top ~ x + t + (1 | g)", "acat", {"t"}),
    "all grades": ("step ~ x + (1 | g)", "cumulative", {"x", "1|2", "2|3", "3|4"}),
    "the bottom elsewhere": (
        "bottom_elsewhere ~ x + t + (1 | g)",
        "cumulative",
        {"t", "1|2", "2|3", "3|4"},
    ),
}


@pytest.mark.parametrize("case", SEPARATED)
def test_what_predicts_perfectly_is_named(case):
    formula, family, names = SEPARATED[case]
    fit = lf.fit(formula, FRAME, family, method="laplace")
    assert fit.outcome is lf.Outcome.SEPARATION
    assert not fit.converged
    missing = {
        name
        for name, error in zip(fit.param_names, fit.param_stderr, strict=True)
        if np.isnan(error) and not name.startswith("sd(")
    }
    assert missing == names
    assert set(fit.diagnostics.endless) == names
    assert all(name in str(fit.diagnostics) for name in names)
    text = " ".join(str(fit.summary()).split())
    assert text.startswith("Some responses are predicted perfectly")
    assert "Without a finite estimate: " in text
    assert all(name in text for name in names)
    assert "Without a finite" in " ".join(repr(fit).split())
    # What else is in the model has its estimates and standard errors.
    others = [name for name in fit.fixef.index if name not in names]
    assert (fit.stderr[others] > 0).all()
    assert np.isfinite(fit.predict(kind="link")).all()


# Rows of a group are all alike, or, of an indicator within groups, those on either side of it.
KIND = G % 2
BY_GROUPS = {
    "yes": (KIND, "y ~ 1 + (1 | g)", "bernoulli"),
    "probit": (KIND, "y ~ 1 + (1 | g)", "bernoulli(probit)"),
    "out of trials": (5 * KIND, "y | trials(five) ~ 1 + (1 | g)", "binomial"),
    "grades": (1 + G % 3, "y ~ 1 + (1 | g)", "cumulative"),
    "slopes": ((G + TREATED) % 2, "y ~ t + (t | g)", "bernoulli"),
    "crossed": (KIND, "y ~ 1 + (1 | g) + (1 | f)", "bernoulli"),
}


@pytest.mark.parametrize("case", BY_GROUPS)
def test_groups_whose_responses_are_all_alike_have_no_standard_deviation(case):
    """The likelihood rises with it towards the chance that effects have these signs; no maximum is claimed."""
    y, formula, family = BY_GROUPS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lf.LmeFormulaWarning)
        fit = lf.fit(formula, FRAME | {"y": y, "five": np.full(N, 5)}, family, method="laplace")
    assert fit.outcome is lf.Outcome.SEPARATION
    claim = {claim.name: claim for claim in fit.certificate.failing}["separation"]
    assert any(name.startswith("sd(g") for name in claim.names)
    assert set(claim.names) == set(fit.diagnostics.endless)
    assert "Without a finite estimate: " in " ".join(str(fit.summary()).split())


def test_one_response_of_another_kind_ends_it():
    y = np.where(np.arange(N) == 0, 1 - KIND, KIND)
    fit = lf.fit("y ~ 1 + (1 | g)", FRAME | {"y": y}, "bernoulli", method="laplace")
    assert fit.outcome is not lf.Outcome.SEPARATION


ORDINARY = {
    "ordinary": ("yes ~ x + t + (1 | g)", "bernoulli"),
    "steep": ("steep ~ x + (1 | g)", "bernoulli"),
    "far from the origin": ("yes ~ year + (1 | g)", "bernoulli"),
    "a row far out": ("yes ~ far + (1 | g)", "bernoulli"),
    "a row far out of grades": ("grade ~ far + (1 | g)", "cumulative"),
    "grades by year": ("grade ~ year + t + (1 | g)", "cumulative(probit)"),
    "one of many": ("once ~ x + (1 | g)", "bernoulli"),
    "small counts": ("count ~ x + offset(o) + (1 | g)", "poisson"),
    "large counts": ("large ~ x + t + (1 | g)", "nbinom2"),
    "times": ("time ~ x + year + (1 | g)", "gamma"),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_extreme_data_that_are_not_separated(case):
    formula, family = ORDINARY[case]
    fit = lf.fit(formula, FRAME, family, method="laplace")
    assert fit.outcome is not lf.Outcome.SEPARATION
    assert np.isfinite(fit.stderr).all()


def test_rows_without_trials_predict_nothing():
    data = FRAME | {"y": np.zeros(N, int), "n": np.zeros(N, int)}
    fit = lf.fit("y | trials(n) ~ x + (1 | g)", data, "binomial", method="laplace")
    assert fit.outcome is lf.Outcome.UNIDENTIFIED
    some = FRAME | {"y": np.where(CELL == "c", 0, YES), "n": np.where(CELL == "c", 0, 1)}
    fit = lf.fit("y | trials(n) ~ x + f + (1 | g)", some, "binomial", method="laplace")
    assert fit.outcome is not lf.Outcome.SEPARATION
    assert not fit.converged
    assert "f[T.c]" in str(fit.diagnostics)


def test_one_row_that_says_very_much_does_not_drown_the_others():
    data = FRAME | {"y": np.where(np.arange(N) == 7, 5e17, YES)}
    data["n"] = np.where(np.arange(N) == 7, 1e18, 1.0)
    fit = lf.fit("y | trials(n) ~ x + (1 | g)", data, "binomial", method="laplace")
    assert fit.outcome is not lf.Outcome.SEPARATION


def test_monte_carlo_em_does_not_set_out_for_infinity():
    fit = lf.fit("always ~ x + t + (1 | g)", FRAME, "bernoulli", method="mcem", progress=False)
    assert fit.outcome is lf.Outcome.SEPARATION
    assert fit.method == "laplace"


def test_what_follows_a_fit_knows_of_it():
    fit = lf.fit("always ~ x + t + (1 | g)", FRAME, "bernoulli", method="laplace")
    found = {finding.name: finding for finding in fit.check().findings}
    assert "by t" in found["separation"].what
    assert np.isnan(fit.tidy().set_index("term").loc["t", "std_error"])
    assert "predicted perfectly" in repr(fit.diagnostics)


def test_strict_raises_and_names_it():
    with pytest.raises(ConvergenceError, match="Without a finite estimate: t"):
        lf.fit("always ~ x + t + (1 | g)", FRAME, "bernoulli", method="laplace", strict=True)


def test_the_limit_is_that_of_the_fit_without_these_rows():
    """Rows that are predicted perfectly say nothing of the rest."""
    fit = lf.fit("always ~ x + t + (1 | g)", FRAME, "bernoulli", method="laplace")
    rest = {name: values[~TREATED] for name, values in FRAME.items()}
    without = lf.fit("yes ~ x + (1 | g)", rest, "bernoulli", method="laplace")
    assert fit.loglik.value == pytest.approx(without.loglik.value, abs=1e-5)
    np.testing.assert_allclose(fit.fixef[["Intercept", "x"]], without.fixef, atol=1e-4)
    np.testing.assert_allclose(fit.stderr[["Intercept", "x"]], without.stderr, rtol=1e-3)


def unordered(seed: int) -> dict[str, np.ndarray]:
    """Rows of three categories, told from each other by an indicator, by a number, or not."""
    r = np.random.default_rng(seed)
    n = 90
    x, z = r.normal(size=n), (np.arange(n) % 3 == 0).astype(float)
    chance = r.random(n)
    kind = np.where(chance < 0.4, "a", np.where(chance < 0.7, "b", "c"))
    way = seed % 4
    if way == 0:
        kind = np.where((z == 1.0) & (kind == "c"), "b", kind)
    elif way == 1:
        kind = np.where(x > 0.5, "a", np.where(kind == "a", "b", kind))
    elif way == 2:
        kind = np.where(x + z > 0.8, "c", np.where(kind == "c", "a", kind))
    return {"x": x, "z": z, "kind": kind, "g": np.arange(n) % 9}


def endless(data: dict[str, np.ndarray]) -> set[str]:
    """Coefficients that are not zero in some direction in which no row's chance falls, by linear programs.

    Albert, Anderson (1984): x_i'(gamma of its category - gamma of another) >= 0 for all rows and categories.
    """
    names = np.unique(data["kind"])
    X = np.column_stack([np.ones(len(data["x"])), data["x"], data["z"]])
    rows = []
    for x, kind in zip(X, data["kind"], strict=True):
        own = np.flatnonzero(names == kind)[0]
        for other in range(len(names)):
            if other != own:
                row = np.zeros((len(names), 3))
                row[own], row[other] = x, -x
                rows.append(row[1:].ravel())
    A = np.array(rows)
    found = set()
    labels = [f"{column}[{name}]" for name in names[1:] for column in ("Intercept", "x", "z")]
    for place, label in enumerate(labels):
        for sign in (-1.0, 1.0):
            cost = np.zeros(len(labels))
            cost[place] = sign
            best = scipy.optimize.linprog(cost, -A, np.zeros(len(A)), bounds=(-1.0, 1.0))
            if best.fun < -1e-6:
                found.add(label)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_categories_that_are_told_from_others_together(seed):
    data = unordered(seed)
    fit = lf.fit("kind ~ x + z + (1 | g)", data, "categorical", method="laplace")
    expected = endless(data)
    assert (fit.outcome is lf.Outcome.SEPARATION) == bool(expected) == (seed % 4 < 3)
    named = {name for name, error in fit.stderr.items() if np.isnan(error)}
    assert named <= expected
    assert bool(named) == bool(expected)
