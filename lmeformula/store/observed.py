"""What reference grids need to know of the data, in a saved fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmeformula.design.observed import Aliases, Observed, ObservedColumn
from lmeformula.store.archive import Json
from lmeformula.store.codec import Codec, Maybe, Reader, Real, Text, Whole, Writer
from lmeformula.store.containers import Array, Each, Record


class _Level:
    """A category, a truth value or a number."""

    def write(self, value: Any, out: Writer) -> Json:
        """As it is."""
        if isinstance(value, float) and not np.isfinite(value):
            return {"number": Real().write(value, out)}
        return value

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if isinstance(found, dict):
            return Real().read(found.get("number"), source)
        if not isinstance(found, str | bool | int | float):
            source.refuse("it is no level")
        return found


_COLUMN = Record(
    ObservedColumn,
    {
        "name": Text(),
        "levels": Each(_Level()),
        "mean": Real(),
        "low": Real(),
        "high": Real(),
    },
)

ALIASES = Record(
    Aliases,
    {
        "kept": Each(Whole(), "kept"),
        "dropped": Each(Whole(), "dropped"),
        "relation": Array(("kept", "dropped")),
    },
    own=("kept", "dropped"),
)

_OBSERVED = Record(
    Observed,
    {
        "columns": Each(_COLUMN),
        "cells": Array(("cells", ""), "<i8"),
        "counts": Array(("cells",), "<i8"),
        "offset": Real(),
        "aliases": Maybe(ALIASES),
    },
    own=("cells",),
)


@dataclass(frozen=True)
class _Checked:
    """A codec whose values are checked as a whole."""

    inner: Codec

    def write(self, value: Any, out: Writer) -> Json:
        """As the inner one does."""
        return self.inner.write(value, out)

    def read(self, found: Json, source: Reader) -> Any:
        """The cells must be combinations of the levels."""
        value: Observed = self.inner.read(found, source)
        sizes = [len(column.levels) for column in value.factors]
        if value.cells.shape[1] != len(sizes) or (value.cells < 0).any():
            source.refuse("the cells are not combinations of the factors")
        if (value.cells >= np.array(sizes, dtype=np.int64)).any():
            source.refuse("the cells have levels that the factors do not have")
        return value


OBSERVED = _Checked(_OBSERVED)
