"""Effective degrees of freedom of smooths, and tests that they are zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.design.curves import Curve
from lmeformula.design.labels import label
from lmeformula.design.side_by_side import columns_of_terms
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.formula.smooths import Smooth, smooths_of
from lmeformula.prediction.normal_posterior import NormalPosterior, row_precisions
from lmeformula.prediction.parameter_errors import parameter_covariance
from lmeformula.prediction.posterior import normal_posterior_of

# A direction whose variance is this small beside the largest has none.
RANK_TOLERANCE = 1e-12
# Of integrals over a sum of squares, or a scale; and over an angle.
NODES, ANGLES = 96, 32


class Part(NamedTuple):
    """A smooth of a fit, or its curve for one level of a factor.

    Attributes:
      name: as the formula has it, after the name of a further predictor, with the level.
      fixed: the places of its fixed effects.
      effects: of its other coefficients: the place of a term, and the places in it, for each of its terms.
      values: (n, m + r) its columns.
      smooth: the smooth.
      curve: its basis; None where the design does not remember it.
    """

    name: str
    fixed: Ints
    effects: tuple[tuple[int, Ints], ...]
    values: Floats
    smooth: Smooth
    curve: Curve | None


@kinds.takes()
@not_of_draws("tests of smooths")
def smooths(fit: FittedModel) -> pd.DataFrame:
    """Effective degrees of freedom of each smooth, and a test that it is zero.

    Effective degrees of freedom are the trace of what takes a smooth's coefficients without a penalty to those
    with it: m for m coefficients that are not penalised, and for each other one 1 less its variance given the
    data over that of its distribution. The test is Wald's, of a rank as the smooth's degrees of freedom, which
    may lie between whole numbers; it takes the smoothness for known, so that small p-values are a little too
    small. Curves of the levels of a factor, bs = "fs" and "re", are tested by leaving them out, `fit.anova`.

    Args:
      fit: a fitted model with its rows and normal effects.
    Returns:
      frame: smooth, edf, ref_df (of the test), statistic (F where a residual scale is estimated, else
        chi-square), p_value; a row for each curve of s(x, by = a).
    Raises:
      ModelError: if the equations of the fit are too large to be factored, or it has no rows.
    References:
      Wood (2013), On p-values for smooth components of an extended generalized additive model, Biometrika
      100(1), 221-228; Wood (2017), Generalized Additive Models, 2nd edition, sections 6.1.2 and 6.12.1.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ s(Days, k = 5) + (1 | Subject)", lf.datasets.load("sleepstudy"), reml=True)
      >>> smooths(fit).round(2)[["smooth", "edf"]].to_dict("records")
      [{'smooth': 's(Days, k = 5)', 'edf': 1.0}]
    """
    columns = ["smooth", "edf", "ref_df", "statistic", "p_value"]
    parts = parts_of(fit)
    if not parts:
        return pd.DataFrame({name: [] for name in columns})
    posterior = normal_posterior_of(fit)
    is_scaled = fit.model.family.is_normal and fit.model.space.held_sd is None
    residual = fit.nobs - _total(fit, posterior) if is_scaled else np.inf
    rows = [(part.name, *_test(fit, posterior, part, residual)) for part in parts]
    return pd.DataFrame(rows, columns=columns)


def parts_of(fit: FittedModel) -> tuple[Part, ...]:
    """The smooths of a fit that are of the whole population."""
    design = fit.model.design
    found = []
    of_columns = np.array(design.column_predictors, int)
    for number, (each, of_one) in enumerate(
        zip(design.predictors, columns_of_terms(design), strict=True)
    ):
        places = np.flatnonzero(of_columns == number)
        for smooth in smooths_of(each.design.formula):
            title = label(smooth.call)
            terms = [
                (term, place)
                for term, (place, _) in zip(each.design.terms, of_one, strict=True)
                if term.smooth == title and term.role == "population"
            ]
            if not terms:
                continue
            count = terms[0][0].parts
            null = [j for j, name in enumerate(each.design.names) if name.startswith(f"{title}[")]
            whole = len(null) // count if count > 1 else len(null)
            for level in range(count):
                own = null[level * whole : (level + 1) * whole]
                effects = []
                for term, place in terms:
                    size = len(term.columns) // count
                    first = level * size
                    effects.append((place, term, np.arange(first, first + size)))
                name = title
                if count > 1:
                    name += f": {terms[0][0].columns[int(effects[0][2][0])].partition(']:')[2]}"
                values = [each.design.X[:, own]]
                values += [term.values[:, at] for _, term, at in effects]
                before = "" if number == 0 or fit.model.family.is_unordered else f"{each.name}: "
                found.append(
                    Part(
                        before + name,
                        places[own],
                        tuple((place, at) for place, _, at in effects),
                        np.column_stack(values),
                        smooth,
                        None
                        if each.design.recipe is None
                        else each.design.recipe.memory.calls.get(smooth.call),
                    )
                )
    return tuple(found)


def _total(fit: FittedModel, posterior: NormalPosterior) -> float:
    """Effective degrees of freedom of all coefficients: the trace of what makes fits of responses."""
    spread = posterior.covariances(fit.model.design)[:, 0, 0]
    return float(row_precisions(fit) @ spread)


def _test(
    fit: FittedModel, posterior: NormalPosterior, part: Part, residual: float
) -> tuple[float, float, float, float]:
    """Effective degrees of freedom, those of the test, its statistic and p-value."""
    known = coefficients(fit, posterior, part)
    # What is held at zero, whose variance is, has no freedom.
    is_free = np.concatenate(
        [np.diag(fit.params.covariances[place])[at] > 0.0 for place, at in part.effects]
    )
    effects, with_effects = known.effects[is_free], known.with_effects[:, is_free]
    scaled = _penalised(posterior, fit, with_effects)
    own = scaled[effects]
    edf = part.fixed.size + effects.size - float(np.trace(own))
    # tr(FF) over the rows of the smooth, F = I - V S with the penalty S: what is not penalised has none.
    unit = np.zeros(with_effects.shape)
    unit[effects, np.arange(effects.size)] = 1.0
    penalty = _penalised(posterior, fit, unit)[effects]
    squares = float(np.sum(scaled * (with_effects @ penalty)))
    twice = part.fixed.size + effects.size - 2.0 * float(np.trace(own)) + squares
    rank = min(2.0 * edf - twice, part.fixed.size + effects.size)
    if not rank > 0.0:
        return 0.0, 0.0, float("nan"), float("nan")
    statistic, p_value = wood_test(part.values, known.values, known.covariance, rank, residual)
    return edf, rank, statistic / rank if np.isfinite(residual) else statistic, p_value


class Coefficients(NamedTuple):
    """The coefficients of a smooth: those that are not penalised, then the others.

    Attributes:
      values: (m + r,).
      covariance: (m + r, m + r) given the data, smoothness known.
      effects: (r,) places of the others among all effects.
      with_effects: (q, r) covariances of all effects with these.
    """

    values: Floats
    covariance: Floats
    effects: Ints
    with_effects: Floats


def coefficients(fit: FittedModel, posterior: NormalPosterior, part: Part) -> Coefficients:
    """What is known of a smooth."""
    plan, lambdas = posterior.plan, posterior.factor.lambdas
    every = plan.split(np.arange(float(plan.num_effects)))
    effects = np.concatenate(
        [np.asarray(every[place], int).reshape(-1)[at] for place, at in part.effects]
    )
    modes = np.concatenate([fit.modes[place].reshape(-1)[at] for place, at in part.effects])
    unit = np.zeros((plan.num_effects, effects.size))
    unit[effects, np.arange(effects.size)] = 1.0
    half = posterior.factor.solve(apply_lambda(plan, lambdas, unit, transpose=True))
    inverse = apply_lambda(plan, lambdas, half)
    moves = posterior.moves
    known = np.nan_to_num(parameter_covariance(fit, variances_known=True))
    p = len(fit.params.beta)
    # (q, r) covariances of all effects with these, and (p, r) of the fixed effects with them.
    with_effects = inverse + moves @ known @ moves[effects].T
    across = (known @ moves[effects].T)[:p]
    middle = known[np.ix_(part.fixed, part.fixed)]
    cross = across[part.fixed]
    inner = with_effects[effects]
    covariance = np.block([[middle, cross], [cross.T, (inner + inner.T) / 2.0]])
    values = np.concatenate([fit.params.beta[part.fixed], modes])
    return Coefficients(values, covariance, effects, with_effects)


def _penalised(posterior: NormalPosterior, fit: FittedModel, columns: Floats) -> Floats:
    """(q, c) the prior precision of the effects times columns (q, c); none of a variance that is zero."""
    parts = []
    for part, covariance in zip(posterior.plan.split(columns), fit.params.covariances, strict=True):
        inverse = np.linalg.pinv(covariance, rcond=1e-14, hermitian=True)
        found = np.einsum("ab,lbc->lac", inverse, np.asarray(part, float))
        parts.append(found.reshape(found.shape[0] * found.shape[1], columns.shape[1]))
    whole = np.zeros(columns.shape)
    for places, found in zip(
        posterior.plan.split(np.arange(float(len(columns)))), parts, strict=True
    ):
        whole[np.asarray(places, int).reshape(-1)] = found
    return whole


def wood_test(
    values: Floats, beta: Floats, covariance: Floats, rank: float, residual: float
) -> tuple[float, float]:
    """Test that a curve is zero, with a pseudo-inverse of a rank that need not be whole.

    Args:
      values: (n, k) its columns.
      beta: (k,) its coefficients.
      covariance: (k, k) of these.
      rank: r, from above 0 to k.
      residual: degrees of freedom of the scale; infinite where there is none.
    Returns:
      The statistic, which has r degrees of freedom, and its p-value.
    References:
      Wood (2013), Biometrika 100(1), 221-228, section 2.
    """
    corner: Floats = np.asarray(np.linalg.qr(values, mode="r"))
    sizes, vectors = scipy.linalg.eigh(corner @ covariance @ corner.T)
    sizes, vectors = sizes[::-1], vectors[:, ::-1]
    count = int((sizes > RANK_TOLERANCE * max(sizes[0], 0.0)).sum())
    if not count or not np.isfinite(rank):
        return float("nan"), float("nan")
    rank = min(rank, float(count))
    if rank < 1.0:
        rank = 1.0
    k = int(np.floor(rank))
    share = rank - k
    if share < 1e-9 or k + 1 > count:
        share = 0.0
    z = (vectors.T @ corner @ beta)[:count] / np.sqrt(sizes[:count])
    if share == 0.0:
        statistic = float(z[:k] @ z[:k])
        return statistic, above(statistic, 0.0, k, residual)
    # The last two directions have one weight and a share of one together; the sign between them is open.
    root = np.sqrt(share * (1.0 - share) / 2.0)
    first = float(z[: k - 1] @ z[: k - 1] + z[k - 1] ** 2 + share * z[k] ** 2)
    both = [first + sign * 2.0 * root * float(z[k - 1] * z[k]) for sign in (1.0, -1.0)]
    chances = [above(statistic, share, k, residual) for statistic in both]
    return float(np.mean(both)), float(np.mean(chances))


def above(statistic: float, share: float, k: int, residual: float = np.inf) -> float:
    """The chance that a sum of k - 1 squares of standard normals and two weighted ones is larger.

    The weights, {1 + a + sqrt(1 - a^2)} / 2 and {1 + a - sqrt(1 - a^2)} / 2 for a share a, add up to 1 + a. In
    polar coordinates the two are an exponential variable, of a mean that an angle gives, and the chance is an
    integral of positive numbers, as precise in the tail as elsewhere.

    Args:
      statistic: not negative.
      share: from 0, where one of the weights is 0, to below 1.
      k: 1 or more.
      residual: degrees of freedom of a scale that the statistic was divided by; infinite without.
    """
    import scipy.stats

    if share == 0.0:
        if np.isinf(residual):
            return float(scipy.stats.chi2.sf(statistic, k))
        return float(scipy.stats.f.sf(statistic / k, k, residual))
    if np.isinf(residual):
        return float(_sum_above(np.array([statistic]), share, k)[0])
    # Over the scale, whose logarithm has a smooth density.
    low, high = np.log(scipy.stats.chi2.isf([1.0 - 1e-15, 1e-15], residual))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    logs = low + (high - low) * (nodes + 1.0) / 2.0
    density = scipy.stats.chi2.pdf(np.exp(logs), residual) * np.exp(logs)
    chances = _sum_above(statistic * np.exp(logs) / residual, share, k)
    return float(np.sum(weights * density * chances) * (high - low) / 2.0)


def _sum_above(x: Floats, share: float, k: int) -> Floats:
    """(m,) the chance for statistics (m,) without a scale."""
    import scipy.stats

    spread = np.sqrt(1.0 - share**2)
    ends = (1.0 + share + spread) / 2.0, (1.0 + share - spread) / 2.0
    angles = (np.arange(ANGLES) + 0.5) * np.pi / (2.0 * ANGLES)
    means = ends[0] * np.cos(angles) ** 2 + ends[1] * np.sin(angles) ** 2
    rest = np.exp(-x[:, None] / (2.0 * means)).mean(axis=1)
    if k == 1:
        return np.asarray(rest)
    # The sum of the others is y = x t^2 below x, and the two are above what it leaves.
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    t = (nodes + 1.0) / 2.0
    y = x[:, None] * t**2
    density = scipy.stats.chi2.pdf(y, k - 1) * x[:, None] * t
    left = (x[:, None] - y)[:, :, None] / (2.0 * means)
    inner = np.exp(-left).mean(axis=2)
    return np.asarray(scipy.stats.chi2.sf(x, k - 1) + (density * inner) @ weights)


def check_has_smooths(fit: FittedModel) -> None:
    """Refuse a fit without curves.

    Raises:
      ModelError: that says how to write one.
    """
    if not parts_of(fit):
        raise ModelError(
            "the fit has no smooths", hint='Write one in the formula: "y ~ s(x) + (1 | g)".'
        )
