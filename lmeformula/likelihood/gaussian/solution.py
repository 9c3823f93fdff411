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

    def slopes(self, variance: float, reml: bool) -> tuple[Floats, ...]:
        """Derivative (k, k) of the log-likelihood, or the restricted one, in each Lambda, at that sigma^2."""
        pairs = zip(self.fit_slopes(), self.factor.log_det_slopes(), strict=True)
        found = tuple(fit / variance - spread for fit, spread in pairs)
        if not reml:
            return found
        return tuple(a + b for a, b in zip(found, self.fixed_slopes(), strict=True))

    def fixed_slopes(self) -> tuple[Floats, ...]:
        """-d log|X'V^-1 X| / 2 d Lambda_j, the further part of the REML deviance: (k, k) for each term."""
        pairs = zip(self.fixed_sums(), self.factor.lambdas, strict=True)
        return tuple(total @ factor for total, factor in pairs)

    def fixed_sums(self) -> tuple[Floats, ...]:
        """What Q, summed over each term's levels (k, k), has more than Z'P Z sigma^2, by the fixed effects."""
        inverse = np.linalg.inv(self.information)
        return tuple(
            # Of few levels the order of the products costs more to find than it saves.
            np.einsum("lap,pr,lbr->ab", block, inverse, block, optimize=len(block) > MANY)
            for block in self.factor.plan.split(self.ZVQ)
        )
