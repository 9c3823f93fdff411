"""The journal of a fit: what it worked out, in order, so that one that was killed does none of it again.

A fit is a function of its data, options and seed: started again it asks for the same things in the same order,
at the same numbers to the bit. What costs time says here what it was asked and what it found; a fit that goes
on is answered from the file, until that is at its end. An answer to another question is never given: then the
fit is refused.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lmeformula.checkpoint.trees import DamagedError, Tree, digest, read_tree, write_tree
from lmeformula.errors import CheckpointError, LmeFormulaWarning

T = TypeVar("T")
# How what fits do most of is called.
EVALUATION, ITERATION = "evaluation", "iteration"
# Seconds between two files at least, and the share of the time that writing them may take.
EVERY, SHARE = 5.0, 0.02
# Seconds after which it is tried again to write where that failed.
AGAIN = 60.0
NAME, PATTERN = "lmeformula-{:08d}.npz", "lmeformula-????????.npz"


class Entry(NamedTuple):
    """One entry.

    Attributes:
      name: what was worked out.
      given: digest of what it was asked for.
      found: the answer.
    """

    name: str
    given: str
    found: Tree


class Failure(NamedTuple):
    """Work that ended in a LinAlgError, which says so."""

    words: str


class Page(NamedTuple):
    """What one file holds.

    Attributes:
      first: place of the first entry in the journal, counted from 0.
      entries: that follow each other.
      seconds: that the fit has taken by then, over all of its runs.
    """

    first: int
    entries: tuple[Entry, ...]
    seconds: float


class Journal:
    """What a fit worked out, in files of a folder.

    Args:
      folder: where its files are, or will be.

    Attributes:
      recalled: how many entries of each name were recalled; of iterations, which.
      seconds_before: that earlier runs of the fit took.
      is_finished: whether the fit is done, so that nobody needs the journal any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recalled: Counter[str] = Counter()
        self.seconds_before = 0.0
        self.is_finished = False
        self._place = 0
        self._waiting: dict[int, Entry] = {}
        # The name of the entry that the next one of the same name takes the place of, if there is one.
        self._open = ""
        self._began = self._written = time.monotonic()
        self._cost = 0.0
        self._pause = EVERY
        self._pages = iter(sorted(folder.glob(PATTERN)))
        self._left: list[Entry] = []
        self._turn_page()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever entered."""
        return not self._place and not self._left

    def recall(self, name: str, given: Tree) -> Tree | None:
        """What was found before by work that comes next now; None at the end of the journal.

        Raises:
          CheckpointError: if other work came next before, or at other numbers.
        """
        if not self._left:
            return None
        entry = self._left[0]
        if (entry.name, entry.given) != (name, digest(given)):
            raise CheckpointError(
                "the fit does not come to the same numbers as the one that left the checkpoint in "
                f"{self.folder}, from entry {self._place + 1} on",
                hint="It was perhaps made on another kind of processor. Remove the folder, or name another.",
            )
        self._left.pop(0)
        self._place += 1
        self._open = name
        self.recalled[name] += 1
        if not self._left:
            self._turn_page()
        return entry.found

    def keep(self, name: str, given: Tree, found: Tree, *, anew: bool = False) -> None:
        """Enter what was found.

        Args:
          name: of the work.
          given: what it was asked for.
          found: the answer.
          anew: put it in the place of the entry before, where that has the same name.
        """
        if self._left:
            # The fit goes on from here: what came after it before does not.
            self._left = []
            self._remove_from(self._place)
        if not (anew and self._open == name):
            self._place += 1
        self._open = name if anew else ""
        self._waiting[self._place - 1] = Entry(name, digest(given), found)
        if time.monotonic() - self._written >= max(self._pause, self._cost / SHARE):
            self.flush()

    def flush(self) -> None:
        """Write what waits, if something does; a disk that is full is warned of once, and tried again later."""
        began = time.monotonic()
        try:
            for page in self._waiting_pages(began - self._began + self.seconds_before):
                write_tree(self.folder / NAME.format(page.first), page)
                for place in range(page.first, page.first + len(page.entries)):
                    del self._waiting[place]
            self._pause = EVERY
        except OSError as error:
            if self._pause != AGAIN:
                warnings.warn(
                    LmeFormulaWarning(
                        f"the checkpoint cannot be written: {error}. The fit goes on; if it is killed, it "
                        "starts again from the last file that was written."
                    ),
                    stacklevel=2,
                )
            self._pause = AGAIN
        self._written = time.monotonic()
        self._cost = self._written - began

    def _waiting_pages(self, seconds: float) -> list[Page]:
        """What waits, in pages: an entry that others may take the place of has one for itself."""
        last = self._place - 1
        places = sorted(self._waiting)
        closed = [place for place in places if not (place == last and self._open)]
        groups = [closed] if closed else []
        groups += [[last]] if len(closed) < len(places) else []
        return [
            Page(group[0], tuple(self._waiting[place] for place in group), seconds)
            for group in groups
        ]

    def _turn_page(self) -> None:
        """Read the next file, if there is one that is whole and follows."""
        path = next(self._pages, None)
        if path is None:
            return
        try:
            page = read_tree(path)
            if not isinstance(page, Page) or page.first != self._place:
                raise DamagedError(f"{path} does not follow the one before")
        except DamagedError as error:
            warnings.warn(
                LmeFormulaWarning(
                    f"{error}. The fit goes on from what stands before it, and does the rest again."
                ),
                stacklevel=2,
            )
            self._pages = iter(())
            self._remove_from(self._place)
            return
        self._left, self.seconds_before = list(page.entries), page.seconds

    def _remove_from(self, place: int) -> None:
        """Remove the files that begin at a place of the journal, or after it."""
        self._pages = iter(())
        remove_pages(self.folder, place)


def remove_pages(folder: Path, place: int = 0) -> None:
    """Remove the files of a journal that begin at a place of it, or after it."""
    for path in folder.glob(PATTERN):
        if path.name >= NAME.format(place):
            path.unlink(missing_ok=True)


_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


def current() -> Journal | None:
    """The journal of the fit that runs; None where it keeps none."""
    return _journal.get()


@contextmanager
def kept_in(journal: Journal | None) -> Iterator[None]:
    """Keep a journal of the fit that runs inside, or none."""
    token = _journal.set(journal)
    try:
        yield
    finally:
        _journal.reset(token)


def stop() -> None:
    """Write what waits, and keep no journal of what follows: the user has stopped the fit."""
    journal = _journal.get()
    if journal is not None:
        journal.flush()
        _journal.set(None)


def done(name: str, given: Tree, work: Callable[[], T]) -> T:
    """The result of a piece of work that depends on nothing but what is given, done now or recalled.

    Args:
      name: of the work.
      given: what it depends on, of all that changes within a fit.
      work: does it; what it gives is not None.
    Returns:
      What it gives, or gave.
    Raises:
      CheckpointError: see `Journal.recall`.
      numpy.linalg.LinAlgError: if the work ends in one, or did.
    """
    journal = _journal.get()
    if journal is None:
        return work()
    found: T | Failure | None = journal.recall(name, given)
    if found is None:
        try:
            found = work()
        except np.linalg.LinAlgError as error:
            found = Failure(str(error))
        journal.keep(name, given, found)
    if isinstance(found, Failure):
        raise np.linalg.LinAlgError(found.words)
    return found


def piece(name: str, given: Tree, work: Callable[[], T]) -> T:
    """As `done`, for a piece of a call that makes many fits: what goes on within it is not entered."""

    def alone() -> T:
        with kept_in(None):
            return work()

    return done(name, given, alone)
