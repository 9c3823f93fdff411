"""The Laplace approximation as a function of all unconstrained parameters."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.arrays import Floats
from lmeformula.likelihood.laplace.determinant import Determinant
from lmeformula.likelihood.laplace.likelihood import Marginal, approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
from lmeformula.likelihood.protocol import OnALink
from lmeformula.model.compile import Model


class LaplaceLikelihood(OnALink):
    """The Laplace approximation, or the likelihood itself; searches for the mode start from the last one."""

    def __init__(self, model: Model, marginal: type[Marginal] = Determinant) -> None:
        super().__init__(model)
        plan = layout(model.stack.terms)
        self.problem = arrays_of(model, plan, marginal=marginal)
        self.last = np.zeros(plan.num_effects)

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        found = approximate(self.problem, place(self.space, psi), self.last)
        if np.isfinite(found.value):
            self.last = found.mode.u
        return found.value, gradient(self.space, psi, found)
