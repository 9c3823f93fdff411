"""The effects given the data as they are, not as normal: nodes for each level, or a shifted mean.

At the mode of a level whose rows say little, such as rare yes and no, its effect's distribution is skewed; the
mean of what is not linear in it is then not that of a normal distribution around the mode. Where one grouping
factor has all the effects, levels are independent given the parameters, and a rule with nodes for each level
is exact. Elsewhere the mean is moved by the first term of its expansion, which the third derivatives give:
that takes the error of the average from the first to the second order in the rows of a level.

References: Tierney, Kadane (1986), JASA 81, 82-86, section 2; Trefethen, Weideman (2014), The exponentially
convergent trapezoidal rule, SIAM Review 56, 385-458; Rue, Martino, Chopin (2009), J. R. Stat. Soc. B 71,
319-392, section 3.2.3, for means beside modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from lmeformula.arrays import Codes, Floats, Ints
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_points import sinh_rule
from lmeformula.prediction.normal_posterior import NormalPosterior, row_precisions
from lmeformula.prediction.predictive_density import row_log_density
from lmeformula.prediction.predictor import add_effects, linear_predictor, stacked_estimates

# Nodes of each effect by the number of effects of a level, also where they add to several predictors, whose
# errors take more points; and how many prior standard deviations they reach.
NODES, REACH = {1: {1: 41, 2: 35}, 2: {1: 41, 2: 25}}, 8.0
# More densities of rows than this are too many, and so are more numbers at a time.
MOST_DENSITIES, CHUNK = 2**28, 2_000_000


class LevelNodes(NamedTuple):
    """The effects of each level of the one grouping factor, as points with chances.

    Attributes:
      effects: (M, l, k) on the scale of the predictor, the columns of all terms side by side.
      weights: (M, l) chances, which add up to one for each level.
      starts: where each term's columns begin among the k.
    """

    effects: Floats
    weights: Floats
    starts: tuple[int, ...]


def level_nodes(fit: FittedModel) -> LevelNodes | None:
    """Points for the effects of each level, given its rows and the estimates.

    Args:
      fit: a fitted model.
    Returns:
      The points; None where effects are normal anyway, or more than two a level, or of several factors, or
      where there would be too many points.
    """
    design = fit.model.design
    terms = design.terms
    num_effects = sum(len(term.columns) for term in terms)
    if (
        fit.model.family.is_normal
        or not fit.model.space.has_normal_priors
        or not has_rows(design)
        or num_effects not in NODES[1]
        or any(term.meets for term in terms)
        or any(
            term.levels != terms[0].levels or not np.array_equal(term.index, terms[0].index)
            for term in terms
        )
    ):
        return None
    along_each = NODES[min(design.num_predictors, 2)][num_effects]
    num_nodes = along_each**num_effects
    if design.n * num_nodes > MOST_DENSITIES:
        return None
    count = len(terms[0].levels)
    root = scipy.linalg.block_diag(*map(cholesky_semidefinite, fit.params.covariances))
    modes = np.hstack(list(fit.modes))
    # Nodes lie around the mode in effects of unit variance, as wide as the curvature there.
    middle = modes @ np.linalg.pinv(root).T
    stack = fit.model.stack
    ZL = np.hstack([term.values for term in stack.terms]) @ root
    weights = stack.mixture.held(row_precisions(fit))
    outer = (weights[:, None, None] * ZL[:, :, None] * ZL[:, None, :]).reshape(len(ZL), -1)
    inside = _collector(stack.terms[0].index, count) @ outer
    precision = np.eye(num_effects) + inside.reshape(count, num_effects, num_effects)
    values, vectors = np.linalg.eigh(precision)
    along, stretch = sinh_rule(values, along_each, REACH)
    points = middle + np.einsum("lab,lmb->mla", vectors, along)
    logs = stretch.T - 0.5 * (points**2).sum(axis=-1)
    effects = points @ root.T
    starts = tuple(int(s) for s in np.cumsum([0, *(len(term.columns) for term in terms)])[:-1])
    logs += _row_sums(fit, effects, starts)
    mass = np.exp(logs - logs.max(axis=0))
    return LevelNodes(effects, mass / mass.sum(axis=0), starts)


def at_effects(
    base: Floats,
    terms: Sequence[TermBlock],
    nodes: Floats,
    starts: Sequence[int],
    part: slice | Ints,
) -> Floats:
    """(m, K, r) predictors of some rows at the points (m, l, k) of their levels.

    Args:
      base: (K, n) without effects.
      terms: of the rows.
      nodes: the points.
      starts: where each term's columns begin among the k.
      part: which rows.
    """
    eta = np.repeat(base[None, ..., part], len(nodes), axis=0)
    for block, first in zip(terms, starts, strict=True):
        columns = slice(first, first + len(block.columns))
        some = replace(block, values=block.values[part])
        eta += some.added(nodes[:, block.index[part], columns], len(base))
    return eta


def _collector(index: Codes, count: int) -> sp.csr_array:
    """What adds up rows by their levels."""
    n = len(index)
    return sp.csr_array((np.ones(n), (index, np.arange(n))), shape=(count, n))


def _row_sums(fit: FittedModel, effects: Floats, starts: Sequence[int]) -> Floats:
    """(M, l) log densities of each level's rows, at its points."""
    family, own, design = fit.model.family, fit.params.own, fit.model.design
    response = family.response(design)
    base = linear_predictor(fit, design, with_random=False)
    collect = _collector(design.terms[0].index, effects.shape[1])
    found = np.zeros(effects.shape[:2])
    size = max(1, CHUNK // len(effects))
    for start in range(0, design.n, size):
        part = slice(start, start + size)
        eta = np.moveaxis(at_effects(base, design.terms, effects, starts, part), 0, -1)
        each = row_log_density(family, tuple(array[part] for array in response), own, eta)
        # A density that is none where the predictor overflows is no chance.
        each = np.maximum(np.nan_to_num(each, nan=-1e300, posinf=-1e300, neginf=-1e300), -1e300)
        if design.frequency is not None:
            each = each * design.frequency[part, None]
        found += (collect[:, part] @ each).T
    return found


def moved_means(
    fit: FittedModel, posterior: NormalPosterior, rows: Design | NewRows
) -> tuple[Floats, Floats]:
    """How far the means of predictors given the data are from their values at the modes, to first order.

    Zero where the modes are means already: of normal rows, and in fits by Monte Carlo EM.

    Args:
      fit: a fitted model.
      posterior: of its effects.
      rows: fitted or new rows.
    Returns:
      moved: (K, n) of these rows.
      thirds: (n, K, K, K) third derivatives of the fitted rows' log density in their K predictors; zeros where
        nothing is moved.
    """
    design, stack = fit.model.design, fit.model.stack
    k, n = design.num_predictors, design.n
    moved = np.zeros((k, len(rows.offset)))
    if not fit.has_modes:
        return moved, np.zeros((n, k, k, k))
    from lmeformula.likelihood.laplace.rows import row_derivatives  # may start TensorFlow

    stacked = NewRows(stack.X, design.names, stack.terms, (stack.offset,), (0,) * len(design.names))
    variances = posterior.covariances(stacked, parameters=False)[:, 0, 0]
    # How the weights of stacked rows change with each predictor: so the rows' means are pulled.
    thirds = np.asarray(row_derivatives(fit.model).depths(*stacked_estimates(fit)).third, float)
    pulls = np.zeros((len(thirds), n))
    pulls[:k] = 0.5 * np.einsum("vkn,vn->kn", thirds, variances.reshape(-1, n))
    shifts = posterior.collected(pulls.reshape(-1, 1))[:, 0]
    plan = posterior.plan
    add_effects(moved, rows.terms, plan.natural(plan.split(shifts)))
    readers = stack.mixture.readers
    return moved, np.einsum("vkn,va,vb->nkab", thirds, readers, readers)
