"""Models of several linear predictors in the study: with the interface of `simulation.cases.Case`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import expit

Floats = np.ndarray


class Several(NamedTuple):
    """A model, and what its data sets are drawn from.

    Attributes:
      name: in the table.
      family: as users write it.
      formula: likewise; a mapping for a formula of each predictor.
      truth: (d,) true parameters in the order of the estimates.
      responses: (generator, x (n,), group of each row (n,), number of groups) -> responses (n,).
    """

    name: str
    family: str
    formula: str | Mapping[str, str]
    truth: Floats
    responses: Callable[[np.random.Generator, Floats, Floats, int], Floats]


def location(rng: np.random.Generator, x: Floats, g: Floats, groups: int) -> Floats:
    return 0.4 + 0.5 * x + 0.8 * rng.normal(size=groups)[g]


def categories(rng, x, g, groups):
    second = -0.2 - 0.6 * x + 0.6 * rng.normal(size=groups)[g]
    scores = np.column_stack([np.zeros(len(x)), location(rng, x, g, groups), second])
    return np.array(["a", "b", "c"])[(scores + rng.gumbel(size=scores.shape)).argmax(axis=1)]


def scaled(rng, x, g, groups):
    sd = np.exp(0.1 + 0.3 * x + 0.4 * rng.normal(size=groups)[g])
    return rng.normal(location(rng, x, g, groups), sd)


def with_zeros(rng, x, g, groups):
    zero = rng.uniform(size=len(x)) < expit(-1.0 + 0.7 * x)
    return np.where(zero, 0.0, rng.poisson(np.exp(location(rng, x, g, groups))))


CASES = {
    case.name: case
    for case in (
        Several(
            "categorical",
            "categorical",
            "y ~ x + (1 | g)",
            np.array([0.4, 0.5, -0.2, -0.6, 0.8, 0.6]),
            categories,
        ),
        Several(
            "gaussian, sigma by x and g",
            "gaussian",
            {"mu": "y ~ x + (1 | g)", "sigma": "~ x + (1 | g)"},
            np.array([0.4, 0.5, 0.1, 0.3, 0.8, 0.4]),
            scaled,
        ),
        Several(
            "zero_inflated_poisson, zi by x",
            "zero_inflated_poisson",
            {"mu": "y ~ x + (1 | g)", "zi": "~ x"},
            np.array([0.4, 0.5, -1.0, 0.7, 0.8]),
            with_zeros,
        ),
    )
}
