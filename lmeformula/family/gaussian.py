"""The normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Tensor
from lmeformula.design.design import Design
from lmeformula.family.checks import refused, residuals, response_of
from lmeformula.family.deviances import of_normal
from lmeformula.family.elementary import log, normal_series
from lmeformula.family.notation import Notation
from lmeformula.family.own import positive
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.series import Series
from lmeformula.startup import tf, tfp


def _response(design: Design) -> Arrays:
    response = response_of(design)
    if response.trials is not None:
        raise refused(
            design,
            f"the response {response.name!r} counts successes out of trials, and the family is gaussian",
            'Give family="binomial", or another family of successes out of trials.',
        )
    if response.kind not in ("numeric", "logical"):
        raise refused(
            design,
            f"the response {response.name!r} is {response.kind}, and the gaussian family needs numbers",
            'Use a numeric column; for an ordered rating there is family="cumulative".',
        )
    weights = np.ones(design.n) if design.weights is None else design.weights
    return response.values, weights


def _log_residual_sd(design: Design) -> float:
    return float(np.log(0.85 * residuals(design, response_of(design).values).std() or 1.0))


def _distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    # A row of prior weight w has residual sd sigma / sqrt(w).
    return tfp.distributions.Normal(loc=eta, scale=own[0] / tf.sqrt(response[1]))


def _log_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    y, weights = response
    precision = weights[:, None] / own[0] ** 2
    constant = 0.5 * tf.math.log(precision / (2.0 * np.pi))
    return constant - 0.5 * precision * tf.square(y[:, None] - eta)


def _slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    y, weights = response
    return weights[:, None] / own[0] ** 2 * (y[:, None] - eta)


def _series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    y, weights = response
    return normal_series(y - eta, log(own[0]), weights) + 0.5 * np.log(weights)


GAUSSIAN = Family(
    name="gaussian",
    link="identity",
    response=_response,
    distribution=_distribution,
    mean=lambda eta, own: eta,
    working=lambda response: response[0],
    own=lambda design: positive("sigma", 1.0),
    variance=lambda mean, own: np.full_like(mean, own[0] ** 2),
    log_density=_log_density,
    slope=_slope,
    series=_series,
    predicted=(Predicted("sigma", "log", start=_log_residual_sd),),
    deviance=of_normal,
    measure="numbers",
    is_normal=True,
    notation=Notation("Normal", own="sigma"),
    tfp=("Normal", "loc"),
)
