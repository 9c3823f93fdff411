"""A marginal likelihood as a function of all unconstrained parameters, whatever rows and effects are."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.model.compile import Model


class Likelihood(Protocol):
    """A log-likelihood, without Monte Carlo error, of all unconstrained parameters of a model.

    Attributes:
      solved: (d,) which parameters it finds the best values of by itself, unless they are held.
      scales: (k,) what each term's columns are measured in.
      unit: what standard deviations are judged by.
    """

    solved: Mask
    scales: tuple[Floats, ...]
    unit: float

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """The value at psi (d,) and its gradient (d,), which is zero of what is solved for and not held."""


class OnALink:
    """What likelihoods share that solve for nothing, of predictors on the scale of a link."""

    unit = 1.0

    def __init__(self, model: Model) -> None:
        self.space = model.space
        self.solved: Mask = np.zeros(self.space.size, bool)
        self.scales = tuple(np.sqrt(model.design.mean(t.values**2)) for t in model.design.terms)
