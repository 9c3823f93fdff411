"""IR to JSON and back: a dictionary with a version, read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import ir
from lmeformula.formula.parse import parse
from lmeformula.formula.show import formula_text

VERSION = 1
NODES = {
    node.__name__: node
    for node in (
        ir.Column, ir.Number, ir.Text, ir.Constant, ir.Argument, ir.Call, ir.Operation, ir.Dot, ir.Term,
        ir.TermSum, ir.FixedPart, ir.GroupingFactor, ir.Covariance, ir.RandomTerm, ir.Response,
    )
}  # fmt: skip
MAX_DEPTH = 500


def formula_to_dict(formula: ir.Formula) -> dict[str, object]:
    """Write a formula as a dictionary of texts, numbers, lists and dictionaries.

    Args:
      formula: any formula.
    Returns:
      record: what the formula means, and its text; places and diagnostics are left out, as reading the
        text brings them back.
    Example:
      >>> record = formula_to_dict(parse("y ~ x + (1 | g)"))
      >>> record["version"], record["text"]
      (1, 'y ~ x + (1 | g)')
    """
    return {
        "version": VERSION,
        "text": formula.text or formula_text(formula),
        "response": encoded(formula.response),
        "fixed": encoded(formula.fixed),
        "random": encoded(formula.random),
    }


def encoded(value: Any) -> Any:
    """Encode a record as a dictionary with its class's name, a tuple as a list, the rest as it is."""
    if isinstance(value, tuple):
        return [encoded(item) for item in value]
    if type(value) not in NODES.values():
        return "Inf" if value == math.inf else value
    record = {"node": type(value).__name__}
    for field in fields(value):
        if field.name != "span":
            record[field.name] = encoded(getattr(value, field.name))
    return record


def formula_from_dict(record: Mapping[str, object]) -> ir.Formula:
    """Read what `formula_to_dict` wrote.

    Args:
      record: the dictionary, perhaps from a file that somebody else made.
    Returns:
      formula: it equals the one that was written, and was made by parsing: a record cannot hold what
        the language cannot say.
    Raises:
      FormulaSyntaxError: E_RECORD where the record is not of this version, or means something else
        than its own text.
    """
    if not isinstance(record, Mapping) or record.get("version") != VERSION:
        found = record.get("version") if isinstance(record, Mapping) else type(record).__name__
        raise refused(f"this is not a formula record of version {VERSION} (found: {found!r})")
    try:
        formula = ir.Formula(
            decoded(record["response"], 0),
            decoded(record["fixed"], 0),
            decoded(record["random"], 0),
        )
        canonical = formula_text(formula)
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise refused(f"a part of the record is missing or malformed: {error}") from error
    for text in (record.get("text"), canonical):
        if isinstance(text, str) and (parsed := read_or_none(text)) == formula:
            assert parsed is not None
            return parsed
    raise refused("the record does not mean what its text says", canonical)


def read_or_none(text: str) -> ir.Formula | None:
    """Parse a text; None where it is not a formula."""
    try:
        return parse(text)
    except FormulaSyntaxError:
        return None


def refused(problem: str, formula: str = "") -> FormulaSyntaxError:
    """Make the error for a record that cannot be read."""
    hint = "Write it again with Formula.to_dict(), or parse the formula's text."
    return FormulaSyntaxError(
        problem, "E_RECORD", formula, (0, len(formula)) if formula else None, hint
    )


def decoded(value: Any, depth: int) -> Any:
    """Decode what `encoded` made; the result is checked afterwards, by parsing its text."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return tuple(decoded(item, depth + 1) for item in value)
    if not isinstance(value, Mapping):
        return value
    node = NODES[value["node"]]
    known = {field.name for field in fields(node)} - {"span"}
    values = {name: decoded(value[name], depth + 1) for name in value if name != "node"}
    if not values.keys() <= known:
        raise ValueError(f"unknown fields {sorted(values.keys() - known)} of {value['node']}")
    if node is ir.Number:
        return ir.Number(float(values["value"]))
    return node(**values)
