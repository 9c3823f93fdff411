"""A fit as data frames with the column names of R's broom.mixed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from scipy.special import ndtr

from lmeformula.arguments import kinds
from lmeformula.drawn import Draws
from lmeformula.fit import FittedModel
from lmeformula.inference.ddf import METHODS, freedom, usual
from lmeformula.inference.posterior_summary import check_no_tests, posterior_frame, smallest
from lmeformula.inference.ratios import check_ratios
from lmeformula.inference.wald import wald_interval
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.parameters import parameters
from lmeformula.text.numbers import p_text


class Estimate(NamedTuple):
    """A parameter with its test and its interval: a row of `tidy`, whose columns its fields are."""

    effect: str
    group: str
    term: str
    estimate: float
    std_error: float
    statistic: float
    df: float
    p_value: float
    conf_low: float
    conf_high: float
    mc_error: float

    @property
    def p(self) -> str:
        """The p-value for reading."""
        return p_text(self.p_value)

    @property
    def exponentiated(self) -> Estimate:
        """With the exponentials of estimate and interval, errors by the delta method, and the same test."""
        with np.errstate(over="ignore"):
            ratio, low, high = np.exp([self.estimate, self.conf_low, self.conf_high]).tolist()
        return self._replace(
            estimate=ratio,
            std_error=ratio * self.std_error,
            conf_low=low,
            conf_high=high,
            mc_error=ratio * self.mc_error,
        )


@kinds.takes(level=kinds.coverage, ddf=kinds.one_of(None, *METHODS), exponentiate=kinds.flag)
def tidy(
    fit: FittedModel,
    level: float = 0.95,
    *,
    ddf: str | None = "auto",
    exponentiate: bool = False,
) -> pd.DataFrame:
    """Lay all parameters out as a data frame, one a row.

    Intervals and tests are Wald's, from the standard errors. Those of standard deviations are
    computed for their logarithm and those of correlations for their Fisher transform, where the
    normal approximation is better, and mapped back; a test of a variance against zero would be one
    on the boundary, so there is none.

    Args:
      fit: a fitted model.
      level: coverage of the intervals, between 0 and 1.
      ddf: degrees of freedom of the fixed effects, "satterthwaite" or "kenward-roger" (whose standard errors
        then are the adjusted ones): their intervals and tests are then Student's t, and there is a column df
        after statistic. None or "none": z. "auto", the default, is Satterthwaite's for Gaussian fits, unless
        they are large or were saved without their rows, and z for others.
      exponentiate: give exp(estimate) of the fixed effects, such as odds ratios, with the exponentials of the
        ends of their intervals and, by the delta method, exp(estimate) * std_error; statistic and p_value stay
        those of the effect itself. This is broom.mixed's rule. Thresholds and other parameters stay.
    Returns:
      frame: columns effect ("fixed", "sd", "cor", "residual", "family"), group, term, estimate, std_error,
        statistic, p_value, conf_low, conf_high, mc_error; NaN where there is no such number. Of a fit by
        method="nuts" these are mean, standard deviation and quantiles of the draws, with columns median, rhat,
        ess_bulk and ess_tail, and without tests.
    Raises:
      ModelError: if the level is not between 0 and 1; for exponentials of effects by a link that is no
        logarithm, such as identity or probit.
    Example:
      >>> import lmeformula as lf
      >>> cbpp = lf.datasets.load("cbpp")
      >>> herds = lf.fit("incidence | trials(size) ~ period + (1 | herd)", cbpp, "binomial", method="laplace")
      >>> herds.tidy(exponentiate=True).loc[1:3, ["term", "estimate", "conf_low", "conf_high"]].round(2)
                term  estimate  conf_low  conf_high
      1  period[T.2]      0.37      0.20       0.68
      2  period[T.3]      0.32      0.17       0.61
      3  period[T.4]      0.21      0.09       0.48
    """
    if fit.draws is not None:
        check_no_tests(ddf)
        if exponentiate:
            check_ratios(fit)
        return posterior_frame(fit, level, exponentiate=exponentiate)
    rows = parameter_tests(fit, ddf, level)
    if exponentiate:
        check_ratios(fit)
        rows = [row.exponentiated if row.effect == "fixed" else row for row in rows]
    frame = pd.DataFrame(rows, columns=list(Estimate._fields))
    return frame if np.isfinite(frame["df"]).any() else frame.drop(columns="df")


def parameter_tests(
    fit: FittedModel, ddf: str | None = "auto", level: float = 0.95
) -> list[Estimate]:
    """The rows of `tidy`; without `ddf` the degrees of freedom are nan."""
    rows, quantile = parameters(fit), cutoff(level)
    statistics = np.array([p.statistic if p.effect == "fixed" else np.nan for p in rows])
    tests = zip(statistics.tolist(), (2 * ndtr(-np.abs(statistics))).tolist(), strict=True)
    found = []
    for p, (statistic, p_value) in zip(rows, tests, strict=True):
        what, size = (p.effect, p.group, p.term), (p.estimate, p.std_error)
        low, high = wald_interval(p, quantile)
        found.append(Estimate(*what, *size, statistic, np.nan, p_value, low, high, p.mc_error))
    if ddf is not None:
        for place, test in enumerate(_student_tests(fit, ddf, level)):
            found[place] = found[place]._replace(**test)
    return found


def _student_tests(fit: FittedModel, ddf: str, level: float) -> list[dict[str, Any]]:
    """Of each fixed effect what Student's t makes of it, by degrees of freedom that are found as `ddf` says."""
    method = freedom(fit, usual(fit).ddf if ddf == "auto" else ddf)
    estimates, errors = fit.params.beta, np.sqrt(np.diag(method.vcov))
    df = method.df(np.eye(len(estimates)))
    half = scipy.stats.t.ppf(0.5 + level / 2, df) * errors
    numbers = {
        "std_error": errors,
        "statistic": estimates / errors,
        "df": df,
        "p_value": 2.0 * scipy.stats.t.sf(np.abs(estimates / errors), df),
        "conf_low": estimates - half,
        "conf_high": estimates + half,
    }
    columns = zip(*(values.tolist() for values in numbers.values()), strict=True)
    return [dict(zip(numbers, row, strict=True)) for row in columns]


