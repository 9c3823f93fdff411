"""The restricted likelihood of a Gaussian model: its fixed effects integrated out over a flat density.

At the best fixed effects it is the likelihood times (2 pi)^(p/2) |X'V^-1 X|^(-1/2), which is added to what the
determinant at the mode gives, at any others as well: where the whole is highest they are the best ones.

Reference: Harville (1974), Bayesian inference for variance components using only error contrasts, Biometrika
61, 383-385.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.determinant import Exactly
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.information import coefficients_at
from lmeformula.likelihood.laplace.likelihood import Beyond, Mode, Problem


class Restricted(Exactly):
    """Effects integrated out exactly, and the fixed effects; see `Marginal`."""

    def beyond(
        self, problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
    ) -> Beyond:
        """See `Marginal`."""
        found = super().beyond(problem, mode, depths)
        p = problem.X.shape[1]
        if not p:
            return found
        value, root, slopes = _integrated(problem, mode, depths)
        plan, lambdas = problem.plan, mode.at.lambdas
        # V^-1 X, its columns made such that the information of the fixed effects is the identity.
        moved = problem.X + plan.spread(apply_lambda(plan, lambdas, slopes))
        weighted = sl.solve_triangular(root, (mode.weights[:, None] * moved).T, lower=True).T
        in_factors = []
        for slope, pulls, factor in zip(
            found.in_factors, plan.split(plan.gather(weighted)), lambdas, strict=True
        ):
            levels, k = pulls.shape[:2]
            by_level = pulls.reshape(levels, k, p)
            in_factors.append(slope + np.einsum("lap,lbp->ab", by_level, by_level) @ factor)
        in_own = found.in_own
        if len(in_own):
            in_own = in_own + np.sum(weighted**2 / mode.weights[:, None])
        return found._replace(
            value=found.value + value, in_factors=tuple(in_factors), in_own=in_own
        )

    def bends_along(self, num_directions: int) -> bool:
        """See `Marginal`."""
        return False

    def added(self, problem: Problem, mode: Mode) -> float:
        """See `Marginal`."""
        depths = problem.rows.depths(mode.eta, mode.at.own)
        more = _integrated(problem, mode, depths)[0] if problem.X.shape[1] else 0.0
        return super().added(problem, mode) + more


def _integrated(problem: Problem, mode: Mode, depths: Depths) -> tuple[float, Floats, Floats]:
    """What integrating the fixed effects out adds, their information's root, and how they move the mode."""
    p = problem.X.shape[1]
    found = coefficients_at(problem, mode, depths)
    root = np.asarray(np.linalg.cholesky(found.information[:p, :p]), float)
    value = 0.5 * p * math.log(2.0 * math.pi) - float(np.log(np.diag(root)).sum())
    if problem.triangle is not None:
        value -= float(np.log(np.abs(np.diag(problem.triangle))).sum())
    return value, root, found.slopes[:, :p]
