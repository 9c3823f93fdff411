"""One case for each family with a single predictor: parameters, responses, and what its rows are drawn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf

from lmeformula.family.counts import count_arrays
from lmeformula.family.ordered_beta import response_arrays as shares

TRIALS = 7.0


class Case(NamedTuple):
    """Own parameters on their natural scale, and responses that the family takes."""

    own: tuple[float, ...]
    responses: tuple[float, ...]


COUNTS = (0.0, 1.0, 3.0, 40.0)
CASES = {
    "student": Case((1.5, 9.0), (-2.0, 0.3, 4.0)),
    "lognormal": Case((0.4,), (0.2, 1.0, 5.0)),
    "inverse_gaussian": Case((2.5,), (0.2, 1.0, 5.0)),
    "tweedie": Case((1.3, 1.4), (0.0, 0.2, 1.0, 5.0)),
    "ordered_beta": Case((5.0, -1.5, 1.2), (0.0, 0.2, 0.97, 1.0)),
    "beta_binomial(logit)": Case((6.0,), (0.0, 3.0, 7.0)),
    "beta_binomial(probit)": Case((0.7,), (0.0, 3.0, 7.0)),
    "beta_binomial(cloglog)": Case((6.0,), (0.0, 3.0, 7.0)),
    "beta_binomial(cauchit)": Case((40.0,), (0.0, 3.0, 7.0)),
    "bernoulli(cauchit)": Case((), (0.0, 1.0)),
    "binomial(cauchit)": Case((), (0.0, 3.0, 7.0)),
    "generalized_poisson": Case((0.8,), COUNTS),
    "zero_inflated_poisson": Case((0.3,), COUNTS),
    "zero_inflated_nbinom2": Case((1.7, 0.3), COUNTS),
    "hurdle_poisson": Case((0.3,), COUNTS),
    "hurdle_nbinom2": Case((1.7, 0.3), COUNTS),
}
# Those whose responses can be added up over.
COUNTED = tuple(name for name, case in CASES.items() if case.responses == COUNTS)


def arrays(name: str, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """The response arrays of a family, as it makes them of a design; trials are 7."""
    y = np.asarray(y, float)
    if name.startswith("bernoulli"):
        return y, np.ones(len(y)), np.zeros(len(y))
    if "binomial(" in name:
        trials = np.full(len(y), TRIALS)
        ways = scipy.special.binom(trials, y)
        return y, trials, np.log(ways)
    if name == "student":
        return (y,)
    if name in ("lognormal", "inverse_gaussian"):
        return y, np.log(y)
    if name == "ordered_beta":
        return shares(y)
    if name == "tweedie":
        return y, np.log(np.where(y > 0.0, y, 1.0))
    return count_arrays(y)


def tensors(own: tuple[float, ...]) -> tuple[tf.Tensor, ...]:
    """Own parameters as families take them."""
    return tuple(tf.constant(value, tf.float64) for value in own)
