"""Which random effects take part in linear predictors, by terms or by coefficients."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Mask
from lmeformula.design.design import Design, NewRows
from lmeformula.design.labels import label
from lmeformula.design.side_by_side import columns_of_terms
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import RandomTerm
from lmeformula.formula.links import linked_terms
from lmeformula.formula.parse import parse_one
from lmeformula.formula.show import random_text
from lmeformula.formula.smooths import effect_terms
from lmeformula.prediction.named_predictor import name_in_formulas

# None, "NA" or a formula; or one of these for each of several predictors by name.
ReForm: TypeAlias = str | Mapping[str, str | None] | None


def some_effects(name: str, value: object) -> None:
    """Which random effects: None for all, a text, or one for each predictor by name."""
    if value is not None and not isinstance(value, str | Mapping):
        raise kinds.refuse(
            name, value, 'Give None for all random effects, "NA" for none, or some: "~ (1 | g)".'
        )
    kinds.optional(kinds.texts)(name, value)


def kept_terms(fit: FittedModel, re_form: ReForm) -> tuple[bool, ...]:
    """Whether each random-effects term is among those of `re_form`.

    Args:
      fit: a fitted model.
      re_form: None for all, "NA" or "~ 0" for none, or a formula with some of them; as in `kept_columns`.
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


def kept_columns(fit: FittedModel, re_form: ReForm) -> tuple[Mask, ...]:
    """(k,) of each random-effects term: which of its coefficients are among those of `re_form`.

    Args:
      fit: a fitted model.
      re_form: None for all, "NA" or "~ 0" for none of those of groups, or a formula with some of the terms or
        their coefficients.
        With several predictors each keeps a term of which it has all coefficients; a mapping says it by
        predictor, and those that it does not name keep all. Labels (1 |ID| g) make no difference.
    Raises:
      ModelError: if the formula has a coefficient that the fit does not have, or there is no such predictor.
    """
    masks = tuple(
        np.full(len(term.columns), term.role == "population") for term in fit.model.design.terms
    )
    written = _written(fit, masks)
    if not isinstance(re_form, Mapping):
        _keep(written, re_form)
        return masks
    named = {name_in_formulas(fit, name): value for name, value in re_form.items()}
    if unknown := [name for name in named if name not in written]:
        raise ModelError(
            f"re_form has the predictor {unknown[0]!r}, and the fit has {', '.join(written)}",
            hint="Those that are not named keep all their effects.",
        )
    for name, terms in written.items():
        _keep({name: terms}, named.get(name))
    return masks


def only_columns(rows: Design | NewRows, masks: Sequence[Mask]) -> Design | NewRows:
    """Rows on which some coefficients only have an influence; the rows as they are where all do.

    Args:
      rows: fitted or new rows.
      masks: (k,) of each term: which of its coefficients have one.
    """
    if not rows.terms or all(mask.all() for mask in masks):
        return rows
    terms = tuple(
        block if mask.all() else replace(block, values=np.where(mask, block.values, 0.0))
        for block, mask in zip(rows.terms, masks, strict=True)
    )
    return replace(rows, terms=terms)


class _Written(NamedTuple):
    """A term of one predictor's formula.

    Attributes:
      linked: as written, with those of the same label in that formula.
      columns: its coefficients, as they are called in that formula.
      mask: which of them are kept: a part of the mask of the term that it is in.
    """

    linked: tuple[RandomTerm, ...]
    columns: tuple[str, ...]
    mask: Mask


def _written(fit: FittedModel, masks: Sequence[Mask]) -> dict[str, tuple[_Written, ...]]:
    """The terms of each predictor's formula."""
    design = fit.model.design
    return {
        each.name: tuple(
            _Written(linked, term.columns, masks[place][columns])
            for linked, term, (place, columns) in zip(
                effect_terms(each.design.formula), each.design.terms, of_one, strict=True
            )
        )
        for each, of_one in zip(design.predictors, columns_of_terms(design), strict=True)
    }


def _keep(written: Mapping[str, Sequence[_Written]], re_form: str | None) -> None:
    """Mark what one formula keeps, of all predictors that have it.

    Raises:
      ModelError: if it is no formula, or has a coefficient that none of them has.
    """
    every = [term for terms in written.values() for term in terms]
    if re_form is None or re_form == "NA":
        for term in every:
            term.mask[:] |= re_form is None
        return
    if "~" not in re_form:
        raise ModelError(
            f"re_form is {re_form!r}", hint='Choose one of None, "NA", or a formula: "~ (1 | g)".'
        )
    # A label says how effects vary together, not which there are.
    for linked in linked_terms(parse_one(re_form, closed=False).random):
        lacking = [_mark(linked, terms) for terms in written.values()]
        if not all(lacking):
            continue
        names = linked[0].group.key
        of_group = [
            missed
            for missed, terms in zip(lacking, written.values(), strict=True)
            if any(term.linked[0].group.key == names for term in terms)
        ]
        what = f"coefficient {of_group[0]} of" if of_group else "random-effects term"
        known = [
            (f"{name} has " if len(written) > 1 else "It has ")
            + (", ".join(_text(term.linked) for term in terms) or "none")
            for name, terms in written.items()
        ]
        raise ModelError(
            f"the fit has no {what} {_text(linked)}{' that is coded so' if of_group else ''}",
            hint=f"{'; '.join(known)}.",
        )


def _mark(linked: tuple[RandomTerm, ...], terms: Sequence[_Written]) -> str:
    """Mark the coefficients of a term that is asked for; or none of them, and the first that is lacking."""
    same = [term for term in terms if term.linked == linked]
    if same:
        same[0].mask[:] = True
        return ""
    marked: list[tuple[Mask, int]] = []
    for asked in linked:
        wanted = {":".join(map(label, each.variables)) for each in asked.columns.terms}
        has_intercept = asked.columns.intercept
        if has_intercept:
            wanted.add("Intercept")
        found: set[str] = set()
        for term in terms:
            if term.linked[0].group.key != asked.group.key:
                continue
            starts = any(part.columns.intercept for part in term.linked)
            for place, column in enumerate(term.columns):
                bare = re.sub(r"\[[^\]]*\]", "", column) if column.endswith("]") else column
                bare = bare if bare in wanted else column
                # Without an intercept a factor has a column for each level, and others beside one.
                is_coded_alike = bare == column or has_intercept == starts
                if bare in wanted and is_coded_alike:
                    marked.append((term.mask, place))
                    found.add(bare)
        if lacking := sorted(wanted - found):
            return lacking[0]
    for mask, place in marked:
        mask[place] = True
    return ""


def _text(linked: tuple[Any, ...]) -> str:
    return " + ".join(random_text(term) for term in linked)
