"""Files of rows: one, or as many as match a pattern, Parquet or text."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lmeformula.errors import FormulaDataError, MissingLibraryError
from lmeformula.files import located
from lmeformula.rows.counting import counting
from lmeformula.rows.folders import in_folders
from lmeformula.rows.parquet import dataset_blocks
from lmeformula.rows.source import BLOCK_ROWS, Source, first_line, reading
from lmeformula.rows.text import text_source

PARQUET = b"PAR1"
INDEX = re.compile(r"__index_level_\d+__")
_WHAT = "Give the path of a Parquet or a CSV file, a pattern of such paths, or a table."
_INSTALL = (
    'Install it with: pip install "lmeformula[big]"; or read the file first, such as with '
    "pandas.read_csv(path)."
)


class _Found(NamedTuple):
    """The files that a path means, sorted, and the folder that all of them are in."""

    names: list[str]
    folder: Path


def files_source(path: str) -> Source:
    """The source that a path is: of one file, or of all that match a pattern, in the order of their names.

    What folders in the one that is asked for are called, such as "year=2020", are columns; one that is in the
    files themselves is not replaced.

    Args:
      path: of a Parquet or a CSV file (compressed or not), of a folder of Parquet files, or a pattern such as
        "ratings/*.parquet".
    Returns:
      The source.
    Raises:
      FormulaDataError: if there is no such file, there are files of both kinds, or one cannot be read.
      MissingLibraryError: if pyarrow cannot be imported.
    """
    found = _found(path)
    several = f" ({len(found.names):,} files)" if len(found.names) > 1 else ""
    are_parquet = _are_parquet(path, found.names)
    with _needed(path):
        opened = parquet_source if are_parquet else text_source
        return opened(f"{path}{several}", found.names, found.folder)


@contextmanager
def _needed(title: str) -> Iterator[None]:
    """Say which library is missing where it cannot be imported."""
    try:
        import pyarrow  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingLibraryError(
            f"reading {title} needs pyarrow, which cannot be imported", hint=_INSTALL
        ) from error
    yield


def parquet_source(title: str, names: list[str], folder: Path) -> Source:
    """The source that Parquet files are; columns have the types that whoever wrote them gave them.

    Args:
      title: what they are called.
      names: their paths.
      folder: where they are; folders in it may be columns, see `files_source`.
    Returns:
      The source.
    Raises:
      FormulaDataError: if they are damaged, or do not fit together.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    with reading(title):
        # A column that is whole in one file and has missing values in the next has several types.
        schemas = [pq.read_schema(name) for name in names]
        schema = pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        added = in_folders(names, folder, schema.names)
        said = pa.schema([(key, values.type) for key, values in added.items()])
        dataset = ds.dataset(
            names,
            schema=pa.schema([*schema, *said]),
            format="parquet",
            partitioning=ds.partitioning(said, flavor="hive") if added else None,
        )
        num_rows = dataset.count_rows()
    # pandas keeps the labels of rows as a column, which "." would take for a predictor.
    names = dataset.schema.names
    labels = tuple(name for name in names if INDEX.fullmatch(name))
    columns = tuple(name for name in names if name not in labels)
    return replace(
        dataset_source(dataset), name=title, num_rows=num_rows, columns=columns, labels=labels
    )


def dataset_source(dataset: Any) -> Source:
    """The source that a pyarrow Dataset is."""
    import pyarrow as pa

    if pa.null() in dataset.schema.types:
        # The first of its files has no values there, and says nothing of those of others.
        schemas = [part.physical_schema for part in dataset.get_fragments()]
        schema = pa.unify_schemas([dataset.schema, *schemas], promote_options="permissive")
        names = dataset.schema.names
        dataset = dataset.replace_schema(pa.schema([schema.field(name) for name in names]))

    def blocks(wanted: list[str]) -> Iterator[Any]:
        yield from dataset_blocks(dataset, wanted)

    return Source("a pyarrow Dataset", tuple(dataset.schema.names), blocks)


def relation_source(relation: Any) -> Source:
    """The source that a DuckDB relation is."""

    def chosen(wanted: list[str]) -> Any:
        return relation.project(", ".join(map(_quoted, wanted)))

    def batches(lazy: Any) -> Iterator[Any]:
        yield from lazy.to_arrow_reader(BLOCK_ROWS)

    def blocks(wanted: list[str]) -> Iterator[Any]:
        return batches(chosen(wanted))

    counted = counting(chosen, batches)
    return Source("a DuckDB relation", tuple(relation.columns), blocks, counted=counted)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def is_read_from(path: str, file: Path) -> bool:
    """Whether rows are read from a Parquet file where they are read from a path, or would be were it there.

    Args:
      path: as `files_source` takes it.
      file: the file, which need not be there.
    Raises:
      FormulaDataError: if the path means no files.
    """
    place, target = located(path), file.resolve()
    if any(Path(name).resolve() == target for name in _found(path).names):
        return True
    if place.is_dir():
        return target.is_relative_to(place.resolve())
    # A name is compared part by part; "**" is any number of folders.
    folders, here = place.parent, target.parent
    if "**" in folders.parts:
        above = Path(*folders.parts[: folders.parts.index("**")]).resolve()
        return here.is_relative_to(above) and target.match(place.name)
    return target.match(str(Path.cwd() / place))


def _found(path: str) -> _Found:
    if not path:
        raise FormulaDataError("there is no file without a name", hint=_WHAT)
    try:
        return _matches(path)
    except (OSError, RuntimeError) as error:  # a name too long; the home of nobody
        raise FormulaDataError(
            f"this is not the path of a file: {first_line(error)[:80]}", hint=_WHAT
        ) from error


def _matches(path: str) -> _Found:
    place = located(path)
    if place.is_dir():
        # A folder may have such a name itself.
        found = sorted(str(each) for each in place.rglob("*.parquet") if each.is_file())
        if not found:
            raise FormulaDataError(
                f"the folder {path} has no Parquet files",
                hint='Give a pattern for others: "folder/*.csv".',
            )
        return _Found(found, place)
    if place.is_file():
        return _Found([str(place)], place.parent)
    found = sorted(each for each in glob.glob(str(place), recursive=True) if Path(each).is_file())  # noqa: PTH207 - any part of the path may be a pattern
    if not found:
        raise FormulaDataError(f"there is no file {path}", hint=_WHAT)
    patterns = [number for number, part in enumerate(place.parts) if glob.has_magic(part)]
    return _Found(found, Path(*place.parts[: patterns[0]]))


def _are_parquet(path: str, names: list[str]) -> bool:
    """Whether files are Parquet, by their first bytes."""
    kinds = set()
    for name in names:
        try:
            with Path(name).open("rb") as file:
                kinds.add(file.read(len(PARQUET)) == PARQUET)
        except OSError as error:
            raise FormulaDataError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(kinds) > 1:
        raise FormulaDataError(f"{path} means Parquet files and others", hint="Name one kind.")
    return kinds.pop()
