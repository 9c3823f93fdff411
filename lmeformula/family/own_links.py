"""The links of own parameters that have a linear predictor of their own: by the bounds of the parameter."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.bounded import ANYTHING, CHANCE, NEAREST, POSITIVE
from lmeformula.family.elementary import at_most, exp, logistic, one_and_exp
from lmeformula.family.record import Predicted
from lmeformula.family.series import Series
from lmeformula.startup import tf

# Beyond this logit a chance is not told from one, as where it is one number for all rows.
HIGHEST_LOGIT = 30.0


class PredictorLink(NamedTuple):
    """A link of an own parameter.

    Attributes:
      forward: parameter -> predictor, in NumPy.
      inverse: predictor -> parameter, in NumPy.
      tensor: the same in TensorFlow.
      series: the same in series; None for those that only families of a user's have.
    """

    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    tensor: Callable[[Tensor], Tensor]
    series: Callable[[Series], Series] | None = None


LINKS_OF_OWN = {
    "log": PredictorLink(np.log, np.exp, lambda eta: tf.exp(eta), exp),
    "log(. - 1)": PredictorLink(
        lambda value: np.log(value - 1.0),
        lambda eta: 1.0 + np.exp(eta),
        lambda eta: 1.0 + tf.exp(eta),
        one_and_exp,
    ),
    "logit": PredictorLink(
        scipy.special.logit,
        lambda eta: scipy.special.expit(np.minimum(eta, HIGHEST_LOGIT)),
        lambda eta: tf.math.sigmoid(tf.minimum(eta, tf.cast(HIGHEST_LOGIT, eta.dtype))),
        lambda eta: logistic(at_most(eta, HIGHEST_LOGIT)),
    ),
    "identity": PredictorLink(np.asarray, np.asarray, lambda eta: eta, lambda eta: eta),
}
_NAMED = {POSITIVE: "log", (1.0, math.inf): "log(. - 1)", CHANCE: "logit", ANYTHING: "identity"}


def link_of_own(part: Predicted) -> PredictorLink:
    """The link of an own parameter: that of its name, or of its bounds."""
    return LINKS_OF_OWN[part.link] if part.bounds is None else link_within(part.bounds)


def link_name(bounds: tuple[float, float]) -> str:
    """What the link of a parameter with these bounds is called; a dot stands for the parameter.

    Example:
      >>> [link_name(ends) for ends in ((0.0, np.inf), (0.0, 1.0), (-np.inf, 2.0), (-1.0, 1.0))]
      ['log', 'logit', 'log(2 - .)', 'logit((. + 1) / 2)']
    """
    low, high = bounds
    if bounds in _NAMED:
        return _NAMED[bounds]
    if math.isinf(low):
        return f"log({high:g} - .)"
    above = "." if low == 0.0 else f". {'-' if low > 0.0 else '+'} {abs(low):g}"
    if math.isinf(high):
        return f"log({above})"
    return f"logit({above if low == 0.0 else f'({above})'} / {high - low:g})"


@functools.cache
def link_within(bounds: tuple[float, float]) -> PredictorLink:
    """The link of a parameter with these bounds: identity, logarithm of a distance, or logit of a share.

    Example:
      >>> link = link_within((2.0, 6.0))
      >>> link.inverse(np.zeros(1)), link.forward(np.array([4.0]))
      (array([4.]), array([0.]))
    """
    if bounds in _NAMED:
        return LINKS_OF_OWN[_NAMED[bounds]]
    low, high = bounds
    if math.isfinite(low) and math.isfinite(high):
        chance, width = LINKS_OF_OWN["logit"], high - low
        return PredictorLink(
            lambda value: chance.forward((value - low) / width),
            lambda eta: low + width * chance.inverse(np.maximum(eta, -HIGHEST_LOGIT)),
            lambda eta: low + width * chance.tensor(_no_less(eta, -HIGHEST_LOGIT)),
        )
    # Nearer to the bound than this a value is not told from it.
    end, sign = (low, 1.0) if math.isfinite(low) else (high, -1.0)
    return PredictorLink(
        lambda value: np.log(sign * (value - end)),
        lambda eta: end + sign * np.exp(np.maximum(eta, -NEAREST)),
        lambda eta: end + sign * tf.exp(_no_less(eta, -NEAREST)),
    )


def _no_less(eta: Tensor, least: float) -> Tensor:
    return tf.maximum(eta, tf.cast(least, eta.dtype))
