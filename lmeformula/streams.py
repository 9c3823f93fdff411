"""The streams of a process: all three there, an output that takes every letter, and its end."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def open_streams() -> None:
    """Give the process all of its streams, with an output that takes every letter.

    What was closed by the caller is opened on nothing: the next file that is opened would have its number, and
    messages of libraries would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Let what could not be written go nowhere: Python flushes once more at exit."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # a stream without a file, as tests have
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def write_utf8(text: str) -> None:
    """Write to standard output as a file would have it: UTF-8, whatever a terminal shows."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    stream.write(text.encode())
    stream.flush()
