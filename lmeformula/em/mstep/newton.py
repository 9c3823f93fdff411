"""Newton's step towards the maximum of the likelihood, held between it and the EM step.

The EM (gradient) step divides the score by the complete-data information, Newton's by the observed
information, which is smaller where information is missing. In the basis that makes the complete information
the identity, the observed one is diagonal with the fractions of information that were observed, in (0, 1]
near the maximum: a floor under these fractions gives every method between, and a step that is safe where the
observed information is indefinite or known only roughly.

References: Louis (1982), JRSS B 44, 226-233; Lange (1995), JRSS B 57, 425-437, the EM gradient algorithm;
Gu and Kong (1998), PNAS 95, 7270-7274, for estimating the information on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats


class Metric(NamedTuple):
    """The observed information, held up by a floor.

    Attributes:
      information: (d, d) positive definite.
      inverse: (d, d) its inverse.
      fraction: smallest fraction of the complete information that was observed, before the floor.
    """

    information: Floats
    inverse: Floats
    fraction: float


def metric(complete: Floats, observed: Floats, floor: float) -> Metric:
    """Combine the complete and observed information.

    Args:
      complete: (d, d) complete-data information, positive definite.
      observed: (d, d) observed information, or an estimate of it.
      floor: least fraction of the complete information to use, in (0, 1]; 1 makes the step that of EM.
    Returns:
      The metric.
    Raises:
      numpy.linalg.LinAlgError: if the complete information is not positive definite.
    """
    root = np.linalg.cholesky(complete)
    inside = sl.solve_triangular(root, observed, lower=True)
    inside = sl.solve_triangular(root, inside.T, lower=True)
    fractions, vectors = np.linalg.eigh(0.5 * (inside + inside.T))
    held = np.clip(fractions, floor, 1.0)
    basis = root @ vectors
    back = sl.solve_triangular(root, vectors, lower=True, trans="T")
    return Metric(
        np.asarray((basis * held) @ basis.T),
        np.asarray((back / held) @ back.T),
        float(fractions.min(initial=1.0)),
    )
