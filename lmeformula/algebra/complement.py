"""H = I - M^-1 = Lambda' Z'V^-1 Z Lambda: its blocks, and traces of products with it.

Derivatives of log |M| in Lambda Lambda' divide H by Lambda on both sides. The blocks here are worked out
without subtracting nearly equal numbers, so that they keep their digits where Lambda is nearly singular.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, Protocol

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.algebra.lambdas import scale_both, scaled_schur
from lmeformula.arrays import Floats, as_rows

# Beyond so many numbers sums over levels of all products of two elements are not formed.
MOST_NUMBERS = 2**20


class Factored(Protocol):
    """What is read of M in blocks; `factor.Factor` is one, which has this file's answers as its own."""

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""

    @property
    def products(self) -> CrossProducts:
        """Z'WZ."""

    @property
    def lambdas(self) -> tuple[Floats, ...]:
        """The factor (k, k) of each term."""

    @property
    def lead_inverse(self) -> Floats:
        """(l, k, k) D^(-1/2)."""

    @property
    def rest_inverse(self) -> Floats:
        """(r, r) S^-1."""

    @property
    def lead_rows(self) -> Floats:
        """(l, k, k) D^-1 Lambda_1'."""

    def lead_forms(self) -> Floats:
        """(l, k, k) diagonal blocks of F S^-1 F'."""


class Complement(NamedTuple):
    """I - M^-1 in blocks.

    Attributes:
      factor: of M.
      own: (l, k, k) I - D^-1 of the lead term's levels.
      forms: (l, k, k) diagonal blocks of F S^-1 F', F = D^-1 C, so that H has own - forms there.
      rest: (r, r) I - S^-1.
    """

    factor: Factored
    own: Floats
    forms: Floats
    rest: Floats

    def sums(self) -> tuple[Floats, ...]:
        """(k, k) sums over the levels of the diagonal blocks of H, one per term in formula order."""
        plan = self.factor.plan
        found: list[Floats] = [np.empty(0)] * len(plan.sizes)
        found[plan.lead] = (self.own - self.forms).sum(axis=0)
        for j in plan.rest:
            levels, k = plan.sizes[j]
            place, each = plan.in_rest(j), np.arange(levels)
            square = self.rest[place, place].reshape(levels, k, levels, k)
            found[j] = square[each, :, each, :].sum(axis=0)
        return tuple(found)

    def trace_products(self, changes: tuple[Floats, ...]) -> Floats:
        """tr(H S_i H S_j), for symmetric changes S of single terms.

        Where Lambda Lambda' changes by Lambda S Lambda', this is what the second derivative of log |M| has of
        the first ones: minus the trace.

        Args:
          changes: (t, k, k) of each term, in formula order: S_i has this matrix at every level of its term.
        Returns:
          (t in all, t in all).
        """
        plan = self.factor.plan
        starts = np.cumsum([0, *(len(change) for change in changes)])
        places = [slice(a, b) for a, b in itertools.pairwise(starts)]
        found = np.zeros((starts[-1], starts[-1]))
        here, change = places[plan.lead], changes[plan.lead]
        found[here, here] = _level_products(self.own, self.own, change)
        if not plan.rest:
            return found
        crossed = _level_products(self.own, self.forms, change)
        found[here, here] -= crossed + crossed.T
        self._add_lead(changes, places, found)
        for number, i in enumerate(plan.rest):
            for j in plan.rest[number:]:
                found[places[i], places[j]] = self._between(i, j, changes[i], changes[j])
                found[places[j], places[i]] = found[places[i], places[j]].T
        return found

    def _between(self, i: int, j: int, left: Floats, right: Floats) -> Floats:
        """Of two terms of the rest."""
        plan = self.factor.plan
        (l_i, k_i), (l_j, k_j) = plan.sizes[i], plan.sizes[j]
        block = self.rest[plan.in_rest(i), plan.in_rest(j)]
        # One row for each pair of coefficients.
        flat = block.reshape(l_i, k_i, l_j, k_j).transpose(1, 3, 0, 2).reshape(k_i * k_j, -1)
        tensor = (flat @ flat.T).reshape(k_i, k_j, k_i, k_j)
        return np.asarray(np.einsum("sab,acbd,tcd->st", left, tensor, right, optimize=True))

    def _add_lead(self, changes: tuple[Floats, ...], places: list[slice], found: Floats) -> None:
        """What the lead term has of F S^-1 F', with itself and with the rest."""
        factor, plan = self.factor, self.factor.plan
        inverse, rows = factor.rest_inverse, factor.lead_rows
        pairs = [(a, b) for a in range(rows.shape[1]) for b in range(a + 1)]
        # S^-1 F_a'F_b, symmetrised in a and b.
        products = []
        for a, b in pairs:
            middle = rows[:, a, :, None] * rows[:, b, None, :]
            gram = factor.products.gram(0.5 * (middle + middle.transpose(0, 2, 1)))
            products.append(inverse @ scale_both(plan, factor.lambdas, gram))
        weights = np.array(
            [[s[a, b] * (1.0 if a == b else 2.0) for a, b in pairs] for s in changes[plan.lead]]
        )
        here = places[plan.lead]
        crossed = np.array([[np.vdot(p, q.T) for q in products] for p in products])
        found[here, here] += weights @ crossed @ weights.T
        for j in plan.rest:
            place, (levels, k) = plan.in_rest(j), plan.sizes[j]
            right = inverse[place].reshape(levels, k, -1)
            blocks = [
                np.einsum("mcx,mdx->cd", product[place].reshape(levels, k, -1), right)
                for product in products
            ]
            found[here, places[j]] = np.einsum(
                "sp,pcd,tcd->st", weights, np.array(blocks), changes[j], optimize=True
            )
            found[places[j], here] = found[here, places[j]].T


def complement(factor: Factored) -> Complement:
    """Work out I - M^-1.

    Args:
      factor: of M.
    Returns:
      Its blocks, but for those between levels of the lead term, which follow from them.
    """
    plan = factor.plan
    first = factor.lambdas[plan.lead]
    inner = factor.lead_inverse.transpose(0, 2, 1) @ factor.lead_inverse
    own = inner @ (first.T @ factor.products.lead @ first)
    if not plan.rest:
        return Complement(factor, own, np.zeros_like(own), np.zeros((0, 0)))
    forms = factor.lead_forms()
    if all(plan.sizes[j][1] == 1 for j in plan.rest):
        # A scalar Lambda is no smaller in one direction than in another.
        rest = -factor.rest_inverse
        rest[np.diag_indices_from(rest)] += 1.0
    else:
        schur = scaled_schur(plan, factor.products, factor.lambdas, first @ factor.lead_rows)
        rest = factor.rest_inverse @ schur
    return Complement(factor, own, forms, rest)


def _level_products(left: Floats, right: Floats, change: Floats) -> Floats:
    """(t, t) sum over the levels of tr(S_i left S_j right)."""
    if left.shape[-1] ** 4 > MOST_NUMBERS:
        turned = as_rows((change @ right[:, None]).transpose(1, 0, 3, 2))
        if not len(change):
            return np.zeros((0, 0))
        return np.array([turned @ (each @ left).ravel() for each in change])
    tensor = np.einsum("lbc,lda->abcd", left, right, optimize=True)
    return np.asarray(np.einsum("sab,abcd,tcd->st", change, tensor, change, optimize=True))
