"""The TensorFlow module that predicts: its two functions, from raw columns and from design rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.design.design import Design, NewRows
from lmeformula.design.random import builder_of
from lmeformula.design.side_by_side import columns_of_terms
from lmeformula.design.values import Categories, Column
from lmeformula.design.variables import group_columns
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.family import log_density
from lmeformula.family.own_links import link_of_own
from lmeformula.family.predicted import predicted_of
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import Expression
from lmeformula.formula.links import linked_terms
from lmeformula.formula.show import expression_text
from lmeformula.formula.smooths import smooths_of
from lmeformula.prediction.distribution import needs_response, response_arrays
from lmeformula.prediction.mean_intervals import num_categories
from lmeformula.prediction.predictor import chances_at, link_columns, mean_response
from lmeformula.serving.expressions import Inputs, Planner, Served
from lmeformula.serving.inputs import LEVEL, TRUTH, NotServed
from lmeformula.serving.tables import TermTable, term_tables

# Linear predictors (n, K) -> what is returned of them.
Scale: TypeAlias = Callable[[Tensor], dict[str, Tensor]]
OFFSET = "offset"
# Linear predictors at which TensorFlow's means and chances are compared with those of `fit.predict`.
GRID = np.linspace(-3.0, 3.0, 13)


def serving_module(fit: FittedModel) -> Any:
    """Make the module.

    Args:
      fit: a fitted model whose design has a recipe.
    Returns:
      A tf.Module with `raw` and `design_rows`, functions of fixed signatures, and `inputs`, `outputs`,
      `reason` as `Exported` has them; `raw` is None where there are no inputs.
    """
    module = tf.Module(name="lmeformula")
    scales = _scales(fit)
    module.outputs = tuple(scales(tf.zeros([1, fit.model.design.num_predictors], tf.float64)))
    module.design_rows = _of_design_rows(fit, scales)
    module.inputs, module.reason, module.raw = (), "", None
    try:
        served, planner = _predictors(fit)
    except NotServed as missing:
        module.reason = f"it would need {missing}"
        return module
    module.tables = planner.tables
    inputs = tuple(planner.inputs.values())
    types = {LEVEL: tf.string, TRUTH: tf.bool}
    specs = [tf.TensorSpec([None], types.get(one.kind, tf.float64), one.name) for one in inputs]

    def raw(*columns: Tensor) -> dict[str, Tensor]:
        given = {one.name: column for one, column in zip(inputs, columns, strict=True)}
        return dict(scales(served(given)))

    module.raw = tf.function(raw, input_signature=specs, autograph=False)
    module.inputs = inputs
    return module


def _of_design_rows(fit: FittedModel, scales: Scale) -> Any:
    design = fit.model.design
    num_predictors = design.num_predictors
    # (p, K) and, of each term, (l, k, K): what a column, or an effect, adds to each predictor.
    beta = tf.constant(_spread(fit.params.beta, design.column_predictors, num_predictors))
    modes = [
        tf.constant(_spread(effects, block.predictors, num_predictors))
        for effects, block in zip(fit.modes, design.terms, strict=True)
    ]
    names = [OFFSET, *(f"{OFFSET}_{number}" for number in range(2, num_predictors + 1))]
    specs = [
        tf.TensorSpec([None, len(design.names)], tf.float64, "X"),
        *(tf.TensorSpec([None], tf.float64, name) for name in names),
    ]
    for number, block in enumerate(design.terms, 1):
        specs.append(tf.TensorSpec([None, len(block.columns)], tf.float64, f"values_{number}"))
        specs.append(tf.TensorSpec([None], tf.int64, f"index_{number}"))

    def design_rows(X: Tensor, *arrays: Tensor) -> dict[str, Tensor]:
        offsets, terms = arrays[:num_predictors], arrays[num_predictors:]
        eta = X @ beta + tf.stack(offsets, axis=1)
        for effects, values, index in zip(modes, terms[::2], terms[1::2], strict=True):
            eta += _contribution(effects, values, index)
        return dict(scales(eta))

    return tf.function(design_rows, input_signature=specs, autograph=False)


def _spread(values: np.ndarray, predictors: tuple[int, ...], num_predictors: int) -> np.ndarray:
    """(..., k, K) coefficients (..., k) in the places of their predictors, zeros in those of others."""
    places = list(predictors) or [0] * values.shape[-1]
    return np.asarray(values[..., None] * np.eye(num_predictors)[places], float)


def _contribution(effects: Tensor, values: Tensor, index: Tensor) -> Tensor:
    """(n, K) a term's part of the predictors; zero at unseen levels."""
    known = tf.gather(effects, tf.maximum(index, tf.zeros_like(index)))
    total = tf.reduce_sum(values[..., None] * known, axis=1)
    return tf.where(index[:, None] >= 0, total, tf.zeros_like(total))


