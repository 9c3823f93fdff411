"""Correlation matrices as smooth functions of some angles, their bounds included."""

from __future__ import annotations

from typing import Protocol

from lmeformula.arrays import Floats, Mask, Places


class Angles(Protocol):
    """What gives the Cholesky factor C of (k, k) correlations, k > 1, from a angles.

    Attributes:
      lowest_angle: where angles are mirrored, as they are at pi / 2: the matrix is singular there.
    """

    lowest_angle: float

    def uncorrelated(self, k: int) -> Floats:
        """(a,) the angles at which nothing correlates."""

    def at(self, angles: Floats, k: int) -> tuple[Floats, Floats, Floats]:
        """C (k, k), with its first (a, k, k) and second derivatives (a, a, k, k)."""

    def of(self, correlations: Floats) -> Floats:
        """(a,) angles of correlations (k, k), or near them; nan where coefficients do not vary."""

    def idle(self, angles: Floats, active: Places) -> Mask:
        """(a,) which angles make no difference where only some coefficients vary."""
