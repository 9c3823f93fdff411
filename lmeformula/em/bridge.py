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
from lmeformula.em.evaluate import calls_of_worker, evaluator
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
    compiled, at_once = engine.programs, engine.at_once
    num_draws = min(MOST_DRAWS, len(excess))
    evaluate = evaluator(engine, params, geometry, np.zeros(len(params)))
    shape = (at_once, len(engine.problem.latents), compiled.num_chains)

    def work(worker: int) -> Floats:
        found = []
        for call, start in enumerate(range(0, num_draws, at_once)):
            key = tf.constant([engine.seed & 0x7FFFFFFF, 0x6272 + 2 * call + worker], tf.int32)
            z = tf.random.stateless_normal(shape, key, dtype=compiled.dtype).numpy()
            z = z[: num_draws - start]
            values = [evaluate(part)[1] for part in calls_of_worker(engine, z, worker)]
            found.append(np.concatenate(values) + 0.5 * np.square(z).sum(axis=1))
        return np.concatenate(found)

    with ThreadPoolExecutor(compiled.num_workers) as pool:
        from_reference = np.concatenate(list(pool.map(work, range(compiled.num_workers))), axis=1)
    found = bridged(from_reference, excess)
    return LogRatio(found.value, found.mc_error if found.overlap >= ENOUGH else float("nan"))


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


class Bridged(NamedTuple):
    """A bridge between two densities.

    Attributes:
      value: the log of the target's integral over the reference's.
      above: (n0, c) what each draw of the reference adds to it, as a fraction of the mean of its side.
      below: (n1, c) the same of the target's.
      overlap: how many draws of one side are worth independent ones of what both have in common; the fewer of
        the two. A bridge whose ends share few draws knows neither its value nor its error.
    """

    value: float
    above: Floats
    below: Floats
    overlap: float

    @property
    def mc_error(self) -> float:
        """The standard error of the value, where the draws of the reference are independent.

        References: Meng, Wong (1996), Statistica Sinica 6, 831-860; Fruehwirth-Schnatter (2004), Econometrics
          Journal 7, 143-167, for dependent draws.
        """
        variance = self.above.var(ddof=1) / self.above.size
        return float(np.sqrt(variance + mean_covariance(self.below[:, None])[0, 0]))


def bridged(from_reference: Floats, from_target: Floats) -> Bridged:
    """The bridge from draws (n0, c) of the reference to draws (n1, c) of the target, as `log_ratio` takes them.

    Those of the target are of c chains that are correlated within.
    """
    value = log_ratio(from_reference.ravel(), from_target.ravel())
    shift = np.log(from_target.size / from_reference.size)
    sides = (from_reference - value + shift, value - shift - from_target)
    logs = (log_expit(side) for side in sides)
    above, below = (np.exp(each - logsumexp(each) + np.log(each.size)) for each in logs)
    # Draws of either side that could as well be of the other; and those that the means rest on.
    even = min(part.size / float(np.mean(np.square(part))) for part in (above, below))
    overlap = min(even, *(2.0 * float(expit(side).sum()) for side in sides))
    return Bridged(value, above, below, overlap)
