"""Tukey's studentized range: upper tails and quantiles by trapezoidal rules.

The range of k standard normal numbers exceeds w with the chance

    S(w) = k int phi(z) Phi(z)^(k - 1) (1 - (1 - Phi(z - w) / Phi(z))^(k - 1)) dz,

in which nothing is subtracted from one, so that small chances keep their digits. Over s, a chi variable with f
degrees of freedom over its root of f, the chance is the average of S(q s). With s = exp(t) both integrands are
analytic and fall off on both sides, where equal steps converge faster than any power of them.

References: Tukey (1953), The problem of multiple comparisons; Trefethen, Weideman (2014), The exponentially
convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from lmeformula.arrays import Floats
from lmeformula.family.counts import stirling_remainder

# Steps and reach in z, around half the range; further out a normal density is less than 1e-17 of its middle.
NORMAL_STEP, NORMAL_REACH = 0.15, 9.0
# Ranges of normal numbers that no chance is left beyond.
WIDEST = 80.0
# Steps in t: of a wide density, and in standard deviations of a narrow one. Densities are left out below
# exp(-LEAST) of the largest.
STEP, STEP_IN_SDS, LEAST = 0.07, 0.4, 38.0
# More degrees of freedom than this are infinite: s differs from one by no more than its rounding lets tell.
MOST_FREEDOM = 1e12


def upper_tail(q: Floats, num_means: int, df: Floats) -> Floats:
    """The chance of a studentized range above q.

    Args:
      q: (r,) from zero.
      num_means: k, from two, of which the range is taken.
      df: (r,) degrees of freedom of what it is divided by, above zero; infinite for a known one.
    Returns:
      (r,) chances, with some twelve digits however small they are.
    Example:
      >>> upper_tail(np.array([3.5, 3.5]), 3, np.array([20.0, np.inf])).round(6).tolist()
      [0.055892, 0.035557]
    """
    return np.array([_tail(*each, num_means) for each in zip(q, df, strict=True)])


def quantile(level: float, num_means: int, df: Floats) -> Floats:
    """What a studentized range exceeds with the chance 1 - level.

    Args:
      level: between zero and one.
      num_means: k, from two, of which the range is taken.
      df: (r,) degrees of freedom, as of `upper_tail`.
    Example:
      >>> quantile(0.95, 3, np.array([20.0, np.inf])).round(4).tolist()
      [3.5779, 3.3145]
    """
    distinct, places = np.unique(df, return_inverse=True)
    return np.array([_quantile(1.0 - level, num_means, one) for one in distinct])[places]


def _quantile(chance: float, k: int, df: float) -> float:
    # A range is at least any one difference, and each pair exceeds it at most as often as all do.
    low = np.sqrt(2.0) * scipy.stats.t.isf(0.5 * chance, df)
    high = np.sqrt(2.0) * scipy.stats.t.isf(chance / (k * (k - 1.0)), df)
    if not high > low:
        return float(low)
    return float(
        scipy.optimize.brentq(
            lambda q: np.log(_tail(q, df, k) / chance), 0.999 * low, 1.001 * high, rtol=1e-13
        )
    )


def _tail(q: float, df: float, k: int) -> float:
    if not q > 0.0:
        return 1.0 if q == 0.0 else np.nan
    if df > MOST_FREEDOM:
        return float(_normal_tail(np.array([q]), k)[0])
    # In t the density is exp(f (t - expm1(2 t) / 2)), but for a constant. It falls by exp(-LEAST) within these
    # ends, by which |log x| and x are bounded where x - log(x) = 1 + u; with the range's own tail, of about
    # exp(-q^2 exp(2 t) / 4), the lower one lies further down.
    u = 2.0 * LEAST / df
    low = -0.5 * (np.sqrt(2.0 * u) + u + np.log1p(0.5 * q**2 / df))
    high = 0.5 * np.log1p(np.sqrt(2.0 * u) + u)
    step = min(STEP, STEP_IN_SDS / np.sqrt(2.0 * df + q**2))
    t = low + step * np.arange(np.ceil((high - low) / step) + 1.0)
    density = np.exp(df * (t - 0.5 * np.expm1(2.0 * t)))
    remainder = float(stirling_remainder(np.array([0.5 * df]))[0])
    total = np.sqrt(np.pi / df) * np.exp(remainder)
    return float(step * density @ _normal_tail(q * np.exp(t), k) / total)


def _normal_tail(w: Floats, k: int) -> Floats:
    """(m,) chances of a range of k standard normal numbers above w (m,)."""
    held = np.minimum(w, WIDEST)[:, None]
    count = round(2.0 * NORMAL_REACH / NORMAL_STEP)
    z = 0.5 * held + NORMAL_STEP * (np.arange(count + 1.0) - 0.5 * count)
    log_up, log_down = scipy.special.log_ndtr(z), scipy.special.log_ndtr(z - held)
    with np.errstate(divide="ignore"):
        apart = np.log1p(-np.exp(log_down - log_up))
    some = -np.expm1((k - 1.0) * apart) * np.exp((k - 1.0) * log_up - 0.5 * z**2)
    return np.asarray(k * NORMAL_STEP / np.sqrt(2.0 * np.pi) * some.sum(axis=1))
