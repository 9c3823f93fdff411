"""A fit as the model object of the marginaleffects package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.observed import Observed, ObservedColumn
from lmeformula.design.rebuild import rebuild
from lmeformula.design.values import Categories, Logicals
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, not_of_draws, of_observations
from lmeformula.prediction.named_predictor import named_predictors, predictor_named
from lmeformula.prediction.observed_together import observed_of, observed_together
from lmeformula.prediction.predictor import category_names, chances_at, mean_response, refuse_curves


@kinds.takes(kind=kinds.one_of("response", "link"), predictor=kinds.optional(kinds.text))
@of_observations
@not_of_draws("delta-method effects")
def to_marginaleffects(
    fit: FittedModel, data: object, *, kind: str = "response", predictor: str | None = None
) -> Any:
    """Wrap a fit so that `marginaleffects.predictions`, `comparisons`, `slopes` and the rest take it.

    They are of the population: random effects are zero, and uncertainty is that of the fixed effects, of all
    linear predictors where there are several. Of categories without an order they are of the chances of all,
    told apart by the package's column `group`.

    Args:
      fit: a fitted model.
      data: the data that it was fitted to; a fit does not keep them.
      kind: "response" for the scale of the response, "link" for a linear predictor.
      predictor: which linear predictor, by name; the first by default, of categories all. For kind="link".
    Returns:
      A `marginaleffects` model.
    Raises:
      ModelError: if the package is not there or does not go with the polars that is, `kind` is not one of
        these, or the model has no such predictor.
      FormulaDataError: if the data lacks a column.
    References:
      Arel-Bundock, Greifer, Heiss (2024), J. Stat. Softw. 111(9).
    """
    if predictor is not None and kind != "link":
        raise ModelError(
            "the response is predicted by all linear predictors",
            hint=f'Write kind="link" for the predictor {predictor!r}, or leave it out.',
        )
    refuse_curves(
        fit, "predictions by the marginaleffects package", "Use fit.predict(rows, interval=...)."
    )
    predict, groups = _predictions(fit, kind, predictor)
    try:
        pl = importlib.import_module("polars")
        classes = importlib.import_module("marginaleffects.classes.model")
    except ImportError as error:
        raise ModelError(
            f"the marginaleffects package is not usable here: {error}",
            hint="Install it: pip install marginaleffects.",
        ) from None

    class FittedModel(classes.ModelAbstract):  # type: ignore[name-defined, misc]
        """Design matrices by the recipe of the fit's design; the last columns are the offsets."""

        def get_exog(self, newdata: Any) -> Floats:
            """(n, p + K)."""
            return design_rows(fit, newdata)

        def get_predict(self, params: Floats, newdata: Floats) -> Any:
            """One estimate for each row of a design matrix, or one for each group of it."""
            estimates = predict(np.asarray(params, float), newdata)
            rowid = pl.Series(list(range(len(newdata))) * estimates.shape[1], dtype=pl.Int32)
            found = {"rowid": rowid, "estimate": estimates.T.reshape(-1)}
            if groups:
                found["group"] = [group for group in groups for _ in range(len(newdata))]
            return pl.DataFrame(found)

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


def _predictions(
    fit: FittedModel, kind: str, predictor: str | None
) -> tuple[Callable[[Floats, Floats], Floats], tuple[str, ...]]:
    """(fixed effects (p,), X and offsets (n, p + K)) -> estimates (n, c), and the names of the c groups."""
    every = named_predictors(fit)
    count, p = len(every), len(fit.params.beta)

    def predictors(beta: Floats, rows: Floats) -> Floats:
        eta = [rows[:, each.columns] @ beta[each.columns] for each in every]
        return np.asarray(eta) + rows[:, p:].T

    by_category = fit.model.family.is_unordered
    if kind == "link":
        is_all = by_category and predictor is None
        chosen = list(range(count)) if is_all else [predictor_named(fit, predictor).number]
        names = tuple(every[k].name for k in chosen) if is_all else ()
        return lambda beta, rows: predictors(beta, rows)[chosen].T, names
    if by_category:
        names = category_names(fit)
        return lambda beta, rows: chances_at(fit, predictors(beta, rows)), names
    return lambda beta, rows: mean_response(fit, predictors(beta, rows))[:, None], ()


def design_rows(fit: FittedModel, newdata: Any) -> Floats:
    """X of new rows and, as the last columns, the offset of each predictor: (n, p + K)."""
    table = {}
    for observed in _observed(fit).columns:
        column = newdata[observed.name]
        values = column.to_list()
        if _is_spelled(observed):
            known = {str(level): level for level in observed.levels}
            values = [known[str(value)] for value in values]
        is_text = any(isinstance(value, str) for value in values)
        table[observed.name] = np.array(values, object) if is_text else np.array(values)
    design = fit.model.design
    first = named_predictors(fit)[0].design
    assert first.recipe is not None
    given = None if first.recipe.offset == "" else np.full(len(newdata), observed_of(first).offset)
    rows = rebuild(design, table or newdata, groups=False, offset=given)
    return np.column_stack([rows.X, *rows.offsets])


def _observed(fit: FittedModel) -> Observed:
    """The columns of all linear predictors."""
    designs = {id(each.design): each.design for each in named_predictors(fit)}
    return observed_together(list(designs.values()))


def _columns(fit: FittedModel, data: object, pl: Any) -> tuple[dict[str, Any], list[str]]:
    """The columns of the fixed part and of the response, on the rows used, as polars series."""
    frame = open_frame(data)
    design = fit.model.design
    assert design.response is not None
    found: dict[str, Any] = {}
    for observed in _observed(fit).columns:
        column = column_of(frame, observed.name)
        levels = pl.Enum([str(level) for level in observed.levels])
        if _is_spelled(observed):
            values = np.asarray(column.values, float)[design.rows]  # type: ignore[union-attr]
            series = pl.Series([str(v) for v in values.tolist()], dtype=levels)
        elif isinstance(column, Categories):
            spelled = np.array([*column.levels, None], dtype=object)[column.codes[design.rows]]
            series = pl.Series(spelled.tolist(), dtype=levels)
        elif isinstance(column, Logicals):
            series = pl.Series((column.values[design.rows] > 0).tolist())
        else:
            series = pl.Series(np.asarray(column.values)[design.rows])
        found[observed.name] = series
    response = design.response.name
    values = design.response.values
    values = values if values.ndim == 1 else values[:, 0]
    found.setdefault(response, pl.Series(values))
    names = [response, *(name for name in found if name != response)]
    return found, names


def _is_spelled(observed: ObservedColumn) -> bool:
    """Whether a number is a factor to the formula: the package would take its mean, which is no level."""
    return len(observed.levels) > 2 and not isinstance(observed.levels[0], str | bool)
