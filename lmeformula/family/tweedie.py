"""Positive amounts with exact zeros: the Tweedie distribution with a power between one and two.

A Poisson number of gamma amounts: variance dispersion mu^power. The density of a positive response is a series
over that number; its terms are summed around the largest one, as far as they count.

Reference: Dunn, Smyth (2005), Series evaluation of Tweedie exponential dispersion model densities, Statistics
and Computing 15, 267-280.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.bounded import POSITIVE, Bounded
from lmeformula.family.checks import check_rows, numbers, refuse_weights, response_of
from lmeformula.family.gammas import less_powers
from lmeformula.family.limit import MOST_AMOUNTS, NOTHING, Limit
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.rowwise import by_rows, rowwise
from lmeformula.family.runaway import ALIKE, MET, Runaway, logs_of, middle_of
from lmeformula.family.tweedie_density import HALF_WINDOW, REACH, TAIL, amounts_series
from lmeformula.startup import tf

FIRST_POWER = 1.5
# The relative variance of the number of amounts below which their sum is a gamma variable: this power of the
# precision, which is as much as the terms of so many amounts are off by.
NEARLY_GAMMA = 0.55
# A shape of amounts so small that, for chances, they are so many.
MANY = 1e-7
# Rows of which chances are worked out at a time.
AT_ONCE = 2**13


def _response(design: Design) -> Arrays:
    needs, hint = "numbers from zero", "Negative amounts have no place in it."
    values = numbers(design, "tweedie", needs, hint)
    check_rows(design, "tweedie", values < 0.0, needs, hint)
    if (values == 0.0).all():
        check_rows(design, "tweedie", values == 0.0, "some positive numbers", "All are zero.")
    refuse_weights(design, "tweedie")
    return values, np.log(np.where(values > 0.0, values, 1.0))


def _own(design: Design) -> Own:
    """The dispersion by moments, half of the variation for the random effects; the power half-way."""
    values = response_of(design).values
    mean = max(float(values.mean()), 1e-300)
    dispersion = 0.5 * float((values / mean).var()) * mean ** (2.0 - FIRST_POWER)
    bounds = Bounded((POSITIVE, (1.0, 2.0)))
    start = np.array([max(dispersion, 1e-6), FIRST_POWER])
    return Own("dispersion_power", ("dispersion", "power"), start, bounds)


def _working(response: Arrays) -> Floats:
    positive = response[0][response[0] > 0.0]
    return np.asarray(np.log(response[0] + 0.2 * float(positive.mean())))


def _parts(eta: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean number of amounts, their gamma shape and their scale."""
    dispersion, power = own
    number = tf.exp((2.0 - power) * eta) / (dispersion * (2.0 - power))
    scale = dispersion * (power - 1.0) * tf.exp((power - 1.0) * eta)
    return number, (2.0 - power) / (power - 1.0), scale


def _peak(log_y: Tensor, own: tuple[Tensor, ...]) -> Tensor:
    """Log density (n, c) of a positive response where that is the mean, times the response; see `amounts`.

    Whole numbers are summed as far as the window reaches; beyond, every h-th term of a function so smooth is
    the sum over h.
    """
    dispersion, power = own
    rest, more = 2.0 - power, power - 1.0
    log_shape = rest * log_y - tf.math.log(dispersion * more)
    gamma = 0.5 * tf.math.log(more) - less_powers(tf.exp(log_shape))
    # The relative variance of the number of amounts: what a gamma density leaves out is of its order.
    variance = tf.exp(-log_shape) * rest
    spread = tf.exp(log_shape) * more / rest
    nothing = tf.cast(np.finfo(log_y.dtype.as_numpy_dtype).eps ** NEARLY_GAMMA, log_y.dtype)
    is_gamma = (variance < nothing) & (spread > (HALF_WINDOW / REACH) ** 2)
    # Each branch gets arguments that it can take: a gradient flows through both.
    ordinary = tf.cast(FIRST_POWER, log_y.dtype)
    held = tf.where(is_gamma, tf.ones_like(log_y), dispersion), tf.where(is_gamma, ordinary, power)
    return tf.where(is_gamma, gamma, _series(log_y, held))


def _series(log_y: Tensor, own: tuple[Tensor, ...]) -> Tensor:
    dispersion, power = (value[..., None] for value in own)
    shape = (2.0 - power) / (power - 1.0)
    log_k = (2.0 - power) * log_y[..., None] - tf.math.log(dispersion * (2.0 - power))
    # Where the terms are looked at is no part of what they are: no gradient goes through it.
    largest = tf.stop_gradient(tf.exp(log_k))
    spread = tf.stop_gradient(tf.sqrt(largest * (power - 1.0)))
    step = tf.maximum(REACH * spread / HALF_WINDOW, tf.ones_like(spread))
    window = tf.range(-HALF_WINDOW, HALF_WINDOW + 1, dtype=step.dtype)
    number = tf.maximum(tf.round(largest), tf.ones_like(largest)) + step * window
    is_there = number >= 1.0
    held = tf.where(is_there, number, tf.ones_like(number))
    apart = log_k - tf.math.log(held)
    terms = (1.0 + shape) * held * (apart - tf.math.expm1(apart)) - tf.math.log(held)
    terms -= less_powers(held) + less_powers(held * shape)
    nothing = tf.cast(-math.inf, terms.dtype)
    return tf.reduce_logsumexp(tf.where(is_there, terms, nothing), axis=-1) + tf.math.log(
        step[..., 0]
    )


