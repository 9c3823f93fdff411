"""The derivatives of rows by automatic differentiation, as stacked rows take them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import ClosedForm, Depths, Family, Slopes, log_density
from lmeformula.model.stack import Mixture, mixture
from lmeformula.startup import import_tensorflow


def automatic(
    family: Family, response: tuple[Floats, ...], stacking: Mixture | None = None
) -> ClosedForm:
    """Derivatives by automatic differentiation of the family's log density.

    Args:
      family: the family.
      response: the response arrays, as tensors from here on.
      stacking: how stacked rows read the predictors; there is one by default.
    Returns:
      Functions of stacked predictors (v n,), of which those of pairs are not read; they take no notice of the
      responses that they are given. First derivatives of pairs are zero; the second ones (v n,) make up those
      of all pairs of predictors; `third` is (v, K, n), their derivatives in each predictor, of one (n,).
    """
    # TensorFlow is imported here, and not where models pass whose family has its derivatives written out.
    import_tensorflow()
    import tensorflow as tf

    mixed = mixture(np.ones(1), len(response[0])) if stacking is None else stacking
    given = tuple(tf.constant(array, tf.float64) for array in response)
    shapes = tuple(array.shape[1:] for array in response)
    k, n, size = mixed.num_predictors, mixed.num_rows, len(mixed.readers)

    def run(number: int, eta: Floats, own: Floats) -> Any:
        program = _programs(family, k, len(own), shapes)[number]
        return program(tf.constant(eta[: k * n].reshape(k, n, 1)), tf.constant(own), given)

    def slopes(eta: Floats, _: Any, own: Floats) -> Slopes:
        value, first, second = run(0, eta, own)
        firsts = np.zeros(size * n)
        firsts[: k * n] = first.numpy().reshape(-1)
        return Slopes(value.numpy(), firsts, (mixed.weights @ second.numpy()).reshape(-1))

    def depths(eta: Floats, _: Any, own: Floats) -> Depths:
        third, *others = run(1, eta, own)
        f = len(own)
        in_own, squares, first, second = (np.array(part, float) for part in others)
        firsts = np.zeros((f, size * n))
        firsts[:, : k * n] = first.reshape(f, k * n)
        # The elements of W are mixed as their second derivatives are.
        thirds = np.einsum("vw,wkn->vkn", mixed.weights, third.numpy())
        seconds = np.einsum("vw,fwn->fvn", mixed.weights, second.reshape(f, size, n))
        return Depths(
            thirds[0, 0] if k == 1 else thirds,
            in_own.reshape(f, n),
            squares.reshape(f, f),
            firsts,
            seconds.reshape(f, size * n),
        )

    return ClosedForm(slopes, depths)


def _any_rows(
    family: Family, eta: list[int | None], num_own: int, shapes: tuple[tuple[int, ...], ...]
) -> Callable[[Any], Any]:
    """What compiles derivatives of (predictors, own parameters, responses) once, for any number of rows.

    A user's density may ask for the number of rows: it is compiled for the first one, and with the second once
    more, for any.

    Args:
      family: whose derivatives.
      eta: shape of the predictors, None for the rows.
      num_own: own parameters.
      shapes: of each response's row.
    """
    import tensorflow as tf

    if family.scale is not None:
        return cast(Callable[[Any], Any], tf.function(autograph=False, reduce_retracing=True))
    arrays = tuple(tf.TensorSpec([None, *shape], tf.float64) for shape in shapes)
    signature = (tf.TensorSpec(eta, tf.float64), tf.TensorSpec([num_own], tf.float64), arrays)
    return lambda derivatives: Straight(
        tf.function(derivatives, autograph=False, input_signature=signature)
    )


class Straight:
    """A program of a signature, run without the comparison of each argument with it.

    That comparison takes longer than the derivatives of some hundred rows, and these are asked for hundreds of
    times in a fit. (Measured: TensorFlow's public operation that runs a function is as quick for few
    operations, and takes two to five times as long for the thousands of third derivatives.)

    The program's operations run one after the other, so that sums of gradients have the same bits: those of
    three and more terms are added up in whatever order these are there, and which is first would be a race of
    threads. Not so those of a user's family, which may hold loops, as one thread cannot run them so.
    """

    def __init__(self, program: Any) -> None:
        self.experimental_get_tracing_count = program.experimental_get_tracing_count
        self._traced = functools.cache(program.get_concrete_function)

    def __call__(self, eta: Any, own: Any, given: tuple[Any, ...]) -> Any:
        """As the program does, of tensors."""
        from tensorflow.python.eager import context

        traced = self._traced()
        with context.function_executor_type("SINGLE_THREADED_EXECUTOR"):
            return traced._call_flat([eta, own, *given], traced.captured_inputs)


@functools.lru_cache(maxsize=64)
def _programs(
    family: Family, k: int, num_own: int, shapes: tuple[tuple[int, ...], ...]
) -> tuple[Any, Any]:
    """Compiled derivatives for any number of rows of these shapes: further data compile nothing."""
    import tensorflow as tf

    none = tf.UnconnectedGradients.ZERO
    pairs = [(a, a) for a in range(k)] + [(a, b) for a in range(k) for b in range(a + 1, k)]

    def joined(etas: list[Any]) -> Any:
        return etas[0] if k == 1 else tf.stack(etas)

    compiled = _any_rows(family, [k, None, 1], num_own, shapes)

    @compiled
    def shallow(eta: Any, own: Any, given: Any) -> tuple[Any, ...]:
        etas = [eta[a] for a in range(k)]
        # Rows are independent: the gradient of a sum over rows is the derivative of each.
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(etas)
            with tf.GradientTape() as inner:
                inner.watch(etas)
                value = log_density(family, joined(etas), given, tuple(tf.unstack(own)))
            firsts = inner.gradient(value, etas, unconnected_gradients=none)
        rows = [outer.gradient(first, etas, unconnected_gradients=none) for first in firsts]
        seconds = [rows[a][b][:, 0] for a, b in pairs]
        return value[:, 0], tf.stack(firsts)[:, :, 0], tf.stack(seconds)

    @compiled
    def deep(eta: Any, own: Any, given: Any) -> tuple[Any, ...]:
        etas = [eta[a] for a in range(k)]
        # A copy of the own parameters for each row makes their derivatives those of the rows.
        copies = [value + tf.zeros_like(etas[0]) for value in tf.unstack(own)]
        watched = [*etas, *copies]
        with tf.GradientTape(persistent=True) as third:
            third.watch(watched)
            with tf.GradientTape(persistent=True) as second:
                second.watch(watched)
                with tf.GradientTape() as first:
                    first.watch(watched)
                    value = log_density(family, joined(etas), given, tuple(copies))
                slopes = first.gradient(value, watched, unconnected_gradients=none)
            firsts, in_own = slopes[:k], slopes[k:]
            rows = [second.gradient(one, watched, unconnected_gradients=none) for one in firsts]
            seconds = [rows[a][b] for a, b in pairs]
        thirds = [third.gradient(one, watched, unconnected_gradients=none) for one in seconds]
        squares = [second.gradient(s, copies, unconnected_gradients=none) for s in in_own]
        return (
            tf.stack([tf.stack([each[:, 0] for each in row[:k]]) for row in thirds]),
            [s[:, 0] for s in in_own],
            [[tf.reduce_sum(s) for s in row] for row in squares],
            [[rows[a][k + s][:, 0] for a in range(k)] for s in range(len(copies))],
            [[row[k + s][:, 0] for row in thirds] for s in range(len(copies))],
        )

    return shallow, deep
