"""Where the loop is: a parameter vector with its draws, what earlier iterations left, and what follows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em import boundary, schedule
from lmeformula.em.advance import (
    LOWEST_FLOOR,
    Advance,
    Learned,
    Moments,
    advance,
    learn,
    moments_of,
    noise_floor,
)
from lmeformula.em.boundary import Held, Slopes
from lmeformula.em.draws import (
    Draws,
    Walkers,
    join,
    regression_coefficients,
    take,
    with_coefficients,
)
from lmeformula.em.mstep import adam
from lmeformula.em.outcome import Outcome
from lmeformula.em.programs import Engine, num_rows
from lmeformula.em.series import effective_draws, split_rhat
from lmeformula.em.types import Edge, Geometry, Info, Problem

# Transitions before the first draw of the first iteration and of later ones.
WARMUP = (10, 2)
# The same where a place is begun anew, since the draws there said nothing.
AGAIN_WARMUP = 100
# The same where the scales of the latents are learned: the first number for the first iterations.
LEARNING_WARMUP, LEARNING_ITERATIONS = (100, 20), 4
# Coefficients of control variates come from at least this many draws.
ENOUGH_FOR_COEFFICIENTS = 60
# Where the information is refined and the likelihood bridged, a fit ends with at least as many draws per chain
# as this many rows hold, within limits: of few rows they cost nothing, and both are as good as they are many.
# With a quarter of the most three of a hundred fits of counts were off by five of their stated errors: scores
# with a kurtosis of twenty tell their own error from few draws too well.
LAST_ROWS, LAST_DRAWS = 1_000_000, (1, 1000)
# With this many draws per chain a slope at a boundary that is not told from zero is taken for zero.
ENOUGH_FOR_EDGES = 2000


class Place(NamedTuple):
    """A parameter vector with what is known there.

    Attributes:
      params: (d,).
      geometry: there.
      edges: near it.
      draws: so far.
      before: what the problem remembered before the geometry was worked out.
    """

    params: Floats
    geometry: Geometry
    edges: tuple[Edge, ...]
    draws: Draws | None
    before: Any = None

    @property
    def num_draws(self) -> int:
        """Draws of each chain so far."""
        return 0 if self.draws is None else self.draws.num_draws


class Memory(NamedTuple):
    """What earlier iterations leave to later ones.

    Attributes:
      held: what is held at a boundary.
      coefficients: (d,) of the control variates, from earlier draws.
      learned: of the information, where the problem does not know it.
      metric: (d, d) observed information from draws, where the engine has refined it.
      floor: under the observed fractions of information in a step.
      arrival: (d,) Monte Carlo errors of the step that led to the place.
      momentum: (2, d) of Adam.
      before: score and step of the iteration before.
      num_steps: of Adam so far.
      num_cut: steps on end that were cut to their greatest length and did not turn.
    """

    held: Held
    coefficients: Floats
    learned: Learned
    metric: Floats | None
    floor: float
    arrival: Floats
    momentum: Floats
    before: tuple[Floats, Floats] | None
    num_steps: int = 0
    num_cut: int = 0


def first_memory(problem: Problem, held: Held) -> Memory:
    """Nothing, but what is held from the start."""
    size = len(problem.params)
    return Memory(
        held=held,
        coefficients=np.ones(size),
        learned=Learned(np.eye(size), np.zeros((size, size)), 0.0),
        metric=None,
        floor=0.0 if problem.geometry is not None else schedule.FIRST_FLOOR,
        arrival=np.zeros(size),
        momentum=np.zeros((2, size)),
        before=None,
    )


class Seen(NamedTuple):
    """What the draws at a place say.

    Attributes:
      moments: of the scores.
      way: to the maximum.
      learned: of the information by now, where the problem does not know it.
      slopes: how the likelihood goes at the edges.
    """

    moments: Moments
    way: Advance
    learned: Learned
    slopes: Slopes


def edges_at(problem: Problem, params: Floats) -> tuple[Edge, ...]:
    """The edges near a parameter vector."""
    return () if problem.edges is None else problem.edges(params)


def remembered(problem: Problem) -> Any:
    """What the problem remembers now, if it does."""
    return None if problem.memory is None else problem.memory.held


def first_geometry(problem: Problem) -> Geometry:
    """The geometry at the start; unit scales where it is to be learned."""
    if problem.geometry is not None:
        return problem.geometry(np.asarray(problem.params, float))
    return Geometry((np.ones(len(problem.latents)),))


def warmup_of(problem: Problem, number: int) -> int:
    """Transitions before the first draw at a new place, in an iteration of this number."""
    first, later = WARMUP if problem.geometry is not None else LEARNING_WARMUP
    early = 1 if problem.geometry is not None else LEARNING_ITERATIONS
    return first if number <= early else later


def more_draws(
    engine: Engine, place: Place, walkers: Walkers, num_draws: int, warmup: int
) -> tuple[Place, Walkers]:
    """Let the chains walk on at a place, after some warm-up if it is a new one."""
    num_warmup = 0 if place.draws is not None else warmup
    fresh, walkers = take(
        engine, place.params, place.geometry, walkers, num_warmup=num_warmup, num_draws=num_draws
    )
    draws = fresh if place.draws is None else join([place.draws, fresh])
    return place._replace(draws=draws), walkers


def look(engine: Engine, place: Place, memory: Memory) -> Seen | None:
    """What the draws say; None where scores are not finite, or no transition had a finite energy."""
    draws = place.draws
    assert draws is not None
    scores = with_coefficients(draws, coefficients_of(engine, draws, memory))
    if not np.isfinite(scores).all() or not np.isfinite(draws.information).all():
        return None
    if draws.divergences >= draws.acceptance.size:
        return None
    moments = moments_of(draws, scores)
    way, learned = find_way(place, memory, moments)
    return Seen(moments, way, learned, _slopes(engine.problem, place, draws, memory, moments))


def coefficients_of(engine: Engine, draws: Draws, memory: Memory) -> Floats:
    """(d,) coefficients of the control variates; none where they would add to the variance.

    So they do where posteriors are far from the Gaussian that they are made for.
    """
    if not engine.options.control_variates:
        return np.zeros(len(memory.coefficients))
    controlled = with_coefficients(draws, memory.coefficients).var(axis=(0, 2))
    is_better = controlled <= draws.raw.var(axis=(0, 2))
    return np.where(is_better, memory.coefficients, 0.0)


def find_way(place: Place, memory: Memory, moments: Moments) -> tuple[Advance, Learned]:
    """The way to the maximum, and what has been learned of the information by then."""
    learned, least = memory.learned, 0.0
    complete, observed = place.geometry.complete, place.geometry.observed
    if complete is None or observed is None:
        learned = learn(learned, moments)
        complete, observed = learned.complete, learned.complete - learned.missing
        least = noise_floor(learned)
    elif memory.metric is not None:
        observed = memory.metric
    basis = boundary.free_basis(place.edges, memory.held, len(place.params))
    return advance(moments, complete, observed, least, memory.floor, basis), learned


def _slopes(
    problem: Problem, place: Place, draws: Draws, memory: Memory, moments: Moments
) -> Slopes:
    """At the edges that are held by a closer look, where there is one."""
    known = boundary.slopes(place.edges, moments.score, moments.covariance)
    held = tuple(edge for edge in place.edges if edge.name in memory.held.names)
    if problem.look is None or not held:
        return known
    found = problem.look(place.params, place.geometry, draws.positions, held)
    return boundary.looked_at(known, found)


def is_still(engine: Engine, memory: Memory, way: Advance) -> bool:
    """Whether the distance to the maximum is within its error: that of the draws and that of the place itself.

    A place that few draws led to is off by their error, which the many draws there show clearly; following
    them would only chase that.
    """
    errors = np.hypot(way.mc_error, memory.arrival)
    return schedule.is_still(way.distance, errors, way.stderr, engine.options.tolerance)


def is_too_noisy(engine: Engine, place: Place, way: Advance) -> bool:
    """Whether more draws are worth more than a step: that would be noise, and end at boundaries by chance."""
    if engine.problem.geometry is None or place.num_draws >= engine.options.max_draws:
        return False
    return schedule.is_noisy(way.mc_error, way.stderr)


def _do_agree(place: Place, way: Advance) -> bool:
    """Whether the chains agree: errors from batches of draws know nothing of what no chain has seen."""
    assert place.draws is not None
    raw, largest = place.draws.raw, schedule.in_stderr(way.mc_error, way.stderr)
    effective = effective_draws(raw) / raw.shape[2]
    return schedule.do_agree(split_rhat(raw), place.num_draws, effective, largest)


def find_verdict(engine: Engine, place: Place, memory: Memory, seen: Seen) -> Outcome | None:
    """How the fit ends here, or None if it does not."""
    options, way, known = engine.options, seen.way, seen.slopes
    is_settled = boundary.is_settled(known, memory.held, way.distance)
    if not is_still(engine, memory, way) or not is_settled:
        return None
    # An information that the engine had to hold up says too little about distance and error.
    enough = engine.problem.geometry is not None or way.resolved
    enough = enough and place.num_draws >= _fewest(engine)
    enough = enough and _do_agree(place, way)
    enough = enough and (
        place.num_draws >= min(options.max_draws, ENOUGH_FOR_EDGES)
        or boundary.is_sure(known, memory.held)
    )
    if enough and schedule.is_sharp(way.mc_error, way.stderr, options.tolerance):
        return Outcome.CONVERGED
    return Outcome.DRAWS_EXHAUSTED if place.num_draws >= options.max_draws else None


def further_draws(engine: Engine, place: Place, memory: Memory, seen: Seen) -> int:
    """How many draws to add to those that there are."""
    have, way, options = place.num_draws, seen.way, engine.options
    asked = schedule.draws_in_place(have, way.mc_error, way.stderr, options.tolerance)
    asked = max(asked, _fewest(engine))
    sure = boundary.is_sure(seen.slopes, memory.held) and _do_agree(place, way)
    if not sure or (engine.problem.geometry is None and not way.resolved):
        # Still, as far as can be seen: see further.
        asked = max(asked, 2 * have)
    return max(1, min(options.max_draws, asked) - have)


def next_arrival(problem: Problem, way: Advance) -> Floats:
    """(d,) the Monte Carlo errors that the next place carries.

    Nothing where the information is learned from draws: a step may be off by more than the noise of its score.
    """
    return np.zeros(len(way.distance)) if problem.geometry is None else way.mc_error


def next_draws(engine: Engine, place: Place, way: Advance) -> int:
    """How many draws to begin with at the next place."""
    if engine.problem.geometry is None:
        return place.num_draws
    tolerance = engine.options.tolerance
    asked = schedule.draws_after_step(
        place.num_draws, way.distance, way.mc_error, way.stderr, tolerance
    )
    if schedule.in_stderr(way.distance, way.stderr) <= schedule.LAST_STEP:
        asked = max(asked, _fewest(engine))
    return min(engine.options.max_draws, asked)


def _fewest(engine: Engine) -> int:
    """Draws per chain that a fit ends with at least."""
    if not engine.problem.refine:
        return 1
    rows = num_rows(engine.problem.data)
    return min(engine.options.max_draws, int(np.clip(LAST_ROWS // rows, *LAST_DRAWS)))


def find_step(engine: Engine, memory: Memory, seen: Seen) -> tuple[Floats, Floats]:
    """The step (d,) of the M-step, and Adam's momentum (2, d) after it."""
    step, momentum, options = seen.way.step, memory.momentum, engine.options
    if options.mstep == "adam":
        score = seen.moments.score
        step, momentum = adam.step(momentum, score, memory.num_steps, options.learning_rate)
    longest = engine.problem.max_step
    if longest is not None:
        step = step / max(1.0, float(np.max(np.abs(step) / longest, initial=0.0)))
    return step, momentum


