"""Files that are there whole or not at all, however the process ends; errors name the file that was meant."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmeformula.errors import FolderNotFoundError

# What a file is called beside its target until it is whole.
_SUFFIX = ".part"
# How the kernel says that a file without a name cannot be made here.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


def located(path: str | os.PathLike[str]) -> Path:
    """Where a path that a user wrote leads: one that begins with ~ into the home folder.

    Args:
      path: as it was written.
    """
    place = Path(path)
    try:
        return place.expanduser()
    except RuntimeError:  # nobody of that name has a home: it may be what the folder is called
        return place


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, and read again: a reader sees the old one or the new one, never half of one.

    Several threads and processes may write the same path at once: the last one wins. Where the system has
    files without names (Linux), a process that is killed leaves nothing behind; elsewhere what it left is
    removed by the next one that writes the same path. A device or a pipe is written as it is.

    Args:
      path: of the file; its folder must exist. A link is followed.
    Raises:
      FolderNotFoundError: if its folder is not there.
      OSError: if it cannot be written; with the path that the caller gave.
    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with whole_file(Path(folder) / "a") as file:
      ...         _ = file.write(b"text")
      ...     [one.name for one in Path(folder).iterdir()]
      ['a']
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as device:
                yield device
            return
        _remove_left_over(target)
        file, part = _open(target)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if part is None:
                    part = _name_beside(target)
                    # With a directory's number Python calls linkat, which follows the kernel's own link.
                    number = file.fileno()
                    os.link(f"/proc/self/fd/{number}", part, src_dir_fd=number)
                os.replace(part, target)  # noqa: PTH105 - the call whose atomicity is documented
                part = None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        folder = Path(path).absolute().parent
        if error.errno == errno.ENOENT and not folder.exists():
            lacking = FolderNotFoundError(
                f"there is no folder {folder}", hint="Make it first, or write elsewhere."
            )
            lacking.errno, lacking.filename = error.errno, str(path)
            raise lacking from None
        # The user knows nothing of the file beside, and a full disk names none.
        raise type(error)(error.errno, error.strerror, str(path)) from None


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write a file in one step; see `whole_file`.

    Args:
      path: of the file.
      content: bytes, or a text, which is written as UTF-8.
    Returns:
      path: as given.
    Raises:
      OSError: if it cannot be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def _open(target: Path) -> tuple[BinaryIO, Path | None]:
    """A file to write that is locked, without a name where that can be, and its name otherwise."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        try:
            nameless = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            file: BinaryIO = os.fdopen(nameless, "w+b")
            _lock(file)
            return file, None
        except OSError as error:
            if error.errno not in _NO_NAMELESS or not target.parent.is_dir():
                raise
    while True:
        part = _name_beside(target)
        file = part.open("x+b")
        _lock(file)
        # Before the lock, another writer could take the file for one that was left, and remove it.
        if part.exists():
            return file, part
        file.close()


def _name_beside(target: Path) -> Path:
    # A name may be as long as the system allows; the part's must not be longer.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}{_SUFFIX}")


def _lock(file: BinaryIO) -> None:
    """Keep the file from being taken for one that was left."""
    try:
        import fcntl

        # Another writer holds it for no longer than it takes to remove it.
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    except (ImportError, OSError):
        return


def _remove_left_over(target: Path) -> None:
    """Remove what processes that were killed left beside the target: parts that nobody holds."""
    try:
        import fcntl
    except ImportError:
        return
    start = f".{target.name[:40]}."
    try:
        parts = [part for part in target.parent.iterdir() if _is_part(part.name, start)]
    except OSError:
        return
    for part in parts:
        try:
            with part.open("rb") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)
        except OSError:
            # Somebody writes it, or removed it first.
            continue


def _is_part(name: str, start: str) -> bool:
    return name.startswith(start) and name.endswith(_SUFFIX)