def glance(fit: FittedModel) -> pd.DataFrame:
    """Lay the facts about the whole fit out as a data frame of one row.

    Args:
      fit: a fitted model.
    Returns:
      frame: columns nobs, df, loglik, loglik_mc_error, aic, bic, aic_mc_error (that of bic is the same), sigma,
        method, outcome, converged, singular; of a posterior mode log_posterior too, and no aic and bic. Of
        draws nobs, df, sigma, method, outcome, converged, num_chains, num_draws, rhat (the largest), ess (the
        smallest, of bulk and tail) and divergences.
    """
    if fit.draws is not None:
        return _of_draws(fit, fit.draws)
    loglik = fit.loglik
    facts = {
        "nobs": loglik.nobs,
        "df": loglik.df,
        "loglik": loglik.value,
        "loglik_mc_error": loglik.mc_error,
        "aic": np.nan if fit.has_priors else fit.aic,
        "bic": np.nan if fit.has_priors else fit.bic,
        "aic_mc_error": 2.0 * loglik.mc_error,
        "sigma": np.nan if fit.sigma is None else fit.sigma,
        "method": fit.method,
        "outcome": fit.outcome.name,
        "converged": fit.converged,
        "singular": fit.singular,
    }
    if fit.has_priors:
        facts["log_posterior"] = fit.log_posterior
    return pd.DataFrame([facts])


def _of_draws(fit: FittedModel, draws: Draws) -> pd.DataFrame:
    """`glance` of draws."""
    facts = {
        "nobs": fit.nobs,
        "df": fit.loglik.df,
        "sigma": np.nan if fit.sigma is None else fit.sigma,
        "method": fit.method,
        "outcome": fit.outcome.name,
        "converged": fit.converged,
        "num_chains": draws.num_chains,
        "num_draws": draws.num_draws,
        "rhat": -smallest(-draws.mixing.rhat),
        "ess": smallest(np.minimum(draws.mixing.ess_bulk, draws.mixing.ess_tail)),
        "divergences": draws.divergences,
    }
    return pd.DataFrame([facts])
