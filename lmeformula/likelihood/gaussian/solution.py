"""The penalised least squares problem of a Gaussian model, solved at one Lambda."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np

from lmeformula.algebra.precision import Precision
from lmeformula.arrays import Floats

# Levels from which sums over them are worth a plan.
MANY = 10_000
P = TypeVar("P", bound=Precision, covariant=True)


class Solution(NamedTuple, Generic[P]):
    """The solution, whoever holds M.

    Attributes:
      factor: M.
      gamma: (p,) coefficients of Q that were used: their optimum, or those of the beta asked for.
      u: (q,) conditional modes of the spherical effects.
      w: (q,) Z'V^-1 r sigma^2, with Lambda'w = u.
      rss: penalised residual sum of squares.
      information: (p, p) Q'V^-1 Q sigma^2.
      ZVQ: (q, p) Z'V^-1 Q sigma^2.
      score: (p,) Q'V^-1 r sigma^2; zero at the optimum.
      missed: residual sum of squares without the penalty; None where it was not worth a look.
    """

    factor: P
    gamma: Floats
    u: Floats
    w: Floats
    rss: float
    information: Floats
    ZVQ: Floats
    score: Floats
    missed: float | None = None

    def fit_slopes(self) -> tuple[Floats, ...]:
        """-d rss / 2 d Lambda_j: (k, k) for each term."""
        return self.factor.fit_slopes(self.u, self.w)

    def fixed_slopes(self) -> tuple[Floats, ...]:
        """-d log|X'V^-1 X| / 2 d Lambda_j, the further part of the REML deviance: (k, k) for each term."""
        inverse = np.linalg.inv(self.information)
        blocks = self.factor.plan.split(self.ZVQ)
        return tuple(
            # Of few levels the order of the products costs more to find than it saves.
            np.einsum("lap,pr,lbr->ab", block, inverse, block, optimize=len(block) > MANY) @ factor
            for block, factor in zip(blocks, self.factor.lambdas, strict=True)
        )
