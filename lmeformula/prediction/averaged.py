"""Predictions averaged over the uncertainty of the linear predictors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.prediction.equations import Equations, equations, fresh_spread
from lmeformula.prediction.heavy_errors import (
    HeavyErrors,
    means_over,
    normal_covariances,
    with_fresh,
)
from lmeformula.prediction.kept_effects import only_terms
from lmeformula.prediction.level_posterior import LevelNodes, at_effects, level_nodes, shifts
from lmeformula.prediction.mean_intervals import mean_slopes, moved_by
from lmeformula.prediction.normal_points import row_roots
from lmeformula.prediction.predictive_density import mean_over
from lmeformula.prediction.predictor import (
    PredictionKind,
    chances_at,
    linear_predictor,
    mean_response,
)
from lmeformula.prediction.predictor_intervals import Uncertain
from lmeformula.prediction.predictor_intervals import uncertain as errors_of
from lmeformula.prediction.refuse_student import has_tails
from lmeformula.prediction.scores import averaged_chances

# Nodes over the errors of the parameters, beside those of a level's effects; and numbers at a time.
PARAMETER_NODES, CHUNK = 5, 2_000_000
# Of a grid over the errors of several predictors, along each, and of how many at most.
FINE_NODES, MOST_FINE = 3, 3
# Predictors at which a mean is tried for what it is in them: of the first one, and of all others.
TRIED, OTHERS = np.array([-2.0, -0.7, 0.4, 1.9]), (0.0, 1.0)


def averaged_over(
    fit: FittedModel,
    kind: PredictionKind,
    rows: Design | NewRows,
    kept: tuple[bool, ...],
    *,
    uncertain: bool,
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
      rows: its rows, or new ones.
      kept: whether each random-effects term takes part.
      uncertain: whether fixed effects, and effects of known levels, are uncertain.
      new_levels: whether effects of unseen levels are drawn from their distribution.
    Returns:
      (n, 1) expected responses, or (n, K) chances; nan for rows whose mean moves with a coefficient on its
      way to infinity, whose errors have no number.
    """
    used = only_terms(rows, kept)
    eta = linear_predictor(fit, used, with_random=any(kept))
    if uncertain and has_tails(fit):
        what = errors_of(fit, used, eta, parameters=True, effects=any(kept), new_levels=new_levels)
        return _over_draws(fit, kind, what)
    spread = np.zeros((eta.shape[1], len(eta), len(eta)))
    solved = equations(fit) if uncertain else None
    nodes = level_nodes(fit) if uncertain and any(kept) else None
    if solved is not None:
        with one_blas_thread():
            spread = solved.spread(used, parameters=True, effects=any(kept), new_levels=False)
        if nodes is None and any(kept):
            eta = eta + moved_means(fit, solved, used)[0]
    if new_levels and not is_linear(fit):
        spread = spread + fresh_spread(used, normal_covariances(fit))
        found = over_errors(fit, kind, eta, spread, with_fresh(fit, used.terms, spread[:, 0, 0]))
    else:
        found = _normal(fit, kind, eta, spread)
    if nodes is not None and solved is not None:
        # Levels that the fit has seen have points of their own.
        _at_nodes(fit, kind, used, nodes, solved, found)
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


def _normal(fit: FittedModel, kind: str, eta: Floats, spread: Floats) -> Floats:
    if kind == "prob":
        return averaged_chances(fit, eta, spread)
    return mean_over(fit, eta, spread)[:, None]


def over_errors(
    fit: FittedModel, kind: str, eta: Floats, spread: Floats, errors: HeavyErrors
) -> Floats:
    """(n, c) what is predicted, averaged over the errors of predictors (K, n).

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      eta: its predictors.
      spread: (n, K, K) covariances of their normal errors.
      errors: those of the first one, by Student's t as well.
    """
    found, is_heavy = _normal(fit, kind, eta, spread), errors.is_heavy
    if is_heavy.any():
        work = of_kind(fit, kind)
        one = eta[0, is_heavy]
        found[is_heavy] = means_over(errors.at(is_heavy), one, lambda at: work(at[None]))
    return found


