"""Draws of the latents at one parameter vector, and means over them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.em.estep import hmc
from lmeformula.em.estep.sampler import Control, course_of, information_stride
from lmeformula.em.padding import own, ranks
from lmeformula.em.programs import Engine
from lmeformula.em.types import Geometry

T = TypeVar("T")

# Positions are kept for the information and the likelihood, up to this many numbers.
KEPT_NUMBERS = 8_000_000
# The last draws of the watched latents are kept.
KEPT_DRAWS = 1000


class Walkers(NamedTuple):
    """Where the chains are: carried from call to call.

    Attributes:
      positions: (q, c) of each worker.
      step_sizes: () of each worker.
      num_transitions: transitions so far, of each chain.
    """

    positions: tuple[Floats, ...]
    step_sizes: tuple[float, ...]
    num_transitions: int


class Draws(NamedTuple):
    """Draws at one parameter vector, of all chains, in order.

    Attributes:
      positions: (k, q, c) the first of them, as many as are kept.
      excess: (m, c) log density over that of N(0, I), without its constant.
      values: (m, c) log density.
      raw: (m, d, c) complete-data scores.
      controlled: (m, d, c) with control variates.
      acceptance: (m, c).
      divergences: number of transitions that ended at a non-finite energy.
      latents: (q,) their sum.
      latent_squares: (q,) sum of their squares.
      position: (q,) sum of the positions, without the part that the gradient explains.
      information: (d, d) mean complete-data information; zeros where the problem brings its own.
      watched: (m, w) watched latents of the first chain.
    """

    positions: Floats
    excess: Floats
    values: Floats
    raw: Floats
    controlled: Floats
    acceptance: Floats
    divergences: int
    latents: Floats
    latent_squares: Floats
    position: Floats
    information: Floats
    watched: Floats

    @property
    def num_draws(self) -> int:
        """Draws of each chain."""
        return len(self.excess)


def start_walkers(engine: Engine, geometry: Geometry) -> Walkers:
    """Chains near the problem's latents: where the whitening is known, spread as N(0, I)."""
    problem, programs = engine.problem, engine.programs
    start = problem.to_position(np.asarray(problem.latents, float), geometry.arrays)
    rng = np.random.default_rng([engine.seed & 0x7FFFFFFF, 0x7A])
    shape = (len(start), programs.num_chains)
    spread = 1.0 if problem.geometry is not None else 0.0
    size = hmc.FIRST_STEP if course_of(problem) is hmc.PAIRED else 0.5
    positions = tuple(
        start[:, None] + spread * rng.normal(size=shape) for _ in range(programs.num_workers)
    )
    return Walkers(positions, (size,) * programs.num_workers, 0)


class Asked(NamedTuple):
    """What is asked of chains.

    Attributes:
      params: (d,) parameters.
      arrays: of the geometry at these.
      num_transitions: of each chain so far.
      num_warmup: transitions before the first draw, which tune the step size.
      num_draws: draws of each chain.
    """

    params: Floats
    arrays: Any
    num_transitions: int
    num_warmup: int
    num_draws: int


class Walked(NamedTuple):
    """What is kept of a worker's draws, where its chains are then (q, c), and the size of their steps."""

    found: Any
    positions: Floats
    step_size: float


def take(
    engine: Engine,
    params: Floats,
    geometry: Geometry,
    walkers: Walkers,
    *,
    num_warmup: int,
    num_draws: int,
) -> tuple[Draws, Walkers]:
    """Let the chains walk on, and evaluate their draws.

    Args:
      engine: what runs; of its seed and the number of transitions so far are all random numbers.
      params: (d,) parameters.
      geometry: at these.
      walkers: where the chains are.
      num_warmup: transitions before the first draw, which tune the step size.
      num_draws: draws of each chain.
    Returns:
      draws: the draws.
      walkers: where the chains are then.
    """
    if engine.problem.walk is not None:
        asked = Asked(params, geometry.arrays, walkers.num_transitions, num_warmup, num_draws)
        chains = list(zip(walkers.positions, walkers.step_sizes, strict=True))
        found: list[Walked] = engine.problem.walk(engine, asked, chains)
        moved = _moved(walkers, found, _warmup(engine, num_warmup) + num_draws)
        return beside([each.found for each in found]), moved
    tensors = engine.tensors(params, geometry)
    parts, moved = _walk(
        engine, tensors, walkers, (num_warmup, num_draws), _looker(engine, tensors)
    )
    return beside([join(part) for part in parts]), moved


