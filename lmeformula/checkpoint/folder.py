"""The folder of a checkpoint: one fit at a time, and only the fit that it is of."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, NamedTuple

from lmeformula.checkpoint.journal import Journal, kept_in, remove_pages
from lmeformula.checkpoint.trees import digest
from lmeformula.errors import CheckpointError, LmeFormulaWarning
from lmeformula.files import located, write_whole

LOCK, MANIFEST, TRIAL = "checkpoint.lock", "checkpoint.json", "checkpoint.trial"
FORMAT, VERSION = "lmeformula checkpoint", 1
# What is written to see whether there is room.
TRIAL_BYTES = 2**16
# Values longer than this are not shown.
LONGEST = 60
DIGEST = re.compile("[0-9a-f]{32}")
CURE = "Remove the folder, or name another: each fit has one of its own."


class Folder(NamedTuple):
    """A folder that this process has for itself; see `opened`.

    Attributes:
      path: of the folder.
    """

    path: Path

    @contextmanager
    def journal_of(self, fingerprint: Mapping[str, str]) -> Iterator[Journal]:
        """Keep a journal of the fit that runs inside, and go on with the one that is there.

        Args:
          fingerprint: by its name, each thing that the numbers of the fit depend on.
        Raises:
          CheckpointError: if the one that is there is of another fit, or cannot be read.
        """
        manifest = self.path / MANIFEST
        if manifest.exists():
            _check(fingerprint, _read(manifest), self.path)
        else:
            # A fit that was killed while it removed them left them.
            remove_pages(self.path)
            write_whole(manifest, _text(fingerprint))
        journal = Journal(self.path)
        try:
            with kept_in(journal):
                yield journal
        finally:
            if not journal.is_finished:
                journal.flush()
            if journal.is_finished or journal.is_empty:
                # First what the rest is nobody's without.
                manifest.unlink(missing_ok=True)
                remove_pages(self.path)


_had: ContextVar[Folder | None] = ContextVar("folder", default=None)


@contextmanager
def opened(path: str | os.PathLike[str] | None) -> Iterator[Folder | None]:
    """Have a folder for a checkpoint, which is made if it is not there; None for none.

    Who has it already has it still.

    Args:
      path: of the folder.
    Raises:
      CheckpointError: if another process has it, or it is a file.
      OSError: if it cannot be made, or written to.
    """
    if path is None:
        yield None
        return
    folder, had = located(path).absolute(), _had.get()
    if had is not None and had.path == folder:
        yield had
        return
    _make(folder)
    try:
        with _locked(folder / LOCK):
            _try_out(folder / TRIAL)
            token = _had.set(Folder(folder))
            try:
                yield _had.get()
            finally:
                _had.reset(token)
    finally:
        if not (folder / MANIFEST).exists():
            with suppress(OSError):  # other files are in it
                folder.rmdir()


def left(name: str) -> str | None:
    """What stands in the folder that this call has of the fit that left its checkpoint there.

    Args:
      name: of a thing in the fingerprint.
    Returns:
      How it was; None where there is no checkpoint, or it does not say.
    Raises:
      CheckpointError: if it cannot be read.
    """
    had = _had.get()
    if had is None or not (had.path / MANIFEST).exists():
        return None
    return _read(had.path / MANIFEST).get(name)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} is no folder: a file has that name, or a part of it",
            hint="Name another: it is made if it is not there.",
        ) from error


def _try_out(path: Path) -> None:
    """See whether there is room for a file."""
    try:
        write_whole(path, bytes(TRIAL_BYTES))
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file that no other process holds, and remove it in the end."""
    file = _lock(path)
    try:
        yield
    finally:
        # While it is held: who opened it before sees that it is gone.
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="ascii")
        try:
            _hold(file)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(LONGEST).strip()
            file.close()
            raise CheckpointError(
                f"another fit{f', of process {holder},' if holder else ''} has its checkpoint in {path.parent}",
                hint="Wait for it to end, or name another folder.",
            ) from None
        except BaseException:
            file.close()
            raise
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
        # It was removed by who held it before.
        file.close()


def _hold(file: IO[str]) -> None:
    """Lock a file for this process, where that can be.

    Raises:
      BlockingIOError: if another one has.
    """
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        # Windows, and some file systems over a network.
        warnings.warn(
            LmeFormulaWarning(
                f"files in {Path(file.name).parent} cannot be locked: see that no other fit is there"
            ),
            stacklevel=2,
        )


def _text(fingerprint: Mapping[str, str]) -> str:
    content = {"format": FORMAT, "version": VERSION, "fingerprint": dict(fingerprint)}
    return json.dumps(content | {"sum": digest(content)}, indent=1)


def _read(manifest: Path) -> dict[str, str]:
    """The fingerprint that stands in a folder."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        total, version = content.pop("sum"), content["version"]
        is_whole = content["format"] == FORMAT and total == digest(content)
        found: dict[str, str] = content["fingerprint"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{manifest} is damaged: {error!r}", hint=CURE) from error
    if not is_whole or version != VERSION:
        raise CheckpointError(
            f"{manifest} is damaged, or of another version of lmeformula", hint=CURE
        )
    return found


def _check(here: Mapping[str, str], there: Mapping[str, str], folder: Path) -> None:
    """Refuse a fit that is not the one that left a checkpoint."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if names:
        told = "; ".join(_difference(name, there.get(name), here.get(name)) for name in names)
        raise CheckpointError(f"the checkpoint in {folder} is of another fit: {told}", hint=CURE)


def _difference(name: str, before: str | None, now: str | None) -> str:
    shown = [value for value in (before, now) if value is not None]
    if len(shown) < 2 or any(len(value) > LONGEST or DIGEST.fullmatch(value) for value in shown):
        return f"{name} is another"
    return f"{name} was {before}, and is {now}"
