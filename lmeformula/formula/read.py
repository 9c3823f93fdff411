"""A dictionary that `formula_to_dict` wrote to a formula, checked."""

from __future__ import annotations

from collections.abc import Mapping

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula.formula import Formula
from lmeformula.formula.parse import parse_one
from lmeformula.formula.serialize import VERSION, formula_to_dict
from lmeformula.formula.several_formulas import join_formulas


def formula_from_dict(record: Mapping[str, object]) -> Formula:
    """Read what `formula_to_dict` wrote.

    Args:
      record: the dictionary, perhaps from a file that somebody else made.
    Returns:
      formula: it equals the one that was written. It is made by parsing and then compared with the whole
        record, so that a record cannot bring in what the language cannot say.
    Raises:
      FormulaSyntaxError: E_RECORD where the record is not of this version, or its parts do not fit.
    Example:
      >>> from lmeformula.formula import parse
      >>> from lmeformula.formula.serialize import formula_to_dict
      >>> formula_from_dict(formula_to_dict(parse("y ~ x + (1 | g)")))
      parse('y ~ 1 + x + (1 | g)')
    """
    if not isinstance(record, Mapping) or record.get("version") != VERSION:
        raise refused(f"this is not a formula record of version {VERSION}")
    if "formulas" in record:
        return formulas_from_dict(record)
    expected = {key: value for key, value in record.items() if key != "text"}
    for text in (record.get("text"), record.get("formula")):
        formula = read_or_none(text)
        if formula is not None:
            found = formula_to_dict(formula)
            del found["text"]
            if found == expected:
                return formula
    raise refused("the parts of this formula record do not fit together")


def formulas_from_dict(record: Mapping[str, object]) -> Formula:
    """Read the formulas of several predictors, each as `formula_from_dict` does."""
    pairs = record["formulas"]
    if not isinstance(pairs, list) or len(pairs) < 2:
        raise refused("the formulas of this formula record are not a list of several")
    named = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise refused("the formulas of this formula record are not pairs of name and formula")
        if isinstance(pair[1], Mapping) and "formulas" in pair[1]:
            raise refused("a formula of this formula record has formulas of its own")
        named.append((pair[0], formula_from_dict(pair[1])))
    return join_formulas(named)


def read_or_none(text: object) -> Formula | None:
    """Parse a text; None where it is not a formula."""
    try:
        return parse_one(text, closed=False) if isinstance(text, str) else None
    except FormulaSyntaxError:
        return None


def refused(problem: str) -> FormulaSyntaxError:
    """Make the error for a record that cannot be read."""
    hint = "Write it again with Formula.to_dict(), or parse the formula's text."
    return FormulaSyntaxError(problem, "E_RECORD", hint=hint)
