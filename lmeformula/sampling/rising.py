"""Whether the likelihood rises from a covariance on its boundary: its derivative there, from draws.

A likelihood that averages p(y | b) over b ~ N(0, Sigma) obeys the heat equation: with g and H the first and
second derivatives of log p(y | b) in the effects b of a level,

    d l / d Sigma = 1/2 sum over levels of E[g g' + H | y] = G / 2,

whatever the other effects are, and also where Sigma is zero or singular: there Sigma is at its maximum if G is
nil in the range of Sigma and has no positive eigenvalue elsewhere (Karush, Kuhn, Tucker). The complete-data
scores say the same, but drown in noise on the way to the boundary; these do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.em.types import Edge, Geometry, Look, Problem
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace, TermShape

# As many draws are looked at as hold these numbers and are not more than so many of each chain; at least a few.
NUMBERS, DRAWS = 10_000_000, (20, 1000)
# Where a covariance starts again, in units of the noticeable.
RESTART = 0.5
# Variances below this, in its square, are none.
NONE = 1e-4


class _Concerned(NamedTuple):
    """An edge of a covariance: its place among those looked at, its term, and the coefficient; -1 for none."""

    place: int
    term: int
    coefficient: int


# params (d,), geometry, positions (m, q, c), terms -> (m, c, k, k) of each of these, whose mean is G.
Curvatures = Callable[[Floats, Geometry, Floats, list[int]], dict[int, Floats]]


def looker(
    space: ParamSpace, units: Callable[[Floats], tuple[Floats, ...]], curvatures: Curvatures
) -> Callable[[Floats, Geometry, Floats, tuple[Edge, ...]], Look]:
    """What looks at the boundaries of a model's covariances.

    Args:
      space: the parameter space.
      units: psi (d,) -> `noticeable` sds of each term.
      curvatures: what G is the mean of: from draws, or two values that enclose what is known without.
    Returns:
      (params (d,), geometry, positions (m, q, c), held edges) -> Look.
    """

    def look(
        params: Floats, geometry: Geometry, positions: Floats, edges: tuple[Edge, ...]
    ) -> Look:
        concerned = _concerned(space, edges)
        if not concerned:
            return Look((), edges, np.zeros((1, 0, 1)))
        terms = sorted({each.term for each in concerned})
        sums = curvatures(params, geometry, positions, terms)
        sizes = units(params)
        found, changed = [], list(edges)
        for each in concerned:
            edge, unit = edges[each.place], sizes[each.term]
            series, changed[each.place] = _towards(space, params, edge, each, sums[each.term], unit)
            found.append(series)
        return Look(
            tuple(edges[each.place].name for each in concerned),
            tuple(changed),
            np.stack(found, axis=1),
        )

    return look


def _concerned(space: ParamSpace, edges: tuple[Edge, ...]) -> list[_Concerned]:
    found = []
    for place, edge in enumerate(edges):
        moved = np.flatnonzero(edge.directions[:, 0])
        for j, (term, where) in enumerate(zip(space.terms, space.theta_slices, strict=True)):
            count = term.structure.num_sds(len(term.columns))
            if len(moved) and where.start <= moved[0] < where.stop and edge.of_covariance:
                coefficient = int(moved[0]) - where.start
                is_sd = len(moved) == 1 and coefficient < count
                found.append(_Concerned(place, j, coefficient if is_sd else -1))
    return found


def drawn_curvatures(model: Model, arrays: Arrays, problem: Problem) -> Curvatures:
    """The sums over the levels of g g' + H at draws.

    Args:
      model: the model.
      arrays: its arrays, with X as it is in the model.
      problem: gives the random effects at the sampler's positions.
    """

    def curvatures(
        params: Floats, geometry: Geometry, positions: Floats, terms: list[int]
    ) -> dict[int, Floats]:
        stack, space = model.stack, model.space
        n = len(stack.X)
        kept = int(np.clip(NUMBERS // (n * positions.shape[2]), *DRAWS))
        # Draws far apart say most.
        positions = positions[:: -(-len(positions) // kept)]
        m, q, c = positions.shape
        columns = positions.transpose(1, 0, 2).reshape(q, m * c)
        white = tf.nest.map_structure(lambda part: tf.constant(np.asarray(part)), geometry.arrays)
        data = tf.nest.map_structure(lambda part: tf.constant(np.asarray(part)), problem.data)
        effects = np.asarray(problem.to_latents(tf.constant(columns), white, data), float)
        own = params[space.own_slice]
        base = stack.offset + stack.X @ params[: space.num_fixed]
        found = {
            j: np.empty((m * c, len(space.terms[j].columns), len(space.terms[j].columns)))
            for j in terms
        }
        for draw in range(m * c):
            rows = arrays.rows.slopes(base + arrays.plan.spread(effects[:, draw]), own)
            for j in terms:
                values, (levels, k) = stack.terms[j].values, arrays.plan.sizes[j]
                slopes = (arrays.plan.transposed[j] @ rows.first).reshape(levels, k)
                found[j][draw] = slopes.T @ slopes + values.T @ (rows.second[:, None] * values)
        return {j: part.reshape(m, c, *part.shape[1:]) for j, part in found.items()}

    return curvatures


def _towards(
    space: ParamSpace, params: Floats, edge: Edge, each: _Concerned, sums: Floats, unit: Floats
) -> tuple[Floats, Edge]:
    """(m, c) what the rise of the likelihood towards an edge is the mean of, and the edge with a way back."""
    term, where = space.terms[each.term], space.theta_slices[each.term]
    k = len(term.columns)
    factor = space.factors(params)[each.term]
    if term.structure.correlations == "each" and k > 1:
        null = _null_space((factor @ factor.T) / np.outer(unit, unit))
        inner = np.einsum("mcab,ax,by->mcxy", sums * unit[:, None] * unit, null, null)
        first, second = np.array_split(inner, 2)
        # The steepest direction of either half of the draws, looked at in the other: no bias.
        ways = [_steepest(half.mean(axis=(0, 1))) for half in (second, first)]
        series = [
            np.einsum("mcab,a,b->mc", half, way, way)
            for half, way in zip((first, second), ways, strict=True)
        ]
        steepest = unit * (null @ _steepest(inner.mean(axis=(0, 1))))
        inside = _with_more(term, params, where, steepest)
        return -0.5 * np.concatenate(series), edge._replace(inside=inside)
    if each.coefficient >= 0:
        if term.structure.num_sds(k) == k:
            j = each.coefficient
            return -0.5 * unit[j] ** 2 * sums[:, :, j, j], edge
        # One standard deviation for all coefficients, which vary alike on the way to zero.
        return -0.5 * np.mean(unit**2) * np.einsum("mcaa->mc", sums), edge
    changes = space.factor_changes(params)[each.term]
    change = np.einsum("t,tab->ab", edge.directions[where, 0][: len(changes)], changes)
    covariance = change @ factor.T + factor @ change.T
    size = float(np.abs(covariance / np.outer(unit, unit)).max())
    return 0.5 * np.einsum("mcab,ab->mc", sums, covariance) / max(size, 1e-300), edge


def _null_space(covariance: Floats) -> Floats:
    """(k, z) directions that do not vary, of a covariance in units of the noticeable; at least one."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors[:, values <= max(values[0], NONE)])


def _steepest(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.eigh(0.5 * (matrix + matrix.T))[1][:, -1])


def _with_more(term: TermShape, params: Floats, where: slice, way: Floats) -> Floats:
    """(d,) parameters with more covariance of a term, most of it along a direction (k,)."""
    k = len(term.columns)
    factor = term.structure.cholesky(params[where], k)
    more = RESTART**2 * np.outer(way, way)
    covariance = factor @ factor.T + more
    covariance[np.diag_indices(k)] += 0.1 * np.maximum(np.diag(more), 0.01 * np.diag(more).max())
    moved = params.copy()
    moved[where] = term.structure.to_free(covariance)
    return moved
