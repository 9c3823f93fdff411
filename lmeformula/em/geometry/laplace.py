"""Laplace's approximation of a marginal likelihood, dense, with its gradient by differences of Hessians.

With H the negative Hessian in the latents at their mode u(psi) and K its inverse,

    l(psi) ~ log p(y, u) - log det(H) / 2,    dl/dpsi_k = d log p/dpsi_k - tr(K dH/dpsi_k) / 2,

dH/dpsi_k along the mode, which moves by K J_k', J = d2 log p / dpsi du. The derivative of H is a central
difference: third derivatives by automatic differentiation are NaN in places where those of the density are
fine, such as those of a square root of zero squared.

References: Tierney and Kadane (1986), JASA 81, 82-86; Skaug and Fournier (2006), CSDA 51, 699-709.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats
from lmeformula.em.density import Density
from lmeformula.em.geometry.modes import find_mode

# Steps of the differences of Hessians, in conditional standard errors of a parameter, and the longest of them.
STEP = {"float64": 1e-3, "float32": 3e-2}
# Curvature is held up to this fraction of the largest where the posterior has none.
LEAST_CURVATURE = 1e-8
LEAST_SIZE = 1e-6
# The ascent: most iterations, the gain at which it ends, most halvings, the longest step in standard errors.
MOST_ITERATIONS = 200
SMALL_GAIN = 1e-8
MOST_HALVINGS = 25
LONGEST = 5.0


class Laplace(NamedTuple):
    """What is known at one parameter vector.

    Attributes:
      psi: (d,) where.
      latents: (q,) their mode.
      value: () the approximate log-likelihood, without (q / 2) log(2 pi).
      hessian: (q, q) negative Hessian in the latents.
      root: (q, q) W with W W' = K, the inverse Hessian.
      inverse: (q, q) K.
      mixed: (d, q) J, second derivatives in parameters and latents.
      sizes: (d,) rough information of each parameter, were the latents known.
      gradient: (d,) of `value`; nan where it was not asked for.
      bends: (d, q, q) Q, derivatives of the Hessian of log p at fixed latents; empty where not asked for.
      is_sound: whether the mode is one, with a positive definite Hessian.
    """

    psi: Floats
    latents: Floats
    value: float
    hessian: Floats
    root: Floats
    inverse: Floats
    mixed: Floats
    sizes: Floats
    gradient: Floats
    bends: Floats
    is_sound: bool

    @property
    def lengths(self) -> Floats:
        """(d,) the unit of differences: conditional standard errors, none longer than its parameter or one."""
        return np.minimum(1.0 / np.sqrt(self.sizes), np.maximum(1.0, np.abs(self.psi)))


def laplace_at(density: Density, psi: Floats, start: Floats) -> Laplace:
    """Work out the approximation at a parameter vector, its latents starting from `start`.

    Raises:
      FloatingPointError: if the density or its curvature is not finite.
    """
    mode = find_mode(density, psi, start)
    latents = mode.latents
    hessian = density.hessian(psi, latents)
    if not np.isfinite(hessian).all():
        raise FloatingPointError("the log density's curvature is not finite")
    factor, is_sound = _factor(hessian)
    root = sl.solve_triangular(factor, np.eye(density.q), lower=True).T
    mixed, curvature = density.mixed(psi, latents)
    return Laplace(
        psi=psi,
        latents=latents,
        value=mode.value - float(np.log(np.diag(factor)).sum()),
        hessian=hessian,
        root=root,
        inverse=root @ root.T,
        mixed=mixed,
        sizes=np.maximum(np.abs(np.diag(curvature)), LEAST_SIZE),
        gradient=np.full(density.d, np.nan),
        bends=np.zeros((0, density.q, density.q)),
        is_sound=is_sound and mode.is_maximum,
    )


def with_bends(density: Density, at: Laplace) -> Laplace:
    """The same with derivatives of the Hessian at fixed latents."""
    still = np.zeros(density.q)
    return at._replace(bends=np.stack([_bend(density, at, k, still) for k in range(density.d)]))


def _bend(density: Density, at: Laplace, k: int, move: Floats) -> Floats:
    """(q, q) how the Hessian of log p changes with parameter k, its latents moving by `move` (q,)."""
    length = STEP[density.dtype] * at.lengths[k]
    along = np.zeros(density.d)
    along[k] = length
    above = density.hessian(at.psi + along, at.latents + length * move)
    below = density.hessian(at.psi - along, at.latents - length * move)
    return np.asarray((below - above) / (2.0 * length))


def _factor(hessian: Floats) -> tuple[Floats, bool]:
    """Its lower Cholesky factor; of something positive definite close by where it is not."""
    try:
        return np.asarray(np.linalg.cholesky(hessian), float), True
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(hessian)
        size = np.abs(values)
        held = np.maximum(size, max(LEAST_CURVATURE * size.max(), 1e-300))
        return np.asarray(np.linalg.cholesky((vectors * held) @ vectors.T), float), False


class Approximation:
    """What is maximised: the likelihood by Laplace's approximation."""

    # Whether it is the likelihood.
    is_exact = False

    def __init__(self, density: Density):
        self.density = density

    def at(self, psi: Floats, start: Floats) -> Laplace:
        """Work it out at a parameter vector, see `laplace_at`."""
        return laplace_at(self.density, psi, start)

    def with_gradient(self, at: Laplace) -> Laplace:
        """The same with its gradient."""
        density, moves = self.density, at.inverse @ at.mixed.T
        traces = [np.sum(at.inverse * _bend(density, at, k, moves[:, k])) for k in range(density.d)]
        _, slope, _ = density.slopes(at.psi, at.latents)
        return at._replace(gradient=slope + 0.5 * np.array(traces))

    def information(self, at: Laplace, sizes: Floats) -> tuple[Floats, Floats]:
        """(d, d) observed information by central differences of the gradient, and the error of each element.

        The error is told by the asymmetry and by differences twice as wide.
        """
        narrow, wide = (np.empty((self.density.d, self.density.d)) for _ in range(2))
        for matrix, factor in ((narrow, 0.02), (wide, 0.04)):
            for k, along in enumerate(np.diag(factor * sizes)):
                ends = (self.at(at.psi + side * along, at.latents) for side in (1, -1))
                above, below = (self.with_gradient(end).gradient for end in ends)
                matrix[k] = -(above - below) / (2.0 * along[k])
        # Richardson's extrapolation takes out the step's square.
        best = (4.0 * narrow - wide) / 3.0
        error = np.abs(narrow - wide) / 3.0 + np.abs(best - best.T)
        return 0.5 * (best + best.T), error


