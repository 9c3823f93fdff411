"""The log density of priors of what covariance structures have of their own, such as a range, in covariances.

What is reported of a structure is a function of its covariance alone on the surface of those covariances that
it has. As a slope there that of least norm is taken: along the surface, where all moves lead, it is the
derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.model.params import TermShape
from lmeformula.priors.record import Scalar

# Of a difference of slopes along a move.
APART = 1e-5


class OfStructure(NamedTuple):
    """Priors of parameters of one term's structure.

    Attributes:
      shape: of the term.
      priors: the priors.
      indices: which of the reported parameters of the structure each is of.
    """

    shape: TermShape
    priors: tuple[Scalar, ...]
    indices: tuple[int, ...]

    def value(self, covariance: Floats) -> float:
        """The log density at a covariance (k, k) of the structure."""
        theta, k = self.shape.structure.to_free(covariance), len(covariance)
        values = self.shape.structure.to_report(theta, k)
        each = zip(self.priors, self.indices, strict=True)
        return float(sum(float(prior.log_density(values[place])) for prior, place in each))

    def slope(self, covariance: Floats) -> Floats:
        """(k, k) its derivative; zeros where a parameter is on its bound."""
        theta = self.shape.structure.to_free(covariance)
        return self._slope(theta, len(covariance))[0]

    def bend(self, covariance: Floats, move: Floats) -> Floats:
        """(k, k) how the slope changes along a move (k, k) of the covariance."""
        k = len(covariance)
        theta = self.shape.structure.to_free(covariance)
        _, changes = self._slope(theta, k)
        if changes is None:
            return np.zeros_like(covariance)
        size = np.linalg.norm(changes, axis=1)
        size = np.where(size > 0.0, size, 1.0)
        along = np.linalg.lstsq((changes / size[:, None]).T, move.ravel(), rcond=None)[0] / size
        longest = float(np.abs(along).max(initial=0.0))
        if longest == 0.0:
            return np.zeros_like(covariance)
        step = APART / longest
        high, low = (self._slope(theta + sign * step * along, k)[0] for sign in (1.0, -1.0))
        return np.asarray((high - low) / (2.0 * step))

    def _slope(self, theta: Floats, k: int) -> tuple[Floats, Floats | None]:
        """The slope (k, k) at theta, and the changes (t, k k) of the covariance in it."""
        structure = self.shape.structure
        if not np.isfinite(theta).all():
            return np.zeros((k, k)), None
        factor, moves = structure.cholesky(theta, k), structure.cholesky_jacobian(theta, k)
        half = moves @ factor.T
        changes = (half + half.transpose(0, 2, 1)).reshape(len(theta), k * k)
        values, jacobian = structure.to_report(theta, k), structure.report_jacobian(theta, k)
        pull = np.zeros(len(theta))
        for prior, place in zip(self.priors, self.indices, strict=True):
            pull += float(prior.slope(values[place])) * jacobian[place]
        size = np.linalg.norm(changes, axis=1)
        size = np.where(size > 0.0, size, 1.0)
        # The least matrix G with trace(G dSigma) = pull for the change by each element of theta.
        found = np.linalg.lstsq(changes / size[:, None], pull / size, rcond=None)[0]
        return np.asarray(found.reshape(k, k)), changes


def structures_of(
    assigned: Sequence[tuple[Scalar, tuple[int, ...], tuple[int, ...]]],
    shapes: Sequence[TermShape],
) -> dict[int, OfStructure]:
    """What there is of each term, by its number.

    Args:
      assigned: priors with the numbers of reported parameters, and of terms, that they are of.
      shapes: of all terms.
    """
    found: dict[int, OfStructure] = {}
    for prior, indices, terms in assigned:
        for index, term in zip(indices, terms, strict=True):
            before = found.get(term, OfStructure(shapes[term], (), ()))
            found[term] = before._replace(
                priors=(*before.priors, prior), indices=(*before.indices, index)
            )
    return found
