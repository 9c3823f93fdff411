"""Second stage: what a design remembers about its data, so that new rows get the same columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmeformula.design.evaluate import Memory
from lmeformula.design.grouping import Grouping
from lmeformula.design.observed import Observed
from lmeformula.design.values import Categories
from lmeformula.formula.ir import Expression


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """Plain data but for the caller's functions; it holds no rows.

    Attributes:
      memory: what columns and stateful functions were in the data of the fit.
      factors: the settled levels and coding of every categorical variable.
      groupings: the levels of every grouping factor, by the names of its columns.
      functions: the caller's functions.
      kept: positions of the fixed columns that were kept when redundant ones were dropped.
      offset: name of the offset's column, "" for none; None for an array that new rows must bring along.
      weights: the same for the prior weights.
      frequency: the same for the frequencies, which new rows do without: each is one.
      penalised: the design whose curves are fixed columns here, where this is of such a one; not saved.
      observed: the summary that reference grids are made from; None if it was not kept.
    """

    memory: Memory
    factors: Mapping[Expression, Categories]
    groupings: Mapping[tuple[str, ...], Grouping]
    functions: Mapping[str, Callable[..., Any]]
    kept: tuple[int, ...]
    offset: str | None
    weights: str | None
    observed: Observed | None = None
    frequency: str | None = ""
    # A design, which stands above this file.
    penalised: Any = None
