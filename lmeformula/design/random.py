"""Second stage: random-effects terms as arrays - their own model matrix, and each row's level."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.covariance.prior import PRIORS
from lmeformula.design.design import TermBlock
from lmeformula.design.fixed import Builder, Matrix, columns_of, independent_columns
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.margins import model_matrix_by_margins
from lmeformula.design.matrix import model_matrix
from lmeformula.design.members import shares_of
from lmeformula.design.parts import by_parts
from lmeformula.design.positions import at_positions
from lmeformula.design.related import between_columns
from lmeformula.design.relation import Relation
from lmeformula.design.values import Categories, Column, Logicals
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression, RandomTerm, TermSum
from lmeformula.formula.kinds import KINDS, UNSTRUCTURED
from lmeformula.formula.links import linked_terms


def term_blocks(
    terms: Sequence[RandomTerm],
    variables: Mapping[Expression, Column],
    groups: Mapping[tuple[str, ...], tuple[Grouping, Ints]],
    num_rows: int,
    known: dict[tuple[Builder, TermSum], Matrix] | None = None,
    fitted: Sequence[TermBlock] | None = None,
    relations: Mapping[str, Relation] = MappingProxyType({}),
) -> tuple[TermBlock, ...]:
    """Turn every random-effects term into arrays.

    The columns of a term with an unstructured covariance are coded at full rank, which changes nothing about
    the model: any covariance of redundant columns is a covariance of the others. Other structures are about
    single columns, and those are R's. Linked terms, (e |ID| g), are one block with the columns of all.

    Args:
      terms: in the formula's order.
      variables: the values of the variables on the rows used.
      groups: for the names of each grouping factor, its levels and each row's level.
      num_rows: n.
      known: matrices of the variables that are built already; see `columns_of`.
      fitted: of new rows, the terms of the data of the fit, whose positions and relations are those that there
        are.
      relations: the known covariances of levels by name; those of the fit for new rows.
    Returns:
      One block for each term or set of linked terms, with distinct names.
    Raises:
      FormulaDataError: if columns of a term over time are not the levels of one factor, or linked terms have
        a column in common.
    """
    blocks = []
    taken: set[str] = {term.group.label for term in terms}
    seen: Counter[str] = Counter()
    for number, linked in enumerate(linked_terms(terms)):
        term = linked[0]
        kind = KINDS[term.covariance.kind]
        if kind.is_of_levels:
            _check_levels(term, variables)
        build = builder_of(term)
        positions: Floats | None = None
        if kind.has_positions:
            positions = None if fitted is None else fitted[number].positions
            matrix, positions = at_positions(term, variables, positions)
            parts = [matrix]
        else:
            parts = [
                columns_of(t.columns, variables, num_rows, build=build, known=known) for t in linked
            ]
        _check_distinct(linked, [part.names for part in parts])
        columns = tuple(name for part in parts for name in part.names)
        known_between = (
            (fitted[number].known, fitted[number].between)
            if fitted is not None
            else _known(term, columns, relations)
        )
        _check_rank(term, columns)
        grouping, index = groups[term.group.key]
        block = TermBlock(
            name=unique_name(term.group.label, seen, taken),
            columns=columns,
            values=parts[0].values
            if len(parts) == 1
            else np.column_stack([part.values for part in parts]),
            group=term.group.label,
            factors=term.group.key,
            levels=grouping.levels,
            index=index.astype(np.int32, copy=False),
            shares=shares_of(term.group, variables, num_rows) if term.group.members else None,
            covariance=term.covariance.kind,
            homogeneous=bool(term.covariance.homogeneous),
            block=term.block,
            prior=PRIORS[term.group.distribution],
            positions=positions,
            rank=term.covariance.rank,
            known=known_between[0],
            between=known_between[1],
            relation=relations.get(term.group.cov) if fitted is None else fitted[number].relation,
        )
        if term.group.by:
            block = by_parts(block, term, *groups[(term.group.by,)])
        blocks.append(block)
    return tuple(blocks)


def builder_of(term: RandomTerm) -> Builder:
    """How the columns before a term's bar are coded."""
    by_margins = KINDS[term.covariance.kind].is_coded_by_margins
    return model_matrix_by_margins if by_margins else model_matrix


