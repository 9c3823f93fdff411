"""Polya's urn in NumPy where draws are many: sums over them by integrals, and chances as distances.

The sums of `urn` over draws j = 32, 33, ... are integrals with the corrections of Euler and Maclaurin. The
chance itself is one over the exponential of two Kullback-Leibler distances, of shares and of chances from where
the two together are, with Stirling's corrections: logarithms of gamma functions of 1e18 have no digits that
count.

Reference: Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 3.6.28 and 6.1.40.
"""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family.gammas import NUM_TERMS, SMALL
from lmeformula.family.less_powers import less_powers

# Draws that are added up one by one, of rows that have more of them than so many.
FIRST, MANY = 32, 200
# Euler's constant.
EULER = 0.5772156649015329
# Below this the logarithm of a gamma function is that of its argument, and a correction.
TINY = 1e-8
# Draws over the first factor below which one power of their ratio is enough of a correction.
LATE = 1e-4


def far_sums(first: Floats, counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Sums over the draws j = 32 to counts - 1.

    Args:
      first: (n,) a, what the first draw's factor is in units of what each draw adds.
      counts: (n,) more than 32.
    Returns:
      share, rest, spread, skew: (n,) of r = a / (a + j), 1 - r, r (1 - r), and r (1 - r) (1 - 2 r).
    """
    a, steps = first, counts - FIRST
    start, end = a + FIRST, a + counts
    grown = steps / start
    log, bent = np.log1p(grown), less_log(grown)
    far = steps * FIRST / (start * end)
    share = a * log
    rest = start * bent + FIRST * log
    # log(1 + x) - x / (1 + x)
    lost = grown / (1.0 + grown)
    spread = a * (np.where(grown < SMALL, grown * lost - bent, log - lost) + far)
    # r (1 - r)^2, which is little of the others where a is large.
    few = a / start, a / end
    thick = a * (log - 2.0 * (few[0] - few[1]) + 0.5 * (few[0] - few[1]) * (few[0] + few[1]))
    thin = (counts**3 - FIRST**3) / (3.0 * a * a) * (1.0 - 2.25 * counts / a)
    late = np.where(counts < LATE * a, thin, thick)
    skew = 2.0 * late - spread

    def ends(at: Floats, j: Floats, sign: float) -> tuple[Floats, ...]:
        u, w, v = 1.0 / at, a / at, j / at
        one = -w * u
        three, five = 6.0 * u * u, 120.0 * u**4
        of_share = (w, one, one * three, one * five)
        of_rest = (v, -one, -one * three, -one * five)
        of_spread = (
            w * v,
            one * (1.0 - 2.0 * w),
            one * three * (1.0 - 4.0 * w),
            one * five * (1.0 - 6.0 * w),
        )
        twice = (
            w * v * v,
            one * v * (1.0 - 3.0 * w),
            one * three * (1.0 - 8.0 * w + 10.0 * w * w),
            one * five * (1.0 - 12.0 * w + 21.0 * w * w),
        )
        of_skew = tuple(2.0 * x - y for x, y in zip(twice, of_spread, strict=True))
        return tuple(
            sign * (-0.5 * f + f1 / 12.0 - f3 / 720.0 + f5 / 30240.0)
            for f, f1, f3, f5 in (of_share, of_rest, of_spread, of_skew)
        )

    upper, lower = ends(end, counts, 1.0), ends(start, np.full_like(a, FIRST), -1.0)
    parts = (share, rest, spread, skew)
    found = tuple(x + y + z for x, y, z in zip(parts, upper, lower, strict=True))
    return found[0], found[1], found[2], found[3]


def log_chances(
    log_yes: Floats,
    log_no: Floats,
    successes: Floats,
    trials: Floats,
    precision: Floats | float,
) -> Floats:
    """(n,) logarithms of the chances of so many successes; the precision may be that of each row."""
    share, whole = successes / trials, trials + precision
    total = -_stirling(
        trials, np.full_like(trials, precision), np.log(np.full_like(trials, precision))
    )
    for log_p, p, count, part in (
        (log_yes, np.exp(log_yes), successes, share),
        (log_no, np.exp(log_no), trials - successes, (trials - successes) / trials),
    ):
        apart = (p - part) / whole
        # Shares from where both are.
        near = precision * apart * trials / np.maximum(count, 1.0)
        total -= np.where(count > 0.0, count * less_log(near), precision * apart * trials)
        # Chances from there.
        away = -trials * apart / np.maximum(p, np.finfo(float).tiny)
        log_there = np.log((count + precision * p) / whole)
        direct = -precision * trials * apart - precision * p * (log_there - log_p)
        close = np.abs(away) < SMALL
        total -= np.where(close, precision * p * less_log(np.where(close, away, 0.0)), direct)
        total += _stirling(count, precision * p, np.log(precision) + log_p)
    return np.asarray(total)


def _stirling(count: Floats, first: Floats, log_first: Floats) -> Floats:
    """What log(Gamma(first + count) / (Gamma(first) count!)) has beside powers."""
    some = np.maximum(count, 1.0)
    tiny = -log_first + first * (1.0 - EULER - log_first)
    before = np.where(first < TINY, tiny, less_powers(np.maximum(first, TINY), 1)[0])
    found = less_powers(first + some, 1)[0] - before - less_powers(some, 1)[0] - np.log(some)
    return np.asarray(np.where(count > 0.0, found, 0.0))


def less_log(x: Floats) -> Floats:
    """x - log(1 + x), which begins with half a square.

    Example:
      >>> (less_log(np.array([1e-8, 1.0])) * [1e17, 1.0]).round(6).tolist()
      [5.0, 0.306853]
    """
    near = np.where(np.abs(x) < SMALL, x, 0.0)
    total = np.zeros_like(x)
    for k in range(NUM_TERMS, 1, -1):
        total = total * near + (-1.0) ** k / k
    return np.where(np.abs(x) < SMALL, near * near * total, x - np.log1p(x))