def _log_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    y, log_y = (array[:, None] for array in response)
    dispersion, power = own
    rest, more = 2.0 - power, power - 1.0
    number, _, _ = _parts(eta, own)
    apart = log_y - eta
    left = tf.math.expm1(more * apart) / more + tf.math.expm1(-rest * apart) / rest
    left *= tf.exp(rest * log_y) / dispersion
    return tf.where(y > 0.0, _peak(log_y + 0.0 * dispersion, own) - log_y - left, -number)


def _slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    dispersion, power = own
    y = response[0][:, None]
    return (y * tf.exp((1.0 - power) * eta) - tf.exp((2.0 - power) * eta)) / dispersion


def _distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    number, shape, scale = _parts(eta, own)
    shape += tf.zeros_like(number)

    def arrays(y: Tensor) -> tuple[Tensor, ...]:
        return y, tf.math.log(tf.where(y > 0.0, y, tf.ones_like(y)))

    def sample(outer: Any, seed: Any) -> Tensor:
        first, second = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        count = tf.random.stateless_poisson(outer, first, number + tf.zeros_like(eta), eta.dtype)
        some = tf.maximum(count, tf.ones_like(count)) * shape
        amount = tf.random.stateless_gamma(outer, second, some, dtype=eta.dtype) * scale
        return tf.where(count > 0.0, amount, tf.zeros_like(amount))

    return rowwise(eta, by_rows(_log_density, arrays, eta, own), sample)


def _chances(y: Floats, eta: Floats, own: Floats) -> Floats:
    """The distribution function: chances of numbers of amounts, times those of their sum."""
    dispersion, power = (np.asarray(value, np.float64) + np.zeros_like(y) for value in own)
    number = np.exp((2.0 - power) * eta) / (dispersion * (2.0 - power))
    shape = (2.0 - power) / (power - 1.0)
    amount = np.maximum(y, 0.0) * np.exp((1.0 - power) * eta) / (dispersion * (power - 1.0))
    # Of so many amounts chances of a number have no digits left, and their sum has a gamma variable's.
    is_gamma = shape < MANY
    found = np.where(is_gamma, scipy.special.gammainc(number * shape, amount), np.exp(-number))
    rows = np.flatnonzero(~is_gamma & (amount > 0.0))
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        found[part] += _of_amounts(number[part], shape[part], amount[part])
    return np.where(y < 0.0, 0.0, np.minimum(found, 1.0))


def _of_amounts(number: Floats, shape: Floats, amount: Floats) -> Floats:
    """(n,) chances of one amount or more whose sum is no larger: of whole numbers, or of every h-th of many."""
    reach = REACH * np.sqrt(number)
    step = np.maximum(reach / HALF_WINDOW, 1.0)
    # The tail of few amounts is longer than a normal one's.
    first = np.maximum(np.round((number - reach) / step), np.ceil(1.0 / step))
    size = (np.round((number + reach) / step) + TAIL - first + 1.0).astype(np.int64)
    ends = np.cumsum(size)
    rows = np.repeat(np.arange(len(size)), size)
    place = np.arange(ends[-1]) - np.repeat(ends - size, size)
    count = step[rows] * (first[rows] + place)
    log_chance = scipy.special.xlogy(count, number[rows]) - number[rows]
    log_chance -= scipy.special.gammaln(count + 1.0)
    terms = np.exp(log_chance) * scipy.special.gammainc(count * shape[rows], amount[rows])
    return np.asarray(step * np.add.reduceat(terms, ends - size))


def _amounts(response: tuple[Floats, ...]) -> float:
    return 1.0 + float(np.sum(1.0 + np.abs(response[1])))


# Many amounts a row are a gamma variable; there is no zero among those.
_POWER_AT_TWO = Limit(
    "power",
    2.0,
    "gamma",
    lambda response: 2.0 - max(NOTHING / _amounts(response), MOST_AMOUNTS),
    lambda response: 2.0 - 1e-3 / _amounts(response),
    lambda response: bool((response[0] > 0.0).all()),
)


def _amount(response: tuple[Floats, ...], own: dict[str, float]) -> float:
    """The relative standard deviation of a positive response of the median size."""
    # Where it is held, the power is two.
    rest = 1.0 - 0.5 * own.get("power", 2.0)
    return math.sqrt(own["dispersion"]) * math.exp(-rest * middle_of(response))


def _apart(response: tuple[Floats, ...], own: dict[str, float]) -> float:
    """The relative standard deviation of one amount."""
    return math.sqrt((own["power"] - 1.0) / max(2.0 - own["power"], MOST_AMOUNTS))


TWEEDIE = Family(
    name="tweedie",
    link="log",
    response=_response,
    distribution=_distribution,
    mean=lambda eta, own: np.exp(eta),
    working=_working,
    own=_own,
    variance=lambda mean, own: own[0] * mean ** own[1],
    cdf=_chances,
    atoms=(0.0,),
    log_density=_log_density,
    slope=_slope,
    series=amounts_series,
    predicted=(Predicted("dispersion", "log"),),
    says="The variance is dispersion mu^power.",
    paper=papers.TWEEDIE,
    limits=(_POWER_AT_TWO,),
    runaways=(
        Runaway(
            "dispersion",
            MET,
            _amount,
            0.0,
            logs_of,
            lambda response, spread: (
                spread**2 * math.exp((2.0 - FIRST_POWER) * middle_of(response))
            ),
        ),
        Runaway(
            "power", ALIKE, _apart, 1.0, says="the responses are whole multiples of one number"
        ),
    ),
    notation=Notation(
        "Tweedie", "μ", r"\mu", "log", own="dispersion_power", elements=("dispersion", "power")
    ),
)
