"""What raw columns a served prediction reads, and what it cannot read."""

from __future__ import annotations

from typing import NamedTuple

NUMBER, TRUTH, LEVEL = "number", "truth value", "level"


class NotServed(Exception):
    """A part of the formula that cannot be computed from raw columns here; says which."""


class Input(NamedTuple):
    """One input of the raw signature.

    Attributes:
      name: of the input, an identifier.
      column: of the data.
      kind: "number", "truth value" or "level".
    """

    name: str
    column: str
    kind: str