class Ascent(NamedTuple):
    """How the maximisation of the approximation ended.

    Attributes:
      at: the last place, with its gradient.
      converged: whether the gain left is negligible.
    """

    at: Laplace
    converged: bool


def maximise(
    of: Approximation, psi: Floats, latents: Floats, longest: Floats, limits: tuple[Floats, Floats]
) -> Ascent:
    """Climb by BFGS steps within limits.

    Args:
      of: what to maximise.
      psi: (d,) where to start, within the limits.
      latents: (q,) likewise.
      longest: (d,) longest step of each parameter.
      limits: (d,) least and (d,) most of each parameter; what runs into one stays there while the gradient
        points outwards.
    Raises:
      FloatingPointError: if the density is not finite at the start.
    """
    least, most = limits
    at = of.with_gradient(of.at(psi, latents))
    metric, is_fresh = np.diag(at.sizes), True
    for _ in range(MOST_ITERATIONS):
        stopped = ((at.psi <= least) & (at.gradient < 0)) | ((at.psi >= most) & (at.gradient > 0))
        free = np.flatnonzero(~stopped)
        use = np.ix_(free, free)
        step = np.zeros(of.density.d)
        step[free] = np.linalg.solve(metric[use], at.gradient[free])
        gain = float(at.gradient @ step)
        if gain <= SMALL_GAIN:
            return Ascent(at, True)
        spread = np.full(of.density.d, np.inf)
        spread[free] = np.sqrt(np.maximum(np.diag(np.linalg.inv(metric[use])), 1e-300))
        step = step / max(1.0, float(np.max(np.abs(step) / np.minimum(longest, LONGEST * spread))))
        new = _along(of, at, step, limits)
        if new is None:
            if is_fresh:
                return Ascent(at, gain < 1e-4)
            # The metric has gone wrong: begin again with the plain one.
            metric, is_fresh = np.diag(at.sizes), True
            continue
        moved, turned = new.psi - at.psi, at.gradient - new.gradient
        along = float(moved @ turned)
        if along > 1e-10 * float(np.linalg.norm(moved) * np.linalg.norm(turned)):
            if is_fresh:
                metric = metric * np.clip(along / float(moved @ (metric @ moved)), 1e-3, 1e3)
            metric = updated(metric, moved, turned)
        at, is_fresh = new, False
    return Ascent(at, False)


def updated(metric: Floats, moved: Floats, turned: Floats) -> Floats:
    """BFGS: a metric (d, d) that knows that a move (d,) turned the gradient by so much (d,)."""
    bent = metric @ moved
    less = np.outer(bent, bent) / (moved @ bent)
    return np.asarray(metric - less + np.outer(turned, turned) / (moved @ turned))


def _along(
    of: Approximation, at: Laplace, step: Floats, limits: tuple[Floats, Floats]
) -> Laplace | None:
    """The first place along a step where the approximation has risen enough; None if there is none."""
    rounding = 100.0 * float(np.finfo(of.density.dtype).eps) * (1.0 + abs(at.value))
    length = 1.0
    for _ in range(MOST_HALVINGS):
        try:
            place = np.clip(at.psi + length * step, *limits)
            plain = of.at(place, at.latents)
            gain = float(at.gradient @ (place - at.psi))
            if plain.value >= at.value + 1e-4 * gain - rounding:
                return of.with_gradient(plain)
        except (FloatingPointError, np.linalg.LinAlgError):
            pass
        length *= 0.4
    return None
