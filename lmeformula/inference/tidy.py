"""A fit as data frames with the column names of R's broom.mixed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.special
import scipy.stats

from lmeformula.arguments import kinds
from lmeformula.fit import FittedModel
from lmeformula.inference.ddf import METHODS, freedom
from lmeformula.inference.wald import wald_interval
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.parameters import parameters

# What stands of each parameter as its record has it; tests and intervals stand before the last.
PARAMETER_COLUMNS = ["effect", "group", "term", "estimate", "std_error", "mc_error"]


@kinds.takes(level=kinds.coverage, ddf=kinds.one_of(None, *METHODS))
def tidy(fit: FittedModel, level: float = 0.95, *, ddf: str | None = None) -> pd.DataFrame:
    """Lay all parameters out as a data frame, one a row.

    Intervals and tests are Wald's, from the standard errors. Those of standard deviations are
    computed for their logarithm and those of correlations for their Fisher transform, where the
    normal approximation is better, and mapped back; a test of a variance against zero would be one
    on the boundary, so there is none.

    Args:
      fit: a fitted model.
      level: coverage of the intervals, between 0 and 1.
      ddf: degrees of freedom of the fixed effects, "satterthwaite", "kenward-roger" (whose standard errors then
        are the adjusted ones), "auto" or "none": their intervals and tests are then Student's t, and there is a
        column df after statistic. By default there are none, and no such column.
    Returns:
      frame: columns effect ("fixed", "sd", "cor", "residual", "family"), group, term, estimate, std_error,
        statistic, p_value, conf_low, conf_high, mc_error; NaN where there is no such number.
    Raises:
      ModelError: if the level is not between 0 and 1.
    """
    rows, quantile = parameters(fit), cutoff(level)
    statistics = np.array([p.statistic if p.effect == "fixed" else np.nan for p in rows])
    ends = np.array([wald_interval(p, quantile) for p in rows]).reshape(-1, 2)
    frame = pd.DataFrame(list(rows), columns=PARAMETER_COLUMNS)
    frame.insert(5, "statistic", statistics)
    frame.insert(6, "p_value", 2 * scipy.special.ndtr(-np.abs(statistics)))
    frame.insert(7, "conf_low", ends[:, 0])
    frame.insert(8, "conf_high", ends[:, 1])
    if ddf is None:
        return frame
    tests = fixed_tests(fit, ddf, level)
    frame.insert(frame.columns.get_loc("statistic") + 1, "df", np.nan)
    frame.loc[frame["effect"] == "fixed", list(tests)] = tests.to_numpy()
    return frame


def fixed_tests(fit: FittedModel, ddf: str, level: float = 0.95) -> pd.DataFrame:
    """Test the fixed effects, one by one, by Student's t.

    Args:
      fit: a fitted model.
      ddf: how degrees of freedom are found, see `lmeformula.prediction.freedom.freedom`.
      level: coverage of the intervals.
    Returns:
      frame: a row for each coefficient: std_error, statistic, df, p_value, conf_low, conf_high.
    Raises:
      ModelError: if the method is not for such fits.
    """
    method = freedom(fit, ddf)
    estimates, errors = fit.params.beta, np.sqrt(np.diag(method.vcov))
    df = method.df(np.eye(len(estimates)))
    half = scipy.stats.t.ppf(0.5 + level / 2, df) * errors
    return pd.DataFrame(
        {
            "std_error": errors,
            "statistic": estimates / errors,
            "df": df,
            "p_value": 2.0 * scipy.stats.t.sf(np.abs(estimates / errors), df),
            "conf_low": estimates - half,
            "conf_high": estimates + half,
        }
    )


def glance(fit: FittedModel) -> pd.DataFrame:
    """Lay the facts about the whole fit out as a data frame of one row.

    Args:
      fit: a fitted model.
    Returns:
      frame: columns nobs, df, loglik, loglik_mc_error, aic, bic, aic_mc_error (that of bic is the same), sigma,
        method, outcome, converged, singular.
    """
    loglik = fit.loglik
    facts = {
        "nobs": loglik.nobs,
        "df": loglik.df,
        "loglik": loglik.value,
        "loglik_mc_error": loglik.mc_error,
        "aic": fit.aic,
        "bic": fit.bic,
        "aic_mc_error": 2.0 * loglik.mc_error,
        "sigma": np.nan if fit.sigma is None else fit.sigma,
        "method": fit.method,
        "outcome": fit.outcome.name,
        "converged": fit.converged,
        "singular": fit.singular,
    }
    return pd.DataFrame([facts])
