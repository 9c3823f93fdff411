"""Second stage: a formula meets a data frame, and becomes arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats, Ints
from lmeformula.design.arguments import (
    check_contrasts_used,
    read_contrasts,
    read_frequency,
    row_argument,
)
from lmeformula.design.design import Design, LinearPredictor
from lmeformula.design.evaluate import Memory, Scope, data_columns
from lmeformula.design.fixed import Builder, Matrix, columns_of, independent_columns
from lmeformula.design.frame import Frame, column_of, open_frame
from lmeformula.design.given import given_beside
from lmeformula.design.grouping import Grouping, group_rows
from lmeformula.design.labels import label
from lmeformula.design.members import group_members
from lmeformula.design.merging import merged_rows
from lmeformula.design.observed import aliases_of, observe
from lmeformula.design.random import term_blocks, warn_about_terms
from lmeformula.design.recipe import Recipe
from lmeformula.design.related import covariances_of, group_related, has_reserved, read_covariances
from lmeformula.design.relation import Relation
from lmeformula.design.response import response_block
from lmeformula.design.side_by_side import joined
from lmeformula.design.smooth_terms import smooth_blocks
from lmeformula.design.smooths import smooths_on
from lmeformula.design.used import columns_used, row_bytes
from lmeformula.design.values import Categories, Coding, Column, Numbers, take
from lmeformula.design.variables import (
    Evaluated,
    complete_rows,
    evaluate_formula,
    group_columns,
    is_reserved,
    no_rows,
    on_rows,
    predictors_on,
)
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError, placed, underline
from lmeformula.formula import expand_dot, parse
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Expression, TermSum
from lmeformula.formula.several_formulas import formulas_of
from lmeformula.formula.smooths import effect_groups
from lmeformula.rows.mapped import beside, row_blocks

Contrasts: TypeAlias = Mapping[str, "str | tuple[str, str | int] | NDArray[Any]"]


def design(
    formula: str | Formula | Mapping[str, str | Formula] | tuple[str, ...] | list[str],
    data: object,
    *,
    contrasts: Contrasts | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    weights: object = None,
    offset: object = None,
    frequency: object = None,
    covariances: Mapping[str, Any] | None = None,
    merge: bool = False,
    keeps_all: bool = False,
) -> Design:
    """Build the arrays of a model from its formula and a table, in this process.

    Args:
      formula, data, contrasts, functions, weights, offset, frequency, covariances, merge: as of `lf.design`.
      keeps_all: whether fixed columns are kept that others determine, for who has more rows to tell.
    """
    parsed = parse(formula)
    if merge:
        data, frequency = merged_rows(
            parsed, data, weights=weights, offset=offset, frequency=frequency
        )
    named = [each for each in (weights, offset, frequency) if isinstance(each, str)]
    frame = open_frame(
        data, lambda columns: [*columns_used(parsed, columns), *named], row_bytes(parsed)
    )
    given, (offset, weights, frequency) = given_beside(
        data,
        frame.labels,
        frame.num_rows,
        frame.origin,
        offset=offset,
        weights=weights,
        frequency=frequency,
    )
    if parsed.fixed.template:
        parsed = expand_dot(parsed, frame.columns)
    for found in parsed.diagnostics:
        place = "" if found.span is None else "\n" + underline(parsed.text, found.span)
        warn(found.code, found.message + place)
    own = dict(functions or {})
    with placed(parsed.text):
        wanted = covariances_of(parsed)
        given_covariances = dict(covariances or {})
        if has_reserved(parsed):
            # What cannot be fitted is refused by its name, whatever else goes with it.
            given_covariances = {n: v for n, v in given_covariances.items() if n in wanted}
        relations = read_covariances(given_covariances, wanted)
    codings = read_contrasts(contrasts or {})
    offset_given = row_argument("offset", offset, frame)
    weights_given = row_argument("weights", weights, frame)
    times = read_frequency(frequency, frame)
    if weights_given is not None and parsed.response is not None and parsed.response.weights:
        raise FormulaDataError("the weights are given twice, in the formula and as an argument")
    # Offset and weights belong to the formula with the response.
    of_response = (_Argument(offset_given, offset), _Argument(weights_given, weights))
    none = (_Argument(None, None),) * 2
    evaluated = [
        _evaluate(
            part,
            Scope(frame, own, Memory(), False, times),
            _remember(frequency),
            *(none if i else of_response),
        )
        for i, (_, part) in enumerate(formulas_of(parsed))
    ]
    columns = [column for each in evaluated for column in each.columns()]
    if times is not None:
        columns.append(Numbers(np.where(times > 0, 0.0, np.nan)))
    rows = complete_rows(columns, frame.num_rows)
    if rows is not None and rows.size == 0:
        raise no_rows([each.values for each in evaluated], parsed.text)
    variables = [_on_rows(each, rows, codings) for each in evaluated]
    check_contrasts_used(codings, {k: v for each in variables for k, v in each.items()})
    made = [
        _arrays(each, on, rows, keeps_all, relations)
        for each, on in zip(evaluated, variables, strict=True)
    ]
    names = [name for name, _ in formulas_of(parsed)]
    patterns = ["{}", *(f"{name}_{{}}" for name in names[1:])]
    return replace(joined(parsed, tuple(map(LinearPredictor, names, patterns, made))), given=given)


class _Argument(NamedTuple):
    """Numbers for all rows of the data, or None, and the argument that they were given as."""

    values: Floats | None
    given: object


class _Part(NamedTuple):
    """A formula of one predictor with everything that it uses, on all rows of the data."""

    formula: Formula
    model: Formula
    reserved: tuple[str, ...]
    scope: Scope
    values: Evaluated
    frequency: str | None
    offset: _Argument
    weights: _Argument

    def columns(self) -> list[Column]:
        """All that must not be missing."""
        given = [each.values for each in (self.offset, self.weights)]
        return [*self.values.columns(), *(Numbers(array) for array in given if array is not None)]


def _evaluate(
    formula: Formula,
    scope: Scope,
    frequency: str | None,
    offset: _Argument,
    weights: _Argument,
) -> _Part:
    with placed(formula.text):
        model, reserved = without_reserved(formula, scope)
        values = evaluate_formula(model, scope, with_response=True, with_groups=True)
    return _Part(formula, model, reserved, scope, values, frequency, offset, weights)


def _on_rows(
    part: _Part, rows: Ints | None, codings: Mapping[str, Coding]
) -> dict[Expression, Column]:
    with placed(part.formula.text):
        return predictors_on(part.values.predictors, rows, {}, codings)


def _arrays(
    part: _Part,
    variables: dict[Expression, Column],
    rows: Ints | None,
    keeps_all: bool,
    relations: Mapping[str, Relation],
) -> Design:
    """The design of one predictor on the rows used."""
    model, values, scope = part.model, part.values, part.scope
    frame = scope.frame
    num_rows = frame.num_rows if rows is None else rows.size
    with placed(part.formula.text):
        smooths = smooths_on(values.smooths, rows, scope)
        variables = variables | {call: made.null for call, made in smooths.items()}
        # Slopes often vary by the columns of the fixed part.
        known: dict[tuple[Builder, TermSum], Matrix] = {}
        X = columns_of(model.fixed.sum, variables, num_rows, known=known)
        kept = list(range(len(X.names))) if keeps_all else independent_columns(X.values)
        is_kept = set(kept)
        dropped = tuple(name for i, name in enumerate(X.names) if i not in is_kept)
        warn_of_dropped(len(kept), dropped)
        groups = group_all(model, values.groups, rows, relations)
        terms = term_blocks(model.random, variables, groups, num_rows, known, relations=relations)
        warn_about_terms(model.random, terms, variables)
        terms += smooth_blocks(model, smooths, groups, num_rows, terms)
        _warn_about_numeric_groups(values.groups, frame)
        total_offset = sum_offsets(values, part.offset.values, rows, num_rows)
        of_response = on_rows(values.response, rows)
        response = None
        if model.response is not None:
            response = response_block(model.response, of_response, None)
        weights = prior_weights(model, values, part.weights.values, rows)
        times = scope.times if rows is None or scope.times is None else scope.times[rows]
        frequency = None if times is None else times.astype(np.float64)
    return Design(
        formula=part.formula,
        response=response,
        X=X.values if not dropped else _columns(X.values, kept),
        names=tuple(X.names[i] for i in kept),
        terms=terms,
        offsets=(total_offset,),
        weights=weights,
        rows=_all_rows(num_rows, X.values) if rows is None else rows,
        num_missing=frame.num_rows - num_rows,
        dropped=dropped,
        reserved=part.reserved,
        frequency=frequency,
        recipe=Recipe(
            memory=scope.memory,
            factors={
                expression: replace(column, codes=column.codes[:0])
                for expression, column in variables.items()
                if isinstance(column, Categories)
            },
            groupings={names: group[0] for names, group in groups.items()},
            functions=dict(scope.functions),
            kept=tuple(kept),
            offset=_remember(part.offset.given),
            weights=_remember(part.weights.given),
            observed=observe(
                model.fixed,
                frame,
                variables,
                rows,
                total_offset,
                aliases_of(X.values, kept),
                times,
            ),
            frequency=part.frequency,
        ),
    )


def _columns(values: Floats, kept: Sequence[int]) -> Floats:
    """Some columns (n, k) of a matrix, where it is."""
    found = beside(values, (len(values), len(kept)))
    for rows in row_blocks(len(values)):
        found[rows] = values[rows][:, kept]
    return found


def _all_rows(num_rows: int, near: Floats) -> Ints:
    """(n,) the places of all rows; in a file where something else is."""
    found = beside(near, (num_rows,), np.int64)
    for rows in row_blocks(num_rows):
        found[rows] = np.arange(rows.start, rows.stop)
    return found


def warn_of_dropped(rank: int, dropped: Sequence[str]) -> None:
    """Warn of fixed columns that are left out; of none, say nothing."""
    if dropped:
        warn(
            "",
            f"the fixed-effects matrix has rank {rank}: left out {', '.join(dropped)}, "
            "which other columns determine",
        )


def without_reserved(formula: Formula, scope: Scope) -> tuple[Formula, tuple[str, ...]]:
    """Take other packages' syntax out of a formula, and name what was taken out."""

    def is_ours(expression: Expression) -> bool:
        return not is_reserved(expression, scope.functions)

    reserved: dict[str, None] = {}
    terms = []
    for term in formula.fixed.sum.terms:
        foreign = [v for v in term.variables if not is_ours(v)]
        reserved |= dict.fromkeys(label(v) for v in foreign)
        for column in (c for v in foreign for c in data_columns(v)):
            with placed(span=column.span):
                column_of(scope.frame, column.name)
        if not foreign:
            terms.append(term)
    if formula.response is not None:
        reserved |= dict.fromkeys(label(call) for call in formula.response.reserved)
    reserved |= dict.fromkeys(
        label(t.group.reserved) for t in formula.random if t.group.reserved is not None
    )
    fixed = replace(formula.fixed, sum=TermSum(formula.fixed.sum.intercept, tuple(terms)))
    return replace(formula, fixed=fixed), tuple(reserved)


