"""How log |M| bends along directions in which row weights and Lambda move, for designs with few effects.

Reference: Magnus, Neudecker (2019), Matrix Differential Calculus, 3rd ed., section 8.3, for the derivatives.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout, stacked
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.inverse import Met, covariances
from lmeformula.algebra.lambdas import triangular_solved
from lmeformula.arrays import Floats, Places

# Most multiplications of all directions: beyond, a gradient or two more cost less.
MOST_WORK = 30_000_000


class Cells(NamedTuple):
    """The blocks of Z'WZ as linear functions of the row weights, found once for all weights.

    Attributes:
      plan: layout of the effects.
      of_rows: (c, n) what each row's weight adds to each element that any row reaches.
      places: (c,) where the elements are: first the lead term's (l, k, k) diagonal blocks, then its (l, k, r)
        block with the rest, and the rest's (r, r).
      ends: (4,) where each of these blocks starts among the elements.
    """

    plan: Layout
    of_rows: sp.csr_array
    places: Places
    ends: Places

    @property
    def sizes(self) -> tuple[int, int, int]:
        """l, k, r: levels and coefficients of the lead term, effects of the rest."""
        plan = self.plan
        return (*plan.sizes[plan.lead], plan.num_effects - plan.lead_size)

    def blank(self) -> tuple[Floats, Floats, Floats]:
        """The three blocks without anything in them."""
        levels, k, r = self.sizes
        return np.zeros((levels, k, k)), np.zeros((levels, k, r)), np.zeros((r, r))

    def fill(self, blocks: tuple[Floats, Floats, Floats], values: Floats) -> None:
        """Put elements (c,) into the blocks."""
        for block, (start, stop) in zip(blocks, itertools.pairwise(self.ends), strict=True):
            block.reshape(-1)[self.places[start:stop]] = values[start:stop]


def is_small(plan: Layout, num_directions: int) -> bool:
    """Whether second derivatives along so many directions take less time than differences of first ones."""
    r = plan.num_effects - plan.lead_size
    return num_directions * (plan.lead_size + r) * (r + 1) * (r + 1) <= MOST_WORK


def cells_of(plan: Layout) -> Cells:
    """Find where each row adds to Z'WZ."""
    levels, k = plan.sizes[plan.lead]
    r = plan.num_effects - plan.lead_size
    own, local = plan.values(plan.lead), np.arange(k)
    rows = plan.level(plan.lead).astype(np.int64)[:, None] * k + local
    others, columns = np.zeros((len(own), 0)), np.zeros((len(own), 0), np.int64)
    for j in plan.rest:
        size = plan.sizes[j][1]
        first = plan.in_rest(j).start + plan.level(j).astype(np.int64)[:, None] * size
        columns = np.column_stack([columns, first + np.arange(size)])
        others = np.column_stack([others, plan.values(j)])
    sizes = (levels * k * k, levels * k * r, r * r)
    starts = np.cumsum([0, *sizes])
    parts = (
        (rows[:, :, None] * k + local, _outer(own, own)),
        (rows[:, :, None] * r + columns[:, None, :], _outer(own, others)),
        (columns[:, :, None] * r + columns[:, None, :], _outer(others, others)),
    )
    n = len(own)
    places = np.hstack(
        [part.reshape(n, -1) + start for start, (part, _) in zip(starts[:-1], parts, strict=True)]
    )
    reached = np.zeros(starts[-1], bool)
    reached[places] = True
    number = np.cumsum(reached) - 1
    values = np.hstack([part for _, part in parts])
    pointers = np.arange(n + 1) * places.shape[1]
    by_row = sp.csr_array((values.ravel(), number[places].ravel(), pointers), (n, reached.sum()))
    found = [np.flatnonzero(reached[start:stop]) for start, stop in itertools.pairwise(starts)]
    ends = np.cumsum([0, *map(len, found)])
    return Cells(plan, by_row.T, np.concatenate(found), ends)


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
    flat = [change.reshape(len(change), -1) for change in changes]
    values = [plan.values(j) for j in range(len(plan.sizes))]
    for i, j, block in met:
        products = _outer(weights[:, None] * values[i], values[j]).T @ block.reshape(len(block), -1)
        (_, k), (_, size) = plan.sizes[i], plan.sizes[j]
        tensor = products.reshape(k, size, k, size).swapaxes(1, 2).reshape(k * k, -1)
        part = flat[i] @ tensor @ flat[j].T
        found -= part if i == j else part + part.T
    turned = np.zeros_like(moved)
    for own, change, reach in zip(values, flat, covariances(plan, lambdas, met), strict=True):
        turned += _outer(own, reach) @ change.T
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
    r = cells.sizes[2]
    first, back = lambdas[plan.lead], inverse.swapaxes(1, 2)
    elements = np.ascontiguousarray((cells.of_rows @ weights).T)
    here, moved = cells.blank(), cells.blank()
    cells.fill(here, elements[0])
    own, between = stacked(here[0], first), here[1]
    outward = _times_rest(plan, between, lambdas)
    inner = stacked(back, stacked(inverse, stacked(first.T, outward))).reshape(
        len(outward) * len(first), r
    )
    square = _times_rest(plan, here[2], lambdas).T
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
        moves = _times_rest(plan, between, turned) + _times_rest(plan, moved[1], lambdas)
        moves = stacked(lead_turned, outward) + stacked(first.T, moves)
        followed = stacked(lead, inner.reshape(moves.shape))
        scaled = stacked(inverse, moves - followed).reshape(inner.shape)
        # Off the diagonal there are two such blocks.
        scaled *= np.sqrt(2.0)
        np.matmul(scaled, root, out=in_between.reshape(inner.shape))
        half = _times_rest(plan, square, turned)
        half -= inner.T @ (moves - 0.5 * followed).reshape(inner.shape)
        whole = half + half.T
        whole += _times_rest(plan, _times_rest(plan, moved[2], lambdas).T, lambdas)
        np.matmul(root.T @ whole, root, out=in_rest)
    return np.asarray(parts @ parts.T)


def _times_rest(plan: Layout, columns: Floats, factors: tuple[Floats, ...]) -> Floats:
    """Columns (..., r) times the rest's factors (k, k) at every level."""
    found = np.empty_like(columns)
    for j in plan.rest:
        factor, place = factors[j], plan.in_rest(j)
        if len(factor) == 1:
            np.multiply(columns[..., place], factor[0, 0], out=found[..., place])
        else:
            part = columns[..., place]
            found[..., place] = (part.reshape(-1, len(factor)) @ factor).reshape(part.shape)
    return found


def _outer(left: Floats, right: Floats) -> Floats:
    """(n, a b) products of the numbers in the same rows of (n, a) and (n, b)."""
    return np.asarray((left[:, :, None] * right[:, None, :]).reshape(len(left), -1))
