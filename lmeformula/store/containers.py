"""How arrays, lists and records go into a saved fit and come back; made of the kinds of codec.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from lmeformula.design.absent import AbsentRows
from lmeformula.store.archive import Json
from lmeformula.store.codec import FLAG, TEXT, Codec, Reader, Writer, maybe, real, whole


@dataclass(frozen=True)
class Each:
    """A tuple of values of one kind, as many as `size` counts elsewhere."""

    inner: Codec
    size: str = ""

    def write(self, value: Any, out: Writer) -> Json:
        """One after the other."""
        found = []
        for i, item in enumerate(value):
            with out.at(i):
                found.append(self.inner.write(item, out))
        return found

    def read(self, found: Json, source: Reader) -> Any:
        """One after the other."""
        if not isinstance(found, list):
            source.refuse("it is not a list")
        if self.size:
            source.agree(self.size, len(found))
        if self.inner is TEXT and all(isinstance(item, str) for item in found):
            # Levels are many: one by one they would take microseconds each.
            return tuple(found)
        values = []
        for i, item in enumerate(found):
            with source.at(i):
                values.append(self.inner.read(item, source))
        return tuple(values)


@dataclass(frozen=True)
class Levels:
    """A tuple of texts that may be long, and that other places have too."""

    size: str = ""

    def write(self, value: Any, out: Writer) -> Json:
        """Its place among the lists of texts."""
        return out.texts.setdefault(tuple(value), len(out.texts))

    def read(self, found: Json, source: Reader) -> Any:
        """Looked up."""
        place = whole().read(found, source)
        if place >= len(source.texts):
            source.refuse("there is no such list of texts")
        if self.size:
            source.agree(self.size, len(source.texts[place]))
        return source.texts[place]


@dataclass(frozen=True)
class Array:
    """An array of float64, int64 or int32; a letter in its shape is a length that other places share.

    Attributes:
      shape: a letter, or "", for each dimension.
      dtype: of its numbers.
      more: how many dimensions it may have beyond these.
    """

    shape: tuple[str, ...]
    dtype: str = "<f8"
    more: int = 0

    def write(self, value: Any, out: Writer) -> Json:
        """Its name."""
        name = ".".join(out.path)
        out.arrays[name] = np.ascontiguousarray(value, dtype=self.dtype).reshape(np.shape(value))
        return name

    def read(self, found: Json, source: Reader) -> Any:
        """By name, of this type and shape."""
        array = source.archive.array(found)
        if array.dtype.str != self.dtype:
            source.refuse(f"its numbers are {array.dtype.str}, not {self.dtype}")
        self.check(array.shape, source)
        return array

    def check(self, shape: tuple[int, ...], source: Reader) -> None:
        """Hold the shape to what is known."""
        if not 0 <= len(shape) - len(self.shape) <= self.more:
            source.refuse(f"its shape is {shape}, and it should have {len(self.shape)} dimensions")
        for letter, size in zip(self.shape, shape, strict=False):
            if letter:
                source.agree(letter, size)


@dataclass(frozen=True)
class Rows:
    """An array over the rows of the data, which stays behind unless rows are kept; attributes as of `Array`."""

    shape: tuple[str, ...]
    dtype: str = "<f8"
    more: int = 0

    def write(self, value: Any, out: Writer) -> Json:
        """The array's name, or the shape alone."""
        if out.with_rows:
            return Array(self.shape, self.dtype, self.more).write(value, out)
        return {"left out": list(map(int, value.shape))}

    def read(self, found: Json, source: Reader) -> Any:
        """The array, or what stands in its place."""
        array = Array(self.shape, self.dtype, self.more)
        if not isinstance(found, dict):
            return array.read(found, source)
        shape = Each(whole()).read(found.get("left out"), source)
        array.check(shape, source)
        return AbsentRows(shape)


