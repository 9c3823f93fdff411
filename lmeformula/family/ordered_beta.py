"""Shares with zeros and ones among them: the ordered beta distribution.

A latent variable about the predictor falls below a lower cut, which makes a zero, above an upper one, which
makes a one, or between them: then the share has a beta distribution with the predictor's mean. One predictor
leads all three. Where no share is zero the lower cut is at minus infinity, where none is one the upper
one is at infinity.

Reference: Kubinec (2023), Ordered beta regression: a parsimonious, well-fitting model for continuous data with
lower and upper bounds, Political Analysis 31, 519-536.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family.bounded import ANYTHING, POSITIVE, Bounded
from lmeformula.family.checks import check_rows, numbers, refuse_weights, response_of
from lmeformula.family.continuous import BETA, precision_of
from lmeformula.family.elementary import log1mexp, softplus
from lmeformula.family.limit import Limit
from lmeformula.family.notation import Notation
from lmeformula.family.own import Own
from lmeformula.family.papers import Paper
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.rowwise import by_rows, rowwise
from lmeformula.family.runaway import of_shares
from lmeformula.family.series import Series, by_kind
from lmeformula.startup import tf, tfp

Tensors = tuple[Tensor, ...]

NAMES = ("precision", "lower_cut", "upper_cut")
# A cut so far out that no chance of a response beyond it is left, and one that leaves a little.
FAR, NEAR = 1e4, 60.0
# Shares that are drawn stay this far inside, in roundings of one.
INSIDE = 0.5
# Newton's steps from a mean to its predictor, and their end.
MOST_STEPS, CLOSE = 60, 1e-12


def _response(design: Design) -> Arrays:
    needs = "numbers from 0 to 1"
    hint = "Divide amounts by the most that there can be."
    values = numbers(design, "ordered_beta", needs, hint)
    check_rows(design, "ordered_beta", (values < 0.0) | (values > 1.0), needs, hint)
    refuse_weights(design, "ordered_beta")
    return response_arrays(values)


def response_arrays(values: Floats) -> Arrays:
    """The shares, and logarithms of them and of the rest, one half where they are at an end."""
    within = np.where((values > 0.0) & (values < 1.0), values, 0.5)
    return values, np.log(within), np.log1p(-within)


def _own(design: Design) -> Own:
    response = response_of(design)
    values = response.values
    inner = values[(values > 0.0) & (values < 1.0)]
    of_zero, of_one = float((values == 0.0).mean()), float((values == 1.0).mean())
    if not len(inner) or of_zero + of_one == 0.0:
        raise ModelError(
            f"the response {response.name!r} has {'no' if len(inner) else 'nothing but'} zeros and ones, and "
            "the ordered_beta family is for shares with some of them and others between",
            hint="Use beta for shares strictly between 0 and 1, and bernoulli for zeros and ones.",
        )
    middle = float(scipy.special.logit(inner.mean()))
    # Of ends that are not seen the cuts are on their way out.
    few = 0.5 / len(values)
    start = np.array(
        [
            precision_of(inner),
            middle + scipy.special.logit(np.clip(of_zero, few, 1.0 - few)),
            middle - scipy.special.logit(np.clip(of_one, few, 1.0 - few)),
        ]
    )
    return Own("precision_and_cuts", NAMES, start, Bounded((POSITIVE, ANYTHING, ANYTHING)))


def _working(response: Arrays) -> Floats:
    """Logits, of ends as of a share that is as far out as those between."""
    values, log_share, log_rest = response
    logits = log_share - log_rest
    inside = (values > 0.0) & (values < 1.0)
    low, high = np.quantile(logits[inside], [0.05, 0.95])
    return np.where(inside, logits, np.where(values > 0.5, high + 1.0, low - 1.0))


def _chances(eta: Floats, own: Floats) -> tuple[Floats, Floats]:
    """The chances of a one, and of a share between."""
    of_one = scipy.special.expit(eta - own[2])
    return of_one, scipy.special.expit(eta - own[1]) - of_one


def _mean(eta: Floats, own: Floats) -> Floats:
    of_one, between = _chances(eta, own)
    return np.asarray(of_one + between * scipy.special.expit(eta))


def _predictor(mean: Floats, own: Floats) -> Floats:
    """The predictor with that mean, which rises from 0 to 1: Newton's steps within a bracket."""
    goal = np.clip(mean, 1e-12, 1.0 - 1e-12)
    low = np.full(goal.shape, min(own[1], 0.0) - 60.0 if own[1] > -FAR else -60.0)
    high = np.full(goal.shape, max(own[2], 0.0) + 60.0 if own[2] < FAR else 60.0)
    eta = np.clip(scipy.special.logit(goal), low, high)
    for _ in range(MOST_STEPS):
        off = _mean(eta, own) - goal
        low, high = np.where(off < 0.0, eta, low), np.where(off > 0.0, eta, high)
        share, (of_one, between) = scipy.special.expit(eta), _chances(eta, own)
        above = of_one + between
        slope = of_one * (1.0 - of_one) * (1.0 - share) + share * above * (1.0 - above)
        slope = slope + between * share * (1.0 - share)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = eta - off / slope
        moved = np.where((moved > low) & (moved < high), moved, 0.5 * (low + high))
        if (np.abs(moved - eta) <= CLOSE * (1.0 + np.abs(eta))).all():
            return np.asarray(moved)
        eta = moved
    return np.asarray(eta)


