"""Tables that R's users call: `fit.fixef()` is `fit.fixef`."""

from __future__ import annotations

from typing import Any

import pandas as pd


class CalledSeries(pd.Series):  # type: ignore[misc]
    """A Series that returns itself where it is called; what is made of it is a plain one."""

    @property
    def _constructor(self) -> Any:
        return pd.Series

    def __call__(self) -> pd.Series:
        """The Series."""
        return pd.Series(self)


class CalledFrame(pd.DataFrame):  # type: ignore[misc]
    """A DataFrame that returns itself where it is called; what is made of it is a plain one."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __call__(self) -> pd.DataFrame:
        """The DataFrame."""
        return pd.DataFrame(self)
