"""A log joint density with nothing known of it but how to differentiate it: its compiled derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.em.cached_program import Kept

# Most latents whose Hessian is held as a matrix.
MOST_DENSE = 1500
# Vectors of one call of products with the Hessian, and of one that is too large to be held.
DIRECTIONS, FEW_DIRECTIONS = 64, 8


class Bound(NamedTuple):
    """A density at one parameter vector.

    Attributes:
      value: latents (q,) -> () log density.
      sources: what a gradient in the parameters is taken in: the vector itself, or variables set to it.
      join: gradients in the sources, None where there is none, -> (d,).
    """

    value: Callable[[Tensor], Tensor]
    sources: tuple[Any, ...]
    join: Callable[[Sequence[Tensor | None]], Tensor]


Bind = Callable[[Tensor, Any], Bound]


def slopes(bound: Bound, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The log density (), and its gradients in the parameters (d,) and in the latents (q,)."""
    with tf.GradientTape() as tape:
        tape.watch([*bound.sources, latents])
        found = bound.value(latents)
    *by_params, by_latents = tape.gradient(found, [*bound.sources, latents])
    if by_latents is None:
        by_latents = tf.zeros_like(latents)
    return found, bound.join(by_params), by_latents


def param_gradient(bound: Bound, latents: Tensor) -> Tensor:
    """(d,) gradient in the parameters."""
    with tf.GradientTape() as tape:
        tape.watch(bound.sources)
        found = bound.value(latents)
    return bound.join(tape.gradient(found, bound.sources))


def latent_gradient(bound: Bound, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The log density () and its gradient in the latents (q,)."""
    with tf.GradientTape() as tape:
        tape.watch(latents)
        found = bound.value(latents)
    return found, tape.gradient(found, latents, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def param_curvature(bound: Bound, latents: Tensor) -> Tensor:
    """(d, d) second derivatives in the parameters."""
    return _further(bound, latents, bound.sources)[0]


def _further(
    bound: Bound, latents: Tensor, sources: tuple[Any, ...]
) -> tuple[Tensor, Tensor | None]:
    """Derivatives of the gradient in the parameters: in the sources (d, d), and in the latents (d, q)."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([*sources, latents])
        slope = param_gradient(bound, latents)
    rows = tape.jacobian(slope, [*sources, latents])
    *by_params, by_latents = rows
    size = slope.shape[0]
    columns = tf.stack(
        [bound.join([None if part is None else part[k] for part in by_params]) for k in range(size)]
    )
    return columns, by_latents


def hessian_products(bound: Bound, latents: Tensor, vectors: Tensor) -> Tensor:
    """(m, q) the Hessian in the latents (q,) times vectors (m, q)."""

    def product(vector: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            tape.watch(latents)
            _, slope = latent_gradient(bound, latents)
            along = tf.reduce_sum(slope * vector)
        return tape.gradient(along, latents, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return tf.vectorized_map(product, vectors)


def in_parts(vectors: Floats, width: int) -> Iterator[tuple[Floats, int]]:
    """Vectors (m, q) in parts of so many, the last one filled up with its last, and how many of each count."""
    for start in range(0, len(vectors), width):
        part = vectors[start : start + width]
        yield np.concatenate([part, np.repeat(part[-1:], width - len(part), axis=0)]), len(part)


class Density:
    """A log joint density of d parameters and q latents with the derivatives that a geometry needs.

    Everything compiles on first use, once for all parameter vectors.
    """

    def __init__(self, bind: Bind, num_params: int, num_latents: int, data: Any, dtype: str):
        self.bind, self.d, self.q = bind, num_params, num_latents
        self.data, self.dtype = data, dtype
        self.num_hessians = 0
        self.width = min(DIRECTIONS, num_latents) if num_latents <= MOST_DENSE else FEW_DIRECTIONS

    # ---- on the host

    def slopes(self, psi: Floats, latents: Floats) -> tuple[float, Floats, Floats]:
        """The log density and its gradients in the parameters (d,) and in the latents (q,)."""
        found = self._slopes(psi, latents, self.data)
        value, by_params, by_latents = (np.asarray(part, float) for part in found)
        return float(value), by_params, by_latents

    def mixed(self, psi: Floats, latents: Floats) -> tuple[Floats, Floats]:
        """Second derivatives: in parameters and latents (d, q), and in the parameters (d, d)."""
        by_both, by_params = self._mixed(psi, latents, self.data)
        return np.asarray(by_both, float), np.asarray(by_params, float)

    def products(self, psi: Floats, latents: Floats, vectors: Floats) -> Floats:
        """(m, q) products of the negative Hessian in the latents with vectors (m, q)."""
        found = [
            -np.asarray(self._products(psi, latents, part, self.data), float)[:count]
            for part, count in in_parts(vectors, self.width)
        ]
        return np.concatenate(found)

    def hessian(self, psi: Floats, latents: Floats) -> Floats:
        """(q, q) negative Hessian in the latents."""
        self.num_hessians += 1
        found = self.products(psi, latents, np.eye(self.q))
        return 0.5 * (found + found.T)

    # ---- compiled

    def compiled(self, function: Callable[..., Any], *further: Any) -> Kept:
        """A function of (psi, latents, *further, data), compiled for the shapes of these."""
        specs = (
            tf.TensorSpec([self.d], self.dtype),
            tf.TensorSpec([self.q], self.dtype),
            *further,
            tf.nest.map_structure(
                lambda part: tf.TensorSpec(np.shape(part), part.dtype), self.data
            ),
        )
        return Kept(function, specs)

    @property
    def vectors(self) -> Any:
        """The specification of the vectors of one call."""
        return tf.TensorSpec([self.width, self.q], self.dtype)

    @cached_property
    def _slopes(self) -> Any:
        return self.compiled(lambda psi, latents, data: slopes(self.bind(psi, data), latents))

    @cached_property
    def _mixed(self) -> Any:
        def mixed(psi: Tensor, latents: Tensor, data: Any) -> tuple[Tensor, Tensor]:
            bound = self.bind(psi, data)
            by_params, by_latents = _further(bound, latents, bound.sources)
            if by_latents is None:
                by_latents = tf.zeros([self.d, self.q], self.dtype)
            return by_latents, by_params

        return self.compiled(mixed)

    @cached_property
    def _products(self) -> Any:
        def products(psi: Tensor, latents: Tensor, vectors: Tensor, data: Any) -> Tensor:
            return hessian_products(self.bind(psi, data), latents, vectors)

        return self.compiled(products, self.vectors)
