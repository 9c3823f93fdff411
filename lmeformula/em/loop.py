"""The one loop: iterate until the estimates are within their own, small enough, Monte Carlo error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lmeformula.em import schedule
from lmeformula.em.iteration import KEPT_DRAWS, LOWEST_FLOOR, NUM_BATCHES, Control, build
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Geometry, Info, Iteration, Options, Problem, Solution, State

Floats = NDArray[np.float64]

# The floor under the observed fractions of information: where it starts and how it moves. It falls
# while steps go as Newton's metric predicted and rises when one overshoots, towards 1, the EM step.
FIRST_FLOOR = 0.2
FLOOR_FACTOR = 4.0

DEFAULTS = Options()


class Progress(Protocol):
    """Something that shows how a fit is going."""

    def start(self, names: tuple[str, ...]) -> None:
        """Called once, before anything is compiled."""

    def update(self, iteration: Iteration) -> None:
        """Called after each iteration."""

    def stop(self) -> None:
        """Called once, however the run ends."""


class Silent:
    """Shows nothing."""

    def start(self, names: tuple[str, ...]) -> None:
        """Do nothing."""

    def update(self, iteration: Iteration) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


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
    show = Silent() if progress is None else progress
    iterate = build(problem, options)
    data = tensors_of(problem.data, dtype)
    geometry = _first_geometry(problem)
    state = _first_state(problem, options, geometry, dtype)
    floor, num_draws = FIRST_FLOOR, options.num_draws
    trace: list[Iteration] = []
    previous: Info | None = None
    info: Info | None = None
    estimates = np.array(problem.params, float)
    sampled_at = estimates
    outcome = Outcome.ITERATIONS_EXHAUSTED
    show.start(problem.names)
    try:
        for number in range(1, options.max_iterations + 1):
            began = time.perf_counter()
            per_batch = max(1, math.ceil(num_draws / NUM_BATCHES))
            control = _control(problem, geometry, dtype, seed, number, per_batch, floor)
            following, tensors = iterate(control, state, data)
            found = Info(*(np.asarray(value) for value in tensors))
            if _is_nonfinite(found, options.num_chains * per_batch * NUM_BATCHES):
                outcome = Outcome.NONFINITE
                break
            sampled_at, state, info = estimates, following, found
            estimates = np.asarray(state.params, float)
            trace.append(_line(problem, number, estimates, info, per_batch, began))
            show.update(trace[-1])
            verdict = _verdict(problem, options, info, per_batch * NUM_BATCHES)
            if verdict is not None:
                # The last step goes all the way to where the Monte Carlo error was worked out.
                outcome, estimates = verdict, sampled_at + info.distance
                break
            num_draws = _next_draws(problem, options, info, per_batch * NUM_BATCHES)
            floor = _next_floor(floor, previous, info)
            previous = info
            geometry, state = _next_geometry(problem, geometry, estimates, info, state, dtype)
    except KeyboardInterrupt:
        outcome = Outcome.INTERRUPTED
    except np.linalg.LinAlgError:
        # The geometry of a problem factors matrices that lose their rank only where parameters ran away.
        outcome = Outcome.NONFINITE
    finally:
        show.stop()
    return _solution(problem, estimates, sampled_at, outcome, trace, info, iterate)


def _is_nonfinite(info: Info, num_transitions: int) -> bool:
    """Whether an iteration says nothing: a quantity is NaN or infinite, or every energy was, so none moved."""
    finite = all(np.isfinite(value).all() for value in (info.score, info.step, info.stderr))
    return not finite or int(info.divergences) == num_transitions


def _verdict(problem: Problem, options: Options, info: Info, num_draws: int) -> Outcome | None:
    still = schedule.is_still(info.distance, info.mc_error, info.stderr, options.tolerance)
    # An information that the engine had to hold up says too little about distance and error.
    known = problem.geometry is not None or bool(info.resolved)
    if still and known and schedule.is_sharp(info.mc_error, info.stderr, options.tolerance):
        return Outcome.CONVERGED
    if still and num_draws >= options.max_draws:
        return Outcome.DRAWS_EXHAUSTED
    return None


def _next_draws(problem: Problem, options: Options, info: Info, num_draws: int) -> int:
    asked = schedule.next_draws(
        num_draws, info.distance, info.mc_error, info.stderr, options.tolerance
    )
    unknown = problem.geometry is None and not bool(info.resolved)
    if unknown and schedule.is_still(info.distance, info.mc_error, info.stderr, options.tolerance):
        # Still, as far as can be seen: see further.
        asked = max(asked, 2 * num_draws)
    return min(options.max_draws, asked)


def _next_floor(floor: float, previous: Info | None, info: Info) -> float:
    """Raise the floor where the score has turned against the last step by more than its noise."""
    if previous is None:
        return floor
    predicted = float(previous.score @ previous.step)
    along = info.observed @ previous.step
    noise = float(np.sqrt(along @ info.mc_covariance @ along))
    if predicted > 0 and float(info.score @ previous.step) < -0.5 * predicted - 2.0 * noise:
        return min(1.0, floor * FLOOR_FACTOR)
    return max(LOWEST_FLOOR, floor / FLOOR_FACTOR)


def _first_geometry(problem: Problem) -> Geometry:
    if problem.geometry is not None:
        return problem.geometry(np.asarray(problem.params, float))
    return Geometry((np.ones(len(problem.latents)),))


def _next_geometry(
    problem: Problem, geometry: Geometry, estimates: Floats, info: Info, state: State, dtype: str
) -> tuple[Geometry, State]:
    """The geometry at the new parameters; without a known one, the latents' own scales as observed."""
    if problem.geometry is not None:
        return problem.geometry(estimates), state
    (scale,) = geometry.arrays
    weight = len(state.position[0]) * 10.0
    seen = np.maximum(np.asarray(info.latent_variance, float), 1e-12 * scale**2)
    # Shrunk a little to the last scale, so that a short stretch cannot make a coordinate stiff.
    fresh = np.sqrt((weight * seen + 5.0 * scale**2) / (weight + 5.0))
    position = np.asarray(state.position) * (scale / fresh)[:, None]
    return Geometry((fresh,)), state._replace(position=tf.constant(position, dtype))


