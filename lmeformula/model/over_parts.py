"""Designs in the form that a family takes, wherever their rows are: without a constant, by categories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.algebra.orthogonal import triangle
from lmeformula.arrays import Floats
from lmeformula.design.absent import elsewhere, has_rows
from lmeformula.design.design import Design, LinearPredictor
from lmeformula.design.outline import outline
from lmeformula.design.shards import shards_of
from lmeformula.design.side_by_side import joined
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.rows.parts import Part, Shards, within

# Beyond so many different numbers they are no categories, which the family says of them.
MANY = 10_000


def with_categories(design: Design, family: Family) -> Design:
    """Let every part know the categories of all rows, where these are numbers in the data.

    Args:
      design: whose rows may be in parts.
      family: of the response.
    Raises:
      ModelError: for numbers that are no categories.
    """
    shards, response = design.shards, design.response
    if shards is None or response is None or family.categories is None or response.levels:
        return design
    if response.values.ndim > 1:
        return design
    found = np.unique(np.concatenate(shards.parts.ask(_numbers)))
    some = replace(design, response=replace(response, values=found))
    names = family.categories(some)
    return replace(design, shards=within(shards, "categories", _categorised, names))


def _numbers(part: Part) -> Floats:
    return np.unique(part.rows.response.values)[:MANY]


def _categorised(design: Design, names: tuple[str, ...]) -> Design:
    response = design.response
    assert response is not None
    codes = response.values - 1.0
    return replace(design, response=replace(response, kind="ordered", levels=names, values=codes))


def expanded(design: Design, family: Family) -> tuple[Design, tuple[str, ...]]:
    """A design with a predictor for each category, of families that have them; and their names.

    Args:
      design: of one predictor, whose rows may be in parts.
      family: that expands designs.
    Raises:
      ModelError: if the rows are not here.
    """
    assert family.expand is not None
    if not has_rows(design):
        raise ModelError(
            f"{family.name} models have a predictor for each category, and those are not made of rows that are "
            "with the workers of a cluster alone",
            hint="cluster=False reads the rows into this process; cluster=client takes a table that is here.",
        )
    predictors = family.expand(outline(design))
    patterns = tuple((each.name, each.pattern) for each in predictors)
    found, names = _beside(design, patterns), tuple(each.name for each in predictors)
    shards = design.shards
    if shards is None:
        return found, names
    lead, first = shards.lead, [place.start for place in shards.places]
    given = patterns, lead, design.terms[lead].levels
    return replace(
        found, shards=within(shards, "predictors", _beside_there, *given, each=[first])
    ), names


def _beside_there(
    design: Design,
    patterns: tuple[tuple[str, str], ...],
    lead: int,
    levels: tuple[str, ...],
    start: int,
) -> Design:
    """The same of a part: of one predictor's lead term it has some levels, of the others' all."""
    found, own = _beside(design, patterns), design.terms[lead]
    terms = tuple(
        replace(term, levels=levels, index=(term.index + start).astype(np.int32))
        if place != lead and (term.group, term.levels) == (own.group, own.levels)
        else term
        for place, term in enumerate(found.terms)
    )
    return replace(found, terms=terms)


def _beside(design: Design, patterns: tuple[tuple[str, str], ...]) -> Design:
    """The design once for each predictor."""
    alone = replace(design, shards=None)
    predictors = tuple(LinearPredictor(name, pattern, alone) for name, pattern in patterns)
    return joined(design.formula, predictors)


def without_intercept(design: Design) -> Design:
    """Leave out of the fixed effects what thresholds stand for: the constant.

    The intercept, or the first of the columns that add up to a constant, such as those of a factor's levels.
    """
    if not design.X.shape[1]:
        return design
    parts = shards_of(design).parts
    weights = _of_a_constant(design)
    told = parts.ask(_told, weights)
    if max(apart for apart, _ in told) > 1e-7:
        return design
    largest = np.max([each for _, each in told], axis=0)
    place = int(np.flatnonzero(np.abs(weights) * largest > 1e-6)[0])
    name = design.names[place]
    found = without_column(design, place)
    return replace(
        found, dropped=design.dropped if name == "Intercept" else (*design.dropped, name)
    )


def _of_a_constant(design: Design) -> Floats:
    """(p,) weights with which the fixed columns come nearest to a column of ones."""
    if design.shards is None:
        return np.asarray(np.linalg.lstsq(design.X, np.ones(design.n), rcond=None)[0], float)
    corners = design.shards.parts.ask(_corner)
    R = triangle(np.concatenate(corners))
    return np.asarray(np.linalg.lstsq(R[:, :-1], R[:, -1], rcond=None)[0], float)


def _corner(part: Part) -> Floats:
    X = part.rows.X
    return triangle(np.column_stack([X, np.ones(len(X))]))


def _told(part: Part, weights: Floats) -> tuple[float, Floats]:
    """How far the columns are from a constant, and the largest numbers (p,) of each."""
    X = part.rows.X
    apart = float(np.abs(X @ weights - 1.0).max(initial=0.0))
    return apart, np.abs(X).max(axis=0, initial=0.0)


def without_column(design: Design, place: int) -> Design:
    """A design, wherever its rows are, without one of its fixed columns."""
    recipe, shards, X = design.recipe, design.shards, design.X
    if shards is not None:
        shards = within(shards, f"without column {place}", without_column, place)
    is_here = has_rows(design)
    return replace(
        design,
        X=np.ascontiguousarray(np.delete(X, place, axis=1))
        if is_here
        else elsewhere(design.n, X.shape[1] - 1),
        names=design.names[:place] + design.names[place + 1 :],
        recipe=None
        if recipe is None
        else replace(recipe, kept=recipe.kept[:place] + recipe.kept[place + 1 :]),
        shards=shards,
    )


def without_columns(design: Design, simpler: Design, shards: Shards) -> Design:
    """A design of several predictors that has lost some of its fixed columns, its rows in parts as well.

    Args:
      design: before that.
      simpler: after, its rows here.
      shards: of the design.
    """
    lost = tuple(
        tuple(
            place for place, name in enumerate(one.design.names) if name not in other.design.names
        )
        for one, other in zip(design.predictors, simpler.predictors, strict=True)
    )
    return replace(simpler, shards=within(shards, f"without columns {lost}", _without, lost))


def _without(design: Design, lost: tuple[tuple[int, ...], ...]) -> Design:
    predictors, places, start = [], [], 0
    for each, own in zip(design.predictors, lost, strict=True):
        names, X = each.design.names, np.delete(each.design.X, own, axis=1)
        kept = tuple(name for place, name in enumerate(names) if place not in own)
        predictors.append(replace(each, design=replace(each.design, X=X, names=kept)))
        places += [start + place for place in own]
        start += len(names)
    names = tuple(name for place, name in enumerate(design.names) if place not in places)
    X = np.ascontiguousarray(np.delete(design.X, places, axis=1))
    return replace(design, X=X, names=names, side_by_side=tuple(predictors))
