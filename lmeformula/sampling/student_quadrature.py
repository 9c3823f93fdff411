"""The likelihood of a model with heavy-tailed effects in small blocks, by quadrature, and its gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.sampling.blocks import blocks_of
from lmeformula.sampling.quadrature import Integral, Integrand, integrand, integrate
from lmeformula.sampling.student_problem import StudentModel


class StudentLikelihood(NamedTuple):
    """The log-likelihood at any parameters; nodes lie around the modes of the stand-in.

    Attributes:
      of: the model.
      inside: its blocks, of at most two effects each; see `student_likelihood`.
    """

    of: StudentModel
    inside: Integrand

    def at(self, psi: Floats, *, with_gradient: bool = False) -> Integral:
        """The log-likelihood at psi (d,), finite.

        Raises:
          numpy.linalg.LinAlgError: where the density is not finite.
        """
        of = self.of
        found = of.stand_in(psi)
        precisions = of.plan.join(
            tuple(
                np.repeat(d[:, None], k, axis=1)
                for d, (_, k) in zip(found.precisions, of.plan.sizes, strict=True)
            )
        )
        modes = found.mode.u / np.sqrt(precisions)
        weights = of.arrays.rows.held(found.mode.weights)
        return integrate(self.inside, psi, modes, weights, precisions, with_gradient=with_gradient)


def student_likelihood(of: StudentModel) -> StudentLikelihood | None:
    """The likelihood by quadrature; None where some effects hang together in blocks of more than two."""
    inside = integrand(of.model, of.plan, blocks_of(of.model, of.plan))
    return None if inside is None else StudentLikelihood(of, inside)
