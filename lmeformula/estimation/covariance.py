"""The covariance of estimates from their information, nan where the information says nothing."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.estimation.coordinates import least_known
from lmeformula.likelihood.laplace.observed import Observed
from lmeformula.model.params import ParamSpace

# Rounding of an information along its ways, relative to its diagonal.
ROUNDING = 1e-13
# The share of a direction without information that costs a parameter its standard error.
SHARE = 1e-4


def covariance_of(observed: Observed, least: Floats) -> Floats:
    """Invert an information, direction by direction.

    Args:
      observed: the information, with its error.
      least: (d,) information that is none; see `coordinates.least_known`.
    Returns:
      (d, d) covariance; nan for what is on a bound, and for parameters with a part in a direction in which the
      information is not above its error. It is zero on no diagonal.
    Example:
      >>> matrix = np.diag([4.0, 0.0])
      >>> found = Observed(matrix, np.eye(2), matrix, 0.0, np.zeros(2))
      >>> covariance_of(found, np.zeros(2)).round(2).tolist()
      [[0.25, nan], [nan, nan]]
    """
    ways, along = observed.ways, observed.along
    found = np.full((len(ways), len(ways)), np.nan)
    free = (np.diag(observed.matrix) != 0.0) | (ways != 0.0).any(axis=1)
    if not free.any() or not np.isfinite(along).all():
        return found
    diagonal = np.diag(along)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = symmetric_eigen(along * np.outer(scale, scale))
    known = values > max(ROUNDING, observed.noise) * len(values)
    directions = ways @ (scale[:, None] * vectors)
    sure, unsure = directions[:, known], directions[:, ~known]
    covariance = (sure / values[known]) @ sure.T
    # What has a share of a direction without information, in units of all that it has.
    size = np.linalg.norm(directions, axis=1)
    shares = np.abs(unsure).max(axis=1, initial=0.0) / np.where(size > 0.0, size, 1.0)
    unknown = np.abs(np.diag(observed.matrix)) <= least
    lost = (shares > SHARE) | ~(np.diag(covariance) > 0.0) | unknown
    lost |= observed.beyond > SHARE
    covariance[lost], covariance[:, lost] = np.nan, np.nan
    return np.asarray(np.where(np.outer(free, free), covariance, np.nan))


def reported_covariance(space: ParamSpace, psi: Floats, observed: Observed) -> Floats:
    """The same (d, d) at psi on the reporting scale, by the delta method; nan where it hangs on a nan."""
    covariance = covariance_of(observed, least_known(space, psi))
    jacobian = space.report_jacobian(psi)
    known = ~np.isnan(np.diag(covariance))
    told = known & ~((jacobian != 0.0) & ~known).any(axis=1)
    found = np.full_like(covariance, np.nan)
    part = jacobian[np.ix_(told, known)]
    found[np.ix_(told, told)] = part @ covariance[np.ix_(known, known)] @ part.T
    return found
