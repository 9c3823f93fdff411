"""A log joint density as a problem of known geometry: dense whitening at the mode, control variates, scales.

With u the mode of the latents, K = W W' the inverse of the negative Hessian there, J = d2 log p / dpsi du and
Q_k = d3 log p / du du dpsi_k, the score of parameter k is controlled at a draw v by

    s_k(v) + (J delta)_k + (v - u)' Q_k delta / 2 + tr(K Q_k) / 2,    delta = K grad log p(v).

By Stein's identity what is added has expectation zero for any J, Q and K, as long as the trace is that of the
same Q and K; for a Gaussian posterior the sum has no variance at all.

References: Mira, Solgi, Imparato (2013), Stat. Comput. 23, 653-662.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.em.density import Density, latent_gradient, param_gradient
from lmeformula.em.geometry.laplace import Approximation, Laplace, laplace_at, maximise, with_bends
from lmeformula.em.geometry.scales import (
    STAND_IN,
    Edges,
    Scale,
    find_scales,
    parameter_at,
    sd_of,
    with_unit,
)
from lmeformula.em.geometry.separate import MOST_PARAMS, Separate, is_separate
from lmeformula.em.types import Edge, Geometry, Problem, Scores

# A scale that comes this near to zero, and gains no more than this by staying away, starts at zero.
NEAR, GAIN = 0.05, 1e-6
# Longest steps: of a log sd, and of others in standard errors.
LONGEST_LOG, LONGEST = 1.0, 5.0
# Digits of differences of gradients, relative to the complete information; and the least part of what they tell
# of a parameter that a direction is to have.
ROUNDING, LEAST_FRACTION = 1e-12, 1e-6
# A direction with less than this of the information of its parameters is looked along; those take part in it
# that make up this share of it.
WEAK, SHARE = 1e-4, 0.1
# So many standard errors away the information is taken anew.
RENEWED = 1.0
# Twice what an ascent leaves to be gained, where one step leads to the maximum.
SHORT = 1e-4
# A log-likelihood that falls by no more than this far away is level.
LEVEL = 1e-5


class Start(NamedTuple):
    """Where the maximum is, by the likelihood where quadrature can have it, or by Laplace's approximation.

    Attributes:
      of: which of these.
      at: the place; scales that vanish are at their stand-in.
      converged: whether there is a maximum.
      scales: the parameters that are scales.
      held: names of the edges that the start lies on.
      fixed: (d,) which parameters those edges are of.
      observed: (d, d) observed information by it, positive definite.
      endless: (d,) whether the likelihood stays level however far the parameter goes to one side,
      loose: (d,) and whether to both.
    """

    of: Approximation
    at: Laplace
    converged: bool
    scales: tuple[Scale, ...]
    held: tuple[str, ...]
    fixed: Mask
    observed: Floats
    endless: Mask
    loose: Mask


def find_start(
    density: Density,
    names: tuple[str, ...],
    psi: Floats,
    latents: Floats,
    wanted: dict[int, Mask] | None,
) -> Start:
    """Maximise the likelihood or what stands for it, and look at the scales that came near to zero.

    Raises:
      FloatingPointError: where the density or its curvature is not finite.
    """
    scales = find_scales(density, psi, latents, wanted, names)
    longest = np.full(density.d, np.inf)
    first = laplace_at(density, psi, latents)
    least, most = np.full(density.d, -np.inf), np.full(density.d, np.inf)
    for scale in scales:
        longest[scale.place] = LONGEST_LOG / abs(scale.rate)
        # Far below what the data can tell of them the curvatures drown in one another.
        unit = with_unit(scale, np.diag(first.hessian), scale.sd).unit
        end = parameter_at(density, scale, psi, latents, STAND_IN * unit)
        if end is not None:
            (least if scale.rate > 0 else most)[scale.place] = end
    within = np.clip(psi, least, most)
    of = _likelihood(density, within, first.latents)
    ascent = maximise(of, within, first.latents, longest, (least, most))
    at = ascent.at
    scales = tuple(
        with_unit(scale, np.diag(at.hessian), sd)
        for scale in scales
        if np.isfinite(sd := sd_of(density, scale, at.psi, at.latents)[0])
    )
    held: list[Edge] = []
    for edge in Edges(density, scales, names, latents)(at.psi):
        if edge.nearness < NEAR:
            try:
                there = of.at(edge.outside, at.latents)
            except (FloatingPointError, np.linalg.LinAlgError):
                continue
            if there.value >= at.value - GAIN:
                at = there
                held.append(edge)
    at = with_bends(density, at)
    fixed = np.zeros(density.d, bool)
    for edge in held:
        fixed |= edge.directions[:, 0] != 0.0
    observed, weak = _information(of, at, fixed)
    if of.is_exact and ascent.converged and not held:
        # An ascent ends a little short of the maximum.
        left = np.linalg.solve(observed, at.gradient)
        if left @ observed @ left < SHORT:
            at = with_bends(density, of.at(at.psi + left, at.latents))
    loose, endless = np.zeros(density.d, bool), np.zeros(density.d, bool)
    for direction in (*np.diag(np.diag(observed) ** -0.5)[~fixed], *weak):
        sides = _level_sides(of, at, direction)
        size = np.abs(direction) * np.sqrt(np.diag(observed))
        involved = size > SHARE * size.max()
        loose |= involved & (sides == 2)
        endless |= involved & (sides == 1)
    return Start(
        of=of,
        at=at,
        converged=ascent.converged,
        scales=scales,
        held=tuple(edge.name for edge in held),
        fixed=fixed,
        observed=observed,
        endless=endless & ~loose,
        loose=loose,
    )


def _likelihood(density: Density, psi: Floats, latents: Floats) -> Approximation:
    """The likelihood where it can be had at the start, or Laplace's approximation."""
    if density.d <= MOST_PARAMS and is_separate(density, psi, latents):
        separate = Separate(density)
        try:
            separate.at(psi, latents)
        except FloatingPointError:
            pass
        else:
            return separate
    return Approximation(density)


