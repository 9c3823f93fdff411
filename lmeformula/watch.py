"""How far a long piece of work is: one line on a terminal or in a notebook, once two seconds have gone by."""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

# Seconds before the first line, and between two: in a notebook each is a message to a browser.
PATIENCE, EVERY, EVERY_IN_NOTEBOOK = 2.0, 0.2, 1.0
# What the steps of an ascent are called.
EVALUATIONS = "evaluations of the likelihood"
# What turns all of it off, beside `progress=False`.
SWITCH = "LMEFORMULA_PROGRESS"
OFF = ("0", "false", "no", "off")


class Watch:
    """What a piece of work tells how far it is; shows it if somebody looks.

    Args:
      what: is done, as the line begins.
      total: how many steps there are, where that is known.
      of: what a step is, in the plural.
      stream: where the line stands; None for nowhere.
    """

    def __init__(self, what: str, total: int | None, of: str, stream: TextIO | None) -> None:
        self._what, self._total, self._of, self._stream = what, total, of, stream
        self._done, self._share, self._note = 0, 0.0, ""
        self._ascent: Ascent | None = None
        self._began = time.monotonic()
        self._next = self._began + PATIENCE
        self._width = 0

    def step(self, count: int = 1, *, note: str = "", share: float | None = None) -> None:
        """Say that so many more steps are done.

        Args:
          count: of steps.
          note: what else is known.
          share: of the way that lies behind, where the number of steps does not tell.
        """
        self._done += count
        self._note = note
        if share is not None:
            self._share = share
        elif self._total:
            self._share = min(self._done / self._total, 1.0)
        self.show()

    def show(self) -> None:
        """Write the line, if it is time."""
        if self._stream is None or time.monotonic() < self._next:
            return
        room = shutil.get_terminal_size().columns - 1
        line = self.line()
        line = line if len(line) <= room else line[: room - 3] + "..."
        pause = EVERY_IN_NOTEBOOK if is_notebook(self._stream) else EVERY
        self._next = time.monotonic() + pause
        if self._write(f"\r{line.ljust(self._width)}"):
            self._width = len(line)

    def line(self) -> str:
        """What there is to say now."""
        seconds = time.monotonic() - self._began
        done = f"{self._done:,}" + ("" if self._total is None else f" of {self._total:,}")
        parts = [f"{self._what}: {done} {self._of}", spoken(seconds)]
        if self._share > 0.0:
            parts.append(f"{spoken(seconds * (1.0 / self._share - 1.0))} left")
        elif self._ascent is not None and self._ascent.share > 0.0:
            left = self._ascent.seconds_left(time.monotonic())
            parts.append(f"about {spoken(left)} left")
        return ", ".join([*parts, *([self._note] if self._note else [])])

    def close(self) -> None:
        """Take the line away, if there is one."""
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> bool:
        """Whether it stands there now."""
        assert self._stream is not None
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone, or the stream is closed
            self._stream, self._width = None, 0
        return self._stream is not None


class Ascent:
    """How far an ascent is: what its next step promises falls by about the same factor from step to step.

    Newton's method is faster at the end, so that what is left is less than what is said, if it is not that.
    """

    def __init__(self) -> None:
        self._began, self._first, self.share = time.monotonic(), 0.0, 0.0

    def sees(self, gain: float, enough: float) -> None:
        """Say what the next step promises, and with how little the ascent is over."""
        if not 0.0 < gain < math.inf:
            return
        self._first = max(self._first, gain)
        way = math.log(self._first / enough) if self._first > enough else 0.0
        behind = math.log(self._first / gain)
        self.share = behind / way if behind < way else 0.0

    def seconds_left(self, now: float) -> float:
        """About how long it takes from now on."""
        return (now - self._began) * (1.0 / self.share - 1.0)


@contextmanager
def ascending() -> Iterator[Ascent]:
    """Watch an ascent, which tells what each of its steps promises; it belongs to the work that is watched."""
    ascent, watch = Ascent(), _inner.get()
    before = None if watch is None else watch._ascent
    if watch is not None:
        watch._ascent = ascent
    try:
        yield ascent
    finally:
        if watch is not None:
            watch._ascent = before


def spoken(seconds: float) -> str:
    """A length of time in few words.

    Example:
      >>> spoken(7.4), spoken(200), spoken(7300)
      ('7 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


_outer: ContextVar[Watch | None] = ContextVar("outer", default=None)
_inner: ContextVar[Watch | None] = ContextVar("inner", default=None)
_is_wanted: ContextVar[bool] = ContextVar("is_wanted", default=True)


@contextmanager
def watched(what: str, total: int | None = None, of: str = "") -> Iterator[Watch]:
    """Watch a piece of work: within another one that is watched the other's line stands.

    Args:
      what: is done, such as "reading ratings.parquet".
      total: how many steps there are, where that is known.
      of: what a step is, in the plural.
    Returns:
      What is told of each step.
    """
    outer = _outer.get()
    watch = Watch(what, total, of, _stream() if outer is None else None)
    inner_token = _inner.set(watch)
    outer_token = _outer.set(watch) if outer is None else None
    try:
        yield watch
    finally:
        _inner.reset(inner_token)
        if outer_token is not None:
            _outer.reset(outer_token)
        watch.close()


def step_of(of: str) -> None:
    """Say that a step of this kind is done, whatever work it belongs to; its line is brought up to date."""
    inner, outer = _inner.get(), _outer.get()
    if inner is not None and inner._of == of:
        inner.step()
    if outer is not None and outer is not inner:
        outer.show()


@contextmanager
def shown(is_wanted: bool) -> Iterator[None]:
    """Show how far work is that is done inside; or show nothing."""
    token = _is_wanted.set(is_wanted and _is_wanted.get())
    try:
        yield
    finally:
        _is_wanted.reset(token)


def is_notebook(stream: object) -> bool:
    """Whether what is written comes to a notebook's page, in which a line can be written over as well."""
    return type(stream).__module__.startswith("ipykernel")


def _stream() -> TextIO | None:
    """Where somebody looks who wants to know; None where nobody does."""
    if not _is_wanted.get() or os.environ.get(SWITCH, "").lower() in OFF:
        return None
    # Work in threads is a part of what another one shows.
    if threading.current_thread() is not threading.main_thread():
        return None
    stream = sys.stderr
    try:
        looks = stream is not None and (stream.isatty() or is_notebook(stream))
    except ValueError:  # it is closed
        looks = False
    return stream if looks else None