def _predictors(fit: FittedModel) -> tuple[Served, Planner]:
    """(n, K) the linear predictors as a function of raw columns."""
    design = fit.model.design
    assert design.recipe is not None
    planner = Planner(design.recipe)
    if design.reserved:
        raise NotServed(design.reserved[0])
    each = []
    parts = [part.design for part in design.predictors]
    of_columns = np.array(design.column_predictors, int)
    for number, (part, terms) in enumerate(zip(parts, columns_of_terms(design), strict=True)):
        beta = fit.params.beta[of_columns == number]
        modes = [fit.modes[place][:, columns] for place, columns in terms]
        assert part.recipe is not None
        each.append(_predictor(part, beta, modes, replace(planner, recipe=part.recipe)))
    if not planner.inputs:
        raise NotServed("a column of the data, and it reads none")

    def served(given: Inputs) -> Tensor:
        rows = tf.shape(next(iter(given.values())))[0]
        zeros = tf.zeros([rows, 1], tf.float64)
        # A constant part has one row.
        return tf.concat([sum((part(given) for part in of), zeros) for of in each], axis=1)

    return served, planner


def _predictor(
    design: Design, beta: np.ndarray, modes: Sequence[np.ndarray], planner: Planner
) -> list[Served]:
    """The parts of one linear predictor as functions of raw columns, (n, 1) or, if constant, (1, 1)."""
    formula, recipe = design.formula, planner.recipe
    for smooth in smooths_of(formula):
        raise NotServed(
            f"the basis of {expression_text(smooth.call)}, which is worked out in NumPy"
        )
    sums = [formula.fixed.sum, *(term.columns for term in formula.random)]
    variables: dict[Expression, Column] = {}
    for terms in sums:
        for variable in (v for term in terms.terms for v in term.variables):
            if variable not in variables:
                try:
                    variables[variable] = planner.prototype(variable)
                except FormulaDataError as error:
                    raise NotServed(error.problem) from error
    fixed = term_tables(formula.fixed.sum, variables)
    weights = np.zeros(max((table.place.stop for table in fixed), default=0))
    weights[list(recipe.kept)] = beta
    parts = [_sum(planner, variables, fixed, weights[:, None])]
    parts += [_column(planner.numbers(offset)) for offset in formula.fixed.offsets]
    if recipe.offset != "":
        parts.append(_column(planner.ask(recipe.offset or OFFSET, "number")))
    for linked, effects in zip(linked_terms(formula.random), modes, strict=True):
        group = linked[0].group
        if group.members:
            raise NotServed(f"{group.label}, of which rows have several levels")
        build = builder_of(linked[0])
        columns = [
            _sum(planner, variables, term_tables(term.columns, variables, build)) for term in linked
        ]
        names = group_columns(group.names, group.reserved)
        places = planner.groups(names, recipe.groupings[group.key])
        parts.append(_random(tf.constant(effects[..., None], tf.float64), columns, places))
    return parts


def _column(number: Served) -> Served:
    return lambda given: tf.reshape(number(given), [-1, 1])


def _random(effects: Tensor, columns: list[Served], places: Served) -> Served:
    def served(given: Inputs) -> Tensor:
        index = places(given)
        rows = [part(given) for part in columns]
        spread = [part + tf.zeros([tf.size(index), 1], tf.float64) for part in rows]
        return _contribution(effects, tf.concat(spread, axis=1), index)

    return served


def _sum(
    planner: Planner,
    variables: dict[Expression, Column],
    tables: tuple[TermTable, ...],
    weights: np.ndarray | None = None,
) -> Served:
    """(n, k) the columns of a sum, or (n, 1) what they add up to with weights (k, 1); one row if constant."""
    parts = [_term(planner, variables, table, weights) for table in tables]
    if not parts:
        empty = tf.zeros([1, 1], tf.float64)
        return lambda given: empty

    def served(given: Inputs) -> Tensor:
        found = [part(given) for part in parts]
        if weights is not None:
            return sum(found[1:], found[0])
        rows = tf.reduce_max([tf.shape(part)[0] for part in found])
        return tf.concat([part + tf.zeros([rows, 1], tf.float64) for part in found], axis=1)

    return served


