"""Tests of what the rows of a fit say against its response's distribution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from lmeformula.arrays import Floats, Mask
from lmeformula.checking.calibration import transforms
from lmeformula.checking.finding import Finding
from lmeformula.checking.leave_one_out import has_leave_one_out, leave_one_out
from lmeformula.fit import FittedModel
from lmeformula.prediction.distribution import distribution, draw_rows
from lmeformula.prediction.normal_points import normal_points
from lmeformula.prediction.normal_posterior import row_precisions
from lmeformula.prediction.own_limits import own_at_limits
from lmeformula.prediction.posterior import has_normal_posterior, normal_posterior_of
from lmeformula.prediction.predictor import linear_predictor, mean_response, row_family
from lmeformula.prediction.residuals import LEAST, observed_mean, residuals

# Draws of the response from which the spread of its squared residuals is estimated.
NUM_DRAWS = 100
# The test of tails is an approximation from this many rows on (Anscombe, Glynn 1983).
FEWEST_ROWS = 20
# A row of which the fit leaves less than this share to a residual has none.
LEAST_SHARE = 1e-6
# Predictors of which a chance is evaluated at a time.
MOST_NUMBERS = 2**20
# As many fixed columns are tried for going with the scatter.
MOST_COLUMNS = 30


class Standard(NamedTuple):
    """Normal residuals, each over the standard deviation that its row has given the others.

    Attributes:
      values: (m,) of the rows that have one.
      rows: (n,) which these are.
    """

    values: Floats
    rows: Mask


class RowFacts(NamedTuple):
    """What the tests of rows share.

    Attributes:
      fit: the fit.
      eta: (K, n) linear predictors, at the modes.
      response: the response arrays.
      spread: (n, K, K) covariances of the errors of the linear predictors; zeros where the
        equations are too large.
      seed: of random numbers.
      standard: normal residuals over their standard deviations; None of others, or of too few.
    """

    fit: FittedModel
    eta: Floats
    response: tuple[Floats, ...]
    spread: Floats
    seed: int
    standard: Standard | None = None


def row_facts(fit: FittedModel, seed: int) -> RowFacts:
    """Work out what the tests of rows share."""
    design, k = fit.model.design, fit.model.design.num_predictors
    spread = np.zeros((design.n, k, k))
    if has_normal_posterior(fit) and fit.model.space.has_normal_priors:
        spread = normal_posterior_of(fit).covariances(design)
    eta, response = linear_predictor(fit, design), fit.model.family.response(design)
    facts = RowFacts(fit, eta, response, spread, seed)
    return facts._replace(standard=_standard(facts))


def _standard(facts: RowFacts) -> Standard | None:
    """The residuals of normal rows; None of others, or of too few.

    Of one predictor a residual's variance is what the leverage leaves of the row's own. Of several, where the
    scale is uncertain too, they are normal scores of the chances that the other rows give: of one the same.
    """
    fit = facts.fit
    if not fit.model.family.base.is_normal:
        return None
    if fit.model.family.is_normal:
        left = _left(facts)
        rows = left > LEAST_SHARE
        if rows.sum() < FEWEST_ROWS:
            return None
        return Standard(residuals(fit, "quantile").to_numpy()[rows] / np.sqrt(left[rows]), rows)
    if fit.nobs < FEWEST_ROWS or not has_leave_one_out(fit):
        return None
    chance = transforms(fit, leave_one_out(fit), facts.seed)
    return Standard(
        scipy.special.ndtri(np.clip(chance, LEAST, 1.0 - LEAST)), np.ones(fit.nobs, bool)
    )


def _left(facts: RowFacts) -> Floats:
    """(n,) what the fit leaves of the variance of rows about their mean."""
    # A row's precision may be negative where its log density is not concave.
    taken_up = row_precisions(facts.fit) * facts.spread[:, 0, 0]
    return 1.0 - np.clip(taken_up, 0.0, 1.0)


def tails(facts: RowFacts) -> Finding | None:
    """Heavier tails of normal residuals, each over its own standard deviation: a test of their kurtosis."""
    standard = facts.standard
    if standard is None or np.ptp(standard.values) == 0.0:
        return None
    scaled = standard.values
    kurtosis = float(scipy.stats.kurtosis(scaled))
    return Finding(
        "tails",
        float(scipy.stats.kurtosistest(scaled, alternative="greater").pvalue),
        kurtosis,
        f"residuals have heavier tails than normal ones: excess kurtosis {kurtosis:.2g}, the farthest at "
        f"{np.abs(scaled).max():.1f} standard deviations",
        'Look at the farthest rows (fit.residuals()); transform the response, or fit family="student".',
    )


def steps(facts: RowFacts) -> Finding | None:
    """Whole numbers between bounds, fitted as if they had none.

    Were the response normal and rounded, the chance of no row beyond the largest value would be the product of
    the rows' chances; minus its logarithm is exponential, and for both ends the sum has two of them.
    """
    family, eta, own = row_family(facts.fit, facts.eta, facts.fit.params.own)
    y = facts.response[0]
    if not family.is_normal or (y != np.round(y)).any():
        return None
    sds = own[0] / np.sqrt(facts.response[1])
    above = -scipy.special.log_ndtr((y.max() + 0.5 - eta) / sds).sum()
    below = -scipy.special.log_ndtr((eta - y.min() + 0.5) / sds).sum()
    expected, distinct = float(above + below), len(np.unique(y))
    low, high = int(y.min()), int(y.max())
    advice = (
        'Fit the categories in their order: family="cumulative"'
        + (", with the response as ordered(...)." if low != 1 else ".")
        if low > 0
        else 'Fit counts as such: family="poisson" or "nbinom2"; or, if these are ratings, '
        'family="cumulative" with the response as ordered(...).'
    )
    return Finding(
        "ratings",
        float((1.0 + expected) * np.exp(-expected)),
        expected,
        f"the response has {distinct} whole numbers between {low} and {high} only, and of a normal one about "
        f"{expected:,.0f} rows would lie outside",
        advice,
    )


def unequal(facts: RowFacts) -> Finding | None:
    """Normal residuals that scatter more where the fit, or a fixed column, is larger, or smaller.

    Rank correlations: the one of the smallest chance, times the number of those tried.
    """
    standard = facts.standard
    if standard is None:
        return None
    rows, away, design = standard.rows, np.abs(standard.values), facts.fit.model.design
    along = {"the fit": facts.eta[0, rows]}
    for part in [each.design for each in design.predictors]:
        for k, name in enumerate(part.names[:MOST_COLUMNS]):
            along.setdefault(name, part.X[rows, k])
    tried = {
        name: scipy.stats.spearmanr(away, values)
        for name, values in along.items()
        if np.ptp(away) > 0.0 and np.ptp(values) > 0.0
    }
    if not tried:
        return None
    name = min(tried, key=lambda one: float(tried[one].pvalue))
    correlation = float(tried[name].statistic)
    return Finding(
        "unequal spread",
        min(1.0, len(tried) * float(tried[name].pvalue)),
        correlation,
        f"residuals scatter {'more' if correlation > 0 else 'less'} where {name} is larger: rank correlation "
        f"{correlation:.2g}",
        "Give the formula of sigma that column, or a curve of it."
        if "sigma" in facts.fit.model.family.predictors
        else "Transform the response (its logarithm, if it is positive), or give sigma a formula: "
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


def spread(facts: RowFacts) -> Finding | None:
    """Counts or successes that vary more than a family without a dispersion of its own lets them."""
    found = _spread(facts)
    if found is None or facts.fit.params.own.size:
        return None
    return Finding(
        "overdispersion",
        float(scipy.special.ndtr(-found.z)),
        found.ratio,
        f"the {found.words} vary {found.ratio:.2g} times as much as {found.name} ones",
        'Fit family="beta_binomial", or add an effect of each row, (1 | row).'
        if found.words == "successes"
        else 'Fit family="nbinom2" (or "nbinom1"), or add an effect of each row, (1 | row).',
    )


def narrow(facts: RowFacts) -> Finding | None:
    """Counts or successes that vary less than a family without dispersion, or with none left, lets them."""
    found = _spread(facts)
    if found is None:
        return None
    return Finding(
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
    if family.variance is None or family.is_normal or not own_at_limits(fit).all():
        return None
    if family.has_weights and design.weights is not None:
        # Rows that count as several alike have no spread of their own.
        return None
    mu = mean_response(fit, facts.eta)
    observed, weights = observed_mean(family, design)
    if not family.has_trials and (observed.max() <= 1.0 or (observed != np.round(observed)).any()):
        # One yes or no cannot vary more than another.
        return None
    variance = family.variance(mu, fit.params.own)
    # Rows that are predicted perfectly do not vary at all.
    scale = np.divide(weights, variance, out=np.zeros_like(variance), where=variance > 0.0)
    squares = (observed - mu) ** 2 * scale
    divisor = weights if family.has_trials else 1.0
    eta = np.repeat(facts.eta[None], NUM_DRAWS, axis=0)
    drawn = draw_rows(fit, eta, facts.response, np.random.SeedSequence([facts.seed, 1]))
    chance = ((drawn / divisor - mu) ** 2 * scale).var(axis=0)
    left = _left(facts)
    z = (squares.sum() - left.sum()) / np.sqrt((chance * left).sum())
    words = "successes" if family.has_trials else "counts"
    return Spread(float(squares.sum() / left.sum()), float(z), words, family.name)


def zeros(facts: RowFacts) -> Finding | None:
    """More zeros among counts than the family has, at predictors with their uncertainty."""
    fit = facts.fit
    family, y = fit.model.family, facts.response[0]
    is_count = family.link == "log" and not family.has_trials and family.categories is None
    if not is_count or (y != np.round(y)).any() or (y < 0).any() or not (y == 0).any():
        return None
    points, weights = zip(*normal_points(facts.eta, facts.spread), strict=True)
    size = max(1, MOST_NUMBERS // facts.eta.size)
    chance = np.zeros(len(y))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        none = distribution(fit, np.array(points[part]), facts.response).log_prob(np.zeros(len(y)))
        chance += np.array(weights[part]) @ np.exp(np.asarray(none, float))
    expected, found = float(chance.sum()), int((y == 0).sum())
    z = (found - expected) / np.sqrt(max(float((chance * (1.0 - chance)).sum()), 1e-300))
    # One with a dispersion of its own may account for them.
    has_dispersion = fit.params.own.size > 0
    return Finding(
        "zeros",
        float(scipy.special.ndtr(-z)),
        found / expected,
        f"there are {found:,} zeros, and the fit expects {expected:,.0f}",
        "A formula lacks a column or a curve: that of the chance of zero, if it has one, else that of the mean."
        if family.is_distributional
        else (
            "Zeros of their own: "
            if has_dispersion
            else 'Fit family="nbinom2" first, and look again; '
        )
        + 'then family="zero_inflated_poisson" or "zero_inflated_nbinom2".',
    )
