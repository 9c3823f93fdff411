"""View stage: the columns of the data that a picture draws beside what the fit says of each row."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.handing.augment import augment


def rows_with_columns(fit: FittedModel, data: Any) -> pd.DataFrame:
    """The rows used, as `augment` lays them out, with all columns of the data.

    Args:
      fit: a fitted model with its rows.
      data: the table that was fitted; None for the one that the fit has kept.
    Raises:
      ModelError: if it has kept none.
    """
    given = fit.model.design.given
    table = data if data is not None else None if given is None else given.data
    if table is None:
        raise ModelError(
            "the fit has not the columns of its rows", hint="Give the table: data=table."
        )
    rows = augment(fit, table)
    return rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
