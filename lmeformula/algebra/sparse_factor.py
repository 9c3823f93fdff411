"""M where levels of a term meet, with many effects, of which the precision is sparse.

With B = R^-1, so that R'R is the precision of the levels' own effects, M = R'^-1 N R^-1, and N = Lambda' Z'WZ
Lambda + R'R, with Z of the levels' own effects, is sparse: it is factored, and its inverse is known where its
factor has elements. Those are all that derivatives and variances of rows and levels need.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve_triangular

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.general import Reads, inward, matrix_of, outward, reads_of
from lmeformula.algebra.lambdas import apply_lambda, slopes_of_traces
from lmeformula.algebra.precision import ByModes, Columns, OuterTraces
from lmeformula.algebra.selected import Selected, Symbolic, find_symbolic, selected_inverse
from lmeformula.arrays import Floats, Places
from lmeformula.design.relation import symmetric_factor

# Rows that are solved for at a time.
AT_A_TIME = 256
# Step of the differences of traces, relative to a covariance.
STEP = 1e-4


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A design's way to N: where the rows read effects, and where N and its factor have elements.

    Attributes:
      plan: layout of the effects.
      Z: (n, q) model matrix of the levels' own effects.
      reads: the same, by rows.
      precision: (q, q) R'R.
    """

    plan: Layout
    Z: sp.csr_array
    reads: Reads
    precision: sp.csc_array

    @cached_property
    def symbolic(self) -> Symbolic:
        """The pattern of the factor of N."""
        plan, parts = self.plan, []
        for j in _in_place(plan):
            (levels, k), relation = plan.sizes[j], plan.relation(j)
            own = sp.eye_array(levels) if relation is None else abs(relation.precision)
            parts.append(sp.kron(own, np.ones((k, k))))
        ones = self.Z.copy()
        ones.data = np.ones_like(ones.data)
        pattern = sp.csc_array(sp.block_diag(parts, format="csc") + ones.T @ ones)
        pattern.sort_indices()
        return find_symbolic(pattern)

    @cached_property
    def met(self) -> Places:
        """(n, s, s) where the elements between what rows read are."""
        return self.symbolic.pairs(self.symbolic.back[self.reads.places])

    @cached_property
    def related(self) -> tuple[tuple[sp.coo_array, Places], ...]:
        """Of each term, the precision (l, l) of its levels, and (e, k, k) where its elements' blocks are."""
        plan, found = self.plan, []
        for j, (levels, k) in enumerate(plan.sizes):
            relation = plan.relation(j)
            own = sp.eye_array(levels) if relation is None else relation.precision
            known = sp.coo_array(own)
            start, each = plan.place(j).start, np.arange(k)
            rows = start + known.row.astype(np.int64)[:, None] * k + each
            columns = start + known.col.astype(np.int64)[:, None] * k + each
            back, shape = self.symbolic.back, (len(rows), k, k)
            one = np.broadcast_to(back[rows][:, :, None], shape)
            found.append(
                (
                    known,
                    self.symbolic.places(one, np.broadcast_to(back[columns][:, None, :], shape)),
                )
            )
        return tuple(found)

    @cached_property
    def diagonal(self) -> tuple[Places, ...]:
        """(l, k, k) of each term, where the blocks of its levels are."""
        plan, back, found = self.plan, self.symbolic.back, []
        for j, (levels, k) in enumerate(plan.sizes):
            effects = back[plan.place(j).start + np.arange(levels * k).reshape(levels, k)]
            found.append(self.symbolic.pairs(effects))
        return tuple(found)

    def products(self, weights: Floats) -> SparseWhole:
        """Z'WZ for row weights (n,) of any sign."""
        weighted = sp.csr_array(self.Z.multiply(weights[:, None]))
        return SparseWhole(self, sp.csc_array(self.Z.T @ weighted))

    def factorize(self, weights: Floats, lambdas: tuple[Floats, ...]) -> SparseFactor:
        """Factor M for row weights (n,)."""
        return self.products(weights).factor(self.plan, lambdas)


class SparseWhole(NamedTuple):
    """Z'WZ of the levels' own effects.

    Attributes:
      arrangement: of the design.
      matrix: (q, q).
    """

    arrangement: Arrangement
    matrix: sp.csc_array

    def times(self, columns: Floats) -> Floats:
        """Z'WZ columns, of independent effects (q, m)."""
        plan = self.arrangement.plan
        return inward(plan, np.asarray(self.matrix @ outward(plan, columns)))

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks over each term's levels, of their own effects."""
        found, coo = [], sp.coo_array(self.matrix)
        for j, (_, k) in enumerate(plan.sizes):
            place = plan.place(j)
            own = (coo.row >= place.start) & (coo.row < place.stop)
            own &= (coo.row - place.start) // k == (coo.col - place.start) // k
            own &= (coo.col >= place.start) & (coo.col < place.stop)
            cells = (coo.row[own] - place.start) % k * k + (coo.col[own] - place.start) % k
            found.append(np.asarray(np.bincount(cells, coo.data[own], k * k), float).reshape(k, k))
        return tuple(found)

    def factor(self, plan: Layout, lambdas: tuple[Floats, ...]) -> SparseFactor:
        """Factor M.

        Raises:
          numpy.linalg.LinAlgError: if M is not positive definite (possible only with negative weights).
        """
        arrangement = self.arrangement
        symbolic = arrangement.symbolic
        parts = [sp.kron(sp.eye_array(plan.sizes[j][0]), lambdas[j]) for j in _in_place(plan)]
        spread = sp.csc_array(sp.block_diag(parts, format="csc"))
        N = spread.T @ self.matrix @ spread + arrangement.precision
        permuted = sp.csc_array(sp.csr_array(N)[symbolic.order].tocsc()[:, symbolic.order])
        solver = symmetric_factor(permuted, "NATURAL")
        if solver is None:
            raise np.linalg.LinAlgError("M is not positive definite")
        return SparseFactor(plan, self, lambdas, solver, solver.U.diagonal())


