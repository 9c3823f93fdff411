"""IR to JSON and back: a dictionary with a version, made to be read elsewhere and checked when read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import ir
from lmeformula.formula.parse import parse_one
from lmeformula.formula.several import FIRST, join_formulas
from lmeformula.formula.show import call_text, expression_text, formula_text

VERSION = 1


def formula_to_dict(formula: ir.Formula) -> dict[str, object]:
    """Write a formula as a dictionary of texts, booleans, lists and dictionaries.

    Args:
      formula: any formula.
    Returns:
      record: the formula taken apart, its expressions as canonical text. Places and diagnostics are left
        out, as reading the text brings them back.
    Example:
      >>> from lmeformula.formula import parse
      >>> record = formula_to_dict(parse("y ~ a*log(x) + (x | g/h)"))
      >>> record["version"], record["formula"]
      (1, 'y ~ 1 + a + log(x) + a:log(x) + (1 + x | g) + (1 + x | h:g)')
      >>> record["fixed"]["terms"]
      [['a'], ['log(x)'], ['a', 'log(x)']]
      >>> record["random"][1]["group"]
      ['h', 'g']
    """
    canonical = formula_text(formula)
    record: dict[str, object] = {
        "version": VERSION,
        "text": formula.text or canonical,
        "formula": canonical,
        "response": None if formula.response is None else response_record(formula.response),
        "fixed": {
            **sum_record(formula.fixed.sum),
            "offsets": [expression_text(offset) for offset in formula.fixed.offsets],
            "template": formula.fixed.template,
        },
        "random": [random_record(term) for term in formula.random],
    }
    if not formula.further:
        return record
    first = formula_to_dict(replace(formula, further=()))
    others = ([name, formula_to_dict(part)] for name, part in formula.further)
    return {"version": VERSION, "text": record["text"], "formulas": [[FIRST, first], *others]}


def response_record(response: ir.Response) -> dict[str, object]:
    """Write a response and what follows its bar."""
    return {
        "expression": expression_text(response.expression),
        "trials": None if response.trials is None else expression_text(response.trials),
        "weights": None if response.weights is None else expression_text(response.weights),
        "reserved": [call_text(call) for call in response.reserved],
    }


def sum_record(terms: ir.TermSum) -> dict[str, object]:
    """Write an intercept and terms, each as the list of its variables."""
    return {
        "intercept": terms.intercept,
        "terms": [[expression_text(v) for v in term.variables] for term in terms.terms],
    }


def random_record(term: ir.RandomTerm) -> dict[str, object]:
    """Write a random-effects term."""
    options = (
        expression_text(option.value)
        if not option.name
        else f"{option.name} = {expression_text(option.value)}"
        for option in term.covariance.options
    )
    return {
        **sum_record(term.columns),
        "group": list(term.group.names),
        "covariance": term.covariance.kind,
        "homogeneous": term.covariance.homogeneous,
        "options": list(options),
        "block": term.block,
        # Records of Gaussian effects are as they were before there were others.
        **({"distribution": term.group.distribution} if _is_heavy(term) else {}),
    }


def _is_heavy(term: ir.RandomTerm) -> bool:
    return term.group.distribution != "gaussian"


def formula_from_dict(record: Mapping[str, object]) -> ir.Formula:
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
      >>> formula_from_dict(formula_to_dict(parse("y ~ x + (1 | g)")))
      parse('y ~ 1 + x + (1 | g)')
    """
    if not isinstance(record, Mapping) or record.get("version") != VERSION:
        raise refused(f"this is not a formula record of version {VERSION}")
    if "formulas" in record:
        return several_from_dict(record)
    expected = {key: value for key, value in record.items() if key != "text"}
    for text in (record.get("text"), record.get("formula")):
        formula = read_or_none(text)
        if formula is not None:
            found = formula_to_dict(formula)
            del found["text"]
            if found == expected:
                return formula
    raise refused("the parts of this formula record do not fit together")


def several_from_dict(record: Mapping[str, object]) -> ir.Formula:
    """Read the formulas of several predictors, each as `formula_from_dict` does."""
    parts = record["formulas"]
    if not isinstance(parts, list) or len(parts) < 2:
        raise refused("the formulas of this formula record are not a list of several")
    named = []
    for part in parts:
        if not (isinstance(part, list) and len(part) == 2 and isinstance(part[0], str)):
            raise refused("the formulas of this formula record are not pairs of name and formula")
        if isinstance(part[1], Mapping) and "formulas" in part[1]:
            raise refused("a formula of this formula record has formulas of its own")
        named.append((part[0], formula_from_dict(part[1])))
    return join_formulas(named)


def read_or_none(text: object) -> ir.Formula | None:
    """Parse a text; None where it is not a formula."""
    try:
        return parse_one(text, closed=False) if isinstance(text, str) else None
    except FormulaSyntaxError:
        return None


def refused(problem: str) -> FormulaSyntaxError:
    """Make the error for a record that cannot be read."""
    hint = "Write it again with Formula.to_dict(), or parse the formula's text."
    return FormulaSyntaxError(problem, "E_RECORD", hint=hint)
