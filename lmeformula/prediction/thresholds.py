"""The thresholds of ordered categories, all of them, whatever pattern was estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel


def thresholds(fit: FittedModel) -> pd.DataFrame:
    """List the thresholds between categories with their standard errors.

    Thresholds in a pattern are sums of the parameters that were estimated, a location and distances; their
    standard errors follow from the covariance of those.

    Args:
      fit: of ordered categories.
    Returns:
      frame: estimate and std_error, a row for each threshold, such as "low|high".
    Raises:
      ModelError: if the family has no thresholds.
    Example:
      >>> import lmeformula as lf
      >>> wine = lf.datasets.load("wine")
      >>> family = "cumulative(thresholds=equidistant)"
      >>> fit = lf.fit("rating ~ temp + (1|judge)", wine, family, method="laplace")
      >>> thresholds(fit)["estimate"].diff().round(2).tolist()[1:]
      [2.23, 2.23, 2.23]
    """
    if not fit.model.family.thresholds:
        raise ModelError(
            f"the {fit.model.family.name} family has no thresholds",
            hint="Parameters of the family's own are in fit.family_params.",
        )
    space = fit.model.space
    own, place = space.own, space.own_slice
    free = own.scale.to_free(fit.params.own)
    change = own.scale.jacobian(free) @ np.linalg.inv(own.report_jacobian(free))
    covariance = change @ fit.param_vcov[place, place] @ change.T
    return pd.DataFrame(
        {"estimate": fit.params.own, "std_error": np.sqrt(np.diag(covariance))},
        index=pd.Index(own.natural_names, name="threshold"),
    )
