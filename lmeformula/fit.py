"""The Fit record: the estimates, and all that comes after a fit by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmeformula.after import AfterFit
from lmeformula.certificate import Certificate
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Iteration
from lmeformula.history import Ascent, LogLik, Sampling, Seconds, Watched
from lmeformula.model.compile import Model
from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.model.params import Params

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from lmeformula.formula.ir import Formula
    from lmeformula.result.anova import Anova
    from lmeformula.result.check import Check
    from lmeformula.result.diagnostics import Diagnostics
    from lmeformula.result.profile import Profile
    from lmeformula.result.residuals import ResidualKind
    from lmeformula.result.varcorr import VarCorr
    from lmeformula.views.plots import Plots
    from lmeformula.views.summary import Summary

Floats = NDArray[np.float64]
# What the observed information behind standard errors is; see `Fit.information`.
Information = Literal["exact", "laplace", "monte carlo", "quadrature"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fit(AfterFit):
    """A fitted model.

    Attributes:
      model: what was fitted; the variables of its joint distribution hold the estimates. The model that was
        compiled keeps its start values.
      method: "exact" or "mcem".
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
        "quadrature".
      param_stderr_error: (d) Monte Carlo errors of the standard errors, or None where they have none, or
        where nothing is known of them.
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

    def __post_init__(self) -> None:
        # The model that was compiled may have other fits: each has one of its own, at its estimates.
        object.__setattr__(self, "model", self.model.at(self.params))

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
    def sigma(self) -> float | None:
        """The residual standard deviation, or None for families without one."""
        return self.params.sigma

    @property
    def family_params(self) -> pd.Series:
        """The family's own parameters: sigma, all thresholds, a dispersion; empty for families without."""
        space, sigma = self.model.space, self.params.sigma
        if sigma is not None:
            return self._by_name(np.array([sigma]), ("sigma",), "estimate")
        if space.own.values:
            return self._by_name(self.params.own, space.own.values, "estimate")
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
        scale = self.params.sigma or 1.0
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
        return -2.0 * self.loglik.value

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return self.deviance + 2.0 * self.loglik.df

    @property
    def bic(self) -> float:
        """Schwarz's information criterion, with the number of rows."""
        return self.deviance + float(np.log(self.nobs)) * self.loglik.df

    @property
    def nobs(self) -> int:
        """Number of rows used."""
        return self.model.design.n

    @property
    def df_resid(self) -> int:
        """Rows less estimated parameters."""
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

    # ---- what result/ computes and views/ shows

    @property
    def varcorr(self) -> VarCorr:
        """Standard deviations and correlations of the random effects, and sigma."""
        from lmeformula.result.varcorr import varcorr

        return varcorr(self)

    def ranef(self, cond_sd: bool = True) -> pd.DataFrame:
        """Random effects, a row each: group, level, term, value and, unless told not to, sd."""
        from lmeformula.result.ranef import ranef

        return ranef(self, cond_sd)

    def coef(self) -> dict[str, pd.DataFrame]:
        """Fixed plus random effects, a table for each grouping factor."""
        from lmeformula.result.ranef import coef

        return coef(self)

    def refit(self, y: Any, **options: Any) -> Fit:
        """The same model fitted to another response; see `lmeformula.result.refit.refit`."""
        from lmeformula.result.refit import refit

        return refit(self, y, **options)

    def fitted(self) -> pd.Series:
        """Expected responses of the rows used, random effects included."""
        from lmeformula.result.predict import fitted

        return fitted(self)

    def predict(
        self, newdata: Any = None, *, interval: str | None = None, **options: Any
    ) -> pd.Series | pd.DataFrame:
        """Predict; with an interval, "confidence" or "prediction", a frame of estimate, lower and upper.

        See `lmeformula.result.predict.predict` for kind, re_form and new_levels, and
        `lmeformula.result.predict_intervals.predict_interval` for what intervals take: level, include, seed.
        With kind="draws" a column for each draw of the effects: `lmeformula.result.predict_draws`.
        """
        kind = options.get("kind")
        if isinstance(kind, str) and kind == "draws" and interval is None:
            from lmeformula.result.predict_draws import predict_draws

            return predict_draws(self, newdata, **{k: v for k, v in options.items() if k != "kind"})
        if interval is not None:
            from lmeformula.result.predict_intervals import predict_interval

            return predict_interval(self, newdata, interval=interval, **options)
        from lmeformula.result.predict import predict

        return predict(self, newdata, **options)

    def simulate(self, n: int = 1, *, seed: int = 0, **options: Any) -> pd.DataFrame:
        """Responses drawn from the model, a column each; see `lmeformula.result.simulate.simulate`.

        Random effects are drawn anew unless `re_form` keeps them, as in lme4.
        """
        from lmeformula.result.simulate import simulate

        return simulate(self, n, seed=seed, **options)

    def residuals(self, kind: ResidualKind = "response", *, seed: int = 0) -> pd.Series:
        """Residuals of the rows used: "response", "pearson", "deviance" or, with random numbers, "quantile"."""
        from lmeformula.result.residuals import residuals

        return residuals(self, kind, seed=seed)

    def tidy(self, level: float = 0.95, *, ddf: str | None = None) -> pd.DataFrame:
        """A row for each parameter: effect, group, term, estimate, std_error, statistic, mc_error, ...

        With `ddf`, such as "satterthwaite", fixed effects are tested by Student's t, as lmerTest does.
        """
        from lmeformula.result.tidy import tidy

        return tidy(self, level, ddf=ddf)

    def glance(self) -> pd.DataFrame:
        """One row: log-likelihood, criteria, number of rows, method, outcome."""
        from lmeformula.result.tidy import glance

        return glance(self)

    def summary(self, *, ddf: str | None = None) -> Summary:
        """The summary page: text in the REPL, HTML in a notebook; `ddf` adds tests of fixed effects."""
        from lmeformula.views.summary import summary

        return summary(self, ddf)

    def confint(
        self,
        method: str = "wald",
        level: float = 0.95,
        parm: Sequence[str] | str | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Intervals, "wald", "profile" or "boot": parameter, estimate, lower, upper, note."""
        from lmeformula.result.confint import confint

        return confint(self, method, level, parm, **options)

    @property
    def diagnostics(self) -> Diagnostics:
        """How the fit was come by, how sure it is, and where the time went; prints in words."""
        from lmeformula.result.diagnostics import diagnostics

        return diagnostics(self)

    def check(self, *, level: float = 0.01, seed: int = 0) -> Check:
        """What seems wrong with the model, and what to try; see `lmeformula.result.check.check`."""
        from lmeformula.result.check import check

        return check(self, level=level, seed=seed)

    def anova(self, *others: Fit, level: float = 0.05) -> Anova:
        """Likelihood-ratio tests between this fit and others, by number of parameters."""
        from lmeformula.result.anova import anova

        return anova(self, *others, level=level)

    def profile(self, parm: Sequence[str] | str | None = None, level: float = 0.99) -> Profile:
        """Profile likelihoods of some parameters, or of all, out to an interval of that level."""
        from lmeformula.result.profile import profile

        return profile(self, parm, level)

    @property
    def plot(self) -> Plots:
        """Plots of this fit, as methods."""
        from lmeformula.views.plots import Plots

        return Plots(self)

    def __repr__(self) -> str:
        from lmeformula.views.summary import short_repr

        return short_repr(self)

    def _by_name(self, values: Floats, names: tuple[str, ...], title: str) -> pd.Series:
        import pandas as pd

        return pd.Series(values, index=list(names), name=title)
