"""How many residuals are free: what a likelihood divides their sum of squares by."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Counted(Protocol):
    """Cross products of a design, dense or sparse."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def ols(self) -> NDArray[np.float64]:
        """(p,) coefficients of the fixed effects."""


def freedom_of(data: Counted, reml: bool) -> int:
    """Rows, of the restricted likelihood less fixed effects."""
    return data.n - len(data.ols) if reml else data.n
