"""Result stage: what tests of fixed effects need: a covariance, and degrees of freedom of combinations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.result.heavy import refuse_heavy

if TYPE_CHECKING:
    from lmeformula.fit import FittedModel

Floats = NDArray[np.float64]

METHODS = ("auto", "satterthwaite", "kenward-roger", "none")
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


@kinds.takes(ddf=kinds.one_of(*METHODS))
def freedom(fit: FittedModel, ddf: str = "auto") -> Freedom:
    """Choose how degrees of freedom of a fit's fixed effects are found.

    Args:
      fit: a fitted model.
      ddf: "satterthwaite" (Gaussian fits), "kenward-roger" (Gaussian REML fits), "none" for normal and
        chi-square distributions; "auto" is "satterthwaite" for Gaussian fits and "none" for the others.
    Returns:
      The method, at work on this fit.
    Raises:
      ModelError: if there is no such method, or it is not for such fits.
    """
    is_gaussian = fit.model.family.name == "gaussian" and not fit.params.freedom
    if ddf == "none" or (ddf == "auto" and not is_gaussian):
        return Asymptotic(fit.fixed_vcov)
    refuse_heavy(fit, f"degrees of freedom by {ddf}")
    if not is_gaussian:
        raise ModelError(
            f"there are no {ddf} degrees of freedom of a {fit.model.family.name} fit",
            hint='Use ddf="none": z and chi-square tests.',
        )
    if ddf == "kenward-roger":
        from lmeformula.result.kenward_roger import kenward_roger

        with one_blas_thread():
            return kenward_roger(fit)
    from lmeformula.result.satterthwaite import satterthwaite

    with one_blas_thread():
        return satterthwaite(fit)


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
