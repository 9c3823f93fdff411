"""The rows of a fit, or new ones, with what the model says of each."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows, row_labels
from lmeformula.design.rebuild import rebuild
from lmeformula.design.select import select_rows
from lmeformula.design.used import columns_mentioned, looks_at_other_rows
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.fit import FittedModel
from lmeformula.formula.dot import columns_of_response
from lmeformula.prediction.answers import Answer, Target, answered
from lmeformula.prediction.normal_posterior import row_precisions
from lmeformula.prediction.over_draws import OF_MEANS, at_draws, over_draws
from lmeformula.prediction.posterior import has_normal_posterior, normal_posterior_of
from lmeformula.prediction.predictor import (
    category_names,
    chances_at,
    linear_predictor,
    link_columns,
    mean_response,
    of_population,
)
from lmeformula.prediction.requested import (
    Requested,
    Wanted,
    blocks_of,
    in_pandas,
    parts,
    requested,
    some_rows,
)
from lmeformula.prediction.residuals import observed_mean
from lmeformula.rows import source_of, table_of


@kinds.takes(
    new_levels=kinds.one_of("error", "population"),
    to=kinds.optional(kinds.path),
)
def augment(
    fit: FittedModel,
    data: Any = None,
    *,
    newdata: Any = None,
    new_levels: str = "error",
    offset: object = None,
    to: Target = None,
) -> Any:
    """Lay rows out with predictions and residuals, as broom.mixed's `augment` does.

    Args:
      fit: a fitted model, with its rows where they are asked for.
      data: the table that it was fitted to, or the source of its rows, whose columns come first; a fit does not
        keep them. Without it the response and the grouping factors do.
      newdata: a table of other rows, or any source that `lf.fit` takes, whose columns come first.
      new_levels: levels of `newdata` that the fit has not seen: "error", or "population" for an effect of zero.
      offset: of `newdata`, as in `predict`.
      to: a Parquet file that the answer is written to, block by block, as in `predict`.
    Returns:
      frame: a row for each row used, indexed as `data` is, or by the positions of the rows; a row for each row
        of `newdata`. After the data stand ".fitted", the expected response with the effects of the row's
        levels; ".fixed", without; ".link", the linear predictor; ".resid", observed minus fitted, of new rows
        where they have the columns of the response; and, of fitted rows, ".hat", the share of its own variance
        that the fit takes of a row (NaN where the equations are too large or effects have heavy tails). Several
        predictors are ".link[mu]", ".link[sigma]", and ".hat" is between zero and their number: what the row
        adds to the effective number of parameters. Of draws from a posterior distribution all are posterior
        means, and ".hat" is the variance of the row's predictor over the draws times its precision. Categories
        without an order have chances for means, ".fitted[a]", ".fixed[a]", and no ".resid". Where rows have a
        frequency, all is of one of the identical observations each. With `to` the file, as `predict` has it.
    Raises:
      FormulaDataError: if `data` has another number of rows than the fit was made from, or a table has such a
        column.
      ModelError: if the fit was loaded without its rows, and these are asked for.
      OSError: if the file cannot be written.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, for the hat matrix.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", data)
      >>> augment(fit, data)[["Reaction", "Subject", ".fitted", ".resid"]].head(1).round(2)
         Reaction Subject  .fitted  .resid
      0    249.56     308   254.22   -4.66
    """
    if newdata is not None:
        if data is not None:
            raise ModelError(
                "data are the rows of the fit, and newdata are others", hint="Give one of them."
            )
        kept = (True,) * len(fit.model.design.terms)
        wanted = Wanted(kept, new_levels, offset=offset, columns=True)
        blocks = requested(fit, newdata, wanted)
        return answered(blocks, functools.partial(_of_new, fit), newdata, to)
    hat = functools.cache(lambda: _leverages_of(fit))

    def work(asked: Requested) -> Answer:
        rows = asked.rows
        assert isinstance(rows, Design)
        observed = _observed(fit, rows)
        found = _said(fit, rows)
        if ".fitted" in found:
            found[".resid"] = observed - found[".fitted"]
        found[".hat"] = hat()(rows, asked.places)
        table = asked.table
        if table is None:
            table = _response_and_groups(fit, rows, observed, asked.index)
        return _beside(table, found)

    return answered(_fitted_blocks(fit, data), work, data, to)


def _said(fit: FittedModel, rows: Design | NewRows) -> dict[str, Floats]:
    """Means and predictors (n,) of rows, by what their columns are called; of draws their posterior means."""
    if fit.draws is not None:
        names = list(_said(next(at_draws(fit, 1)), rows))
        each = over_draws(fit, lambda one: np.array(list(_said(one, rows).values())), OF_MEANS)
        return dict(zip(names, each, strict=True))
    eta = linear_predictor(fit, rows)
    alone = linear_predictor(fit, rows, with_random=of_population(rows))
    if fit.model.family.is_unordered:
        found = {**_chances(fit, ".fitted", eta), **_chances(fit, ".fixed", alone)}
    else:
        found = {".fitted": mean_response(fit, eta), ".fixed": mean_response(fit, alone)}
    names = [f".link[{name}]" for name in link_columns(fit)] or [".link"]
    return found | dict(zip(names, eta, strict=True))


def _chances(fit: FittedModel, what: str, eta: Floats) -> dict[str, Floats]:
    """Those of each category."""
    each = chances_at(fit, eta).T
    return {f"{what}[{name}]": of for name, of in zip(category_names(fit), each, strict=True)}


def _observed(fit: FittedModel, rows: Design) -> Any:
    """(n,) the responses: on the scale of their means, or the names of categories without an order."""
    family = fit.model.family
    if family.is_unordered:
        return np.array(category_names(fit), object)[family.response(rows)[0].astype(int)]
    return observed_mean(family, rows)[0]


def _of_new(fit: FittedModel, asked: Requested) -> Answer:
    found = {name: asked.spread_out(values) for name, values in _said(fit, asked.rows).items()}
    response = fit.model.design.formula.response
    names = set(map(str, getattr(asked.table, "column_names", asked.table.columns)))
    if ".fitted" in found and response is not None and names >= set(columns_of_response(response)):
        found[".resid"] = _new_responses(fit, asked) - found[".fitted"]
    return _beside(asked.table, found)


def _new_responses(fit: FittedModel, asked: Requested) -> Floats:
    """The responses of all rows of a block; nan where one is missing."""
    design = fit.model.design
    if asked.total > len(asked.index) and looks_at_other_rows(design):
        raise ModelError(
            "the responses of so many rows are worked out in parts, and the formula looks at other rows",
            hint="Augment fewer rows at a time.",
        )
    rows = _responses(design, asked.table)
    return asked._replace(places=rows.rows).spread_out(observed_mean(fit.model.family, rows)[0])


def _leverages_of(fit: FittedModel) -> Any:
    """What gives (n,) traces of W V for some rows at these places of the fit.

    W are the precisions of each row and V the covariances of its predictors.
    """
    whole = fit.model.design
    if fit.draws is not None:
        return functools.partial(_drawn_leverages, fit)
    if not has_normal_posterior(fit):
        return lambda rows, places: np.full(rows.n, np.nan)
    posterior = normal_posterior_of(fit)
    precisions = fit.model.stack.mixture.to_blocks(row_precisions(fit))

    def leverages(rows: Design, places: slice) -> Floats:
        spread = posterior.covariances(rows)
        shares = np.einsum("nab,nba->n", precisions[places], spread) / rows.frequencies
        return np.asarray(np.clip(shares, 0.0, whole.num_predictors))

    return leverages


def _drawn_leverages(fit: FittedModel, rows: Design, places: slice) -> Floats:
    """(n,) the same with the covariances of predictors over the draws, and precisions at their means."""
    precisions = fit.model.stack.mixture.to_blocks(row_precisions(fit))[places]
    mean = over_draws(fit, lambda one: linear_predictor(one, rows), OF_MEANS)

    def spread(one: FittedModel) -> Floats:
        away = linear_predictor(one, rows) - mean
        return np.asarray(np.einsum("an,bn->nab", away, away))

    found = np.einsum("nab,nba->n", precisions, over_draws(fit, spread, OF_MEANS))
    return np.asarray(found / rows.frequencies)


def _response_and_groups(
    fit: FittedModel, rows: Design, observed: Any, index: pd.Index
) -> pd.DataFrame:
    columns: dict[str, object] = {rows.response_name: observed}
    for block in rows.terms:
        levels = np.array(block.levels, object)[block.index]
        if block.shares is not None:
            # Of members the columns that they are in.
            for name, own in zip(block.factors, levels.T, strict=False):
                columns.setdefault(name, own)
        else:
            columns.setdefault(block.group, levels)
    return pd.DataFrame(columns, index=index)


def _fitted_blocks(fit: FittedModel, data: Any) -> Iterator[Requested]:
    """The fitted rows, a block at a time: each with its place among all, and with the rows of its data."""
    design = fit.model.design
    labels, place, stop = row_labels(design), 0, 0
    has_labels = not labels.equals(pd.RangeIndex(design.n))
    for number, (part, table) in enumerate(_tables(design, data)):
        if table is not None:
            start, stop = part.start, part.stop
            part = slice(place, int(np.searchsorted(design.rows, stop)))
            used = design.rows[part] - start
            table = table.iloc[used] if isinstance(table, pd.DataFrame) else table.take(used)
        rows = design if part == slice(0, design.n) else select_rows(design, part)
        place = part.stop
        if table is not None:
            _check_same(rows, table)
        yield Requested(rows, part, labels[part], number, design.n, has_labels, table)  # type: ignore[arg-type]
    if data is not None:
        _check_count(design, stop)


def _check_count(design: Design, count: int) -> None:
    expected = design.n + design.num_missing
    if count != expected:
        raise FormulaDataError(
            f"the data have {count:,} rows, and the fit was made from {expected:,}",
            hint="Give the data that it was fitted to.",
        )


def _tables(design: Design, data: Any) -> Iterator[tuple[slice, Any]]:
    """Where blocks of all rows of the data are, and these; without data, where those of the rows used are."""
    source = None if data is None else source_of(data)
    if source is not None:
        # Where their number is not known before, it shows at the end.
        _check_count(design, source.num_rows or design.n + design.num_missing)
        yield from ((part, table_of(block)) for part, block in blocks_of(source, source.columns))
        return
    table = None if data is None else in_pandas(data)
    if table is not None:
        _check_count(design, len(table))
    for part in parts(design.n if table is None else len(table)):
        yield part, None if table is None else some_rows(table, part)


def _check_same(rows: Design, table: Any) -> None:
    """Refuse data whose responses are not those of the fit, such as the same rows in another order.

    Where the data lack columns of the formula nobody can tell.
    """
    names = tuple(map(str, getattr(table, "column_names", table.columns)))
    wanted = columns_mentioned(rows.formula)
    is_known = rows.recipe is not None and not looks_at_other_rows(rows)
    if not rows.n or not is_known or rows.response is None or not wanted <= set(names):
        return
    found = _responses(rows, table)
    assert found.response is not None
    if not np.array_equal(found.response.values, rows.response.values):
        raise FormulaDataError(
            f"the data are not those of the fit: {rows.response.name} has other values, or the rows are in "
            "another order",
            hint="Give the data that it was fitted to; rows of others are newdata=....",
        )


def _responses(design: Design, table: Any) -> NewRows:
    """The responses of the complete rows of a table; offset and weights take no part in them."""
    none = np.zeros(len(table))
    return rebuild(design, table, groups=False, response=True, offset=none, weights=none + 1.0)


def _beside(table: Any, found: Mapping[str, Any]) -> Answer:
    """A table with further columns."""
    names = list(getattr(table, "column_names", table.columns))
    taken = [name for name in found if name in names]
    if taken:
        raise FormulaDataError(
            f"the data have a column {taken[0]!r} already", hint="Rename or drop it."
        )
    if isinstance(table, pd.DataFrame):
        return table.assign(**found)
    for name, values in found.items():
        table = table.append_column(name, [values])
    return table
