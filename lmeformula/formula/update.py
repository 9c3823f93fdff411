"""A formula changed by another: "." stands for what was there, as in R's update()."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import FIRST, RandomTerm
from lmeformula.formula.parse import parse, parse_one
from lmeformula.formula.several_formulas import formulas_of, join_formulas
from lmeformula.formula.show import fixed_text, formula_text, random_text, response_text

# A "." that is no part of a name or a number.
_DOT = re.compile(r"(?<![\w.`])\.(?![\w.`])")
_MINUS = re.compile(r"-\s*(?=\()")


def update_formula(
    formula: Formula, change: str | Mapping[str, str | None], *, closed: bool = True
) -> Formula:
    """Change a formula: "." on the left is its response, "." on the right its terms.

    The right side of the change is read by the language's own rules, with the old fixed part in parentheses in
    the place of the dot; the old random-effects terms stay where there is a dot, but for those subtracted. An
    old label (x |ID| g) that links nothing any more goes.

    Args:
      formula: with "." of its own expanded, as that of a design is.
      change: such as "~ . - x", ". ~ . + z", "log(.) ~ .", "~ . - (1 | g) + (x | g)", of the formula with the
        response; or a mapping from predictors to changes, where None takes the formula of a predictor away and
        the dot of one that has none is its constant, "~ 1". Formulas that are not named stay.
      closed: whether labels link terms of these formulas alone, and not the categories of the response.
    Returns:
      The changed formula.
    Raises:
      FormulaSyntaxError: if the result is no formula, or a random-effects term that is subtracted, or a formula
        that is taken away, is not there.
    Example:
      >>> str(update_formula(parse("y ~ x * z + (1 | g)"), "log(.) ~ . - x:z"))
      'log(y) ~ 1 + x + z + (1 | g)'
      >>> several = parse({"mu": "y ~ x + (1 | g)", "sigma": "~ x"})
      >>> str(update_formula(several, {"sigma": "~ . + z"}))
      'y ~ 1 + x + (1 | g); sigma ~ 1 + x + z'
    """
    formulas = dict(formulas_of(formula))
    for name, each in ({FIRST: change} if isinstance(change, str) else change).items():
        if each is None:
            _take_away(formulas, name)
        else:
            formulas[name] = _changed(formulas.get(name, parse("~ 1")), each)
    if closed:
        formulas = _without_old_labels(formulas, dict(formulas_of(formula)))
    return join_formulas(list(formulas.items()), closed=closed)


def _take_away(formulas: dict[str, Formula], name: str) -> None:
    if name == FIRST:
        raise FormulaSyntaxError(
            f"the formula of {FIRST!r} has the response, and is not taken away",
            hint=f'Change it, {{"{FIRST}": "~ . - x"}}.',
        )
    if name not in formulas:
        raise FormulaSyntaxError(
            f"there is no formula of {name!r} to take away",
            hint=f"There are those of {', '.join(formulas)}.",
        )
    del formulas[name]


def _changed(formula: Formula, change: str) -> Formula:
    """One formula by one change; its labels may link terms of others."""
    response = "" if formula.response is None else response_text(formula.response)
    left, tilde, right = change.rpartition("~")
    if not tilde:
        left, right = "", change
    right, removed = _without_bars(right)
    kept = list(formula.random) if _DOT.search(right) else []
    for term in removed:
        if term not in kept:
            raise FormulaSyntaxError(
                f"{random_text(term)} is taken out of a formula that does not have it",
                hint=f"Its random-effects terms are {', '.join(map(random_text, formula.random)) or 'none'}.",
            )
        kept.remove(term)
    right = _DOT.sub(lambda _: f"({fixed_text(formula.fixed)})", right)
    left = _DOT.sub(lambda _: response, left).strip() or response
    text = " + ".join([f"{left} ~ {right.strip()}", *map(random_text, kept)])
    changed = parse_one(text.strip(), closed=False)
    # Written as what it has come to, without what was added and taken away; warnings point into the text.
    return changed if changed.diagnostics else parse_one(formula_text(changed), closed=False)


def _without_old_labels(
    formulas: Mapping[str, Formula], old: Mapping[str, Formula]
) -> dict[str, Formula]:
    """The formulas, where terms that stayed lose a label whose other terms have all gone."""
    count = Counter(term.block for each in formulas.values() for term in each.random)
    found = {}
    for name, each in formulas.items():
        stayed = old[name].random if name in old else ()
        random = tuple(
            replace(term, block="") if count[term.block] == 1 and term in stayed else term
            for term in each.random
        )
        # Its text, and the places of terms in it, are those of what is left.
        text = formula_text(replace(each, random=random))
        found[name] = each if random == each.random else parse_one(text, closed=False)
    return found


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
            removed += parse_one(f"~ 1 + {inside}", closed=False).random
            text, start = text[: match.start()] + text[end:], match.start()
        else:
            start = end
    return text, removed