def next_cut(problem: Problem, memory: Memory, step: Floats) -> int:
    """How many steps on end were cut to their greatest length and went on in one direction."""
    if problem.max_step is None or float(np.max(np.abs(step) / problem.max_step)) < 0.999:
        return 0
    turned = memory.before is not None and float(memory.before[1] @ step) < 0
    return 1 if turned else memory.num_cut + 1


def next_floor(problem: Problem, memory: Memory, moments: Moments) -> float:
    """Raise the floor where the score has turned against the last step by more than its noise.

    A problem that knows its information goes without a floor until a step overshoots.
    """
    if memory.before is None:
        return memory.floor
    score, taken = memory.before
    predicted = float(score @ taken)
    noise = float(np.sqrt(taken @ moments.covariance @ taken))
    if predicted > 0 and float(moments.score @ taken) < -0.5 * predicted - 2.0 * noise:
        return min(1.0, max(memory.floor * schedule.FLOOR_FACTOR, schedule.FIRST_FLOOR))
    lower = memory.floor / schedule.FLOOR_FACTOR
    if problem.geometry is not None and lower < LOWEST_FLOOR:
        return 0.0
    return max(LOWEST_FLOOR, lower)


def next_coefficients(engine: Engine, place: Place, memory: Memory) -> Floats:
    """(d,) coefficients of the control variates for the draws to come, from those that were taken."""
    draws = place.draws
    assert draws is not None
    if not engine.options.control_variates or draws.excess.size < ENOUGH_FOR_COEFFICIENTS:
        return memory.coefficients
    return regression_coefficients(draws)


def move(
    problem: Problem, place: Place, estimates: Floats, info: Info, walkers: Walkers
) -> tuple[Place, Walkers]:
    """The new place; without a known geometry, the latents' own scales as observed."""
    edges = edges_at(problem, estimates)
    before = remembered(problem)
    if problem.geometry is not None:
        return Place(estimates, problem.geometry(estimates), edges, None, before), walkers
    (scale,) = place.geometry.arrays
    weight = 10.0 * len(walkers.positions) * walkers.positions[0].shape[1]
    seen = np.maximum(info.latent_variance, 1e-12 * scale**2)
    # Shrunk a little to the last scale, so that a short stretch cannot make a coordinate stiff.
    fresh = np.sqrt((weight * seen + 5.0 * scale**2) / (weight + 5.0))
    positions = tuple(part * (scale / fresh)[:, None] for part in walkers.positions)
    return Place(estimates, Geometry((fresh,)), edges, None), walkers._replace(positions=positions)
