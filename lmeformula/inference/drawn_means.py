"""Marginal means, slopes and contrasts of draws from a posterior distribution: means, spreads, quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arrays import Floats, Mask
from lmeformula.fit import FittedModel
from lmeformula.inference.mean_scales import Working
from lmeformula.prediction.over_draws import OF_MEANS, at_draws

QUANTILES = (
    "Estimates are posterior means with standard deviations; intervals are quantiles of the draws."
)


class DrawnMeans(NamedTuple):
    """Means at one draw of the parameters after the other.

    Attributes:
      working: (m, r) on the working scale, which contrasts are made on.
      shown: (m, r) as they are shown.
    """

    working: Floats
    shown: Floats

    def combined(
        self, of: Callable[[Floats], Floats], outward: Callable[[Floats], Floats] | None
    ) -> DrawnMeans:
        """Combinations of them at each draw.

        Args:
          of: means (r, ...) -> combinations (c, ...).
          outward: from the working scale to what is shown; None where they are the same.
        """
        working = of(self.working.T).T
        return DrawnMeans(working, working if outward is None else outward(working))

    def to_frame(self, determined: Mask, level: float) -> pd.DataFrame:
        """Mean, median, standard deviation and quantiles of each, a row for each.

        Args:
          determined: (r,) which the data determine; the others have none.
          level: the chance of what lies between the quantiles.
        """
        chances = (0.5, 0.5 - level / 2, 0.5 + level / 2)
        median, low, high = np.quantile(self.shown, chances, axis=0)
        columns = {
            "estimate": self.shown.mean(axis=0),
            "median": median,
            "std_error": self.shown.std(axis=0, ddof=1),
            "conf_low": low,
            "conf_high": high,
        }
        return pd.DataFrame(
            {name: np.where(determined, each, np.nan) for name, each in columns.items()}
        )


def means_at_draws(
    fit: FittedModel, made: Callable[[FittedModel], Working], *, is_response: bool
) -> DrawnMeans:
    """Work means out at draws that are evenly spread over all.

    Args:
      fit: a fit with draws.
      made: the fit at one draw -> its means.
      is_response: whether they are shown on the scale of the response, to which each draw has its own way.
    """
    working, shown = [], []
    for one in at_draws(fit, OF_MEANS):
        found = made(one)
        working.append(found.values)
        outward = found.scale.outward if is_response else None
        shown.append(found.values if outward is None else outward(found.values))
    return DrawnMeans(np.array(working), np.array(shown))
