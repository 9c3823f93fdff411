"""M where levels of a term meet one another: they are related, or a row has several of them.

Nothing is block diagonal then. With few effects M is one dense matrix, as here; with many, whose precision is
sparse, `sparse_factor.py` has it. The effects are independent ones u: those of related levels are B u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda, triangular_solved
from lmeformula.algebra.memory import check_dense
from lmeformula.algebra.precision import ByModes, Columns, OuterTraces
from lmeformula.algebra.small import trace_products
from lmeformula.arrays import Floats, Places
from lmeformula.design.relation import Relation


class Whole(NamedTuple):
    """Z'WZ as one matrix.

    Attributes:
      matrix: (q, q), of independent effects.
    """

    matrix: Floats

    @property
    def diagonal(self) -> Floats:
        """(q,)."""
        return np.diag(self.matrix)

    def times(self, columns: Floats) -> Floats:
        """Z'WZ columns, for columns (q, m)."""
        return np.asarray(self.matrix @ columns)

    def squared(self) -> Whole:
        """With the square of each element in its place."""
        return Whole(np.square(self.matrix))

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks over each term's levels, in formula order."""
        return tuple(block.sum(axis=0) for block in diagonal_blocks(plan, self.matrix))

    def factor(self, plan: Layout, lambdas: tuple[Floats, ...]) -> WholeFactor:
        """Factor M."""
        return whole_factor(plan, self, lambdas)


def diagonal_blocks(plan: Layout, matrix: Floats) -> tuple[Floats, ...]:
    """(l, k, k) blocks of each term's levels on the diagonal of a (q, q) matrix."""
    found = []
    for j, (levels, k) in enumerate(plan.sizes):
        place, each = plan.place(j), np.arange(levels)
        square = matrix[place, place].reshape(levels, k, levels, k)
        found.append(square[each, :, each, :])
    return tuple(found)


class Reads(NamedTuple):
    """Where rows read effects: as many in each row.

    Attributes:
      places: (n, s) which effects of levels each row reads.
      values: (n, s) and what times.
    """

    places: Places
    values: Floats

    def variances(self, covariance: Floats) -> Floats:
        """(n,) of rows, for the covariance (q, q) of the levels' effects."""
        found = np.zeros(len(self.places))
        for a, (left, by) in enumerate(zip(self.places.T, self.values.T, strict=True)):
            for b in range(a + 1):
                twice = 1.0 if a == b else 2.0
                found += twice * by * self.values[:, b] * covariance[left, self.places[:, b]]
        return found


def reads_of(plan: Layout) -> Reads:
    """Where the rows of a layout read effects."""
    n = plan.matrices[0].shape[0]
    places = [
        matrix.indices.reshape(n, -1).astype(np.int64) + plan.place(j).start
        for j, matrix in enumerate(plan.matrices)
    ]
    values = [matrix.data.reshape(n, -1) for matrix in plan.matrices]
    return Reads(np.hstack(places), np.hstack(values))


def matrix_of(plan: Layout, reads: Reads) -> sp.csr_array:
    """(n, q) the matrix Z of what rows read; a row that reads an effect twice has one element for it."""
    n, s = reads.places.shape
    pointers = np.arange(0, n * s + 1, s)
    # A copy: adding up what is there twice is in place.
    elements = (reads.values.ravel().copy(), reads.places.ravel().copy(), pointers)
    found = sp.csr_array(elements, (n, plan.num_effects))
    found.sum_duplicates()
    return found


class General(NamedTuple):
    """A design's way to M; see `Incidence`, which it stands for.

    Attributes:
      plan: layout of the effects.
      Z: (n, q) model matrix of all levels' own effects.
      reads: the same, by rows.
    """

    plan: Layout
    Z: sp.csr_array
    reads: Reads

    def products(self, weights: Floats) -> Whole:
        """Z'WZ for row weights (n,) of any sign."""
        weighted = sp.csr_array(self.Z.T @ self.Z.multiply(weights[:, None]).tocsr()).toarray()
        return Whole(inward(self.plan, inward(self.plan, weighted).T))

    def factorize(self, weights: Floats, lambdas: tuple[Floats, ...]) -> WholeFactor:
        """Factor M = Lambda' Z'WZ Lambda + I for row weights (n,)."""
        return whole_factor(self.plan, self.products(weights), lambdas, self.reads)


def find_general(plan: Layout) -> General:
    """Find where the rows read effects.

    Raises:
      ModelError: if a matrix of all effects would not fit into memory.
    """
    check_dense(plan.num_effects)
    reads = reads_of(plan)
    return General(plan, matrix_of(plan, reads), reads)


def inward(plan: Layout, columns: Floats) -> Floats:
    """B' of each term times columns (q, m), in an array of its own: who asks may write into it."""
    return _related(plan, columns, Relation.inward)


def outward(plan: Layout, columns: Floats) -> Floats:
    """B of each term times columns (q, m), in an array of its own: who asks may write into it."""
    return _related(plan, columns, Relation.outward)


def _related(plan: Layout, columns: Floats, times: Callable[[Relation, Floats], Floats]) -> Floats:
    found = columns.copy()
    for j, relation in enumerate(plan.relations):
        if relation is not None:
            found[plan.place(j)] = times(relation, found[plan.place(j)])
    return found


