"""Result stage: a fit of a changed formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmeformula.design.build import design
from lmeformula.estimation.dispatch import estimate
from lmeformula.formula.update import update_formula
from lmeformula.model.compile import compile
from lmeformula.result.several import need_one_predictor

if TYPE_CHECKING:
    from lmeformula.fit import Fit

OF_THE_DESIGN = ("contrasts", "functions", "weights", "offset")


def update(fit: Fit, formula: str, data: Any, **options: Any) -> Fit:
    """Change the formula of a fit, and fit again: same family, method, likelihood and fixed sigma.

    Args:
      fit: a fitted model.
      formula: the change; "." stands for the response on the left, for all terms on the right, as in
        "~ . - x", "log(.) ~ .", "~ . - (1 | g) + (x | g)".
      data: what to fit it to; a fit does not keep its data.
      **options: of `lf.fit`. Functions and weights or offsets by the name of a column are those of the fit
        unless they are given; contrasts are not.
    Returns:
      The new fit.
    Raises:
      FormulaSyntaxError: if the result is no formula.
      FormulaDataError: if the data does not fit it.
      ModelError: if it cannot be fitted so.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", data)
      >>> str(update(fit, "~ . - (Days | Subject) + (1 | Subject)", data).formula)
      'Reaction ~ 1 + Days + (1 | Subject)'
    """
    need_one_predictor(
        fit, "changes to one formula", "Write all formulas, and fit them by lf.fit({...}, data)."
    )
    changed = update_formula(fit.formula, formula)
    made: dict[str, Any] = {}
    recipe = fit.model.design.recipe
    if recipe is not None:
        made["functions"] = recipe.functions or None
        made["weights"] = recipe.weights or None
        made["offset"] = recipe.offset or None
    made |= {name: options.pop(name) for name in OF_THE_DESIGN if name in options}
    model = compile(
        design(changed, data, **made),
        options.pop("family", fit.model.family),
        sigma=options.pop("sigma", fit.model.sigma),
        dtype=options.pop("dtype", fit.model.dtype),
    )
    chosen: dict[str, Any] = {"method": fit.method, "reml": fit.reml, **options}
    return estimate(model, **chosen)
