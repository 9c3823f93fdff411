"""A saved fit as a file: a zip of one JSON text and NumPy arrays, written whole, read with suspicion.

The file is what `numpy.savez` would write, with fit.json beside the arrays. Nothing in it is code, and
nothing is unpacked before its size is known.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.errors import SavedFitError
from lmeformula.files import whole_file

Json: TypeAlias = Any
Array: TypeAlias = NDArray[Any]

HEADER = "fit.json"
SUFFIX = ".npy"
MAX_BYTES = 2**30
# JSON takes so many times its length in memory once it is read, at most (empty lists and objects do, measured,
# with the records that are made of it); the large things are arrays.
JSON_SHARE = 40
MOST_MEMBERS = 100_000
MOST_ITEMS, MOST_DIMENSIONS = 2**40, 4
DTYPES = ("<f8", "<i8", "<i4")
# The same fit gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path, header: Json, arrays: Mapping[str, Array]) -> None:
    """Write a file that is there whole, or not at all.

    Args:
      path: where to; a file of this name is replaced at the very end.
      header: what `json` can write, without nan and infinities.
      arrays: by name, of float64, int64 or int32.
    Raises:
      OSError: if the file cannot be written.
    """
    text = json.dumps(header, allow_nan=False, separators=(",", ":"))
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _put(archive, HEADER, text.encode())
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            _put(archive, f"{name}{SUFFIX}", content.getvalue())


@contextmanager
def open_archive(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[Archive]:
    """Open a file that `write_archive` wrote, or that claims to be one.

    Args:
      path: the file.
      max_bytes: the most that its parts may take when they are unpacked.
    Raises:
      SavedFitError: if it is no zip file, is damaged, or would take more room.
      OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise SavedFitError(
                f"{path} is not a saved fit, or only a part of one: {error}",
                hint="Give a file that fit.save(path) wrote; copy it again if it was moved.",
            ) from error
        with archive:
            yield Archive(path, archive, max_bytes)


class Archive:
    """An open file and its parts by name, checked before they are unpacked.

    Attributes:
      path: the file, for messages.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self.path = path
        self._archive = archive
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) < len(archive.infolist()) or len(self._members) > MOST_MEMBERS:
            self.refuse("has parts of the same name, or too many of them")
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        # The largest array is there twice while it is read.
        total = sum(sizes.values()) + max(sizes.values(), default=0)
        total += (JSON_SHARE - 1) * sizes.get(HEADER, 0)
        if total > max_bytes:
            raise SavedFitError(
                f"{path} may take {total:,} bytes of memory, more than the limit of {max_bytes:,}",
                hint="If you trust the file, raise the limit: lf.load(path, max_bytes=...).",
            )

    def header(self) -> Json:
        """The JSON text, read."""
        if HEADER not in self._members:
            self.refuse(f"has no {HEADER}")
        try:
            text = self._content(HEADER).decode()
            return json.loads(
                text, parse_constant=self._refuse_number, object_pairs_hook=self._distinct
            )
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            if isinstance(error, SavedFitError):
                raise
            self.refuse(f"has no readable {HEADER}: {error}")

    def array(self, name: object) -> Array:
        """One of the arrays."""
        member = f"{name}{SUFFIX}"
        if not isinstance(name, str) or member not in self._members:
            self.refuse(f"has no array {name!r}")
        raw = self._content(member)
        content = io.BytesIO(raw)
        try:
            version = np.lib.format.read_magic(content)
            if version != (1, 0):
                self.refuse(f"has an array {name!r} of another version of the .npy format")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(content)
        except SavedFitError:
            raise
        except Exception as error:  # the header is a literal, which can be wrong in any way
            self.refuse(f"has an array {name!r} that cannot be read: {error}")
        data = memoryview(raw)[content.tell() :]
        if not all(type(size) is int and 0 <= size < MOST_ITEMS for size in shape):
            self.refuse(f"has an array {name!r} of no possible shape")
        if len(shape) > MOST_DIMENSIONS:
            self.refuse(f"has an array {name!r} of {len(shape)} dimensions")
        if dtype.str not in DTYPES or (is_fortran and len(shape) > 1):
            self.refuse(f"has an array {name!r} of type {dtype.str}")
        if int(np.prod(shape, dtype=object)) * dtype.itemsize != len(data):
            self.refuse(f"has an array {name!r} that is not as long as it says")
        # A copy is aligned and can be written to.
        return np.array(np.frombuffer(data, dtype=dtype).reshape(shape))

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error for a file that was changed or damaged."""
        raise SavedFitError(
            f"{self.path} {problem}",
            hint="The file is damaged, or was changed after it was saved: save the fit again.",
        )

    def _content(self, name: str) -> bytes:
        info = self._members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.refuse(f"packs {name} in a way that fits are not saved in")
        try:
            with self._archive.open(info) as part:
                return part.read()  # which stops at the size that was checked
        # zlib's, struct's and zipfile's own errors for bytes that were changed.
        except Exception as error:
            self.refuse(f"is damaged in {name}: {error}")

    def _refuse_number(self, name: str) -> NoReturn:
        self.refuse(f"has {name} where JSON has no such number")

    def _distinct(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.refuse(f"says the same thing twice in {HEADER}")
        return found


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)
