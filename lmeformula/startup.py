"""Import TensorFlow: without the notes about its build, and with XLA's persistent cache of compiled programs.

Both are settings of the process that TensorFlow reads once, when it is imported. So they are made when this
package is the first to import it, and left alone where the user did, or set them.

Environment:
  LMEFORMULA_XLA_CACHE: the directory of compiled programs, or "off". By default a folder of its own for each
    version of TensorFlow and kind of processor within the user's cache directory. It may be deleted any time.
  TF_XLA_FLAGS: if it names a persistent cache, that is used; other flags are kept.
  TF_CPP_MIN_LOG_LEVEL: if set, TensorFlow says what it asks for.
"""

from __future__ import annotations

import importlib
import importlib.abc
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from lmeformula.errors import ModelError

FLAG = "--tf_xla_persistent_cache_directory"
SWITCH = "LMEFORMULA_XLA_CACHE"
# Older programs are deleted when all together are larger than this.
MOST_BYTES = 512 * 2**20


def import_tensorflow() -> None:
    """Import TensorFlow and let it look for devices, once and for all.

    What goes wrong in the import is a Python exception and shows all the same. Ctrl-C during the import takes
    effect when it is over: half of an import cannot be taken up again.

    Raises:
      ModelError: in a process that was forked from one that has used TensorFlow, whose threads it lacks.
    """
    if _forked_from_tensorflow:
        raise ModelError(
            "this process was forked from one that has used TensorFlow, whose threads are not in it: the fit "
            "would wait for them without end",
            hint='Start workers afresh: multiprocessing.get_context("spawn"), or "forkserver".',
        )
    import tensorflow  # noqa: F401 - by the loader below


class _Deferred(ModuleType):
    """A module that is imported once something of it is asked for; importing this package imports neither."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Python's own look-ups, as of doctest and pickle, ask for nothing that it has.
            raise AttributeError(name)
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


tf: Any = _Deferred("tensorflow")
tfp: Any = _Deferred("tensorflow_probability")


# Half of an import of these cannot be taken up again: they register types and native code.
_WHOLE = ("tensorflow", "tensorflow_probability", "tf_keras")
# Keras takes a third of TensorFlow's import, with scikit-learn and matplotlib behind it. TensorFlow asks for it
# at its end, only so that it has registered itself, and does without where it is not there: `tf.keras` imports
# it once it is used.
LATER = "keras"
_quiet = False
# The thread that imports TensorFlow, while it does.
_importing = 0


def watch_imports() -> None:
    """Have TensorFlow imported quietly, with the cache, and whole, whichever line imports it first.

    Ctrl-C during the import takes effect when it is over.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what others find, and has it loaded in our way."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        is_early = fullname == LATER and _importing == threading.get_ident()
        if fullname not in _WHOLE and not is_early:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader) if is_early else _Loader(spec.loader)
        return spec


class _Later(importlib.abc.Loader):
    """Another loader of what is there, but not to be imported now."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As an import that is not possible.

        Raises:
          ImportError: which TensorFlow expects.
        """
        raise ImportError(f"{spec.name} is imported when it is asked for", name=spec.name)


class _Loader(importlib.abc.Loader):
    """Another loader, shielded from interrupts, and quiet where nothing else is asked for."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other loader does."""
        found: ModuleType | None = self.real.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        """As the other loader does, in peace."""
        with _interrupts_deferred():
            if module.__name__ == "tensorflow":
                _make_settings()
            with _native_notes_dropped() if _quiet else nullcontext():
                with _without_keras() if module.__name__ == "tensorflow" else nullcontext():
                    self.real.exec_module(module)
                if module.__name__ == "tensorflow" and _quiet:
                    # Looking for devices writes notes, too.
                    module.config.list_physical_devices()
                    module.get_logger().addFilter(_says_something)


@contextmanager
def _without_keras() -> Iterator[None]:
    global _importing
    _importing = threading.get_ident()
    try:
        yield
    finally:
        _importing = 0


# Notes on how TensorFlow traces, of no use to whoever fits models: new data are new shapes.
_ON_TRACING = ("triggered tf.function retracing", "is not a valid node name")


