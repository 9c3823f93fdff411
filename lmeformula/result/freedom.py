"""Result stage: what tests of fixed effects need: a covariance, and degrees of freedom of combinations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import scipy.stats
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

Floats = NDArray[np.float64]

# A direction whose variance is this small beside the largest is no direction of its own.
RANK_TOLERANCE = 1e-10


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


def wald_statistic(rows: Floats, vcov: Floats, estimates: Floats) -> tuple[float, Floats]:
    """The mean square of independent, standardised combinations, and those combinations (m, p).

    Args:
      rows: (r, p) combinations, redundant ones among them or not.
      vcov: (p, p).
      estimates: (r,) of the combinations.
    Returns:
      F statistic (nan if there is no combination), and m <= r independent combinations with the same span.
    """
    variances, directions = np.linalg.eigh(rows @ vcov @ rows.T)
    kept = variances > RANK_TOLERANCE * max(float(variances.max(initial=0.0)), 1e-300)
    rotated = directions[:, kept].T
    if not len(rotated):
        return float("nan"), rotated @ rows
    squares = (rotated @ estimates) ** 2 / variances[kept]
    return float(squares.mean()), rotated @ rows
