"""Second stage: grouping factors whose levels have a known covariance, given beside the formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.relation import Relation, relation
from lmeformula.design.values import Categories, drop_unused, listed, recode
from lmeformula.errors import FormulaDataError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import GroupingFactor, RandomTerm, Span
from lmeformula.formula.several_formulas import formulas_of


def covariances_of(formula: Formula) -> dict[str, Span | None]:
    """The names of known covariances that a formula uses, each with its place there."""
    found: dict[str, Span | None] = {}
    for number, (_, part) in enumerate(formulas_of(formula)):
        for term in part.random:
            for name, span in (
                (term.group.cov, term.group.span),
                (term.covariance.matrix, term.span),
            ):
                if name:
                    found.setdefault(name, None if number else span)
    return found


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
                hint=f"Write (1 | gr(g, cov = {name})), or propto(0 + a | g, {name}). The formula uses: "
                f"{used}.",
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
        term.group.reserved is not None for _, part in formulas_of(formula) for term in part.random
    )


def relations_of(design: Design, formula: Formula | None = None) -> dict[str, Relation]:
    """The known covariances of a design by name; those that a formula uses, where one is given."""
    found = {
        one.name: one
        for term in design.terms
        for one in (term.relation, term.known)
        if one is not None
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


def between_columns(term: RandomTerm, columns: Sequence[str], known: Relation) -> Floats:
    """(k, k) what a known matrix has between the columns of a term, each of a level of one factor.

    Args:
      term: as written.
      columns: their names, such as "a[u]".
      known: the matrix; it may have other levels besides.
    Raises:
      FormulaDataError: if it lacks some, or those that it has do not vary.
    """
    (variable,) = term.columns.variables
    start = len(label(variable)) + 1
    levels = tuple(column[start:-1] for column in columns)
    places = {name: place for place, name in enumerate(known.levels)}
    lacking = tuple(name for name in levels if name not in places)
    if lacking:
        raise FormulaDataError(
            f"the covariance '{known.name}' lacks {len(lacking):,} of the {len(levels):,} levels of "
            f"'{label(variable)}' in the data: {listed(lacking, 5)}",
            span=term.span,
            hint=f"Its {len(known.levels):,} levels are {listed(known.levels, 5)}; they are matched by name.",
        )
    found = known.among(np.array([places[name] for name in levels], int))
    if not (np.diag(found) > 0.0).any():
        raise FormulaDataError(
            f"the covariance '{known.name}' has no variance for any level of '{label(variable)}' in the data",
            span=term.span,
        )
    return found


def refused_levels(group: GroupingFactor, unknown: tuple[str, ...]) -> FormulaDataError:
    """What is said of new rows of levels that the covariance does not have."""
    return FormulaDataError(
        f"new rows have levels of '{group.label}' that the covariance '{group.cov}' does not have: "
        f"{listed(unknown, 5)}",
        span=group.span,
        hint="Give the fit a covariance with them; levels without rows are predicted through their relatives. "
        're_form="NA" leaves the random effects out.',
    )
