"""Second stage, for prediction: the arrays of new rows, by the recipe of the design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.design.arguments import row_argument
from lmeformula.design.build import prior_weights, sum_offsets, without_reserved
from lmeformula.design.design import Design, NewRows, ResponseBlock, TermBlock, recipe_of
from lmeformula.design.evaluate import Scope
from lmeformula.design.fixed import Matrix, columns_of
from lmeformula.design.frame import Frame, open_frame
from lmeformula.design.given import in_order
from lmeformula.design.grouping import Grouping, match_rows
from lmeformula.design.members import match_members
from lmeformula.design.parts import check_parts
from lmeformula.design.random import term_blocks
from lmeformula.design.recipe import Recipe
from lmeformula.design.related import refused_levels
from lmeformula.design.response import check_trials, response_block, response_parts
from lmeformula.design.side_by_side import joined_rows, term_places
from lmeformula.design.smooth_terms import smooth_blocks
from lmeformula.design.smooths import smooths_on
from lmeformula.design.used import columns_used
from lmeformula.design.values import Column, Numbers, as_floats, categories, listed, take
from lmeformula.design.variables import (
    complete_rows,
    evaluate_formula,
    group_columns,
    on_rows,
    predictors_on,
)
from lmeformula.errors import FormulaDataError, placed
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Expression, GroupingFactor, Response, TermSum
from lmeformula.formula.smooths import effect_groups, effect_terms


@kinds.takes(
    groups=kinds.either(kinds.flags, kinds.flag),
    response=kinds.flag,
    sizes=kinds.flag,
)
def rebuild(
    design: Design,
    newdata: object,
    *,
    groups: bool | tuple[bool, ...] = True,
    response: bool = False,
    sizes: bool = False,
    offset: object = None,
    weights: object = None,
) -> NewRows:
    """Build the arrays of new rows: the same columns, levels, contrasts, centring, knots and polynomials.

    Args:
      design: of the fit's data.
      newdata: a table with the columns that the formula uses; those of the response are not needed.
      groups: False leaves the random-effects terms out, and then their columns are not needed either; or
        which terms to build: the others have zeros.
      response: True builds the response and the weights as well.
      sizes: True builds the numbers of trials and the weights, without the successes: a response of
        zeros stands for them. Of cbind(successes, failures) both columns are needed.
      offset: the new rows' offset where the fit was given an array; a column is found by itself.
      weights: the same for prior weights.
    Returns:
      The new rows.
    Raises:
      FormulaDataError: if a column is absent or of another kind, or a factor among the fixed effects or
        slopes has a level that the data of the fit did not have.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "a": ["u", "v", "u", "v"], "g": [1, 1, 2, 2]}
      >>> rows = design("y ~ a + (1 | g)", data).rebuild({"a": ["v"], "g": [7]})
      >>> rows.X.tolist(), rows.terms[0].index.tolist(), dict(rows.unseen)
      ([[1.0, 1.0]], [-1], {'g': ('7',)})
    """
    built = groups if isinstance(groups, tuple) else (groups,) * len(design.terms)
    if design.side_by_side:
        return _rebuild_each(design, newdata, built, (response, sizes), (offset, weights))
    if sizes and design.response is not None and design.response.kind == "matrix":
        response, sizes = True, False
    recipe = recipe_of(design)
    named = [
        each for each in (offset, weights, recipe.offset, recipe.weights) if isinstance(each, str)
    ]
    scope = _scope(recipe, newdata, design.formula, named)
    frame = scope.frame
    has_groups, has_weights = any(built), response or sizes
    with placed(design.formula.text):
        model, _ = without_reserved(design.formula, scope)
        if not all(built):
            model = _with_terms(model, built)
        values = evaluate_formula(
            model, scope, with_response=response, with_groups=has_groups, with_sizes=sizes
        )
        offset_given = _given("offset", offset, recipe.offset, frame)
        weights_given = _given("weights", weights, recipe.weights, frame) if has_weights else None
        given = [Numbers(array) for array in (offset_given, weights_given) if array is not None]
        rows = complete_rows([*values.columns(), *given], frame.num_rows)
        num_rows = frame.num_rows if rows is None else rows.size

        variables = predictors_on(values.predictors, rows, recipe.factors, {})
        smooths = smooths_on(values.smooths, rows, scope)
        variables |= {call: made.null for call, made in smooths.items()}
        X = _kept_columns(columns_of(model.fixed.sum, variables, num_rows), design)
        matched, unseen = {}, {}
        for group in effect_groups(model) if has_groups else ():
            names = group_columns(group.names, group.reserved)
            factors = [take(values.groups[name], rows) for name in names]
            grouping = recipe.groupings[group.key]
            match = match_members if group.members else match_rows
            index, unknown = match(grouping, factors)  # type: ignore[arg-type]
            matched[group.key] = (grouping, index)
            if unknown and group.cov:
                raise refused_levels(group, unknown)
            if unknown:
                unseen[group.label] = unknown
            if group.by:
                factor = take(values.groups[group.by], rows)
                matched[(group.by,)] = _known_group(group, recipe, factor)
        block, parts = None, on_rows(values.response, rows)
        if response and model.response is not None:
            known = design.response.levels if design.response is not None else ()
            block = response_block(model.response, parts, known)
        if sizes and model.response is not None:
            block = _sizes_block(design, model.response, parts, num_rows)
        terms: tuple[TermBlock, ...] = ()
        if has_groups:
            fitted_terms = [t for t, is_built in zip(design.terms, built, strict=True) if is_built]
            found = term_blocks(model.random, variables, matched, num_rows, fitted=fitted_terms)
            found += _wanted(smooth_blocks(model, smooths, matched, num_rows, found), design, built)
            terms = _all_terms(design, built, found, num_rows)
            for block_of_rows, fitted in zip(terms, design.terms, strict=True):
                check_parts(block_of_rows, fitted.part_of)
        return NewRows(
            X=X,
            names=design.names,
            terms=terms,
            offsets=(sum_offsets(values, offset_given, rows, num_rows),),
            column_predictors=design.column_predictors,
            unseen=unseen,
            rows=np.arange(num_rows, dtype=np.int64) if rows is None else rows,
            num_rows=frame.num_rows,
            response=block,
            weights=prior_weights(model, values, weights_given, rows) if has_weights else None,
        )


def columns_on(design: Design, newdata: Mapping[str, Any], terms: TermSum) -> Matrix:
    """Build the columns of a sum of terms of a design's fixed part: of all of them, or of some.

    Args:
      design: whose centring, knots, levels and contrasts hold.
      newdata: the columns of the data that the fixed part and the offsets use; none missing.
      terms: among those of the fixed part.
    Returns:
      The columns before redundant ones are left out, with their names.
    Raises:
      FormulaDataError: if the design was put together by hand, or the data does not fit.
    """
    recipe = recipe_of(design)
    scope = _scope(recipe, newdata, design.formula, [])
    with placed(design.formula.text):
        model, _ = without_reserved(design.formula, scope)
        model = replace(model, fixed=replace(model.fixed, sum=terms))
        values = evaluate_formula(model, scope, with_response=False, with_groups=False)
        variables = predictors_on(values.predictors, None, recipe.factors, {})
        smooths = smooths_on(values.smooths, None, scope)
        variables |= {call: made.null for call, made in smooths.items()}
        return columns_of(terms, variables, scope.frame.num_rows)


def _scope(recipe: Recipe, newdata: object, formula: Formula, named: Sequence[str]) -> Scope:
    frame = open_frame(newdata, lambda columns: [*columns_used(formula, columns), *named])
    return Scope(frame, recipe.functions, recipe.memory, True)


def _known_group(group: GroupingFactor, recipe: Recipe, factor: Column) -> tuple[Grouping, Ints]:
    """What covariances differ by, on new rows: each has to be of a level that has one."""
    by = group.by
    grouping = recipe.groupings[(by,)]
    index, unknown = match_rows(grouping, [categories(factor)])
    if unknown:
        raise FormulaDataError(
            f"'{by}' has levels that the data of the fit did not have: {listed(unknown)}",
            span=group.span,
            hint=f"Covariances are known for {listed(grouping.levels)}.",
        )
    return grouping, index


def _with_terms(model: Formula, built: tuple[bool, ...]) -> Formula:
    """The formula without the terms of effects that are not built; curves stay, which have fixed columns."""
    blocks = list(zip(effect_terms(model), built, strict=True))
    kept = [term for linked, is_built in blocks if is_built for term in linked]
    # Those of the levels of a factor have no fixed columns.
    gone = {
        term.smooth.call
        for linked, is_built in blocks
        for term in linked
        if term.smooth is not None and term.group.names and not is_built
    }
    total = model.fixed.sum
    terms = tuple(term for term in total.terms if not gone & set(term.variables))
    return replace(
        model,
        fixed=replace(model.fixed, sum=TermSum(total.intercept, terms)),
        random=tuple(term for term in model.random if any(term is each for each in kept)),
    )


def _wanted(
    blocks: tuple[TermBlock, ...], design: Design, built: tuple[bool, ...]
) -> tuple[TermBlock, ...]:
    """The terms of smooths that are built, of those of the smooths that are there."""
    names = {
        term.columns for term, is_built in zip(design.terms, built, strict=True) if not is_built
    }
    return tuple(block for block in blocks if block.columns not in names or block.factors)


def _all_terms(
    design: Design, built: tuple[bool, ...], terms: tuple[TermBlock, ...], num_rows: int
) -> tuple[TermBlock, ...]:
    """The terms that were built in their places among all, whose others have no influence."""
    if all(built):
        return terms
    found, rest = [], iter(terms)
    for term, is_built in zip(design.terms, built, strict=True):
        if is_built:
            found.append(replace(next(rest), name=term.name))
        else:
            zeros = np.zeros((num_rows, len(term.columns)))
            index = np.zeros((num_rows, *term.index.shape[1:]), np.int32)
            shares = None if term.shares is None else np.zeros(index.shape)
            found.append(replace(term, values=zeros, index=index, shares=shares))
    return tuple(found)


def _sizes_block(
    design: Design, response: Response, columns: Mapping[Expression, Column], num_rows: int
) -> ResponseBlock | None:
    """A response of zeros with the new rows' numbers of trials; None where it has none."""
    trials = response_parts(response).trials
    if trials is None or design.response is None:
        return None
    sizes = as_floats(columns[trials], "trials()")
    check_trials(sizes, response.span)
    return replace(design.response, values=np.zeros(num_rows), trials=sizes)


