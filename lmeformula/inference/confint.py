"""Confidence intervals of a fit's parameters, by the method asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, check_not_drawn
from lmeformula.inference.bootstrap import bootstrap_intervals
from lmeformula.inference.ddf import METHODS as DDF
from lmeformula.inference.posterior_summary import check_no_tests, summarised
from lmeformula.inference.profile import profile_intervals
from lmeformula.inference.tidy import parameter_tests
from lmeformula.inference.wald import note_of
from lmeformula.prediction.intervals import chosen, interval_frame
from lmeformula.prediction.parameters import parameters

METHODS = ("wald", "profile", "boot")


@kinds.takes(
    method=kinds.one_of(*METHODS),
    level=kinds.coverage,
    ddf=kinds.optional(kinds.one_of(*DDF)),
    parm=kinds.optional(kinds.names),
    checkpoint=kinds.optional(kinds.path),
)
def confint(
    fit: FittedModel,
    method: str = "wald",
    level: float = 0.95,
    parm: Sequence[str] | str | None = None,
    *,
    ddf: str | None = None,
    num_refits: int | None = None,
    seed: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Confidence intervals; see `profile_intervals` and `bootstrap_intervals`.

    Args:
      fit: a fitted model.
      method: "wald", from the standard errors, those of `tidy` (of a fit by method="nuts" quantiles of its
        draws); "profile", from the likelihood itself; "boot", from refits.
      level: coverage, between 0 and 1.
      parm: parameter names, one or several; all by default.
      ddf: degrees of freedom of fixed effects by "wald", as in `tidy`; "auto" by default, Satterthwaite's for
        most Gaussian fits.
      num_refits: how many refits of "boot"; 500 by default.
      seed: of the responses that they are to; 0 by default.
      checkpoint: a folder, which is made, for what "profile" or "boot" have worked out: killed at any moment,
        the call goes on from there when it is made again.
    Returns:
      frame: parameter, estimate, lower, upper, note.
    Raises:
      ModelError: for a method, level, option or parameter that does not exist, or a fit that the method does
        not serve.
    """
    if fit.draws is not None:
        return _of_draws(fit, method, level, parm, ddf)
    if ddf is not None and method != "wald":
        raise ModelError(
            f"intervals by {method!r} have no degrees of freedom",
            hint='Leave ddf out, or use "wald".',
        )
    asked = {"num_refits": num_refits, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    if given and method != "boot":
        raise ModelError(
            f"intervals by {method!r} have no option {min(given)!r}",
            hint='num_refits and seed are options of method="boot".',
        )
    if checkpoint is not None and method == "wald":
        raise ModelError(
            "intervals by 'wald' take no checkpoint: they are worked out from the fit, in a moment",
            hint="Leave checkpoint out.",
        )
    if method == "wald":
        places = chosen(fit, parm)
        rows, tests = parameters(fit), parameter_tests(fit, ddf or "auto", level)
        return interval_frame(
            [rows[place] for place in places],
            [(tests[place].conf_low, tests[place].conf_high) for place in places],
            [note_of(rows[place]) for place in places],
        )
    if method == "profile":
        return profile_intervals(fit, parm, level, checkpoint=checkpoint)
    return bootstrap_intervals(fit, parm, level, checkpoint=checkpoint, **given)


def _of_draws(
    fit: FittedModel,
    method: str,
    level: float,
    parm: Sequence[str] | str | None,
    ddf: str | None,
) -> pd.DataFrame:
    """Quantiles of the draws."""
    if method != "wald":
        check_not_drawn(
            fit, f"intervals by {method!r}", "Leave method out: quantiles of its draws."
        )
    check_no_tests(ddf)
    places, rows = chosen(fit, parm), summarised(fit, level)
    return interval_frame(
        [parameters(fit)[place] for place in places],
        [(rows[place].conf_low, rows[place].conf_high) for place in places],
        ["quantiles of draws"] * len(places),
    )
