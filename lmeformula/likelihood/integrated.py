"""A log-likelihood that fits its score, for ascents along a score that is estimated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.likelihood.evaluation import Evaluation

# Changes of the log-likelihood below this are integrals of the score.
SMALL_CHANGE = 1.0


def integrated(evaluate: Callable[[Floats], Evaluation]) -> Callable[[Floats], Evaluation]:
    """Replace small changes of the value from one point to the next by the integral of the score.

    Where the score is a mean over probes, an estimate of the log-likelihood by the same probes has a gradient
    of its own, and would stop an ascent short of the root of the score. The trapezoidal rule is exact for a
    quadratic log-likelihood, which is what it is for the short steps at the end; long steps keep their own
    values, to whose errors they are not sensitive. Integrals start from the last point that was not lower than
    the one before: over steps of a line search that are refused their errors would add up to a fall.

    Args:
      evaluate: coordinates -> Evaluation.
    Returns:
      The same with other values; points of infinite or undefined value stay at minus infinity.
    """
    last: Evaluation | None = None
    # How far the values given out are from the points' own.
    offset = 0.0

    def follow(coordinates: Floats) -> Evaluation:
        nonlocal last, offset
        point = evaluate(coordinates)
        if not np.isfinite(point.value):
            return point._replace(value=-np.inf)
        if last is not None:
            change = point.value + offset - last.value
            if abs(change) < SMALL_CHANGE:
                move = point.coordinates - last.coordinates
                integral = 0.5 * float((point.score + last.score) @ move)
                if integral < 0.0:
                    return point._replace(value=last.value + integral)
                offset += integral - change
        last = point._replace(value=point.value + offset)
        return last

    return follow
