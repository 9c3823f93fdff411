"""Every exception and warning class of the package, on one screen.

A message has three parts: what is wrong (in the user's words), where (the formula with a caret, or the
column and the rows), and what to write instead. The fields are data; `str(error)` is the message.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

LONGEST_LINE = 100
# Frames of files below are ours, and no help to a reader.
_HOME = str(Path(__file__).parent)


def underline(formula: str, span: tuple[int, int]) -> str:
    """Draw the line of `formula` that holds `span`, with carets under it.

    Args:
      formula: the whole formula text, possibly of several lines.
      span: half-open character range (start, stop) in `formula`; start == stop marks one place.
    Returns:
      Two lines, indented by four blanks; tabs are copied into the padding so that the caret stays in place,
      and of a very long line only the surroundings are shown.
    Example:
      >>> print(underline("y ~ (1|)", (7, 8)))
          y ~ (1|)
                 ^
    """
    start, stop = span
    start = max(0, min(start, len(formula)))
    line_start = formula.rfind("\n", 0, start) + 1
    line_stop = formula.find("\n", start)
    line_stop = len(formula) if line_stop < 0 else line_stop
    cut_start, cut_stop = line_start, line_stop
    if line_stop - line_start > LONGEST_LINE:
        cut_start = max(line_start, start - LONGEST_LINE // 2)
        cut_stop = min(line_stop, cut_start + LONGEST_LINE)
    before = "..." if cut_start > line_start else ""
    after = "..." if cut_stop < line_stop else ""
    line = formula[cut_start:cut_stop].rstrip("\r")
    shown = before + "".join(c if c.isprintable() or c == "\t" else " " for c in line) + after
    padding = "".join(c if c == "\t" else " " * _width(c) for c in formula[cut_start:start])
    carets = "^" * max(1, sum(map(_width, formula[start : min(stop, cut_stop)])))
    return f"    {shown}\n    {' ' * len(before)}{padding}{carets}"


def _width(character: str) -> int:
    """Return how many cells of a terminal a character takes; control characters are shown as a blank."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class LmeFormulaError(Exception):
    """Base of every error of this package.

    Attributes:
      problem: one sentence, what is wrong.
      code: the error's code in the language reference, such as "E_BAR_NO_GROUP"; by default the usual one of
        its class, which is "" outside the language.
      formula: the formula text, or "" where no formula is at fault.
      span: half-open character range in `formula`, or None.
      hint: what to write or do instead; may be "".
    """

    usual_code: ClassVar[str] = ""

    # Positional fields only, all handed to super().__init__: errors then pickle, as process pools need.
    def __init__(
        self,
        problem: str,
        code: str = "",
        formula: str = "",
        span: tuple[int, int] | None = None,
        hint: str = "",
    ) -> None:
        code = code or self.usual_code
        super().__init__(problem, code, formula, span, hint)
        self.problem = problem
        self.code = code
        self.formula = formula
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.problem]
        if self.formula and self.span is not None:
            parts.append(underline(self.formula, self.span))
        if self.hint:
            parts.append(self.hint)
        return "\n".join(parts)

    def _render_traceback_(self) -> list[str]:
        """The reader's own lines, and the message: what IPython and notebooks show of an error."""
        frames = traceback.extract_tb(self.__traceback__)
        theirs = [frame for frame in frames if not frame.filename.startswith(_HOME)]
        lines = [*traceback.format_list(theirs), f"{type(self).__name__}: {self}"]
        return "".join(lines).splitlines()

    def put(self, formula: str, span: tuple[int, int] | None) -> None:
        """Say where in a formula the mistake is, as far as the error does not know that."""
        if not self.formula:
            self.formula, self.span = formula, self.span or span
            self.args = (self.problem, self.code, self.formula, self.span, self.hint)


