"""The marginal likelihood of latents that are independent of one another, each by quadrature.

Where the log joint density is a sum log f_1(u_1) + ... + log f_q(u_q) for given parameters, its gradient with
all latents moved at once holds the derivative of each term. With u_i = c_i + s_i sinh(t), g_i its derivative
along t at Chebyshev's points of an interval outside of which f_i is negligible, and G_i the integral of g_i,

    log p(y) = log p(y, u at point j) + sum_i log int exp(G_i(t) - G_i(t_j)) (du_i / dt) dt,

for any point j: so many evaluations of the density serve all latents.

References: Trefethen (2013), Approximation theory and approximation practice, chapter 19.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.polynomial import chebyshev
from scipy.special import logsumexp

from lmeformula.arrays import Floats, Tensor
from lmeformula.em.density import Density, in_parts, latent_gradient
from lmeformula.em.geometry.laplace import Approximation, Laplace, laplace_at

# Elements of the Hessian off its diagonal, relative to that, up to which they are none.
NONE = {"float64": 1e-10, "float32": 1e-4}
# Most parameters: the gradient takes differences in each.
MOST_PARAMS = 40
# Places of one call.
PLACES = 32
# The ends of the intervals: how far the log densities are to fall there, have fallen at least, and at most; and
# the steps in which the ends are looked for, in t, and again within one of them.
FALLEN, ENOUGH, TOO_FAR = 36.0, 20.0, 700.0
COARSE = np.arange(1, 65) * 0.25
FINE = np.arange(1, 17) / 16
# Points are doubled from the first to the last number until the log-likelihood moves by less than this: what is
# left then is of the order of its square.
POINTS = (32, 64, 128, 256, 512, 1024)
MOVED = 1e-6
# Steps of differences, in conditional standard errors.
STEP = 2e-3


class Grid(NamedTuple):
    """Where the terms are evaluated.

    Attributes:
      centre: (q,) and
      scale: (q,) of the latents.
      low: (q,) the ends of the intervals of t, and
      high: (q,) the others.
      num: of points.
    """

    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    num: int

    @property
    def half(self) -> Floats:
        """(q,) half the lengths of the intervals."""
        return 0.5 * (self.high - self.low)

    @property
    def t(self) -> Floats:
        """(n + 1, q) the points."""
        return self.low + self.half * (1.0 + _points(self.num)[0][:, None])


@lru_cache
def _points(num: int) -> tuple[Floats, Floats, Floats]:
    """Chebyshev's points (n + 1,) in [-1, 1], weights (n + 1,), and the matrix of integrals from the first."""
    x = np.asarray(chebyshev.chebpts2(num + 1), float)
    to_values = chebyshev.chebvander(x, num)
    to_coefficients = np.linalg.inv(to_values)
    integrals = np.stack(
        [chebyshev.chebval(x, chebyshev.chebint(row, lbnd=-1)) for row in to_coefficients.T], axis=1
    )
    return x, np.asarray(integrals[-1], float), np.asarray(integrals, float)


def is_separate(density: Density, psi: Floats, latents: Floats) -> bool:
    """Whether the latents are independent of one another, as far as the Hessian at some places tells."""
    rng = np.random.default_rng(0)
    for size in (0.0, 0.3, 1.0):
        at = psi + 0.1 * size * rng.normal(size=density.d)
        hessian = density.hessian(at, latents + size * rng.normal(size=density.q))
        root = np.sqrt(np.abs(np.diag(hessian)))
        aside = np.abs(hessian - np.diag(np.diag(hessian)))
        if not (
            np.isfinite(hessian).all()
            and (aside <= NONE[density.dtype] * np.outer(root, root)).all()
        ):
            return False
    return True


