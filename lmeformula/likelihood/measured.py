"""The information by differences of the score, for an ascent that an approximation to it makes slow.

Where groups are nearly constant, standard deviations are large and the determinant's derivative ties them to
the coefficients: the average information, which knows nothing of that, leads to and fro across a ridge. Along a
ridge where a covariance is singular it holds curvature that is not there, and steps become small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.journal import done
from lmeformula.likelihood.evaluation import Evaluation

# Steps of the differences in conditional standard errors: truncation counts by their square.
STEP = 1e-3
# No step is longer than this part of the coordinate's size, or of one.
LONGEST = 1e-2


def with_measured(score: Callable[[Floats], Floats], point: Evaluation, free: Mask) -> Evaluation:
    """Put the negative second derivative in place of the approximation to it.

    Args:
      score: coordinates (d,) -> the gradient (d,) there.
      point: where.
      free: (d,) coordinates that may move; the others keep what they have.
    Returns:
      The point with it; as it was where the score is not finite next to it.
    """

    def slope(coordinates: Floats) -> Floats:
        return done("score", coordinates, lambda: score(coordinates))

    at, places = point.coordinates, np.flatnonzero(free)
    scale = np.sqrt(np.abs(np.diag(point.information))[places])
    with np.errstate(divide="ignore"):
        steps = np.minimum(STEP / scale, LONGEST * np.maximum(1.0, np.abs(at[places])))
    found = np.empty((len(places), len(places)))
    for row, (place, step) in enumerate(zip(places, steps, strict=True)):
        move = np.zeros_like(at)
        move[place] = step
        try:
            found[row] = (slope(at - move) - slope(at + move))[places] / (2.0 * step)
        except np.linalg.LinAlgError:
            return point
    if not np.isfinite(found).all():
        return point
    information = point.information.copy()
    information[np.ix_(places, places)] = 0.5 * (found + found.T)
    return point._replace(information=information)
