"""What quadrature knows where blocks of effects are small: the maximum to start from, and its errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.approximate import start_of
from lmeformula.estimation.common import stderr_of
from lmeformula.estimation.covariance import reported_covariance
from lmeformula.likelihood.evaluation import CONVERGED_GAIN
from lmeformula.likelihood.laplace.fit import Care
from lmeformula.likelihood.laplace.information import upright
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.likelihood.laplace.modes import gradient, mode_at
from lmeformula.likelihood.laplace.observed import along_ways
from lmeformula.likelihood.quadrature.integrand import Integrand, integrand
from lmeformula.likelihood.quadrature.marginal import Quadrature
from lmeformula.model.compile import Model

# A start that is nearer to the maximum than this, in standard errors, is left alone.
NEAR = 0.5
# Rows times nodes of an evaluation; of more a start is not worth its time.
MOST_NUMBERS = 2_000_000
# The same of all evaluations that standard errors and their errors take.
MOST_WORK = 100_000_000
# Steps of differences.
DIFFERENCE = 1e-4


class ExactStart(NamedTuple):
    """The maximum of the likelihood as quadrature has it.

    Attributes:
      psi: (d,) unconstrained.
      information: (d, d) observed information there, positive definite.
      modes: (q,) spherical effects at their mode there.
    """

    psi: Floats
    information: Floats
    modes: Floats


def exact_start(
    model: Model, arrays: Arrays, psi: Floats, information: Floats, modes: Floats
) -> ExactStart | None:
    """Look for the maximum from a start that may be far off.

    Args:
      model: with Gaussian effects.
      arrays: its arrays, with X as it is in the model.
      psi: (d,) the start.
      information: (d, d) observed information of the approximation there.
      modes: (q,) spherical effects at their mode there.
    Returns:
      The maximum; None where the start is near enough, where blocks of effects are large, or rows too many.
    """
    of = _Likelihood.of(model, arrays, modes)
    if of is None or _is_near(of, psi, information):
        return None
    care = Care(CONVERGED_GAIN, looks_far=False, marginal=Quadrature)
    try:
        found = start_of(model, "direct", 0, Options(), care)
    except np.linalg.LinAlgError:
        return None
    if found.outcome is not Outcome.CONVERGED or not np.isfinite(found.psi).all():
        return None
    observed = found.observed.matrix + np.diag(np.where(found.inside, 0.0, 1.0))
    return ExactStart(found.psi, upright(observed), found.found.approximation.mode.u)


def _is_near(of: _Likelihood, psi: Floats, information: Floats) -> bool:
    here = of(psi)
    if here is None:
        return False
    step = np.linalg.lstsq(upright(information), here[1], rcond=1e-12)[0]
    if not float(here[1] @ step) < NEAR**2:
        return False
    stepped = of(psi + step)
    return stepped is not None and abs(stepped[0] - here[0]) < NEAR**2


def exact_errors(
    model: Model,
    arrays: Arrays,
    psi: Floats,
    mc_covariance: Floats,
    inside: Mask,
    modes: Floats,
) -> tuple[Floats, Floats] | None:
    """Standard errors by quadrature, where it reaches.

    Args:
      model: with Gaussian effects.
      arrays: its arrays, with X as it is in the model.
      psi: (d,) the estimates; those on a boundary hold a finite stand-in.
      mc_covariance: (d, d) their Monte Carlo covariance.
      inside: (d,) those off their boundary.
      modes: (q,) spherical effects at their mode there.
    Returns:
      (v, v) covariance on the reporting scale, and (v,) the errors that the standard errors have because the
      estimates are not quite at the maximum; nan on boundaries. None where blocks of effects are large, rows
      too many, or the likelihood has no curvature there.
    """
    of = _Likelihood.of(model, arrays, modes)
    if of is None or 2 * len(psi) * (len(psi) + 1) * of.numbers > MOST_WORK:
        return None

    def covariance(at: Floats) -> Floats | None:
        second = of.second(at)
        if not np.isfinite(second).all():
            return None
        try:
            observed = along_ways(second, inside, model.triangle, 0.0)
            return reported_covariance(model.space, at, observed)
        except np.linalg.LinAlgError:
            return None

    found = covariance(psi)
    if found is None or not (np.diag(found)[inside] > 0).all():
        return None
    stderr, moved = stderr_of(found), np.zeros(len(found))
    values, vectors = np.linalg.eigh(np.where(np.outer(inside, inside), mc_covariance, 0.0))
    for direction in (vectors * np.sqrt(np.maximum(values, 0.0))).T:
        beside = covariance(psi + direction) if direction.any() else found
        if beside is None:
            return None
        moved += (stderr_of(beside) - stderr) ** 2
    return found, np.sqrt(moved)


class _Likelihood:
    """The log-likelihood and its gradient; each search for modes starts from the last one's."""

    def __init__(self, model: Model, arrays: Arrays, inside: Integrand, modes: Floats) -> None:
        self.model, self.arrays, self.modes = model, arrays, modes
        self.marginal, self.numbers = Quadrature(inside), inside.densities()
        self.R = model.triangle

    @classmethod
    def of(cls, model: Model, arrays: Arrays, modes: Floats) -> _Likelihood | None:
        """Of a model; None where it is not to be integrated."""
        inside = integrand(model, arrays.plan)
        if inside is None or inside.densities() > MOST_NUMBERS:
            return None
        return cls(model, arrays, inside, modes)

    def __call__(self, psi: Floats) -> tuple[float, Floats] | None:
        """Value and gradient (d,) at psi (d,); None where they are not finite."""
        try:
            mode = mode_at(self.model, self.arrays, psi, self.modes)
        except np.linalg.LinAlgError:
            return None
        weights = self.arrays.rows.held(mode.weights)
        if not (np.isfinite(mode.u).all() and np.isfinite(weights).all()):
            return None
        found = self.marginal.integral(self.arrays, mode)
        slope = gradient(self.model.space, psi, found)
        if not (np.isfinite(found.value) and np.isfinite(slope).all()):
            return None
        self.modes = mode.u
        return found.value, slope

    def second(self, psi: Floats) -> Floats:
        """(d, d) negative second derivative, by central differences of the gradient."""
        rows = []
        spread = np.ones(len(psi))
        p = self.model.space.num_fixed
        if p:
            # Fixed effects move in units of what the rows know of them.
            spread[:p] = 1.0 / np.sqrt(np.square(self.R).sum(axis=0))
        for place, length in enumerate(DIFFERENCE * spread):
            step = np.zeros(len(psi))
            step[place] = length
            ends = self(psi + step), self(psi - step)
            if ends[0] is None or ends[1] is None:
                return np.full((len(psi), len(psi)), np.nan)
            rows.append((ends[1][1] - ends[0][1]) / (2.0 * length))
        found = np.array(rows)
        return np.asarray(0.5 * (found + found.T))
