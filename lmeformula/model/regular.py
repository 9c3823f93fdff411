"""Covariances at their boundary, where a density is needed: the nearest that have one."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats

# A standard deviation, and the distance of a correlation from one, that stand for zero.
LEAST_SD = 1e-6


def held_up(covariance: Floats, unit: float) -> Floats:
    """The covariance (k, k), or where it is singular, as an estimate may be, one close by that is not.

    Args:
      covariance: positive semidefinite.
      unit: what the smallest standard deviations are measured against: they are at least a millionth of it,
        and correlations as far from one.
    Example:
      >>> held_up(np.array([[4.0, 0.0], [0.0, 0.0]]), 1.0).round(14).tolist()
      [[4.0, 0.0], [0.0, 1e-12]]
    """
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    raised = np.maximum(sd, LEAST_SD * unit)
    both = np.outer(sd, sd)
    correlation = np.where(both > 0, covariance / np.where(both > 0, both, 1.0), 0.0)
    np.fill_diagonal(correlation, 1.0)
    if np.linalg.eigvalsh(correlation)[0] < LEAST_SD:
        correlation = (correlation + LEAST_SD * np.eye(len(sd))) / (1.0 + LEAST_SD)
    elif (raised == sd).all():
        return covariance
    return np.asarray(correlation * np.outer(raised, raised))