def _rebuild_each(
    design: Design,
    newdata: object,
    built: tuple[bool, ...],
    wanted: tuple[bool, bool],
    given: tuple[object, object],
) -> NewRows:
    """New rows of several predictors; offset and weights, if given, belong to the first."""
    made: dict[tuple[int, tuple[bool, ...]], NewRows] = {}
    rows = []
    places = term_places([part.design.terms for part in design.predictors])
    for part, of_part in zip(design.predictors, places, strict=True):
        groups = tuple(built[place] for place in of_part)
        # The predictors of a response's categories have one design.
        is_first = part.design is design.predictors[0].design
        key = (id(part.design), groups)
        if key not in made:
            offset, weights = given if is_first else (None, None)
            found = rebuild(
                part.design,
                newdata,
                groups=groups,
                response=wanted[0] and is_first,
                sizes=wanted[1] and is_first,
                offset=offset,
                weights=weights,
            )
            if any(built) and not any(groups):
                # Beside those of other predictors its terms have their places, too.
                empty = _all_terms(part.design, groups, (), len(found.X))
                found = replace(found, terms=empty)
            made[key] = found
        rows.append(made[key])
    return joined_rows(design, rows)


def _kept_columns(matrix: Matrix, design: Design) -> Floats:
    """The columns that the design kept; a recipe that was put together by hand may give others."""
    assert design.recipe is not None
    found = dict(enumerate(matrix.names))
    kept = list(design.recipe.kept)
    if tuple(found.get(i, "") for i in kept) != design.names:
        raise FormulaDataError(
            f"the columns {', '.join(matrix.names)} are not those of the fit: {', '.join(design.names)}",
            formula=design.formula.text,
            hint="What the design remembers of its data does not belong to it: fit the model again.",
        )
    return np.ascontiguousarray(matrix.values[:, kept])


def _given(name: str, given: object, remembered: str | None, frame: Frame) -> Floats | None:
    if given is None and remembered is None:
        raise FormulaDataError(
            f"the fit was given the {name} as an array; the new rows need one too",
            hint=f"Pass {name}=..., one number for each new row.",
        )
    if given is None:
        return row_argument(name, remembered or None, frame)
    return row_argument(name, in_order(name, given, frame.labels, frame.num_rows), frame)
