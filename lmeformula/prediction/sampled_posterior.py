"""The effects of a fit given the data as draws, and what intervals are made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.estimation.common import watch
from lmeformula.fit import FittedModel
from lmeformula.model.bounds import off_bounds
from lmeformula.prediction.parameter_errors import own_is_apart
from lmeformula.prediction.posterior_draws import SAMPLED, PosteriorDraws
from lmeformula.prediction.predictor import add_effects
from lmeformula.startup import import_tensorflow

if TYPE_CHECKING:
    from lmeformula.sampling.student_draws import SampledEffects

# What stands for degrees of freedom at their least, above it.
LEAST_DISTANCE = 1e-6
# A kernel is no narrower than this share of the draws' standard deviation: less than these tell of it.
LEAST_KERNEL = 0.02
# Newton's steps to a quantile, within a bracket.
STEPS = 14


@dataclass(frozen=True, eq=False)
class SampledPosterior:
    """A `Posterior` of which there are draws, by the sampler of Monte Carlo EM.

    Attributes:
      fit: a fitted model with its rows, and with effects by Student's t.
      num_draws: m.
      seed: of all random numbers.
    """

    fit: FittedModel
    num_draws: int
    seed: int

    @cached_property
    def sample(self) -> SampledEffects:
        """The draws: every fourth one of the sampler, and so nearly independent."""
        import_tensorflow()
        from lmeformula.sampling.student_draws import sample_effects
        from lmeformula.sampling.student_problem import StudentModel

        model, params = self.fit.model, self.fit.params
        of, space = StudentModel(model), model.space
        psi = space.to_free(params)
        for place, prior in zip(space.theta_slices, params.distributions, strict=True):
            if not prior.is_normal:
                psi[place.stop - 1] = max(psi[place.stop - 1], np.log(LEAST_DISTANCE))
        psi, _ = off_bounds(space, psi)
        _, watched = watch(model, of.plan.starts)
        with one_blas_thread():
            return sample_effects(of, psi, self.num_draws, self.seed, watched)

    @cached_property
    def plan(self) -> Layout:
        """See `Posterior`."""
        return layout(self.fit.model.design.terms)

    @property
    def effective(self) -> float:
        """See `Posterior`."""
        return self.sample.effective

    @cached_property
    def moves(self) -> Floats:
        """See `Posterior`."""
        space, moves = self.fit.model.space, self.sample.moves
        fixed = moves[:, : space.num_fixed]
        return (
            fixed if own_is_apart(self.fit) else np.column_stack([fixed, moves[:, space.own_slice]])
        )

    def tells_of(self, rows: Design | NewRows) -> bool:
        """See `Posterior`."""
        return any((block.index >= 0).any() and block.values.any() for block in rows.terms)

    def spread(self, rows: Design | NewRows) -> Floats:
        """See `Posterior`."""
        return np.zeros((len(rows.offset), rows.num_predictors, rows.num_predictors))

    def shifts(self, rows: Design | NewRows) -> Floats:
        """See `Posterior`."""
        found = np.zeros((self.num_draws, 1, len(rows.offset)))
        moves = [
            drawn - modes for drawn, modes in zip(self.sample.effects, self.fit.modes, strict=True)
        ]
        add_effects(found, rows.terms, moves)
        return found[:, 0]

    def draws(self, num_draws: int, seed: int) -> PosteriorDraws:
        """See `Posterior`."""
        drawn = replace(self, num_draws=num_draws, seed=seed)
        return PosteriorDraws(drawn.sample.effects, SAMPLED)


def kernel_quantiles(draws: Floats, sds: Floats, level: float) -> Floats:
    """(2, n) quantiles of draws with normal errors added, between which there is a chance of `level`.

    The distribution function is the mean over draws of the normal ones: an error's own share has no Monte Carlo
    error.

    Args:
      draws: (m, n).
      sds: (n,) of the errors.
      level: the chance.
    """
    widths = np.maximum(sds, LEAST_KERNEL * draws.std(axis=0))
    widths = np.where(widths > 0.0, widths, 1e-300)
    found = []
    for chance in (0.5 - level / 2, 0.5 + level / 2):
        away = widths * scipy.special.ndtri(chance)
        low, high = draws.min(axis=0) + away, draws.max(axis=0) + away
        at = np.quantile(draws, chance, axis=0)
        for _ in range(STEPS):
            at = np.clip(at, low, high)
            scaled = (at - draws) / widths
            excess = scipy.special.ndtr(scaled).mean(axis=0) - chance
            slope = np.exp(-0.5 * scaled**2).mean(axis=0) / (widths * np.sqrt(2.0 * np.pi))
            low, high = np.where(excess < 0, at, low), np.where(excess > 0, at, high)
            there = at - excess / np.maximum(slope, 1e-300)
            at = np.where((low <= there) & (there <= high), there, 0.5 * (low + high))
        found.append(at)
    return np.array(found)