@dataclass(frozen=True)
class Record:
    """A named tuple or dataclass, field by field.

    Attributes:
      make: builds it from its fields by name.
      fields: a codec for each.
      own: letters whose lengths are this record's own.
      renamed: what the record calls fields that have other names in files.
      check: refuses values whose fields do not go together.
      later: fields that files may lack, which earlier versions wrote, and the value that stands for that.
    """

    make: Callable[..., Any]
    fields: Mapping[str, Codec]
    own: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Any, Reader], None] = lambda value, source: None
    later: Mapping[str, str | int | None] = field(default_factory=dict)

    def write(self, value: Any, out: Writer) -> Json:
        """By name."""
        found = {}
        for name, codec in self.fields.items():
            each = getattr(value, self.renamed.get(name, name))
            if (
                name in self.later
                and isinstance(each, str | int | None)
                and each == self.later[name]
            ):
                continue
            with out.at(name):
                found[name] = codec.write(each, out)
        return found

    def read(self, found: Json, source: Reader) -> Any:
        """All of the fields and no others."""
        lacking = [name for name in self.later if isinstance(found, dict) and name not in found]
        fields = {name: codec for name, codec in self.fields.items() if name not in lacking}
        values = read_fields(fields, found, source, self.own)
        values |= {name: self.later[name] for name in lacking}
        made = self.make(**{self.renamed.get(name, name): each for name, each in values.items()})
        self.check(made, source)
        return made


# Fields that a file holds as their types say.
BY_TYPE: Mapping[object, Codec] = {
    bool: FLAG,
    int: whole(),
    float: real(),
    str: TEXT,
    bool | None: maybe(FLAG),
    tuple[str, ...]: Each(TEXT),
}


def record(
    make: Callable[..., Any],
    own: tuple[str, ...] = (),
    check: Callable[[Any, Reader], None] = lambda value, source: None,
    **others: Codec,
) -> Record:
    """A record by its fields, in their order: those of `others` as given there, the rest by their types."""
    types = get_type_hints(make)
    fields = {name: others.get(name) or BY_TYPE[kind] for name, kind in types.items()}
    return Record(make, fields, own, check=check)


def read_fields(
    fields: Mapping[str, Codec], found: Json, source: Reader, own: Sequence[str] = ()
) -> dict[str, Any]:
    """Read the fields of a record, in the table's order: what comes first settles the lengths."""
    if not isinstance(found, dict):
        source.refuse("it is not a record")
    if absent := [name for name in fields if name not in found]:
        source.refuse(f"{absent[0]!r} is missing")
    if unknown := [name for name in found if name not in fields]:
        source.refuse(f"{unknown[0]!r} is unknown")
    for letter in own:
        source.sizes.pop(letter, None)
    values = {}
    for name, codec in fields.items():
        with source.at(name):
            values[name] = codec.read(found[name], source)
    return values


@dataclass(frozen=True)
class Stacked:
    """A tuple of like records of numbers, one array for each field.

    Attributes:
      make: the record.
      fields: the shape and type of each field in one record.
    """

    make: Callable[..., Any]
    fields: Mapping[str, Array]

    def write(self, value: Any, out: Writer) -> Json:
        """By field; null where there are no records."""
        if not value:
            return None
        found = {}
        for name, array in self.fields.items():
            with out.at(name):
                column = np.array([getattr(item, name) for item in value])
                found[name] = Array(("", *array.shape), array.dtype).write(column, out)
        return found

    def read(self, found: Json, source: Reader) -> Any:
        """Taken apart again."""
        if found is None:
            return ()
        source.sizes.pop("#", None)
        columns = read_fields(
            {name: Array(("#", *a.shape), a.dtype) for name, a in self.fields.items()},
            found,
            source,
        )
        each = (c.tolist() if c.ndim == 1 else list(c) for c in columns.values())
        rows = zip(*each, strict=True)
        return tuple(self.make(**dict(zip(columns, row, strict=True))) for row in rows)


@dataclass(frozen=True)
class Pairs:
    """A dictionary, as a list of keys with their values.

    Attributes:
      spell: what JSON holds of a key.
      find: a key again from that.
      codec: of the value that belongs to a key.
      check: refuses values that do not fit their keys.
    """

    spell: Callable[[Any], Json]
    find: Callable[[Json, Reader], Any]
    codec: Callable[[Any], Codec]
    check: Callable[[Any, Any, Reader], None] = lambda key, value, source: None

    def write(self, value: Any, out: Writer) -> Json:
        """Pair after pair."""
        found = []
        for i, (key, item) in enumerate(value.items()):
            with out.at(i):
                found.append([self.spell(key), self.codec(key).write(item, out)])
        return found

    def read(self, found: Json, source: Reader) -> Any:
        """Pair after pair."""
        if not isinstance(found, list):
            source.refuse("it is not a list")
        values: dict[Any, Any] = {}
        for i, pair in enumerate(found):
            with source.at(i):
                if not isinstance(pair, list) or len(pair) != 2:
                    source.refuse("it is not a pair")
                key = self.find(pair[0], source)
                values[key] = self.codec(key).read(pair[1], source)
                self.check(key, values[key], source)
        return values
