"""Where a fit of the same model to other rows or another response starts."""

from __future__ import annotations

import numpy as np

from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.model.params import Params
from lmeformula.prediction.own_limits import own_at_limits


def start_from(fit: FittedModel, model: Model) -> Params | None:
    """The estimates of a fit as a start for another, where there is a direction to go from them; else None.

    A singular covariance has none, and the model keeps its own start. Nor has an own parameter of the family
    that ended at its limit: it starts where it always does.

    Args:
      fit: of a model with the same parameters.
      model: the one to be fitted.
    """
    if fit.singular:
        return None
    resting = own_at_limits(fit)
    if not resting.any():
        return fit.params
    own = np.where(resting, model.space.own.start, fit.params.own)
    return fit.params._replace(own=own)
