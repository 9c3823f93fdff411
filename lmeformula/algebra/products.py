"""Z'WZ behind what is asked of it where nothing is factored: rows, and pairs of levels, may be elsewhere."""

from __future__ import annotations

from typing import Protocol

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats


class Products(Protocol):
    """Z'WZ, whose block between the lead term and the rest is C_12 below; see `SparseProducts`."""

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""

    @property
    def lead(self) -> Floats:
        """(l, k, k) diagonal blocks of the lead term."""

    @property
    def diagonal(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of each term of the rest."""

    def times(self, columns: Floats) -> Floats:
        """Z'WZ columns, for effects (q, m)."""

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks over each term's levels, in formula order."""

    def forward(self, parts: list[Floats]) -> Floats:
        """(lead_size, m) C_12 times columns (r_j, m) of each term of the rest."""

    def backward(self, columns: Floats) -> list[Floats]:
        """(r_j, m) of each term of the rest: C_21 times columns (lead_size, m)."""

    def reduced(self, middle: Floats, parts: list[Floats]) -> list[Floats]:
        """(r_j, m) of each term of the rest: C_22 x - C_21 K C_12 x, without C_22's diagonal blocks."""

    def forms(self, turn: Floats, left: list[Floats], right: list[Floats]) -> Floats:
        """(m, k, k) sums over the lead term's levels of T C_12 x (T C_12 z)', a column m of both at a time."""

    def inner(self, middle: Floats) -> list[Floats]:
        """(l, k, k) diagonal blocks of C_21 K C_12 of each term of the rest."""

    def squares(self, left: Floats, right: list[Floats]) -> Floats:
        """(l, k, k) sums of F F' over the pairs of each level of the lead term, F = left block right."""

    def shares(self, is_small: list[bool]) -> list[list[Floats]]:
        """(l, s) of each term of the rest that is not small, how much its levels meet those of small ones."""