def _in_place(plan: Layout) -> list[int]:
    """The terms in the order in which their effects stand."""
    return sorted(range(len(plan.sizes)), key=lambda j: plan.starts[j])


@dataclass(frozen=True, eq=False)
class SparseFactor(ByModes):
    """M by a factor of N; see `Precision`.

    Attributes:
      plan: layout of the effects.
      products: Z'WZ.
      lambdas: the relative covariance factor (k, k) of each term, in formula order.
      solver: SuperLU's factor of N, in the order of the arrangement.
      pivots: (q,) the diagonal of the factor.
    """

    plan: Layout
    products: SparseWhole
    lambdas: tuple[Floats, ...]
    solver: Any
    pivots: Floats

    @property
    def _arrangement(self) -> Arrangement:
        return self.products.arrangement

    @cached_property
    def log_det(self) -> float:
        """log |M|."""
        less = 0.0
        for j, (_, k) in enumerate(self.plan.sizes):
            relation = self.plan.relation(j)
            less += 0.0 if relation is None else k * relation.log_det_precision
        return float(np.log(self.pivots).sum()) - less

    @property
    def least_pivot(self) -> float:
        """The least element of the diagonal of the factor of N."""
        return float(self.pivots.min())

    def solve(self, right: Floats) -> Floats:
        """M^-1 right, for right (q,) or (q, m)."""
        return self._away(self._solve_own(self._away_back(right)))

    def solve_columns(self, right: Floats) -> tuple[Self, Columns]:
        """Solve for right (q, m)."""
        solved = self.solve(right)
        return self, Columns(right, solved, solved)

    def solve_upper(self, right: Floats) -> Floats:
        """What has the covariance M^-1, of independent columns (q,) or (q, m)."""
        columns = right.reshape(len(right), -1) / np.sqrt(self.pivots)[:, None]
        upper = sp.csr_array(self.solver.L.T)
        moved = spsolve_triangular(upper, columns, lower=False, unit_diagonal=True)
        found = np.empty_like(columns)
        order = self._arrangement.symbolic.order
        found[order[np.argsort(self.solver.perm_c)]] = moved
        return self._away(found.reshape(right.shape))

    def _solve_own(self, right: Floats) -> Floats:
        """N^-1 right."""
        order = self._arrangement.symbolic.order
        found = np.empty_like(right)
        found[order] = self.solver.solve(np.ascontiguousarray(right[order]))
        return found

    def _away(self, effects: Floats) -> Floats:
        """R effects."""
        return self._by_terms(effects, "away")

    def _away_back(self, effects: Floats) -> Floats:
        """R' effects."""
        return self._by_terms(effects, "away_back")

    def _by_terms(self, effects: Floats, what: str) -> Floats:
        found = effects.copy()
        for j in range(len(self.plan.sizes)):
            relation, place = self.plan.relation(j), self.plan.place(j)
            if relation is not None:
                found[place] = getattr(relation, what)(found[place])
        return found

    @cached_property
    def inverse(self) -> Selected:
        """The elements of N^-1 where its factor has some."""
        symbolic = self._arrangement.symbolic
        lower = sp.coo_array(self.solver.L)
        back = np.argsort(self.solver.perm_c)
        below = lower.row > lower.col
        rows, columns = back[lower.row[below]], back[lower.col[below]]
        wanted = np.minimum(rows, columns).astype(np.int64) * symbolic.size
        wanted += np.maximum(rows, columns)
        values = np.zeros(len(symbolic.keys))
        if wanted.size:
            place = np.minimum(np.searchsorted(symbolic.keys, wanted), len(symbolic.keys) - 1)
            is_there = symbolic.keys[place] == wanted
            values[place[is_there]] = lower.data[below][is_there]
        pivots = np.empty_like(self.pivots)
        pivots[back] = self.pivots
        return selected_inverse(symbolic, values, pivots)

    def inverse_traces(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of M^-1, one per term in formula order."""
        return tuple(
            np.einsum("e,eab->ab", known.data, self.inverse.at(places))
            for known, places in self._arrangement.related
        )

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of N^-1, of the levels' own effects, one array per term."""
        return tuple(self.inverse.at(places) for places in self._arrangement.diagonal)

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda: (k, k) of each term."""
        return slopes_of_traces(self.plan, self.lambdas, self.inverse_traces())

    def log_det_slopes_each(self) -> tuple[Floats, ...]:
        """The same as (1, k, k): nothing is left to chance."""
        return tuple(slope[None] for slope in self.log_det_slopes())

    def effects(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """(l, k) of each term, those of its levels."""
        return self.plan.natural(self.plan.split(apply_lambda(self.plan, self.lambdas, u)))

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t)."""
        spread = self.products.times(directions)
        half = apply_lambda(self.plan, self.lambdas, spread, transpose=True)
        return np.asarray(directions.T @ spread - half.T @ self.solve(half))

    def outer_sums(self) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks of Q over each term's levels; Lambda may be nearly singular."""
        found = []
        for factor, slope in zip(self.lambdas, self.log_det_slopes(), strict=True):
            outer = np.linalg.solve(factor.T, slope.T)
            found.append(np.asarray(0.5 * (outer + outer.T), float))
        return tuple(found)

    def outer_traces(self, changes: tuple[Floats, ...]) -> OuterTraces:
        """tr(Q T_i Q T_j) for changes T (t, k, k) of each term, and what `outer_sums` gives.

        It is how the sums move: minus the derivative of tr(Q T_i) along T_j, of which these are differences.
        """
        owners = [(j, change) for j, of_one in enumerate(changes) for change in of_one]
        found = np.zeros((len(owners), len(owners)))
        for row, (j, change) in enumerate(owners):
            relative = self.lambdas[j] @ self.lambdas[j].T
            length = STEP / float(
                np.abs(np.linalg.eigvals(np.linalg.solve(relative, change))).max()
            )
            ahead, behind = (
                self._moved(j, relative + sign * length * change).outer_sums()
                for sign in (1.0, -1.0)
            )
            slopes = [(b - a) / (2.0 * length) for a, b in zip(ahead, behind, strict=True)]
            found[row] = [float(np.vdot(slopes[i], other)) for i, other in owners]
        return OuterTraces(0.5 * (found + found.T), self.outer_sums())

    def _moved(self, term: int, relative: Floats) -> SparseFactor:
        """The factor with another relative covariance of a term."""
        lambdas = list(self.lambdas)
        lambdas[term] = np.asarray(np.linalg.cholesky(relative), float)
        return self.products.factor(self.plan, tuple(lambdas))

    def leverages(self) -> Floats:
        """(n,) diagonal of Z Lambda M^-1 Lambda' Z'."""
        arrangement = self._arrangement
        values = self._loads(arrangement.reads)
        return self._forms(values, arrangement.met)

    def row_variances(self, plan: Layout) -> Floats:
        """(n,) the same of the rows of another layout of the same effects."""
        reads, symbolic = reads_of(plan), self._arrangement.symbolic
        values, places = self._loads(reads), symbolic.pairs(symbolic.back[reads.places])
        # What the data never read together is solved for.
        lacks = np.flatnonzero((places < 0).any(axis=(1, 2)))
        found = self._forms(values, np.maximum(places, 0))
        for start in range(0, len(lacks), AT_A_TIME):
            some = lacks[start : start + AT_A_TIME]
            columns = np.zeros((self.plan.num_effects, len(some)))
            each = np.broadcast_to(np.arange(len(some))[:, None], reads.places[some].shape)
            np.add.at(columns, (reads.places[some], each), values[some])
            found[some] = np.einsum("qm,qm->m", columns, self._solve_own(columns))
        return found

    def _forms(self, values: Floats, places: Places) -> Floats:
        found = np.empty(len(values))
        size = max(1, 4_000_000 // max(1, values.shape[1] ** 2))
        for start in range(0, len(values), size):
            some = slice(start, start + size)
            found[some] = np.einsum(
                "na,nab,nb->n", values[some], self.inverse.at(places[some]), values[some]
            )
        return found

    def _loads(self, reads: Reads) -> Floats:
        """(n, s) what rows read of spherical effects."""
        found, start = np.empty_like(reads.values), 0
        for factor, (_, k), matrix in zip(
            self.lambdas, self.plan.sizes, self.plan.matrices, strict=True
        ):
            width = len(matrix.indices) // matrix.shape[0]
            own = reads.values[:, start : start + width].reshape(-1, k)
            found[:, start : start + width] = (own @ factor).reshape(-1, width)
            start += width
        return found


def find_arrangement(plan: Layout) -> Arrangement:
    """Find where the rows read effects, and the precision of these."""
    reads = reads_of(plan)
    parts = []
    for j in _in_place(plan):
        (levels, k), relation = plan.sizes[j], plan.relation(j)
        own = sp.eye_array(levels) if relation is None else relation.precision
        parts.append(sp.kron(own, sp.eye_array(k)))
    return Arrangement(
        plan, matrix_of(plan, reads), reads, sp.csc_array(sp.block_diag(parts, format="csc"))
    )
