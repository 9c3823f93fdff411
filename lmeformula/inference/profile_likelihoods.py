"""The likelihoods that are profiled, those without a Monte Carlo error."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.student import LEAST_FREEDOM
from lmeformula.errors import ModelError
from lmeformula.estimation.exact import estimate_exact
from lmeformula.estimation.student_maximum import likelihood_by_quadrature
from lmeformula.fit import FittedModel, check_maximum
from lmeformula.inference.profile_surface import Slice, slice_by
from lmeformula.likelihood.gaussian.profiled import ExactLikelihood
from lmeformula.likelihood.laplace.in_psi import LaplaceLikelihood
from lmeformula.likelihood.protocol import OnALink
from lmeformula.model.compile import Model
from lmeformula.prediction.parameters import parameters


def slice_of(fit: FittedModel, index: int) -> Slice:
    """The surface in which one parameter of a fit is profiled.

    Args:
      fit: the fit.
      index: position of the parameter in `fit.param_names`.
    Raises:
      ModelError: if the likelihood of the fit cannot be evaluated without Monte Carlo error.
    """
    check_maximum(fit, "a profile likelihood")
    if not fit.is_factored:
        raise ModelError(
            "a profile takes hundreds of likelihoods, which the iterative solver only estimates",
            hint='Use method="wald"; where a dense block fits into memory, profile a fit with solver="direct". '
            "A simpler model is tested by anova: of two fits with one seed the difference is known far better.",
        )
    parameter = parameters(fit)[index]
    if not has_profile(fit, index):
        raise ModelError(
            f"no profile likelihood of {parameter.name}, which hangs on several parameters of its covariance",
            hint='Use method="wald", or parm=... for others.',
        )
    if not fit.model.space.has_normal_priors:
        _check_freedom(fit)
        return slice_by(ByQuadrature, fit, parameter, index)
    if not fit.model.family.is_normal:
        if fit.is_drawn:
            raise ModelError(
                f"no profile likelihood of a {fit.model.family.name} model fitted by {fit.method}",
                hint='Its log-likelihood has a Monte Carlo error; use method="wald", or profile a fit by '
                'method="laplace".',
            )
        return slice_by(partial(LaplaceLikelihood, marginal=fit.marginal), fit, parameter, index)
    # The restricted likelihood has no fixed effects.
    reml = fit.reml and parameter.effect != "fixed"
    if fit.reml and not reml:
        unrestricted = estimate_exact(fit.model, False)
        fit = replace(fit, model=unrestricted.model, params=unrestricted.params)
        parameter = replace(parameter, estimate=float(fit.params.beta[index]))
    sigma = fit.params.residual_sd
    return slice_by(lambda model: ExactLikelihood(model, sigma, reml), fit, parameter, index)


def has_profile(fit: FittedModel, index: int) -> bool:
    """Whether a parameter of a fit is no correlation that several parameters of its structure give.

    Those of an unstructured covariance are put first, where one gives it.
    """
    space = fit.model.space
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        if place.start <= index < place.stop and term.structure.correlations != "each":
            theta = np.linspace(0.1, 0.5, place.stop - place.start)
            row = term.structure.report_jacobian(theta, len(term.columns))[index - place.start]
            return bool(np.count_nonzero(row) < 2)
    return True


class ByQuadrature(OnALink):
    """Of effects by Student's t distribution.

    Raises:
      ModelError: where effects hang together in blocks of more than two.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        likelihood = likelihood_by_quadrature(model)
        if likelihood is None:
            raise ModelError(
                "no profile likelihood of effects by Student's t of which more than two hang together",
                hint="Without quadrature over each level its log-likelihood has a Monte Carlo error; use "
                'method="wald".',
            )
        self.likelihood = likelihood

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        try:
            found = self.likelihood.at(psi)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(len(psi))
        return found.value, found.gradient


def _check_freedom(fit: FittedModel) -> None:
    """Refuse what ended as another model: effects that are Gaussian, or without a mean."""
    terms = zip(fit.model.space.terms, fit.params.distributions, strict=True)
    ended = [prior.df for term, prior in terms if term.prior.has_df]
    if math.isinf(max(ended)) or min(ended) <= LEAST_FREEDOM:
        raise ModelError(
            "no profile likelihood where degrees of freedom of effects ended at infinity, or at 1",
            hint='At infinity effects are Gaussian: profile a fit without dist; or use method="wald".',
        )