def walk_on(
    engine: Engine, asked: Asked, worker: int, positions: Floats, step_size: float
) -> Walked:
    """Let the chains of one worker walk on, as `take` would have it.

    Args:
      engine: what runs.
      asked: what is asked of them.
      worker: its number, of which its random numbers are.
      positions: (q, c) where its chains are.
      step_size: of their steps.
    Returns:
      With its draws.
    """
    tensors = engine.tensors(asked.params, Geometry(asked.arrays))
    numbers = asked.num_transitions, _warmup(engine, asked.num_warmup), asked.num_draws
    look = _looker(engine, tensors)
    found = _work(engine, tensors, numbers, worker, (positions, step_size), look)
    return found._replace(found=join(found.found))


def _looker(engine: Engine, tensors: tuple[Any, Any]) -> Callable[[Any, int, int], Draws]:
    """What evaluates the draws of a call, and keeps the positions of the first."""
    problem, programs, data, watched = engine.problem, engine.programs, engine.data, engine.watched
    kept = max(1, KEPT_NUMBERS // max(1, len(problem.latents) * programs.num_chains))

    def look(walk: Any, count: int, done: int) -> Draws:
        found = programs.evaluate(*tensors, walk.positions, tf.constant(count), watched, data)
        part = _draws(engine, walk, found, count)
        return part._replace(positions=part.positions[: max(0, kept - done)])

    return look


def take_excess(
    engine: Engine, params: Floats, geometry: Geometry, walkers: Walkers, numbers: tuple[int, int]
) -> tuple[Floats, Walkers]:
    """Let the chains walk on, where nothing is asked of their draws but the log density.

    Args:
      engine, params, geometry, walkers: as for `take`.
      numbers: transitions before the first draw, and draws, of each chain.
    Returns:
      excess: (m, c) log density over that of N(0, I), without its constant.
      walkers: where the chains are then.
    """

    def look(walk: Any, count: int, done: int) -> Floats:
        positions = own(engine.padding, np.asarray(walk.positions)[:count], 1)
        return np.asarray(walk.values, float)[:count] + _half_squares(positions)

    tensors = engine.tensors(params, geometry)
    parts, moved = _walk(engine, tensors, walkers, numbers, look)
    return np.concatenate([np.concatenate(part) for part in parts], axis=1), moved


def _walk(
    engine: Engine,
    tensors: tuple[Any, Any],
    walkers: Walkers,
    numbers: tuple[int, int],
    look: Callable[[Any, int, int], T],
) -> tuple[list[list[T]], Walkers]:
    """Let the chains walk on.

    Args:
      engine, walkers, numbers: as for `take_excess`.
      tensors: the parameters and the geometry's arrays there, as the programs take them.
      look: a walk, its number of draws, and how many there were before, of a worker -> what is kept of it.
    """
    programs = engine.programs
    asked = walkers.num_transitions, _warmup(engine, numbers[0]), numbers[1]
    first = hmc.unseen(engine.positions(walkers.positions[0]))
    control = _control(engine, tensors, walkers.num_transitions, 0)
    programs.trace(control(0, 0, 0), first, engine.watched, engine.data)
    chains = zip(walkers.positions, walkers.step_sizes, strict=True)
    # Compiled programs let go of the interpreter: two threads are two cores.
    with ThreadPoolExecutor(programs.num_workers) as pool:
        calls = [
            pool.submit(_work, engine, tensors, asked, worker, chain, look)
            for worker, chain in enumerate(chains)
        ]
        found = [call.result() for call in calls]
    return [each.found for each in found], _moved(walkers, found, asked[1] + asked[2])


def _work(
    engine: Engine,
    tensors: tuple[Any, Any],
    asked: tuple[int, int, int],
    worker: int,
    chains: tuple[Floats, float],
    look: Callable[[Any, int, int], T],
) -> Walked:
    """Let the chains of a worker walk on: from where they are, and with steps of what size.

    Args:
      engine, tensors, look: as for `_walk`.
      asked: transitions so far, those before the first draw, and draws.
      worker: its number.
      chains: where they are, and the size of their steps.
    Returns:
      With a list of what is kept.
    """
    programs, (before, num_warmup, num_draws) = engine.programs, asked
    control_of = _control(engine, tensors, before, worker)
    chain, size = hmc.unseen(engine.positions(chains[0])), tf.constant(chains[1], programs.dtype)
    parts: list[T] = []
    done, warmup = 0, num_warmup
    while done < num_draws:
        count = min(programs.capacity, num_draws - done)
        control = control_of(done + (num_warmup - warmup), warmup, count)
        walk = programs.walk(control, chain, size, engine.data)
        parts.append(look(walk, count, done))
        chain, size = walk.last, walk.step_size
        done, warmup = done + count, 0
    return Walked(parts, own(engine.padding, chain.position), float(size))


def _control(
    engine: Engine, tensors: tuple[Any, Any], before: int, worker: int
) -> Callable[[int, int, int], Control]:
    """What tells a worker's calls what to do: transitions since `before`, those of warm-up, and draws."""
    ranked = tf.constant(ranks(engine.padding))

    def control_of(done: int, warmup: int, count: int) -> Control:
        return Control(
            seed=tf.constant([engine.seed & 0x7FFFFFFF, worker], tf.int32),
            first=tf.constant(before + done),
            num_warmup=tf.constant(warmup),
            num_draws=tf.constant(count),
            ranks=ranked,
            params=tensors[0],
            arrays=tensors[1],
        )

    return control_of


def _warmup(engine: Engine, num_warmup: int) -> int:
    """Where the whitening is known, the first transition is made before the density was evaluated anywhere."""
    return num_warmup if engine.problem.geometry is None else max(1, num_warmup)


def _moved(walkers: Walkers, found: list[Walked], count: int) -> Walkers:
    return Walkers(
        tuple(each.positions for each in found),
        tuple(each.step_size for each in found),
        walkers.num_transitions + count,
    )


def _half_squares(positions: Floats) -> Floats:
    """(m, c) half the squared lengths of positions (m, q, c)."""
    return np.asarray(0.5 * np.einsum("mqc,mqc->mc", positions, positions))


def _draws(engine: Engine, walk: Any, found: Any, count: int) -> Draws:
    padding, num_watched = engine.padding, len(engine.options.watched)
    positions = own(padding, np.asarray(walk.positions)[:count], 1)
    values = np.asarray(found.values, float)[:count]
    evaluated = -(-count // information_stride(len(engine.problem.params)))
    return Draws(
        positions=positions,
        values=values,
        excess=values + _half_squares(positions),
        raw=np.asarray(found.raw, float)[:count],
        controlled=np.asarray(found.controlled, float)[:count],
        acceptance=np.asarray(walk.acceptance, float)[:count],
        divergences=int(np.asarray(walk.diverged)[:count].sum()),
        latents=own(padding, found.latents),
        latent_squares=own(padding, found.latent_squares),
        position=own(padding, _explained(found, count * positions.shape[2])),
        information=np.asarray(found.information, float) / evaluated,
        watched=np.asarray(found.watched, float)[:count, :num_watched],
    )


def _explained(found: Any, total: int) -> Floats:
    """The sum of the positions (q,), with the gradient as control variate: its expectation is zero.

    Coordinate by coordinate with the regression coefficient, which for a Gaussian posterior leaves no variance.
    """
    position = np.asarray(found.position, float) / total
    gradient = np.asarray(found.gradient, float) / total
    covariance = np.asarray(found.position_gradient, float) / total - position * gradient
    variance = np.asarray(found.gradient_squares, float) / total - gradient**2
    return np.asarray(total * (position - gradient * covariance / np.maximum(variance, 1e-300)))


def join(parts: list[Draws]) -> Draws:
    """Later draws of the same chains after earlier ones."""
    lengths = np.array([part.num_draws for part in parts], float)
    information = np.average([part.information for part in parts], axis=0, weights=lengths)
    watched = np.concatenate([part.watched for part in parts])[-KEPT_DRAWS:]
    return _along(parts, 0)._replace(information=information, watched=watched)


def beside(parts: list[Draws]) -> Draws:
    """The draws of several workers as those of all chains; watched ones are the first worker's."""
    return _along(parts, -1)


def _along(parts: list[Draws], axis: int) -> Draws:
    """Draws one after the other along an axis, which is that of draws or that of chains."""

    def together(name: str) -> Floats:
        return np.concatenate([getattr(part, name) for part in parts], axis=axis)

    def total(name: str) -> Floats:
        return np.asarray(np.sum([getattr(part, name) for part in parts], axis=0))

    return Draws(
        positions=together("positions"),
        excess=together("excess"),
        values=together("values"),
        raw=together("raw"),
        controlled=together("controlled"),
        acceptance=together("acceptance"),
        divergences=sum(part.divergences for part in parts),
        latents=total("latents"),
        latent_squares=total("latent_squares"),
        position=total("position"),
        information=np.mean([part.information for part in parts], axis=0),
        watched=parts[0].watched,
    )


def with_coefficients(draws: Draws, coefficients: Floats) -> Floats:
    """(m, d, c) raw scores plus `coefficients` (d,) times their control variates."""
    return draws.raw + coefficients[:, None] * (draws.controlled - draws.raw)


def regression_coefficients(draws: Draws) -> Floats:
    """(d,) the coefficients of the control variates that leave the raw scores the least variance.

    One is right for a Gaussian posterior. They are noisy themselves, and bias a mean over the draws that they
    come from: use them on others.
    """
    variate = draws.controlled - draws.raw
    centred = variate - variate.mean(axis=(0, 2), keepdims=True)
    variance = np.einsum("mdc,mdc->d", centred, centred)
    covariance = np.einsum("mdc,mdc->d", centred, draws.raw)
    known = variance > 0
    found = np.where(known, -covariance / np.where(known, variance, 1.0), 1.0)
    return np.clip(found, 0.0, 2.0)
