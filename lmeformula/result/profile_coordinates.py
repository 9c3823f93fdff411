"""Result stage: along which surface a parameter of a fit is profiled."""

from __future__ import annotations

from lmeformula.errors import ModelError
from lmeformula.estimation.student_effects import is_heavy
from lmeformula.fit import FittedModel
from lmeformula.result.parameters import parameters
from lmeformula.result.profile_gaussian import Slice, of_covariance, of_fixed_effect
from lmeformula.result.profile_heavy import heavy_slice
from lmeformula.result.profile_laplace import laplace_evaluator, likelihood_slice


def slice_of(fit: FittedModel, index: int) -> Slice:
    """The surface in which one parameter of a fit is profiled.

    Args:
      fit: the fit; its model is Gaussian.
      index: position of the parameter in `fit.param_names`.
    Raises:
      ModelError: if the likelihood of the fit cannot be evaluated without Monte Carlo error.
    """
    if fit.solver == "iterative":
        raise ModelError(
            "a profile takes hundreds of likelihoods, which the iterative solver only estimates",
            hint='Use method="wald".',
        )
    parameter = parameters(fit)[index]
    if is_heavy(fit.model):
        return heavy_slice(fit, parameter, index)
    if not fit.model.family.is_normal:
        if fit.method != "laplace":
            raise ModelError(
                f"no profile likelihood of a {fit.model.family.name} model fitted by {fit.method}",
                hint='Its log-likelihood has a Monte Carlo error; use method="wald", or profile a fit by '
                'method="laplace".',
            )
        return likelihood_slice(fit, parameter, index, laplace_evaluator)
    if parameter.effect == "fixed":
        return of_fixed_effect(fit, parameter, index)
    return of_covariance(fit, parameter, index)
