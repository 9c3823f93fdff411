"""Rising factorials over powers, log(Gamma(y + s) / (Gamma(s) s^y)), at a cost that counts do not set."""

from __future__ import annotations

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.family.gammas import LARGE, NUM_TERMS, REMAINDER, SMALL
from lmeformula.family.polya_urn_large import less_log

# Up to here counts are summed term by term, which keeps all digits.
SUMMED = 64


def rising(counts: Floats, size: float) -> tuple[Floats, Floats, Floats]:
    """log(Gamma(y + size) / Gamma(size) size^y) with two derivatives in size, (n,) each.

    That is the sum over j < y of log(1 + j / size), which is small where size is large, a Poisson distribution.
    Few terms are summed; more are Stirling's formula subtracted from itself before it is evaluated, or where
    size is small, differences that lose nothing.

    Args:
      counts: (n,) whole numbers from zero.
      size: positive.
    Returns:
      The logarithms, their first and their second derivatives.
    References:
      Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.1.40.
    Example:
      >>> value, *_ = rising(np.array([0.0, 2.0, 1e6]), 4.0)
      >>> value.round(1).tolist()
      [0.0, 0.2, 11429263.7]
    """
    j = np.arange(SUMMED)
    terms = (
        np.log1p(j / size),
        -j / (size * (size + j)),
        j * (2.0 * size + j) / (size * (size + j)) ** 2,
    )
    places = np.minimum(counts, SUMMED).astype(np.int64)
    sums = [np.concatenate([[0.0], np.cumsum(term)])[places] for term in terms]
    is_many = counts > SUMMED
    if is_many.any():
        far = _stirling if size >= LARGE else _direct
        for total, found in zip(sums, far(counts[is_many], size), strict=True):
            total[is_many] = found
    return sums[0], sums[1], sums[2]


def _direct(counts: Floats, size: float) -> tuple[Floats, Floats, Floats]:
    above = counts + size
    value = scipy.special.gammaln(above) - scipy.special.gammaln(size) - counts * np.log(size)
    first = scipy.special.digamma(above) - scipy.special.digamma(size) - counts / size
    second = scipy.special.polygamma(1, above) - scipy.special.polygamma(1, size)
    return value, first, second + counts / size**2


def _stirling(counts: Floats, size: float) -> tuple[Floats, Floats, Floats]:
    ratio, above = counts / size, counts + size
    rest, here = _remainder(above), _remainder(np.full(1, size))
    value = size * bent(ratio) - 0.5 * np.log1p(ratio) + rest[0] - here[0]
    first = 0.5 * ratio / above - less_log(ratio) + rest[1] - here[1]
    second = (
        ratio**2 / (size * (1.0 + ratio))
        - 0.5 * counts * (2.0 * size + counts) / (size * above) ** 2
    )
    return value, first, second + rest[2] - here[2]


def bent(x: Floats) -> Floats:
    """(1 + x) log(1 + x) - x for x >= 0, which begins with half a square."""
    near, total = np.minimum(x, SMALL), np.zeros_like(x)
    for k in range(NUM_TERMS, 1, -1):
        total = near * total + (-1.0) ** k / (k * (k - 1))
    return np.where(x < SMALL, near**2 * total, (1.0 + x) * np.log1p(x) - x)


def _remainder(x: Floats) -> tuple[Floats, Floats, Floats]:
    """What Stirling's formula leaves of the log gamma function, with two derivatives."""
    powers = [(2 * j + 1, factor) for j, factor in enumerate(REMAINDER)]
    value = sum(factor * x**-p for p, factor in powers)
    first = sum(-p * factor * x ** -(p + 1) for p, factor in powers)
    second = sum(p * (p + 1) * factor * x ** -(p + 2) for p, factor in powers)
    return np.asarray(value), np.asarray(first), np.asarray(second)