class Separate(Approximation):
    """The likelihood of a density whose latents are independent of one another."""

    is_exact = True

    def __init__(self, density: Density):
        super().__init__(density)
        self._last: tuple[Floats, Grid] | None = None

    def at(self, psi: Floats, start: Floats) -> Laplace:
        """Laplace's approximation with the value that quadrature has.

        Raises:
          FloatingPointError: if the density is not finite, or falls nowhere.
        """
        at = laplace_at(self.density, psi, start)
        return at._replace(value=self._integral(psi, self._grid(at)))

    def with_gradient(self, at: Laplace) -> Laplace:
        """The same with the gradient, by central differences on the same points."""
        grid = self._grid(at)
        gradient, lengths = np.empty(self.density.d), STEP * at.lengths
        for k, along in enumerate(np.diag(lengths)):
            ends = [self._integral(at.psi + side * along, grid) for side in (2, 1, -1, -2)]
            gradient[k] = (-ends[0] + 8.0 * ends[1] - 8.0 * ends[2] + ends[3]) / (12.0 * lengths[k])
        return at._replace(gradient=gradient)

    def information(self, at: Laplace, sizes: Floats) -> tuple[Floats, Floats]:
        """(d, d) observed information by second differences, and the error of each element."""
        grid = self._grid(at)
        narrow, wide = (self._curvature(at.psi, grid, factor * sizes) for factor in (0.05, 0.1))
        return (4.0 * narrow - wide) / 3.0, np.abs(narrow - wide) / 3.0

    def _curvature(self, psi: Floats, grid: Grid, lengths: Floats) -> Floats:
        found = np.empty((self.density.d, self.density.d))
        here = self._integral(psi, grid)
        steps = np.diag(lengths)
        for i, j in combinations_with_replacement(range(self.density.d), 2):
            if i == j:
                ends = [self._integral(psi + side * steps[i], grid) for side in (1, -1)]
                found[i, i] = (2.0 * here - sum(ends)) / lengths[i] ** 2
                continue
            corners = [
                a * b * self._integral(psi + a * steps[i] + b * steps[j], grid)
                for a in (1, -1)
                for b in (1, -1)
            ]
            found[i, j] = found[j, i] = -sum(corners) / (4.0 * lengths[i] * lengths[j])
        return found

    def _grid(self, at: Laplace) -> Grid:
        """Intervals of t that hold all of the mass, and enough points; kept for the place last asked for."""
        if self._last is not None and np.array_equal(self._last[0], at.psi):
            return self._last[1]
        centre, scale = at.latents, np.sqrt(np.diag(at.inverse))
        high = self._end(at.psi, centre, scale, 1.0)
        low = self._end(at.psi, centre, scale, -1.0)
        grid = Grid(centre, scale, low, high, POINTS[0])
        value = self._integral(at.psi, grid)
        for num in POINTS[1:]:
            grid = grid._replace(num=num)
            last, value = value, self._integral(at.psi, grid)
            if abs(value - last) < MOVED:
                self._last = (at.psi, grid)
                return grid
        raise FloatingPointError("the log density changes too abruptly to be integrated")

    def _end(self, psi: Floats, centre: Floats, scale: Floats, side: float) -> Floats:
        """(q,) the t, to one side, at which the terms have fallen far enough."""
        places = np.arange(self.density.q)
        t = np.zeros((1, self.density.q)) + COARSE[:, None]
        fallen = self._fallen(psi, centre, scale, side * t, 0.0)
        # Beyond a valley there may be another hill: what counts is the outermost place that is not far below.
        is_near = fallen < FALLEN
        if is_near[-1].any():
            raise FloatingPointError("the log density does not fall far from its mode")
        first = len(t) - is_near[::-1].argmax(axis=0)
        first = np.where(is_near.any(axis=0), first, 0)
        before = np.maximum(first - 1, 0)
        t = t[before, places] + FINE[:, None] * (t[first, places] - t[before, places])
        fallen = self._fallen(psi, centre, scale, side * t, fallen[before, places])
        first = np.where(
            (fallen >= FALLEN).any(axis=0), (fallen >= FALLEN).argmax(axis=0), len(t) - 1
        )
        first = np.maximum(np.where(fallen[first, places] > TOO_FAR, first - 1, first), 0)
        if (fallen[first, places] < ENOUGH).any():
            raise FloatingPointError("the log density ends before it is negligible")
        return np.asarray(side * t[first, places])

    def _fallen(
        self, psi: Floats, centre: Floats, scale: Floats, t: Floats, first: Floats | float
    ) -> Floats:
        """(n, q) how far the terms have fallen at t (n, q), roughly, from `first` at the first; inf beyond."""
        places = centre + scale * np.sinh(t)
        with np.errstate(over="ignore", invalid="ignore"):
            _, slopes = self._along(psi, places)
            steps = 0.5 * (slopes[1:] + slopes[:-1]) * np.diff(places, axis=0)
            start = np.zeros((1, self.density.q)) + first
            fallen = np.cumsum(np.concatenate([start, -steps]), axis=0)
        return np.where(np.isfinite(fallen), fallen, np.inf)

    def _integral(self, psi: Floats, grid: Grid) -> float:
        """The log-likelihood but for (q / 2) log(2 pi), as Laplace's is.

        Raises:
          FloatingPointError: if the density or its gradient is not finite.
        """
        _, weights, integrals = _points(grid.num)
        t = grid.t
        values, slopes = self._along(psi, grid.centre + grid.scale * np.sinh(t))
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            raise FloatingPointError("the log density is not finite where it is integrated")
        rate = grid.half * grid.scale * np.cosh(t)
        terms = integrals @ (slopes * rate)
        # Of all points the one where the least is lost to rounding.
        best = int(np.argmax(values))
        integral = logsumexp(terms - terms[best] + np.log(rate), axis=0, b=weights[:, None])
        constant = 0.5 * self.density.q * np.log(2.0 * np.pi)
        return float(values[best] + integral.sum() - constant)

    def _along(self, psi: Floats, places: Floats) -> tuple[Floats, Floats]:
        """Log densities (n,) and their gradients (n, q) at latents (n, q)."""
        values, slopes = [], []
        for part, count in in_parts(places, PLACES):
            found = self._compiled(psi, part[0], part, self.density.data)
            values.append(np.asarray(found[0], float)[:count])
            slopes.append(np.asarray(found[1], float)[:count])
        return np.concatenate(values), np.concatenate(slopes)

    @cached_property
    def _compiled(self) -> Any:
        density = self.density

        def along(psi: Tensor, _: Tensor, places: Tensor, data: Any) -> Any:
            bound = density.bind(psi, data)
            return tf.map_fn(
                lambda latents: latent_gradient(bound, latents),
                places,
                fn_output_signature=(density.dtype, density.dtype),
            )

        return density.compiled(along, tf.TensorSpec([PLACES, density.q], density.dtype))
