"""A fitted model: a record of the estimates, and what is read off it directly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Self, TypeVar, cast

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.observations import by_observation
from lmeformula.drawn import Draws
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Iteration
from lmeformula.errors import ModelError
from lmeformula.history import Ascent, LogLik, Resumed, Sampling, Seconds, Watched
from lmeformula.model.compile import Model
from lmeformula.model.params import Params

if TYPE_CHECKING:
    import pandas as pd

    from lmeformula.formula.formula import Formula
    from lmeformula.likelihood.laplace.likelihood import Marginal

P = ParamSpec("P")
T = TypeVar("T")

# What the observed information behind standard errors is; see `FittedModel.information`.
Information = Literal["exact", "laplace", "monte carlo", "quadrature", "posterior"]

# How fits by draws are compared.
OF_LOO = "Compare them by leaving rows out: arviz.compare of each fit.to_arviz()."


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FittedModel:
    """A fitted model, as a record; `lmeformula.face.Fit` has the methods.

    Attributes:
      model: what was fitted; the variables of its joint distribution hold the estimates. The model that was
        compiled keeps its start values.
      method: "exact", "quadrature", "laplace", "mcem", "nuts" or "vi"; see `is_exact`, `has_modes`, `is_drawn`.
        By the last two estimates are posterior means, their standard errors and covariances the posterior's.
      reml: whether the restricted likelihood was maximised.
      params: the estimates on their natural scale.
      param_names: (d) names of all estimated parameters on the reporting scale.
      param_values: (d) their estimates: fixed effects, standard deviations, correlations, sigma.
      param_stderr: (d) their standard errors, from the observed information; nan at a boundary.
      param_vcov: (d, d) covariance of the estimates, whose diagonal the standard errors are from.
      param_mc_error: (d) their Monte Carlo standard errors; zeros where the answer is exact.
      fixed_vcov: (p, p) covariance of the fixed effects.
      modes: (l, k) posterior means of the random effects given the estimates, one array per term.
      mode_cov: (l, k, k) their posterior covariances.
      outcome: how the fit ended.
      singular: whether a covariance matrix of random effects is singular.
      loglik: the log-likelihood at the estimates.
      iterations: one record for each iteration; empty for exact fits.
      watched: draws of a few effects in the last E-step, or None.
      seconds: where the time went.
      ascent: how the deterministic maximisation ended; None for Monte Carlo fits of Gaussian models.
      sampling: the last iteration of Monte Carlo EM, or None.
      laplace_values: (d) the estimates by the Laplace approximation that Monte Carlo EM started from, or None.
      solver: "direct" where the equations were factored, "iterative" where that would have been too large.
      information: the observed information that the standard errors are from: "exact" for Gaussian models,
        that of the "laplace" approximation, its "monte carlo" estimate from the last E-step's draws, or by
        "quadrature"; "posterior" where they are standard deviations of draws.
      param_stderr_error: (d) Monte Carlo errors of the standard errors, or None where they have none, or
        where nothing is known of them.
      certificate: what was examined at the estimates; None for fits saved without.
      resumed: from where the fit went on after it had been killed; None where it ran in one go.
      draws: of parameters and effects given the data, by method="nuts" or "vi"; None otherwise.
    """

    model: Model
    method: str
    reml: bool
    params: Params
    param_names: tuple[str, ...]
    param_values: Floats
    param_stderr: Floats
    param_vcov: Floats
    param_mc_error: Floats
    fixed_vcov: Floats
    modes: tuple[Floats, ...]
    mode_cov: tuple[Floats, ...]
    outcome: Outcome
    singular: bool
    loglik: LogLik
    iterations: tuple[Iteration, ...]
    watched: Watched | None
    seconds: Seconds
    ascent: Ascent | None
    sampling: Sampling | None
    laplace_values: Floats | None
    solver: str = "direct"
    information: Information = "exact"
    param_stderr_error: Floats | None = None
    certificate: Certificate | None = None
    resumed: Resumed | None = None
    draws: Draws | None = None

    def __post_init__(self) -> None:
        # The model that was compiled may have other fits: each has one of its own, at its estimates.
        object.__setattr__(self, "model", self.model.at(self.params))

    @property
    def has_priors(self) -> bool:
        """Whether estimates are the posterior mode by priors, not of maximum likelihood."""
        return bool(self.model.priors)

    @property
    def log_prior(self) -> float:
        """The log density of the priors at the estimates; up to a constant where one is improper, 0 of none."""
        return 0.0 if self.model.penalty is None else self.model.penalty.of(self.params)

    @property
    def log_posterior(self) -> float:
        """The log-likelihood plus the log density of the priors: what was maximised."""
        return self.loglik.value + self.log_prior

    @property
    def by_observation(self) -> Self:
        """The same fit with each row repeated as often as its frequency says; itself where none was given.

        What draws responses, or asks each single one, asks this: its rows are observations.
        """
        design = self.model.design
        # Of a fit that was loaded without its rows there is nothing to repeat.
        if not isinstance(design.frequency, np.ndarray):
            return self
        return replace(self, model=replace(self.model, design=by_observation(design)))

    # ---- what is read off directly

    @property
    def formula(self) -> Formula:
        """The formula, with "." expanded."""
        return self.model.design.formula

    @property
    def converged(self) -> bool:
        """Whether the estimates are the maximum-likelihood ones, to their reported error."""
        return self.outcome.converged

    @property
    def is_drawn(self) -> bool:
        """Whether estimates are from draws of the effects, by Monte Carlo EM."""
        return self.method == "mcem"

    @property
    def is_exact(self) -> bool:
        """Whether the likelihood that was maximised is exact, but for the iterative solver's probes."""
        return self.method == "exact"

    @property
    def is_factored(self) -> bool:
        """Whether the equations of the effects were factored, and can be again."""
        return self.solver == "direct"

    @property
    def marginal(self) -> type[Marginal]:
        """How its method integrates effects out; Laplace's way where that is by draws, which start there."""
        from lmeformula.likelihood.laplace.determinant import Determinant
        from lmeformula.likelihood.quadrature.marginal import MARGINALS

        return MARGINALS.get(self.method, Determinant)

    @property
    def has_modes(self) -> bool:
        """Whether `modes` are posterior modes where means are others: by Laplace's approximation."""
        return self.method == "laplace"

    @property
    def sigma(self) -> float | None:
        """The residual standard deviation, zero where there is no residual; None for families without one."""
        if self.model.space.has_no_residual:
            return 0.0
        return self.params.residual_sd if self.model.family.is_normal else None

    @property
    def family_params(self) -> pd.Series:
        """The family's own parameters: sigma, all thresholds, a dispersion; empty for families without."""
        space = self.model.space
        if space.own.values or self.model.family.is_normal:
            return self._by_name(self.params.own, space.own.natural_names, "estimate")
        # At a limit these hold the limit itself, where `params` has a finite number next to it.
        return self._by_name(self.param_values[space.own_slice], space.own.names, "estimate")

    @property
    def fixef(self) -> pd.Series:
        """The fixed effects."""
        return self._by_name(self.params.beta, self.model.design.names, "estimate")

    @property
    def stderr(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return self._by_name(np.sqrt(np.diag(self.fixed_vcov)), self.model.design.names, "stderr")

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects."""
        import pandas as pd

        names = list(self.model.design.names)
        return pd.DataFrame(self.fixed_vcov, index=names, columns=names)

    @property
    def theta(self) -> Floats:
        """Covariance parameters as lme4 has them: Cholesky factors over sigma, lower triangles by column."""
        scale = self.sigma or 1.0
        factors = (
            cholesky_semidefinite(covariance) / scale for covariance in self.params.covariances
        )
        parts = [factor.T[np.triu_indices(len(factor))] for factor in factors]
        return np.concatenate(parts)

    @property
    def mc_error(self) -> pd.Series:
        """Monte Carlo standard errors of all parameters; zeros where the answer is exact."""
        return self._by_name(self.param_mc_error, self.param_names, "mc_error")

    @property
    def deviance(self) -> float:
        """-2 log-likelihood."""
        check_not_drawn(self, "deviance, AIC and BIC", OF_LOO)
        return -2.0 * self.loglik.value

    @property
    def aic(self) -> float:
        """Akaike's information criterion.

        Raises:
          ModelError: for a posterior mode, where the likelihood is not at its maximum.
        """
        check_maximum(self, "AIC")
        return self.deviance + 2.0 * self.loglik.df

    @property
    def bic(self) -> float:
        """Schwarz's information criterion, with the number of observations.

        Raises:
          ModelError: for a posterior mode, where the likelihood is not at its maximum.
        """
        check_maximum(self, "BIC")
        return self.deviance + float(np.log(self.nobs)) * self.loglik.df

    @property
    def nobs(self) -> int:
        """Number of observations used: of rows, each as often as its frequency says."""
        return self.loglik.nobs

    @property
    def df_resid(self) -> int:
        """Observations less estimated parameters."""
        return self.nobs - self.loglik.df

    @property
    def trace(self) -> pd.DataFrame:
        """A row per iteration: estimates, step and error in standard errors, draws, acceptance."""
        import pandas as pd

        table = pd.DataFrame(
            np.array([line.estimates for line in self.iterations]).reshape(
                -1, len(self.param_names)
            ),
            columns=list(self.param_names),
        )
        table.insert(0, "iteration", [line.number for line in self.iterations])
        table["mc_error"] = [line.largest_error for line in self.iterations]
        table["step"] = [line.largest_step for line in self.iterations]
        table["num_draws"] = [line.num_draws for line in self.iterations]
        table["acceptance"] = [line.acceptance for line in self.iterations]
        table["seconds"] = [line.seconds for line in self.iterations]
        return table

    def _by_name(self, values: Floats, names: tuple[str, ...], title: str) -> pd.Series:
        import pandas as pd

        return pd.Series(values, index=list(names), name=title)


def check_not_drawn(fit: FittedModel, what: str, instead: str = "") -> None:
    """Refuse what is not worked out of draws from the posterior distribution.

    Args:
      fit: a fitted model.
      what: of several things, such as "profiles".
      instead: what to do.
    Raises:
      ModelError: that says so.
    """
    if fit.draws is not None:
        raise ModelError(
            f"{what} are of single estimates, and this fit has draws from their posterior distribution",
            hint=instead
            or "fit.tidy() and fit.predict() are of the draws, which fit.to_arviz() has.",
        )


def not_of_draws(
    what: str, instead: str = ""
) -> Callable[[Callable[Concatenate[Any, P], T]], Callable[Concatenate[Any, P], T]]:
    """A decorator of functions of a fit, which refuse draws; see `check_not_drawn`."""

    def decorate(
        function: Callable[Concatenate[Any, P], T],
    ) -> Callable[Concatenate[Any, P], T]:
        @functools.wraps(function)
        def of_one(fit: Any, *args: P.args, **kwargs: P.kwargs) -> T:
            check_not_drawn(fit, what, instead)
            return function(fit, *args, **kwargs)

        return cast(Callable[Concatenate[Any, P], T], of_one)

    return decorate


def of_observations(
    function: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], T]:
    """A function of a fit that gets it with a row for each observation: it draws, or asks, single responses."""

    @functools.wraps(function)
    def of_each(fit: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(fit.by_observation, *args, **kwargs)

    return cast(Callable[Concatenate[Any, P], T], of_each)


def check_maximum(fit: FittedModel, what: str) -> None:
    """Refuse what is of a maximum of the likelihood for a fit that is the posterior mode by its priors.

    Args:
      fit: a fitted model.
      what: such as "AIC".
    Raises:
      ModelError: that says what there is.
    """
    check_not_drawn(fit, "numbers of a maximum of the likelihood", OF_LOO)
    if fit.has_priors:
        raise ModelError(
            f"{what} is of maximum likelihood, and this fit is a posterior mode: priors hold parameters back",
            hint="Fit without priors, or compare fits by cross_validate().",
        )


def check_single_rows(fit: FittedModel, what: str) -> None:
    """Refuse what has a number for each observation where rows stand for several.

    Args:
      fit: a fitted model.
      what: of several things, such as "responses that are drawn".
    Raises:
      ModelError: that says how to have them.
    """
    if fit.model.design.frequency is not None:
        raise ModelError(
            f"{what} are of single observations, and rows of this fit stand for several by their frequency",
            hint="fit.by_observation is the same fit with a row for each: ask that.",
        )
