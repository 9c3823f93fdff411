"""The log-likelihood by bridge sampling between the posterior of the latents and its Gaussian approximation.

Reference: Meng, Wong (1996), Statistica Sinica 6, 831-860, the iterative optimal bridge.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp

from lmeformula.arrays import Floats
from lmeformula.em.programs import Engine
from lmeformula.em.series import mean_covariance
from lmeformula.em.types import Geometry

# Beyond the smallest and the largest log ratio of densities, where no estimate lies.
MARGIN = 50.0
# Draws per chain from N(0, I): as many as from the posterior, up to this many.
MOST_DRAWS = 1000
# Two densities overlap where so many draws of either are as good as independent ones of what they share.
ENOUGH = 60.0


class LogRatio(NamedTuple):
    """The log of the integral of exp(log density) over that of exp(-|z|^2 / 2), and its standard error."""

    value: float
    mc_error: float


def bridge(engine: Engine, params: Floats, geometry: Geometry, excess: Floats) -> LogRatio:
    """Bridge from N(0, I) to the posterior of the latents in whitened coordinates.

    Args:
      engine: of the density, which must know its geometry; with its seed and the options of the run that took
        the posterior's draws.
      params: (d,) parameters that the posterior's draws were taken at.
      geometry: the geometry there.
      excess: (m, c) log density over that of N(0, I), without its constant, at draws of the posterior.
    Returns:
      The log ratio and its error; that is nan where the two densities have too little in common.
    """
    compiled, dtype = engine.programs, engine.programs.dtype
    num_draws = min(MOST_DRAWS, len(excess))
    at, arrays = engine.tensors(params, geometry)
    shape = (compiled.capacity, len(engine.problem.latents), compiled.num_chains)

    def work(worker: int) -> Floats:
        found = []
        for call, start in enumerate(range(0, num_draws, compiled.capacity)):
            count = min(compiled.capacity, num_draws - start)
            key = tf.constant([engine.seed & 0x7FFFFFFF, 0x6272 + 2 * call + worker], tf.int32)
            z = tf.random.stateless_normal(shape, key, dtype=dtype)
            values = compiled.evaluate(at, arrays, z, tf.constant(count), engine.data).values
            found.append(np.asarray(values + 0.5 * tf.reduce_sum(z**2, axis=1), float)[:count])
        return np.concatenate(found)

    with ThreadPoolExecutor(compiled.num_workers) as pool:
        from_reference = np.concatenate(list(pool.map(work, range(compiled.num_workers))), axis=1)
    value = log_ratio(from_reference.ravel(), excess.ravel())
    reaches = overlap(from_reference, excess) >= ENOUGH
    return LogRatio(value, error_of(value, from_reference, excess) if reaches else float("nan"))


def log_ratio(from_reference: Floats, from_target: Floats) -> float:
    """The optimal bridge estimate of the log of the target's integral over the reference's.

    Args:
      from_reference: (n0,) log target density minus log reference density at draws of the reference.
      from_target: (n1,) the same at draws of the target.
    Returns:
      The log ratio of the integrals of the two densities as they were given.
    Example:
      >>> rng = np.random.default_rng(1)
      >>> x, y = rng.normal(size=4000), 0.8 * rng.normal(size=4000)  # exp(-x^2/2) and exp(-x^2/(2*.64))
      >>> excess = lambda v: 0.5 * v**2 * (1 - 1 / 0.64)
      >>> bool(abs(log_ratio(excess(x), excess(y)) - np.log(0.8)) < 0.02)
      True
    """
    shift = np.log(len(from_target) / len(from_reference))

    def imbalance(value: float) -> float:
        above = logsumexp(log_expit(from_reference - value + shift))
        return float(above - logsumexp(log_expit(value - shift - from_target)))

    # Meng and Wong's fixed point; it falls everywhere, and is above zero at one end, below it at the other.
    low = min(from_reference.min(), from_target.min()) + shift - MARGIN
    high = max(from_reference.max(), from_target.max()) + shift + MARGIN
    return float(brentq(imbalance, low, high, xtol=1e-12))


def error_of(value: float, from_reference: Floats, from_target: Floats) -> float:
    """The standard error of a bridge estimate.

    Args:
      value: the estimate.
      from_reference: (n0, c) what it comes from, independent.
      from_target: (n1, c) likewise, of c chains that are correlated within.
    References: Meng, Wong (1996), Statistica Sinica 6, 831-860; Fruehwirth-Schnatter (2004), Econometrics
      Journal 7, 143-167, for dependent draws.
    """
    above, below = _shares(value, from_reference, from_target)
    variance = above.var(ddof=1) / above.size + mean_covariance(below[:, None])[0, 0]
    return float(np.sqrt(variance))


def shares(from_reference: Floats, from_target: Floats) -> tuple[float, Floats, Floats]:
    """A bridge estimate, and what each draw (m, c) adds to it, as a fraction of the mean of its side."""
    value = log_ratio(from_reference.ravel(), from_target.ravel())
    return value, *_shares(value, from_reference, from_target)


def overlap(from_reference: Floats, from_target: Floats) -> float:
    """How many draws of one side are worth independent ones of what both have in common; the fewer of the two.

    A bridge whose ends share few draws knows neither its value nor its error.
    """
    value, above, below = shares(from_reference, from_target)
    shift = np.log(from_target.size / from_reference.size)
    # Draws of either side that could as well be of the other; and those that the means rest on.
    common = (expit(from_reference - value + shift), expit(value - shift - from_target))
    even = min(part.size / float(np.mean(np.square(part))) for part in (above, below))
    return min(even, *(2.0 * float(part.sum()) for part in common))


def _shares(value: float, from_reference: Floats, from_target: Floats) -> tuple[Floats, Floats]:
    shift = np.log(from_target.size / from_reference.size)
    above = np.exp(_normalized(log_expit(from_reference - value + shift)))
    below = np.exp(_normalized(log_expit(value - shift - from_target)))
    return above, below


def _normalized(logarithms: Floats) -> Floats:
    return np.asarray(logarithms - logsumexp(logarithms) + np.log(logarithms.size))