def _first_state(problem: Problem, options: Options, geometry: Geometry, dtype: str) -> State:
    d = len(problem.params)
    start = problem.to_position(np.asarray(problem.latents, float), geometry.arrays)
    position = np.repeat(start[:, None], options.num_chains, axis=1)
    return State(
        params=tf.constant(problem.params, dtype),
        position=tf.constant(position, dtype),
        step_size=tf.constant(0.2, dtype),
        complete=tf.eye(d, dtype=dtype),
        missing=tf.zeros([d, d], dtype),
        evidence=tf.constant(0.0, dtype),
        momentum=tf.zeros([2, d], dtype),
        count=tf.constant(0),
    )


def _control(
    problem: Problem,
    geometry: Geometry,
    dtype: str,
    seed: int,
    number: int,
    per_batch: int,
    floor: float,
) -> Control:
    d = len(problem.params)
    learning = problem.geometry is None
    first, later = (100, 20) if learning else (30, 5)
    nothing = np.zeros((d, d))
    return Control(
        seed=tf.constant([seed & 0x7FFFFFFF, number], tf.int32),
        num_warmup=tf.constant(first if number <= (4 if learning else 1) else later),
        per_batch=tf.constant(per_batch),
        floor=tf.constant(floor, dtype),
        arrays=tensors_of(geometry.arrays, dtype),
        complete=tf.constant(nothing if geometry.complete is None else geometry.complete, dtype),
        observed=tf.constant(nothing if geometry.observed is None else geometry.observed, dtype),
    )


def _line(
    problem: Problem, number: int, estimates: Floats, info: Info, per_batch: int, began: float
) -> Iteration:
    return Iteration(
        number=number,
        estimates=problem.report(estimates)[0],
        largest_step=schedule.in_stderr(info.distance, info.stderr),
        largest_error=schedule.in_stderr(info.mc_error, info.stderr),
        num_draws=per_batch * NUM_BATCHES,
        acceptance=float(info.acceptance),
        seconds=time.perf_counter() - began,
    )


def _solution(
    problem: Problem,
    estimates: Floats,
    sampled_at: Floats,
    outcome: Outcome,
    trace: list[Iteration],
    info: Info | None,
    iterate: Callable[..., Any],
) -> Solution:
    d = len(problem.params)
    later = [line.seconds for line in trace[1:]]
    compiling = trace[0].seconds - float(np.median(later)) if later else 0.0
    return Solution(
        params=estimates,
        mc_covariance=np.full((d, d), np.nan)
        if info is None
        else np.asarray(info.mc_covariance, float),
        information=np.full((d, d), np.nan) if info is None else np.asarray(info.observed, float),
        outcome=outcome,
        trace=tuple(trace),
        info=info,
        draws=np.zeros((0, 0)) if info is None else _unroll(info.draws, trace[-1].num_draws),
        excess=np.zeros((0, 0)) if info is None else _unroll(info.excess, trace[-1].num_draws),
        sampled_at=sampled_at,
        num_traces=iterate.experimental_get_tracing_count(),  # type: ignore[attr-defined]
        compile_seconds=max(0.0, compiling),
    )


def _unroll(ring: Floats, num_draws: int) -> Floats:
    if num_draws <= KEPT_DRAWS:
        return ring[:num_draws]
    return np.roll(ring, -(num_draws % KEPT_DRAWS), axis=0)


def tensors_of(structure: Any, dtype: str) -> Any:
    """The arrays of a nested structure as tensors, floating ones in `dtype`."""

    def convert(array: Any) -> Any:
        array = np.asarray(array)
        return tf.constant(array.astype(dtype) if array.dtype.kind == "f" else array)

    return tf.nest.map_structure(convert, structure)
