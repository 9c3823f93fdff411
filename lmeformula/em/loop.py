"""The one loop: iterate until the estimates are within their own, small enough, Monte Carlo error."""

from __future__ import annotations

import time

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arguments.spelled import said_otherwise
from lmeformula.arrays import Floats
from lmeformula.checkpoint.journal import stop
from lmeformula.em import boundary, iteration, resume, schedule
from lmeformula.em.draws import start_walkers
from lmeformula.em.iteration import Memory, Place, Seen
from lmeformula.em.outcome import Outcome
from lmeformula.em.programs import Engine, Programs, engine_of, tensors_of
from lmeformula.em.progress import Progress, Silent
from lmeformula.em.refine import refine
from lmeformula.em.resume import Last, State
from lmeformula.em.series import split_rhat
from lmeformula.em.types import Info, Iteration, Options, Problem, Solution

DEFAULTS = Options()


@said_otherwise(
    checkpoint="A run of the engine keeps none. What a formula says is fitted with one: "
    'lf.fit(..., checkpoint="folder").'
)
@kinds.takes(
    problem=kinds.instance(Problem, "Give what lf.em.from_joint or lf.em.from_log_joint returns."),
    options=kinds.instance(Options, "Give lf.em.Options(...)."),
    seed=kinds.seed,
    dtype=kinds.one_of("float64", "float32"),
    progress=kinds.optional(kinds.display),
)
def run(
    problem: Problem,
    options: Options = DEFAULTS,
    *,
    seed: int = 0,
    dtype: str = "float64",
    progress: Progress | None = None,
) -> Solution:
    """Maximise the marginal likelihood of `problem` by Monte Carlo EM.

    Args:
      problem: a log joint density; see `from_log_joint` and `from_joint`.
      options: how hard to try.
      seed: of all random numbers; the same seed, problem and machine give the same bits.
      dtype: "float64" or "float32".
      progress: what to show on the way; None for nothing.
    Returns:
      The estimates, their Monte Carlo errors, how it ended and the trace. Ctrl-C ends it with the estimates of
      the last whole iteration.
    Example:
      >>> import lmeformula as lf
      >>> import tensorflow as tf
      >>> y = tf.constant([2.1, 1.7, 2.6, 1.4, 2.2], tf.float64)
      >>> def log_joint(mean, u):  # y = mean + u + e: the maximum is at the mean of y
      ...     return -0.5 * tf.reduce_sum(u**2 + (y - mean - u) ** 2)
      >>> problem = lf.em.from_log_joint(log_joint, params=[0.0], latents=[0.0] * 5)
      >>> found = lf.em.run(problem)
      >>> found.outcome.name, bool(abs(found.params[0] - 2.0) < 5 * found.mc_error[0] + 1e-3)
      ('CONVERGED', True)
    """
    if problem.solver is not None:
        return problem.solver(problem, options, seed, dtype, progress)
    show = Silent() if progress is None else progress
    engine = engine_of(problem, options, dtype, seed)
    before = resume.recalled(problem)
    state = _first(engine) if before is None else before
    _, place, walkers, memory, estimates, trace, last, best = state
    num_draws, warmup = options.num_draws, 0
    outcome = Outcome.ITERATIONS_EXHAUSTED
    show.start(problem.names)
    for line in trace[-1:]:
        show.update(line)
    try:
        for number in range(state.number, options.max_iterations + 1):
            began = time.perf_counter()
            if before is None:
                warmup = max(warmup, iteration.warmup_of(problem, number))
                place, walkers = iteration.more_draws(engine, place, walkers, num_draws, warmup)
                resume.keep(
                    problem,
                    State(number, place, walkers, memory, estimates, trace, last, best),
                )
            before, warmup = None, 0
            seen = iteration.look(engine, place, memory)
            if seen is None:
                outcome = Outcome.NONFINITE
                break
            verdict = iteration.find_verdict(engine, place, memory, seen)
            refined = None
            if verdict is not None and problem.refine:
                refined = refine(engine, place, memory, seen)
            if refined is not None:
                memory, seen = refined.memory, refined.seen
                verdict = iteration.find_verdict(engine, place, memory, seen)
            way, (step, momentum) = seen.way, iteration.find_step(engine, memory, seen)
            if not np.isfinite(step).all():
                outcome = Outcome.NONFINITE
                break
            info = _info(engine, place, seen, step)
            info = info._replace(at_edges=seen.slopes.of(memory.held.names))
            is_near = schedule.in_stderr(way.distance, way.stderr) < schedule.NEAR
            estimates, held = boundary.review(
                place.params, step, seen.slopes, memory.held, is_near=is_near
            )
            if verdict is not None:
                # The last step goes all the way to where the error was worked out, unless it follows only that.
                is_led = not schedule.is_noisy(way.mc_error, way.stderr)
                outcome, estimates, held = verdict, place.params, memory.held
                estimates = estimates + way.distance if is_led else estimates
            last = Last(place, memory.held, info, None if refined is None else refined.found)
            best = last if best is None or _far(last) < _far(best) else best
            trace = (*trace, _line(problem, number, estimates, info, place, began))
            show.update(trace[-1])
            if verdict is not None:
                break
            num_cut = iteration.next_cut(problem, memory, step)
            if num_cut >= schedule.MOST_CUT_STEPS:
                outcome, last, estimates = Outcome.DIVERGED, best, best.place.params
                break
            if iteration.is_too_noisy(engine, place, way):
                # A step would be noise, and end at boundaries by chance. The chains may not have arrived: anew.
                num_draws = min(options.max_draws, 4 * place.num_draws)
                place, warmup = place._replace(draws=None), iteration.AGAIN_WARMUP
                continue
            if held.names == memory.held.names and iteration.is_still(engine, memory, way):
                # Nothing to gain by moving: more draws at the same parameters, beside those that there are.
                num_draws = iteration.further_draws(engine, place, memory, seen)
                continue
            num_draws = iteration.next_draws(engine, place, way)
            memory = Memory(
                held,
                iteration.next_coefficients(engine, place, memory),
                seen.learned,
                memory.metric,
                iteration.next_floor(problem, memory, seen.moments),
                iteration.next_arrival(problem, way),
                momentum,
                (seen.moments.score, step),
                memory.num_steps + 1,
                num_cut,
            )
            place, walkers = iteration.move(problem, place, estimates, info, walkers)
    except KeyboardInterrupt:
        stop()
        outcome = Outcome.INTERRUPTED
    except np.linalg.LinAlgError:
        # The geometry of a problem factors matrices that lose their rank only where parameters ran away.
        outcome = Outcome.NONFINITE
    finally:
        show.stop()
    return _solution(estimates, outcome, trace, last, engine.programs)


