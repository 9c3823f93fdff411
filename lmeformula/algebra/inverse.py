"""The parts of M^-1 that rows of the data meet, and what the rows take from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats


class Met(NamedTuple):
    """For each row, the block of M^-1 between its level of one term and its level of another.

    Each pair of terms comes once, a term with itself included.

    Attributes:
      first, second: the terms, in formula order.
      block: (n, k, k') the block.
    """

    first: int
    second: int
    block: Floats


class Inverse(NamedTuple):
    """M^-1 without the blocks between different levels of the lead term.

    Attributes:
      lead: (l, k, k) diagonal blocks of the lead term.
      between: (lead_size, r) block between the lead term and the rest.
      rest: (r, r) block of the rest.
    """

    lead: Floats
    between: Floats
    rest: Floats

    def met(self, plan: Layout) -> Iterator[Met]:
        """What the rows of a layout meet."""
        lead = plan.lead
        places = [
            matrix.indices.reshape(-1, k)
            for matrix, (_, k) in zip(plan.matrices, plan.sizes, strict=True)
        ]
        yield Met(lead, lead, self.lead[places[lead][:, 0] // plan.sizes[lead][1]])
        shifted = {j: places[j] + plan.in_rest(j).start for j in plan.rest}
        for j in plan.rest:
            yield Met(lead, j, self.between[places[lead][:, :, None], shifted[j][:, None, :]])
        for number, i in enumerate(plan.rest):
            for j in plan.rest[number:]:
                yield Met(i, j, self.rest[shifted[i][:, :, None], shifted[j][:, None, :]])


def loadings(plan: Layout, lambdas: tuple[Floats, ...]) -> list[Floats]:
    """(n, k) of each term: what the spherical effects of a row's level count for in its predictor."""
    return [plan.values(j) @ factor for j, factor in enumerate(lambdas)]


def leverages(plan: Layout, lambdas: tuple[Floats, ...], met: Iterable[Met]) -> Floats:
    """(n,) diagonal of Z Lambda M^-1 Lambda' Z'.

    Args:
      plan: layout of the effects, with the rows.
      lambdas: the relative covariance factor of each term, in formula order.
      met: what the rows meet of M^-1.
    """
    values = loadings(plan, lambdas)
    found = np.zeros(len(values[0]))
    for first, second, block in met:
        twice = 1.0 if first == second else 2.0
        for a in range(block.shape[1]):
            for b in range(block.shape[2]):
                found += twice * values[first][:, a] * values[second][:, b] * block[:, a, b]
    return found


def covariances(
    plan: Layout, lambdas: tuple[Floats, ...], met: Iterable[Met]
) -> tuple[Floats, ...]:
    """(n, k) of each term: M^-1 Lambda' Z' at the row's own level, its predictor's covariance with the effects.

    The arguments are those of `leverages`, whose rows are the sum of these times the loadings.
    """
    values = loadings(plan, lambdas)
    found = tuple(np.zeros_like(each) for each in values)
    for first, second, block in met:
        for a in range(block.shape[1]):
            for b in range(block.shape[2]):
                found[first][:, a] += block[:, a, b] * values[second][:, b]
                if first != second:
                    found[second][:, b] += block[:, a, b] * values[first][:, a]
    return found
