"""tr(M^-1 M_j M^-1 M_k) of directions, by the elements of Z'WZ that rows reach, where most are zero.

With E = D^-1 in the lead term's levels and P = [-F', I]', F = D^-1 C, M^-1 is E + P S^-1 P', so that it is
tr(E M_j E M_k) + 2 tr(E M_j P S^-1 P' M_k) + tr(S^-1 P' M_j P S^-1 P' M_k P). All directions are done at once.
"""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.cells import Cells
from lmeformula.algebra.crossproducts import stacked
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.incidence import Incidence
from lmeformula.algebra.lambdas import scalar_factors, times_rest
from lmeformula.algebra.pairs import PairPattern
from lmeformula.algebra.sparse_patterns import with_elements
from lmeformula.arrays import Floats, as_rows


def paired_traces(
    factor: Factor,
    incidence: Incidence,
    pairs: PairPattern,
    cells: Cells,
    moved: Floats,
    changes: tuple[Floats, ...],
) -> Floats:
    """(m, m) the traces.

    Args:
      factor: of M.
      incidence: where its rows meet.
      pairs: of these.
      cells: of its design.
      moved: (n, m) derivatives of the row weights along the directions.
      changes: (m, k, k) those of each term's Lambda.
    """
    plan, lambdas, products = factor.plan, factor.lambdas, factor.products
    m, k = moved.shape[1], plan.sizes[plan.lead][1]
    in_lead, in_between, in_rest = np.split(cells.of_rows @ moved, cells.ends[1:3])
    first, inverse = lambdas[plan.lead], factor.lead_inverse
    change = changes[plan.lead].swapaxes(1, 2)
    half = stacked(change[:, None], stacked(products.lead, first))
    lead = cells.lead(in_lead.T)
    lead = half + half.swapaxes(2, 3) + stacked(first.T, stacked(lead, first))
    found = _products(stacked(stacked(inverse, lead), inverse.swapaxes(1, 2)))
    # (k, e) elements of the between block, (m, k, e) of its derivatives.
    data, moves = incidence.elements(products.between.data), incidence.elements(in_between.T)
    outward = incidence.outward(data, lambdas)
    moves = incidence.outward(data, changes) + incidence.outward(moves, lambdas)
    moves = stacked(change, outward) + stacked(first.T, moves)
    inner = incidence.at_levels(factor.lead_rows, outward)
    followed = incidence.at_levels(lead, inner)
    scaled = incidence.at_levels(inverse, moves - followed).reshape(m * k, -1)
    met = pairs.times_within(factor.rest_inverse_below, scaled)
    found += 2.0 * (scaled.reshape(m, -1) @ met.reshape(m, -1).T)
    whole = _rest(factor, pairs, cells, in_rest.T, changes)
    whole -= pairs.crossed(inner, moves - 0.5 * followed)
    # W S^-1, with W as a lower triangle and its transpose, which share the diagonal.
    shares = np.where(pairs.is_diagonal, 0.5, 1.0)
    turns = np.empty((m, pairs.order, pairs.order))
    for turn, values in zip(turns, whole * shares, strict=True):
        turn[:] = with_elements(pairs.below, values) @ factor.rest_inverse
        turn += with_elements(pairs.above, values) @ factor.rest_inverse
    return found + turns.reshape(m, -1) @ turns.swapaxes(1, 2).reshape(m, -1).T


def _products(parts: Floats) -> Floats:
    flat = as_rows(parts)
    return np.asarray(flat @ flat.T)


def _rest(
    factor: Factor, pairs: PairPattern, cells: Cells, moved: Floats, changes: tuple[Floats, ...]
) -> Floats:
    """(m, p) how the rest of M moves, at the places of the pairs, from (m, c) derivatives of its elements."""
    plan, lambdas, rows, columns = factor.plan, factor.lambdas, pairs.rows, pairs.columns
    scales, turns = scalar_factors(plan, lambdas), scalar_factors(plan, changes)
    if scales is not None and turns is not None:
        both = turns[:, rows] * scales[columns] + scales[rows] * turns[:, columns]
        moved = cells.rest(moved, pairs.places) * (scales[rows] * scales[columns])
        return np.asarray(factor.products.rest.reshape(-1)[pairs.places] * both + moved)
    r, every = pairs.order, np.arange(pairs.order**2)
    square = times_rest(plan, factor.products.rest, lambdas).T
    found = np.empty((len(moved), len(rows)))
    for place, values in enumerate(moved):
        whole = cells.rest(values[None], every).reshape(r, r)
        half = times_rest(plan, square, tuple(change[place] for change in changes))
        whole = half + half.T + times_rest(plan, times_rest(plan, whole, lambdas).T, lambdas)
        found[place] = whole.reshape(-1)[pairs.places]
    return found
