"""The information from draws in place of the geometry's, taken where it says itself that the maximum is."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.em import boundary
from lmeformula.em.advance import Advance, Moments
from lmeformula.em.information import information_of
from lmeformula.em.iteration import Memory, Place, coefficients_of, find_way
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
      way: the way to the maximum with it.
    """

    found: Information
    memory: Memory
    way: Advance


def refine(
    engine: Engine, place: Place, memory: Memory, moments: Moments, way: Advance
) -> Refined | None:
    """Take the information at the maximum, which it moves itself: again, until that makes no difference.

    Args:
      engine, place, memory, moments: of the run.
      way: to the maximum as the geometry's information has it.
    Returns:
      The information with what follows from it; None where it is not positive definite, or noise.
    """
    assert place.draws is not None
    one = coefficients_of(engine.options, place.draws, memory)
    basis = boundary.free_basis(place.edges, memory.held, len(place.params))
    last: Refined | None = None
    for _ in range(MOST_TIMES):
        found = information_of(
            engine, place.params, place.draws, way.observed, basis, one, way.distance
        )
        if not (found.is_usable and found.is_known):
            break
        memory = memory._replace(metric=found.halfway(place.params))
        way, _ = find_way(engine.problem, place, memory, moments)
        # The draws, weighted, say themselves what is left of the way there: no line is straight all along it.
        way = way._replace(distance=found.params + found.left - place.params)
        last = Refined(found, memory, way)
        if found.change_to(found.params + found.left) < STRAIGHT:
            break
    return last
