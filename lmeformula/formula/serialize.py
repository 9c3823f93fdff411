"""IR to JSON: a dictionary with a version, made to be read elsewhere, and by read.py."""

from __future__ import annotations

from dataclasses import replace

from lmeformula.formula import ir
from lmeformula.formula.ir import FIRST
from lmeformula.formula.show import expression_text, formula_text, name_text

VERSION = 1


def formula_to_dict(formula: ir.FormulaRecord) -> dict[str, object]:
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
        "reserved": [expression_text(call) for call in response.reserved],
    }


def sum_record(terms: ir.TermSum) -> dict[str, object]:
    """Write an intercept and terms, each as the list of its variables."""
    return {
        "intercept": terms.intercept,
        "terms": [[expression_text(v) for v in term.variables] for term in terms.terms],
    }


def random_record(term: ir.RandomTerm) -> dict[str, object]:
    """Write a random-effects term."""
    covariance = term.covariance
    return {
        **sum_record(term.columns),
        "group": list(term.group.names),
        "covariance": covariance.kind,
        "homogeneous": covariance.homogeneous,
        "options": [f"d = {covariance.rank}"] * (covariance.rank > 0)
        + [name_text(covariance.matrix)] * bool(covariance.matrix),
        "block": term.block,
        # Records of Gaussian effects are as they were before there were others.
        **({"distribution": term.group.distribution} if _is_student(term) else {}),
        **({"by": term.group.by} if term.group.by else {}),
        **({"cov": term.group.cov} if term.group.cov else {}),
        **({"members": term.group.members} if term.group.members else {}),
    }


def _is_student(term: ir.RandomTerm) -> bool:
    return term.group.distribution != "gaussian"
