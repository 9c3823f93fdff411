"""The information from draws in place of the geometry's, taken where it says itself that the maximum is."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.em import boundary
from lmeformula.em.information import information_of
from lmeformula.em.iteration import Memory, Place, Seen, coefficients_of, find_way
from lmeformula.em.observed import Information
from lmeformula.em.programs import Engine

# From where the information was taken to the maximum that it tells of, standard errors may change by this
# share: they are led there along a straight line, and what that leaves is of the order of its square.
STRAIGHT = 0.003
# Where it is taken at most.
MOST_TIMES = 4


class Refined(NamedTuple):
    """What the information from draws says.

    Attributes:
      found: the information.
      memory: that knows it.
      seen: what the draws say with it.
    """

    found: Information
    memory: Memory
    seen: Seen


def refine(engine: Engine, place: Place, memory: Memory, seen: Seen) -> Refined | None:
    """Take the information at the maximum, which it moves itself: again, until that makes no difference.

    Args:
      engine, place, memory: of the run.
      seen: what the draws say by the geometry's information.
    Returns:
      The information with what follows from it; None where it is not positive definite, or noise.
    """
    assert place.draws is not None
    one = coefficients_of(engine, place.draws, memory)
    basis = boundary.free_basis(place.edges, memory.held, len(place.params))
    way = seen.way
    last: Refined | None = None
    for _ in range(MOST_TIMES):
        found = information_of(
            engine, place.params, place.draws, way.observed, basis, one, way.distance
        )
        if not (found.is_usable and found.is_known):
            break
        memory = memory._replace(metric=found.halfway(place.params))
        way, _ = find_way(place, memory, seen.moments)
        # The draws, weighted, say themselves what is left of the way there: no line is straight all along it.
        way = way._replace(distance=found.params + found.left - place.params)
        last = Refined(found, memory, seen._replace(way=way))
        if found.change_to(found.params + found.left) < STRAIGHT:
            break
    return last
