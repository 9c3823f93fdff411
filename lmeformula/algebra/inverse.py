"""The parts of M^-1 that rows of the data meet: blocks within and between terms at the levels of a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import Layout

Floats = NDArray[np.float64]


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

    def leverages(self, plan: Layout, lambdas: tuple[Floats, ...]) -> Floats:
        """(n,) diagonal of Z Lambda M^-1 Lambda' Z'."""
        weights, places = [], []
        for j, (_, k) in enumerate(plan.sizes):
            matrix = plan.matrices[j]
            weights.append(matrix.data.reshape(-1, k) @ lambdas[j])
            places.append(matrix.indices.reshape(-1, k))
        lead = plan.lead
        w, level = weights[lead], places[lead][:, 0] // plan.sizes[lead][1]
        found = np.einsum("na,nab,nb->n", w, self.lead[level], w)
        offset = plan.lead_size
        shifted = {j: places[j] + plan.starts[j] - offset for j in plan.rest}
        for j in plan.rest:
            for b in range(plan.sizes[j][1]):
                for a in range(plan.sizes[lead][1]):
                    block = self.between[places[lead][:, a], shifted[j][:, b]]
                    found += 2.0 * w[:, a] * weights[j][:, b] * block
        for number, i in enumerate(plan.rest):
            for j in plan.rest[number:]:
                twice = 1.0 if i == j else 2.0
                for a in range(plan.sizes[i][1]):
                    for b in range(plan.sizes[j][1]):
                        block = self.rest[shifted[i][:, a], shifted[j][:, b]]
                        found += twice * weights[i][:, a] * weights[j][:, b] * block
        return np.asarray(found)
