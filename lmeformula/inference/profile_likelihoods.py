"""The likelihoods that are profiled, those without a Monte Carlo error."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.arrays import Floats, Mask
from lmeformula.errors import ModelError
from lmeformula.estimation.student_effects import is_heavy
from lmeformula.fit import FittedModel
from lmeformula.inference.profile_surface import Slice, slice_by
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.profiled import Held, concentrated
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.prediction.parameters import parameters
from lmeformula.startup import import_tensorflow

if TYPE_CHECKING:
    from lmeformula.sampling.student_quadrature import HeavyLikelihood


def slice_of(fit: FittedModel, index: int) -> Slice:
    """The surface in which one parameter of a fit is profiled.

    Args:
      fit: the fit.
      index: position of the parameter in `fit.param_names`.
    Raises:
      ModelError: if the likelihood of the fit cannot be evaluated without Monte Carlo error.
    """
    if not fit.is_factored:
        raise ModelError(
            "a profile takes hundreds of likelihoods, which the iterative solver only estimates",
            hint='Use method="wald".',
        )
    parameter, params = parameters(fit)[index], fit.params
    if is_heavy(fit.model):
        _check_freedom(fit)
        return slice_by(ByQuadrature, fit.model, params, parameter, index, fit.param_stderr)
    if not fit.model.family.is_normal:
        if fit.is_drawn:
            raise ModelError(
                f"no profile likelihood of a {fit.model.family.name} model fitted by {fit.method}",
                hint='Its log-likelihood has a Monte Carlo error; use method="wald", or profile a fit by '
                'method="laplace".',
            )
        return slice_by(ByLaplace, fit.model, params, parameter, index, fit.param_stderr)
    # The restricted likelihood has no fixed effects.
    reml = fit.reml and parameter.effect != "fixed"
    if fit.reml and not reml:
        params = fit_exact(sums(fit.model.design), fit.model.space).params
        parameter = replace(parameter, estimate=float(params.beta[index]))
    return slice_by(
        lambda model: Exact(model, params.residual_sd, reml),
        fit.model,
        params,
        parameter,
        index,
        fit.param_stderr,
    )


class Exact:
    """Of a Gaussian model, or the restricted one, at the best fixed effects.

    Args:
      model: the model.
      sigma: residual standard deviation that others are judged by.
      reml: the restricted likelihood.
    """

    def __init__(self, model: Model, sigma: float, reml: bool) -> None:
        self.space, self.reml = model.space, reml
        self.data: Sums = sums(model.design)
        self.solved: Mask = np.arange(self.space.size) < self.space.num_fixed
        self.scales = self.data.column_scales()
        self.unit = sigma

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        p = self.space.num_fixed
        fixed = Held(held, float(psi[held])) if held < p else None
        found = concentrated(self.data, self.space, psi[p:], reml=self.reml, held=fixed)
        slope = np.concatenate([np.zeros(p), found.gradient])
        if fixed is not None:
            slope[held] = found.in_held
        return found.value, slope


class _OfAll:
    """A likelihood that solves for nothing, of a model whose predictors are on the scale of a link."""

    unit = 1.0

    def __init__(self, model: Model) -> None:
        self.space: ParamSpace = model.space
        self.solved: Mask = np.zeros(self.space.size, bool)
        self.scales = tuple(np.sqrt(np.mean(t.values**2, axis=0)) for t in model.design.terms)


class ByLaplace(_OfAll):
    """The Laplace approximation; searches for the mode start from the last one."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        plan = layout(model.stack.terms)
        self.problem = arrays_of(model, plan)
        self.last = np.zeros(plan.num_effects)

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        found = approximate(self.problem, place(self.space, psi), self.last)
        if np.isfinite(found.value):
            self.last = found.mode.u
        return found.value, gradient(self.space, psi, found)


class ByQuadrature(_OfAll):
    """Of effects by Student's t distribution.

    Raises:
      ModelError: where effects hang together in blocks of more than two.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        import_tensorflow()
        from lmeformula.sampling.student_problem import HeavyModel
        from lmeformula.sampling.student_quadrature import heavy_likelihood

        likelihood = heavy_likelihood(HeavyModel(model))
        if likelihood is None:
            raise ModelError(
                "no profile likelihood of effects by Student's t of which more than two hang together",
                hint="Without quadrature over each level its log-likelihood has a Monte Carlo error; use "
                'method="wald".',
            )
        self.likelihood: HeavyLikelihood = likelihood

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        try:
            found = self.likelihood.at(psi, with_gradient=True)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(len(psi))
        return found.value, found.gradient


def _check_freedom(fit: FittedModel) -> None:
    """Refuse what ended as another model: effects that are Gaussian, or without a mean."""
    heavy = [df for df in fit.params.freedom if math.isfinite(df)]
    if len(heavy) < sum(name.startswith("df(") for name in fit.param_names) or min(heavy) <= 1.0:
        raise ModelError(
            "no profile likelihood where degrees of freedom of effects ended at infinity, or at 1",
            hint='At infinity effects are Gaussian: profile a fit without dist; or use method="wald".',
        )
