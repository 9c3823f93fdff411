"""Responses around a location: heavy tails by Student's t distribution, positive numbers by the lognormal one.

References: Lange, Little, Taylor (1989), Robust statistical modeling using the t distribution, JASA 84,
881-896; Johnson, Kotz, Balakrishnan (1994), Continuous Univariate Distributions 1, chapter 14.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.bounded import POSITIVE, Bounded
from lmeformula.family.checks import check_rows, numbers, refuse_weights, residuals, response_of
from lmeformula.family.elementary import exp, less_share, log, normal_series
from lmeformula.family.gammas import log_rising
from lmeformula.family.less_powers import HALF_LOG_TAU
from lmeformula.family.limit import of_rows, upwards
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own, positive
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Predicted, Slopes
from lmeformula.family.rising_series import log_rising_ratio
from lmeformula.family.runaway import LOCATED, Runaway, largest_of, logs_of
from lmeformula.family.series import Derivatives, Series, applied_to_all
from lmeformula.startup import tf, tfp

# A t distribution has a mean above one degree of freedom, which the predictor is. Near none its likelihood is
# unbounded, too: a row that is fitted exactly outweighs all others.
LEAST_FREEDOM = 1.0
# Half the distance between the quartiles of a normal distribution of sd one.
QUARTILE = 0.6744897501960817


def _any_number(design: Design) -> Arrays:
    values = numbers(design, "student", "numbers", "Use a numeric column.")
    refuse_weights(design, "student")
    return (values,)


def positive_response(family: str) -> Any:
    """Design -> (positive numbers, their logarithms), refused in the name of `family` where they are none."""

    def response(design: Design) -> Arrays:
        needs = "positive numbers"
        hint = f"Zeros have no place in the {family.replace('_', ' ')} distribution."
        values = numbers(design, family, needs, hint)
        check_rows(design, family, values <= 0.0, needs, hint)
        refuse_weights(design, family)
        return values, np.log(values)

    return response


def _robust_sd(residuals: Floats) -> float:
    low, high = np.quantile(residuals, [0.25, 0.75])
    # Where half of the rows are alike the quartiles say nothing.
    found = 0.5 * (high - low) / QUARTILE or float(residuals.std())
    return float(found) or 1.0


def _scale_and_freedom(design: Design) -> Own:
    scale = 0.8 * _robust_sd(residuals(design, response_of(design).values))
    bounds = Bounded((POSITIVE, (LEAST_FREEDOM, math.inf)))
    return Own("scale_df", ("scale", "df"), np.array([scale, 6.0]), bounds)


def _log_sd(design: Design) -> Own:
    found = residuals(design, np.log(response_of(design).values))
    return positive("sigma", 0.85 * (float(found.std()) or 1.0))


def _student_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    scale, df = own
    apart = (response[0][:, None] - eta) / scale
    half = tf.cast(0.5, eta.dtype)
    norm = log_rising(half * df, half) - half * tf.math.log(np.pi * df)
    return norm - tf.math.log(scale) - half * (df + 1.0) * tf.math.log1p(tf.square(apart) / df)


def _student_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    scale, df = own
    apart = (response[0][:, None] - eta) / scale
    return (df + 1.0) * apart / (scale * (df + apart**2))


def _student_variance(mean: Floats, own: Floats) -> Floats:
    scale, df = own
    # Up to two degrees of freedom there is none.
    variance = scale**2 * df / np.where(df > 2.0, df - 2.0, np.nan)
    return np.asarray(variance + np.zeros_like(mean))


def _lognormal_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    log_y = response[1][:, None]
    return -0.5 * tf.square((log_y - eta) / own[0]) - tf.math.log(own[0]) - HALF_LOG_TAU - log_y


def _lognormal_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    log_y, sigma = response[1], own[0]
    apart = log_y - eta
    value = -0.5 * (apart / sigma) ** 2 - log_y - (np.log(sigma) + HALF_LOG_TAU)
    return Slopes(value, apart / sigma**2, np.full_like(eta, -1.0 / sigma**2))


def _lognormal_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    n, sigma = len(eta), own[0]
    apart = response[1] - eta
    squares = (apart / sigma) ** 2
    return Depths(
        third=np.zeros(n),
        own_each=(squares - 1.0)[None] / sigma,
        own_own=np.array([[(1.0 - 3.0 * squares).sum() / sigma**2]]),
        own_first=-2.0 * apart[None] / sigma**3,
        own_second=np.full((1, n), 2.0 / sigma**3),
    )


def _lognormal_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    log_y = response[1]
    return normal_series(log_y - eta, log(own[0])) - log_y


def _student_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    log_scale, log_df = log(own[0]), log(own[1])
    apart, half = response[0] - eta, np.full(len(response[0]), 0.5)
    square = apart * apart * exp(-2.0 * log_scale)
    norm = log_rising_ratio(log_df - math.log(2.0), half) - HALF_LOG_TAU
    return norm - log_scale + applied_to_all(_student_kernel, square, log_df)


def _student_kernel(x: Any, log_s: Any) -> Derivatives:
    """-(s + 1) / 2 log(1 + x / s), a normal density's exponent in the limit of a large s."""
    s, ratio = np.exp(log_s), x * np.exp(-log_s)
    yield -0.5 * (s + 1.0) * np.log1p(ratio)
    rest = 1.0 / (1.0 + ratio)
    share = ratio * rest
    # Of s log(1 + x / s), and of the logarithm alone: no difference of large numbers where s is large.
    less, both = functools.cache(lambda: less_share(ratio)), 1.0 + 1.0 / s
    yield {(0,): -0.5 * both * rest, (1,): lambda: -0.5 * (s * less() - share)}
    square, flat = rest * rest / s, rest * share
    yield {
        (0, 0): 0.5 * both * square,
        (0, 1): lambda: -0.5 * (flat - square),
        (1, 1): lambda: -0.5 * (s * (less() - share**2) + flat),
    }
    turn = square * (2.0 * rest - 1.0)
    yield {
        (0, 0, 0): -both * square * rest / s,
        (0, 0, 1): lambda: -0.5 * (turn + 2.0 * square * rest / s),
        (0, 1, 1): lambda: -0.5 * (flat * (share - rest) + turn),
        (1, 1, 1): lambda: -0.5 * (s * (less() - 2.0 * share**3) + flat * (share - rest)),
    }


