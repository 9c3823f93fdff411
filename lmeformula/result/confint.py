"""Result stage: confidence intervals of a fit's parameters, by the method asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lmeformula.errors import ModelError
from lmeformula.result.profile import profile_intervals
from lmeformula.result.wald import wald_intervals

if TYPE_CHECKING:
    from lmeformula.fit import Fit

METHODS = {"wald": wald_intervals, "profile": profile_intervals}


def confint(
    fit: Fit,
    method: str = "wald",
    level: float = 0.95,
    parm: Sequence[str] | str | None = None,
) -> pd.DataFrame:
    """Confidence intervals; see `wald_intervals` and `profile_intervals`.

    Args:
      fit: a fitted model.
      method: "wald", from the standard errors, or "profile", from the likelihood itself.
      level: coverage, between 0 and 1.
      parm: parameter names, one or several; all by default.
    Returns:
      frame: parameter, estimate, lower, upper, note.
    Raises:
      ModelError: for a method, level or parameter that does not exist, or a fit that has no profile likelihood.
    """
    if method not in METHODS:
        hint = "Methods: wald, profile."
        if method == "boot":
            hint = "The parametric bootstrap is not there yet. " + hint
        raise ModelError(f"there is no confidence interval by {method!r}", hint=hint)
    return METHODS[method](fit, parm, level)