def _term(
    planner: Planner,
    variables: dict[Expression, Column],
    table: TermTable,
    weights: np.ndarray | None,
) -> Served:
    values = table.values if weights is None else table.values @ weights[table.place]
    cells = tf.constant(values, tf.float64)
    factors = [planner.codes(v, level_names(variables[v])) for v in table.factors]
    numbers = [planner.numbers(v) for v in table.numbers]

    def served(given: Inputs) -> Tensor:
        place = tf.zeros([1], tf.int64)
        is_known = tf.ones([1], tf.bool)
        for codes, size in zip(factors, table.levels, strict=True):
            found = codes(given)
            is_known &= found >= 0
            place = place * size + tf.maximum(found, tf.zeros_like(found))
        components = tf.ones([1, 1], tf.float64)
        for number in numbers:
            column = number(given)
            column = column[:, None] if column.shape.rank == 1 else column
            product = components[:, :, None] * column[:, None, :]
            components = tf.reshape(product, [tf.shape(product)[0], -1])
        total = tf.reduce_sum(tf.gather(cells, place) * components[:, :, None], axis=1)
        nan = tf.constant(float("nan"), tf.float64)
        return tf.where(is_known[:, None], total, nan)

    return served


def level_names(column: Column) -> tuple[str, ...]:
    """The levels of a factor; of truth values False and True."""
    return column.levels if isinstance(column, Categories) else ("False", "True")


def _scales(fit: FittedModel) -> Scale:
    """What is returned of linear predictors (n, K); checked against `fit.predict`'s own formulas."""
    family = fit.model.family
    num_predictors = fit.model.design.num_predictors
    response = tuple(tf.constant(array, tf.float64) for array in _one_response(fit))
    own = tuple(tf.constant(value, tf.float64) for value in fit.params.own)

    def read(eta: Tensor) -> Tensor:
        """Predictors as the family's functions take them."""
        return family.as_taken(tf.transpose(eta))

    def chances(eta: Tensor) -> dict[str, Tensor]:
        num_categories = response[1].shape[1]
        each = []
        for number in range(num_categories):
            row = tf.one_hot([number], num_categories, dtype=tf.float64)
            given = (tf.constant([float(number)], tf.float64), row)
            each.append(tf.exp(log_density(family, read(eta)[..., None], given, own)))
        found = tf.concat(each, axis=1)
        if family.is_unordered:
            return {"probabilities": found}
        numbers = tf.range(1.0, num_categories + 1.0, dtype=tf.float64)
        return {"prediction": tf.linalg.matvec(found, numbers), "probabilities": found}

    def means(eta: Tensor) -> dict[str, Tensor]:
        return {"prediction": family.distribution(read(eta), response, own).mean()}

    def link(eta: Tensor) -> dict[str, Tensor]:
        return {"link": eta if link_columns(fit) else eta[:, 0]}

    if family.link == "identity" and family.is_normal:
        return lambda eta: {**link(eta), "prediction": tf.identity(eta[:, 0])}
    grid = np.stack([np.roll(GRID, 4 * k) for k in range(num_predictors)])
    points = tf.constant(grid.T)
    more: Scale = chances if family.categories is not None else means
    if family.is_unordered:
        ways, name, expected = [more], "probabilities", chances_at(fit, grid)
    else:
        ways, name, expected = [more, _multiple(fit)], "prediction", mean_response(fit, grid)
    for way in ways:
        try:
            found = way(points)[name]
        except (NotImplementedError, ModelError):
            # Not every distribution knows its mean.
            continue
        if np.allclose(found, expected, rtol=1e-7):
            return partial(lambda way, eta: {**link(eta), **way(eta)}, way)
    return link


def _multiple(fit: FittedModel) -> Scale:
    """The mean as a multiple of the exponential of a predictor: of counts but for zeros of their own."""
    family = fit.model.family
    parts = [predicted_of(family.base, name) for name in family.predictors[1:]]
    zeros = [(k, link_of_own(part)) for k, part in enumerate(parts, 1) if part.link == "logit"]

    def rest(eta: Tensor) -> Tensor:
        found = tf.exp(eta[:, 0])
        for k, link in zeros:
            found *= 1.0 - link.tensor(eta[:, k])
        return found

    origin = np.zeros((fit.model.design.num_predictors, 1))
    mean = mean_response(fit, origin)
    multiple = tf.constant(mean / rest(tf.constant(origin.T)).numpy())
    return lambda eta: {"prediction": multiple * rest(eta)}


def _one_response(fit: FittedModel) -> tuple[np.ndarray, ...]:
    """The response arrays of one row with one trial, for what a distribution reads of them."""
    design = fit.model.design
    rows = NewRows(
        np.zeros((1, len(design.names))),
        design.names,
        (),
        (np.zeros(1),) * design.num_predictors,
        design.column_predictors,
        rows=np.zeros(1, np.int64),
    )
    assert design.response is not None
    if fit.model.family.categories is not None:
        return np.zeros(1), np.eye(num_categories(fit))[:1]
    if needs_response(fit):
        ones = np.ones(1)
        is_matrix = design.response.kind == "matrix"
        block = replace(
            design.response,
            values=np.array([[1.0, 0.0]]) if is_matrix else ones,
            trials=None if design.response.trials is None else ones,
        )
        weights = None if design.weights is None else ones
        rows = replace(rows, response=block, weights=weights)
    return response_arrays(fit, rows)
