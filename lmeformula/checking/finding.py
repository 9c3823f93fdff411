"""What a test of a fitted model found, as a record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and that may seem wrong.

    Attributes:
      name: such as "tails", "ratings", "overdispersion", "zeros", "singular", "effects of g", "levels of g".
      p_value: the chance of as much under a model that is right; NaN for "singular" and "separation", which are
        no tests.
      evidence: a figure that says how much there is.
      what: a sentence that says what was found, with its figure, for the case that it is much.
      advice: a sentence that says what to try then.
    """

    name: str
    p_value: float
    evidence: float
    what: str
    advice: str
