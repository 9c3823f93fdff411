"""Result stage: predictions for the fitted rows and for new ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.design.labels import label
from lmeformula.design.made import row_labels
from lmeformula.design.rebuild import rebuild
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.formula import parse
from lmeformula.formula.ir import RandomTerm
from lmeformula.formula.links import linked_terms
from lmeformula.formula.show import random_text
from lmeformula.result.several import contribution, need_one_predictor
from lmeformula.store.absent import has_rows

if TYPE_CHECKING:
    from lmeformula.fit import FittedModel

Floats = NDArray[np.float64]
PredictionKind: TypeAlias = Literal["response", "link", "prob"]
NewLevels: TypeAlias = Literal["error", "population", "sample"]
NEW_LEVELS = ("error", "population", "sample")


@kinds.takes(
    kind=kinds.one_of("response", "link", "prob"),
    re_form=kinds.optional(kinds.text),
    new_levels=kinds.one_of(*NEW_LEVELS),
    averaged=kinds.flag,
)
def predict(
    fit: FittedModel,
    newdata: object = None,
    *,
    kind: PredictionKind = "response",
    re_form: str | None = None,
    new_levels: NewLevels = "error",
    offset: object = None,
    averaged: bool = False,
) -> pd.Series | pd.DataFrame:
    """Predict the mean of the response, or the chances of its categories.

    Of a model with several linear predictors `kind="link"` gives a data frame with a column for each.
    A response that is written as a function, such as log(y), is predicted as it is written, as lme4 does;
    `fit.emmeans(..., type="response")` brings marginal means back, and family="lognormal" has means of y.

    Args:
      fit: a fitted model.
      newdata: a data frame with the columns that the formula uses (the response may be missing); the
        fitted rows by default.
      kind: "response" for the scale of the response, "link" for the linear predictor, "prob" for the
        probabilities of ordered categories. On the response scale a nonlinear link is applied to the linear
        predictor at the conditional modes, as lme4 does, unless `averaged`; there ordered categories count as
        1, 2, ....
      re_form: None adds the random effects of each row's levels; "NA" leaves them all out and predicts
        the population; a formula with some of the terms, or some of their coefficients, such as "~ (1 | g)",
        adds those, and asks for no columns of the others.
      new_levels: what to do with rows whose level the fit has not seen: "error"; "population" to predict them
        with an effect of zero for that factor; "sample" to average responses and chances over the distribution
        of its effects, which a nonlinear link makes different.
      offset: (rows of `newdata`,) numbers, needed where the fit was given its offset as an array.
      averaged: average responses and chances over the uncertainty of fixed and random effects, rather than take
        them at the estimates: fixed effects are normal; effects of a single grouping factor have their
        distribution given the data, and those of several are normal about their means.
    Returns:
      predictions: one a row, with the index of `newdata` where it has one, else the positions of the
        rows in the fitted data; NaN for rows of `newdata` with a missing value. Probabilities are a data frame
        with a column for each category.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels and `new_levels` is "error".
      ModelError: if an option is not one of those named here, or the uncertainty is asked of a model whose
        equations are too large.
    """
    masks = kept_columns(fit, re_form)
    kept = tuple(bool(mask.any()) for mask in masks)
    columns: tuple[str, ...] = ("prediction",)
    if kind == "prob":
        columns = category_names(fit)
    elif kind == "link" and fit.model.family.predictors:
        columns = tuple(part.name for part in fit.model.design.parts)
    if newdata is None:
        design = only_columns(fit.model.design, masks)
        found = _at(fit, kind, design, kept, averaged, False)
        return _frame(found, row_labels(design), columns)
    rows = rebuild(fit.model.design, newdata, groups=kept, offset=offset)
    if new_levels == "error":
        check_levels_are_known(rows, kept)
    rows = only_columns(rows, masks)
    values = np.full((rows.num_rows, len(columns)), np.nan)
    is_drawn = new_levels == "sample" and bool(has_new_level(rows, kept).any())
    values[rows.rows] = _at(fit, kind, rows, kept, averaged, is_drawn)
    index = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(rows.num_rows)
    return _frame(values, index, columns)


def _at(
    fit: FittedModel,
    kind: PredictionKind,
    rows: Design | NewRows,
    kept: tuple[bool, ...],
    averaged: bool,
    is_drawn: bool,
) -> Floats:
    """(n, columns) what is predicted of rows, at the estimates or averaged."""
    eta = linear_predictor(fit, rows, with_random=kept)
    if kind == "link" or not (averaged or is_drawn):
        return _on_scale(fit, kind, eta)
    from lmeformula.result.averaged import averaged_over  # that module builds on this one

    return averaged_over(fit, kind, rows, kept, uncertain=averaged, new_levels=is_drawn)


def only_terms(rows: Design | NewRows, kept: Sequence[bool]) -> Design | NewRows:
    """Rows on which the random effects of some terms only have an influence.

    Args:
      rows: fitted or new rows.
      kept: whether each term has one.
    """
    if all(kept) or not rows.terms:
        return rows
    terms = tuple(
        block if keep else replace(block, values=np.zeros_like(block.values))
        for block, keep in zip(rows.terms, kept, strict=True)
    )
    return replace(rows, terms=terms)


def _on_scale(fit: FittedModel, kind: PredictionKind, eta: Floats) -> Floats:
    """(n, columns) what is predicted at linear predictors (n,)."""
    if kind == "link":
        return eta[:, None] if eta.ndim == 1 else eta.T
    if kind == "response":
        return mean_response(fit, eta)[:, None]
    probabilities = fit.model.family.probabilities
    assert probabilities is not None
    return probabilities(eta, family_values(fit))


def _frame(values: Floats, index: pd.Index, columns: Sequence[str]) -> pd.Series | pd.DataFrame:
    if columns[0] != "prediction":
        return pd.DataFrame(values, index=index, columns=list(columns))
    return pd.Series(values[:, 0], index=index, name=columns[0])


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


def fitted(fit: FittedModel) -> pd.Series:
    """Predict the rows that were fitted, with their random effects, on the response scale.

    Args:
      fit: a fitted model.
    Returns:
      fitted: (n,) indexed by the positions of the rows in the data.
    """
    return predict(fit).rename("fitted")


def linear_predictor(
    fit: FittedModel, rows: Design | NewRows, *, with_random: bool | Sequence[bool] = True
) -> Floats:
    """Evaluate the linear predictor at the estimates and the conditional modes.

    Args:
      fit: a fitted model.
      rows: the fitted rows or new ones; an unseen level has an effect of zero.
      with_random: whether to add the random effects, of all terms or of each.
    Returns:
      eta: (n,) the linear predictor, offset included; with several predictors (K, n).
    """
    num_predictors = 1 + len(rows.further_offsets)
    if num_predictors == 1:
        eta = rows.X @ fit.params.beta + rows.offset
    else:
        of_columns = np.eye(num_predictors)[:, list(rows.column_predictors)]
        eta = (of_columns * fit.params.beta) @ rows.X.T
        eta += np.array([rows.offset, *rows.further_offsets])
    added = (with_random,) * len(rows.terms) if isinstance(with_random, bool) else with_random
    if any(added):
        for block, modes, is_added in zip(rows.terms, fit.modes, added, strict=True):
            if not is_added:
                continue
            known = block.index >= 0
            effects = modes[np.where(known, block.index, 0)]
            eta += np.where(known, contribution(block, effects, num_predictors), 0.0)
    return np.asarray(eta)


def mean_response(fit: FittedModel, eta: Floats) -> Floats:
    """The expected response (n,) at linear predictors (n,); ordered categories count as 1, 2, ...."""
    return fit.model.family.mean(eta, family_values(fit))


def family_values(fit: FittedModel) -> Floats:
    """(f,) the family's own parameters on their natural scale."""
    sigma = fit.params.sigma
    return np.asarray(fit.params.own if sigma is None else [sigma], float)


