"""What tests of fixed effects need: a covariance, and degrees of freedom of combinations."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats, Mask

# A direction whose variance is this small beside the largest is no direction of its own.
RANK_TOLERANCE = 1e-10
# A share of a coefficient that is this small beside a combination's largest is rounding.
ROUNDING = 1e-9


class FTest(NamedTuple):
    """A test that several combinations of the fixed effects are zero.

    Attributes:
      statistic: F, scaled where the method scales it; chi-square over `df1` where `df2` is infinite.
      df1: how many independent combinations.
      df2: degrees of freedom of the denominator.
    """

    statistic: float
    df1: int
    df2: float

    @property
    def p_value(self) -> float:
        """Upper tail of the F distribution; of the chi-square for infinite `df2`."""
        if np.isinf(self.df2):
            return float(scipy.stats.chi2.sf(self.statistic * self.df1, self.df1))
        return float(scipy.stats.f.sf(self.statistic, self.df1, self.df2))


class Freedom(Protocol):
    """A method for degrees of freedom, at work on one fit."""

    @property
    def name(self) -> str:
        """As the user writes it."""

    @property
    def vcov(self) -> Floats:
        """(p, p) covariance of the fixed effects that its tests use."""

    def df(self, rows: Floats) -> Floats:
        """(r,) degrees of freedom of combinations (r, p) of the fixed effects."""

    def test(self, rows: Floats, estimates: Floats) -> FTest:
        """Test that all combinations (r, p), whose estimates are (r,), are zero."""


class Asymptotic(NamedTuple):
    """No finite degrees of freedom: normal and chi-square distributions."""

    vcov: Floats
    name: str = "none"

    def df(self, rows: Floats) -> Floats:
        """Infinite."""
        return np.full(len(rows), np.inf)

    def test(self, rows: Floats, estimates: Floats) -> FTest:
        """Wald's chi-square over its degrees of freedom."""
        statistic, rotated = wald_statistic(rows, self.vcov, estimates)
        return FTest(statistic, len(rotated), np.inf)


def combined(rows: Floats, vcov: Floats) -> Floats:
    """(r, r) covariance of combinations (r, p).

    A coefficient on its way to infinity has no covariance, nan: nor have combinations that it is part of. Those
    of others alone do have theirs.
    """
    known, inner, lost = with_errors(rows, vcov)
    found = known @ inner @ known.T
    return np.where(lost[:, None] | lost, np.nan, found)


def combined_variances(rows: Floats, vcov: Floats) -> Floats:
    """(r,) the diagonal of `combined`, for many rows."""
    known, inner, lost = with_errors(rows, vcov)
    return np.where(lost, np.nan, np.einsum("ri,ij,rj->r", known, inner, known))


def with_errors(rows: Floats, vcov: Floats) -> tuple[Floats, Floats, Mask]:
    """Combinations of the m coefficients that have errors (r, m), these (m, m), and which lack others (r,)."""
    is_known = np.isfinite(np.diag(vcov))
    if is_known.all():
        return rows, vcov, np.zeros(len(rows), bool)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    lost = np.abs(rows[:, ~is_known]).max(axis=1, initial=0.0) > ROUNDING * largest
    return rows[:, is_known], vcov[np.ix_(is_known, is_known)], lost


def wald_statistic(rows: Floats, vcov: Floats, estimates: Floats) -> tuple[float, Floats]:
    """The mean square of independent, standardised combinations, and those combinations (m, p).

    Args:
      rows: (r, p) combinations, redundant ones among them or not.
      vcov: (p, p).
      estimates: (r,) of the combinations.
    Returns:
      F statistic (nan if there is no combination, or one without a covariance), and m <= r independent
      combinations with the same span.
    """
    covariance = combined(rows, vcov)
    if not np.isfinite(covariance).all():
        _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
        return float("nan"), directions[sizes > ROUNDING * sizes.max(initial=0.0)]
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > RANK_TOLERANCE * max(float(variances.max(initial=0.0)), 1e-300)
    rotated = directions[:, kept].T
    if not len(rotated):
        return float("nan"), rotated @ rows
    squares = (rotated @ estimates) ** 2 / variances[kept]
    return float(squares.mean()), rotated @ rows
