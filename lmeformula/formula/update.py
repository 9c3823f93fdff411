"""A formula changed by another: "." stands for what was there, as in R's update()."""

from __future__ import annotations

import re

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import RandomTerm
from lmeformula.formula.parse import parse
from lmeformula.formula.show import formula_text

# A "." that is no part of a name or a number.
_DOT = re.compile(r"(?<![\w.`])\.(?![\w.`])")
_MINUS = re.compile(r"-\s*(?=\()")


def update_formula(formula: Formula, change: str) -> Formula:
    """Change a formula: "." on the left is its response, "." on the right its terms.

    The right side of the change is read by the language's own rules, with the old fixed part in parentheses in
    the place of the dot; the old random-effects terms stay where there is a dot, but for those subtracted.

    Args:
      formula: with "." of its own expanded, as that of a design is.
      change: such as "~ . - x", ". ~ . + z", "log(.) ~ .", "~ . - (1 | g) + (x | g)".
    Returns:
      The changed formula.
    Raises:
      FormulaSyntaxError: if the result is no formula, or a random-effects term that is subtracted is not there.
    Example:
      >>> str(update_formula(parse("y ~ x * z + (1 | g)"), "log(.) ~ . - x:z"))
      'log(y) ~ 1 + x + z + (1 | g)'
    """
    old_left, old_right = formula_text(formula).split("~", 1)
    left, tilde, right = change.rpartition("~")
    if not tilde:
        left, right = "", change
    right, removed = _without_bars(right)
    kept = list(formula.random) if _DOT.search(right) else []
    for term in removed:
        if term not in kept:
            raise FormulaSyntaxError(
                f"{_bar(term)} is taken out of a formula that does not have it",
                hint=f"Its random-effects terms are {', '.join(map(_bar, formula.random)) or 'none'}.",
            )
        kept.remove(term)
    fixed = old_right.strip()
    for term in formula.random:
        fixed = fixed.replace(" + " + _bar(term), "", 1)
    right = _DOT.sub(lambda _: f"({fixed})", right)
    left = _DOT.sub(lambda _: old_left.strip(), left).strip() or old_left.strip()
    return parse(" + ".join([f"{left} ~ {right.strip()}", *map(_bar, kept)]))


def _bar(term: RandomTerm) -> str:
    """A random-effects term as canonical text has it."""
    alone = Formula(None, parse("~ 1").fixed, (term,))
    return formula_text(alone).split("1 + ", 1)[1]


def _without_bars(text: str) -> tuple[str, list[RandomTerm]]:
    """Take "- (x | g)" out of a text."""
    removed: list[RandomTerm] = []
    start = 0
    while match := _MINUS.search(text, start):
        depth, end = 0, match.end()
        while end < len(text):
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
            if depth == 0:
                break
        inside = text[match.end() : end]
        if "|" in inside and not _DOT.search(inside):
            removed += parse(f"~ 1 + {inside}").random
            text, start = text[: match.start()] + text[end:], match.start()
        else:
            start = end
    return text, removed
