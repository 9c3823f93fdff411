"""Linear predictors of fitted and new rows, and what the family makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.family import Family
from lmeformula.fit import FittedModel

PredictionKind: TypeAlias = Literal["response", "link", "prob"]


def category_names(fit: FittedModel) -> tuple[str, ...]:
    """The names of an ordered response's categories, lowest first.

    Raises:
      ModelError: if the response of this family has none.
    """
    found = fit.model.family.categories
    if found is None:
        raise ModelError(
            f"the {fit.model.family.name} family has no categories to give probabilities of",
            hint='Use kind="response" for the mean, which for yes and no is the probability of yes.',
        )
    design = fit.model.design
    assert design.response is not None
    if design.response.kind == "numeric" and not has_rows(design):
        # Whole numbers from 1, and a threshold between each and the next.
        return tuple(str(number + 1) for number in range(len(fit.params.own) + 1))
    return found(design)


def linear_predictor(
    fit: FittedModel, rows: Design | NewRows, *, with_random: bool | Sequence[bool] = True
) -> Floats:
    """Evaluate the linear predictor at the estimates and the effects of `fit.ranef`.

    Args:
      fit: a fitted model.
      rows: the fitted rows or new ones; an unseen level has an effect of zero.
      with_random: whether to add the random effects, of all terms or of each.
    Returns:
      eta: (K, n) the linear predictors, offsets included.
    """
    of_columns = np.eye(rows.num_predictors)[:, list(rows.column_predictors)]
    eta = (of_columns * fit.params.beta) @ rows.X.T + np.array(rows.offsets)
    added = (with_random,) * len(rows.terms) if isinstance(with_random, bool) else with_random
    if any(added):
        terms = tuple(itertools.compress(rows.terms, added))
        add_effects(eta, terms, tuple(itertools.compress(fit.modes, added)))
    return np.asarray(eta)


def of_population(rows: Design | NewRows) -> tuple[bool, ...]:
    """Whether each term of effects is the whole population's, such as a curve, and not of groups."""
    return tuple(term.role == "population" for term in rows.terms)


def refuse_curves(fit: FittedModel, what: str, hint: str) -> None:
    """Refuse what takes the fixed effects for all that the population has, of a fit with smooths.

    Raises:
      ModelError: with what to do instead.
    """
    curves = [term.name for term in fit.model.design.terms if term.role == "population"]
    if curves:
        raise ModelError(
            f"{what} are not worked out where there are smooths, as {curves[0]}", hint=hint
        )


def add_effects(eta: Floats, terms: Sequence[TermBlock], effects: Sequence[Floats]) -> None:
    """Add to predictors (..., K, n) the effects (..., l, k) of each term; unseen levels have none."""
    for block, each in zip(terms, effects, strict=True):
        eta += block.added(block.of_rows(each), eta.shape[-2])


def link_columns(fit: FittedModel) -> tuple[str, ...]:
    """What columns of linear predictors are called; () where there is one, whose column has no name."""
    design = fit.model.design
    return design.predictor_names if design.num_predictors > 1 else ()


def predicted_at(fit: FittedModel, kind: str, eta: Floats, own: Floats | None = None) -> Floats:
    """(n, c) what is predicted at linear predictors (K, n).

    Args:
      fit: a fitted model.
      kind: "link" for the predictors, "response" for means, "prob" for chances of categories.
      eta: its predictors.
      own: the family's own parameters; those of the fit by default.
    """
    family, own = fit.model.family, fit.params.own if own is None else own
    if kind == "link":
        return eta.T
    if kind == "response":
        return np.asarray(family.mean(family.as_taken(eta), own))[:, None]
    assert family.probabilities is not None
    return family.probabilities(family.as_taken(eta), own)


def mean_response(fit: FittedModel, eta: Floats) -> Floats:
    """The expected response (n,) at linear predictors (K, n); ordered categories count as 1, 2, ...."""
    return predicted_at(fit, "response", eta)[:, 0]


def chances_at(fit: FittedModel, eta: Floats) -> Floats:
    """(n, c) the chances of the response's categories at linear predictors (K, n)."""
    return predicted_at(fit, "prob", eta)


def has_new_level(rows: Design | NewRows, used: Sequence[bool] | None = None) -> Mask:
    """Find the rows with a level that the fit has not seen.

    Args:
      rows: new rows, with their terms.
      used: whether each term counts; all by default.
    Returns:
      found: (n,) True where any grouping factor of the row has an unseen level.
    """
    found = np.zeros(len(rows.offset), dtype=bool)
    for place, block in enumerate(rows.terms):
        if used is None or used[place]:
            found |= block.has_unseen
    return found


def check_levels_are_known(
    rows: NewRows, used: Sequence[bool] | None = None, where: str = ""
) -> None:
    """Raise if rows have levels that the fit has not seen.

    Args:
      rows: new rows.
      used: whether each term counts; all by default.
      where: which rows these are, for the message.
    Raises:
      FormulaDataError: names grouping factors and levels, and counts the rows.
    """
    groups = {block.group for place, block in enumerate(rows.terms) if used is None or used[place]}
    unseen = {group: levels for group, levels in rows.unseen.items() if group in groups}
    if not unseen:
        return
    parts = []
    for group, levels in unseen.items():
        named = ", ".join(map(repr, levels[:3])) + (", ..." if len(levels) > 3 else "")
        parts.append(f"{len(levels):,} of {group} ({named})")
    raise FormulaDataError(
        f"{int(has_new_level(rows, used).sum()):,} new rows{where} have levels that the fit has not seen: "
        f"{'; '.join(parts)}",
        hint='Pass new_levels="population" to predict them with an effect of zero for that factor, '
        'or re_form="NA" to leave out the random effects of all rows.',
    )


def stacked_estimates(fit: FittedModel) -> tuple[Floats, Floats]:
    """What the rows' derivatives take: stacked predictors (v n,) and unconstrained own parameters (f,).

    The predictors are at the modes; those of pairs of predictors, which are not read, are zero.
    """
    eta, found = linear_predictor(fit, fit.model.design), np.zeros(len(fit.model.stack.X))
    found[: eta.size] = eta.reshape(-1)
    return found, fit.model.space.own.scale.to_free(fit.params.own)


class RowFamily(NamedTuple):
    """A family with one linear predictor, its predictor (n,) and its own parameters, some of them (n,)."""

    family: Family
    eta: Floats
    own: Any


def row_family(fit: FittedModel, eta: Floats, own: Floats) -> RowFamily:
    """The family with one predictor by which the rows of a fit are distributed.

    Args:
      fit: a fitted model, not one with a predictor for each category.
      eta: (K, n) its linear predictors.
      own: its own parameters.
    """
    family = fit.model.family
    if family.within is None:
        return RowFamily(family, family.as_taken(eta), own)
    return RowFamily(*family.within(eta, own))
