"""Result stage: how far responses are from their means, by the log-likelihood that perfect means would gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lmeformula.errors import ModelError

Floats = NDArray[np.float64]
# (observed (n,), mean (n,), own parameters (f,)) -> (n,) for weight and dispersion one.
Deviance = Callable[[Floats, Floats, Floats], Floats]


def _ratio(y: Floats, mu: Floats) -> Floats:
    """y log(y / mu), zero at y = 0."""
    return np.asarray(scipy.special.xlogy(y, y) - scipy.special.xlogy(y, mu))


def _gaussian(y: Floats, mu: Floats, own: Floats) -> Floats:
    return (y - mu) ** 2


def _binomial(y: Floats, mu: Floats, own: Floats) -> Floats:
    return 2.0 * (_ratio(y, mu) + _ratio(1.0 - y, 1.0 - mu))


def _poisson(y: Floats, mu: Floats, own: Floats) -> Floats:
    return 2.0 * (_ratio(y, mu) - (y - mu))


def _nbinom2(y: Floats, mu: Floats, own: Floats) -> Floats:
    size = own[0]
    return np.asarray(2.0 * (_ratio(y, mu) - (y + size) * np.log((y + size) / (mu + size))))


def _gamma(y: Floats, mu: Floats, own: Floats) -> Floats:
    return 2.0 * ((y - mu) / mu - np.log(y / mu))


def _inverse_gaussian(y: Floats, mu: Floats, own: Floats) -> Floats:
    return (y - mu) ** 2 / (y * mu**2)


DEVIANCES: dict[str, Deviance] = {
    "gaussian": _gaussian,
    "bernoulli": _binomial,
    "binomial": _binomial,
    "poisson": _poisson,
    "nbinom2": _nbinom2,
    "gamma": _gamma,
    "inverse_gaussian": _inverse_gaussian,
}


def unit_deviances(family: str, observed: Floats, mean: Floats, own: Floats) -> Floats:
    """Evaluate the unit deviances of rows: of weight one, and not divided by a dispersion, as in R.

    Args:
      family: its name.
      observed: (n,) responses; of successes out of trials their share.
      mean: (n,) expected responses.
      own: the family's own parameters.
    Returns:
      (n,) at least zero.
    Raises:
      ModelError: if the family's mean does not say how good a saturated model would be.
    References:
      McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., sections 2.3 and 11.2.
    Example:
      >>> unit_deviances("poisson", np.array([0.0, 3.0]), np.array([2.0, 3.0]), np.zeros(0)).tolist()
      [4.0, 0.0]
    """
    deviance = DEVIANCES.get(family)
    if deviance is None:
        raise ModelError(
            f"the {family} family has no deviance residuals here",
            hint='Use kind="quantile", which every family has.',
        )
    # Rounding may leave a deviance of zero below it.
    return np.maximum(deviance(observed, mean, own), 0.0)
