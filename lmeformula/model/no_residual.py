"""Gaussian models without a residual: one term has an effect for each row, and the responses' covariance.

glmmTMB writes that `dispformula = ~ 0`; here it is `{"mu": ..., "sigma": "~ 0"}`, or `sigma=0`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.design.side_by_side import places_of
from lmeformula.errors import FormulaDataError, ModelError, placed

# What stands for a residual sd of zero, in units of the least sd that effects have in any direction; before a
# fit, of the responses' sd.
STAND_IN = 3e-4


def without_residual(design: Design, sigma: float | None) -> tuple[Design, float | None]:
    """Read a formula `~ 0` of the residual sd, which has nothing to be its logarithm, as there being none.

    Args:
      design: of a Gaussian model.
      sigma: that is given besides.
    Returns:
      design: without the formula.
      sigma: zero where it had one.
    Raises:
      ModelError: if another sd is given as well.
    """
    further = design.predictors[1:]
    nothing = [each.name for each in further if _is_empty(each.design)]
    if not nothing or len(nothing) < len(further):
        return design, sigma
    if sigma:
        raise ModelError(
            f"the formula of {nothing[0]!r} says that there is no residual, and sigma is {sigma:g}",
            hint="Leave one of them out.",
        )
    return replace(design.first, given=design.given), 0.0


def _is_empty(design: Design) -> bool:
    has_offset = bool(design.formula.fixed.offsets) or bool(design.offset.any())
    return not (design.names or design.dropped or design.terms or has_offset)


def own_term(design: Design) -> int:
    """The place of the term that accounts for each row by itself.

    Its columns are zeros and a single one in each row, and no two rows have the same one in the same level: the
    covariance of the responses has full rank wherever the term's has.

    Raises:
      FormulaDataError: if there is none.
      ModelError: if rows have weights or frequencies.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "t": ["a", "b"] * 2, "g": [1, 1, 2, 2]}
      >>> own_term(design("y ~ 1 + us(0 + t | g)", data))
      0
    """
    for what, given in (("weights", design.weights), ("a frequency", design.frequency)):
        if given is not None:
            raise ModelError(
                f"rows have {what}, and there is no residual that these could belong to",
                hint="Leave them out, or let the residual be estimated.",
            )
    said = []
    for number, (term, place) in enumerate(zip(design.terms, places_of(design), strict=True)):
        problem = _why_not(design, term)
        if not problem:
            return number
        said.append((problem, place))
    problem, place = said[-1]
    with placed(*place):
        raise FormulaDataError(
            f"there is no residual, and no term with an effect for each row: {problem}",
            hint="Write us(0 + visit | subject), with one row for each visit of a subject; or ar1, toep, cs. "
            'Without "sigma": "~ 0" a residual is estimated.',
        )


def _why_not(design: Design, term: TermBlock) -> str:
    """Why a term does not account for each row by itself; "" where it does."""
    if term.meets:
        return f"the levels of {term.group} {term.why_meets}"
    if structure_of(term).rank(len(term.columns)) < len(term.columns):
        return f"the covariance of {term.covariance}() has no full rank"
    values = term.values
    if not (np.isin(values, (0.0, 1.0)).all() and (values.sum(axis=1) == 1.0).all()):
        columns = ", ".join(term.columns[:4]) + (", ..." if len(term.columns) > 4 else "")
        return f"the columns before the bar, {columns}, are not the levels of one factor"
    column = values.argmax(axis=1)
    cells = term.index.astype(np.int64) * values.shape[1] + column
    _, first, counts = np.unique(cells, return_index=True, return_counts=True)
    if (counts == 1).all():
        return ""
    row = first[counts > 1][0]
    level, name = term.levels[term.index[row]], term.columns[column[row]]
    at = "" if term.columns == ("Intercept",) else f" at {name}"
    return f"{counts[counts > 1][0]} rows are of {term.group} {level}{at}"
