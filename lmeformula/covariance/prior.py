"""The prior of a term's effects: what kind of distribution they have, and which one at given parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite


@dataclass(frozen=True, slots=True)
class Prior:
    """A kind of distribution of the coefficients of a level, about zero.

    Attributes:
      name: as a formula has it, gr(g, dist = "student"), and a saved fit.
      has_df: whether it has degrees of freedom, beside a covariance or scale matrix.
    """

    name: str
    has_df: bool


NORMAL = Prior("gaussian", has_df=False)
STUDENT = Prior("student", has_df=True)
PRIORS = {prior.name: prior for prior in (NORMAL, STUDENT)}


class EffectDistribution(NamedTuple):
    """The distribution of the coefficients of a level, about zero: Student's t, or the normal.

    Attributes:
      scale: (k, k) scale matrix; of the normal the covariance.
      df: degrees of freedom; infinite for the normal.
    """

    scale: Floats
    df: float

    @property
    def is_normal(self) -> bool:
        """Whether there are infinitely many degrees of freedom."""
        return math.isinf(self.df)

    @property
    def covariance(self) -> Floats:
        """(k, k) the scale matrix times df / (df - 2); infinite for two degrees of freedom or fewer."""
        if self.is_normal:
            return self.scale
        return self.scale * (self.df / (self.df - 2.0) if self.df > 2.0 else math.inf)

    def draw(self, random: np.random.Generator, num_levels: int) -> Floats:
        """(l, k) coefficients of so many levels."""
        return np.asarray(self.draws([random], num_levels)[0])

    def draws(self, randoms: Sequence[np.random.Generator], num_levels: int) -> Floats:
        """(m, l, k) coefficients of so many levels, from each of several generators."""
        noise = np.stack([self._noise(random, num_levels) for random in randoms])
        return np.asarray(noise @ cholesky_semidefinite(self.scale).T)

    def _noise(self, random: np.random.Generator, num_levels: int) -> Floats:
        noise = random.standard_normal((num_levels, len(self.scale)))
        if not self.is_normal:
            noise *= np.sqrt(self.df / random.chisquare(self.df, size=(num_levels, 1)))
        return noise
