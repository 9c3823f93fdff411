"""Second stage: grouping factors whose levels have a known covariance, given beside the formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmeformula.arrays import Ints
from lmeformula.design.design import Design
from lmeformula.design.grouping import Grouping
from lmeformula.design.relation import Relation, relation
from lmeformula.design.values import Categories, drop_unused, listed, recode
from lmeformula.errors import FormulaDataError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import GroupingFactor, Span
from lmeformula.formula.kinds import KINDS
from lmeformula.formula.several_formulas import formulas_of


def covariances_of(formula: Formula) -> dict[str, Span | None]:
    """The names of known covariances that a formula uses, each with its place there."""
    return {
        term.group.cov: term.group.span if not number else None
        for number, (_, part) in enumerate(formulas_of(formula))
        for term in part.random
        if term.group.cov
    }


def read_covariances(
    covariances: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, Relation]:
    """Read the `covariances` argument.

    Args:
      covariances: by the names that the formula has, a data frame with the levels as its index and columns, a
        pair of a matrix and their names, what `precision` or `pedigree` made, or a `Relation` that was read.
      wanted: the names that the formula has, each with its place there.
    Raises:
      FormulaDataError: if one is missing, is not used, or is no covariance.
    """
    for name in covariances:
        if name not in wanted:
            used = ", ".join(map(repr, wanted)) or "none"
            raise FormulaDataError(
                f"covariances has {name!r}, which the formula does not use",
                hint=f"Write (1 | gr(g, cov = {name})). The formula uses: {used}.",
            )
    found = {}
    for name, place in wanted.items():
        if name not in covariances:
            raise FormulaDataError(
                f"the formula uses the covariance '{name}', which is not given",
                span=place,
                hint=f'Give it, covariances={{"{name}": ...}}: a data frame with the levels as its index, '
                "(matrix, levels), lf.precision(Q, levels), or lf.pedigree(frame).",
            )
        found[name] = relation(name, covariances[name])
    return found


def has_reserved(formula: Formula) -> bool:
    """Whether a formula has random-effects terms that cannot be fitted."""
    return any(
        term.group.reserved is not None or term.covariance.kind not in KINDS
        for _, part in formulas_of(formula)
        for term in part.random
    )


def relations_of(design: Design, formula: Formula | None = None) -> dict[str, Relation]:
    """The known covariances of a design by name; those that a formula uses, where one is given."""
    found = {
        term.relation.name: term.relation for term in design.terms if term.relation is not None
    }
    if formula is None:
        return found
    used = covariances_of(formula)
    return {name: one for name, one in found.items() if name in used}


def group_related(factor: Categories, known: Relation, span: Span | None) -> tuple[Grouping, Ints]:
    """Find each row's level among those of a known covariance; all of these are levels of the term.

    Raises:
      FormulaDataError: if there are rows of others.
    """
    codes, _ = recode(factor, known.levels)
    if (codes < 0).any():
        lacking = drop_unused(factor).levels
        others = tuple(name for name in lacking if name not in set(known.levels))
        raise FormulaDataError(
            f"the covariance '{known.name}' lacks {len(others):,} of the {len(lacking):,} levels in the data: "
            f"{listed(others, 5)}",
            span=span,
            hint=f"Its {len(known.levels):,} levels are {listed(known.levels, 5)}; they are matched by name.",
        )
    return Grouping((known.levels,), (), known.levels), codes


def refused_levels(group: GroupingFactor, unknown: tuple[str, ...]) -> FormulaDataError:
    """What is said of new rows of levels that the covariance does not have."""
    return FormulaDataError(
        f"new rows have levels of '{group.label}' that the covariance '{group.cov}' does not have: "
        f"{listed(unknown, 5)}",
        span=group.span,
        hint="Give the fit a covariance with them; levels without rows are predicted through their relatives. "
        're_form="NA" leaves the random effects out.',
    )
