"""Rows in parts that are each somewhere: the same is asked of every part, and answers come in their order.

What is asked is a function of a module, never a closure: workers find it by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol


class Part:
    """Rows at one place, and what was worked out from them there.

    Attributes:
      rows: what holds them, as a rule a Design.
      held: what `keep` left here, by name.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.held: dict[str, Any] = {}

    def ask(self, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        """What a function says of the part."""
        return function(self, *given)

    def keep(self, name: str, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        """Hold the first of what a function gives, and answer with the second."""
        self.held[name], answer = function(self, *given)
        return answer


class Parts(Protocol):
    """Several parts, wherever they are. Arguments in `each` are sequences with one for each part."""

    def __len__(self) -> int: ...

    def ask(
        self, function: Callable[..., Any], *given: Any, each: Sequence[Sequence[Any]] = ()
    ) -> list[Any]:
        """What a function (part, *given, *of each) says of each part, in their order."""

    def keep(
        self,
        name: str,
        function: Callable[..., Any],
        *given: Any,
        each: Sequence[Sequence[Any]] = (),
    ) -> list[Any]:
        """Let parts hold the first of what a function gives, under a name; the second are the answers."""

    def report(self) -> tuple[str, ...]:
        """What happened to the parts, in words."""


class Shards(NamedTuple):
    """Rows in parts, of a design with random-effects terms.

    Attributes:
      parts: the rows of each are a Design, whose lead term has the levels that are the part's alone.
      lead: place of the term with the most effects, each of whose levels has all its rows in one part.
      places: of each part, its levels among those of the lead term.
    """

    parts: Parts
    lead: int
    places: tuple[slice, ...]


class Here:
    """All rows as one part, in this process.

    Example:
      >>> def total(part, factor):
      ...     return factor * sum(part.rows)
      >>> Here([1.0, 2.0]).ask(total, 10.0)
      [30.0]
    """

    def __init__(self, rows: Any) -> None:
        self._part = Part(rows)

    def __len__(self) -> int:
        return 1

    def ask(
        self, function: Callable[..., Any], *given: Any, each: Sequence[Sequence[Any]] = ()
    ) -> list[Any]:
        """See `Parts`."""
        return [self._part.ask(function, (*given, *(one[0] for one in each)))]

    def keep(
        self,
        name: str,
        function: Callable[..., Any],
        *given: Any,
        each: Sequence[Sequence[Any]] = (),
    ) -> list[Any]:
        """See `Parts`."""
        return [self._part.keep(name, function, (*given, *(one[0] for one in each)))]

    def report(self) -> tuple[str, ...]:
        """See `Parts`."""
        return ()
