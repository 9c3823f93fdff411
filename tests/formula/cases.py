"""Golden cases: blocks of `formula => dump` or `formula !! error` in text files, read and rewritten.

    # title
    y ~ x + (1 | g)
    =>
    response  y
    fixed     1 + x
    random    1 | g
    ---

Lines that start with "##" are the file's own comments. A formula of several lines, or one that a text file
would not keep, is written as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmeformula.errors import LmeFormulaError
from lmeformula.formula import parse
from lmeformula.formula.show import dump

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Case:
    """One block of a golden file."""

    file: str
    line: int
    title: str
    formula: str
    is_error: bool
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.title}"


def read_cases(path: Path) -> tuple[list[str], list[Case]]:
    """Return a file's comments and its cases."""
    comments: list[str] = []
    cases: list[Case] = []
    line = 1
    for block in path.read_text(encoding="utf-8").split("\n---\n"):
        lines = block.split("\n")
        comments += (text for text in lines if text.startswith("##"))
        body = [text for text in lines if not text.startswith("##")]
        title = " ".join(text[2:] for text in body if text.startswith("# "))
        rest = [text for text in body if not text.startswith("# ")]
        while rest and not rest[0]:
            rest.pop(0)
        if rest:
            cases.append(case_of(path.stem, line, title, rest))
        line += block.count("\n") + 2
    return comments, cases


def case_of(file: str, line: int, title: str, lines: list[str]) -> Case:
    """Read a block without its title."""
    marker = next((text for text in lines if text in ("=>", "!!")), "=>")
    position = lines.index(marker) if marker in lines else len(lines)
    written = "\n".join(lines[:position]).strip("\n")
    formula = json.loads(written) if written.startswith('"') else written
    expected = "\n".join(lines[position + 1 :]).rstrip("\n")
    return Case(file, line, title, formula, marker == "!!", expected)


def outcome(formula: str) -> tuple[bool, str]:
    """Parse a formula: whether that is an error, and the dump or the message."""
    try:
        return False, dump(parse(formula))
    except LmeFormulaError as error:
        return True, f"{type(error).__name__}: {error}"


def rewrite(path: Path, result: Callable[[str], tuple[bool, str]] = outcome) -> None:
    """Write a file again with what its formulas give now."""
    comments, cases = read_cases(path)
    blocks = []
    for case in cases:
        is_error, text = result(case.formula)
        title = f"# {case.title}\n" if case.title else ""
        blocks.append(f"{title}{written_as(case.formula)}\n{'!!' if is_error else '=>'}\n{text}")
    head = "\n".join(comments) + "\n\n" if comments else ""
    path.write_text(head + "\n---\n".join(blocks) + "\n", encoding="utf-8")


def written_as(formula: str) -> str:
    """Write a formula into a golden file."""
    is_plain = formula.isprintable() and formula == formula.strip() and formula
    if is_plain and not formula.startswith(('"', "#")):
        return formula
    return json.dumps(formula)
