"""The log-likelihood along a path from a Gaussian to the posterior, where one bridge does not reach.

At t the density is that of the posterior to the power of t times that of N(0, I) to the power of 1 - t. Chains
walk from one to the next; each pair is bridged, and pairs that overlap too little get others between them.

References: Meng, Wong (1996), Statistica Sinica 6, 831-860; Gelman, Meng (1998), Stat. Sci. 13, 163-185.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.em.bridge import ENOUGH, Bridged, LogRatio, bridged
from lmeformula.em.draws import Walkers, start_walkers, take_excess
from lmeformula.em.evaluate import calls_of, evaluator, together
from lmeformula.em.programs import Engine, engine_of, num_rows
from lmeformula.em.series import mean_covariance
from lmeformula.em.types import Geometry, Scores

# Powers to begin with, and most of them.
FIRST_POWERS, MOST_POWERS = 6, 40
# Draws of each chain before a power and at it: as many as this many rows hold, within limits.
WARMUP = 50
DRAWS_ROWS, NUM_DRAWS = 40_000_000, (200, 1000)


class Stop(NamedTuple):
    """A power, and the log density of the posterior over that of N(0, I) at draws (m, c) there."""

    power: float
    excess: Floats


def along_path(engine: Engine, params: Floats, geometry: Geometry) -> LogRatio:
    """The log of the posterior's integral over that of exp(-|z|^2 / 2), in whitened coordinates.

    Args:
      engine: of the density, which must know its geometry.
      params: (d,) parameters.
      geometry: the geometry there.
    Returns:
      The log ratio; its error is nan where some pair does not overlap even at the end.
    """
    engine = tempered(engine)
    walkers = start_walkers(engine, geometry)
    count = int(np.clip(DRAWS_ROWS // num_rows(engine.problem.data), *NUM_DRAWS))
    stops = [independent(engine, params, geometry, count)]
    pairs: list[Bridged] = []
    pending = list(np.linspace(0.0, 1.0, FIRST_POWERS + 1)[1:])
    while pending:
        power = pending[0]
        stop, moved = walk(engine, params, geometry, walkers, power, (WARMUP, count))
        between = 0.5 * (stops[-1].power + power)
        room = len(stops) + len(pending) < MOST_POWERS
        pair = _pair(stops[-1], stop)
        if room and pair.overlap < ENOUGH:
            pending.insert(0, between)
            continue
        stops, walkers, pending = [*stops, stop], moved, pending[1:]
        pairs.append(pair)
    return _total(stops, pairs)


def tempered(engine: Engine) -> Engine:
    """An engine of the problem with a power as a further array of its data; nothing is watched."""
    problem = engine.problem

    def density(params: Tensor, z: Tensor, arrays: Any, given: Any) -> tuple[Tensor, Tensor]:
        data, power = given
        value, gradient = problem.density(params, z, arrays, data)
        rest = 1.0 - power
        return (
            power * value - 0.5 * rest * tf.reduce_sum(z**2, axis=0),
            power * gradient - rest * z,
        )

    def score(params: Tensor, z: Tensor, gradient: Tensor, arrays: Any, given: Any) -> Scores:
        none = tf.zeros([len(problem.params), tf.shape(z)[1]], z.dtype)
        return Scores(none, none)

    padding = problem.padding
    if padding is not None:
        of_data = padding.data
        padding = padding._replace(data=lambda given: (of_data(given[0]), given[1]))
    made = problem._replace(
        data=(problem.data, np.float64(1.0)),
        density=density,
        score=score,
        evaluated=None,
        to_latents=lambda z, arrays, given: problem.to_latents(z, arrays, given[0]),
        program=None if problem.program is None else ("tempered", problem.program),
        padding=padding,
        walk=None,
    )
    options = engine.options._replace(watched=())
    return engine_of(made, options, engine.programs.dtype, engine.seed)


def walk(
    engine: Engine,
    params: Floats,
    geometry: Geometry,
    walkers: Walkers,
    power: float,
    numbers: tuple[int, int],
) -> tuple[Stop, Walkers]:
    """Let chains walk on at a power: so many draws of each before it counts, and so many that do."""
    data = (engine.data[0], tf.constant(power, engine.programs.dtype))
    excess, moved = take_excess(engine._replace(data=data), params, geometry, walkers, numbers)
    # The density at this power over N(0, I) is the posterior's to that power.
    return Stop(power, excess / power), moved


def independent(engine: Engine, params: Floats, geometry: Geometry, num_draws: int) -> Stop:
    """The beginning: draws of N(0, I), so many for each chain."""
    compiled = engine.programs
    rng = np.random.default_rng([engine.seed & 0x7FFFFFFF, 0x7061])
    shape = (num_draws, len(engine.problem.latents), compiled.num_chains * compiled.num_workers)
    positions = rng.normal(size=shape)
    evaluate = evaluator(engine, params, geometry, np.zeros(len(params)))
    _, values = together([evaluate(call) for call in calls_of(engine, positions)], compiled)
    return Stop(0.0, values + 0.5 * np.square(positions).sum(axis=1))


def _pair(low: Stop, high: Stop) -> Bridged:
    """The bridge from a power to a higher one."""
    step = high.power - low.power
    return bridged(step * low.excess, step * high.excess)


def _total(stops: list[Stop], pairs: list[Bridged]) -> LogRatio:
    """The sum over pairs; draws in the middle are of two pairs, and their errors go together."""
    value, known = sum(pair.value for pair in pairs), all(pair.overlap >= ENOUGH for pair in pairs)
    series = [np.zeros_like(stop.excess) for stop in stops]
    for place, pair in enumerate(pairs):
        series[place] += pair.above
        series[place + 1] -= pair.below
    variance = series[0].var(ddof=1) / series[0].size
    variance += sum(float(mean_covariance(part[:, None])[0, 0]) for part in series[1:])
    return LogRatio(value, float(np.sqrt(variance)) if known else float("nan"))
