"""Result stage: how the log density of rows changes with each row's own linear predictors, one or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.family import Family
from lmeformula.model.stack import mixture

Floats = NDArray[np.float64]
Arrays = tuple[Floats, ...]


class RowSlopes(NamedTuple):
    """Derivatives of rows' log densities.

    Attributes:
      first: (n, K) in each predictor.
      second: (n, K, K).
    """

    first: Floats
    second: Floats


def row_slopes(
    family: Family, response: Arrays, num_predictors: int
) -> Callable[[Floats, Floats], RowSlopes]:
    """The derivatives of rows as a function of predictors (K, n) and own parameters (f,).

    Args:
      family: the family.
      response: the response arrays of n rows.
      num_predictors: K.
    """
    from lmeformula.laplace.rows import form_of  # may start TensorFlow
    from lmeformula.laplace.stacked import automatic_stacked

    n = len(response[0])
    if num_predictors == 1:
        form = form_of(family, response)

        def slopes(eta: Floats, own: Floats) -> RowSlopes:
            with np.errstate(all="ignore"):
                found = form.slopes(eta[0], response, own)
            return RowSlopes(found.first[:, None], found.second[:, None, None])

        return slopes
    stacking = mixture(np.ones(num_predictors), n)
    stacked = automatic_stacked(family, response, stacking)

    def several(eta: Floats, own: Floats) -> RowSlopes:
        with np.errstate(all="ignore"):
            found = stacked.slopes(eta.reshape(-1), response, own)
            first = found.first[: num_predictors * n].reshape(num_predictors, n).T
            return RowSlopes(first, stacking.to_blocks(found.second))

    return several