def _over_draws(fit: FittedModel, kind: str, what: Uncertain) -> Floats:
    """Averages over draws of effects by Student's t; exact where all are of unseen levels."""
    if is_linear(fit):
        return what.eta.T
    if what.sampled is None:
        variances = what.variances()
        heavy = what.heavy(what.rows)._replace(variances=variances)
        return over_errors(fit, kind, what.eta, variances[:, None, None], heavy)
    work, random = of_kind(fit, kind), np.random.default_rng(0)
    sds = np.sqrt(what.variances())

    def means(part: slice, rows: Design | NewRows) -> Floats:
        drawn = what.eta[0, part] + what.shifts(rows, what.heavy(rows))
        drawn += sds[part] * random.standard_normal(drawn.shape)
        return np.asarray(work(drawn.reshape(1, -1)).reshape(*drawn.shape, -1).mean(axis=0))

    return what.together(means)


def moved_means(
    fit: FittedModel, solved: Equations, rows: Design | NewRows
) -> tuple[Floats, Floats]:
    """How far means of predictors are from their values at the modes of the effects.

    Returns:
      moved: (K, n) of these rows.
      thirds: (n, K, K, K) third derivatives of the fitted rows' log density.
    """
    found = np.zeros((rows.num_predictors, len(rows.offset)))
    effects, thirds = shifts(fit, solved)
    for block, moves in zip(rows.terms, effects, strict=True):
        known = block.index >= 0
        each = block.added(moves[np.where(known, block.index, 0)], len(found))
        found += np.where(known, each, 0.0)
    return found, thirds


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
    solved: Equations,
    num_errors: int,
    *,
    is_fine: bool = False,
) -> Iterator[Cloud]:
    """The linear predictors of rows of known levels, some rows at a time.

    Args:
      fit: a fitted model with one grouping factor.
      rows: fitted or new rows.
      nodes: points of its levels.
      solved: its mixed-model equations, for the errors of the parameters.
      num_errors: nodes over these errors of one predictor, beside the points of the levels; those of several
        take two for each, which are exact up to the third power of errors.
      is_fine: whether those of two or three take a grid instead, exact up to the fifth power.
    """
    with one_blas_thread():
        both = solved.spread(rows, parameters=True, effects=True, new_levels=False)
        given = solved.spread(rows, parameters=False, effects=True, new_levels=False)
    # As parameters move, modes move with them: what is left is what the rows do not tell.
    left = both - given
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
        nodes, weights = np.polynomial.hermite_e.hermegauss(count if k == 1 else FINE_NODES)
        grid = np.stack(np.meshgrid(*[nodes] * k, indexing="ij"), axis=-1).reshape(-1, k)
        shares = weights
        for _ in range(k - 1):
            shares = np.multiply.outer(shares, weights)
        return grid, shares.reshape(-1) / shares.sum()
    axes = np.sqrt(k) * np.eye(k)
    return np.vstack([axes, -axes]), np.full(2 * k, 0.5 / k)


def over_points(cloud: Cloud, work: Callable[[Floats], Floats]) -> Floats:
    """(r, c) averages over the points of a cloud of what is worked out of predictors (K, r), as (r, c)."""
    total: Floats | None = None
    for eta, weights in zip(cloud.eta, cloud.weights, strict=True):
        part = weights[:, None] * work(eta)
        total = part if total is None else total + part
    assert total is not None
    return total


def of_kind(fit: FittedModel, kind: str) -> Callable[[Floats], Floats]:
    """What is predicted at linear predictors (K, r): means (r, 1), or chances (r, c)."""
    if kind == "prob":
        return lambda eta: chances_at(fit, eta)
    return lambda eta: np.asarray(mean_response(fit, eta))[:, None]


def _at_nodes(
    fit: FittedModel,
    kind: str,
    rows: Design | NewRows,
    nodes: LevelNodes,
    solved: Equations,
    found: Floats,
) -> None:
    work = of_kind(fit, kind)
    for cloud in clouds(fit, rows, nodes, solved, PARAMETER_NODES, is_fine=True):
        found[cloud.rows] = over_points(cloud, work)
