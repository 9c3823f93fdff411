"""What one formula has and another has not, as text: "+ x - (1 | g)"."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from lmeformula.formula import ir
from lmeformula.formula.show import expression_text, random_text, term_text


def difference(old: ir.FormulaRecord, new: ir.FormulaRecord) -> str:
    """Write the terms that a formula adds to another one, and those that it leaves out.

    The order of terms, and of the variables of a term, does not count; nor does the response.

    Args:
      old: a formula, its "." expanded.
      new: another one.
    Returns:
      text: "+ added - left out", for further predictors after their names; "" where the terms are the same.
    Example:
      >>> from lmeformula.formula import parse
      >>> difference(parse("y ~ x + a:b + (1 | g)"), parse("y ~ b:a + z + (1 + z | g)"))
      '+ z + (1 + z | g) - x - (1 | g)'
      >>> difference(parse("y ~ x"), parse(("y ~ x", "sigma ~ x")))
      'sigma: + 1 + x'
    """
    olds, news = ({"": each, **dict(each.further)} for each in (old, new))
    changes = []
    for name in dict.fromkeys([*olds, *news]):
        before, after = (_parts(each.get(name)) for each in (olds, news))
        added = [f"+ {text}" for key, text in after.items() if key not in before]
        lost = [f"- {text}" for key, text in before.items() if key not in after]
        if added or lost:
            changes.append(" ".join([*([f"{name}:"] if name else []), *added, *lost]))
    return "; ".join(changes)


def _parts(formula: ir.FormulaRecord | None) -> dict[Hashable, str]:
    """The parts of a formula as text, by what makes them the same in another one."""
    if formula is None:
        return {}
    fixed = formula.fixed
    found: dict[Hashable, str] = {1: "1"} if fixed.sum.intercept else {}
    found |= {frozenset(term.variables): term_text(term) for term in fixed.sum.terms}
    found |= {("offset", each): f"offset({expression_text(each)})" for each in fixed.offsets}
    return found | {_meaning(term): random_text(term) for term in formula.random}


def _meaning(term: ir.RandomTerm) -> Hashable:
    """A random-effects term without the order of what has none; that of structured columns has a meaning."""
    group = replace(term.group, names=tuple(sorted(term.group.names)))
    columns: Hashable = term.columns
    if term.covariance == ir.Covariance():
        variables = frozenset(frozenset(each.variables) for each in term.columns.terms)
        columns = (term.columns.intercept, variables)
    return columns, group, term.covariance, term.block
