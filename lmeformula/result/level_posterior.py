"""Result stage: the effects given the data as they are, not as normal: nodes for each level, or a shifted mean.

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

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.result.equations import Equations
from lmeformula.result.posterior import row_precisions
from lmeformula.result.predictive_density import row_log_density
from lmeformula.result.predictor import family_values, linear_predictor
from lmeformula.store.absent import has_rows

Floats = NDArray[np.float64]

# Nodes of each effect by the number of effects of a level, and how many prior standard deviations they reach.
NODES, REACH = {1: 41, 2: 35}, 8.0
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
      The points; None where effects are normal anyway, or more than two a level, or of several factors, or of
      several linear predictors, or where there would be too many points.
    """
    design = fit.model.design
    terms = design.terms
    num_effects = sum(len(term.columns) for term in terms)
    if (
        fit.model.family.is_normal
        or fit.model.family.predictors
        or fit.params.freedom
        or not has_rows(design)
        or num_effects not in NODES
        or any(
            term.levels != terms[0].levels or not np.array_equal(term.index, terms[0].index)
            for term in terms
        )
    ):
        return None
    num_nodes = NODES[num_effects] ** num_effects
    if design.n * num_nodes > MOST_DENSITIES:
        return None
    index, count = terms[0].index, len(terms[0].levels)
    Z = np.hstack([term.values for term in terms])
    root = _block_diagonal([cholesky_semidefinite(each) for each in fit.params.covariances])
    modes = np.hstack(list(fit.modes))
    # Nodes lie around the mode in effects of unit variance, as wide as the curvature there.
    middle = modes @ np.linalg.pinv(root).T
    ZL = Z @ root
    weights = np.maximum(row_precisions(fit), 0.0)
    collect = sp.csr_array(
        (np.ones(design.n), (index, np.arange(design.n))), shape=(count, design.n)
    )
    outer = (weights[:, None, None] * ZL[:, :, None] * ZL[:, None, :]).reshape(design.n, -1)
    precision = np.eye(num_effects) + (collect @ outer).reshape(count, num_effects, num_effects)
    values, vectors = np.linalg.eigh(precision)
    reach = np.arcsinh(REACH * np.sqrt(values))
    rule = np.linspace(-1.0, 1.0, NODES[num_effects])
    grid = np.stack(np.meshgrid(*[rule] * num_effects, indexing="ij"), axis=-1)
    inner = grid.reshape(-1, 1, num_effects) * reach
    along = np.sinh(inner) / np.sqrt(values)
    points = middle + np.einsum("lab,mlb->mla", vectors, along)
    logs = np.log(np.cosh(inner)).sum(axis=-1) - 0.5 * (points**2).sum(axis=-1)
    effects = points @ root.T
    logs += _row_sums(fit, collect, Z, effects, index)
    mass = np.exp(logs - logs.max(axis=0))
    starts = np.cumsum([0, *(len(term.columns) for term in terms)])[:-1]
    return LevelNodes(effects, mass / mass.sum(axis=0), tuple(int(s) for s in starts))


def _block_diagonal(blocks: list[Floats]) -> Floats:
    size = sum(len(block) for block in blocks)
    found, start = np.zeros((size, size)), 0
    for block in blocks:
        stop = start + len(block)
        found[start:stop, start:stop] = block
        start = stop
    return found


def _row_sums(
    fit: FittedModel, collect: sp.csr_array, Z: Floats, effects: Floats, index: NDArray[np.int32]
) -> Floats:
    """(M, l) log densities of each level's rows, at its points."""
    family, own = fit.model.family, family_values(fit)
    response = family.response(fit.model.design)
    base = linear_predictor(fit, fit.model.design, with_random=False)
    found = np.zeros(effects.shape[:2])
    size = max(1, CHUNK // len(effects))
    for start in range(0, len(base), size):
        part = slice(start, start + size)
        eta = base[part] + np.einsum("na,mna->mn", Z[part], effects[:, index[part]])
        each = row_log_density(family, tuple(array[part] for array in response), own, eta.T)
        # A density that is none where the predictor overflows is no chance.
        each = np.maximum(np.nan_to_num(each, nan=-1e300, posinf=-1e300, neginf=-1e300), -1e300)
        found += (collect[:, part] @ each).T
    return found


def shifts(fit: FittedModel, solved: Equations) -> tuple[tuple[Floats, ...], Floats]:
    """How far the means of the effects given the data are from their modes, to first order.

    Zero where the modes are means already: of normal rows, and in fits by Monte Carlo EM.

    Args:
      fit: a fitted model of one linear predictor.
      solved: its mixed-model equations.
    Returns:
      shifts: (l, k) of each term.
      thirds: (n,) third derivatives of the rows' log density in their predictors; zeros where nothing is moved.
    """
    plan, design = solved.factor.plan, fit.model.design
    if fit.model.family.is_normal or fit.method != "laplace":
        return plan.split(np.zeros(plan.num_effects)), np.zeros(design.n)
    from lmeformula.laplace.rows import row_derivatives  # may start TensorFlow

    variances = solved.variances(design, parameters=False, effects=True, new_levels=False)
    free = fit.model.space.own.scale.to_free(fit.params.own)
    thirds = row_derivatives(fit.model).depths(linear_predictor(fit, design), free).third
    pulled = solved.collected((0.5 * thirds * variances)[:, None])
    return plan.split(pulled[:, 0]), np.asarray(thirds, float)
