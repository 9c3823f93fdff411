"""M behind the names of its dense factor, where nothing dense is formed: solved with, and probed, on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmeformula.algebra.conjugate import conjugate_gradients
from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.eliminated import Eliminated, eliminate
from lmeformula.algebra.inverse import covariances
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.precision import ByModes, Columns
from lmeformula.algebra.probes import (
    BATCH,
    Probed,
    Sides,
    estimate_blocks,
    near_null,
    solve_sides,
    summarize,
)
from lmeformula.algebra.products import Products
from lmeformula.algebra.row_forms import add_forms, in_parts
from lmeformula.algebra.rowwise import COLUMNS, Apart, Pair, leverages_apart, met_apart
from lmeformula.algebra.shared import SharedProducts
from lmeformula.algebra.sparseproducts import Meetings, SparseProducts
from lmeformula.arrays import Floats

# Relative residual of single equations.
TOLERANCE = 1e-9
# The same for the average information, which only shapes the steps of an ascent.
ROUGHLY = 1e-4


@dataclass(frozen=True, eq=False)
class ProbedFactor(ByModes):
    """M = Lambda' Z'WZ Lambda + I; see `Factor` for what is asked of it.

    Attributes:
      eliminated: M with its lead term eliminated.
      signs: (r, m) probes.
      known: what the probes say, if they were solved beside other columns.
    """

    eliminated: Eliminated
    signs: Floats
    known: Probed | None = None

    @property
    def meetings(self) -> Meetings:
        """Where the terms of the design meet."""
        return self._in_memory.meetings

    @property
    def _in_memory(self) -> SparseProducts:
        """The products, of rows that are here."""
        assert isinstance(self.eliminated.products, SparseProducts)
        return self.eliminated.products

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""
        return self.eliminated.plan

    @property
    def lambdas(self) -> tuple[Floats, ...]:
        """The covariance factor (k, k) of each term, in formula order."""
        return self.eliminated.lambdas

    @cached_property
    def sides(self) -> tuple[Sides, ...]:
        """The probes, solved."""
        return tuple(solve_sides(self.eliminated, self.signs))

    @cached_property
    def probed(self) -> Probed:
        """What the probes say of the traces and of log |M|."""
        if self.known is not None:
            return self.known
        return summarize(self.eliminated, self.sides, self.num_probes)

    @property
    def num_probes(self) -> int:
        """m."""
        return int(self.signs.shape[1])

    @property
    def log_det(self) -> float:
        """log |M|, estimated."""
        return self.probed.log_det

    @property
    def least_pivot(self) -> None:
        """Nothing is factored: no pivot is known."""
        return None

    @property
    def converged(self) -> bool:
        """Whether all equations of the probes, and beside them, were solved to their tolerance."""
        return self.probed.converged

    def solve(self, right: Floats, tolerance: float = TOLERANCE) -> Floats:
        """M^-1 right, for right (q,) or (q, m), to a relative residual."""
        columns = right.reshape(right.shape[0], -1)
        size = self.plan.lead_size
        half = self.eliminated.lower(columns)
        tolerances = np.full(columns.shape[1], tolerance)
        half[size:] = conjugate_gradients(self.eliminated.times, half[size:], tolerances).x
        return self.eliminated.upper(half).reshape(right.shape)

    def solve_columns(self, right: Floats) -> tuple[ProbedFactor, Columns]:
        """Solve for right (q, m) to rounding, beside the probes: what a product costs is to read the matrix."""
        size = self.plan.lead_size
        half = self.eliminated.lower(right)
        sides = solve_sides(self.eliminated, self.signs, half[size:])
        probed = summarize(self.eliminated, sides, self.num_probes)
        half[size:] = probed.solution
        solved = self.eliminated.upper(half)
        return replace(self, known=probed), Columns(right, solved, solved)

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda = Lambda^-T (l I - trace): (k, k) of each term."""
        return self._slopes(self.probed.traces)

    def log_det_slopes_each(self) -> tuple[Floats, ...]:
        """The same by each probe, (m, k, k) of each term."""
        return self._slopes(self.probed.each)

    def _slopes(self, traces: tuple[Floats, ...]) -> tuple[Floats, ...]:
        found = []
        for (levels, k), factor, trace in zip(self.plan.sizes, self.lambdas, traces, strict=True):
            missing = levels * np.eye(k) - trace
            found.append(np.asarray(np.linalg.solve(factor.T, missing), float))
        return tuple(found)

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t), to about four digits: it only shapes the steps of an ascent."""
        spread = self.eliminated.products.times(directions)
        half = self.eliminated.lower(apply_lambda(self.plan, self.lambdas, spread, transpose=True))
        top, bottom = half[: self.plan.lead_size], half[self.plan.lead_size :]
        tolerances = np.full(bottom.shape[1], ROUGHLY)
        solved = conjugate_gradients(self.eliminated.times, bottom, tolerances)
        return np.asarray(directions.T @ spread - (top.T @ top + bottom.T @ solved.x))

    def inverse_traces(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of M^-1, one per term in formula order."""
        return self.probed.traces

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of M^-1, one array per term in formula order."""
        # Probes that were solved beside other columns are not kept: with millions of effects they are large.
        sides = self.sides if self.known is None else solve_sides(self.eliminated, self.signs)
        return estimate_blocks(self.eliminated, sides, self.num_probes)

    def leverages(self) -> Floats:
        """(n,) diagonal of Z Lambda M^-1 Lambda' Z'."""
        share, shared = 1.0 / self.num_probes, self.eliminated.products
        if isinstance(shared, SharedProducts):
            pairs = [self._pair(share, each) for each in self.sides if each.probes is not None]
            return shared.leverages(self._apart, self._fixed_pairs, pairs)
        found = self.base_leverages()
        self._add_leverages(found, self.sides)
        return found

    def leverages_by_probe(self) -> Iterator[Floats]:
        """(n,) the leverages by each probe alone, whose mean is that of `leverages`."""
        shared = self.eliminated.products
        if isinstance(shared, SharedProducts):
            yield from self._shared_by_probe(shared)
            return
        fixed = self.base_leverages()
        for sides in self.sides:
            if sides.probes is None:
                self._add_leverages(fixed, (sides,))
        for number in range(self.num_probes):
            found = fixed.copy()
            for sides in self.sides:
                if sides.probes is not None and number in range(self.num_probes)[sides.probes]:
                    one = slice(number - sides.probes.start, number - sides.probes.start + 1)
                    part = Sides(sides.columns[:, one], sides.solved.part(one), None, False)
                    self._add_leverages(found, (part,))
            yield found

    def _shared_by_probe(self, products: SharedProducts) -> Iterator[Floats]:
        """The same where rows are with workers."""
        batches: dict[int, list[Pair]] = {}
        for sides in self.sides:
            if sides.probes is not None:
                batches.setdefault(sides.probes.start, []).append(self._pair(1.0, sides))
        for number in range(self.num_probes):
            # Of terms that are all worked out probes say nothing: each has the same leverages.
            start = number - number % BATCH
            one = slice(number - start, number - start + 1)
            alone = [
                Pair(1.0, each.right[:, one], each.left[:, one]) for each in batches.get(start, ())
            ]
            yield products.leverages(self._apart, self._fixed_pairs, alone)

    def _pair(self, share: float, sides: Sides) -> Pair:
        """What rows read of sides: Lambda L^-T (0, c) and Lambda L^-T (0, (A^-1 - I) c)."""
        columns = sides.columns
        left = self.eliminated.spread_rest(sides.solved.x - columns)
        right = self.eliminated.spread_rest(columns)
        return Pair(share, *(apply_lambda(self.plan, self.lambdas, c) for c in (right, left)))

    @cached_property
    def _fixed_pairs(self) -> tuple[Pair, ...]:
        """Those of the directions that are worked out."""
        return tuple(self._pair(1.0, each) for each in self.sides if each.probes is None)

    @cached_property
    def _apart(self) -> Apart:
        """What is known with A = I."""
        inner = np.einsum(
            "lca,lcb->lab", self.eliminated.lead_inverse, self.eliminated.lead_inverse
        )
        return Apart(self.lambdas, self.base_blocks, inner)

    def near(self, directions: Floats | None = None) -> NearFactor:
        """M with A = I but for some directions.

        Args:
          directions: (r, s) orthonormal; those in which A may be nearly singular by default.
        """
        return NearFactor(self, near_null(self.eliminated) if directions is None else directions)

    @cached_property
    def base_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) what the diagonal blocks of M^-1 would be with A = I; by formula order."""
        return self.eliminated.base_blocks()

    def base_leverages(self) -> Floats:
        """(n,) what the leverages would be with A = I; worked out each time, as there are as many as rows."""
        return leverages_apart(self._in_memory, self._apart)

    def base_covariances(self) -> tuple[Floats, ...]:
        """(n, k) of each term: what the covariances of rows with their levels' effects would be with A = I."""
        return covariances(self.plan, self.lambdas, met_apart(self._in_memory, self._apart))

    def _add_leverages(self, found: Floats, sides: tuple[Sides, ...]) -> None:
        """Add to each row Z Lambda L^-T (0, (A^-1 - I) c) times Z Lambda L^-T (0, c).

        Over directions that is summed, over probes it is a mean.
        """
        if not sides:
            return
        columns = np.concatenate([each.columns for each in sides], axis=1)
        beyond = np.concatenate([each.solved.x - each.columns for each in sides], axis=1)
        shares = [1.0 if each.probes is None else 1.0 / self.num_probes for each in sides]
        beyond *= np.repeat(shares, [each.columns.shape[1] for each in sides])
        for few in in_parts(columns.shape[1], COLUMNS):
            left, right = self._spread_out(beyond[:, few]), self._spread_out(columns[:, few])
            add_forms(found, self.plan, left, right)

    def _spread_out(self, columns: Floats) -> Floats:
        """Lambda L^-T (0, columns) (q, s), for columns (r, s) of the rest."""
        return apply_lambda(self.plan, self.lambdas, self.eliminated.spread_rest(columns))


