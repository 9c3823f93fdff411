"""What reference grids need to know of the data, in a saved fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmeformula.design.observed import Aliases, Observed, ObservedColumn
from lmeformula.store.archive import Json
from lmeformula.store.codec import Coded, Reader, Writer, maybe, real, whole
from lmeformula.store.containers import Array, Each, record


def _write_level(value: Any, out: Writer) -> Json:
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": real().write(value, out)}
    return value


def _read_level(found: Json, source: Reader) -> Any:
    if isinstance(found, dict):
        return real().read(found.get("number"), source)
    if not isinstance(found, str | bool | int | float):
        source.refuse("it is no level")
    return found


# A category, a truth value or a number.
_LEVEL = Coded(_write_level, _read_level)
_COLUMN = record(ObservedColumn, levels=Each(_LEVEL))

ALIASES = record(
    Aliases,
    own=("kept", "dropped"),
    kept=Each(whole(), "kept"),
    dropped=Each(whole(), "dropped"),
    relation=Array(("kept", "dropped")),
)


def _check_cells(value: Observed, source: Reader) -> None:
    """The cells must be combinations of the levels."""
    sizes = [len(column.levels) for column in value.factors]
    if value.cells.shape[1] != len(sizes) or (value.cells < 0).any():
        source.refuse("the cells are not combinations of the factors")
    if (value.cells >= np.array(sizes, dtype=np.int64)).any():
        source.refuse("the cells have levels that the factors do not have")


OBSERVED = record(
    Observed,
    own=("cells",),
    check=_check_cells,
    columns=Each(_COLUMN),
    cells=Array(("cells", ""), "<i8"),
    counts=Array(("cells",), "<i8"),
    aliases=maybe(ALIASES),
)
