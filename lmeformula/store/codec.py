"""How single values go into a saved fit and come back: one small class for each kind of value.

A codec's `write` gives what JSON can hold and puts arrays aside; its `read` believes nothing that it is
given, and says where in the record something is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np

from lmeformula.store.archive import Archive, Json

_SPELLED = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(eq=False)
class Writer:
    """What is put aside while a record is written.

    Attributes:
      with_rows: whether arrays over the rows of the data are kept.
      arrays: the arrays, by name.
      texts: lists of texts, each kept once; levels appear in several places.
      path: where in the record we are.
    """

    with_rows: bool
    arrays: dict[str, Any] = field(default_factory=dict)
    texts: dict[tuple[str, ...], int] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, name: object) -> Iterator[None]:
        """Go into a part of the record."""
        self.path.append(str(name))
        yield
        self.path.pop()


@dataclass(eq=False)
class Reader:
    """What is known while a record is read.

    Attributes:
      archive: where the arrays are.
      texts: the lists of texts.
      sizes: the lengths that are known by now, by letter.
      path: where in the record we are.
    """

    archive: Archive
    texts: tuple[tuple[str, ...], ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, name: object) -> Iterator[None]:
        """Go into a part of the record."""
        self.path.append(str(name))
        yield
        self.path.pop()

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

    def write(self, value: Any, out: Writer) -> Json:
        """What JSON holds of the value."""

    def read(self, found: Json, source: Reader) -> Any:
        """The value; SavedFitError where `found` is none."""


class Text:
    """A string."""

    def write(self, value: Any, out: Writer) -> Json:
        """As it is."""
        return str(value)

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        return found if isinstance(found, str) else source.refuse("it is not a text")


class Flag:
    """True or false."""

    def write(self, value: Any, out: Writer) -> Json:
        """As it is."""
        return bool(value)

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        return found if isinstance(found, bool) else source.refuse("it is not true or false")


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `least`."""

    least: int = 0

    def write(self, value: Any, out: Writer) -> Json:
        """As it is."""
        return int(value)

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if isinstance(found, bool) or not isinstance(found, int) or not self.least <= found < 2**62:
            source.refuse("it is not a whole number that can stand here")
        return found


@dataclass(frozen=True)
class Real:
    """A number; nan and infinities are spelled out, and refused where `finite`."""

    finite: bool = False
    positive: bool = False

    def write(self, value: Any, out: Writer) -> Json:
        """As it is, or as a word."""
        number = float(value)
        if np.isfinite(number):
            return number
        return next(word for word, meant in _SPELLED.items() if repr(meant) == repr(number))

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if isinstance(found, str) and found in _SPELLED:
            number = _SPELLED[found]
        elif isinstance(found, int | float) and not isinstance(found, bool):
            try:
                number = float(found)
            except OverflowError:
                source.refuse("it is too large")
        else:
            source.refuse("it is not a number")
        if (self.finite and not np.isfinite(number)) or (self.positive and not number > 0):
            source.refuse(f"{number} cannot stand here")
        return number


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def write(self, value: Any, out: Writer) -> Json:
        """As it is."""
        assert value in self.words, value
        return value

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if not isinstance(found, str) or found not in self.words:
            source.refuse(f"{found!r} is none of {', '.join(self.words)}")
        return found


@dataclass(frozen=True)
class Member:
    """A member of an enumeration, by its name."""

    kind: type[enum.Enum]

    def write(self, value: Any, out: Writer) -> Json:
        """Its name."""
        return value.name

    def read(self, found: Json, source: Reader) -> Any:
        """Found by name."""
        names = tuple(self.kind.__members__)
        return self.kind[Choice(names).read(found, source)]


@dataclass(frozen=True)
class Maybe:
    """A value, or None."""

    inner: Codec

    def write(self, value: Any, out: Writer) -> Json:
        """Null for None."""
        return None if value is None else self.inner.write(value, out)

    def read(self, found: Json, source: Reader) -> Any:
        """None for null."""
        return None if found is None else self.inner.read(found, source)
