"""Tests of what the groups of a fit say against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats, Ints
from lmeformula.checking.finding import Finding
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import TermBlock
from lmeformula.fit import FittedModel
from lmeformula.inference.refit import has_estimates
from lmeformula.likelihood.laplace.rows import row_derivatives
from lmeformula.prediction.distribution import draw_rows
from lmeformula.prediction.normal_posterior import row_precisions
from lmeformula.prediction.predictor import linear_predictor, stacked_estimates
from lmeformula.prediction.simulate import with_drawn

# Between these numbers of levels the test of Shapiro and Wilk is tabulated; it says little about fewer.
FEWEST_LEVELS, MOST_LEVELS = 8, 5000
# An effect about which the data say less than this share of its variance is not looked at.
LEAST_SHARE = 1e-3
# Variances of a score this much smaller than the largest one are rounding.
RANK = 1e-9
# Draws of the response that tell how scores vary: as many as there is room for, between these.
FEWEST_DRAWS, MOST_DRAWS = 20, 200
MOST_NUMBERS = 2**24


def effects_apart(fit: FittedModel, seed: int) -> Iterator[Finding]:
    """Random effects that are not normal, one test for each coefficient.

    Conditional modes over their marginal standard deviations are standard normal in Gaussian models. In others
    a draw of each effect given the data takes their place: under the model these have the distribution of
    the effects themselves, however discrete the response is (Cook, Gelman, Rubin 2006).
    """
    random = np.random.default_rng([seed, 2])
    terms = zip(
        fit.model.design.terms, fit.params.covariances, fit.modes, fit.mode_cov, strict=True
    )
    for block, covariance, modes, given in terms:
        # Effects of levels that are related are no sample of a distribution.
        if block.prior.has_df or block.meets:
            continue
        for k, column in enumerate(block.columns):
            variance, left = covariance[k, k], given[:, k, k]
            if variance <= 0.0:
                continue
            if fit.model.family.is_normal:
                known = variance - left
                standard = modes[:, k] / np.sqrt(np.maximum(known, LEAST_SHARE * variance))
                standard = standard[known > LEAST_SHARE * variance]
            else:
                noise = np.sqrt(left) * random.standard_normal(len(modes))
                standard = (modes[:, k] + noise) / np.sqrt(variance)
            if len(standard) < FEWEST_LEVELS or np.ptp(standard) == 0.0:
                continue
            of = block.group if column == "Intercept" else f"{column} by {block.group}"
            yield _normality(standard, block, k, of)


def _normality(standard: Floats, block: TermBlock, k: int, of: str) -> Finding:
    if len(standard) <= MOST_LEVELS:
        chance = float(scipy.stats.shapiro(standard).pvalue)
    else:
        chance = float(scipy.stats.normaltest(standard).pvalue)
    skewness, kurtosis = scipy.stats.skew(standard), scipy.stats.kurtosis(standard)
    argument = f'"{block.group}"' + (f', "{block.columns[k]}"' if len(block.columns) > 1 else "")
    return Finding(
        f"effects of {of}",
        chance,
        float(skewness),
        f"the effects of {of} are far from normal: skewness {skewness:.2g}, excess kurtosis {kurtosis:.2g}",
        f"Look at fit.plot.histogram({argument}) for groups of levels or outlying ones; a predictor that tells "
        "them apart belongs into the model.",
    )


class Influence(NamedTuple):
    """What the levels of one grouping factor do to the fixed effects.

    Attributes:
      p_values: (l,) chances of scores as far from zero as those of each level's rows.
      shifts: (l, p) change of the fixed effects, in standard errors, by leaving a level out, to first order.
    """

    p_values: Floats
    shifts: Floats


class Scores(NamedTuple):
    """Derivatives of the rows' log density in the linear predictor, at the modes.

    Attributes:
      first: (n,) of the responses observed.
      weights: (n,) their variances under the model.
      drawn: (m, n) those of drawn responses; m is 0 for Gaussian models, whose scores are normal.
    With several predictors all are of stacked rows (v n,); see `lmeformula.model.stack`.
    """

    first: Floats
    weights: Floats
    drawn: Floats


def levels_apart(fit: FittedModel, scores: Scores, seed: int) -> Iterator[Finding]:
    """Levels that contradict the others about the fixed effects, one test for each term."""
    names = fit.model.design.names
    places = [
        place
        for place, block in enumerate(fit.model.design.terms)
        # As many levels as rows are no groups.
        if 3 <= len(block.levels) < fit.nobs and not (block.prior.has_df or block.meets)
    ]
    if not places or not np.isfinite(np.diag(fit.fixed_vcov)).any():
        return
    for place in places:
        block = fit.model.design.terms[place]
        found = influence(fit, place, scores, seed)
        j = int(np.argmin(found.p_values))
        k = int(np.argmax(np.abs(found.shifts[j])))
        shift = float(found.shifts[j, k])
        yield Finding(
            f"levels of {block.name}",
            min(1.0, len(block.levels) * float(found.p_values[j])),
            shift,
            f"the rows of {block.group} {block.levels[j]} contradict the others: without them the effect "
            f"{names[k]} would be {abs(shift):.2g} standard errors {'higher' if shift > 0 else 'lower'}",
            "Look at these rows; if they are right, a slope that varies, such as (x | g), or a predictor may "
            "be missing.",
        )


def influence(fit: FittedModel, place: int, scores: Scores, seed: int = 0) -> Influence:
    """Scores of the fixed effects, level by level of one term, with that level's effect integrated out.

    With other effects held at their modes, the rows of level j have the score s = X'V^-1 (z - X beta) of
    working responses z with V = W^-1 + Z Psi Z', and information I = X'V^-1 X. At the estimates the
    variance of s is I - I C I, where C is the covariance of the fixed effects; leaving the level out moves
    them by -(C^-1 - I)^-1 s. For a Gaussian model with one term and known variances all this is exact, and
    s'(I - I C I)^-1 s has a chi-squared distribution. Otherwise it has a gamma distribution with the first two
    moments of the same of drawn responses.

    Args:
      fit: a fitted model with its rows.
      place: of the term.
      scores: of the rows.
      seed: of drawn effects.
    References:
      Cook (1977), Technometrics 19, 15-18; Demidenko, Stukel (2005), Statist. Med. 24, 893-909.
    """
    stack = fit.model.stack
    block, modes, W = stack.terms[place], fit.modes[place], scores.weights
    # Coefficients on their way to infinity have no errors, and no level moves them.
    is_known = np.isfinite(np.diag(fit.fixed_vcov))
    X, vcov = stack.X[:, is_known], fit.fixed_vcov[np.ix_(is_known, is_known)]
    Z, count, k = block.values, len(block.levels), len(block.columns)

    def by_level(columns: Floats) -> Floats:
        sums = np.zeros((count, columns.shape[1]))
        np.add.at(sums, block.index, columns)
        return sums

    def outer(a: Floats, b: Floats) -> Floats:
        weighted = (W[:, None, None] * a[:, :, None] * b[:, None, :]).reshape(len(W), -1)
        return by_level(weighted).reshape(count, a.shape[1], b.shape[1])

    XWX, XWZ, ZWZ = outer(X, X), outer(X, Z), outer(Z, Z)
    root = cholesky_semidefinite(fit.params.covariances[place])
    inner = np.eye(k) + root.T @ ZWZ @ root
    M = root @ np.linalg.solve(inner, np.broadcast_to(root.T, (count, k, k)))
    # In units of the standard errors, so that the scale of columns does not decide what is rounding.
    sd = np.sqrt(np.diag(vcov))
    correlation = vcov / np.outer(sd, sd)

    def score(first: Floats, effects: Floats) -> Floats:
        pull = by_level(Z * first[:, None]) + np.einsum("lab,lb->la", ZWZ, effects)
        found = by_level(X * first[:, None]) + np.einsum("lpa,la->lp", XWZ, effects)
        return np.asarray(sd * (found - np.einsum("lpa,lab,lb->lp", XWZ, M, pull)))

    information = np.outer(sd, sd) * (XWX - XWZ @ M @ np.swapaxes(XWZ, 1, 2))
    observed = score(scores.first, modes)
    statistic, rank = _squared(observed, information - information @ correlation @ information)
    mean, variance = rank.astype(float), 2.0 * rank
    if len(scores.drawn):
        random = np.random.default_rng([seed, 3, place])
        ratios = []
        for first in scores.drawn:
            effects = random.standard_normal((count, k)) @ root.T
            squared, full = _squared(score(first, effects), information)
            ratios.append(squared[full > 0] / full[full > 0])
        together = np.concatenate(ratios)
        mean, variance = mean * together.mean(), rank**2 * together.var()
    scale = np.divide(variance, mean, out=np.ones(count), where=rank > 0)
    shape = np.divide(mean, scale, out=np.ones(count), where=rank > 0)
    p_values = np.where(rank > 0, scipy.stats.gamma.sf(statistic, shape, scale=scale), 1.0)
    rest = np.linalg.inv(correlation) - information
    shifts = np.zeros((count, len(is_known)))
    shifts[:, is_known] = -np.einsum("lpq,lq->lp", np.linalg.pinv(rest, hermitian=True), observed)
    return Influence(np.asarray(p_values, float), shifts)


def _squared(score: Floats, variance: Floats) -> tuple[Floats, Ints]:
    """(l,) s'V^-1 s of each level, in the directions in which V is not nil; and their number."""
    values, vectors = np.linalg.eigh(variance)
    used = values > RANK * np.maximum(values.max(axis=1, keepdims=True), RANK)
    along = np.einsum("lpq,lp->lq", vectors, score)
    parts = np.where(used, along**2 / np.where(used, values, 1.0), 0.0)
    return parts.sum(axis=1), used.sum(axis=1)


