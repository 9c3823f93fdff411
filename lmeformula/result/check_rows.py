"""Result stage: tests of what the rows of a fit say against its response's distribution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from lmeformula.estimation.solver import choose_solver
from lmeformula.fit import FittedModel
from lmeformula.result.check_test import Doubt
from lmeformula.result.distribution import distribution, draw_rows, is_normal
from lmeformula.result.equations import equations
from lmeformula.result.own_limits import own_at_limits
from lmeformula.result.posterior import row_precisions
from lmeformula.result.predictor import family_values, linear_predictor, mean_response
from lmeformula.result.residuals import observed_mean, residuals

Floats = NDArray[np.float64]

# Draws of the response from which the spread of its squared residuals is estimated.
NUM_DRAWS = 100
# Nodes of the quadrature over the uncertainty of a linear predictor.
NUM_NODES = 9
# The test of tails is an approximation from this many rows on (Anscombe, Glynn 1983).
FEWEST_ROWS = 20
# A row of which the fit leaves less than this share to a residual has none.
LEAST_SHARE = 1e-6
# As many fixed columns are tried for going with the scatter.
MOST_COLUMNS = 30


class RowFacts(NamedTuple):
    """What the tests of rows share.

    Attributes:
      fit: the fit.
      eta: (n,) linear predictors, at the modes.
      response: the response arrays.
      variances: (n,) of the errors of the linear predictors; zeros where the equations are too large.
      leverages: (n,) the share of a row's variance that the fit takes up.
      seed: of random numbers.
    """

    fit: FittedModel
    eta: Floats
    response: tuple[Floats, ...]
    variances: Floats
    leverages: Floats
    seed: int


def row_facts(fit: FittedModel, seed: int) -> RowFacts:
    """Work out what the tests of rows share."""
    design = fit.model.design
    variances = np.zeros(design.n)
    if choose_solver(fit.model, "laplace", "auto") == "direct" and not fit.params.freedom:
        found = equations(fit)
        variances = found.variances(design, parameters=True, effects=True, new_levels=False)
    # A row's precision may be negative where its log density is not concave.
    leverages = np.clip(row_precisions(fit) * variances, 0.0, 1.0)
    eta, response = linear_predictor(fit, design), fit.model.family.response(design)
    return RowFacts(fit, eta, response, variances, leverages, seed)


def tails(facts: RowFacts) -> Doubt | None:
    """Heavier tails of normal residuals, each over its own standard deviation: a test of their kurtosis."""
    fit = facts.fit
    left = 1.0 - facts.leverages
    rows = left > LEAST_SHARE
    if not is_normal(fit.model.family) or rows.sum() < FEWEST_ROWS:
        return None
    scaled = residuals(fit, "quantile").to_numpy()[rows] / np.sqrt(left[rows])
    if np.ptp(scaled) == 0.0:
        return None
    kurtosis = float(scipy.stats.kurtosis(scaled))
    return Doubt(
        "tails",
        float(scipy.stats.kurtosistest(scaled, alternative="greater").pvalue),
        kurtosis,
        f"residuals have heavier tails than normal ones: excess kurtosis {kurtosis:.2g}, the farthest at "
        f"{np.abs(scaled).max():.1f} standard deviations",
        'Look at the farthest rows (fit.residuals()); transform the response, or fit family="student".',
    )


def steps(facts: RowFacts) -> Doubt | None:
    """Whole numbers between bounds, fitted as if they had none.

    Were the response normal and rounded, the chance of no row beyond the largest value would be the product of
    the rows' chances; minus its logarithm is exponential, and for both ends the sum has two of them.
    """
    fit = facts.fit
    y = facts.response[0]
    if not is_normal(fit.model.family) or (y != np.round(y)).any():
        return None
    assert fit.params.sigma is not None
    sds = fit.params.sigma / np.sqrt(facts.response[1])
    above = -scipy.special.log_ndtr((y.max() + 0.5 - facts.eta) / sds).sum()
    below = -scipy.special.log_ndtr((facts.eta - y.min() + 0.5) / sds).sum()
    expected, distinct = float(above + below), len(np.unique(y))
    low, high = int(y.min()), int(y.max())
    advice = (
        'Fit the categories in their order: family="cumulative"'
        + (", with the response as ordered(...)." if low != 1 else ".")
        if low > 0
        else 'Fit counts as such: family="poisson" or "nbinom2"; or, if these are ratings, '
        'family="cumulative" with the response as ordered(...).'
    )
    return Doubt(
        "ratings",
        float((1.0 + expected) * np.exp(-expected)),
        expected,
        f"the response has {distinct} whole numbers between {low} and {high} only, and of a normal one about "
        f"{expected:,.0f} rows would lie outside",
        advice,
    )


def unequal(facts: RowFacts) -> Doubt | None:
    """Normal residuals that scatter more where the fit, or a fixed column, is larger, or smaller.

    Rank correlations: the one of the smallest chance, times the number of those tried.
    """
    fit = facts.fit
    left = 1.0 - facts.leverages
    rows = left > LEAST_SHARE
    if not is_normal(fit.model.family) or rows.sum() < FEWEST_ROWS:
        return None
    away = np.abs(residuals(fit, "quantile").to_numpy()[rows]) / np.sqrt(left[rows])
    design = fit.model.design
    along = {"the fit": facts.eta[rows]}
    along |= {name: design.X[rows, k] for k, name in enumerate(design.names[:MOST_COLUMNS])}
    tried = {
        name: scipy.stats.spearmanr(away, values)
        for name, values in along.items()
        if np.ptp(away) > 0.0 and np.ptp(values) > 0.0
    }
    if not tried:
        return None
    name = min(tried, key=lambda one: float(tried[one].pvalue))
    correlation = float(tried[name].statistic)
    return Doubt(
        "unequal spread",
        min(1.0, len(tried) * float(tried[name].pvalue)),
        correlation,
        f"residuals scatter {'more' if correlation > 0 else 'less'} where {name} is larger: rank correlation "
        f"{correlation:.2g}",
        "Transform the response (its logarithm, if it is positive), or give sigma a formula: "
        'lf.fit({"mu": ..., "sigma": "~ ..."}, data).',
    )


class Spread(NamedTuple):
    """How counts or successes vary, over how a family without a dispersion of its own lets them.

    Attributes:
      ratio: of the squared residuals to what is left of the family's variances.
      z: their difference in standard errors.
      words: "counts" or "successes".
      name: of the family.
    """

    ratio: float
    z: float
    words: str
    name: str


def spread(facts: RowFacts) -> Doubt | None:
    """Counts or successes that vary more than a family without a dispersion of its own lets them."""
    found = _spread(facts)
    if found is None or facts.fit.params.own.size:
        return None
    return Doubt(
        "overdispersion",
        float(scipy.special.ndtr(-found.z)),
        found.ratio,
        f"the {found.words} vary {found.ratio:.2g} times as much as {found.name} ones",
        'Fit family="beta_binomial", or add an effect of each row, (1 | row).'
        if found.words == "successes"
        else 'Fit family="nbinom2" (or "nbinom1"), or add an effect of each row, (1 | row).',
    )


def narrow(facts: RowFacts) -> Doubt | None:
    """Counts or successes that vary less than a family without dispersion, or with none left, lets them."""
    found = _spread(facts)
    if found is None:
        return None
    return Doubt(
        "underdispersion",
        float(scipy.special.ndtr(found.z)),
        found.ratio,
        f"the {found.words} vary {found.ratio:.2g} times as much as {found.name} ones: less",
        "Standard errors are too large. Fit a density that can be narrower by lf.Family, or look whether rows "
        "that belong together were counted apart.",
    )


def _spread(facts: RowFacts) -> Spread | None:
    fit = facts.fit
    family, design = fit.model.family, fit.model.design
    if family.variance is None or family.has_sigma or not own_at_limits(fit).all():
        return None
    if family.has_weights and design.weights is not None:
        # Rows that count as several alike have no spread of their own.
        return None
    mu = mean_response(fit, facts.eta)
    observed, weights = observed_mean(family, design)
    if not family.has_trials and (observed.max() <= 1.0 or (observed != np.round(observed)).any()):
        # One yes or no cannot vary more than another.
        return None
    variance = family.variance(mu, family_values(fit))
    # Rows that are predicted perfectly do not vary at all.
    scale = np.divide(weights, variance, out=np.zeros_like(variance), where=variance > 0.0)
    squares = (observed - mu) ** 2 * scale
    divisor = weights if family.has_trials else 1.0
    eta = np.repeat(facts.eta[None], NUM_DRAWS, axis=0)
    drawn = draw_rows(fit, eta, facts.response, np.random.SeedSequence([facts.seed, 1]))
    chance = ((drawn / divisor - mu) ** 2 * scale).var(axis=0)
    left = 1.0 - facts.leverages
    z = (squares.sum() - left.sum()) / np.sqrt((chance * left).sum())
    words = "successes" if family.has_trials else "counts"
    return Spread(float(squares.sum() / left.sum()), float(z), words, family.name)


def zeros(facts: RowFacts) -> Doubt | None:
    """More zeros among counts than the family has, at predictors with their uncertainty."""
    fit = facts.fit
    family, y = fit.model.family, facts.response[0]
    is_count = family.link == "log" and not family.has_trials and family.categories is None
    if not is_count or (y != np.round(y)).any() or (y < 0).any() or not (y == 0).any():
        return None
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    eta = facts.eta + nodes[:, None] * np.sqrt(facts.variances)
    logs = np.asarray(distribution(fit, eta, facts.response).log_prob(np.zeros(len(y))), float)
    chance = weights @ np.exp(logs) / weights.sum()
    expected, found = float(chance.sum()), int((y == 0).sum())
    z = (found - expected) / np.sqrt(max(float((chance * (1.0 - chance)).sum()), 1e-300))
    # One with a dispersion of its own may account for them.
    has_dispersion = fit.params.own.size > 0
    return Doubt(
        "zeros",
        float(scipy.special.ndtr(-z)),
        found / expected,
        f"there are {found:,} zeros, and the fit expects {expected:,.0f}",
        (
            "Zeros of their own: "
            if has_dispersion
            else 'Fit family="nbinom2" first, and look again; '
        )
        + 'then family="zero_inflated_poisson" or "zero_inflated_nbinom2".',
    )
