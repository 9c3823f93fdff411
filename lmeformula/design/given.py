"""What was given beside the formula: labels of rows, and arrays that only this process knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

from lmeformula.errors import FormulaDataError

if TYPE_CHECKING:
    import pandas as pd


class Given(NamedTuple):
    """Kept in memory with a design; a saved fit has it not.

    Attributes:
      labels: of all rows of the data, or None where they are 0, 1, ....
      weights: (rows of the data,) as an array was given, or None.
      offset: the same.
      origin: where the rows were read from, in words; "" for a table in memory.
      frequency: the same.
      data: the data themselves, as they were given, so that a changed formula finds other columns of them.
      happened: to the cluster that has the rows, in words.
      sums: over the rows of a saved fit, that tell whether others are the same; see `again.sums_of`.
    """

    labels: pd.Index | None = None
    weights: Any = None
    offset: Any = None
    origin: str = ""
    frequency: Any = None
    data: Any = None
    happened: tuple[str, ...] = ()
    sums: Any = None

    def __reduce__(self) -> tuple[type[Given], tuple[Any, ...]]:
        # A fit that goes to another process takes no data along.
        return Given, tuple(self._replace(data=None))


NOTHING = Given()


def given_beside(
    data: Any,
    labels: pd.Index | None,
    num_rows: int,
    origin: str,
    *,
    offset: Any,
    weights: Any,
    frequency: Any,
) -> tuple[Given, tuple[Any, Any, Any]]:
    """What is kept of the arguments of a design, and offset, weights and frequency in the order of its rows.

    Args:
      data: as they were given.
      labels: of all rows; None where they are places.
      num_rows: how many there are.
      origin: where they were read from, in words.
      offset, weights, frequency: as they were given; the name of a column is remembered by the recipe.
    Raises:
      FormulaDataError: if a Series among them does not fit the labels.
    """
    asked = {"offset": offset, "weights": weights, "frequency": frequency}
    ordered = {name: in_order(name, one, labels, num_rows) for name, one in asked.items()}
    arrays: dict[str, Any] = {
        name: None if isinstance(one, str) else one for name, one in ordered.items()
    }
    given = Given(labels=labels, origin=origin, data=data, **arrays)
    return given, (ordered["offset"], ordered["weights"], ordered["frequency"])


def index_of(data: object) -> pd.Index | None:
    """The labels of a pandas object's rows; None for other tables, and for labels that are places."""
    if not type(data).__module__.startswith("pandas"):
        return None
    import pandas as pd

    index = getattr(data, "index", None)
    is_places = isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1
    return index if isinstance(index, pd.Index) and not is_places else None


def in_order(name: str, given: Any, index: pd.Index | None, num_rows: int) -> Any:
    """Bring a pandas Series into the order of a data frame's rows; anything else counts by place.

    Args:
      name: what it is, for messages.
      given: what the caller gave.
      index: labels of the frame's rows; None where they are places.
      num_rows: how many there are.
    Raises:
      FormulaDataError: if a Series lacks some of the labels, or has one of them several times.
    """
    if not nw.dependencies.is_pandas_series(given):
        return given
    import pandas as pd

    wanted = pd.RangeIndex(num_rows) if index is None else index
    if given.index.equals(wanted):
        return given
    if not given.index.is_unique or not wanted.is_unique:
        raise FormulaDataError(
            f"the {name} is a Series in another order than the data, and its labels, or those of the data, "
            "are not distinct",
            hint="Give its values in the order of the rows: series.to_numpy().",
        )
    places = given.index.get_indexer(wanted)
    if (places < 0).any():
        lacking = wanted[int(np.argmax(places < 0))]
        raise FormulaDataError(
            f"the {name} is a Series without a value for {int((places < 0).sum()):,} of the rows; the first "
            f"is {lacking!r}",
            hint="A Series is aligned by its index. Give its values to count by place: series.to_numpy().",
        )
    return given.iloc[places]
