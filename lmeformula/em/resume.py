"""Where a run of the loop goes on that was killed: after the draws of an iteration, the dearest part of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from lmeformula.arrays import Floats
from lmeformula.checkpoint.journal import ITERATION, current
from lmeformula.em.boundary import Held
from lmeformula.em.draws import Draws, Walkers
from lmeformula.em.iteration import Memory, Place, remembered
from lmeformula.em.observed import Information
from lmeformula.em.types import Edge, Info, Iteration, Problem


class Last(NamedTuple):
    """The last whole iteration."""

    place: Place
    held: Held
    info: Info
    found: Information | None


class State(NamedTuple):
    """All that an iteration goes on from when its draws are there.

    Attributes:
      number: of the iteration, counted from 1.
      place: with its draws.
      walkers: where the chains are.
      memory: what earlier iterations left.
      estimates: (d,) after the iteration before.
      trace: a line of each iteration before.
      last, best: the iteration before, and that nearest to the maximum; None if there were none.
    """

    number: int
    place: Place
    walkers: Walkers
    memory: Memory
    estimates: Floats
    trace: tuple[Iteration, ...]
    last: Last | None
    best: Last | None


class _Spot(NamedTuple):
    """A place without its geometry, which may be large and is worked out again."""

    params: Floats
    edges: tuple[Edge, ...]
    draws: Draws | None
    before: Any


class _Kept(NamedTuple):
    """A state with spots for its places, and what the problem remembered."""

    spots: tuple[_Spot, ...]
    others: tuple[Any, ...]
    remembered: Any


def keep(problem: Problem, state: State) -> None:
    """Enter a state in the journal of the fit, in the place of the one before."""
    journal = current()
    if journal is None:
        return
    ends = tuple(None if one is None else tuple(one[1:]) for one in (state.last, state.best))
    spots = tuple(
        _Spot(place.params, place.edges, place.draws, place.before) for place in _places(state)
    )
    others = (state.number, *state[2:6], ends)
    journal.keep(ITERATION, _asked(problem), _Kept(spots, others, remembered(problem)), anew=True)


def recalled(problem: Problem) -> State | None:
    """The state that a run which was killed had come to; None where there was none."""
    journal = current()
    kept = None if journal is None else journal.recall(ITERATION, _asked(problem))
    if journal is None or kept is None:
        return None
    known: dict[int, Place] = {}
    for spot in kept.spots:
        if id(spot.params) not in known:
            known[id(spot.params)] = _place(problem, spot)
    places = iter(known[id(spot.params)]._replace(draws=spot.draws) for spot in kept.spots)
    if problem.memory is not None:
        problem.memory.held = kept.remembered
    number, walkers, memory, estimates, trace, ends = kept.others
    journal.recalled[ITERATION] = number
    place = next(places)
    last, best = (None if end is None else Last(next(places), *end) for end in ends)
    return State(number, place, walkers, memory, estimates, trace, last, best)


def _asked(problem: Problem) -> tuple[Floats, tuple[str, ...]]:
    return problem.params, problem.names


def _places(state: State) -> list[Place]:
    return [state.place, *(one.place for one in (state.last, state.best) if one is not None)]


def _place(problem: Problem, spot: _Spot) -> Place:
    """A place with its geometry, without draws."""
    assert problem.geometry is not None
    if problem.memory is not None:
        problem.memory.held = spot.before
    return Place(spot.params, problem.geometry(spot.params), spot.edges, None, spot.before)
