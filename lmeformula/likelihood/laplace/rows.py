"""Row by row, the log density of the response and its derivatives in the predictor and in own parameters.

The family's own parameters are unconstrained here: what the family gives in their natural values is brought
over by the chain rule.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import ClosedForm, Depths, Family, Slopes, log_density
from lmeformula.family.limits import without_held
from lmeformula.family.own import Scale
from lmeformula.likelihood.laplace.stacked import any_rows, automatic_stacked, in_order
from lmeformula.model.compile import Model
from lmeformula.model.stack import Mixture
from lmeformula.startup import import_tensorflow


class RowDerivatives(NamedTuple):
    """The log density of rows at given responses, as functions.

    Attributes:
      slopes: (linear predictor (n,), unconstrained own parameters (f,)) -> Slopes.
      depths: the same -> Depths.
      held: weights (n,) -> such as are nowhere negative.
    With several linear predictors all are of stacked rows (v n,); see `lmeformula.model.stack`.
    """

    slopes: Callable[[Floats, Floats], Slopes]
    depths: Callable[[Floats, Floats], Depths]
    held: Callable[[Floats], Floats]


def row_derivatives(model: Model) -> RowDerivatives:
    """The derivatives of a model's rows: as its family has them written out, or automatic.

    Args:
      model: the model.
    Returns:
      Functions of the linear predictor and of the unconstrained own parameters.
    """
    family = model.family
    response = family.response(model.design)
    scale = model.space.own.scale
    mixture = model.stack.mixture
    k = mixture.num_predictors
    form = stacked_form(family, response, mixture)

    def slopes(eta: Floats, free: Floats) -> Slopes:
        # Far from the mode a density may overflow: such steps are shortened, not warned about.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            return form.slopes(eta, response, scale.to_natural(free))

    def depths(eta: Floats, free: Floats) -> Depths:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            found = form.depths(eta, response, scale.to_natural(free))
            found = found._replace(third=found.third.reshape(len(mixture.readers), k, -1))
            return in_free(found, scale, free) if len(found.own) else found

    return RowDerivatives(slopes, depths, mixture.held)


def in_free(found: Depths, scale: Scale, free: Floats) -> Depths:
    """Derivatives in the unconstrained own parameters from those in their natural values."""
    jacobian = scale.jacobian(free)
    return Depths(
        third=found.third,
        own=jacobian.T @ found.own,
        own_own=jacobian.T @ found.own_own @ jacobian + scale.bend(free, found.own),
        own_first=jacobian.T @ found.own_first,
        own_second=jacobian.T @ found.own_second,
    )


def stacked_form(family: Family, response: tuple[Floats, ...], mixture: Mixture) -> ClosedForm:
    """The derivatives of a family's rows, as stacked rows (v n,) take them.

    Args:
      family: of K predictors.
      response: its response arrays.
      mixture: how stacked rows read the predictors.
    """
    if mixture.num_predictors == 1:
        return form_of(family, response)
    return automatic_stacked(family, response, mixture)


def form_of(family: Family, response: tuple[Floats, ...]) -> ClosedForm:
    """The derivatives of a family with one predictor at these responses, written out where they are."""
    if family.closed is None or not family.serves(response):
        return automatic(family, response)
    return family.closed


def automatic(family: Family, response: tuple[Floats, ...]) -> ClosedForm:
    """Derivatives by automatic differentiation of the family's log density.

    Args:
      family: the family.
      response: the response arrays, as tensors from here on.
    Returns:
      Functions of these responses; they take no notice of those that they are given.
    """
    if family.held_of is not None:
        # The program of the whole family serves: values that are held differ from data to data.
        whole, held = family.held_of
        return without_held(automatic(whole, response), held)
    # TensorFlow is imported here, and not where models pass whose family has its derivatives written out.
    import_tensorflow()
    import tensorflow as tf

    given = tuple(tf.constant(array, tf.float64) for array in response)
    shapes = tuple(array.shape[1:] for array in response)

    def slopes(eta: Floats, _: Any, own: Floats) -> Slopes:
        shallow, _ = _programs(family, len(own), shapes)
        value, first, second = shallow(tf.constant(eta[:, None]), tf.constant(own), given)
        return Slopes(float(value), first.numpy(), second.numpy())

    def depths(eta: Floats, _: Any, own: Floats) -> Depths:
        _, deep = _programs(family, len(own), shapes)
        with in_order(family):
            third, *others = deep(tf.constant(eta[:, None]), tf.constant(own), given)
        f, n = len(own), len(eta)
        in_own, squares, mixed, mixed_deep = (np.array(part, float) for part in others)
        return Depths(
            third.numpy(),
            in_own.reshape(f),
            squares.reshape(f, f),
            mixed.reshape(f, n),
            mixed_deep.reshape(f, n),
        )

    return ClosedForm(slopes, depths)


@functools.lru_cache(maxsize=64)
def _programs(family: Family, num_own: int, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, Any]:
    """Compiled derivatives for any number of rows of these shapes: further data compile nothing."""
    import tensorflow as tf

    compiled = any_rows(family, [None, 1], num_own, shapes)

    @compiled
    def shallow(eta: Any, own: Any, given: Any) -> tuple[Any, ...]:
        # Rows are independent: the gradient of a sum over rows is the derivative of each.
        with tf.GradientTape() as outer:
            outer.watch(eta)
            with tf.GradientTape() as inner:
                inner.watch(eta)
                value = log_density(family, eta, given, tuple(tf.unstack(own)))
            first = inner.gradient(value, eta)
        return tf.reduce_sum(value), first[:, 0], outer.gradient(first, eta)[:, 0]

    @compiled
    def deep(eta: Any, own: Any, given: Any) -> tuple[Any, ...]:
        # A copy of the own parameters for each row makes their derivatives those of the rows.
        copies = [value + tf.zeros_like(eta) for value in tf.unstack(own)]
        watched = [eta, *copies]
        none = tf.UnconnectedGradients.ZERO
        with tf.GradientTape() as third:
            third.watch(watched)
            with tf.GradientTape(persistent=True) as second:
                second.watch(watched)
                with tf.GradientTape() as first:
                    first.watch(watched)
                    value = log_density(family, eta, given, tuple(copies))
                in_eta, *in_own = first.gradient(value, watched, unconnected_gradients=none)
            in_eta_eta, *mixed = second.gradient(in_eta, watched, unconnected_gradients=none)
        deepest, *mixed_deep = third.gradient(in_eta_eta, watched, unconnected_gradients=none)
        squares = [second.gradient(s, copies, unconnected_gradients=none) for s in in_own]
        return (
            deepest[:, 0],
            [tf.reduce_sum(s) for s in in_own],
            [[tf.reduce_sum(s) for s in row] for row in squares],
            [s[:, 0] for s in mixed],
            [s[:, 0] for s in mixed_deep],
        )

    return shallow, deep
