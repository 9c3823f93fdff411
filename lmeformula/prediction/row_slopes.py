"""How the log density of rows changes with each row's own linear predictors, one or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import Family
from lmeformula.family.record import Arrays
from lmeformula.model.stack import mixture


class RowSlopes(NamedTuple):
    """Derivatives of rows' log densities.

    Attributes:
      first: (n, K) in each predictor.
      second: (n, K, K).
    """

    first: Floats
    second: Floats


def row_slopes(family: Family, response: Arrays) -> Callable[[Floats, Floats], RowSlopes]:
    """The derivatives of rows as a function of predictors (K, n) and own parameters (f,).

    Args:
      family: of K predictors.
      response: the response arrays of n rows.
    """
    from lmeformula.likelihood.laplace.rows import stacked_form  # may start TensorFlow

    k, n = len(family.predictors), len(response[0])
    stacking = mixture(np.ones(k), n)
    form = stacked_form(family, response, stacking)

    def slopes(eta: Floats, own: Floats) -> RowSlopes:
        with np.errstate(all="ignore"):
            found = form.slopes(eta.reshape(-1), response, own)
            first = found.first[: k * n].reshape(k, n).T
            return RowSlopes(first, stacking.to_blocks(found.second))

    return slopes
