"""Second stage, last step: what must hold before a design can be fitted, though not for it to be made."""

from __future__ import annotations

import numpy as np

from lmeformula.design.design import Design
from lmeformula.design.shards import shards_of
from lmeformula.design.side_by_side import places_of
from lmeformula.errors import FormulaDataError, ModelError, placed
from lmeformula.formula.ir import Span
from lmeformula.formula.reserved import RESERVED_FUNCTIONS
from lmeformula.rows.parts import Part

# What to write instead of calls around grouping factors.
_GROUPS = {
    "gr": 'Of gr() one of dist = "student", by = a and cov = A is fitted; the plain grouping factor has normal '
    "effects.",
    "mm": "Of mm(g, h) the arguments weights = cbind(w, v) and scale are fitted: effects are normal, with one "
    "covariance, and independent between levels.",
}


def check_design(design: Design) -> None:
    """Refuse designs whose model cannot be estimated; cheap, and meant to run before any compilation.

    Args:
      design: from `lf.design`.
    Raises:
      ModelError: for syntax and structures of other packages that are parsed but not fitted.
      FormulaDataError: if there is no response or it is constant, if weights are not positive, if there
        are as many fixed effects as rows, or if a grouping factor has one level.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "g": [1, 1, 1, 1]}
      >>> check_design(design("y ~ 1 + (1 | g)", data))
      Traceback (most recent call last):
        ...
      lmeformula.errors.FormulaDataError: the grouping factor 'g' has only one level, '1'
          y ~ 1 + (1 | g)
                  ^^^^^^^
      A variance over levels needs several of them: leave the term out.
    """
    _check_supported(design)
    check_response(design)
    _check_weights(design)
    _check_fixed(design)
    for term, place in zip(design.terms, places_of(design), strict=True):
        with placed(*place):
            # Of one field positions tell a variance.
            if term.role == "population":
                continue
            of_columns = term.positions if term.between is None else term.between
            if len(term.levels) < 2 and (of_columns is None or len(of_columns) < 2):
                raise FormulaDataError(
                    f"the grouping factor '{term.group}' has only one level, {term.levels[0]!r}",
                    hint="A variance over levels needs several of them: leave the term out.",
                )


def _check_supported(design: Design) -> None:
    text = design.formula.text
    for part in design.reserved:
        name = part.split("(", 1)[0]
        raise ModelError(
            f"{part} is another package's syntax, which cannot be fitted here",
            "E_UNSUPPORTED_EXTENSION",
            text,
            _find(text, name),
            RESERVED_FUNCTIONS.get(name, _GROUPS.get(name, "Leave it out.")),
        )


def _find(text: str, name: str) -> Span | None:
    place = text.find(name + "(")
    return None if place < 0 else (place, place + len(name))


def check_response(design: Design) -> None:
    """Refuse a design without a response, or with one that does not vary."""
    response = design.response
    if response is None:
        raise FormulaDataError(
            "the formula has no response",
            "E_RESPONSE",
            design.formula.text,
            (0, 1) if design.formula.text else None,
            "Write the response before the tilde: y ~ ...",
        )
    written = design.formula.response
    span = None if written is None else written.span
    if response.kind == "matrix" or response.trials is not None:
        return
    ranges = shards_of(design).parts.ask(_range)
    low, high = min(each[0] for each in ranges), max(each[1] for each in ranges)
    if low == high:
        shown = response.levels[int(low)] if response.levels else f"{low:g}"
        raise FormulaDataError(
            f"the response '{response.name}' is constant: every one of its {design.n} values "
            f"is {shown}",
            "E_RESPONSE",
            design.formula.text,
            span,
            "There is nothing to explain. Is this the right column, and are the right rows left?",
        )


def _check_weights(design: Design) -> None:
    if design.weights is None:
        return
    num_bad = sum(shards_of(design).parts.ask(_bad_weights))
    if num_bad:
        written = design.formula.response
        expression = None if written is None else written.weights
        raise FormulaDataError(
            f"the prior weights are zero or negative in {num_bad} row{'s' * (num_bad > 1)}",
            formula=design.formula.text,
            span=None if expression is None else expression.span,
            hint="A weight says how precise a row is: leave out rows that say nothing. How many identical rows "
            "one stands for is its frequency.",
        )


def _range(part: Part) -> tuple[float, float]:
    values = part.rows.response.values
    return (float(values.min()), float(values.max())) if len(values) else (np.inf, -np.inf)


def _bad_weights(part: Part) -> int:
    return int(np.sum(part.rows.weights <= 0))


def _check_fixed(design: Design) -> None:
    asked = len(design.names) + len(design.dropped)
    if asked >= design.num_observations:
        raise FormulaDataError(
            f"the fixed part has {asked} coefficients for {design.num_observations} rows",
            hint="A model needs more rows than coefficients: use fewer variables, or make a factor of "
            "many levels a grouping factor, (1 | g).",
        )