@dataclass(frozen=True, eq=False)
class WholeFactor(ByModes):
    """M = L L' as one matrix; see `Precision`.

    Attributes:
      plan: layout of the effects.
      products: Z'WZ.
      lambdas: the relative covariance factor (k, k) of each term, in formula order.
      lower: (q, q) L.
      log_det: log |M|.
      reads: of the design's rows, where that was worked out.
    """

    plan: Layout
    products: Whole
    lambdas: tuple[Floats, ...]
    lower: Floats
    log_det: float
    reads: Reads | None = None

    def solve(self, right: Floats) -> Floats:
        """M^-1 right, for right (q,) or (q, m)."""
        return self.solve_upper(self.solve_lower(right))

    def solve_columns(self, right: Floats) -> tuple[Self, Columns]:
        """Solve for right (q, m)."""
        half = self.solve_lower(right)
        return self, Columns(half, half, self.solve_upper(half))

    def solve_lower(self, right: Floats) -> Floats:
        """L^-1 right, for right (q,) or (q, m)."""
        columns = right.reshape(right.shape[0], -1)
        return triangular_solved(self.lower, columns).reshape(right.shape)

    def solve_upper(self, right: Floats) -> Floats:
        """L'^-1 right, for right (q,) or (q, m)."""
        columns = right.reshape(right.shape[0], -1)
        return triangular_solved(self.lower, columns, transpose=True).reshape(right.shape)

    @property
    def least_pivot(self) -> float:
        """The least square of the diagonal of L."""
        return float(np.diagonal(self.lower).min()) ** 2

    @cached_property
    def inverse(self) -> Floats:
        """(q, q) M^-1."""
        below, status = lapack.dpotri(self.lower.T, lower=0)
        if status != 0:
            raise np.linalg.LinAlgError("M is singular")
        below = below.T
        found = below + below.T
        found[np.diag_indices_from(found)] = np.diag(below)
        return np.asarray(found)

    @cached_property
    def outer(self) -> Floats:
        """(q, q) Q = Z'WZ - Z'WZ Lambda M^-1 Lambda' Z'WZ."""
        half = self.solve_lower(
            apply_lambda(self.plan, self.lambdas, self.products.matrix, transpose=True)
        )
        return np.asarray(self.products.matrix - half.T @ half)

    @cached_property
    def covariance(self) -> Floats:
        """(q, q) of the levels' own effects: B Lambda M^-1 Lambda' B'."""
        plan = self.plan
        half = outward(plan, apply_lambda(plan, self.lambdas, self.inverse))
        return outward(plan, apply_lambda(plan, self.lambdas, half.T.copy()))

    def inverse_traces(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of M^-1, one per term in formula order."""
        return tuple(blocks.sum(axis=0) for blocks in self.inverse_blocks())

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of M^-1, one array per term in formula order."""
        return diagonal_blocks(self.plan, self.inverse)

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda: (k, k) of each term."""
        pairs = zip(self.outer_sums(), self.lambdas, strict=True)
        return tuple(total @ factor for total, factor in pairs)

    def log_det_slopes_each(self) -> tuple[Floats, ...]:
        """The same as (1, k, k): nothing is left to chance."""
        return tuple(slope[None] for slope in self.log_det_slopes())

    def effects(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """(l, k) of each term, those of its levels."""
        own = self.plan.split(apply_lambda(self.plan, self.lambdas, u))
        return self.plan.natural(own)

    def effect_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) covariances of each term's levels' effects."""
        return diagonal_blocks(self.plan, self.covariance)

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t)."""
        spread = self.products.times(directions)
        half = self.solve_lower(apply_lambda(self.plan, self.lambdas, spread, transpose=True))
        return np.asarray(directions.T @ spread - half.T @ half)

    def outer_traces(self, changes: tuple[Floats, ...]) -> OuterTraces:
        """tr(Q T_i Q T_j) for changes T (t, k, k) of each term, and what `outer_sums` gives."""
        return OuterTraces(trace_products(self.plan, self.outer, changes), self.outer_sums())

    def outer_sums(self) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks of Q over each term's levels."""
        return tuple(block.sum(axis=0) for block in diagonal_blocks(self.plan, self.outer))

    def leverages(self) -> Floats:
        """(n,) diagonal of Z Lambda M^-1 Lambda' Z'."""
        return (reads_of(self.plan) if self.reads is None else self.reads).variances(
            self.covariance
        )

    def row_variances(self, plan: Layout) -> Floats:
        """(n,) the same of the rows of another layout of the same effects."""
        return reads_of(plan).variances(self.covariance)


def whole_factor(
    plan: Layout, products: Whole, lambdas: tuple[Floats, ...], reads: Reads | None = None
) -> WholeFactor:
    """Factor M = Lambda' Z'WZ Lambda + I.

    Raises:
      numpy.linalg.LinAlgError: if M is not positive definite (possible only with negative weights).
    """
    half = apply_lambda(plan, lambdas, products.matrix, transpose=True)
    M = apply_lambda(plan, lambdas, half.T.copy(), transpose=True)
    M.flat[:: len(M) + 1] += 1.0
    upper, status = lapack.dpotrf(M.T, lower=0, clean=1)
    if status != 0:
        raise np.linalg.LinAlgError("M is not positive definite")
    lower = upper.T
    log_det = 2.0 * float(np.log(lower.diagonal()).sum())
    return WholeFactor(plan, products, lambdas, lower, log_det, reads)
