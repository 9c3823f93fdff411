"""Result stage: the linear predictors of a model one by one, and which of them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.model.family.links import LINKS
from lmeformula.model.family.own_links import link_of_own
from lmeformula.model.family.predicted import predicted_of
from lmeformula.result.several_predictors import is_unordered

Floats = NDArray[np.float64]

FIRST = "mu"


class PredictorPart(NamedTuple):
    """One linear predictor of a model.

    Attributes:
      number: its place among the K.
      name: what its formula was given for, "mu" for the first; of categories without an order, the category.
      before: what comes before its terms where those of all predictors are listed: "sigma: ".
      design: its own design: its formula, and what its columns remember of the data.
      columns: (p_k,) the places of its fixed effects among all.
    """

    number: int
    name: str
    before: str
    design: Design
    columns: NDArray[np.int64]


def predictor_parts(fit: FittedModel) -> tuple[PredictorPart, ...]:
    """The K linear predictors of a fit, in order."""
    design = fit.model.design
    of, is_plain = np.array(design.column_predictors, int), is_unordered(fit.model.family)
    return tuple(
        PredictorPart(
            number,
            part.name,
            "" if is_plain or not number else f"{part.name}: ",
            part.design,
            np.flatnonzero(of == number),
        )
        for number, part in enumerate(design.predictors)
    )


def part_named(fit: FittedModel, name: str | None) -> PredictorPart:
    """The linear predictor of that name, or of that other name as formulas take it; the first by default.

    Raises:
      ModelError: where the model has none; the message names those that it has.
    """
    parts = predictor_parts(fit)
    if name is None:
        return parts[0]
    own = fit.model.family.base
    for part in parts:
        if name == part.name:
            return part
    for part in parts[1:] if own.parts else ():
        rule = predicted_of(own, part.name)
        if name == rule.name or name in rule.aliases:
            return part
    is_number = any(name == rule.name or name in rule.aliases for rule in own.parts)
    raise ModelError(
        f"{name!r} is one number in this model, without a formula"
        if is_number
        else f"the model has no linear predictor {name!r}",
        hint=f"Linear predictors: {', '.join(part.name for part in parts)}."
        + (" Own parameters that are numbers: fit.family_params." if is_number else ""),
    )


def link_of(fit: FittedModel, part: PredictorPart) -> tuple[str, Callable[[Floats], Floats] | None]:
    """The link of a predictor, by name, and its inverse; None where that is not known by itself.

    Of a category it is the logarithm of its odds against the first one.
    """
    family = fit.model.family
    if is_unordered(fit.model.family):
        return "log", np.exp
    if part.number == 0:
        found = LINKS.get(family.link)
        return family.link, None if found is None else found.inverse
    rule = predicted_of(family.base, part.name)
    return rule.link, link_of_own(rule).inverse