def warn_about_terms(
    terms: Sequence[RandomTerm],
    blocks: Sequence[TermBlock],
    variables: Mapping[Expression, Column],
) -> None:
    """Warn of what is legal, but seldom what was meant: see the codes in the language reference."""
    split_factors: dict[tuple[str, str], None] = {}
    for term in terms:
        if term.split:
            factors = [v for v in term.columns.variables if _is_factor(variables[v])]
            split_factors |= {(term.group.label, label(v)): None for v in factors}
    for group, name in split_factors:
        warn(
            "W_DBLBAR_FACTOR",
            f"the levels of '{name}' in (... || {group}) stay correlated with each other, as in lme4; "
            f"write diag(... | {group}) for independent coefficients",
        )
    _warn_of_equal_groups(blocks)
    for block in blocks:
        if len(block.columns) > 1 and block.covariance == UNSTRUCTURED:
            rank = len(independent_columns(block.values))
            if rank < len(block.columns):
                warn(
                    "W_RE_RANK",
                    f"the {len(block.columns)} columns of the term on '{block.group}' "
                    f"({', '.join(block.columns)}) have rank {rank}; their variances cannot be "
                    "told apart",
                )


def _warn_of_equal_groups(blocks: Sequence[TermBlock]) -> None:
    groups = {block.factors: block for block in blocks if not block.meets}
    for a, b in itertools.combinations(groups.values(), 2):
        if len(a.levels) != len(b.levels) or set(a.factors) == set(b.factors):
            continue  # g:h and h:g are noticed without data
        pairs = a.index.astype(np.int64) * len(b.levels) + b.index
        if np.unique(pairs).size == len(a.levels):
            warn(
                "W_ALIASED_GROUP",
                f"the grouping factors '{a.group}' and '{b.group}' divide the rows alike; their "
                "variances cannot be told apart",
            )


def _is_factor(column: Column) -> bool:
    return isinstance(column, Categories | Logicals)


def unique_name(group: str, seen: Counter[str], taken: set[str]) -> str:
    """The next name of a term on a grouping factor: its label, then "g.1", "g.2"."""
    seen[group] += 1
    if seen[group] == 1:
        return group
    number = seen[group] - 1
    while f"{group}.{number}" in taken:  # a column may be called "g.1"
        number += 1
    name = f"{group}.{number}"
    taken.add(name)
    return name


def _check_distinct(linked: Sequence[RandomTerm], names: Sequence[tuple[str, ...]]) -> None:
    owner: dict[str, RandomTerm] = {}
    for term, columns in zip(linked, names, strict=True):
        for column in columns:
            if column in owner:
                cure = "leave it out of one"
                if column == "Intercept":
                    cure = f"write (0 + ... | {term.block} | {term.group.label}) in one of them"
                raise FormulaDataError(
                    f"the terms linked by the label '{term.block}' both have the column '{column}'",
                    span=term.span,
                    hint=f"They are one block of coefficients, and each column stands in it once: {cure}.",
                )
            owner[column] = term


def _check_levels(term: RandomTerm, variables: Mapping[Expression, Column]) -> None:
    parts, name = term.columns.terms, term.covariance.kind
    one_factor = (
        not term.columns.intercept
        and len(parts) == 1
        and len(parts[0].variables) == 1
        and _is_factor(variables[parts[0].variables[0]])
    )
    if one_factor:
        return
    matrix = term.covariance.matrix
    what = f"which '{matrix}' has" if matrix else "which are its times"
    inside = f"0 + factor({'a' if matrix else 'time'}) | {term.group.label}"
    raise FormulaDataError(
        f"{name}() needs the levels of one factor, {what}, and no intercept",
        span=term.span,
        hint=f"Write {name}({inside}{', ' + matrix if matrix else ''}).",
    )


def _known(
    term: RandomTerm, columns: tuple[str, ...], relations: Mapping[str, Relation]
) -> tuple[Relation | None, Floats | None]:
    """The matrix that a term's covariance is, as it was given and between its columns; None of others."""
    name = term.covariance.kind
    if not KINDS[name].takes_matrix:
        return None, None
    if not term.covariance.matrix:
        raise FormulaDataError(
            f"{name}() needs the name of a matrix after the term",
            span=term.span,
            hint=f"Write {name}(0 + a | {term.group.label}, A), and covariances="
            '{"A": ...} beside the formula.',
        )
    known = relations[term.covariance.matrix]
    return known, between_columns(term, columns, known)


def _check_rank(term: RandomTerm, columns: tuple[str, ...]) -> None:
    rank, k = term.covariance.rank, len(columns)
    if rank and rank >= k:
        raise FormulaDataError(
            f"rr(..., d = {rank}) has {rank} factors for {k} column{'s' * (k > 1)}, {', '.join(columns[:4])}"
            + (", ..." if k > 4 else ""),
            span=term.span,
            hint="It has fewer factors than columns. All covariances of a few columns has us(0 + a | g).",
        )
