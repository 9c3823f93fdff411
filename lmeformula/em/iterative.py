"""Maximum likelihood of a density that is Gaussian in many latents, by products with its Hessian alone.

With A the Hessian of log p in the latents, in which no latent is, K the inverse of -A and u the mode,

    dl/dpsi_k = d log p / dpsi_k (u) + tr(K dA/dpsi_k) / 2

exactly. Solutions with K come by conjugate gradients, products with dA/dpsi_k by differences of those with A,
and the trace from random signs that stay the same for all parameters, so that the gradient is a smooth
function whose root is found like any other's. The spread over the signs is its error.

References: Hutchinson (1990), Commun. Stat. Simul. 19, 433-450; Bekas, Kokiopoulou, Saad (2007), Appl. Numer.
Math. 57, 1214-1229, for diagonals.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.em.density import Density, hessian_products, in_parts
from lmeformula.em.geometry.laplace import STEP
from lmeformula.em.geometry.scales import Scale

MOST_STEPS = 1000
# Probes of the diagonal that conditions the equations, and the least of it.
DIAGONAL_PROBES, LEAST_DIAGONAL = 40, 0.05
# Of a block of at most as many latents as this, or as there are probes, each has its own: the trace is exact.
EXACT = 24
# How exactly equations are solved: for the mode, and for traces.
MODE_TOLERANCE, TRACE_TOLERANCE = 1e-10, 1e-6
# Second derivatives that differ by less than this, relative to themselves, are the same.
ALIKE = 1e-8


class Score(NamedTuple):
    """The gradient of a log-likelihood.

    Attributes:
      value: (d,).
      covariance: (d, d) of its Monte Carlo error.
      latents: (q,) the mode there.
    """

    value: Floats
    covariance: Floats
    latents: Floats


class Probe(NamedTuple):
    """Vectors whose traces serve some parameters.

    Attributes:
      places: of the parameters.
      vectors: (m, q).
      is_exact: whether they add up to the trace, rather than scatter around it.
    """

    places: tuple[int, ...]
    vectors: Floats
    is_exact: bool


class Iterative:
    """A density's products and solutions, compiled."""

    def __init__(self, density: Density) -> None:
        self.density = density
        self._diagonal: Floats | None = None

    # ---- on the host

    def solve(self, psi: Floats, latents: Floats, vectors: Floats, tolerance: float) -> Floats:
        """(m, q) K times vectors (m, q).

        Raises:
          FloatingPointError: if the equations cannot be solved to this tolerance.
        """
        found = []
        for part, count in in_parts(vectors, self.density.width):
            solved, steps = self._solve(
                psi, latents, part, self.diagonal(psi, latents), tolerance, self.density.data
            )
            if int(steps) >= MOST_STEPS or not np.isfinite(solved).all():
                raise FloatingPointError("conjugate gradients did not end")
            found.append(np.asarray(solved)[:count])
        return np.concatenate(found)

    def diagonal(self, psi: Floats, latents: Floats) -> Floats:
        """(q,) rough diagonal of the negative Hessian: where it was first asked for."""
        if self._diagonal is None:
            rng = np.random.default_rng(1)
            signs = rng.choice([-1.0, 1.0], (DIAGONAL_PROBES, self.density.q))
            found = np.mean(signs * self.density.products(psi, latents, signs), axis=0)
            self._diagonal = np.maximum(found, LEAST_DIAGONAL * np.abs(found).mean())
        return self._diagonal

    def forget(self) -> None:
        """Work the diagonal out anew when it is next asked for."""
        self._diagonal = None

    def mode(self, psi: Floats, latents: Floats) -> Floats:
        """(q,) the mode of the latents: one Newton step, and another for what it left."""
        for _ in range(2):
            _, _, slope = self.density.slopes(psi, latents)
            latents = latents + self.solve(psi, latents, slope[None], MODE_TOLERANCE)[0]
        return latents

    def score(self, psi: Floats, latents: Floats, probes: tuple[Probe, ...]) -> Score:
        """The gradient of the log-likelihood."""
        density = self.density
        latents = self.mode(psi, latents)
        value = density.slopes(psi, latents)[1].copy()
        covariance = np.zeros((density.d, density.d))
        for probe in probes:
            solved = self.solve(psi, latents, probe.vectors, TRACE_TOLERANCE)
            traces = np.stack(
                [
                    np.einsum("mq,mq->m", probe.vectors, self.bend(psi, latents, k, solved))
                    for k in probe.places
                ]
            )
            places = list(probe.places)
            if probe.is_exact:
                value[places] += 0.5 * traces.sum(axis=1)
                continue
            value[places] += 0.5 * traces.mean(axis=1)
            covariance[np.ix_(places, places)] += 0.25 * np.cov(traces) / traces.shape[1]
        return Score(value, covariance, latents)

    def bend(self, psi: Floats, latents: Floats, k: int, vectors: Floats) -> Floats:
        """(m, q) dA/dpsi_k times vectors (m, q)."""
        along = np.zeros(self.density.d)
        along[k] = STEP[self.density.dtype] * max(1.0, abs(psi[k]))
        above = self.density.products(psi + along, latents, vectors)
        below = self.density.products(psi - along, latents, vectors)
        return np.asarray((below - above) / (2.0 * along[k]))

    def is_gaussian(self, psi: Floats, latents: Floats) -> bool:
        """Whether second derivatives in the latents do not depend on the latents."""
        rng = np.random.default_rng(2)
        vectors = rng.normal(size=(2, self.density.q))
        found = [
            self.density.products(psi, latents + move, vectors)
            for move in (
                0.0,
                rng.normal(size=self.density.q),
                3.0 * rng.normal(size=self.density.q),
            )
        ]
        size = max(float(np.abs(part).max()) for part in found)
        apart = max(float(np.abs(part - found[0]).max()) for part in found)
        return bool(np.isfinite(size)) and apart <= ALIKE * size

    def probes(
        self, psi: Floats, latents: Floats, scales: tuple[Scale, ...], count: int, seed: int
    ) -> tuple[Probe, ...]:
        """Probes for every parameter that the Hessian depends on."""
        q = self.density.q
        rng = np.random.default_rng([seed & 0x7FFFFFFF, 0x51])
        found, others = [], []
        of = {scale.place: scale for scale in scales}
        random = rng.normal(size=(1, q))
        plain = np.abs(self.density.products(psi, latents, random)).max()
        for k in range(self.density.d):
            if k not in of:
                if np.abs(self.bend(psi, latents, k, random)).max() > 1e-9 * plain:
                    others.append(k)
                continue
            block = np.flatnonzero(of[k].block)
            if len(block) <= max(EXACT, count):
                vectors = np.zeros((len(block), q))
                vectors[np.arange(len(block)), block] = 1.0
                found.append(Probe((k,), vectors, True))
                continue
            vectors = np.zeros((count, q))
            vectors[:, block] = rng.choice([-1.0, 1.0], (count, len(block)))
            found.append(Probe((k,), vectors, False))
        if others:
            signs = rng.choice([-1.0, 1.0], (count, q))
            found.append(Probe(tuple(others), signs, False))
        return tuple(found)

    # ---- compiled

    @cached_property
    def _solve(self) -> Any:
        def solve(
            psi: Tensor,
            latents: Tensor,
            vectors: Tensor,
            diagonal: Tensor,
            tolerance: Tensor,
            data: Any,
        ) -> tuple[Tensor, Tensor]:
            tiny = tf.constant(1e-300, vectors.dtype)
            stop = tolerance**2 * tf.reduce_sum(vectors**2 / diagonal, axis=1)

            def goes_on(
                step: Tensor, found: Tensor, left: Tensor, way: Tensor, size: Tensor
            ) -> Any:
                return (step < MOST_STEPS) & tf.reduce_any(size > stop)

            def go(step: Tensor, found: Tensor, left: Tensor, way: Tensor, size: Tensor) -> Any:
                bent = -hessian_products(self.density.bind(psi, data), latents, way)
                length = size / tf.maximum(tf.reduce_sum(way * bent, axis=1), tiny)
                # One that is done stays.
                length = tf.where(size > 0.0, length, tf.zeros_like(length))
                found = found + length[:, None] * way
                left = left - length[:, None] * bent
                conditioned = left / diagonal
                new = tf.reduce_sum(left * conditioned, axis=1)
                ratio = tf.where(size > 0.0, new / tf.maximum(size, tiny), tf.zeros_like(size))
                return step + 1, found, left, conditioned + ratio[:, None] * way, new

            first = vectors / diagonal
            size = tf.reduce_sum(vectors * first, axis=1)
            start = (tf.constant(0), tf.zeros_like(vectors), vectors, first, size)
            steps, found, *_ = tf.while_loop(goes_on, go, start)
            return found, steps

        row = tf.TensorSpec([self.density.q], self.density.dtype)
        number = tf.TensorSpec([], self.density.dtype)
        return self.density.compiled(solve, self.density.vectors, row, number)
