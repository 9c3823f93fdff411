"""The last digits of a summit."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.arrays import Mask
from lmeformula.likelihood.evaluation import Evaluation, Measure, Summit
from lmeformula.likelihood.hill import Hill

# Newton steps at the end, of the information as it is measured; one after which less than this is gained is the
# last, and directions with a smaller share of information are left alone. Values differ by rounding. Where no
# more than NEARLY is left, the information at hand may do as well.
MOST_POLISHING, POLISHED, KNOWN, ROUNDING, NEARLY = 4, 1e-20, 1e-5, 1e-12, 1e-14


def polished_summit(hill: Hill, measure: Measure, summit: Summit) -> Summit:
    """Newton steps of the measured information, along what has some.

    What is said of a place that is nearly a maximum would go with the way that led there.

    Args:
      hill: the likelihood.
      measure: see `ascend`.
      summit: where an ascent of it ended.
    """
    space, count = hill.space, summit.num_evaluations
    point, gain = summit.point, summit.gain
    for number in range(MOST_POLISHING):
        free = hill.free(point, summit.resting)
        if not free.any() or not gain > POLISHED:
            break
        if number == 0 and gain < NEARLY:
            found, count = _polishing_step(hill, point, free), count + 1
            if found is not None and hill.ways(found.point, free).gain() <= POLISHED:
                point = found.point
                break
        found, count = _polishing_step(hill, measure(point, free), free), count + 1
        if found is None:
            break
        point, gain = found
    # The gain that the ascent ended with says whether it did its work; it is not better for being polished.
    elements = space.rest(hill.elements(point), summit.resting)
    return summit._replace(point=point, elements=elements, num_evaluations=count)


class _Polished(NamedTuple):
    """A point after a step of polishing, and what another along it would gain."""

    point: Evaluation
    gain: float


def _polishing_step(hill: Hill, point: Evaluation, free: Mask) -> _Polished | None:
    """Newton's step by the information of a point; None where it is too long, or leads down."""
    ways = hill.ways(point, free)
    step = ways.newton(KNOWN)
    if ways.excess(step) > 1.0:
        return None
    moved = point._replace(coordinates=point.coordinates + step)
    following = hill.at(hill.others(moved), hill.space.settle(hill.elements(moved)))
    if not following.value >= point.value - ROUNDING * (1.0 + abs(point.value)):
        return None
    return _Polished(following, float(following.score @ step))
