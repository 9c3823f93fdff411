"""How a fit went, as small records: its likelihood, its time, its optimiser, its draws."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.likelihood.sureness import scatter


class Probes(NamedTuple):
    """What random signs say, one set of them after the other; by their seed other fits have the same.

    Attributes:
      seed: of the signs.
      each: (m) the log-likelihood by each set, of which the mean is the one to use.
    """

    seed: int
    each: tuple[float, ...]


class LogLik(NamedTuple):
    """The maximised log-likelihood, on R's constants.

    Attributes:
      value: natural logarithm; of the restricted likelihood for REML fits.
      mc_error: its Monte Carlo standard error; 0 where it is exact.
      df: number of estimated parameters.
      nobs: number of observations.
      probes: what its parts say, where it is by the iterative solver.
    """

    value: float
    mc_error: float
    df: int
    nobs: int
    probes: Probes | None = None

    def __float__(self) -> float:
        return self.value


def error_of_difference(one: LogLik, other: LogLik) -> float:
    """The Monte Carlo standard error of the difference of two log-likelihoods of the same data.

    Of models that were fitted with the same random signs the difference is by each set of these, and what
    chance says of terms that both have is no part of it. Others are independent.
    """
    if one.probes is None or other.probes is None or one.probes.seed != other.probes.seed:
        return math.hypot(one.mc_error, other.mc_error)
    few, many = sorted((np.array(lot.probes.each) for lot in (one, other) if lot.probes), key=len)
    m, more = len(few), len(many)
    together, alone = (float(scatter(each[:, None])[0, 0]) for each in (few - many[:m], few))
    return math.sqrt(together / more + alone * (1.0 / m - 1.0 / more))


class Seconds(NamedTuple):
    """Where the time went; what a method does not do takes none.

    The E-step and the M-step of Monte Carlo EM are one compiled program, of which the M-step, a linear system
    of as many equations as there are parameters, is a negligible part: they are counted together.

    Attributes:
      design: building the design.
      compile: compiling the iteration, as far as the fit had to wait for it.
      total: everything, the parts that are not listed here included.
      start: the deterministic fit: the whole of an exact or Laplace fit, the start of a Monte Carlo one.
      whitening: the factorisations, on the host, that the sampler's coordinates come from where it draws.
      iterations: E- and M-steps, and the information of the last draws.
      bridge: the log-likelihood from the draws.
    """

    design: float
    compile: float
    total: float
    start: float = 0.0
    whitening: float = 0.0
    iterations: float = 0.0
    bridge: float = 0.0


class Ascent(NamedTuple):
    """How the deterministic maximisation ended.

    Attributes:
      num_evaluations: how often the likelihood and its gradient were evaluated.
      gain: gradient times the step that it still asked for: the squared length of the gradient in the metric
        of the information, which is the squared distance to the maximum in standard errors.
    """

    num_evaluations: int
    gain: float


class Resumed(NamedTuple):
    """From where a fit went on that was killed before, by its checkpoint.

    Attributes:
      num_evaluations: evaluations of the likelihood that were not done again.
      num_iterations: iterations of Monte Carlo EM that were there.
      seconds: that earlier runs had taken by then.
    """

    num_evaluations: int
    num_iterations: int
    seconds: float


class Sampling(NamedTuple):
    """The last iteration of Monte Carlo EM.

    Attributes:
      num_chains: chains side by side.
      num_draws: draws of each.
      acceptance: mean acceptance probability.
      divergences: transitions that ended at a non-finite energy.
      rhat: largest split R-hat of the scores.
      effective: smallest effective number of draws.
      reduction: (d,) variance of the scores over that with control variates.
      last_step: (d,) of the last step, on the unconstrained scale, in standard errors.
    """

    num_chains: int
    num_draws: int
    acceptance: float
    divergences: int
    rhat: float
    effective: float
    reduction: Floats
    last_step: Floats


class Watched(NamedTuple):
    """Successive draws of a few effects in the last E-step.

    Attributes:
      names: (w) term, level and column of each.
      draws: (m, w) on the scale of the linear predictor.
    """

    names: tuple[tuple[str, str, str], ...]
    draws: Floats
