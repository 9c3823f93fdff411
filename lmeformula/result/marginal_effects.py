"""Result stage: a fit as the model object of the marginaleffects package."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.observed import ObservedColumn
from lmeformula.design.rebuild import rebuild
from lmeformula.design.values import Categories, Logicals
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.result.grid import observed_of
from lmeformula.result.predictor import mean_response
from lmeformula.result.several_predictors import need_one_predictor

Floats = NDArray[np.float64]


@kinds.takes(kind=kinds.one_of("response", "link"))
def marginaleffects_model(fit: FittedModel, data: object, *, kind: str = "response") -> Any:
    """Wrap a fit so that `marginaleffects.predictions`, `comparisons`, `slopes` and the rest take it.

    They are of the population: random effects are zero, and uncertainty is that of the fixed effects.

    Args:
      fit: a fitted model.
      data: the data that it was fitted to; a fit does not keep them.
      kind: "response" for the scale of the response, "link" for the linear predictor.
    Returns:
      A `marginaleffects` model.
    Raises:
      ModelError: if the package is not there or does not go with the polars that is, or `kind` is not one of
        these.
      FormulaDataError: if the data lacks a column.
    References:
      Arel-Bundock, Greifer, Heiss (2024), J. Stat. Softw. 111(9).
    """
    need_one_predictor(
        fit, "marginal effects", "Compare predictions: fit.predict(newdata) at two values."
    )
    try:
        pl = importlib.import_module("polars")
        classes = importlib.import_module("marginaleffects.classes.model")
    except ImportError as error:
        raise ModelError(
            f"the marginaleffects package is not usable here: {error}",
            hint="Install it: pip install marginaleffects.",
        ) from None

    class FittedModel(classes.ModelAbstract):  # type: ignore[name-defined, misc]
        """Design matrices by the recipe of the fit's design; the last column is the offset."""

        def get_exog(self, newdata: Any) -> Floats:
            """(n, p + 1)."""
            return design_rows(fit, newdata)

        def get_predict(self, params: Floats, newdata: Floats) -> Any:
            """One estimate for each row of a design matrix."""
            eta = newdata[:, :-1] @ np.asarray(params, float) + newdata[:, -1]
            estimate = eta if kind == "link" else mean_response(fit, eta)
            rowid = pl.Series(range(len(eta)), dtype=pl.Int32)
            return pl.DataFrame({"rowid": rowid, "estimate": estimate})

    columns, names = _columns(fit, data, pl)
    vault = classes.ModelVault(
        coef=np.array(fit.params.beta),
        coefnames=np.array(fit.model.design.names),
        # A function of newdata stands for a formula in a language that the package does not know.
        formula=lambda newdata: (None, design_rows(fit, newdata)),
        modeldata=pl.DataFrame(columns),
        package="lmeformula",
        vcov=np.array(fit.fixed_vcov),
        variable_names=names,
    )
    try:
        return FittedModel(fit, vault)
    except pl.exceptions.InvalidOperationError as error:
        # marginaleffects 0.6 compares columns in a way that polars 2 refuses.
        raise ModelError(
            f"the marginaleffects package here does not work with polars {pl.__version__}: {error}",
            hint="Install a newer marginaleffects, or an older polars: pip install 'polars<2'.",
        ) from None


def design_rows(fit: FittedModel, newdata: Any) -> Floats:
    """X of new rows and, as the last column, their offset: (n, p + 1)."""
    recipe = fit.model.design.recipe
    assert recipe is not None
    table = {}
    for observed in observed_of(fit).columns:
        column = newdata[observed.name]
        values = column.to_list()
        if _is_spelled(observed):
            known = {str(level): level for level in observed.levels}
            values = [known[str(value)] for value in values]
        is_text = any(isinstance(value, str) for value in values)
        table[observed.name] = np.array(values, object) if is_text else np.array(values)
    given = None if recipe.offset == "" else np.full(len(newdata), observed_of(fit).offset)
    rows = rebuild(fit.model.design, table or newdata, groups=False, offset=given)
    return np.column_stack([rows.X, rows.offset])


def _columns(fit: FittedModel, data: object, pl: Any) -> tuple[dict[str, Any], list[str]]:
    """The columns of the fixed part and of the response, on the rows used, as polars series."""
    frame = open_frame(data)
    design = fit.model.design
    assert design.response is not None
    found: dict[str, Any] = {}
    for observed in observed_of(fit).columns:
        column = column_of(frame, observed.name)
        if _is_spelled(observed):
            values = np.asarray(column.values, float)[design.rows]  # type: ignore[union-attr]
            levels = pl.Enum([str(level) for level in observed.levels])
            found[observed.name] = pl.Series([str(v) for v in values.tolist()], dtype=levels)
        elif isinstance(column, Categories):
            spelled = np.array([*column.levels, None], dtype=object)[column.codes[design.rows]]
            levels = pl.Enum([str(level) for level in observed.levels])
            found[observed.name] = pl.Series(spelled.tolist(), dtype=levels)
        elif isinstance(column, Logicals):
            found[observed.name] = pl.Series((column.values[design.rows] > 0).tolist())
        else:
            found[observed.name] = pl.Series(np.asarray(column.values)[design.rows])
    response = design.response.name
    values = design.response.values
    values = values if values.ndim == 1 else values[:, 0]
    found.setdefault(response, pl.Series(values))
    names = [response, *(name for name in found if name != response)]
    return found, names


def _is_spelled(observed: ObservedColumn) -> bool:
    """Whether a number is a factor to the formula: the package would take its mean, which is no level."""
    return len(observed.levels) > 2 and not isinstance(observed.levels[0], str | bool)
