"""How single values go into a saved fit and come back: two functions for each kind of value.

A codec's `write` gives what JSON can hold and puts arrays aside; its `read` believes nothing that it is
given, and says where in the record something is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np

from lmeformula.store.archive import Archive, Json

_SPELLED = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(eq=False)
class Cursor:
    """Where in the record we are.

    Attributes:
      path: names of the parts that we are in, the whole first.
    """

    path: list[str] = field(default_factory=list, kw_only=True)

    @contextmanager
    def at(self, name: object) -> Iterator[None]:
        """Go into a part of the record."""
        self.path.append(str(name))
        yield
        self.path.pop()


@dataclass(eq=False)
class Writer(Cursor):
    """What is put aside while a record is written.

    Attributes:
      with_rows: whether arrays over the rows of the data are kept.
      arrays: the arrays, by name.
      texts: lists of texts, each kept once; levels appear in several places.
    """

    with_rows: bool
    arrays: dict[str, Any] = field(default_factory=dict)
    texts: dict[tuple[str, ...], int] = field(default_factory=dict)


@dataclass(eq=False)
class Reader(Cursor):
    """What is known while a record is read.

    Attributes:
      archive: where the arrays are.
      texts: the lists of texts.
      sizes: the lengths that are known by now, by letter.
    """

    archive: Archive
    texts: tuple[tuple[str, ...], ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error about this part."""
        self.archive.refuse(f"is wrong at {'.'.join(self.path) or 'its top'}: {problem}")

    def agree(self, letter: str, size: int) -> None:
        """Note a length, or hold it to what it was elsewhere."""
        known = self.sizes.setdefault(letter, size)
        if size != known:
            self.refuse(f"there are {size}, and {known} elsewhere in the file")


class Codec(Protocol):
    """One kind of value."""

    @property
    def write(self) -> Callable[[Any, Writer], Json]:
        """What JSON holds of a value."""

    @property
    def read(self) -> Callable[[Json, Reader], Any]:
        """The value again; SavedFitError for what is none."""


@dataclass(frozen=True)
class Coded:
    """A kind of value by its two functions; see `Codec`.

    Attributes:
      inner: of what it holds, where that is one kind of value.
    """

    write: Callable[[Any, Writer], Json]
    read: Callable[[Json, Reader], Any]
    inner: Codec | None = None


def _plain(kind: type, problem: str) -> Codec:
    """What JSON holds as it is."""
    return Coded(
        lambda value, out: kind(value),
        lambda found, source: found if isinstance(found, kind) else source.refuse(problem),
    )


TEXT = _plain(str, "it is not a text")
FLAG = _plain(bool, "it is not true or false")


def whole(least: int = 0) -> Codec:
    """A whole number of at least `least`."""

    def read(found: Json, source: Reader) -> Any:
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found < 2**62:
            source.refuse("it is not a whole number that can stand here")
        return found

    return Coded(lambda value, out: int(value), read)


def real(*, finite: bool = False, positive: bool = False) -> Codec:
    """A number; nan and infinities are spelled out, and refused where `finite`."""

    def write(value: Any, out: Writer) -> Json:
        number = float(value)
        if np.isfinite(number):
            return number
        return next(word for word, meant in _SPELLED.items() if repr(meant) == repr(number))

    def read(found: Json, source: Reader) -> Any:
        if isinstance(found, str) and found in _SPELLED:
            number = _SPELLED[found]
        elif isinstance(found, int | float) and not isinstance(found, bool):
            try:
                number = float(found)
            except OverflowError:
                source.refuse("it is too large")
        else:
            source.refuse("it is not a number")
        if (finite and not np.isfinite(number)) or (positive and not number > 0):
            source.refuse(f"{number} cannot stand here")
        return number

    return Coded(write, read)


def choice(words: tuple[str, ...]) -> Codec:
    """One of some words."""

    def write(value: Any, out: Writer) -> Json:
        assert value in words, value
        return value

    def read(found: Json, source: Reader) -> Any:
        if not isinstance(found, str) or found not in words:
            source.refuse(f"{found!r} is none of {', '.join(words)}")
        return found

    return Coded(write, read)


def member(kind: type[enum.Enum]) -> Codec:
    """A member of an enumeration, by its name."""
    names = choice(tuple(kind.__members__))
    return Coded(
        lambda value, out: value.name, lambda found, source: kind[names.read(found, source)]
    )


def maybe(inner: Codec) -> Codec:
    """A value, or None."""
    return Coded(
        lambda value, out: None if value is None else inner.write(value, out),
        lambda found, source: None if found is None else inner.read(found, source),
        inner,
    )
