"""Predictions averaged over the uncertainty of the linear predictors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.prediction.level_posterior import (
    LevelNodes,
    at_effects,
    level_nodes,
    moved_means,
)
from lmeformula.prediction.mean_intervals import mean_slopes, moved_by
from lmeformula.prediction.normal_points import normal_average, row_roots, tensor_grid
from lmeformula.prediction.normal_posterior import NormalPosterior, unseen_covariances
from lmeformula.prediction.posterior import Posterior, posterior_of
from lmeformula.prediction.predictor import (
    linear_predictor,
    mean_response,
    predicted_at,
)
from lmeformula.prediction.predictor_errors import (
    PredictorErrors,
    means_over,
    with_unseen,
)
from lmeformula.prediction.predictor_intervals import Uncertain
from lmeformula.prediction.predictor_intervals import uncertain as errors_of

# Nodes over the errors of the parameters, beside those of a level's effects; and numbers at a time.
PARAMETER_NODES, CHUNK = 5, 2_000_000
# Of a grid over the errors of several predictors, along each, and of how many at most.
FINE_NODES, MOST_FINE = 3, 3
# Predictors at which a mean is tried for what it is in them: of the first one, and of all others.
TRIED, OTHERS = np.array([-2.0, -0.7, 0.4, 1.9]), (0.0, 1.0)


class Known(NamedTuple):
    """What predictions are averaged over, worked out once for all rows.

    Attributes:
      posterior: of the effects given the data; None where they take no part, and are not normal.
      nodes: of the levels of a single grouping factor, or None.
    """

    posterior: Posterior | None
    nodes: LevelNodes | None


def known_effects(fit: FittedModel, kept: tuple[bool, ...]) -> Known:
    """What is known of a fit's fixed effects and of its effects given the data.

    Args:
      fit: a fitted model.
      kept: whether each random-effects term takes part.
    Raises:
      ModelError: if its equations are too large to be factored.
    """
    # Of normal effects it tells the errors of fixed ones as well.
    needs_effects = any(kept) or fit.params.has_normal_effects
    return Known(
        posterior_of(fit) if needs_effects else None, level_nodes(fit) if any(kept) else None
    )


def averaged_over(
    fit: FittedModel,
    kind: str,
    rows: Design | NewRows,
    kept: tuple[bool, ...],
    *,
    known: Known | None,
    new_levels: bool,
) -> Floats:
    """Average what is predicted over uncertain linear predictors.

    Errors of the fixed effects are normal. Effects of the levels of a single grouping factor have the
    distribution that they have given the rows and the estimates, however skewed; those of several factors are
    normal about their means, which are not their modes. Effects by Student's t have theirs in any case, by
    draws, with a Monte Carlo error. Those of unseen levels are normal or t about zero; a mean that grows too
    fast for the tails of t, such as exp, is infinite. Several predictors of a row are normal jointly: averages
    over two or three are by quadrature, over more by points of a low-discrepancy sequence, always the same,
    with an error of about 1e-4 of what is averaged; see `lmeformula.prediction.normal_points`.

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      rows: its rows, or new ones, on which those coefficients have an influence that take part.
      kept: whether each random-effects term takes part.
      known: what is known of fixed effects and effects of known levels where they are uncertain; see
        `known_effects`.
      new_levels: whether effects of unseen levels are drawn from their distribution.
    Returns:
      (n, 1) expected responses, or (n, K) chances; nan for rows whose mean moves with a coefficient on its
      way to infinity, whose errors have no number.
    """
    eta = linear_predictor(fit, rows, with_random=any(kept))
    if known is not None and not fit.params.has_normal_effects:
        what = errors_of(
            fit, rows, eta, parameters=True, posterior=known.posterior, new_levels=new_levels
        )
        return eta.T if is_linear(fit) else over_uncertain(what, kind, seed=0)
    spread = np.zeros((eta.shape[1], len(eta), len(eta)))
    posterior, nodes = (None, None) if known is None else known
    if isinstance(posterior, NormalPosterior):
        spread = posterior.covariances(rows, effects=any(kept))
        if nodes is None and any(kept):
            eta = eta + moved_means(fit, posterior, rows)[0]
    if new_levels and not is_linear(fit):
        spread = spread + unseen_covariances(fit, rows)
        found = over_errors(fit, kind, eta, spread, with_unseen(fit, rows, spread[:, 0, 0]))
    else:
        found = normal_average(fit, kind, eta, spread)
    if nodes is not None and isinstance(posterior, NormalPosterior):
        # Levels that the fit has seen have points of their own.
        for cloud in clouds(fit, rows, nodes, posterior, PARAMETER_NODES, is_fine=True):
            points = zip(cloud.eta, cloud.weights, strict=True)
            each = (weights[:, None] * predicted_at(fit, kind, at) for at, weights in points)
            found[cloud.rows] = functools.reduce(np.add, each)
    found[_is_unknown(fit, kind, eta, spread)] = np.nan
    return found


def _is_unknown(fit: FittedModel, kind: str, eta: Floats, spread: Floats) -> Mask:
    """(n,) rows whose mean moves with a predictor without a variance, as one on its way to infinity is."""
    lost = np.isnan(np.einsum("nkk->nk", spread))
    if not lost.any():
        return np.zeros(len(lost), bool)
    return np.asarray(moved_by(mean_slopes(fit, eta, kind), list(lost.T)).any(axis=1))


def is_linear(fit: FittedModel) -> bool:
    """Whether the mean response is the (first) linear predictor itself, whatever its link is called."""
    if fit.model.family.categories is not None:
        return False
    return all(np.array_equal(mean_response(fit, tried(fit, others)), TRIED) for others in OTHERS)


def tried(fit: FittedModel, others: float) -> Floats:
    """Predictors (K, 4) at which a mean is tried, the same for the first of any model."""
    found = np.full((fit.model.design.num_predictors, len(TRIED)), others)
    found[0] = TRIED
    return found


def over_errors(
    fit: FittedModel, kind: str, eta: Floats, spread: Floats, errors: PredictorErrors
) -> Floats:
    """(n, c) what is predicted, averaged over the errors of predictors (K, n).

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      eta: its predictors.
      spread: (n, K, K) covariances of their normal errors.
      errors: those of the first one, by Student's t as well.
    """
    found, has_t = normal_average(fit, kind, eta, spread), errors.has_t
    if has_t.any():
        one = eta[0, has_t]
        found[has_t] = means_over(
            errors.at(has_t), one, lambda at: predicted_at(fit, kind, at[None])
        )
    return found


def over_uncertain(what: Uncertain, kind: str, seed: int | list[int]) -> Floats:
    """(n, c) what is predicted, averaged over draws of the one predictor; exact where there are none.

    Args:
      what: the rows.
      kind: "response" or "prob".
      seed: of the draws.
    """
    fit, found = what.fit, []
    if not what.num_draws:
        errors = what.errors()
        return over_errors(fit, kind, what.eta, errors.variances[:, None, None], errors)
    for _, _, drawn in what.draws(np.random.default_rng(seed)):
        each = predicted_at(fit, kind, drawn.reshape(1, -1))
        found.append(each.reshape(*drawn.shape, -1).mean(axis=0))
    return np.concatenate(found)


class Cloud(NamedTuple):
    """Some rows' linear predictors as points with chances.

    Attributes:
      rows: (r,) which rows.
      eta: (m, K, r) linear predictors.
      weights: (m, r) chances, which add up to one for each row.
      errors: (r,) variances by the errors of the parameters, the largest of the predictors'.
      centres: (c, K, r) the points without these errors, in the order of the others.
    """

    rows: Ints
    eta: Floats
    weights: Floats
    errors: Floats
    centres: Floats


def clouds(
    fit: FittedModel,
    rows: Design | NewRows,
    nodes: LevelNodes,
    posterior: NormalPosterior,
    num_errors: int,
    *,
    is_fine: bool = False,
) -> Iterator[Cloud]:
    """The linear predictors of rows of known levels, some rows at a time.

    Args:
      fit: a fitted model with one grouping factor.
      rows: fitted or new rows.
      nodes: points of its levels.
      posterior: of its effects, for the errors of the parameters.
      num_errors: nodes over these errors of one predictor, beside the points of the levels; those of several
        take two for each, which are exact up to the third power of errors.
      is_fine: whether those of two or three take a grid instead, exact up to the fifth power.
    """
    # As parameters move, modes move with them: what is left is what the rows do not tell.
    left = posterior.covariances(rows) - posterior.covariances(rows, parameters=False)
    base = linear_predictor(fit, rows, with_random=False)
    known = np.flatnonzero(np.logical_and.reduce([block.index >= 0 for block in rows.terms]))
    steps, shares = _steps(num_errors, rows.num_predictors, is_fine)
    size = max(1, CHUNK // (len(nodes.effects) * len(steps)))
    for start in range(0, len(known), size):
        part = known[start : start + size]
        eta = at_effects(base, rows.terms, nodes.effects, nodes.starts, part)
        weights = nodes.weights[:, rows.terms[0].index[part]]
        moves = np.einsum("nab,eb->ean", row_roots(left[part]), steps)
        errors = np.maximum(np.einsum("nkk->nk", left[part]), 0.0).max(axis=1)
        spread = eta[:, None] + moves
        shared = weights[:, None] * shares[:, None]
        yield Cloud(
            part,
            spread.reshape(-1, *spread.shape[2:]),
            shared.reshape(-1, len(part)),
            errors,
            eta,
        )


def _steps(count: int, num_predictors: int, is_fine: bool) -> tuple[Floats, Floats]:
    """(e, K) standard normal points and their chances: a rule, or of several predictors a grid or the axes."""
    k = num_predictors
    if k == 1 or (is_fine and k <= MOST_FINE):
        rule = np.polynomial.hermite_e.hermegauss(count if k == 1 else FINE_NODES)
        grid, shares = tensor_grid([rule] * k)
        return grid, shares / shares.sum()
    axes = np.sqrt(k) * np.eye(k)
    return np.vstack([axes, -axes]), np.full(2 * k, 0.5 / k)
