"""A formula in a saved fit: read back as it was written, with the places of its parts in the text."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.design.evaluate import data_columns
from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import expand_dot, ir
from lmeformula.formula.formula import Formula
from lmeformula.formula.parse import parse_one
from lmeformula.formula.parts import expressions
from lmeformula.store.archive import Json
from lmeformula.store.codec import Coded, Reader


def _read(found: Json, source: Reader) -> Formula:
    """Parsed from its text, and compared with the parts."""
    if not isinstance(found, dict):
        source.refuse("it is not a formula")
    try:
        formula = Formula.from_dict(found)
        original = parse_one(found["text"], closed=False)
    except (FormulaSyntaxError, RecursionError, TypeError, ValueError) as error:
        source.refuse(f"it is not a formula: {error}")
    if not original.fixed.template:
        return formula
    # The data's columns that "." stood for are those of the formula; then places are those of the text.
    columns = dict.fromkeys(c.name for e in expressions(formula) for c in data_columns(e))
    expanded = expand_dot(original, tuple(columns))
    return expanded if expanded == formula else formula


# A formula, as `Formula.to_dict` writes it.
FORMULA = Coded(lambda value, out: value.to_dict(), _read)


def calls(expression: ir.Expression) -> Iterator[ir.Call]:
    """All calls within an expression, itself included."""
    return (node for node in ir.walk(expression) if isinstance(node, ir.Call))
