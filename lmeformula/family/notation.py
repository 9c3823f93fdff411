"""How a response family is written: names and symbols for equations, graphs and scripts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notation:
    """How a response family is written.

    Attributes:
      distribution: name, such as "Poisson".
      parameter: the symbol that the link is applied to; "" where the predictor is the mean.
      latex: that symbol in LaTeX.
      link: name of the link function; "" for the identity.
      has_trials: whether the distribution also takes a number of trials.
      has_weights: whether its log density is multiplied by prior weights.
      own: what its own parameter is called; "" where there is none.
      elements: what the elements of `own` are called, where it has several.
      is_ordered: whether `own` are thresholds, from which the predictor is taken away.
      chance: the event of which the link of ordered categories takes the chance, for the kth threshold; {y} is
        the response, {le} at most.
      is_above: whether that is the chance of higher categories: thresholds are taken from the predictor then.
      alone: the notation of single trials, where that is another.
    """

    distribution: str
    parameter: str = ""
    latex: str = ""
    link: str = ""
    has_trials: bool = False
    has_weights: bool = False
    own: str = ""
    elements: tuple[str, ...] = ()
    is_ordered: bool = False
    chance: str = ""
    is_above: bool = False
    alone: Notation | None = None


def ordered(distribution: str, chance: str, *, is_above: bool = False) -> Notation:
    """The notation of ordered categories, with thresholds; see `Notation`."""
    return Notation(
        distribution,
        "η",
        r"\eta",
        "logit",
        own="thresholds",
        is_ordered=True,
        chance=chance,
        is_above=is_above,
    )