def group_all(
    formula: Formula,
    columns: Mapping[str, Categories],
    rows: Ints | None,
    relations: Mapping[str, Relation],
) -> dict[tuple[str, ...], tuple[Grouping, Ints]]:
    """Number the levels of every grouping factor on the rows used; of a known covariance all that it has."""
    groups = {}
    for group in effect_groups(formula):
        if group.key not in groups:
            names = group_columns(group.names, group.reserved)
            factors: list[Categories] = [take(columns[name], rows) for name in names]  # type: ignore[misc]
            if group.members:
                groups[group.key] = group_members(factors)
            elif group.cov:
                groups[group.key] = group_related(factors[0], relations[group.cov], group.span)
            else:
                groups[group.key] = group_rows(factors)
        if group.by and (group.by,) not in groups:
            factor = take(columns[group.by], rows)
            groups[(group.by,)] = group_rows([factor])  # type: ignore[list-item]
    return groups


def sum_offsets(
    values: Evaluated, given: Floats | None, rows: Ints | None, num_rows: int
) -> Floats:
    """Add up the offsets of the formula and the one given as an argument, on the rows used."""
    total: Floats = np.zeros(num_rows)
    for expression, column in on_rows(values.offsets, rows).items():
        assert isinstance(column, Numbers), expression
        total += column.values
    if given is not None:
        total += given if rows is None else given[rows]
    return total


def prior_weights(
    formula: Formula, values: Evaluated, given: Floats | None, rows: Ints | None
) -> Floats | None:
    """Find the prior weights on the rows used; None without.

    Raises:
      FormulaDataError: if they are not numbers.
    """
    expression = None if formula.response is None else formula.response.weights
    if expression is not None:
        column = values.response[expression]
        if not isinstance(column, Numbers) or column.values.ndim != 1:
            raise FormulaDataError("the weights must be numbers", span=expression.span)
        given = np.asarray(column.values, dtype=np.float64)
    if given is None:
        return None
    return np.ascontiguousarray(given if rows is None else given[rows])


def _warn_about_numeric_groups(names: Iterable[str], frame: Frame) -> None:
    for name in names:
        column = column_of(frame, name)
        if isinstance(column, Numbers) and column.values.dtype.kind == "f":
            present = column.values[np.isfinite(column.values)]
            if (present != np.floor(present)).any():
                warn(
                    "W_NUMERIC_GROUP",
                    f"the grouping factor '{name}' holds numbers that are not whole; every distinct "
                    "number is a level",
                )


def _remember(argument: object) -> str | None:
    if argument is None:
        return ""
    return argument if isinstance(argument, str) else None
