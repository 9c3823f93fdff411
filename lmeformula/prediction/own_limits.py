"""Which of a family's own parameters ended at their limits, where it is a simpler family."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Mask
from lmeformula.fit import FittedModel


def own_at_limits(fit: FittedModel) -> Mask:
    """Which own parameters (v,) are reported at their limits; `fit.params` holds numbers next to them.

    Args:
      fit: a fitted model.
    Example:
      >>> import lmeformula as lf
      >>> data = {"y": [1, 2, 2, 3, 1, 2, 3, 2], "g": list("aabbccdd")}
      >>> own_at_limits(lf.fit("y ~ 1 + (1 | g)", data, "nbinom2", method="laplace")).tolist()
      [True]
    """
    space = fit.model.space
    limits = {limit.name: limit.value for limit in fit.model.family.base.limits}
    reported = zip(space.own.names, fit.param_values[space.own_slice], strict=True)
    return np.array([value == limits.get(name) for name, value in reported], bool)
