"""Rows in several parts that are all in this process: what workers do, without a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import lmeformula as lf
from lmeformula.design.shards import cut_levels, lead_of, part_of
from lmeformula.rows.parts import Part, Shards


class Several:
    """Parts that are lost now and then, as those with workers are; see `rows.parts.Parts`.

    Args:
      made: makes each.
      lost_after: so many calls after one another all parts are lost, and made again; never for None.
    """

    def __init__(self, made: Sequence[Callable[[], Part]], lost_after: int | None = None) -> None:
        self._made, self._lost_after = made, lost_after
        self._parts = [make() for make in made]
        self._kept: dict[str, tuple[Any, ...]] = {}
        self.calls: list[tuple[str, int]] = []
        self.times_lost = 0

    def __len__(self) -> int:
        return len(self._parts)

    def ask(self, function: Any, *given: Any, each: Sequence[Sequence[Any]] = ()) -> list[Any]:
        self._work(function, given, each)
        return [
            part.ask(function, (*given, *(own[number] for own in each)))
            for number, part in enumerate(self._parts)
        ]

    def keep(
        self, name: str, function: Any, *given: Any, each: Sequence[Sequence[Any]] = ()
    ) -> list[Any]:
        self._work(function, given, each)
        found = self._keep(name, function, given, each)
        self._kept[name] = (function, given, each)
        return found

    def report(self) -> tuple[str, ...]:
        return ()

    def _keep(self, name: str, function: Any, given: Any, each: Any) -> list[Any]:
        return [
            part.keep(name, function, (*given, *(own[number] for own in each)))
            for number, part in enumerate(self._parts)
        ]

    def _work(self, function: Any, given: Any, each: Any) -> None:
        self.calls.append((function.__name__, _numbers((given, each))))
        if self._lost_after is not None and len(self.calls) % self._lost_after == 0:
            self.times_lost += 1
            self._parts = [make() for make in self._made]
            for name, kept in self._kept.items():
                self._keep(name, *kept)


def _numbers(tree: Any) -> int:
    """How many numbers there are in arrays."""
    if isinstance(tree, np.ndarray):
        return tree.size
    return sum(map(_numbers, tree)) if isinstance(tree, list | tuple) else 0


def several(design: lf.Design, count: int, lost_after: int | None = None) -> lf.Design:
    """A design in memory, with its rows in so many parts as well."""
    lead = lead_of(design.terms)
    term = design.terms[lead]
    counts = np.bincount(term.index, minlength=len(term.levels))
    places = cut_levels(counts, count)
    made = [lambda place=place: Part(part_of(design, lead, place)) for place in places]
    return replace(design, shards=Shards(Several(made, lost_after), lead, places))
