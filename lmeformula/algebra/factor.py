"""Factorization of M = Lambda' Z'WZ Lambda + I by eliminating the lead term, and what is read off it.

    M = [[D, C], [C', R]],  D block diagonal,  S = R - C' D^-1 C dense,
    M = L L' with L = [[D^(1/2), 0], [C' D^(-T/2), S^(1/2)]].

References: Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, for the equations;
the elimination order is the nested-block one of Bates's MixedModels.jl documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from lmeformula.algebra.complement import Complement, complement
from lmeformula.algebra.crossproducts import (
    CrossProducts,
    Layout,
    block_rows,
    stacked,
    times_blocks,
)
from lmeformula.algebra.inverse import Inverse, Met, covariances, leverages
from lmeformula.algebra.lambdas import (
    apply_lambda,
    scalar_factors,
    scale_both,
    scaled_schur,
    slopes_of_traces,
    triangular_solved,
)
from lmeformula.algebra.precision import ByModes, Columns, OuterTraces
from lmeformula.arrays import Floats


class Meets(Protocol):
    """Knows where rows meet, whatever their weights; `incidence.Incidence` is one."""

    def met(self, factor: Factor) -> Iterator[Met]:
        """The elements of M^-1 that the rows meet."""


@dataclass(frozen=True, eq=False)
class Factor(ByModes):
    """M = L L' in blocks.

    Attributes:
      plan: layout of the effects.
      products: Z'WZ.
      lambdas: the relative covariance factor (k, k) of each term, in formula order.
      lead: (l, k, k) lower Cholesky factors D^(1/2) of the lead term's blocks.
      lead_inverse: their inverses.
      scaled: (lead_size, r) CSR, D^(-1/2) Lambda_1' (Z'WZ)_12: the between block before Lambda_2.
      rest: (r, r) lower Cholesky factor of the Schur complement S.
      log_det: log |M|.
      incidence: where rows meet, if that was worked out: leverages are then several times faster.
    """

    plan: Layout
    products: CrossProducts
    lambdas: tuple[Floats, ...]
    lead: Floats
    lead_inverse: Floats
    scaled: sp.csr_array
    rest: Floats
    log_det: float
    incidence: Meets | None = None

    def solve(self, right: Floats) -> Floats:
        """M^-1 right, for right (q,) or (q, m)."""
        return self.solve_upper(self.solve_lower(right))

    def solve_columns(self, right: Floats) -> tuple[Factor, Columns]:
        """Solve for right (q, m)."""
        half = self.solve_lower(right)
        return self, Columns(half, half, self.solve_upper(half))

    def solve_lower(self, right: Floats) -> Floats:
        """L^-1 right, for right (q,) or (q, m)."""
        columns = right.reshape(right.shape[0], -1)
        size = self.plan.lead_size
        top = times_blocks(self.lead_inverse, columns[:size])
        bottom = columns[size:]
        if self.plan.rest:
            bottom = bottom - self._rest_lambda(self._scaled_back @ top, transpose=True)
            bottom = triangular_solved(self.rest, bottom)
        return np.concatenate([top, bottom]).reshape(right.shape)

    def solve_upper(self, right: Floats) -> Floats:
        """L^-T right, for right (q,) or (q, m)."""
        columns = right.reshape(right.shape[0], -1)
        size = self.plan.lead_size
        top, bottom = columns[:size], columns[size:]
        if self.plan.rest:
            bottom = triangular_solved(self.rest, bottom, transpose=True)
            top = top - self.scaled @ self._rest_lambda(bottom)
        top = times_blocks(self.lead_inverse, top, transpose=True)
        return np.concatenate([top, bottom]).reshape(right.shape)

    @cached_property
    def _scaled_back(self) -> sp.csc_array:
        """(r, lead_size) the transpose of `scaled`, for all that is solved with."""
        return self.products.turned(self.scaled)

    @cached_property
    def rest_inverse(self) -> Floats:
        """(r, r) S^-1, the rest's block of M^-1."""
        lower = self.rest_inverse_below
        # The other triangle is zero, as it was in the factor.
        inverse = lower + lower.T
        inverse[np.diag_indices_from(inverse)] = np.diag(lower)
        return np.asarray(inverse)

    @property
    def least_pivot(self) -> float:
        """The least square of the diagonal of L: no eigenvalue of M is larger than all of them."""
        diagonals = [np.diagonal(self.lead, axis1=1, axis2=2).min()]
        if self.plan.rest:
            diagonals.append(np.diagonal(self.rest).min())
        return float(min(diagonals)) ** 2

    def inverse_traces(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of M^-1, one per term in formula order."""
        plan = self.plan
        sums: list[Floats] = [np.empty(0)] * len(plan.sizes)
        for j in plan.rest:
            sums[j] = self._diagonal_blocks(j).sum(axis=0)
        lead_sum = np.einsum("lca,lcb->ab", self.lead_inverse, self.lead_inverse)
        if plan.rest:
            if self.products.pairs is None:
                # tr(F_a S^-1 F_b'); Lambda_2 goes to S^-1, dense anyway.
                lead_sum += self.products.sum_forms(self.lead_rows, self._outward_inverse())
            else:
                lead_sum += self.lead_forms().sum(axis=0)
        sums[plan.lead] = lead_sum
        return tuple(sums)

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of M^-1, one array per term in formula order."""
        plan = self.plan
        blocks: list[Floats] = [np.empty(0)] * len(plan.sizes)
        for j in plan.rest:
            blocks[j] = self._diagonal_blocks(j)
        lead = np.einsum("lca,lcb->lab", self.lead_inverse, self.lead_inverse)
        if plan.rest:
            lead += self.lead_forms()
        blocks[plan.lead] = lead
        return tuple(blocks)

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda: (k, k) of each term."""
        return slopes_of_traces(self.plan, self.lambdas, self.inverse_traces())

    def log_det_slopes_each(self) -> tuple[Floats, ...]:
        """The same as (1, k, k): what one probe says where nothing is left to chance."""
        return tuple(slope[None] for slope in self.log_det_slopes())

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t), Q = Z'WZ - Z'WZ Lambda M^-1 Lambda' Z'WZ."""
        spread = self.products.times(directions)
        half = self.solve_lower(apply_lambda(self.plan, self.lambdas, spread, transpose=True))
        return np.asarray(directions.T @ spread - half.T @ half)

    def outer_traces(self, changes: tuple[Floats, ...]) -> OuterTraces:
        """tr(Q T_i Q T_j) for changes T (t, k, k) of each term, and what `outer_sums` gives."""
        # Q = Lambda^-T (I - M^-1) Lambda^-1
        inward = tuple(
            np.asarray(
                np.linalg.solve(factor, np.linalg.solve(factor, change).transpose(0, 2, 1)), float
            )
            for factor, change in zip(self.lambdas, changes, strict=True)
        )
        away = complement(self)
        return OuterTraces(away.trace_products(inward), self._outer_sums(away))

    def outer_sums(self) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks of Q over each term's levels; Lambda may be nearly singular."""
        return self._outer_sums(complement(self))

    def _outer_sums(self, away: Complement) -> tuple[Floats, ...]:
        sums = []
        for factor, total in zip(self.lambdas, away.sums(), strict=True):
            outer = np.linalg.solve(factor.T, np.linalg.solve(factor.T, total).T)
            sums.append(np.asarray(0.5 * (outer + outer.T), float))
        return tuple(sums)

    def leverages(self) -> Floats:
        """(n,) diagonal of Z Lambda M^-1 Lambda' Z'."""
        return leverages(self.plan, self.lambdas, self.met())

    def row_variances(self, plan: Layout) -> Floats:
        """(n,) the leverages of the rows of another layout of the same effects."""
        return leverages(plan, self.lambdas, self.inverse().met(plan))

    def covariances(self) -> tuple[Floats, ...]:
        """(n, k) of each term: M^-1 Lambda' Z' at the row's own level."""
        return covariances(self.plan, self.lambdas, self.met())

    def met(self) -> Iterator[Met]:
        """The elements of M^-1 that the rows meet."""
        if self.incidence is not None:
            return self.incidence.met(self)
        return self.inverse().met(self.plan)

    def inverse(self) -> Inverse:
        """The parts of M^-1 that single rows of the data meet.

        The block between the lead term and the rest is dense here: lead_size times r numbers.
        """
        plan = self.plan
        levels, k = plan.sizes[plan.lead]
        lead = np.einsum("lca,lcb->lab", self.lead_inverse, self.lead_inverse)
        if not plan.rest:
            return Inverse(lead, np.zeros((plan.lead_size, 0)), np.zeros((0, 0)))
        rest = self.rest_inverse
        # F = D^-1 C, C = Lambda_1' (Z'WZ)_12 Lambda_2; the block between is -F S^-1
        rows = block_rows(self.lead_inverse.transpose(0, 2, 1), self.scaled)
        repeated = [sp.kron(sp.eye_array(plan.sizes[j][0]), self.lambdas[j]) for j in plan.rest]
        rows = sp.csr_array(rows @ sp.block_diag(repeated, format="csr"))
        between = -(rows @ rest)
        grouped = between.reshape(levels, k, -1)
        for a in range(k):
            own = sp.csr_array(rows[a::k])
            for b in range(k):
                lead[:, a, b] -= np.asarray(own.multiply(grouped[:, b]).sum(axis=1)).ravel()
        return Inverse(lead, between, rest)

    @cached_property
    def lead_rows(self) -> Floats:
        """(l, k, k) D^-1 Lambda_1': the between block's rows times these are F but for Lambda_2."""
        inner = stacked(self.lead_inverse.transpose(0, 2, 1), self.lead_inverse)
        return stacked(inner, self.lambdas[self.plan.lead].T)

    def lead_forms(self) -> Floats:
        """(l, k, k) diagonal blocks of F S^-1 F', which with D^-1 make those of M^-1."""
        pairs, scales = self.products.pairs, scalar_factors(self.plan, self.lambdas)
        if pairs is None or scales is None:
            forms = self.products.forms(self._outward_inverse())
        else:
            values = pairs.read(self.rest_inverse_below)
            forms = pairs.forms(values * scales[pairs.rows] * scales[pairs.columns])
        rows = self.lead_rows
        return stacked(stacked(rows, forms), rows.transpose(0, 2, 1))

    def _outward_inverse(self) -> Floats:
        """(r, r) Lambda_2 S^-1 Lambda_2'."""
        turned = tuple(factor.T for factor in self.lambdas)
        return scale_both(self.plan, turned, self.rest_inverse.copy())

    @cached_property
    def rest_inverse_below(self) -> Floats:
        """S^-1 on and below the diagonal, zero above."""
        if not self.plan.rest:
            return np.zeros((0, 0))
        # The factor is C-ordered: LAPACK reads its transpose, an upper factor, without a copy.
        inverse, status = lapack.dpotri(self.rest.T, lower=0)
        if status != 0:
            raise np.linalg.LinAlgError("the Schur complement is singular")
        return np.asarray(inverse.T)

    def _diagonal_blocks(self, term: int) -> Floats:
        (levels, k), place = self.plan.sizes[term], self.plan.in_rest(term)
        below, each = self.rest_inverse_below[place, place], np.arange(levels)
        blocks = below.reshape(levels, k, levels, k)[each, :, each, :]
        return np.asarray(np.tril(blocks) + np.tril(blocks, -1).transpose(0, 2, 1))

    def _rest_lambda(self, columns: Floats, *, transpose: bool = False) -> Floats:
        """Lambda_2 columns, or Lambda_2' columns, for columns (r, m)."""
        return apply_lambda(self.plan, self.lambdas, columns, transpose=transpose, rest_only=True)


def factorize(
    plan: Layout,
    products: CrossProducts,
    lambdas: tuple[Floats, ...],
    incidence: Meets | None = None,
) -> Factor:
    """Factor M = Lambda' Z'WZ Lambda + I.

    Args:
      plan: layout of the effects.
      products: Z'WZ, in blocks.
      lambdas: (k, k) lower-triangular relative covariance factor of each term, in formula order.
      incidence: where rows meet, if that was worked out.
    Returns:
      The factor.
    Raises:
      numpy.linalg.LinAlgError: if M is not positive definite (possible only with negative weights).
    """
    first = lambdas[plan.lead]
    _, k = plan.sizes[plan.lead]
    blocks = stacked(stacked(first.T, products.lead), first) + np.eye(k)
    if k == 1 and not (blocks > 0.0).all():
        raise np.linalg.LinAlgError("a block of the lead term is not positive definite")
    lead: Floats = np.sqrt(blocks) if k == 1 else np.asarray(np.linalg.cholesky(blocks), float)
    inverse: Floats = np.asarray(np.linalg.inv(lead) if k > 1 else 1.0 / lead, float)
    log_det = 2.0 * float(np.log(np.diagonal(lead, axis1=1, axis2=2)).sum())
    if not plan.rest:
        rest = products.rest
        return Factor(
            plan, products, lambdas, lead, inverse, products.between, rest, log_det, incidence
        )
    turned = stacked(inverse, first.T)
    scaled = block_rows(turned, products.between)
    middles = stacked(turned.transpose(0, 2, 1), turned)
    schur = scaled_schur(plan, products, lambdas, middles)
    schur.flat[:: len(schur) + 1] += 1.0
    # LAPACK works by columns: the upper factor of the transpose is the lower one, without a copy.
    upper, status = lapack.dpotrf(schur.T, lower=0, overwrite_a=1, clean=1)
    if status != 0:
        raise np.linalg.LinAlgError("the Schur complement is not positive definite")
    rest = upper.T
    log_det += 2.0 * float(np.log(rest.diagonal()).sum())
    return Factor(plan, products, lambdas, lead, inverse, scaled, rest, log_det, incidence)