def _first(engine: Engine) -> State:
    """Before the first iteration."""
    problem = engine.problem
    start, before = np.array(problem.params, float), iteration.remembered(problem)
    geometry = iteration.first_geometry(problem)
    place = Place(start, geometry, iteration.edges_at(problem, start), None, before)
    walkers = start_walkers(engine, geometry)
    memory = iteration.first_memory(problem, boundary.at_start(place.edges))
    return State(1, place, walkers, memory, start, (), None, None)


def _far(last: Last) -> float:
    """The distance to the maximum, in standard errors."""
    return schedule.in_stderr(last.info.distance, last.info.stderr)


def _info(engine: Engine, place: Place, seen: Seen, step: Floats) -> Info:
    draws, moments, way = place.draws, seen.moments, seen.way
    assert draws is not None
    total = draws.excess.size
    problem = engine.problem
    given = (draws.position[:, None] / total, place.geometry.arrays, problem.data)
    latents = problem.to_latents(*tensors_of(given, engine.programs.dtype))
    mean = draws.latents / total
    return Info(
        score=moments.score,
        step=step,
        distance=way.distance,
        mc_covariance=way.mc_covariance,
        stderr=way.stderr,
        observed=way.observed,
        resolved=way.resolved,
        reduction=moments.reduction,
        acceptance=float(draws.acceptance.mean()),
        divergences=draws.divergences,
        rhat=split_rhat(draws.raw),
        effective=moments.effective,
        latent_mean=np.asarray(latents, float)[:, 0],
        latent_variance=draws.latent_squares / total - mean**2,
    )


def _line(
    problem: Problem, number: int, estimates: Floats, info: Info, place: Place, began: float
) -> Iteration:
    return Iteration(
        number=number,
        estimates=problem.report(estimates)[0],
        largest_step=schedule.in_stderr(info.distance, info.stderr),
        largest_error=schedule.in_stderr(info.mc_error, info.stderr),
        num_draws=place.num_draws,
        acceptance=info.acceptance,
        seconds=time.perf_counter() - began,
    )


def _solution(
    estimates: Floats,
    outcome: Outcome,
    trace: tuple[Iteration, ...],
    last: Last | None,
    compiled: Programs,
) -> Solution:
    later = [line.seconds for line in trace[1:]]
    compiling = trace[0].seconds - float(np.median(later)) if later else 0.0
    found = Solution.nothing(estimates, outcome)._replace(
        trace=trace, num_traces=compiled.num_traces, compile_seconds=max(0.0, compiling)
    )
    if last is None:
        return found
    draws = last.place.draws
    assert draws is not None
    return found._replace(
        mc_covariance=last.info.mc_covariance,
        # The way there was led by that halfway.
        information=last.info.observed if last.found is None else last.found.at(estimates),
        monte_carlo=last.found,
        held=last.held.names,
        basis=boundary.free_basis(last.place.edges, last.held, len(estimates)),
        info=last.info,
        draws=draws.watched,
        positions=draws.positions,
        excess=draws.excess,
        sampled_at=last.place.params,
        geometry=last.place.geometry,
    )