def _information(of: Approximation, at: Laplace, fixed: Mask) -> tuple[Floats, Floats]:
    """The observed information, held up where there is none, and where there is little.

    Returns:
      observed: (d, d).
      weak: (w, d) steps of a standard error in directions with next to no information.
    """
    found, error = of.information(at, at.lengths)
    complete = np.abs(np.diag(found)) + np.diag(missing_information(at))
    # What differences can tell from nothing.
    noise = np.diag(error) + ROUNDING * complete
    unit = np.sqrt(np.maximum(np.maximum(np.diag(found), noise), 1e-300))
    free = np.flatnonzero(~fixed)
    use = np.ix_(free, free)
    values, vectors = np.linalg.eigh(found[use] / np.outer(unit, unit)[use])
    floor = max(
        LEAST_FRACTION, float(np.abs(error[use] / np.outer(unit, unit)[use]).max(initial=0))
    )
    held = np.maximum(values, min(floor, 0.5))
    observed = np.diag(np.maximum(complete, 1e-300))
    observed[use] = ((vectors * held) @ vectors.T) * np.outer(unit, unit)[use]
    is_weak = held < max(WEAK, 1.01 * floor)
    weak = np.zeros((int(is_weak.sum()), of.density.d))
    weak[:, free] = (vectors / unit[free, None] / np.sqrt(held))[:, is_weak].T
    return observed, weak


def _level_sides(of: Approximation, at: Laplace, stderr: Floats) -> int:
    """To how many sides the likelihood stays level two standard errors (d,) away, and beyond."""
    sides = 0
    for sign in (-1.0, 1.0):
        try:
            far = [of.at(at.psi + sign * move * stderr, at.latents).value for move in (2.0, 4.0)]
        except (FloatingPointError, np.linalg.LinAlgError):
            continue
        sides += all(np.isfinite(value) and value >= at.value - LEVEL for value in far)
    return sides


def missing_information(at: Laplace) -> Floats:
    """(d, d) posterior covariance of the scores, were the posterior normal."""
    linear = at.mixed @ at.inverse @ at.mixed.T
    turned = np.einsum("kij,jl->kil", at.bends, at.inverse)
    return np.asarray(linear + 0.5 * np.einsum("kij,lji->kl", turned, turned))


def dense_problem(base: Problem, density: Density, start: Start) -> Problem:
    """The problem in coordinates in which its posterior is close to N(0, I)."""
    d, q = density.d, density.q
    last = [start.at.latents]
    observed, known_at = start.observed, start.at.psi
    complete = observed + missing_information(start.at)

    def geometry(psi: Floats) -> Geometry:
        nonlocal observed, complete, known_at
        try:
            at = with_bends(density, laplace_at(density, psi, last[0]))
            moved = np.abs(psi - known_at) * np.sqrt(np.diag(observed))
            if (moved[~start.fixed] > RENEWED).any():
                # The approximation's maximum may be far from the likelihood's, and another information there.
                observed, _ = _information(start.of, at, start.fixed)
                complete, known_at = observed + missing_information(at), psi
        except FloatingPointError as lost:
            raise np.linalg.LinAlgError(str(lost)) from lost
        last[0] = at.latents
        traces = 0.5 * np.einsum("kij,ij->k", at.bends, at.inverse)
        arrays = (at.latents, at.root, at.mixed, traces, 0.5 * at.bends)
        return Geometry(arrays, complete, observed)

    def value(psi: Tensor, z: Tensor, arrays: Any, data: Any) -> tuple[Tensor, Tensor]:
        mode, root, *_ = arrays
        bound = density.bind(psi, data)
        places = tf.unstack(mode[:, None] + root @ z, axis=1)
        values, gradients = zip(*(latent_gradient(bound, u) for u in places), strict=True)
        return tf.stack(values), tf.matmul(root, tf.stack(gradients, axis=1), transpose_a=True)

    def score(psi: Tensor, z: Tensor, gradient: Tensor, arrays: Any, data: Any) -> Scores:
        mode, root, mixed, traces, bends = arrays
        bound = density.bind(psi, data)
        aside, newton = root @ z, root @ gradient
        raw = tf.stack([param_gradient(bound, mode + u) for u in tf.unstack(aside, axis=1)], axis=1)
        curved = tf.einsum("kij,jc->kic", bends, newton)
        quadratic = tf.einsum("ic,kic->kc", aside, curved) + traces[:, None]
        return Scores(raw, raw + mixed @ newton + quadratic)

    edges = Edges(density, start.scales, base.names, last[0]) if start.scales else None
    longest = LONGEST / np.sqrt(np.diag(start.observed))
    for scale in start.scales:
        _, rate = sd_of(density, scale, start.at.psi, start.at.latents)
        longest[scale.place] = LONGEST_LOG / abs(rate)
    return base._replace(
        params=start.at.psi,
        latents=start.at.latents,
        density=value,
        score=score,
        to_latents=lambda z, arrays, data: arrays[0][:, None] + arrays[1] @ z,
        to_position=lambda latents, arrays: np.zeros(q),
        geometry=geometry,
        information=None,
        max_step=longest,
        refine=d > 0 and not start.of.is_exact,
        edges=edges,
        solver=None,
        program=("dense", base.program) if base.program is not None else None,
    )
