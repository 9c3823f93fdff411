"""How a fit went, as small records: its likelihood, its time, its optimiser, its draws."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.arrays import Floats


class LogLik(NamedTuple):
    """The maximised log-likelihood, on R's constants.

    Attributes:
      value: natural logarithm; of the restricted likelihood for REML fits.
      mc_error: its Monte Carlo standard error; 0 where it is exact.
      df: number of estimated parameters.
      nobs: number of observations.
    """

    value: float
    mc_error: float
    df: int
    nobs: int

    def __float__(self) -> float:
        return self.value


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
