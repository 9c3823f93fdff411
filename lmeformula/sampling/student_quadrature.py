"""The likelihood of a model with heavy-tailed effects in small blocks, by quadrature, and its gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.likelihood.laplace.modes import gradient, place
from lmeformula.likelihood.quadrature.integral import InPsi, integrate
from lmeformula.likelihood.quadrature.integrand import Integrand, integrand
from lmeformula.sampling.student_problem import StudentModel


class StudentLikelihood(NamedTuple):
    """The log-likelihood at any parameters; nodes lie around the modes of the stand-in.

    Attributes:
      of: the model.
      inside: its blocks, of at most two effects each; see `student_likelihood`.
    """

    of: StudentModel
    inside: Integrand

    def at(self, psi: Floats) -> InPsi:
        """The log-likelihood at psi (d,), finite.

        Raises:
          numpy.linalg.LinAlgError: where the density is not finite.
        """
        of, space = self.of, self.of.model.space
        found = of.stand_in(psi)
        precisions = of.plan.join(
            tuple(
                np.repeat(d[:, None], k, axis=1)
                for d, (_, k) in zip(found.precisions, of.plan.sizes, strict=True)
            )
        )
        modes = found.mode.u / np.sqrt(precisions)
        weights = of.arrays.rows.held(found.mode.weights)
        freedom = space.freedom(psi)
        integral = integrate(
            self.inside,
            place(space, psi),
            of.arrays.X,
            modes,
            weights,
            precisions=precisions,
            freedom=freedom,
        )
        slopes = gradient(space, psi, integral)
        for where, df, slope in zip(space.theta_slices, freedom, integral.in_freedom, strict=True):
            if np.isfinite(df):
                slopes[where.stop - 1] = slope
        return InPsi(integral.value, integral.error, slopes)


def student_likelihood(of: StudentModel) -> StudentLikelihood | None:
    """The likelihood by quadrature; None where some effects hang together in blocks of more than two.

    Nor where blocks share effects: nodes that reach into the tails of both are too many.
    """
    inside = integrand(of.model, of.plan)
    return None if inside is None or inside.is_nested else StudentLikelihood(of, inside)
