"""Second stage: the columns of some terms for new rows, by the recipe of a design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmeformula.design.build import without_reserved
from lmeformula.design.design import Design
from lmeformula.design.evaluate import Scope
from lmeformula.design.fixed import Matrix, columns_of
from lmeformula.design.frame import open_frame
from lmeformula.design.made import recipe_of
from lmeformula.design.variables import evaluate_formula, predictor_on
from lmeformula.formula.ir import TermSum


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
    text = design.formula.text
    frame = open_frame(newdata)
    scope = Scope(frame, recipe.functions, recipe.memory, True, text)
    model, _ = without_reserved(design.formula, scope)
    fixed = replace(model.fixed, sum=terms)
    values = evaluate_formula(
        replace(model, fixed=fixed), scope, with_response=False, with_groups=False
    )
    variables = {
        expression: predictor_on(
            expression, column, None, text, known=recipe.factors.get(expression)
        )
        for expression, column in values.predictors.items()
    }
    return columns_of(terms, variables, frame.num_rows, text)
