"""P-values and intervals of several comparisons at once."""

from __future__ import annotations

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats
from lmeformula.inference import studentized_range

ADJUSTMENTS = ("none", "tukey", "holm", "bonferroni", "sidak")


def adjusted_p(statistics: Floats, df: Floats, adjust: str, num_means: int) -> Floats:
    """Two-sided p-values of one family of comparisons.

    Args:
      statistics: (r,) t statistics; nan where there is none, which then is none of the family.
      df: (r,) their degrees of freedom; infinite for normal ones.
      adjust: "none", "tukey" (all pairs of means), "holm", "bonferroni" or "sidak".
      num_means: how many means the pairs are of, for "tukey".
    Returns:
      (r,) p-values.
    References:
      Tukey (1953) and Kramer (1956), Biometrics 12, 307-310; Holm (1979), Scand. J. Stat. 6, 65-70;
      Sidak (1967), JASA 62, 626-633.
    Example:
      >>> adjusted_p(np.array([2.0, 3.0]), np.full(2, np.inf), "bonferroni", 2).round(4).tolist()
      [0.091, 0.0054]
    """
    single = 2.0 * scipy.stats.t.sf(np.abs(statistics), df)
    counted = ~np.isnan(single)
    size = int(counted.sum())
    if adjust == "tukey" and num_means > 2:
        usable = counted & ~np.isnan(df)
        widths = np.sqrt(2.0) * np.abs(statistics[usable])
        found = np.full(len(single), np.nan)
        found[usable] = studentized_range.upper_tail(widths, num_means, df[usable])
        return found
    if adjust == "bonferroni":
        return np.asarray(np.minimum(size * single, 1.0))
    if adjust == "sidak":
        # 1 - (1 - p)^m without the loss of digits for small p
        return np.asarray(-np.expm1(size * np.log1p(-single)))
    if adjust == "holm":
        found = single.copy()
        order = np.flatnonzero(counted)[np.argsort(single[counted], kind="stable")]
        steps = single[order] * (size - np.arange(size))
        found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
        return np.asarray(found)
    return np.asarray(single)


def critical_values(df: Floats, level: float, adjust: str, num_means: int, size: int) -> Floats:
    """How many standard errors wide intervals of one family are to each side.

    Args:
      df: (r,) degrees of freedom.
      level: coverage, of all intervals together.
      adjust: as in `adjusted_p`; for "holm", whose steps have no intervals, Bonferroni's.
      num_means: how many means the pairs are of, for "tukey".
      size: number of comparisons in the family.
    Returns:
      (r,) multiples.
    """
    if adjust == "tukey" and num_means > 2:
        widths = studentized_range.quantile(level, num_means, np.nan_to_num(df, nan=1.0))
        return np.where(np.isnan(df), np.nan, widths / np.sqrt(2.0))
    each = level
    if adjust in ("bonferroni", "holm"):
        each = 1.0 - (1.0 - level) / size
    elif adjust == "sidak":
        each = level ** (1.0 / size)
    return np.asarray(scipy.stats.t.ppf(0.5 + each / 2.0, df))
