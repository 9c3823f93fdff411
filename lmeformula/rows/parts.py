"""Rows in parts that are each somewhere: the same is asked of every part, and answers come in their order.

What is asked is a function of a module, never a closure: workers find it by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """Rows in parts, of a design with random-effects terms.

    Attributes:
      parts: the rows of each are a Design, whose lead term has the levels that are the part's alone.
      lead: place of the term with the most effects, each of whose levels has all its rows in one part.
      places: of each part, its levels among those of the lead term.
      held: what the parts hold at the moment, by name, to whoever keeps several things under one name in turn:
        who asks for one that is no longer there has to put it back first.
    """

    parts: Parts
    lead: int
    places: tuple[slice, ...]
    held: dict[str, Any] = field(default_factory=dict, repr=False)


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


class Within:
    """Parts that are made of others, and held by them: the same rows in another form; see `Parts`.

    What they hold is their own, by whatever names.

    Args:
      parts: those that they are made of.
      name: by which these hold them.
      function: rows of a part, and what is given -> the rows in their other form.
      given: what it takes besides.
      each: what it takes of each part.
    """

    def __init__(
        self,
        parts: Parts,
        name: str,
        function: Callable[..., Any],
        given: Sequence[Any],
        each: Sequence[Sequence[Any]] = (),
    ) -> None:
        self.of, self._name = parts, name
        parts.keep(name, _made, function, *given, each=each)

    def __len__(self) -> int:
        return len(self.of)

    def ask(
        self, function: Callable[..., Any], *given: Any, each: Sequence[Sequence[Any]] = ()
    ) -> list[Any]:
        """See `Parts`."""
        return self.of.ask(_ask_within, self._name, function, *given, each=each)

    def keep(
        self,
        name: str,
        function: Callable[..., Any],
        *given: Any,
        each: Sequence[Sequence[Any]] = (),
    ) -> list[Any]:
        """See `Parts`."""
        place = f"{self._name}: {name}"
        return self.of.keep(place, _keep_within, self._name, name, function, *given, each=each)

    def report(self) -> tuple[str, ...]:
        """See `Parts`."""
        return self.of.report()


def made_of(parts: Parts) -> Parts:
    """The parts that others are made of in the end; themselves, where they are not made of others."""
    while isinstance(parts, Within):
        parts = parts.of
    return parts


def _made(part: Part, function: Callable[..., Any], *given: Any) -> tuple[Part, None]:
    return Part(function(part.rows, *given)), None


def _ask_within(part: Part, name: str, function: Callable[..., Any], *given: Any) -> Any:
    return part.held[name].ask(function, given)


def _keep_within(
    part: Part, within: str, name: str, function: Callable[..., Any], *given: Any
) -> tuple[None, Any]:
    return None, part.held[within].keep(name, function, given)


def within(
    shards: Shards,
    name: str,
    function: Callable[..., Any],
    *given: Any,
    each: Sequence[Sequence[Any]] = (),
) -> Shards:
    """The same rows in another form; see `Within`. One that was made by that name is there already.

    Example:
      >>> def scaled(rows, factor):
      ...     return [factor * row for row in rows]
      >>> def total(part):
      ...     return sum(part.rows)
      >>> within(Shards(Here([1.0, 2.0]), 0, ()), "doubled", scaled, 2.0).parts.ask(total)
      [6.0]
    """
    if name not in shards.held:
        parts = Within(shards.parts, name, function, given, each)
        shards.held[name] = Shards(parts, shards.lead, shards.places)
    found: Shards = shards.held[name]
    return found
