"""Draws of all random effects given the data, and how they were drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_points import row_roots

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
        noise = random.standard_normal((num_draws, *modes.shape))
        found.append(modes + np.einsum("lab,mlb->mla", row_roots(covariances), noise))
    return PosteriorDraws(tuple(found), APART)