@dataclass(frozen=True, eq=False)
class NearFactor:
    """L diag(I, B^-2) L' with B = I + V stretch V', near M; all of it is worked out, nothing estimated.

    With the same directions it moves smoothly with M.

    Attributes:
      of: M.
      directions: (r, s) V, orthonormal.
    """

    of: ProbedFactor
    directions: Floats

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""
        return self.of.plan

    @cached_property
    def stretch(self) -> Floats:
        """(s, s) (V'AV)^(-1/2) - I."""
        values, vectors = self._spectrum
        return np.asarray((vectors / np.sqrt(values)) @ vectors.T - np.eye(len(values)))

    @property
    def log_det(self) -> float:
        """Log of its determinant."""
        return self.of.eliminated.log_det + float(np.log(self._spectrum[0]).sum())

    def inverse_traces(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of its inverse, one per term in formula order."""
        traces, parts = [], self.of.plan.split(self._outward)
        for base, part in zip(self.of.base_blocks, parts, strict=True):
            beyond = np.einsum("las,st,lbt->ab", part, self._beyond, part, optimize=True)
            traces.append(base.sum(axis=0) + beyond)
        return tuple(traces)

    def solve(self, right: Floats) -> Floats:
        """Its inverse times right (q, m)."""
        factor, size = self.of.eliminated, self.of.plan.lead_size
        half = factor.lower(right)
        half[size:] += self.directions @ (self._beyond @ (self.directions.T @ half[size:]))
        return factor.upper(half)

    def solve_upper(self, z: Floats) -> Floats:
        """The effects (q, m) at z (q, m), in whose coordinates it is the identity."""
        size, moved = self.of.plan.lead_size, z.copy()
        moved[size:] += self.directions @ (self.stretch @ (self.directions.T @ z[size:]))
        return self.of.eliminated.upper(moved)

    def solve_lower(self, right: Floats) -> Floats:
        """z (q, m), of which `solve_upper` makes its inverse times right (q, m)."""
        size, half = self.of.plan.lead_size, self.of.eliminated.lower(right)
        half[size:] += self.directions @ (self.stretch @ (self.directions.T @ half[size:]))
        return half

    def coordinates(self, effects: Floats) -> Floats:
        """z (q, m) at effects (q, m): what `solve_upper` takes back."""
        values, vectors = self._spectrum
        size, z = self.of.plan.lead_size, self.of.eliminated.turned(effects)
        shrunk = (vectors * (np.sqrt(values) - 1.0)) @ vectors.T
        z[size:] += self.directions @ (shrunk @ (self.directions.T @ z[size:]))
        return z

    def leverages(self) -> Floats:
        """(n,) diagonal of Z Lambda times its inverse times Lambda' Z'."""
        found = self.of.base_leverages()
        outward = apply_lambda(self.of.plan, self.of.lambdas, self._outward)
        for few in in_parts(self.directions.shape[1], COLUMNS):
            add_forms(found, self.of.plan, outward @ self._beyond[:, few], outward[:, few])
        return found

    def covariances(self) -> tuple[Floats, ...]:
        """(n, k) of each term: its inverse times Lambda' Z' at the row's own level."""
        plan, found = self.plan, self.of.base_covariances()
        outward = apply_lambda(plan, self.of.lambdas, self._outward)
        read = plan.spread(outward @ self._beyond)
        for j, (own, part) in enumerate(zip(found, plan.split(self._outward), strict=True)):
            own += np.einsum("nks,ns->nk", part[plan.level(j)], read)
        return found

    @cached_property
    def _spectrum(self) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of V'AV."""
        values, vectors = np.linalg.eigh(
            self.directions.T @ self.of.eliminated.times(self.directions)
        )
        return np.asarray(values), np.asarray(vectors)

    @cached_property
    def _beyond(self) -> Floats:
        """(s, s) (V'AV)^-1 - I."""
        values, vectors = self._spectrum
        return np.asarray((vectors / values) @ vectors.T - np.eye(len(values)))

    @cached_property
    def _outward(self) -> Floats:
        """(q, s) L^-T (0, V)."""
        return self.of.eliminated.spread_rest(self.directions)


def factor_iteratively(
    products: Products, lambdas: tuple[Floats, ...], signs: Floats
) -> ProbedFactor:
    """M of Z'WZ and covariance factors, probed with `signs`.

    Raises:
      numpy.linalg.LinAlgError: if a diagonal block is not positive definite (possible only with negative
        weights).
    """
    return ProbedFactor(eliminate(products.plan, products, lambdas), signs)
