"""How log |M| bends along directions in which row weights and Lambda move, for designs with few effects.

Reference: Magnus, Neudecker (2019), Matrix Differential Calculus, 3rd ed., section 8.3, for the derivatives.
"""

from __future__ import annotations

import itertools

import numpy as np

from lmeformula.algebra.cells import Cells, row_products
from lmeformula.algebra.crossproducts import Layout, stacked
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.incidence import FULL, Incidence
from lmeformula.algebra.inverse import Met, covariances
from lmeformula.algebra.lambdas import times_rest, triangular_solved
from lmeformula.algebra.paired_bend import paired_traces
from lmeformula.arrays import Floats, as_rows

# Most multiplications of all directions: beyond, a gradient or two more cost less.
MOST_WORK = 30_000_000
# Numbers of the array in which pairs of two coefficients meet pairs of others.
MOST_NUMBERS = 20_000_000
# A multiplication by what is there of a sparse matrix takes so many times as long.
SPARSE = 8


def is_small(plan: Layout, num_directions: int) -> bool:
    """Whether second derivatives along so many directions take less time than differences of first ones."""
    if plan.is_general or any(k**4 > MOST_NUMBERS for _, k in plan.sizes):
        return False
    r = plan.num_effects - plan.lead_size
    if num_directions * (plan.lead_size + r) * (r + 1) * (r + 1) <= MOST_WORK:
        return True
    # At most so many elements of the rest in a level of the lead term, and pairs of them.
    levels = plan.sizes[plan.lead][0]
    rows = np.bincount(plan.level(plan.lead), minlength=levels)
    elements = np.zeros(levels)
    for j in plan.rest:
        elements += np.minimum(rows, plan.sizes[j][0]) * plan.sizes[j][1]
    is_full = elements.sum() >= FULL * levels * r
    pairs = min(float(elements @ elements), float(r) ** 2)
    return not is_full and SPARSE * num_directions * (r + 1) * pairs <= MOST_WORK


def determinant_bend(
    factor: Factor,
    cells: Cells,
    met: tuple[Met, ...],
    weights: Floats,
    changes: tuple[Floats, ...],
    moved: Floats,
) -> Floats:
    """The second derivative of -log |M| / 2, but for what weights and Lambda have of their own second ones.

    Args:
      factor: of M.
      cells: of its design.
      met: what the rows meet of M^-1.
      weights: (n,) row weights of M.
      changes: (m, k, k) derivatives of each term's Lambda along the directions.
      moved: (n, m) those of the row weights.
    Returns:
      (m, m).
    """
    plan, lambdas = factor.plan, factor.lambdas
    found = 0.5 * _trace_products(factor, cells, np.column_stack([weights, moved]), changes)
    # tr(M^-1 M_jk): of both Lambdas, and of one with the weights.
    flat = [as_rows(change) for change in changes]
    values = [plan.values(j) for j in range(len(plan.sizes))]
    for i, j, block in met:
        products = row_products(weights[:, None] * values[i], values[j]).T @ block.reshape(
            len(block), -1
        )
        (_, k), (_, size) = plan.sizes[i], plan.sizes[j]
        tensor = products.reshape(k, size, k, size).swapaxes(1, 2).reshape(k * k, -1)
        part = flat[i] @ tensor @ flat[j].T
        found -= part if i == j else part + part.T
    turned = np.zeros_like(moved)
    for own, change, reach in zip(values, flat, covariances(plan, lambdas, met), strict=True):
        turned += row_products(own, reach) @ change.T
    crossed = turned.T @ moved
    return np.asarray(found - crossed - crossed.T)


def _trace_products(
    factor: Factor, cells: Cells, weights: Floats, changes: tuple[Floats, ...]
) -> Floats:
    """(m, m) tr(M^-1 M_j M^-1 M_k), for (n, 1 + m) row weights and their derivatives.

    M^-1 is D^-1 in the lead term's levels, and [-F', I]' S^-1 [-F', I] besides, F = D^-1 C. One direction
    is done after the other, in arrays that stay in a processor's cache.
    """
    plan, lambdas, inverse = factor.plan, factor.lambdas, factor.lead_inverse
    incidence = factor.incidence
    if isinstance(incidence, Incidence) and incidence.pattern is not None:
        along = weights[:, 1:]
        return paired_traces(factor, incidence, incidence.pattern, cells, along, changes)
    r = cells.sizes[2]
    first, back = lambdas[plan.lead], inverse.swapaxes(1, 2)
    elements = np.ascontiguousarray((cells.of_rows @ weights).T)
    here, moved = cells.blank(), cells.blank()
    cells.fill(here, elements[0])
    own, between = stacked(here[0], first), here[1]
    outward = times_rest(plan, between, lambdas)
    inner = stacked(back, stacked(inverse, stacked(first.T, outward))).reshape(
        len(outward) * len(first), r
    )
    square = times_rest(plan, here[2], lambdas).T
    root = triangular_solved(factor.rest, np.eye(r)).T if r else factor.rest
    sizes = np.cumsum([0, *(block.size for block in moved)])
    parts = np.empty((len(elements) - 1, sizes[-1]))
    for place, values in enumerate(elements[1:]):
        cells.fill(moved, values)
        in_lead, in_between, in_rest = (
            parts[place, start:stop].reshape(block.shape)
            for block, (start, stop) in zip(moved, itertools.pairwise(sizes), strict=True)
        )
        turned = tuple(change[place] for change in changes)
        lead_turned = turned[plan.lead].T
        half = stacked(lead_turned, own)
        lead = half + half.swapaxes(1, 2) + stacked(first.T, stacked(moved[0], first))
        in_lead[:] = stacked(stacked(inverse, lead), back)
        if not r:
            continue
        moves = times_rest(plan, between, turned) + times_rest(plan, moved[1], lambdas)
        moves = stacked(lead_turned, outward) + stacked(first.T, moves)
        followed = stacked(lead, inner.reshape(moves.shape))
        scaled = stacked(inverse, moves - followed).reshape(inner.shape)
        # Off the diagonal there are two such blocks.
        scaled *= np.sqrt(2.0)
        np.matmul(scaled, root, out=in_between.reshape(inner.shape))
        half = times_rest(plan, square, turned)
        half -= inner.T @ (moves - 0.5 * followed).reshape(inner.shape)
        whole = half + half.T
        whole += times_rest(plan, times_rest(plan, moved[2], lambdas).T, lambdas)
        np.matmul(root.T @ whole, root, out=in_rest)
    return np.asarray(parts @ parts.T)