STUDENT = Family(
    name="student",
    link="identity",
    response=_any_number,
    distribution=lambda eta, response, own: tfp.distributions.StudentT(
        df=own[1], loc=eta, scale=own[0]
    ),
    mean=lambda eta, own: eta,
    working=lambda response: response[0],
    own=_scale_and_freedom,
    variance=_student_variance,
    log_density=_student_density,
    slope=_student_slope,
    series=_student_series,
    predicted=(
        Predicted("scale", "log", aliases=("sigma",)),
        Predicted("df", "log(. - 1)", 1, aliases=("nu",)),
    ),
    says="scale: the standard deviation is scale sqrt(df / (df - 2)), of df > 2.",
    paper=papers.STUDENT,
    limits=(upwards("df", "normal", of_rows),),
    runaways=(
        Runaway(
            "scale",
            LOCATED,
            lambda response, own: own["scale"] / largest_of(response),
            0.0,
            lambda response: response[0],
            lambda response, spread: spread * largest_of(response),
            # Where all residuals are zero, the normal density is the highest.
            beside="df",
        ),
    ),
    measure="numbers",
    notation=Notation(
        "StudentT", "μ", r"\mu", "identity", own="scale_df", elements=("scale", "df")
    ),
)

# The predictor is the mean of the logarithm; a fit of log(y) has the same estimates, and a log-likelihood
# that is larger by the sum of these logarithms.
LOGNORMAL = Family(
    name="lognormal",
    link="identity",
    response=positive_response("lognormal"),
    distribution=lambda eta, response, own: tfp.distributions.LogNormal(loc=eta, scale=own[0]),
    mean=lambda eta, own: np.exp(eta + 0.5 * own[0] ** 2),
    working=lambda response: response[1],
    own=_log_sd,
    variance=lambda mean, own: np.expm1(own[0] ** 2) * mean**2,
    log_density=_lognormal_density,
    slope=lambda eta, response, own: (response[1][:, None] - eta) / own[0] ** 2,
    closed=ClosedForm(_lognormal_slopes, _lognormal_depths, takes_columns=True),
    series=_lognormal_series,
    says="sigma: the standard deviation of the logarithm of the response.",
    predicted=(Predicted("sigma", "log"),),
    runaways=(
        Runaway(
            "sigma",
            LOCATED,
            lambda response, own: own["sigma"],
            0.0,
            logs_of,
            lambda response, spread: spread,
        ),
    ),
    measure="numbers",
    predictor_variance=lambda own: own[0] ** 2,
    notation=Notation("LogNormal", "μ", r"\mu", "identity", own="sigma"),
)
