"""Parts of the variance with several predictors: by hand, of simulated responses, and of one predictor."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.special

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.r2 import icc, r2, variances
from lmeformula.model.params import Params
from tests.estimation.test_custom_rows import mine
from tests.likelihood.laplace.test_several import simulated

BETA = np.array([1.0, 0.5, -0.4, 0.3])
# Of a term (1 | p | g) of both predictors: the effects of the mean and of the scale go together.
LINKED = np.array([[0.6, 0.2], [0.2, 0.3]])
X, COUNT = "x + (1 | p | g)", "count ~ x + (1 | p | g)"


@cache
def data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


def chosen(formulas: Any, family: Any, *, own: tuple[float, ...] = (), **changes: Any) -> Any:
    """A fit with these parameters, as far as shares of the variance read it."""
    model = lf.compile(lf.design(formulas, data()), family)
    values = {"beta": BETA, "covariances": (LINKED,)} | changes
    params = Params(own=np.array(own), **values)
    # No term is a curve of the population, of which the effects are read.
    modes = (None,) * len(model.design.terms)
    made = SimpleNamespace(model=model, draws=None, modes=modes, params=params)
    made.by_observation = made
    return made


def log_scale(power: float) -> np.ndarray:
    """E exp(power eta) of the second predictor, over its effects: a lognormal mean."""
    centre = BETA[2] + BETA[3] * data()["x"].to_numpy()
    return np.exp(power * centre + 0.5 * power**2 * LINKED[1, 1])


class Case(NamedTuple):
    """A model with chosen parameters, and the mean of its rows' observation-level variances by hand."""

    formulas: dict[str, str]
    family: str
    residual: Any
    own: tuple[float, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    beta: np.ndarray = BETA


MEAN = {"mean": 2.5}
CASES = {
    "gaussian": Case({"mu": f"y ~ {X}", "sigma": f"~ {X}"}, "gaussian", lambda: log_scale(2.0)),
    "lognormal": Case(
        {"mu": f"positive ~ {X}", "sigma": f"~ {X}"}, "lognormal", lambda: log_scale(2.0)
    ),
    # Of a size d the squared coefficient of variation is 1 / m + 1 / d.
    "counts by the delta method": Case(
        {"mu": COUNT, "dispersion": f"~ {X}"},
        "nbinom2",
        lambda: 1.0 / 2.5 + log_scale(-1.0),
        options={**MEAN, "observation": "delta"},
    ),
    # A latent variable with a standard deviation of 1 / disc.
    "ordered": Case(
        {"mu": f"rating ~ {X}", "disc": f"~ {X}"},
        "cumulative",
        lambda: math.pi**2 / 3.0 * np.exp(-0.8 * data()["x"].to_numpy() + 2.0 * LINKED[1, 1]),
        own=(-1.0, 0.0, 1.0, 2.0),
        beta=np.array([0.5, 0.4]),
    ),
    "student": Case(
        {"mu": f"y ~ {X}", "scale": f"~ {X}", "df": "~ 1"},
        "student",
        lambda: log_scale(2.0) * 6.0 / 4.0,
        beta=np.array([*BETA, math.log(5.0)]),
    ),
    "shares of one": Case(
        {"mu": f"share ~ {X}", "precision": f"~ {X}"},
        "beta",
        lambda: averaged(lambda phi: 1.0 / (0.24 * (1.0 + phi))),
        options={"mean": 0.4},
    ),
    "counts by the lognormal": Case(
        {"mu": COUNT, "dispersion": f"~ {X}"},
        "nbinom2",
        lambda: averaged(lambda size: np.log1p(1.0 / 2.5 + 1.0 / size)),
        options=MEAN,
    ),
    "counts by the trigamma": Case(
        {"mu": COUNT, "dispersion": f"~ {X}"},
        "nbinom2",
        lambda: averaged(lambda size: scipy.special.polygamma(1, 1.0 / (1.0 / 2.5 + 1.0 / size))),
        options={**MEAN, "observation": "trigamma"},
    ),
}


def averaged(of: Any) -> np.ndarray:
    """The mean of what is worked out of exp(eta) of the second predictor, over its effects: a fine sum."""
    z = np.linspace(-9.0, 9.0, 2001)
    chances = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    centre = BETA[2] + BETA[3] * data()["x"].to_numpy()
    return of(np.exp(centre[:, None] + math.sqrt(LINKED[1, 1]) * z)) @ chances


@pytest.mark.parametrize("name", CASES)
def test_parts_are_those_by_hand(name):
    case = CASES[name]
    fit = chosen(case.formulas, case.family, own=case.own, beta=case.beta)
    found = variances(fit, **case.options)
    place = 0 if name == "ordered" else 1
    assert found.fixed == pytest.approx(case.beta[place] ** 2 * data()["x"].var(), rel=1e-12)
    assert found.groups == {"g": pytest.approx(LINKED[0, 0], rel=1e-12)}
    assert found.residual == pytest.approx(np.mean(case.residual()), rel=1e-8)


def test_terms_of_further_predictors_are_residual():
    formulas = {"mu": "y ~ x + (x | g)", "sigma": "~ x + (1 | h) + (0 + x | g)"}
    slopes = np.array([[0.6, 0.2], [0.2, 0.4]])
    terms = (slopes, np.array([[0.3]]), np.array([[0.1]]))
    fit = chosen(formulas, "gaussian", covariances=terms)
    found, x = variances(fit), data()["x"].to_numpy()
    assert list(found.groups) == ["g"]
    assert found.random == pytest.approx(np.mean(0.6 + 0.4 * x + 0.4 * x**2), rel=1e-12)
    centre = BETA[2] + BETA[3] * x
    expected = np.exp(2.0 * centre + 2.0 * (0.3 + 0.1 * x**2)).mean()
    assert found.residual == pytest.approx(expected, rel=1e-8)


def test_parts_are_those_of_simulated_responses():
    """Of Gaussian responses with linked effects: how much rows vary, and how much those of a level together."""
    fit = chosen({"mu": f"y ~ {X}", "sigma": f"~ {X}"}, "gaussian")
    parts, num_draws, rows = variances(fit), 20_000, data()
    rng = np.random.default_rng(4)
    root = np.linalg.cholesky(LINKED)
    effects = (rng.normal(size=(num_draws, 14, 2)) @ root.T)[:, rows["g"].to_numpy()]
    x = rows["x"].to_numpy()
    mean = BETA[0] + BETA[1] * x
    scale = np.exp(BETA[2] + BETA[3] * x + effects[..., 1])
    apart = effects[..., 0] + scale * rng.normal(size=(num_draws, len(rows)))
    # Rows of a level share its effects, and nothing else.
    first = np.flatnonzero(np.diff(rows["g"]) == 0)
    for found, expected in (
        ((apart**2).mean(axis=1), parts.random + parts.residual),
        ((apart[:, first] * apart[:, first + 1]).mean(axis=1), parts.random),
    ):
        error = found.std() / math.sqrt(num_draws)
        assert error < 0.02 * expected
        assert abs(found.mean() - expected) < 4.5 * error
    assert np.var(mean, ddof=1) == pytest.approx(parts.fixed, rel=1e-10)
    total = parts.fixed + parts.random + parts.residual
    assert r2(fit) == pytest.approx((parts.fixed / total, (parts.fixed + parts.random) / total))
    assert icc(fit)["unadjusted"].iloc[-1] == pytest.approx(parts.random / total)


@pytest.mark.parametrize(
    ("family", "formulas", "own"),
    [
        ("gaussian", {"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, 0.8),
        ("nbinom2", {"mu": "count ~ x + (1 | g)", "dispersion": "~ 1"}, 1.7),
        ("gamma", {"mu": "positive ~ x + (1 | g)", "shape": "~ 1"}, 2.2),
    ],
)
def test_a_constant_parameter_is_that_of_one_predictor(family, formulas, own):
    term = (np.array([[0.5]]),)
    several = chosen(formulas, family, beta=np.array([0.2, 0.3, math.log(own)]), covariances=term)
    one = chosen(formulas["mu"], family, beta=np.array([0.2, 0.3]), covariances=term, own=(own,))
    found, expected = variances(several), variances(one)
    assert found.groups == expected.groups
    assert found[::2] == pytest.approx(expected[::2], rel=1e-12)


def test_a_users_family_has_the_shares_of_the_built_in_one():
    formulas = {"mu": COUNT, "dispersion": f"~ {X}"}
    found, expected = (
        variances(chosen(formulas, one), mean=2.5) for one in (mine("nbinom2"), "nbinom2")
    )
    assert found.groups == expected.groups
    assert found[::2] == pytest.approx(expected[::2], rel=1e-10)


def test_a_null_fit_gives_the_mean():
    null = lf.fit("count ~ 1 + (1 | g)", data(), "nbinom2", method="laplace")
    fit = chosen({"mu": COUNT, "dispersion": f"~ {X}"}, "nbinom2")
    mean = math.exp(null.params.beta[0] + 0.5 * float(null.params.covariances[0][0, 0]))
    assert variances(fit, null=null).residual == pytest.approx(variances(fit, mean=mean).residual)


@pytest.mark.parametrize(
    ("formulas", "family", "options", "message"),
    [
        ({"mu": "count ~ x + (1 | g)", "zi": "~ x"}, "zero_inflated_poisson", {}, "no agreed R2"),
        ({"mu": COUNT, "hu": f"~ {X}"}, "hurdle_poisson", {}, "no agreed R2 of the hurdle_poisson"),
        (
            {"mu": "count ~ x + (1 | g)", "dispersion": "~ x"},
            "zero_inflated_nbinom2",
            {},
            "no agreed R2",
        ),
        ("kind ~ x + (1 | g)", "categorical", {}, "without an order have no variance"),
        (
            {"mu": f"y ~ {X}", "nu": f"~ {X}"},
            "student",
            {"observation": "latent"},
            "no latent variable behind a student response",
        ),
        ({"mu": COUNT, "dispersion": f"~ {X}"}, "nbinom2", {"mean": -1.0}, "mean is -1"),
    ],
)
def test_what_has_no_such_variance_is_refused(formulas, family, options, message):
    with pytest.raises(ModelError, match=message):
        variances(chosen(formulas, family), **options)
