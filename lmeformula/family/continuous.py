"""Positive responses by the gamma and the inverse Gaussian distribution, proportions by the beta."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.checks import check_rows, numbers, refuse_weights, response_of
from lmeformula.family.counts import stirling_remainder
from lmeformula.family.deviances import of_gamma, of_inverse_gaussian
from lmeformula.family.elementary import above_zero, less_growth, log, softplus
from lmeformula.family.gammas import less_powers
from lmeformula.family.less_powers import less_powers_series
from lmeformula.family.links import softplus as softplus_of
from lmeformula.family.location_scale import positive_response
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own, positive
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Predicted, Slopes
from lmeformula.family.runaway import logs_of, middle_of, of_precision, of_shares
from lmeformula.family.series import Derivatives, Series, applied
from lmeformula.startup import tf, tfp


def _share_response(design: Design) -> Arrays:
    needs = "numbers strictly between 0 and 1"
    hint = 'Proportions of counted trials, 0 and 1 among them, are for family="binomial".'
    values = numbers(design, "beta", needs, hint)
    check_rows(design, "beta", (values <= 0) | (values >= 1), needs, hint)
    refuse_weights(design, "beta")
    return values, np.log(values), np.log1p(-values)


def _shape(design: Design) -> Own:
    spread = float(np.var(np.log(response_of(design).values)))
    return positive("shape", float(np.clip(1.0 / max(spread, 1e-3), 0.1, 100.0)))


def precision_of(shares: Floats) -> float:
    """The precision of shares (n,) strictly between 0 and 1, by moments."""
    mean, variance = float(shares.mean()), float(shares.var())
    found = mean * (1.0 - mean) / max(variance, 1e-6) - 1.0
    return float(np.clip(found, 0.5, 1000.0))


def _gamma_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    log_y, shape = response[1][:, None], own[0]
    apart = log_y - eta
    return shape * (apart - tf.math.expm1(apart)) - less_powers(shape) - log_y


def _gamma_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    log_y, shape = response[1], own[0]
    apart = log_y - eta
    ratio = np.exp(apart)
    # From the peak of each density, in which large shapes and rows that say much keep their digits.
    peak = 0.5 * np.log(shape / (2.0 * np.pi)) - float(stirling_remainder(np.full(1, shape))[0])
    value = shape * (apart - np.expm1(apart)) + peak - log_y
    return Slopes(value, shape * np.expm1(apart), -shape * ratio)


def _gamma_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    shape = own[0]
    apart = response[1] - eta
    ratio = np.exp(apart)
    constant = np.log(shape) + 1.0 - scipy.special.digamma(shape)
    bend = 1.0 / shape - float(scipy.special.polygamma(1, shape))
    return Depths(
        third=shape * ratio,
        own_each=(apart - ratio + constant)[None],
        own_own=np.array([[len(eta) * bend]]),
        own_first=np.expm1(apart)[None],
        own_second=-ratio[None],
    )


def _waiting_shape(design: Design) -> Own:
    """By moments: the variance over the cubed mean, some of which is for the random effects."""
    values = response_of(design).values
    mean = float(values.mean())
    variance = float((values / mean).var())
    return positive("shape", mean * float(np.clip(2.0 / max(variance, 1e-300), 0.1, 1e3)))


def _inverse_gaussian_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    y, log_y = (array[:, None] for array in response)
    constant = 0.5 * (tf.math.log(own[0]) - np.log(2.0 * np.pi) - 3.0 * log_y)
    # (y - mu)^2 / (mu^2 y), where the mean may overflow and y over it does not
    return constant - 0.5 * own[0] / y * tf.square(tf.math.expm1(log_y - eta))


def _inverse_gaussian_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    y, log_y = (array[:, None] for array in response)
    return own[0] / y * tf.math.expm1(log_y - eta) * tf.exp(log_y - eta)


def _inverse_gaussian_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    (y, log_y), shape = response, own[0]
    excess, ratio = np.expm1(log_y - eta), np.exp(log_y - eta)
    constant = 0.5 * (np.log(shape / (2.0 * np.pi)) - 3.0 * log_y)
    pull = shape / y * ratio
    value = constant - 0.5 * shape * excess**2 / y
    return Slopes(value, pull * excess, pull * (1.0 - 2.0 * ratio))


def _inverse_gaussian_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    (y, log_y), shape = response, own[0]
    excess, ratio = np.expm1(log_y - eta), np.exp(log_y - eta)
    pull = ratio / y
    return Depths(
        third=shape * pull * (4.0 * ratio - 1.0),
        own_each=0.5 * (1.0 / shape - excess**2 / y)[None],
        own_own=np.array([[-0.5 * len(eta) / shape**2]]),
        own_first=(pull * excess)[None],
        own_second=(pull * (1.0 - 2.0 * ratio))[None],
    )


def _beta(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    return tfp.distributions.Beta(
        concentration1=own[0] * tf.math.sigmoid(eta), concentration0=own[0] * tf.math.sigmoid(-eta)
    )


def _beta_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    _, log_y, log_rest = (array[:, None] for array in response)
    a, b = own[0] * tf.math.sigmoid(eta), own[0] * tf.math.sigmoid(-eta)
    norm = less_powers(own[0]) - less_powers(a) - less_powers(b)
    # Powers of the share over the mean: a large precision costs no digits.
    apart = a * (log_y + tf.math.softplus(-eta)) + b * (log_rest + tf.math.softplus(eta))
    return norm + apart - log_y - log_rest


def _gamma_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    log_y = response[1]
    return own[0] * less_growth(log_y - eta) - less_powers_series(log(own[0])) - log_y


def _inverse_gaussian_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    y, log_y = response
    excess = above_zero(log_y - eta)
    found = 0.5 * log(own[0]) - own[0] * (excess * excess) * (0.5 / y)
    return found - 0.5 * (math.log(2.0 * math.pi) + 3.0 * log_y)


def _beta_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    precision, log_precision = own[0], log(own[0])
    log_share, log_rest = -softplus(-eta), -softplus(eta)
    norm = less_powers_series(log_precision)
    norm -= less_powers_series(log_precision + log_share)
    norm -= less_powers_series(log_precision + log_rest)
    apart = applied(lambda eta: _share_distances(eta, response), eta)
    return norm + precision * apart - (response[1] + response[2])


def _share_distances(eta: Floats, response: Arrays) -> Derivatives:
    """mean log(share / mean) + (1 - mean) log((1 - share) / (1 - mean)), with its derivatives."""
    _, log_y, log_rest = response
    mean, rest = scipy.special.expit(eta), scipy.special.expit(-eta)
    yield mean * (log_y + softplus_of(-eta, rest)) + rest * (log_rest + softplus_of(eta, mean))
    apart, flat, turn = log_y - log_rest - eta, mean * rest, rest - mean
    yield flat * apart
    yield flat * (turn * apart - 1.0)
    yield flat * ((turn**2 - 2.0 * flat) * apart - 2.0 * turn)


GAMMA = Family(
    name="gamma",
    link="log",
    response=positive_response("gamma"),
    distribution=lambda eta, response, own: tfp.distributions.Gamma(
        concentration=own[0], log_rate=tf.math.log(own[0]) - eta
    ),
    mean=lambda eta, own: np.exp(eta),
    working=lambda response: response[1],
    own=_shape,
    variance=lambda mean, own: mean**2 / own[0],
    log_density=_gamma_density,
    slope=lambda eta, response, own: own[0] * tf.math.expm1(response[1][:, None] - eta),
    closed=ClosedForm(_gamma_slopes, _gamma_depths, takes_columns=True),
    series=_gamma_series,
    predicted=(Predicted("shape", "log"),),
    deviance=of_gamma,
    says="shape: the variance is mu^2 / shape.",
    paper=papers.GLM,
    runaways=(of_precision("shape", logs_of),),
    measure="numbers",
    notation=Notation("Gamma", "μ", r"\mu", "log", own="shape"),
)

INVERSE_GAUSSIAN = Family(
    name="inverse_gaussian",
    link="log",
    response=positive_response("inverse_gaussian"),
    distribution=lambda eta, response, own: tfp.distributions.InverseGaussian(
        loc=tf.exp(eta), concentration=own[0]
    ),
    mean=lambda eta, own: np.exp(eta),
    working=lambda response: response[1],
    own=_waiting_shape,
    variance=lambda mean, own: mean**3 / own[0],
    log_density=_inverse_gaussian_density,
    slope=_inverse_gaussian_slope,
    closed=ClosedForm(_inverse_gaussian_slopes, _inverse_gaussian_depths, takes_columns=True),
    series=_inverse_gaussian_series,
    predicted=(Predicted("shape", "log"),),
    deviance=of_inverse_gaussian,
    says="shape: the variance is mu^3 / shape.",
    paper=papers.GLM,
    runaways=(
        of_precision(
            "shape",
            logs_of,
            lambda response: math.exp(0.5 * middle_of(response)),
            lambda response, spread: math.exp(middle_of(response)) / spread**2.0,
        ),
    ),
    measure="numbers",
    notation=Notation("InverseGaussian", "μ", r"\mu", "log", own="shape"),
)

BETA = Family(
    name="beta",
    link="logit",
    response=_share_response,
    distribution=_beta,
    mean=lambda eta, own: scipy.special.expit(eta),
    working=lambda response: response[1] - response[2],
    own=lambda design: positive("precision", precision_of(response_of(design).values)),
    variance=lambda mean, own: mean * (1.0 - mean) / (1.0 + own[0]),
    log_density=_beta_density,
    series=_beta_series,
    predicted=(Predicted("precision", "log", aliases=("phi",)),),
    says="precision: the variance is mu (1 - mu) / (1 + precision).",
    paper=papers.BETA,
    runaways=(of_shares(lambda response: response[1] - response[2]),),
    notation=Notation("Beta", "μ", r"\mu", "logit", own="precision"),
)