def has_new_level(rows: NewRows, used: Sequence[bool] | None = None) -> NDArray[np.bool_]:
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
            found |= block.index < 0
    return found


def check_levels_are_known(rows: NewRows, used: Sequence[bool] | None = None) -> None:
    """Raise if rows have levels that the fit has not seen.

    Args:
      rows: new rows.
      used: whether each term counts; all by default.
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
        f"{int(has_new_level(rows, used).sum()):,} new rows have levels that the fit has not seen: "
        f"{'; '.join(parts)}",
        "E_DATA",
        hint='Pass new_levels="population" to predict them with an effect of zero for that factor, '
        'or re_form="NA" to leave out the random effects of all rows.',
    )


def kept_terms(fit: FittedModel, re_form: str | None) -> tuple[bool, ...]:
    """Whether each random-effects term is among those of `re_form`.

    Args:
      fit: a fitted model.
      re_form: None for all, "NA" or "~ 0" for none, or a formula with some of them.
    Raises:
      ModelError: if the formula has a term that the fit does not have, or a part of one.
    """
    masks = kept_columns(fit, re_form)
    for mask, term in zip(masks, fit.model.design.terms, strict=True):
        if mask.any() and not mask.all():
            raise ModelError(
                f"re_form has a part of the term on {term.group}, whose coefficients "
                f"{', '.join(term.columns)} are kept or drawn together",
                hint="Name the whole term; predictions and their intervals take a part.",
            )
    return tuple(bool(mask.any()) for mask in masks)


def kept_columns(fit: FittedModel, re_form: str | None) -> tuple[NDArray[np.bool_], ...]:
    """(k,) of each random-effects term: which of its coefficients are among those of `re_form`.

    Args:
      fit: a fitted model.
      re_form: None for all, "NA" or "~ 0" for none, or a formula with some of the terms or their coefficients.
    Raises:
      ModelError: if the formula has a coefficient that the fit does not have.
    """
    terms = fit.model.design.terms
    if re_form is None or re_form == "NA":
        return tuple(np.full(len(term.columns), re_form is None) for term in terms)
    need_one_predictor(
        fit, "predictions with some of the random effects", 'Choose re_form=None or re_form="NA".'
    )
    blocks = linked_terms(fit.formula.random)
    if not isinstance(re_form, str) or "~" not in re_form:
        raise ModelError(
            f"re_form is {re_form!r}", hint='Choose one of None, "NA", or a formula: "~ (1 | g)".'
        )
    masks = tuple(np.zeros(len(term.columns), bool) for term in terms)
    for linked in linked_terms(parse(re_form).random):
        if linked in blocks:
            masks[blocks.index(linked)][:] = True
            continue
        lacking = _keep(linked, blocks, terms, masks)
        if lacking:
            known = ", ".join(_text(block) for block in blocks)
            is_there = any(b[0].group.names == linked[0].group.names for b in blocks)
            what = f"coefficient {lacking} of {_text(linked)} that is coded so"
            raise ModelError(
                f"the fit has no {what if is_there else f'random-effects term {_text(linked)}'}",
                hint=f"It has {known}.",
            )
    return masks


def _keep(
    linked: tuple[RandomTerm, ...],
    blocks: Sequence[tuple[RandomTerm, ...]],
    terms: Sequence[TermBlock],
    masks: Sequence[NDArray[np.bool_]],
) -> str:
    """Mark the coefficients of a term that is asked for; the first that is lacking, or ""."""
    for term in linked:
        wanted = {":".join(map(label, each.variables)) for each in term.columns.terms}
        has_intercept = term.columns.intercept
        if has_intercept:
            wanted.add("Intercept")
        found: set[str] = set()
        for block, own, mask in zip(blocks, terms, masks, strict=True):
            if block[0].group.names != term.group.names:
                continue
            starts = any(part.columns.intercept for part in block)
            for place, column in enumerate(own.columns):
                bare = re.sub(r"\[[^\]]*\]", "", column) if column.endswith("]") else column
                bare = bare if bare in wanted else column
                # Without an intercept a factor has a column for each level, and others beside one.
                is_coded_alike = bare == column or has_intercept == starts
                if bare in wanted and is_coded_alike:
                    mask[place] = True
                    found.add(bare)
        if lacking := sorted(wanted - found):
            return lacking[0]
    return ""


def only_columns(rows: Design | NewRows, masks: Sequence[NDArray[np.bool_]]) -> Any:
    """Rows on which some coefficients only have an influence; the rows as they are where all do.

    Args:
      rows: fitted or new rows.
      masks: (k,) of each term: which of its coefficients have one.
    """
    if not rows.terms or all(mask.all() or not mask.any() for mask in masks):
        return rows
    terms = tuple(
        block if mask.all() or not mask.any() else replace(block, values=block.values * mask)
        for block, mask in zip(rows.terms, masks, strict=True)
    )
    return replace(rows, terms=terms)


def _text(linked: tuple[Any, ...]) -> str:
    return " + ".join(random_text(term) for term in linked)
