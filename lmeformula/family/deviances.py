"""Unit deviances of families: what a mean that is the response itself would gain of log-likelihood, twice.

References: McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., sections 2.3 and 11.2.
"""

from __future__ import annotations

import numpy as np
import scipy.special

from lmeformula.arrays import Floats


def _ratio(y: Floats, mu: Floats) -> Floats:
    """y log(y / mu), zero at y = 0."""
    return np.asarray(scipy.special.xlogy(y, y) - scipy.special.xlogy(y, mu))


def of_normal(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of normal responses."""
    return (y - mu) ** 2


def of_shares(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of shares of successes."""
    return 2.0 * (_ratio(y, mu) + _ratio(1.0 - y, 1.0 - mu))


def of_counts(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of Poisson counts."""
    return 2.0 * (_ratio(y, mu) - (y - mu))


def of_nbinom2(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of counts whose variance is mu + mu^2 / size, `own` (size,)."""
    return _of_size(y, mu, own[0])


def of_nbinom1(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of counts whose variance is mu (1 + dispersion), `own` (dispersion,).

    Of a negative binomial with the size that a row has at its mean, mu / dispersion, held there, as in glmmTMB:
    a mean that moved the size along would gain the most elsewhere than at the response.
    """
    with np.errstate(divide="ignore", over="ignore"):
        return _of_size(y, mu, mu / own[0])


def _of_size(y: Floats, mu: Floats, size: Floats) -> Floats:
    """Of negative binomial counts of any size, or of several (n,); of no end it is Poisson's."""
    # Of a large size the quotient is next to one, whose logarithm has its digits in what it is off by.
    with np.errstate(invalid="ignore"):
        beyond = (y + size) * np.log1p((y - mu) / (mu + size))
    return np.asarray(2.0 * (_ratio(y, mu) - np.where(np.isfinite(size), beyond, y - mu)))


def of_gamma(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of gamma responses."""
    return 2.0 * ((y - mu) / mu - np.log(y / mu))


def of_inverse_gaussian(y: Floats, mu: Floats, own: Floats) -> Floats:
    """(n,) of inverse Gaussian responses."""
    return (y - mu) ** 2 / (y * mu**2)
