"""How estimates and, with them, conditional modes move linear predictors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.prediction.parameter_errors import parameter_covariance
from lmeformula.prediction.posterior import Posterior


@dataclass(frozen=True, slots=True, eq=False)
class Loadings:
    """How linear predictors follow the parameters, with the effects at their modes or means, or without any.

    Attributes:
      vcov: (d, d) covariance of the d = p + f parameters; see `parameter_covariance`.
      num_fixed: p.
      posterior: of the effects, where these take part: their modes or means move; else None.
    """

    vcov: Floats
    num_fixed: int
    posterior: Posterior | None

    def of(self, rows: Design | NewRows) -> Floats:
        """(K, n, d) derivatives of the linear predictors of rows; levels that are unseen do not move."""
        each = np.arange(rows.num_predictors)
        found = np.zeros((len(each), len(rows.X), len(self.vcov)))
        reads = np.equal.outer(each, rows.column_predictors)
        found[:, :, : self.num_fixed] = rows.X * reads[:, None]
        if self.posterior is None:
            return found
        plan = self.posterior.plan
        moves = plan.natural(plan.split(self.posterior.moves))
        for moved, block in zip(moves, rows.terms, strict=True):
            # (n, k, d): the levels second to last, as `of_rows` takes them.
            of_rows = np.moveaxis(block.of_rows(np.moveaxis(moved, -1, 0)), 0, -1)
            reads = np.equal.outer(each, block.predictors)
            for place, values in enumerate(block.values * reads[:, None]):
                found[place] += np.einsum("na,nad->nd", values, of_rows)
        return found


def loadings(fit: FittedModel, posterior: Posterior | None) -> Loadings:
    """The loadings of a fit's predictors, with the posterior of its effects where these take part."""
    return Loadings(parameter_covariance(fit), fit.model.space.num_fixed, posterior)
