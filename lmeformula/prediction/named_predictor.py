"""The linear predictors of a model one by one, and which of them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family.links import LINKS
from lmeformula.family.own_links import link_of_own
from lmeformula.family.predicted import predicted_of
from lmeformula.fit import FittedModel


class NamedPredictor(NamedTuple):
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
    columns: Ints


def named_predictors(fit: FittedModel) -> tuple[NamedPredictor, ...]:
    """The K linear predictors of a fit, in order."""
    design = fit.model.design
    of, is_plain = np.array(design.column_predictors, int), fit.model.family.is_unordered
    return tuple(
        NamedPredictor(
            number,
            each.name,
            "" if is_plain or not number else f"{each.name}: ",
            each.design,
            np.flatnonzero(of == number),
        )
        for number, each in enumerate(design.predictors)
    )


def predictor_named(fit: FittedModel, name: str | None) -> NamedPredictor:
    """The linear predictor of that name, or of that other name as formulas take it; the first by default.

    Raises:
      ModelError: where the model has none; the message names those that it has.
    """
    found = named_predictors(fit)
    if name is None:
        return found[0]
    called = name_in_formulas(fit, name)
    for each in found:
        if called == each.name:
            return each
    rules = fit.model.family.base.predicted
    is_number = any(name == rule.name or name in rule.aliases for rule in rules)
    raise ModelError(
        f"{name!r} is one number in this model, without a formula"
        if is_number
        else f"the model has no linear predictor {name!r}",
        hint=f"Linear predictors: {', '.join(each.name for each in found)}."
        + (" Own parameters that are numbers: fit.family_params." if is_number else ""),
    )


def link_of(
    fit: FittedModel, part: NamedPredictor
) -> tuple[str, Callable[[Floats], Floats] | None]:
    """The link of a predictor, by name, and its inverse; None where that is not known by itself.

    Of a category it is the logarithm of its odds against the first one.
    """
    family = fit.model.family
    if fit.model.family.is_unordered:
        return "log", np.exp
    if part.number == 0:
        found = LINKS.get(family.link)
        return family.link, None if found is None else found.inverse
    rule = predicted_of(family.base, part.name)
    return rule.link, link_of_own(rule).inverse


def name_in_formulas(fit: FittedModel, name: str) -> str:
    """The name by which the formulas of a fit have a predictor that its family may call otherwise, as zi."""
    family = fit.model.family.base
    known = fit.model.design.predictor_names
    called = [(part.name, *part.aliases) for part in family.predicted]
    alike = next((names for names in called if name in names), ())
    return name if name in known else next((each for each in known if each in alike), name)
