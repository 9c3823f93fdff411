"""Confidence intervals of a fit's parameters, by the method asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.bootstrap import bootstrap_intervals
from lmeformula.inference.profile import profile_intervals
from lmeformula.inference.wald import wald_intervals

METHODS = ("wald", "profile", "boot")


@kinds.takes(
    method=kinds.one_of(*METHODS),
    level=kinds.coverage,
    parm=kinds.optional(kinds.names),
)
def confint(
    fit: FittedModel,
    method: str = "wald",
    level: float = 0.95,
    parm: Sequence[str] | str | None = None,
    *,
    num_refits: int | None = None,
    seed: int | None = None,
) -> pd.DataFrame:
    """Confidence intervals; see `wald_intervals`, `profile_intervals` and `bootstrap_intervals`.

    Args:
      fit: a fitted model.
      method: "wald", from the standard errors; "profile", from the likelihood itself; "boot", from refits.
      level: coverage, between 0 and 1.
      parm: parameter names, one or several; all by default.
      num_refits: how many refits of "boot"; 500 by default.
      seed: of the responses that they are to; 0 by default.
    Returns:
      frame: parameter, estimate, lower, upper, note.
    Raises:
      ModelError: for a method, level, option or parameter that does not exist, or a fit that the method does
        not serve.
    """
    asked = {"num_refits": num_refits, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    if given and method != "boot":
        raise ModelError(
            f"intervals by {method!r} have no option {min(given)!r}",
            hint='num_refits and seed are options of method="boot".',
        )
    if method == "wald":
        return wald_intervals(fit, parm, level)
    if method == "profile":
        return profile_intervals(fit, parm, level)
    return bootstrap_intervals(fit, parm, level, **given)