def _variance(mean: Floats, own: Floats) -> Floats:
    eta = _predictor(mean, own)
    (of_one, between), share = _chances(eta, own), scipy.special.expit(eta)
    square = share**2 + share * (1.0 - share) / (1.0 + own[0])
    return np.asarray(of_one + between * square - mean**2)


def _log_density(eta: Tensor, response: Arrays, own: Tensors) -> Tensor:
    """By softplus: F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)) of logistic distribution functions."""
    precision, lower, upper = own
    y = response[0][:, None]
    above, below = eta - lower, eta - upper
    of_zero, of_one = -tf.math.softplus(above), -tf.math.softplus(-below)
    assert BETA.log_density is not None
    inside = BETA.log_density(eta, response, (precision,))
    inside -= tf.math.softplus(-above) + tf.math.softplus(below)
    inside += tf.math.log(-tf.math.expm1(lower - upper))
    return tf.where(y <= 0.0, of_zero, tf.where(y >= 1.0, of_one, inside))


def _series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    y, (_, lower, upper) = response[0], own
    parts = [(_zero, [lower]), (_one, [upper]), (_inside, [*own, log1mexp(upper - lower)])]
    return by_kind(np.where(y <= 0.0, 0, np.where(y >= 1.0, 1, 2)), parts, eta, response)


def _zero(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    return -softplus(eta - own[0])


def _one(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    return -softplus(own[0] - eta)


def _inside(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    precision, lower, upper, log_gap = own
    assert BETA.series is not None
    within = log_gap - softplus(lower - eta) - softplus(eta - upper)
    return BETA.series(eta, response, [precision]) + within


def _distribution(eta: Tensor, response: Arrays, own: Tensors) -> Any:
    precision, lower, upper = own
    eps = float(np.finfo(eta.dtype.as_numpy_dtype).eps)
    shapes = precision * tf.math.sigmoid(eta), precision * tf.math.sigmoid(-eta)

    def arrays(y: Tensor) -> tuple[Tensor, ...]:
        is_inside = (y > 0.0) & (y < 1.0)
        held = tf.where(is_inside, y, 0.5 * tf.ones_like(y))
        return y, tf.math.log(held), tf.math.log1p(-held)

    def sample(shape: Any, seed: Tensor) -> Tensor:
        of_part, of_first, of_second = tfp.random.split_seed(seed, n=3)
        wide = tf.zeros(shape, eta.dtype)
        a = tf.random.stateless_gamma(shape, of_first, shapes[0] + wide, dtype=eta.dtype)
        b = tf.random.stateless_gamma(shape, of_second, shapes[1] + wide, dtype=eta.dtype)
        share = tf.clip_by_value(a / (a + b), INSIDE * eps, 1.0 - INSIDE * eps)
        share = tf.where(tf.math.is_finite(share), share, 0.5 * tf.ones_like(share))
        part = tf.random.stateless_uniform(shape, of_part, dtype=eta.dtype)
        # From the top: a one, a share between, a zero.
        share = tf.where(part < tf.math.sigmoid(eta - lower), share, tf.zeros_like(share))
        return tf.where(part < tf.math.sigmoid(eta - upper), tf.ones_like(share), share)

    def cdf(y: Tensor) -> Tensor:
        held = tf.clip_by_value(y, tf.zeros([], eta.dtype), tf.ones([], eta.dtype))
        of_zero, to_one = tf.math.sigmoid(lower - eta), tf.math.sigmoid(upper - eta)
        found = of_zero + (to_one - of_zero) * tf.math.betainc(*shapes, held)
        found = tf.where(y >= 1.0, tf.ones_like(found), found)
        return tf.where(y < 0.0, tf.zeros_like(found), found)

    def mean() -> Tensor:
        of_one = tf.math.sigmoid(eta - upper)
        return of_one + (tf.math.sigmoid(eta - lower) - of_one) * tf.math.sigmoid(eta)

    return rowwise(eta, by_rows(_log_density, arrays, eta, own), sample, cdf, mean)


def _logits(response: Arrays) -> Floats:
    """(n,) predictors whose mean is the share; of zeros and ones there are none."""
    inside = (response[0] > 0.0) & (response[0] < 1.0)
    return np.where(inside, response[1] - response[2], -math.inf)


def _cut(name: str, sign: float, ends: str, is_off: Callable[[Floats], Mask]) -> Limit:
    """Where a cut goes that no share is beyond."""
    return Limit(
        name,
        sign * math.inf,
        f"ordered_beta without {ends}",
        lambda response: sign * FAR,
        lambda response: sign * NEAR,
        lambda response: bool(is_off(response[0]).all()),
    )


ORDERED_BETA = Family(
    name="ordered_beta",
    link="logit",
    response=_response,
    distribution=_distribution,
    mean=_mean,
    working=_working,
    own=_own,
    variance=_variance,
    atoms=(0.0, 1.0),
    log_density=_log_density,
    series=_series,
    predicted=(Predicted("precision", "log", aliases=("phi",)),),
    says="lower_cut, upper_cut: a zero is below, a one above them; precision: of what is between, as of beta.",
    paper=Paper(
        "Kubinec, R.",
        2023,
        "Ordered beta regression: a parsimonious, well-fitting model for continuous data with lower and upper "
        "bounds",
        "Political Analysis 31, 519-536",
    ),
    limits=(
        _cut("lower_cut", -1.0, "zeros", lambda shares: shares > 0.0),
        _cut("upper_cut", 1.0, "ones", lambda shares: shares < 1.0),
    ),
    runaways=(of_shares(_logits),),
    notation=Notation(
        "OrderedBeta", "μ", r"\mu", "logit", own="precision_and_cuts", elements=NAMES
    ),
)
