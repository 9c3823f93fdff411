"""Draws of all random effects given the data, and how they were drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel

JOINT = "normal, jointly for all effects"
SAMPLED = "from the sampler of Monte Carlo EM, jointly for all effects"
APART = "normal, each level independently of the others"


class PosteriorDraws(NamedTuple):
    """Independent draws of all random effects.

    Attributes:
      effects: (m, l, k) for each term.
      how: `JOINT`, `SAMPLED` or `APART`.
    """

    effects: tuple[Floats, ...]
    how: str


def drawn_apart(fit: FittedModel, num_draws: int, seed: int) -> PosteriorDraws:
    """Draws of each level from its own conditional covariance, for which the rows are not needed."""
    random, found = np.random.default_rng(seed), []
    for modes, covariances in zip(fit.modes, fit.mode_cov, strict=True):
        roots = np.array([cholesky_semidefinite(covariance) for covariance in covariances])
        noise = random.standard_normal((num_draws, *modes.shape))
        found.append(modes + np.einsum("lab,mlb->mla", roots, noise))
    return PosteriorDraws(tuple(found), APART)
