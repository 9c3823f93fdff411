"""Rising factorials Gamma(s + y) / Gamma(s) in series: products of y draws of which each adds to the next one's
factor.

With r_j = s / (s + j), the derivatives in log s of log(Gamma(s + y) / (Gamma(s) s^y)) are sums over j < y of
-(1 - r), r (1 - r) and r (1 - r) (1 - 2 r). From some s on they are Stirling's formula subtracted from itself
before it is evaluated; below, differences of polygamma functions, without what the first draw adds to both.

References: Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.1.40 and 6.4.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask
from lmeformula.family.elementary import less_share, of_difference
from lmeformula.family.gammas import LARGE, REMAINDER
from lmeformula.family.polya_urn_large import less_log
from lmeformula.family.polygammas import tetragamma, trigamma
from lmeformula.family.rising import bent
from lmeformula.family.series import Derivatives, Series, applied


def log_rising_ratio(log_s: Series, counts: Floats, is_relative: Mask | None = None) -> Series:
    """log(Gamma(s + y) / (Gamma(s) s^y)) of y >= 0 (n,), from log s; zero in the limit of a large s.

    Args:
      log_s: log s.
      counts: (n,) y.
      is_relative: (n,) of which rows the derivative is without that of s^y: of sums that have it as well.
    """

    def of(log_s: Any) -> Derivatives:
        found = _sums(log_s, counts)
        yield next(found)
        share, rest = next(found)
        yield -rest if is_relative is None else np.where(is_relative, share, -rest)
        yield from found

    return applied(of, log_s)


def log_draws(
    first: Series, added: Series, counts: Floats, is_relative: Mask | None = None
) -> Series:
    """The sum over j < y of log(a + j b), from log a and log b.

    Args:
      first, added: log a, log b.
      counts: (n,) y.
      is_relative: (n,) of which rows y log b is left out of the derivatives: of sums in which these cancel.
    """

    def of(log_a: Any, log_b: Any) -> Derivatives:
        found = _sums(log_a - log_b, counts)
        yield next(found) + counts * log_a
        share, rest = next(found)
        yield share, rest if is_relative is None else np.where(is_relative, -share, rest)
        yield from found

    return of_difference(of, first, added)


def _sums(log_s: Any, counts: Floats) -> Derivatives:
    """The logarithm of the ratio; the sums of r and of 1 - r; of r (1 - r); and of r (1 - r) (1 - 2 r)."""
    if np.ndim(log_s) == 0:
        yield from (_stirling if np.exp(log_s) >= LARGE else _direct)(np.exp(log_s), log_s, counts)
        return
    s = np.exp(log_s)
    is_large = s >= LARGE
    if is_large.all() or not is_large.any():
        yield from (_stirling if is_large.all() else _direct)(s, log_s, counts)
        return
    ways = zip((~is_large, is_large), (_direct, _stirling), strict=True)
    parts = [(rows, way(s[rows], log_s[rows], counts[rows])) for rows, way in ways]
    for _ in range(4):
        yield _joined([(rows, next(part)) for rows, part in parts], len(s))


def _joined(parts: list[tuple[Any, Any]], n: int) -> Any:
    if isinstance(parts[0][1], tuple):
        return tuple(
            _joined([(rows, each[place]) for rows, each in parts], n)
            for place in range(len(parts[0][1]))
        )
    found = np.empty(n)
    for rows, each in parts:
        found[rows] = each
    return found


def _direct(s: Any, log_s: Any, counts: Floats) -> Derivatives:
    has_any = counts > 0.0
    # No draw is as one, which has no derivatives.
    some = np.where(has_any, counts, 1.0)
    above, next_one = some + s, 1.0 + s
    gammaln, psi = scipy.special.gammaln, scipy.special.psi
    yield gammaln(above) - gammaln(next_one) - (some - 1.0) * log_s
    one = s * (psi(above) - psi(next_one))
    share = np.where(has_any, 1.0 + one, 0.0)
    yield share, counts - share
    two = s * s * (trigamma(above) - trigamma(next_one))
    yield one + two
    three = s * s * s * (tetragamma(above) - tetragamma(next_one))
    yield one + 3.0 * two + three


def _stirling(s: Any, log_s: Any, counts: Floats) -> Derivatives:
    ratio, above = counts / s, counts + s
    there, here = _remainder(above, s / above), _remainder(s, 1.0)
    yield s * bent(ratio) - 0.5 * np.log1p(ratio) + next(there) - next(here)
    share = counts / above
    more = next(there) - next(here)
    rest = s * less_log(ratio) - 0.5 * share - more
    yield counts - rest, rest
    less, flat = less_share(ratio), share * (s / above)
    yield s * less - 0.5 * flat + next(there) - next(here)
    yield s * (less - share**2) + 0.5 * flat * (1.0 - 2.0 * share) + next(there) - next(here)


def _remainder(x: Any, part: Any) -> Derivatives:
    """What Stirling's formula leaves of the log gamma function of x, with its derivatives in the logarithm of a
    part of x, whose share in it is given.
    """
    inverse = 1.0 / x
    square = inverse * inverse

    def total(weight: Callable[[float], float]) -> Any:
        found: Any = 0.0
        for j in range(len(REMAINDER) - 1, -1, -1):
            found = found * square + REMAINDER[j] * weight(2.0 * j + 1.0)
        return found * inverse

    yield total(lambda p: 1.0)
    one = -part * total(lambda p: p)
    yield one
    two = part**2 * total(lambda p: p * (p + 1.0))
    yield one + two
    yield one + 3.0 * two - part**3 * total(lambda p: p * (p + 1.0) * (p + 2.0))
