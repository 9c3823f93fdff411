"""Rows in parts in the form that a family takes: its categories known to every part, a predictor for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, LinearPredictor
from lmeformula.design.outline import outline
from lmeformula.design.side_by_side import joined
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
    """
    assert family.expand is not None
    predictors = family.expand(outline(design))
    patterns = tuple((each.name, each.pattern) for each in predictors)
    found, names = _beside(design, patterns), tuple(each.name for each in predictors)
    shards = design.shards
    if shards is None:
        return found, names
    return replace(found, shards=within(shards, "predictors", _beside, patterns)), names


def _beside(design: Design, patterns: tuple[tuple[str, str], ...]) -> Design:
    """The design once for each predictor."""
    alone = replace(design, shards=None)
    predictors = tuple(LinearPredictor(name, pattern, alone) for name, pattern in patterns)
    return joined(design.formula, predictors)


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
