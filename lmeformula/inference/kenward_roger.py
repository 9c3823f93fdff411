"""Kenward and Roger's covariance of the fixed effects, and F tests with it, for REML fits.

The covariance Phi = (X'V^-1 X)^-1 at estimated covariance parameters is too small, because they are estimated:
it is corrected to second order, and the F statistic scaled and given degrees of freedom so that its first two
moments are those of an F distribution. Equations are those of Kenward and Roger (1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.sparse_factor import SparseFactor
from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.covariance_elements import generalised_inverse, roots
from lmeformula.inference.satterthwaite import sandwich, stacked
from lmeformula.likelihood.gaussian.likelihood import solve_exactly
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.prediction.freedom import FTest, wald_statistic

# A dense matrix of as many rows and columns as there are random effects is formed.
MAX_EFFECTS = 6000

# Combinations of parameters that leave V as it is have no information: of that, relative to the largest.
WITHOUT_INFORMATION = 1e-10

Direction = tuple[int, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class KenwardRoger:
    """The adjusted covariance, and what the tests' scale and degrees of freedom are made of.

    Attributes:
      vcov: (p, p) adjusted covariance.
      unadjusted: (p, p) Phi.
      pulls: (m, p, p) Phi P_i Phi, with P_i = -X'V^-1 V_i V^-1 X.
      spread: (m, m) W, the inverse of the expected information of the covariance parameters, a generalised one
        where two of them cannot be told apart: the pulls along what is left out are zero.
    """

    vcov: Floats
    unadjusted: Floats
    pulls: Floats
    spread: Floats

    name = "kenward-roger"

    def df(self, rows: Floats) -> Floats:
        """(r,) degrees of freedom of the combinations (r, p), one at a time; nan for a row of zeros."""
        return np.array([self.test(row[None], np.zeros(1)).df2 for row in rows])

    def test(self, rows: Floats, estimates: Floats) -> FTest:
        """Scaled F test that the combinations `rows` (r, p), whose estimates are (r,), are all zero.

        References:
          Kenward, Roger (1997), Biometrics 53, 983-997: section 2 with the modified moments of section 4.
        """
        statistic, _ = wald_statistic(rows, self.vcov, estimates)
        _, independent = wald_statistic(rows, self.unadjusted, estimates)
        count = len(independent)
        if not count:
            return FTest(np.nan, 0, np.nan)
        theta = (
            independent.T
            @ np.linalg.inv(independent @ self.unadjusted @ independent.T)
            @ independent
        )
        turned = theta @ self.pulls
        traces = np.einsum("mii->m", turned)
        first = float(traces @ self.spread @ traces)
        second = float(np.einsum("ms,mij,sji->", self.spread, turned, turned))
        scale, df = _moments(count, first, second)
        return FTest(scale * statistic, count, df)


def _moments(count: int, first: float, second: float) -> tuple[float, float]:
    """Scale and denominator degrees of freedom that match mean and variance of the F statistic."""
    b = (first + 6.0 * second) / (2.0 * count)
    g = ((count + 1) * first - (count + 4) * second) / ((count + 2) * second)
    below = 3.0 * count + 2.0 * (1.0 - g)
    c1, c2, c3 = g / below, (count - g) / below, (count + 2.0 - g) / below
    mean = 1.0 / (1.0 - second / count)
    variance = (2.0 / count) * (1.0 + c1 * b) / ((1.0 - c2 * b) ** 2 * (1.0 - c3 * b))
    rho = variance / (2.0 * mean**2)
    df = 4.0 + (count + 2.0) / (count * rho - 1.0)
    return df / (mean * (df - 2.0)), df


def kenward_roger(fit: FittedModel) -> KenwardRoger:
    """Adjust the fixed effects' covariance for the estimation of the covariance parameters.

    Unstructured and diagonal covariances, and compound symmetry with one variance, are taken by their elements,
    in which they are linear, zero variances included; the others by the coordinates of `covariance_elements`.
    There the second derivatives of V, which are not zero, are left out: the adjustment is the same in whatever
    parameters (SAS calls it first order).

    Args:
      fit: a Gaussian REML fit.
    Returns:
      The record that tests are made with.
    Raises:
      ModelError: if the fit is not by REML, or has too many random effects for a dense matrix of them.
    References:
      Kenward, Roger (1997), Biometrics 53, 983-997, equations (3) to (6); Halekoh, Hojsgaard (2014),
      J. Stat. Softw. 59(9), for the parametrisation in the elements of the covariances.
    """
    if not fit.reml:
        raise ModelError(
            "Kenward-Roger's adjustment is for REML fits",
            hint='Fit with reml=True, or use ddf="satterthwaite", which maximum likelihood has too.',
        )
    data = sums(fit.model.design)
    if data.plan.num_effects > MAX_EFFECTS:
        raise ModelError(
            f"Kenward-Roger's adjustment would take a dense matrix of {data.plan.num_effects:,} random effects",
            hint='Use ddf="satterthwaite"; with so many it hardly differs.',
        )
    directions = _directions(fit, data)
    parts = _products(fit, data, directions)
    phi = fit.fixed_vcov
    pulls = -(phi @ parts.P @ phi)
    information = parts.traces - 2.0 * np.einsum("ij,msji->ms", phi, parts.Q)
    turned = phi @ parts.P
    information += np.einsum("mij,sji->ms", turned, turned)
    spread = generalised_inverse(0.5 * information, WITHOUT_INFORMATION)
    middle = np.einsum("ms,msij->ij", spread, parts.Q)
    middle -= np.einsum("ms,mij,jk,skl->il", spread, parts.P, phi, parts.P)
    adjusted = phi + 2.0 * phi @ middle @ phi
    return KenwardRoger(0.5 * (adjusted + adjusted.T), phi, pulls, spread)


def _directions(fit: FittedModel, data: Sums) -> list[Direction]:
    """The covariance parameters: the term of each, and the (k, k) derivative of its covariance."""
    space = fit.model.space
    found: list[Direction] = []
    for j, (term, root) in enumerate(zip(space.terms, roots(data, space, fit.params), strict=True)):
        elements = term.structure.elements(len(term.columns))
        if elements is None:
            elements = root.changes(root.elements)[root.moving]
        found += [(j, change) for change in elements]
    return found


class _Products(NamedTuple):
    """Kenward and Roger's matrices, for m covariance parameters; P with the sign of X'V^-1 V_i V^-1 X.

    Attributes:
      P: (m, p, p).
      Q: (m, m, p, p) X'V^-1 V_i V^-1 V_j V^-1 X.
      traces: (m, m) tr(V^-1 V_i V^-1 V_j).
    """

    P: Floats
    Q: Floats
    traces: Floats


def _products(fit: FittedModel, data: Sums, directions: list[Direction]) -> _Products:
    """The matrices; the residual's follow from V being the sum of its parts, V^-1 V V^-1 = V^-1."""
    plan, space = data.plan, fit.model.space
    variance = fit.params.residual_sd**2
    covariances = fit.params.covariances
    lambdas = tuple(cholesky_semidefinite(cov / variance) for cov in covariances)
    found = solve_exactly(data, lambdas)
    if isinstance(found.factor, SparseFactor):
        raise ModelError(
            f"Kenward and Roger's matrices of {plan.num_effects:,} related effects would be dense",
            hint='Use ddf="satterthwaite", or "none".',
        )
    zvx = found.ZVQ @ data.R / variance
    blocks = plan.split(zvx)
    gram = data.products.times(np.eye(plan.num_effects))
    half = found.factor.solve_lower(apply_lambda(plan, lambdas, gram, transpose=True))
    zvz = (gram - half.T @ half) / variance
    # Each parameter, and then each term's covariance itself.
    parameters = len(directions)
    all_of = [*directions, *enumerate(covariances)]
    p, m = len(data.ols), len(all_of)
    # The last is the residual's.
    P, Q, traces = np.empty((m + 1, p, p)), np.empty((m + 1, m + 1, p, p)), np.empty((m + 1, m + 1))
    alone = np.empty(m)
    for i, (a, change) in enumerate(all_of):
        levels, k = plan.sizes[a]
        P[i] = sandwich(blocks[a], change)
        own = zvz[plan.place(a), plan.place(a)].reshape(levels, k, levels, k)
        alone[i] = float(np.einsum("lalb,ab->", own, change))
        outer = stacked(change @ blocks[a])
        for j, (b, other) in enumerate(all_of[: i + 1]):
            between = zvz[plan.place(a), plan.place(b)]
            inner = stacked(other @ blocks[b])
            Q[i, j] = outer.T @ between @ inner
            Q[j, i] = Q[i, j].T
            grid = between.reshape(levels, k, *plan.sizes[b])
            spread = np.einsum("ac,lcmd->lamd", change, grid) @ other
            traces[i, j] = traces[j, i] = float(np.vdot(spread, grid))
    terms = slice(parameters, m)
    P[m] = (data.R.T @ found.information @ data.R / variance - P[terms].sum(axis=0)) / variance
    Q[:m, m] = (P[:m] - Q[:m, terms].sum(axis=1)) / variance
    Q[m, :m] = Q[:m, m].transpose(0, 2, 1)
    Q[m, m] = (P[m] - Q[terms, m].sum(axis=0)) / variance
    traces[:m, m] = traces[m, :m] = (alone - traces[:m, terms].sum(axis=1)) / variance
    rest = (data.n - alone[terms].sum()) / variance
    traces[m, m] = (rest - traces[terms, m].sum()) / variance
    kept = [*range(parameters), *([m] if space.own.size else [])]
    both = np.ix_(kept, kept)
    return _Products(P[kept], Q[both], traces[both])