def row_scores(fit: FittedModel, seed: int) -> Scores:
    """The scores of the rows of a fit, and how they vary."""
    design = fit.model.design
    eta, response = linear_predictor(fit, design), fit.model.family.response(design)
    if fit.model.family.is_normal:
        weights = row_precisions(fit)
        return Scores(weights * (response[0] - eta[0]), weights, np.zeros((0, design.n)))
    at, free = stacked_estimates(fit)
    num_stacked = len(at)
    first = np.asarray(row_derivatives(fit.model).slopes(at, free).first, float)
    drawn = []
    count = int(np.clip(MOST_NUMBERS // num_stacked, FEWEST_DRAWS, MOST_DRAWS))
    # All at once: of small models a draw costs what starting one costs.
    each = np.repeat(eta[None], count, axis=0)
    for responses in draw_rows(fit, each, response, np.random.SeedSequence([seed, 4])):
        changed = with_drawn(fit, responses)
        if has_estimates(fit, changed):
            model = fit.model.responding(changed)
            drawn.append(np.asarray(row_derivatives(model).slopes(at, free).first, float))
    if len(drawn) < FEWEST_DRAWS:
        held = row_derivatives(fit.model).held(row_precisions(fit))
        return Scores(first, held, np.zeros((0, num_stacked)))
    found = np.array(drawn)
    return Scores(first, _variances(fit, found), found)


def _variances(fit: FittedModel, drawn: Floats) -> Floats:
    """(v n,) variances of drawn scores, and covariances of those of several predictors, as stacked weights."""
    mixture = fit.model.stack.mixture
    k = mixture.num_predictors
    each = drawn[:, : k * mixture.num_rows].reshape(len(drawn), k, -1)
    products = each[:, :, None] * each[:, None, :]
    return mixture.to_weights(np.moveaxis(products.mean(axis=0), -1, 0))