def _says_something(record: logging.LogRecord) -> bool:
    """Whether a note of TensorFlow's own logging is about more than tracing."""
    return not any(part in record.getMessage() for part in _ON_TRACING)


def _make_settings() -> None:
    global _quiet
    use_persistent_cache()
    # Errors too: loading a program from the cache logs one about preferences that are no features of a
    # processor. What matters comes as a Python exception. Whoever asks for errors alone gets notes as well
    # from TensorFlow, whose logging has not started then.
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _quiet = level in ("2", "3")


_forked_from_tensorflow = False


def _note_fork() -> None:
    global _forked_from_tensorflow
    _forked_from_tensorflow = "tensorflow" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Keep Ctrl-C until the end of the block; in threads other than the main one it does not arrive anyway."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is None:
        # A handler that was not set from Python cannot be set again.
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived and callable(before):
        # Here and now: a signal raised anew would arrive a little later, perhaps where nobody hears of it.
        before(signal.SIGINT, None)
    elif arrived:
        signal.raise_signal(signal.SIGINT)


def use_persistent_cache() -> Path | None:
    """Set TF_XLA_FLAGS for a cache directory that can be written to.

    Returns:
      The directory, or None if there is none: switched off, chosen by the user's own flags, or not writable.
    """
    import tempfile

    flags = os.environ.get("TF_XLA_FLAGS", "")
    chosen = os.environ.get(SWITCH, "")
    if FLAG in flags or chosen.lower() in ("off", "0", "no", "false"):
        return None
    try:
        directory = (Path(chosen) if chosen else _user_cache()) / _kind()
        # TensorFlow separates flags by spaces.
        if any(letter.isspace() for letter in str(directory)):
            return None
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # TensorFlow fails in the middle of a fit where it cannot write.
        with tempfile.TemporaryFile(dir=directory):
            pass
        _shrink(directory.parent)
    except OSError:
        return None
    os.environ["TF_XLA_FLAGS"] = f"{flags} {FLAG}={directory}".strip()
    _directory.append(directory)
    return directory


# Where the programs of this process are kept, once that is chosen; empty where they are not, or by the user.
_directory: list[Path] = []


def forget_programs() -> bool:
    """Delete the programs that were kept, some of which may be damaged, or fill the disk.

    Returns:
      whether there is a place of ours that they are kept in.
    """
    for directory in _directory:
        for path in directory.glob("*.pb*"):
            path.unlink(missing_ok=True)
    return bool(_directory)


def _user_cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("lmeformula") / "xla"


def _kind() -> str:
    """A name for what compiled programs depend on besides their source: TensorFlow and the processor.

    A home directory may be shared by machines, and code for one processor ends the process on another.
    """
    import hashlib
    import importlib.metadata
    import platform

    about = [platform.machine(), platform.processor(), platform.system()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("flags", "Features", "model name")
    about += sorted({line for line in lines if line.split("\t")[0].strip() in wanted})
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
    return f"tensorflow-{importlib.metadata.version('tensorflow')}-{digest}"


def _shrink(directory: Path) -> None:
    """Delete the programs that were written first until the others are small enough."""
    found = []
    for path in directory.glob("*/*.pb"):
        try:
            status = path.stat()
        except FileNotFoundError:
            # Another process did.
            continue
        found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size


@contextmanager
def _native_notes_dropped() -> Iterator[None]:
    """Drop the notes that native code writes before any setting can stop it; pass on all else."""
    import tempfile

    # The descriptor, not sys.stderr: native code does not know the latter.
    try:
        saved = os.dup(2)
    except OSError:
        # There is no standard error, and nothing to keep quiet.
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            for line in kept.read().splitlines(keepends=True):
                if not _is_note(line):
                    os.write(2, line)


def _is_note(line: bytes) -> bool:
    """Whether a line is one of the logger's: a letter for its level, then digits; or its banner."""
    is_log = line[:1] in (b"I", b"W", b"E") and line[1:5].isdigit()
    return is_log or line.startswith(
        (b"WARNING: All log messages before absl", b"To enable the following")
    )
