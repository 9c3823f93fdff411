"""What can be wrong with a formula, and the collector of what is: grammar/mistakes.toml as records."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from lmeformula.errors import FormulaErrors, FormulaSyntaxError
from lmeformula.formula.ir import Diagnostic, Span

MAX_ERRORS = 10  # more than a reader reads; the others show when these are mended


@dataclass(frozen=True, slots=True)
class Mistake:
    """One entry of grammar/mistakes.toml.

    Attributes:
      label: what the code calls it.
      code: what the user sees, "E_..." for an error and "W_..." for a warning.
      message: what is wrong, with {fields}.
      hint: what to write instead, with {fields}; may be "".
      examples: formulas with exactly this mistake; the tests parse each of them.
    """

    label: str
    code: str
    message: str
    hint: str = ""
    examples: Sequence[str] = ()


def read_grammar_file(name: str) -> str:
    """Read a file of the grammar folder, from the installed package or from a checkout.

    Args:
      name: "lmeformula.lark" or "mistakes.toml".
    Returns:
      Its text.
    """
    installed = files("lmeformula") / "grammar" / name
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "grammar" / name).read_text(encoding="utf-8")


@cache
def mistakes() -> dict[str, Mistake]:
    """Return every mistake and warning by its label."""
    entries = tomllib.loads(read_grammar_file("mistakes.toml"))
    return {label: Mistake(label, **entry) for label, entry in entries.items()}


@dataclass(slots=True)
class Report:
    """Collects the mistakes and warnings of one formula while the passes read it."""

    text: str
    errors: list[FormulaSyntaxError] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)

    def error(self, mistake_label: str, span: Span | None, **fields: str) -> None:
        """Note a mistake: the label names it in mistakes.toml, `fields` fill its message and hint."""
        mistake = mistakes()[mistake_label]
        self.errors.append(
            FormulaSyntaxError(
                mistake.message.format(**fields),
                mistake.code,
                self.text,
                span or (0, 0),
                mistake.hint.format(**fields),
            )
        )

    def stop(self, mistake_label: str, span: Span | None, **fields: str) -> NoReturn:
        """Raise a mistake at once, where going on would cost too much."""
        self.error(mistake_label, span, **fields)
        raise self.errors[-1]

    def warn(self, mistake_label: str, span: Span | None, **fields: str) -> None:
        """Note a warning; said once for each text."""
        mistake = mistakes()[mistake_label]
        message = f"{mistake.message} {mistake.hint}".strip().format(**fields)
        diagnostic = Diagnostic(mistake.code, message, span)
        if all(known.message != message for known in self.warnings):
            self.warnings.append(diagnostic)

    def raise_errors(self) -> None:
        """Raise what was noted.

        Raises:
          FormulaSyntaxError: `together`.
        """
        found = self.together()
        if found is not None:
            raise found

    def together(self) -> FormulaSyntaxError | None:
        """The one mistake noted, or several as FormulaErrors in the order of the text; None without.

        There is one for each place, and the first ones only of very many.
        """
        first_at: dict[Span, FormulaSyntaxError] = {}
        for error in self.errors:
            assert error.span is not None
            first_at.setdefault(error.span, error)
        found = sorted(first_at.values(), key=lambda error: error.span or (0, 0))
        if len(found) > 1:
            return FormulaErrors(found[:MAX_ERRORS])
        return found[0] if found else None
