"""Records, tuples and arrays in a file of arrays and one JSON text, to the bit; nothing is pickled."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.files import whole_file

# None, truth values, numbers, texts, arrays, and tuples, lists, dictionaries and named tuples of such.
Tree: TypeAlias = Any
Json: TypeAlias = Any

TEXT = "text"
# Only records of this package are made again.
HOME = "lmeformula"
# Bytes of the sum that stands behind the archive, of what is read at a time, and of an array that is in one
# order at a time.
SUM, CHUNK = 16, 2**24


def write_tree(path: Path, tree: Tree) -> None:
    """Write a tree: whole, or not at all, with a sum of its bytes behind it.

    Arrays keep the order of their axes in memory: sums go along it, and their last bits with it.

    Args:
      path: of the file, which is replaced.
      tree: what to write.
    Raises:
      OSError: if it cannot be written.
    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_tree(Path(folder) / "a", (np.arange(3.0), {"x": 1}, float("inf")))
      ...     read_tree(Path(folder) / "a")
      (array([0., 1., 2.]), {'x': 1}, inf)
    """
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_written(tree, arrays, {}), separators=(",", ":"))
    parts = {f"a{number}": array for number, array in enumerate(arrays)}
    parts[TEXT] = np.frombuffer(text.encode(), np.uint8)
    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **parts)
        size = file.seek(0, os.SEEK_END)
        file.write(_sum(file, size))


def read_tree(path: Path) -> Tree:
    """Read what `write_tree` wrote.

    Raises:
      DamagedError: if it is not as it was written.
      OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - SUM
        if size < 0 or _sum(file, size) != file.read(SUM):
            raise DamagedError(f"{path} is damaged")
        file.seek(0)
        with np.load(file, allow_pickle=False) as parts:
            text = json.loads(parts[TEXT].tobytes().decode())
            return _read(text, {name: parts[name] for name in parts.files}, {})


class DamagedError(Exception):
    """A file is not as it was written."""


def _sum(file: BinaryIO, size: int) -> bytes:
    """The sum of so many bytes, after which the file stands."""
    found, left = hashlib.blake2b(digest_size=SUM), size
    file.seek(0)
    while left:
        part = file.read(min(left, CHUNK))
        found.update(part)
        left -= len(part)
    return found.digest()


def digest(tree: Tree) -> str:
    """A text that two trees share only if they are the same to the bit.

    Example:
      >>> digest((1.0, "a")) == digest((1.0, "a")), digest(np.zeros(2)) == digest(np.zeros(3))
      (True, False)
    """
    found = hashlib.blake2b(digest_size=SUM)
    for part in _bytes(tree):
        found.update(part)
    return found.hexdigest()


def _written(tree: Tree, arrays: list[NDArray[Any]], places: dict[int, Json]) -> Json:
    """The JSON of a tree, its arrays put aside: each once, however often it is there."""
    if tree is None or isinstance(tree, bool | int | str) or type(tree) is float:
        return tree
    if isinstance(tree, np.ndarray | np.generic):
        if id(tree) not in places:
            array = np.asarray(tree)
            # The outermost axis in memory first.
            order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
            arrays.append(array.transpose(order))
            kind = "array" if isinstance(tree, np.ndarray) else "number"
            places[id(tree)] = {kind: len(arrays) - 1, "order": order}
        return places[id(tree)]
    if isinstance(tree, dict):
        return {"dict": {key: _written(value, arrays, places) for key, value in tree.items()}}
    parts = [_written(part, arrays, places) for part in tree]
    if isinstance(tree, list):
        return parts
    if isinstance(tree, tuple):
        of = type(tree)
        return {"tuple": parts, "of": "" if of is tuple else f"{of.__module__}:{of.__qualname__}"}
    raise TypeError(f"{type(tree)} has no place in a file")


def _read(found: Json, arrays: dict[str, NDArray[Any]], made: dict[int, Tree]) -> Tree:
    """The tree of a JSON; what was one array is one again."""
    if isinstance(found, list):
        return [_read(part, arrays, made) for part in found]
    if not isinstance(found, dict):
        return found
    if "dict" in found:
        return {key: _read(value, arrays, made) for key, value in found["dict"].items()}
    if "tuple" in found:
        parts = [_read(part, arrays, made) for part in found["tuple"]]
        return tuple(parts) if not found["of"] else _record(found["of"])(*parts)
    place = found["array"] if "array" in found else found["number"]
    if place not in made:
        array = arrays[f"a{place}"].transpose(np.argsort(found["order"]).astype(int))
        made[place] = array if "array" in found else array[()]
    return made[place]


def _record(name: str) -> type:
    """A named tuple of this package, by its name."""
    module, _, kind = name.partition(":")
    if module.partition(".")[0] != HOME:
        raise DamagedError(f"{name} is no record of this package")
    found = getattr(importlib.import_module(module), kind)
    if not (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
        raise DamagedError(f"{name} is no record of this package")
    return found


def _bytes(tree: Tree) -> Iterator[Any]:
    """The bytes of a tree, with what tells its parts from one another."""
    if isinstance(tree, np.ndarray):
        yield f"{tree.dtype.str}{tree.shape}".encode()
        rows = max(1, CHUNK // max(1, tree.nbytes // max(1, len(tree)))) if tree.ndim else 1
        for start in range(0, len(tree) if tree.ndim else 1, rows):
            part = tree[start : start + rows] if tree.ndim else tree
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    elif isinstance(tree, dict):
        yield from _bytes(tuple(tree.items()))
    elif isinstance(tree, tuple | list):
        yield f"({len(tree)}".encode()
        for part in tree:
            yield from _bytes(part)
    else:
        # The shortest text that is this number alone.
        yield f"{type(tree).__name__} {tree!r};".encode()
