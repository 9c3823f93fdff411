"""Response families: a table of small records, each with its density in terms of the linear predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.errors import ModelError

Floats = NDArray[np.float64]
Tensor = Any


class Family(NamedTuple):
    """One response family.

    The functions of tensors take eta (n, c), the response arrays (n,) and the family's own unconstrained
    parameters (f,); they import TensorFlow themselves, so that a family can be named without it.

    Attributes:
      name: as users write it.
      link: the link function's name.
      has_sigma: whether it has a residual standard deviation.
      response: Design -> the response arrays (n,) that the density reads; raises for one that does not fit.
      working: response arrays -> (n,) rough responses on the scale of the linear predictor, to start from.
      density: (eta, response, own) -> log density (n, c) and its derivative in eta (n, c).
      own_scores: (eta, response, own) -> (f, c) derivative of the summed log density in the own parameters.
      own_curvature: (f) c, where the second derivative in eta of an own parameter's score is c times the row's
        weight (the negative second derivative of the log density); () where there is no such relation.
    """

    name: str
    link: str
    has_sigma: bool
    response: Callable[[Design], tuple[Floats, ...]]
    working: Callable[[tuple[Floats, ...]], Floats]
    density: Callable[[Tensor, tuple[Tensor, ...], Tensor], tuple[Tensor, Tensor]]
    own_scores: Callable[[Tensor, tuple[Tensor, ...], Tensor], Tensor]
    own_curvature: tuple[float, ...] = ()


def family(name: str | Family) -> Family:
    """The family of that name.

    Args:
      name: such as "gaussian", or a Family, which is returned.
    Raises:
      ModelError: for a name that is not in the table.
    Example:
      >>> family("gaussian").link
      'identity'
    """
    if isinstance(name, Family):
        return name
    if name not in FAMILIES:
        raise ModelError(
            f"there is no family {name!r}",
            hint=f"Families that can be fitted: {', '.join(FAMILIES)}.",
        )
    return FAMILIES[name]


def _gaussian_response(design: Design) -> tuple[Floats, ...]:
    response = design.response
    assert response is not None
    if response.kind not in ("numeric", "logical") or response.trials is not None:
        raise ModelError(
            f"the response {response.name!r} is {response.kind}, and the gaussian family needs numbers",
            formula=design.formula.text,
            span=None if design.formula.response is None else design.formula.response.span,
            hint="Use a numeric column; codes of an ordered rating can be had with as.numeric(...).",
        )
    weights = np.ones(design.n) if design.weights is None else design.weights
    return response.values, weights


def _gaussian_density(
    eta: Tensor, response: tuple[Tensor, ...], own: Tensor
) -> tuple[Tensor, Tensor]:
    import tensorflow as tf

    y, weights = response
    precision = (weights * tf.exp(-2.0 * own[0]))[:, None]
    residual = y[:, None] - eta
    constant = 0.5 * tf.math.log(precision / (2.0 * np.pi))
    return constant - 0.5 * precision * residual**2, precision * residual


def _gaussian_own_scores(eta: Tensor, response: tuple[Tensor, ...], own: Tensor) -> Tensor:
    import tensorflow as tf

    y, weights = response
    scaled = weights[:, None] * (y[:, None] - eta) ** 2 * tf.exp(-2.0 * own[0])
    return tf.reduce_sum(scaled - 1.0, axis=0, keepdims=True)


def _two_class_response(design: Design) -> tuple[Floats, ...]:
    response = design.response
    assert response is not None
    values = response.values
    has_two = response.kind == "categorical" and len(response.levels) == 2
    is_binary = values.ndim == 1 and bool(np.isin(values, (0.0, 1.0)).all())
    if (
        response.trials is not None
        or not is_binary
        or not (has_two or response.kind in ("logical", "numeric"))
    ):
        raise _unsuitable(
            design,
            "bernoulli",
            "a logical, 0 and 1, or a factor with two levels",
            ('For counts of successes use family="binomial" with cbind(successes, failures).'),
        )
    _refuse_weights(design, "bernoulli")
    return (values,)


def _trials_response(design: Design) -> tuple[Floats, ...]:
    response = design.response
    assert response is not None
    values = response.values
    if values.ndim == 2 and values.shape[1] == 2:
        successes, trials = values[:, 0], values.sum(axis=1)
    elif response.trials is not None:
        successes, trials = values, response.trials
    elif values.ndim == 1 and design.weights is not None:
        successes, trials = values * design.weights, design.weights
    else:
        raise _unsuitable(
            design,
            "binomial",
            "successes out of trials",
            (
                "Write cbind(successes, failures), or successes | trials(n); for single yes or no "
                'answers use family="bernoulli".'
            ),
        )
    rounded = np.round(successes)
    bad = (np.abs(successes - rounded) > 1e-6) | (rounded < 0) | (rounded > trials)
    if bad.any():
        raise _unsuitable(
            design,
            "binomial",
            "whole numbers of successes within the trials",
            (
                f"{int(bad.sum())} rows are not, the first of them row {int(np.argmax(bad))} of those used."
            ),
        )
    return rounded, trials


def _count_response(design: Design) -> tuple[Floats, ...]:
    response = design.response
    assert response is not None
    values = response.values
    counts = response.kind == "numeric" and values.ndim == 1 and response.trials is None
    if not counts or (values < 0).any() or (values != np.round(values)).any():
        raise _unsuitable(
            design,
            "poisson",
            "counts: whole numbers from zero",
            ("For rates, give counts and an offset: y ~ ... + offset(log(exposure))."),
        )
    _refuse_weights(design, "poisson")
    return (values,)


def _unsuitable(design: Design, family: str, needs: str, hint: str) -> ModelError:
    response = design.response
    assert response is not None
    source = design.formula.response
    return ModelError(
        f"the {family} family needs {needs}, and the response {response.name!r} is not that",
        formula=design.formula.text,
        span=None if source is None else source.span,
        hint=hint,
    )


def _refuse_weights(design: Design, family: str) -> None:
    if design.weights is not None:
        raise ModelError(
            f"the {family} family does not take prior weights",
            hint='Repeat the rows, or use family="binomial" with trials.',
        )


def _logit_density(eta: Tensor, response: tuple[Tensor, ...], own: Tensor) -> tuple[Tensor, Tensor]:
    import tensorflow as tf

    successes = response[0][:, None]
    trials = response[1][:, None] if len(response) > 1 else tf.ones_like(successes)
    value = successes * eta - trials * tf.math.softplus(eta)
    if len(response) > 1:
        ways = tf.math.lgamma(trials + 1.0) - tf.math.lgamma(successes + 1.0)
        value += ways - tf.math.lgamma(trials - successes + 1.0)
    return value, successes - trials * tf.math.sigmoid(eta)


def _poisson_density(
    eta: Tensor, response: tuple[Tensor, ...], own: Tensor
) -> tuple[Tensor, Tensor]:
    import tensorflow as tf

    counts = response[0][:, None]
    mean = tf.exp(eta)
    return counts * eta - mean - tf.math.lgamma(counts + 1.0), counts - mean


def _no_own_scores(eta: Tensor, response: tuple[Tensor, ...], own: Tensor) -> Tensor:
    return eta[:0]


FAMILIES: dict[str, Family] = {
    "gaussian": Family(
        name="gaussian",
        link="identity",
        has_sigma=True,
        response=_gaussian_response,
        working=lambda response: response[0],
        density=_gaussian_density,
        own_scores=_gaussian_own_scores,
        own_curvature=(2.0,),
    ),
    "bernoulli": Family(
        name="bernoulli",
        link="logit",
        has_sigma=False,
        response=_two_class_response,
        working=lambda response: np.log(response[0] + 0.5) - np.log(1.5 - response[0]),
        density=_logit_density,
        own_scores=_no_own_scores,
    ),
    "binomial": Family(
        name="binomial",
        link="logit",
        has_sigma=False,
        response=_trials_response,
        working=lambda r: np.log(r[0] + 0.5) - np.log(r[1] - r[0] + 0.5),
        density=_logit_density,
        own_scores=_no_own_scores,
    ),
    "poisson": Family(
        name="poisson",
        link="log",
        has_sigma=False,
        response=_count_response,
        working=lambda response: np.log(response[0] + 0.5),
        density=_poisson_density,
        own_scores=_no_own_scores,
    ),
}
