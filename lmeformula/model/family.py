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
      density: (eta, response, own) -> log density (n, c) and its derivative in eta (n, c).
      own_scores: (eta, response, own) -> (f, c) derivative of the summed log density in the own parameters.
      own_curvature: (f) c, where the second derivative in eta of an own parameter's score is c times the row's
        weight (the negative second derivative of the log density); () where there is no such relation.
    """

    name: str
    link: str
    has_sigma: bool
    response: Callable[[Design], tuple[Floats, ...]]
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


FAMILIES: dict[str, Family] = {
    "gaussian": Family(
        name="gaussian",
        link="identity",
        has_sigma=True,
        response=_gaussian_response,
        density=_gaussian_density,
        own_scores=_gaussian_own_scores,
        own_curvature=(2.0,),
    ),
}
