"""M = Lambda' Z'WZ Lambda + I with the lead term eliminated and the rest whitened by blocks; nothing dense.

    M = L diag(I, A) L',   L = [[D^(1/2), 0], [N', G]],   N = D^(-1/2) (Lambda' Z'WZ Lambda)_12,

D block diagonal, G G' = P the diagonal blocks of the Schur complement S, so that A = G^-1 S G^-T has unit
diagonal blocks. A crossed design leaves A near the identity; nested terms leave it there exactly. Only products
with A are ever formed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout, times_blocks
from lmeformula.algebra.lambdas import times_lambda
from lmeformula.algebra.products import Products
from lmeformula.arrays import Floats


class Eliminated(NamedTuple):
    """L and what products with A need.

    Attributes:
      plan: layout of the effects.
      products: Z'WZ.
      lambdas: the relative covariance factor (k, k) of each term, in formula order.
      lead_inverse: (l, k, k) D^(-1/2), lower triangular.
      roots_inverse: (l, k, k) G^-1 of each term of the rest, lower triangular.
      own: (l, k, k) G^-1 (Lambda'Z'WZ Lambda + I) G^-T of each term of the rest.
      outward: (l, k, k) Lambda G^-T of each term of the rest.
      turn: (l, k, k) D^-1 Lambda' of the lead term.
      middle: (l, k, k) Lambda D^-1 Lambda' of the lead term.
      log_det: log |L L'|, all of log |M| but log |A|.
    """

    plan: Layout
    products: Products
    lambdas: tuple[Floats, ...]
    lead_inverse: Floats
    roots_inverse: tuple[Floats, ...]
    own: tuple[Floats, ...]
    outward: tuple[Floats, ...]
    turn: Floats
    middle: Floats
    log_det: float

    @property
    def rest_size(self) -> int:
        """Number of effects of the rest, the order of A."""
        return self.plan.num_effects - self.plan.lead_size

    def places(self) -> tuple[slice, ...]:
        """Where each term of the rest is in a vector of the rest."""
        return tuple(self.plan.in_rest(j) for j in self.plan.rest)

    def times(self, columns: Floats) -> Floats:
        """A times columns (r, m)."""
        places = self.places()
        scaled = [
            times_blocks(blocks, columns[place])
            for blocks, place in zip(self.outward, places, strict=True)
        ]
        found = np.empty_like(columns)
        sums = self.products.reduced(self.middle, scaled)
        for part, blocks, own, place in zip(sums, self.outward, self.own, places, strict=True):
            found[place] = times_blocks(blocks, part, transpose=True)
            found[place] += times_blocks(own, columns[place])
        return found

    def lower(self, right: Floats) -> Floats:
        """L^-1 right, for right (q, m)."""
        size = self.plan.lead_size
        found = np.empty_like(right)
        found[:size] = times_blocks(self.lead_inverse, right[:size])
        pull = times_blocks(self.lead_inverse, found[:size], transpose=True)
        pull = times_lambda(self.lambdas[self.plan.lead], pull)
        backward = self.products.backward(pull)
        for number, (j, own) in enumerate(zip(self.plan.rest, backward, strict=True)):
            place = self.plan.place(j)
            part = right[place] - times_lambda(self.lambdas[j].T, own)
            found[place] = times_blocks(self.roots_inverse[number], part)
        return found

    def upper(self, half: Floats) -> Floats:
        """L^-T half, for half (q, m)."""
        size = self.plan.lead_size
        found = np.empty_like(half)
        scaled = []
        for number, j in enumerate(self.plan.rest):
            place = self.plan.place(j)
            found[place] = times_blocks(self.roots_inverse[number], half[place], transpose=True)
            scaled.append(times_lambda(self.lambdas[j], found[place]))
        push = times_lambda(self.lambdas[self.plan.lead].T, self.products.forward(scaled))
        top = half[:size] - times_blocks(self.lead_inverse, push)
        found[:size] = times_blocks(self.lead_inverse, top, transpose=True)
        return found

    def turned(self, columns: Floats) -> Floats:
        """L' columns, for columns (q, m): what `upper` takes back."""
        size = self.plan.lead_size
        found, scaled = np.empty_like(columns), []
        for number, j in enumerate(self.plan.rest):
            place, root = self.plan.place(j), _inverses(self.roots_inverse[number])
            found[place] = times_blocks(root, columns[place], transpose=True)
            scaled.append(times_lambda(self.lambdas[j], columns[place]))
        push = times_lambda(self.lambdas[self.plan.lead].T, self.products.forward(scaled))
        root = _inverses(self.lead_inverse)
        found[:size] = times_blocks(root, columns[:size], transpose=True)
        found[:size] += times_blocks(self.lead_inverse, push)
        return found

    def spread_rest(self, columns: Floats) -> Floats:
        """L^-T (0, columns) (q, m), for columns (r, m) of the rest."""
        empty = np.zeros((self.plan.lead_size, columns.shape[1]))
        return self.upper(np.concatenate([empty, columns]))

    def whitened(self, columns: Floats) -> list[Floats]:
        """(r_j, m) of each term of the rest: what L^-T (0, columns) has there, for columns (r, m)."""
        return [
            times_blocks(root, columns[place], transpose=True)
            for root, place in zip(self.roots_inverse, self.places(), strict=True)
        ]

    def lead_forms(self, left: list[Floats], right: list[Floats]) -> Floats:
        """(m, k, k) sums over the lead term's levels of products of what two L^-T (0, columns) have there.

        Args:
          left, right: what `whitened` says of the columns.
        """
        scaled = (
            [
                times_lambda(self.lambdas[j], part)
                for j, part in zip(self.plan.rest, own, strict=True)
            ]
            for own in (left, right)
        )
        return self.products.forms(self.turn, *scaled)

    def base_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of (L L')^-1, what M^-1 would be with A = I; by formula order."""
        plan = self.plan
        blocks: list[Floats] = [np.empty(0)] * len(plan.sizes)
        lead = np.einsum("lca,lcb->lab", self.lead_inverse, self.lead_inverse)
        left = lead @ self.lambdas[plan.lead].T
        for j, root in zip(plan.rest, self.roots_inverse, strict=True):
            blocks[j] = np.einsum("lca,lcb->lab", root, root)
        blocks[plan.lead] = lead + self.products.squares(left, list(self.outward))
        return tuple(blocks)


def eliminate(plan: Layout, products: Products, lambdas: tuple[Floats, ...]) -> Eliminated:
    """Eliminate the lead term and find the diagonal blocks of what is left.

    Args:
      plan: layout of the effects.
      products: Z'WZ.
      lambdas: (k, k) lower-triangular relative covariance factor of each term, in formula order.
    Returns:
      The factor L.
    Raises:
      numpy.linalg.LinAlgError: if M is not positive definite (possible only with negative weights).
    """
    first = lambdas[plan.lead]
    lead_inverse, log_det = _invert_roots(first.T @ products.lead @ first)
    turn = np.einsum("lca,lcb->lab", lead_inverse, lead_inverse) @ first.T
    middle = first @ turn
    roots, own, outward = [], [], []
    inner = products.inner(middle)
    for j, diagonal, taken in zip(plan.rest, products.diagonal, inner, strict=True):
        factor = lambdas[j]
        root, part = _invert_roots(factor.T @ (diagonal - taken) @ factor)
        whole = factor.T @ diagonal @ factor + np.eye(len(factor))
        turned = root.transpose(0, 2, 1)
        log_det += part
        roots.append(root)
        own.append(root @ whole @ turned)
        outward.append(factor @ turned)
    return Eliminated(
        plan,
        products,
        lambdas,
        lead_inverse,
        tuple(roots),
        tuple(own),
        tuple(outward),
        turn,
        middle,
        log_det,
    )


def _inverses(blocks: Floats) -> Floats:
    return np.asarray(1.0 / blocks if blocks.shape[1] == 1 else np.linalg.inv(blocks), float)


def _invert_roots(blocks: Floats) -> tuple[Floats, float]:
    """Inverse Cholesky factors of I + each block, and the sum of the blocks' log determinants."""
    k = blocks.shape[1]
    if k == 1:
        pivots = 1.0 + blocks
        if not (pivots > 0).all():
            raise np.linalg.LinAlgError("a diagonal block is not positive")
        return 1.0 / np.sqrt(pivots), float(np.log(pivots).sum())
    root = np.linalg.cholesky(blocks + np.eye(k))
    log_det = 2.0 * float(np.log(np.diagonal(root, axis1=1, axis2=2)).sum())
    return np.asarray(np.linalg.inv(root), float), log_det
