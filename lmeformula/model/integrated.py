"""A log-likelihood from its score alone, for ascents whose score is estimated and whose value is not its."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.ascent import Point

Floats = NDArray[np.float64]


def integrated(evaluate: Callable[[Floats], Point]) -> Callable[[Floats], Point]:
    """Replace the value of each point by the integral of the score since the first, along the points asked for.

    Where the score is a mean over probes, an estimate of the log-likelihood by the same probes has a gradient
    of its own, and would stop an ascent short of the root of the score. The trapezoidal rule is exact for a
    quadratic log-likelihood, which is what it is for the short steps at the end.

    Args:
      evaluate: coordinates -> Point.
    Returns:
      The same with other values; points of infinite or undefined value stay at minus infinity.
    """
    last: Point | None = None

    def follow(coordinates: Floats) -> Point:
        nonlocal last
        point = evaluate(coordinates)
        if not np.isfinite(point.value):
            return point._replace(value=-np.inf)
        value = 0.0
        if last is not None:
            move = point.coordinates - last.coordinates
            value = last.value + 0.5 * float((point.score + last.score) @ move)
        last = point._replace(value=value)
        return last

    return follow
