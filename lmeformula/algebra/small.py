"""M as one matrix, in terms of Q = Z'V^-1 Z sigma^2: the fastest of a few dozen effects, without a division.

Derivatives are taken in T = Lambda Lambda', where d log|V| = tr(Q dT) needs no division by Lambda.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.precision import Columns, OuterTraces
from lmeformula.arrays import Floats, Places, as_rows

# Most effects for which the dense products are faster than the blocks.
MOST_EFFECTS = 100


class OneMatrix(Protocol):
    """Z'WZ that is one matrix; `general.Whole` is it."""

    @property
    def matrix(self) -> Floats:
        """(q, q)."""


class DenseProducts(NamedTuple):
    """Z'WZ as one matrix.

    Attributes:
      matrix: (q, q).
      places: (l, k, k) of each term: flat places of its diagonal blocks in a (q, q) matrix.
    """

    matrix: Floats
    places: tuple[Places, ...]

    def spread(self, lambdas: tuple[Floats, ...]) -> Floats:
        """(q, q) Lambda, from the (k, k) factors of the terms."""
        found = np.zeros_like(self.matrix)
        flat = found.reshape(-1)
        for place, factor in zip(self.places, lambdas, strict=True):
            flat[place] = factor
        return found

    def root(self) -> Floats:
        """(r, q) B of full rank with B'B = Z'WZ."""
        values, vectors = np.linalg.eigh(self.matrix)
        has_some = values > len(values) * np.finfo(float).eps * values[-1]
        return np.asarray(np.sqrt(values[has_some])[:, None] * vectors[:, has_some].T)


@dataclass(frozen=True, eq=False)
class SmallFactor:
    """M, told by Q; see `Precision`.

    Attributes:
      plan: layout of the effects.
      places: flat places of each term's diagonal blocks, as of `DenseProducts`.
      lambdas: the relative covariance factor (k, k) of each term.
      log_det: log |M|.
      outer: (q, q) Q.
    """

    plan: Layout
    places: tuple[Places, ...]
    lambdas: tuple[Floats, ...]
    log_det: float
    outer: Floats

    def solve_columns(self, right: Floats) -> tuple[SmallFactor, Columns]:
        """Solve for right (q, m) by M^-1 = I - Lambda'Q Lambda."""
        outward = apply_lambda(self.plan, self.lambdas, right)
        taken = apply_lambda(self.plan, self.lambdas, self.outer @ outward, transpose=True)
        return self, Columns(right, right - taken, right - taken)

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of M^-1 of each term."""
        pairs = zip(self.lambdas, self._blocks, strict=True)
        return tuple(np.eye(len(factor)) - factor.T @ block @ factor for factor, block in pairs)

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda: (k, k) of each term."""
        pairs = zip(self.outer_sums(), self.lambdas, strict=True)
        return tuple(total @ factor for total, factor in pairs)

    def fit_slopes(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """w'w Lambda (k, k) of each term."""
        pairs = zip(self.plan.split(w), self.lambdas, strict=True)
        return tuple(a.T @ a @ factor for a, factor in pairs)

    def effects(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """(l, k) T w of each term's levels."""
        pairs = zip(self.plan.split(w), self.lambdas, strict=True)
        return self.plan.natural(tuple(part @ (factor @ factor.T) for part, factor in pairs))

    def effect_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) T - T Q T of each term's levels."""
        found = []
        for j, (factor, block) in enumerate(zip(self.lambdas, self._blocks, strict=True)):
            T = factor @ factor.T
            is_apart = self.plan.relation(j) is None
            found.append(T - T @ block @ T if is_apart else self._related_blocks(j, T))
        return tuple(found)

    def _related_blocks(self, term: int, T: Floats) -> Floats:
        """(l, k, k) B (T - T Q T) B' of the levels of a term that are related."""
        (levels, k), place = self.plan.sizes[term], self.plan.place(term)
        relation = self.plan.relation(term)
        assert relation is not None
        spread = np.asarray(np.kron(np.eye(levels), T), float)
        half = relation.outward(spread - spread @ self.outer[place, place] @ spread)
        whole = relation.outward(half.T.copy()).reshape(levels, k, levels, k)
        each = np.arange(levels)
        return np.asarray(whole[each, :, each, :])

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t)."""
        return np.asarray(directions.T @ self.outer @ directions)

    def outer_traces(self, changes: tuple[Floats, ...]) -> OuterTraces:
        """tr(Q T_i Q T_j) for symmetric changes T (t, k, k) of each term, and what `outer_sums` gives."""
        return OuterTraces(trace_products(self.plan, self.outer, changes), self.outer_sums())

    def outer_sums(self) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks of Q over each term's levels."""
        return tuple(blocks.sum(axis=0) for blocks in self._blocks)

    @cached_property
    def _blocks(self) -> tuple[Floats, ...]:
        flat = np.ascontiguousarray(self.outer).reshape(-1)
        return tuple(flat[place] for place in self.places)


def dense_products(
    plan: Layout, products: CrossProducts | OneMatrix, most: int = MOST_EFFECTS
) -> DenseProducts | None:
    """Write Z'WZ out; None where there are more effects than that: too many for it to be worth it."""
    q, size = plan.num_effects, plan.lead_size
    is_sparse = not isinstance(products, CrossProducts) and sp.issparse(products.matrix)
    if q > most or is_sparse:
        return None
    places = []
    for (levels, k), start in zip(plan.sizes, plan.starts, strict=True):
        effects = start + np.arange(levels * k).reshape(levels, k)
        places.append(effects[:, :, None] * q + effects[:, None, :])
    if not isinstance(products, CrossProducts):
        return DenseProducts(products.matrix, tuple(places))
    matrix = np.zeros((q, q))
    matrix.reshape(-1)[places[plan.lead]] = products.lead
    between = products.between.toarray()
    matrix[:size, size:], matrix[size:, :size] = between, between.T
    matrix[size:, size:] = products.rest
    return DenseProducts(matrix, tuple(places))


def trace_products(plan: Layout, outer: Floats, changes: tuple[Floats, ...]) -> Floats:
    """tr(Q S_i Q S_j) for symmetric changes S (t, k, k) of each term's T; (t in all, t in all).

    Beside large variances each Q S is of the size of one; products of Q with Q, which are not, would cancel.
    """
    q, parts = plan.num_effects, []
    for j, ((levels, k), change) in enumerate(zip(plan.sizes, changes, strict=True)):
        columns = outer[:, plan.place(j)].reshape(q * levels, k)
        part = np.zeros((len(change), q, q))
        part[:, :, plan.place(j)] = (columns @ change).reshape(len(change), q, levels * k)
        parts.append(part)
    every = np.concatenate(parts)
    return np.asarray(as_rows(every) @ as_rows(every.transpose(0, 2, 1)).T)
