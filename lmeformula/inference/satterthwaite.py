"""Satterthwaite's degrees of freedom of Gaussian fits.

Var(l'beta) = l'C l depends on the covariance parameters phi, which are estimated. It is taken to be distributed
as a multiple of a chi-square with as many degrees of freedom nu as give it the variance that the delta method
says: nu = 2 (l'C l)^2 / Var(l'C l).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.inference.covariance_elements import Root, generalised_inverse, information, roots
from lmeformula.likelihood.gaussian.likelihood import solve_exactly
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.prediction.freedom import FTest, wald_statistic
from lmeformula.prediction.posterior import check_direct

# Directions with less information than this, relative to the largest, have none: it is known to about 1e-9.
WITHOUT_INFORMATION = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Satterthwaite:
    """The fixed effects' covariance, and how it moves with the covariance parameters.

    Attributes:
      vcov: (p, p) C.
      slopes: (m, p, p) derivative of C in each coordinate of the covariances that is free, and log sigma.
      spread: (m, m) covariance of their estimates, a generalised inverse of the observed information.
    """

    vcov: Floats
    slopes: Floats
    spread: Floats

    name = "satterthwaite"

    def df(self, rows: Floats) -> Floats:
        """(r,) degrees of freedom of combinations (r, p) of the fixed effects; nan for a row of zeros."""
        variances = np.einsum("ri,ij,rj->r", rows, self.vcov, rows)
        gradients = np.einsum("ri,mij,rj->rm", rows, self.slopes, rows)
        uncertainty = np.einsum("rm,ms,rs->r", gradients, self.spread, gradients)
        # Infinite where only the denominator is zero, nan where both are.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2.0 * variances**2 / uncertainty)

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


def satterthwaite(fit: FittedModel) -> Satterthwaite:
    """Work out how the fixed effects' covariance moves with the covariance parameters.

    The slopes are exact; the observed information of the profiled (or restricted) likelihood is by central
    differences of its exact score. In a singular fit covariances move within their rank, and a standard
    deviation that its bound holds at zero counts as known; directions in which the data have no information,
    along which C does not move either, are left out.

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
    terms = roots(data, space, fit.params)
    free = np.concatenate([*(term.moving for term in terms), np.full(space.own.size, True)])
    observed = information(data, space, fit.params.residual_sd, terms, reml=fit.reml)
    return Satterthwaite(
        vcov=fit.fixed_vcov,
        slopes=_slopes(fit, data, terms)[free],
        spread=generalised_inverse(observed[np.ix_(free, free)], WITHOUT_INFORMATION),
    )


def _slopes(fit: FittedModel, data: Sums, terms: tuple[Root, ...]) -> Floats:
    """(m, p, p) derivatives of C: C X'V^-1 V_i V^-1 X C, V_i that of V in the i-th covariance parameter."""
    sigma = fit.params.residual_sd
    lambdas = tuple(cholesky_semidefinite(cov) / sigma for cov in fit.params.covariances)
    found = solve_exactly(data, lambdas)
    crossed = data.plan.split(found.ZVQ @ data.R / sigma)
    slopes = [
        fit.fixed_vcov @ sandwich(block, change) @ fit.fixed_vcov
        for term, block in zip(terms, crossed, strict=True)
        for change in term.changes(term.elements)
    ]
    slopes += [2.0 * fit.fixed_vcov] * fit.model.space.own.size
    return np.array(slopes).reshape(len(slopes), *fit.fixed_vcov.shape)


def sandwich(block: Floats, covariance: Floats) -> Floats:
    """(p, p) sum over the levels of B_l' S B_l, for blocks (l, k, p) and S (k, k)."""
    return stacked(block).T @ stacked(covariance @ block)


def stacked(block: Floats) -> Floats:
    """(l k, p) the rows of blocks (l, k, p)."""
    levels, k, p = block.shape
    return block.reshape(levels * k, p)
