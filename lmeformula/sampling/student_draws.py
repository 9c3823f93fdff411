"""Draws of effects with heavy tails given the data, at one parameter vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.draws import start_walkers, take
from lmeformula.em.programs import engine_of, tensors_of
from lmeformula.em.series import effective_draws
from lmeformula.em.types import Options
from lmeformula.sampling.student_problem import StudentModel, student_problem, whitening_of

# Transitions before the first draw, and of each draw that is kept: the next ones are much like it.
WARMUP, THINNING = 200, 4


class SampledEffects(NamedTuple):
    """Draws of all effects.

    Attributes:
      effects: (m, l, k) of each term, on the scale of the predictor.
      moves: (q, d) derivatives of the effects' means given the data in the unconstrained parameters.
      effective: the fewest independent draws that an effect's mean is as good as.
    """

    effects: tuple[Floats, ...]
    moves: Floats
    effective: float


def sample_effects(
    of: StudentModel, psi: Floats, num_draws: int, seed: int, watched: tuple[int, ...]
) -> SampledEffects:
    """Draw effects given the data, by the sampler of Monte Carlo EM's E-step.

    Args:
      of: the model.
      psi: (d,) unconstrained parameters, finite.
      num_draws: m.
      seed: of all random numbers.
      watched: positions of latents, as the fit had them: so its compiled programs are found again.
    References:
      Louis (1982), J. R. Stat. Soc. B 44, 226-233, of derivatives as covariances with complete-data scores.
    """
    options, dtype = Options(watched=watched), of.model.dtype
    problem = student_problem(of, psi)
    geometry = whitening_of(of, psi)
    engine = engine_of(problem, options, dtype, seed)
    arrays, data = tensors_of((geometry.arrays, problem.data), dtype)
    walkers = start_walkers(engine, geometry)
    kept: list[Floats] = []
    scores: list[Floats] = []
    left, warmup = -(-num_draws // options.num_chains), WARMUP
    while left:
        drawn, walkers = take(
            engine,
            psi,
            geometry,
            walkers,
            num_warmup=warmup,
            num_draws=THINNING * min(left, engine.at_once),
        )
        positions = drawn.positions[::THINNING]
        count = len(positions)
        flat = np.moveaxis(positions, 1, 0).reshape(positions.shape[1], -1)
        latents = problem.to_latents(tensors_of(flat, dtype), arrays, data)
        kept.append(np.asarray(latents, float).reshape(len(latents), count, -1))
        scores.append(np.moveaxis(drawn.raw[::THINNING][:count], 1, 0))
        left, warmup = left - count, 1
    effects, score = np.concatenate(kept, axis=1), np.concatenate(scores, axis=1)
    effective = effective_draws(np.moveaxis(effects, 0, 1))
    flat, score = (each.reshape(len(each), -1)[:, :num_draws] for each in (effects, score))
    centred = flat - flat.mean(axis=1, keepdims=True)
    by_draw = tuple(np.moveaxis(part, -1, 0) for part in of.plan.split(flat))
    return SampledEffects(by_draw, centred @ score.T / flat.shape[1], effective)
