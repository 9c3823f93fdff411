"""Result stage: Satterthwaite's degrees of freedom of Gaussian fits.

Var(l'beta) = l'C l depends on the covariance parameters phi, which are estimated. It is taken to be distributed
as a multiple of a chi-square with as many degrees of freedom nu as give it the variance that the delta method
says: nu = 2 (l'C l)^2 / Var(l'C l).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeformula.gaussian.likelihood import Sums, solve, sums
from lmeformula.gaussian.profiled import concentrated
from lmeformula.model.bounds import off_bounds
from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.result.equations import check_direct
from lmeformula.result.freedom import FTest, wald_statistic

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

# Step of the central differences of the score in the unconstrained covariance parameters.
DIFFERENCE = 1e-4
# What stands for a standard deviation of zero, relative to the residual's.
BOUNDARY_SD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Satterthwaite:
    """The fixed effects' covariance, and how it moves with the covariance parameters.

    Attributes:
      vcov: (p, p) C.
      slopes: (m, p, p) derivative of C in each covariance parameter that is not on its bound.
      spread: (m, m) covariance of those parameters' estimates, the inverse of their observed information.
    """

    vcov: Floats
    slopes: Floats
    spread: Floats

    name = "satterthwaite"

    def df(self, rows: Floats) -> Floats:
        """(r,) degrees of freedom of combinations (r, p) of the fixed effects; nan for a row of zeros."""
        variances = np.einsum("ri,ij,rj->r", rows, self.vcov, rows)
        gradients = np.einsum("ri,mij,rj->rm", rows, self.slopes, rows)
        return ratio(
            2.0 * variances**2, np.einsum("rm,ms,rs->r", gradients, self.spread, gradients)
        )

    def test(self, rows: Floats, estimates: Floats) -> FTest:
        """F test that the combinations `rows` (r, p), whose estimates are (r,), are all zero.

        References:
          Fai, Cornelius (1996), J. Stat. Comput. Simul. 54, 363-378: the degrees of freedom of the independent
          t statistics that the F statistic is the mean square of, combined by the mean of their F distribution.
        """
        statistic, independent = wald_statistic(rows, self.vcov, estimates)
        count = len(independent)
        if not count:
            return FTest(np.nan, 0, np.nan)
        # Any rows with the same span get the same answer: the combinations are those of an orthonormal basis.
        basis = np.linalg.qr(independent.T)[0].T
        each = self.df(wald_statistic(basis, self.vcov, np.zeros(count))[1])
        if np.ptp(each) < 1e-8 * each.max():
            return FTest(statistic, count, float(each.mean()))
        if (each <= 2).any():
            return FTest(statistic, count, 2.0)
        expected = float((each / (each - 2.0)).sum())
        return FTest(statistic, count, 2.0 * expected / (expected - count))


def satterthwaite(fit: Fit) -> Satterthwaite:
    """Work out how the fixed effects' covariance moves with the covariance parameters.

    The slopes are exact; the observed information of the profiled (or restricted) likelihood is by central
    differences of its exact score. Parameters on their bounds count as known.

    Args:
      fit: a Gaussian fit.
    Returns:
      The record that degrees of freedom are read off.
    References:
      Satterthwaite (1946), Biometrics Bulletin 2, 110-114; Giesbrecht, Burns (1985), Biometrics 41, 477-486;
      Kuznetsova, Brockhoff, Christensen (2017), J. Stat. Softw. 82(13), section 2, for mixed models.
    """
    check_direct(fit, "Satterthwaite's degrees of freedom")
    space = fit.model.space
    data = sums(fit.model.design)
    assert fit.params.sigma is not None
    sigma = fit.params.sigma
    psi, inside = off_bounds(space, space.to_free(fit.params), BOUNDARY_SD * sigma)
    p = space.num_fixed
    slopes = _slopes(fit, data, psi)
    free = np.flatnonzero(inside[p:])
    return Satterthwaite(
        vcov=fit.fixed_vcov,
        slopes=slopes[free],
        spread=np.asarray(np.linalg.inv(_information(fit, data, psi[p:], free)), float),
    )


def _slopes(fit: Fit, data: Sums, psi: Floats) -> Floats:
    """(m, p, p) derivatives of C: C X'V^-1 V_i V^-1 X C, V_i that of V in the i-th covariance parameter."""
    space = fit.model.space
    sigma = fit.params.sigma
    assert sigma is not None
    lambdas = tuple(cholesky_semidefinite(cov) / sigma for cov in fit.params.covariances)
    found = solve(data, lambdas)
    crossed = data.plan.split(found.ZVQ @ data.R / sigma**2)
    slopes, scale = [], np.zeros_like(fit.fixed_vcov)
    for factor, changes, block, covariance in zip(
        space.factors(psi), space.factor_changes(psi), crossed, fit.params.covariances, strict=True
    ):
        half = changes @ factor.T
        slopes += [sandwich(block, change) for change in half + half.transpose(0, 2, 1)]
        scale += sandwich(block, covariance)
    if space.estimates_sigma:
        # The derivative of V in log sigma is twice V less its random part, and V^-1 V V^-1 = V^-1.
        slopes.append(2.0 * (data.R.T @ found.information @ data.R / sigma**2 - scale))
    return np.array([fit.fixed_vcov @ slope @ fit.fixed_vcov for slope in slopes])


def _information(fit: Fit, data: Sums, covariance: Floats, free: NDArray[np.intp]) -> Floats:
    """(m, m) observed information of the covariance parameters, fixed effects profiled or integrated out."""
    space = fit.model.space
    columns = []
    for j in free:
        step = np.zeros(len(covariance))
        step[j] = DIFFERENCE
        ahead = concentrated(data, space, covariance + step, reml=fit.reml).gradient
        behind = concentrated(data, space, covariance - step, reml=fit.reml).gradient
        columns.append((behind - ahead)[free] / (2.0 * DIFFERENCE))
    information = np.array(columns).reshape(len(free), len(free))
    return np.asarray(0.5 * (information + information.T))


def sandwich(block: Floats, covariance: Floats) -> Floats:
    """(p, p) sum over the levels of B_l' S B_l, for blocks (l, k, p) and S (k, k)."""
    flat = block.reshape(-1, block.shape[-1])
    return np.asarray(flat.T @ (covariance @ block).reshape(flat.shape))


def ratio(above: Floats, below: Floats) -> Floats:
    """Elementwise ratio; infinite where only the denominator is zero, nan where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / below)
