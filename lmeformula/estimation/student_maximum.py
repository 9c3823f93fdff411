"""Models with heavy-tailed effects in small blocks: the maximum of their likelihood by quadrature."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.student import MANY
from lmeformula.em.outcome import Outcome
from lmeformula.estimation.common import stderr_of
from lmeformula.estimation.student_effects import inverted, stand_in_modes
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.information import upright
from lmeformula.model.compile import Model
from lmeformula.startup import import_tensorflow

# Standard deviations, relative, and degrees of freedom above one that are as good as their least; and the range
# in which correlations lie, unconstrained.
NIL, LEAST_DISTANCE, STEEPEST = 1e-4, 1e-5, 10.0
# From so many degrees of freedom on it is looked whether infinitely many do as well.
FAR, AS_WELL = 15.0, 1e-6
# The gradient, in standard errors of the parameters, that is none.
SETTLED = 1e-4
# Step of the differences for the information, in units of the parameters.
DIFFERENCE = 1e-3
# What stands for unknown standard errors, and for those beyond this.
UNIT = 0.2, 2.0


if TYPE_CHECKING:
    from lmeformula.sampling.student_quadrature import StudentLikelihood


class Range(NamedTuple):
    """Between which (d,) unconstrained parameters the likelihood changes."""

    lowest: Floats
    highest: Floats


class Maximum(NamedTuple):
    """A maximum.

    Attributes:
      psi: (d,) parameters; infinite where they end at a boundary.
      value: the log-likelihood.
      converged: whether the search ended by itself.
    """

    psi: Floats
    value: float
    converged: bool


def likelihood_by_quadrature(model: Model) -> StudentLikelihood | None:
    """The likelihood of a model; None where some effects hang together in blocks of more than two."""
    import_tensorflow()
    from lmeformula.sampling.student_problem import StudentModel
    from lmeformula.sampling.student_quadrature import student_likelihood

    return student_likelihood(StudentModel(model))


def student_range(fit: FittedModel) -> Range:
    """The range of the parameters of a fit's model."""
    model, space = fit.model, fit.model.space
    # A predictor without residual errors is on the scale of its link.
    unit = fit.sigma or 1.0
    scales = [np.sqrt(model.design.mean(term.values**2)) for term in model.design.terms]
    lowest, highest = np.full(space.size, -np.inf), np.full(space.size, np.inf)
    for term, place, scale in zip(space.terms, space.theta_slices, scales, strict=True):
        k = len(term.columns)
        num_sds = term.structure.num_sds(k)
        lowest[place], highest[place] = -STEEPEST, STEEPEST
        sds = slice(place.start, place.start + num_sds)
        lowest[sds] = np.log(NIL * unit / (scale if num_sds == k else scale.max()))
        highest[sds] = np.inf
        if term.prior.has_df:
            lowest[place.stop - 1] = np.log(LEAST_DISTANCE)
            highest[place.stop - 1] = np.log(MANY)
    return Range(lowest, highest)


def student_units(fit: FittedModel) -> Floats:
    """(d,) the standard errors of the unconstrained parameters of a fit, or what stands for unknown ones."""
    jacobian = fit.model.space.report_jacobian(fit.model.space.to_free(fit.params))
    with np.errstate(all="ignore"):
        found = fit.param_stderr / np.abs(np.diag(jacobian))
    return np.where(np.isfinite(found) & (found > 0.0) & (found < UNIT[1]), found, UNIT[0])


def maximise(likelihood: StudentLikelihood, start: Floats, unit: Floats, within: Range) -> Maximum:
    """Climb to a maximum of the likelihood.

    Args:
      likelihood: of the model.
      start: (d,) where to begin.
      unit: (d,) standard errors, or what else parameters are measured in.
      within: their range.
    """
    found = _climb(likelihood, start, unit, within)
    space = likelihood.of.model.space
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        last = place.stop - 1
        if term.prior.has_df and found.psi[last] > np.log(FAR):
            # On the way to the Gaussian the likelihood is flat: the search may have stopped there.
            psi, low = found.psi.copy(), within.lowest.copy()
            psi[last] = low[last] = within.highest[last]
            other = _climb(likelihood, psi, unit, within._replace(lowest=low))
            found = other if other.value > found.value - AS_WELL else found
    psi = np.where(found.psi >= within.highest, np.inf, found.psi)
    return found._replace(psi=np.where(psi <= within.lowest, -np.inf, psi))


def refit_by_quadrature(
    fit: FittedModel, model: Model, likelihood: StudentLikelihood
) -> FittedModel:
    """A fit of a model that differs from that of a fit in its rows or its response.

    Effects are at their modes, not their means; there are no Monte Carlo errors.

    Args:
      fit: whose estimates it starts from.
      model: the model.
      likelihood: of the model.
    """
    space, within, unit = model.space, student_range(fit), student_units(fit)
    top = maximise(likelihood, space.to_free(fit.params), unit, within)
    psi, inside = np.clip(top.psi, within.lowest, within.highest), np.isfinite(top.psi)
    steps = DIFFERENCE * np.diag(unit)
    slopes = [
        likelihood.at(psi + step).gradient - likelihood.at(psi - step).gradient
        for step in steps[inside]
    ]
    second = np.array(slopes)[:, inside] / (2.0 * np.diag(steps)[inside, None])
    vcov = inverted(space, psi, inside, upright(-0.5 * (second + second.T)))
    modes, mode_cov = stand_in_modes(likelihood.of, psi)
    return replace(
        fit,
        model=model,
        params=space.to_natural(top.psi),
        param_values=space.to_report(top.psi),
        param_stderr=stderr_of(vcov),
        param_vcov=vcov,
        param_mc_error=np.zeros(space.size),
        fixed_vcov=vcov[: space.num_fixed, : space.num_fixed],
        modes=modes,
        mode_cov=mode_cov,
        outcome=Outcome.CONVERGED if top.converged else Outcome.ITERATIONS_EXHAUSTED,
        information="quadrature",
    )


def _climb(likelihood: StudentLikelihood, start: Floats, unit: Floats, within: Range) -> Maximum:
    import scipy.optimize  # a tenth of a second, which other fits need not wait for

    centre = np.clip(start, within.lowest, within.highest)

    def negative(at: Floats) -> tuple[float, Floats]:
        try:
            found = likelihood.at(centre + unit * at)
        except np.linalg.LinAlgError:
            return 1e300, np.zeros(len(at))
        if not np.isfinite(found.value):
            return 1e300, np.zeros(len(at))
        return -found.value, -unit * found.gradient

    bounds = list(
        zip((within.lowest - centre) / unit, (within.highest - centre) / unit, strict=True)
    )
    found = scipy.optimize.minimize(
        negative,
        np.zeros(len(centre)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 200, "gtol": SETTLED, "ftol": 1e-13},
    )
    psi = np.clip(centre + unit * found.x, within.lowest, within.highest)
    return Maximum(psi, -float(found.fun), bool(found.success) and found.fun < 1e299)
