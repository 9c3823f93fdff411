"""Counts by the Poisson distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.model.family.checks import numbers, refuse_weights, unsuitable
from lmeformula.model.family.record import Arrays, ClosedForm, Depths, Family, Slopes

Floats = NDArray[np.float64]
Tensor = Any


def count_response(family: str) -> Any:
    """Design -> (counts, log of their factorials), refused in the name of `family` where they are none."""

    def response(design: Design) -> Arrays:
        needs = "counts: whole numbers from zero"
        hint = "For rates, give counts and an offset: y ~ ... + offset(log(exposure))."
        values = numbers(design, family, needs, hint)
        if (values < 0).any() or (values != np.round(values)).any():
            raise unsuitable(design, family, needs, hint)
        refuse_weights(design, family)
        return values, scipy.special.gammaln(values + 1.0)

    return response


def log_mean(response: Arrays) -> Floats:
    """Logarithms of the counts, kept off zero."""
    return np.asarray(np.log(response[0] + 0.5))


def _poisson(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    import tensorflow_probability as tfp

    return tfp.distributions.Poisson(log_rate=eta)


def _poisson_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf

    return response[0][:, None] * eta - tf.exp(eta) - response[1][:, None]


def _poisson_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf

    return response[0][:, None] - tf.exp(eta)


def _poisson_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    counts, log_factorials = response
    mean = np.exp(eta)
    value = float(counts @ eta - mean.sum() - log_factorials.sum())
    return Slopes(value, counts - mean, -mean)


def _poisson_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    none, rows = np.zeros(0), np.zeros((0, len(eta)))
    return Depths(-np.exp(eta), none, np.zeros((0, 0)), rows, rows)


POISSON = Family(
    name="poisson",
    link="log",
    response=count_response("poisson"),
    distribution=_poisson,
    mean=lambda eta, own: np.exp(eta),
    working=log_mean,
    variance=lambda mean, own: mean,
    log_density=_poisson_density,
    slope=_poisson_slope,
    closed=ClosedForm(_poisson_slopes, _poisson_depths),
)