@contextmanager
def placed(formula: str = "", span: tuple[int, int] | None = None) -> Iterator[None]:
    """Say of errors inside where in a formula they are, as far as they do not know that.

    Args:
      formula: its text; "" where somebody outside knows it.
      span: half-open character range in it; None where the error itself, or somebody outside, knows it.
    Example:
      >>> with placed("y ~ x"), placed(span=(4, 5)):
      ...     raise FormulaDataError("that is no column")
      Traceback (most recent call last):
      ...
      lmeformula.errors.FormulaDataError: that is no column
          y ~ x
              ^
    """
    try:
        yield
    except LmeFormulaError as error:
        error.put(formula, span)
        raise


class _Several(LmeFormulaError):
    """Errors that are raised together: `.errors` lists them, and the first gives the fields."""

    def __init__(self, errors: Sequence[LmeFormulaError]) -> None:
        first = errors[0]
        super().__init__(first.problem, first.code, first.formula, first.span, first.hint)
        self.args = (tuple(errors),)
        self.errors = tuple(errors)

    def put(self, formula: str, span: tuple[int, int] | None) -> None:
        """Say it of each."""
        for error in self.errors:
            error.put(formula, span)
        self.formula, self.span = self.errors[0].formula, self.errors[0].span

    def __str__(self) -> str:
        return "\n\n".join(str(error) for error in self.errors)


class FormulaSyntaxError(LmeFormulaError, ValueError):
    """The text is not a formula of the language; raised before any data is seen."""


class FormulaErrors(_Several, FormulaSyntaxError):
    """Several independent mistakes in one formula; `.errors` lists them, and the first gives the fields."""


class FormulaDataError(LmeFormulaError, ValueError):
    """The formula is good, but this data cannot answer it."""

    usual_code = "E_DATA"


class ColumnNotFoundError(FormulaDataError, KeyError):
    """The formula names a column that the data does not have."""

    usual_code = "E_UNKNOWN_COLUMN"


class FunctionNotFoundError(FormulaDataError, KeyError):
    """The formula calls a function that is not in the table and was not passed by the caller."""

    usual_code = "E_UNKNOWN_FUNCTION"


class NamesNotFoundError(_Several, ColumnNotFoundError, FunctionNotFoundError):
    """Several names of one formula are unknown; `.errors` lists them, and the first gives the fields."""


class ModelError(LmeFormulaError, ValueError):
    """The design cannot be fitted as asked: family, structure, method or option."""


class ConvergenceError(LmeFormulaError, RuntimeError):
    """Raised by `strict=True` when a fit's outcome is not a converged one; `.fit` holds the fit."""

    fit: object = None


class ArgumentError(LmeFormulaError, TypeError):
    """A call has an argument that it does not know; the message names the one that may be meant."""


class FolderNotFoundError(LmeFormulaError, FileNotFoundError):
    """A file was to be written into a folder that is not there."""

    __str__ = LmeFormulaError.__str__  # OSError would print its own fields


class ClusterError(LmeFormulaError, RuntimeError):
    """Workers, or the scheduler, of a cluster are gone, out of memory, or of other versions.

    Attributes:
      estimates: the parameters that a fit had come to, by name; empty before the first.
    """

    estimates: Mapping[str, float] = MappingProxyType({})

    def had(self, estimates: Mapping[str, float]) -> None:
        """Say what the estimates were in the last iteration."""
        self.estimates = dict(estimates)
        shown = ", ".join(f"{name} {value:.6g}" for name, value in estimates.items())
        self.hint = f"{self.hint}\nThe last iteration had {shown}."
        self.args = (self.problem, self.code, self.formula, self.span, self.hint)


class DatasetError(LmeFormulaError, OSError):
    """A data set could not be found, fetched or read."""

    __str__ = LmeFormulaError.__str__  # OSError would print its own fields


class MissingLibraryError(LmeFormulaError, ImportError):
    """An optional library is not installed; the message says how to have it."""

    __str__ = LmeFormulaError.__str__


class SavedFitError(LmeFormulaError, ValueError):
    """A saved fit cannot be loaded: damaged, changed, newer than this version, or in need of more."""


class CheckpointError(LmeFormulaError, ValueError):
    """A checkpoint is of another fit, damaged, or in use: the message says what differs, and what to do."""


class LmeFormulaWarning(UserWarning):
    """Something worth knowing that does not stop the fit; the text starts with its code where it has one."""
