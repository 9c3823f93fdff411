"""Effects with heavy tails given the data, as draws, and what intervals are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats
from lmeformula.design.design import TermBlock
from lmeformula.estimation.common import BOUNDARY_SD, watch
from lmeformula.fit import FittedModel
from lmeformula.model.bounds import off_bounds
from lmeformula.prediction.predictor import add_effects
from lmeformula.startup import import_tensorflow

# What stands for degrees of freedom at their least, above it.
LEAST_DISTANCE = 1e-6
# A kernel is no narrower than this share of the draws' standard deviation: less than these tell of it.
LEAST_KERNEL = 0.02
# Newton's steps to a quantile, within a bracket.
STEPS = 14


class EffectSample(NamedTuple):
    """Draws of all effects of a fit given the data and the estimates.

    Attributes:
      effects: (m, l, k) of each term.
      moves: (q, d) derivatives of the effects' means in the unconstrained parameters.
      effective: the fewest independent draws that an effect's mean is as good as.
      plan: where the effects of each term are among the q.
    """

    effects: tuple[Floats, ...]
    moves: Floats
    effective: float
    plan: Layout

    def shifts(self, fit: FittedModel, terms: Sequence[TermBlock]) -> Floats:
        """(m, n) how far the predictors of rows are from those at the effects of the fit; of known levels."""
        found = np.zeros((len(self.effects[0]), 1, len(terms[0].index)))
        moves = [drawn - modes for drawn, modes in zip(self.effects, fit.modes, strict=True)]
        add_effects(found, terms, moves)
        return found[:, 0]


def effect_sample(fit: FittedModel, num_draws: int, seed: int) -> EffectSample:
    """Draw all effects given the data, by the sampler of Monte Carlo EM.

    Args:
      fit: a fitted model with its rows, and with effects by Student's t.
      num_draws: m.
      seed: of all random numbers.
    """
    import_tensorflow()
    from lmeformula.sampling.student_draws import sample_effects
    from lmeformula.sampling.student_problem import HeavyModel

    of, space = HeavyModel(fit.model), fit.model.space
    psi = space.to_free(fit.params)
    for place, df in zip(space.theta_slices, fit.params.freedom, strict=True):
        if np.isfinite(df):
            psi[place.stop - 1] = max(psi[place.stop - 1], np.log(LEAST_DISTANCE))
    psi, _ = off_bounds(space, psi, BOUNDARY_SD)
    _, watched = watch(fit.model, of.plan.starts)
    with one_blas_thread():
        found = sample_effects(of, psi, num_draws, seed, watched)
    effects = tuple(np.moveaxis(part, -1, 0) for part in found.effects)
    return EffectSample(effects, found.moves, found.effective, of.plan)


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
