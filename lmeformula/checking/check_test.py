"""One test of a fitted model, as a record."""

from __future__ import annotations

from typing import NamedTuple


class Doubt(NamedTuple):
    """What a test of a fitted model found, whether or not it is much.

    Attributes:
      name: what was looked at.
      p_value: the chance of as much under a model that is right.
      evidence: a figure that says how much there is.
      what: a sentence with that figure, for the case that it is much.
      advice: what to try then.
    """

    name: str
    p_value: float
    evidence: float
    what: str
    advice: str
