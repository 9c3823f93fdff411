"""Draws from the posterior distribution of a model, and what says whether they are good: records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats


class Effort(NamedTuple):
    """How much to draw.

    Attributes:
      num_chains: chains side by side.
      num_draws: draws of each that are kept.
      num_warmup: draws of each before, by which the sampler learns.
      target_acceptance: mean acceptance probability that the step size is tuned for.
      max_tree_depth: a trajectory has at most 2 to this many steps.
      surrogate: by method="vi" what is fitted to the density, a name of `SURROGATES`; "" by "nuts".
      importance: whether its draws are drawn again by their importance.
    """

    num_chains: int = 4
    num_draws: int = 1000
    num_warmup: int = 1000
    target_acceptance: float = 0.8
    max_tree_depth: int = 10
    surrogate: str = ""
    importance: bool = False


# What is fitted to a posterior density, and what it is called.
SURROGATES = {
    "full_rank": "a bent normal distribution with all covariances",
    "factored": "independent bent normal distributions",
}


class Surrogate(NamedTuple):
    """What is known of a distribution that stands for the posterior one.

    Attributes:
      elbo: its evidence lower bound; up to a constant where a prior is improper.
      elbo_error: Monte Carlo standard error of that.
      khat: Pareto's k of the importance ratios: above 0.7 they have no use, and the draws are far off.
      log_ratios: (c, m) log importance ratios of draws, before any were drawn again.
      effective: how many draws their importance leaves.
      num_steps: of the optimiser.
      has_settled: whether the bound no longer rose.
    References:
      Yao, Vehtari, Simpson, Gelman (2018), Yes, but did it work? ICML, for k; Vehtari, Simpson, Gelman, Yao,
      Gabry (2024), J. Mach. Learn. Res. 25(72), for its limit.
    """

    elbo: float
    elbo_error: float
    khat: float
    log_ratios: Floats
    effective: float
    num_steps: int
    has_settled: bool


class Stats(NamedTuple):
    """What the sampler says of each transition: (c, m) of each, by the names that ArviZ has for them.

    Attributes:
      lp: log posterior density in the sampler's coordinates, up to a constant.
      energy: the Hamiltonian.
      acceptance_rate: mean acceptance probability over the trajectory.
      step_size: of the leapfrog steps.
      n_steps: how many there were.
      reached_max_treedepth: 1 where the trajectory was cut off, else 0.
      diverging: 1 where it ran into an energy beyond all bounds, else 0.
    """

    lp: Floats
    energy: Floats
    acceptance_rate: Floats
    step_size: Floats
    n_steps: Floats
    reached_max_treedepth: Floats
    diverging: Floats

    @property
    def tree_depth(self) -> Floats:
        """(c, m) doublings of each trajectory."""
        return np.asarray(np.ceil(np.log2(self.n_steps + 1.0)))


class Mixing(NamedTuple):
    """How well chains agree, and how much their draws are worth, of each of several numbers.

    Attributes:
      rhat: rank-normalised R-hat, the larger of that of location and of scale.
      ess_bulk: effective draws for the middle of the distribution.
      ess_tail: for its tails: the 5 % and 95 % quantiles.
      mcse: Monte Carlo standard errors of the means.
    References:
      Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021), Bayesian Analysis 16, 667-718.
    """

    rhat: Floats
    ess_bulk: Floats
    ess_tail: Floats
    mcse: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draws of c chains, m of each, from the posterior distribution of d parameters and of all effects.

    Attributes:
      psi: (c, m, d) unconstrained parameters, as the model's space has them.
      values: (c, m, d) the same on the reporting scale.
      effects: (c, m, l, k) of each term, on the scale of the predictor.
      stats: of the transitions.
      warmup_values: (c, w, d) on the reporting scale, during warm-up.
      warmup_stats: of its transitions.
      mixing: (d) of the parameters on the reporting scale.
      effects_mixing: (2) largest R-hat and fewest effective draws of the effects.
      bfmi: (c,) E-BFMI, the estimated Bayesian fraction of missing information.
      effort: how much was asked for.
      surrogate: what the draws are from, where that is not the posterior itself: independent draws then,
        without chains, R-hat, divergences or energies.
    """

    psi: Floats
    values: Floats
    effects: tuple[Floats, ...]
    stats: Stats
    warmup_values: Floats
    warmup_stats: Stats
    mixing: Mixing
    effects_mixing: Floats
    bfmi: Floats
    effort: Effort
    surrogate: Surrogate | None = None

    @property
    def num_chains(self) -> int:
        """c."""
        return len(self.psi)

    @property
    def num_draws(self) -> int:
        """m."""
        return int(self.psi.shape[1])

    @property
    def divergences(self) -> int:
        """Transitions after warm-up that diverged."""
        return int(self.stats.diverging.sum())

    def chosen(self, count: int) -> tuple[tuple[int, int], ...]:
        """Chain and number of `count` draws, evenly spread over all of them; of all where they are fewer."""
        total = self.num_chains * self.num_draws
        places = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
        return tuple((int(p % self.num_chains), int(p // self.num_chains)) for p in places)
