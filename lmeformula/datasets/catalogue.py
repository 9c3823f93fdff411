"""What is known of the shipped data sets without reading them: `data/sets.toml` as records."""

from __future__ import annotations

import difflib
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources.abc import Traversable
from typing import Any

from lmeformula.arguments import kinds
from lmeformula.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a shipped data set.

    Attributes:
      name: as in the data frame.
      kind: "numeric", "factor" (unordered categories) or "ordered".
      about: its meaning and unit.
      num_levels: number of levels; 0 for a number.
      levels: the levels in order, or () where they are in natural order (a2 before a10).
    """

    name: str
    kind: str
    about: str
    num_levels: int = 0
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """One shipped data set; `print` it to read it.

    Attributes:
      name: what `load` is called with.
      package: the R package that it comes from.
      item: its name there.
      title: one line.
      source: the publication that R's documentation gives as its origin.
      note: what differs from R; "" where nothing does.
      rows: number of rows.
      content: checksum of the values, see `content_digest`.
      columns: in the order of the data frame.
    """

    name: str
    package: str
    item: str
    title: str
    source: str
    note: str
    rows: int
    content: str = field(repr=False)
    columns: tuple[Column, ...] = field(repr=False)

    def __str__(self) -> str:
        cells = [(c.name, _kind_text(c), c.about) for c in self.columns]
        wide = [max(len(row[k]) for row in cells) for k in range(2)]
        lines = [
            f"{self.name}: {self.title}",
            f"{self.rows} rows, from {self.package}::{self.item} in R",
            *(f"  {name:<{wide[0]}}  {kind:<{wide[1]}}  {about}" for name, kind, about in cells),
            f"Source: {self.source}",
        ]
        return "\n".join([*lines, f"Note: {self.note}"] if self.note else lines)


class Catalogue(tuple[Dataset, ...]):
    """The shipped data sets, in alphabetical order; prints itself as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [("name", "rows", "columns", "R package", "title")]
        rows += [(d.name, str(d.rows), str(len(d.columns)), d.package, d.title) for d in self]
        wide = [max(len(row[k]) for row in rows) for k in range(4)]
        return "\n".join(
            f"{name:<{wide[0]}}  {n:>{wide[1]}}  {p:>{wide[2]}}  {package:<{wide[3]}}  {title}"
            for name, n, p, package, title in rows
        )


def names() -> tuple[str, ...]:
    """Return the names of the shipped data sets.

    Example:
      >>> "sleepstudy" in names()
      True
    """
    return tuple(_shipped())


def catalogue() -> Catalogue:
    """Return what is known of every shipped data set; printing it gives a table.

    Example:
      >>> [d.rows for d in catalogue() if d.name == "sleepstudy"]
      [180]
    """
    return Catalogue(_shipped().values())


@kinds.takes(name=kinds.text)
def describe(name: str) -> Dataset:
    """Return what is known of one shipped data set: origin, citation, rows, columns and levels.

    Args:
      name: as for `load`.
    Returns:
      A record; `print` it to read it.
    Raises:
      DatasetError: there is no such data set in the package.
    Example:
      >>> print(describe("Dyestuff"))
      Dyestuff: Yield of dyestuff by batch
      30 rows, from lme4::Dyestuff in R
        Batch  factor, 6 levels  batch of the intermediate product
        Yield  numeric           yield of dyestuff (grams of standard colour)
      Source: Davies, O. L. and Goldsmith, P. L. (eds) (1972). ...
    """
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    # "insteval" and "InstEval" differ in case only: a third spelling means the lower-case one.
    folded = {known.casefold(): known for known in sorted(shipped, key=str.islower)}
    if name.casefold() in folded:
        return shipped[folded[name.casefold()]]
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    guess = f"Did you mean {folded[close[0]]!r}? " if close else ""
    raise DatasetError(
        f"no data set {name!r} is shipped with lmeformula", hint=guess + shipped_names()
    )


def describe_twin(package: str, item: str) -> Dataset | None:
    """Return the shipped data set that R has as `package::item`, or None."""
    dataset = _shipped().get(item)
    return dataset if dataset is not None and dataset.package == package else None


def shipped_names() -> str:
    """Say which data sets need no network, for the end of an error message."""
    return (
        f"Shipped with the package, to read without a network: {', '.join(names())}. "
        'Write lmeformula.datasets.load("sleepstudy").'
    )


def data_home() -> Traversable:
    """Return the folder of the shipped files, wherever the package is installed."""
    return importlib.resources.files("lmeformula") / "data"


@cache
def _shipped() -> Mapping[str, Dataset]:
    with (data_home() / "sets.toml").open("rb") as file:
        tables = tomllib.load(file)
    sets = {name: _dataset(name, table, tables) for name, table in tables.items()}
    return dict(sorted(sets.items(), key=lambda pair: (pair[0].casefold(), pair[0])))


def _dataset(name: str, table: Mapping[str, Any], tables: Mapping[str, Any]) -> Dataset:
    origin = tables[table["same_as"]] if "same_as" in table else table
    rename = table.get("rename", {})
    return Dataset(
        name=name,
        package=origin["package"],
        item=origin["item"],
        title=table["title"],
        source=origin["source"],
        note=origin.get("note", ""),
        rows=origin["rows"],
        content=origin["content"],
        columns=tuple(_column(rename.get(key, key), c) for key, c in origin["columns"].items()),
    )


def _column(name: str, entry: str | Mapping[str, Any]) -> Column:
    if isinstance(entry, str):
        return Column(name, "numeric", entry)
    kind = "ordered" if "ordered" in entry else "factor"
    levels = entry[kind]
    if isinstance(levels, int):
        return Column(name, kind, entry["about"], num_levels=levels)
    return Column(name, kind, entry["about"], num_levels=len(levels), levels=tuple(levels))


def _kind_text(column: Column) -> str:
    if column.kind == "numeric":
        return "numeric"
    if column.kind == "ordered":
        return "ordered, " + " < ".join(column.levels)
    return f"factor, {column.num_levels} levels"
