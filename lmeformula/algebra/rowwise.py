"""Leverages, the diagonal of Z Lambda M^-1 Lambda' Z', of rows that are here, by what all effects are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.inverse import Met
from lmeformula.algebra.row_forms import add_forms, add_level_forms, in_parts
from lmeformula.algebra.sparseproducts import SparseProducts
from lmeformula.arrays import Floats

# Rows are visited with so many probes and directions at a time.
COLUMNS = 12


class Apart(NamedTuple):
    """M with its lead term eliminated, as if A were the identity.

    Attributes:
      lambdas: (k, k) of each term, in formula order.
      base: (l, k, k) diagonal blocks of (L L')^-1 of each term.
      inner: (l, k, k) D^-1 of the lead term.
    """

    lambdas: tuple[Floats, ...]
    base: tuple[Floats, ...]
    inner: Floats


class Pair(NamedTuple):
    """Effects (q, s) each, of which what rows read is multiplied, and counts so much."""

    share: float
    right: Floats
    left: Floats


def leverages_apart(products: SparseProducts, apart: Apart) -> Floats:
    """(n,) what the leverages would be with A = I."""
    plan, base = products.plan, apart.base
    found = np.zeros(len(plan.level(0)))
    for j, factor_of in enumerate(apart.lambdas):
        blocks, values = factor_of @ base[j] @ factor_of.T, plan.values(j)
        add_level_forms(found, (plan.level(j), values), blocks, values)
    first = apart.lambdas[plan.lead]
    left, lead = first @ apart.inner @ first.T, plan.values(plan.lead)
    for j, pair, meeting in zip(
        plan.rest, products.between, products.meetings.between, strict=True
    ):
        right = apart.lambdas[j] @ base[j] @ apart.lambdas[j].T
        blocks = pair.between(left, right)
        add_level_forms(found, (meeting.slot, lead), blocks, plan.values(j), -2.0)
    return found


def met_apart(products: SparseProducts, apart: Apart) -> Iterator[Met]:
    """The elements of (L L')^-1, which M^-1 would be with A = I, that rows meet."""
    plan, base, lambdas = products.plan, apart.base, apart.lambdas
    for j, own in enumerate(base):
        yield Met(j, j, own[plan.level(j)])
    left = apart.inner @ lambdas[plan.lead].T
    for j, pair, meeting in zip(
        plan.rest, products.between, products.meetings.between, strict=True
    ):
        yield Met(plan.lead, j, -pair.between(left, lambdas[j] @ base[j])[meeting.slot])


def add_pair(found: Floats, products: SparseProducts, pair: Pair) -> None:
    """Add what a pair counts to each row of `found` (n,)."""
    for few in in_parts(pair.right.shape[1], COLUMNS):
        add_forms(found, products.plan, pair.share * pair.left[:, few], pair.right[:, few])
