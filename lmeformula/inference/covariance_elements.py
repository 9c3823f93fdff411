"""Coordinates of the covariance parameters that are smooth in singular fits too.

Logarithms of standard deviations, and correlations at their bounds, have no derivatives where a fit is
singular, although other directions there are as well determined as ever: with the rank of a covariance kept,
it still moves. These coordinates are elements of roots of the relative covariances, T = A A'.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import Structure, cholesky_semidefinite
from lmeformula.likelihood.factors import chart_of
from lmeformula.likelihood.gaussian.likelihood import solve_exactly_quickly
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.params import Params, ParamSpace

# A root's column shorter than this, on the scale of its columns of the data, is none: the covariance is
# singular, to lme4's tolerance.
SHORTEST = 1e-4
# Where a derivative needs a covariance of full rank, what is missing is this long: its square is what the
# answer is off by, its inverse square how many digits are lost.
FLOOR = 1e-3
# Step of the differences of the score, relative to the larger of one residual sd and the term's largest.
STEP = 5e-4


class Root(NamedTuple):
    """One term's relative covariance as a function of its coordinates.

    Attributes:
      elements: (t,) coordinates at the estimates.
      root: (t,) -> (k, r).
      slopes: (t,) -> (t, k, r) its derivatives.
      moving: (t,) which coordinates are free: not a standard deviation that its bound holds at zero.
      unit: size of a coordinate that one step is a part of.
    """

    elements: Floats
    root: Callable[[Floats], Floats]
    slopes: Callable[[Floats], Floats]
    moving: Mask
    unit: float

    def changes(self, elements: Floats) -> Floats:
        """(t, k, k) derivatives of T."""
        half = self.slopes(elements) @ self.root(elements).T
        return np.asarray(half + half.transpose(0, 2, 1))


def roots(data: Sums, space: ParamSpace, params: Params) -> tuple[Root, ...]:
    """Coordinates of each term's relative covariance.

    Args:
      data: cross products of the design.
      space: the parameter space.
      params: the estimates.
    """
    return tuple(
        _root(term.structure, covariance, params.residual_sd, scale)
        for term, covariance, scale in zip(
            space.terms, params.covariances, data.column_scales(), strict=True
        )
    )


def _root(structure: Structure, covariance: Floats, sigma: float, scale: Floats) -> Root:
    k, relative = len(covariance), covariance / sigma**2
    if structure.correlations != "each" or k == 1:
        chart = chart_of(structure, scale, sigma)
        elements = chart.near(cholesky_semidefinite(relative))
        moving = ~chart.idle(elements)
        for face, places in enumerate(chart.faces):
            apart = (elements - chart.rest(face, elements))[places]
            if np.abs(apart).max() < SHORTEST:
                moving[places] = False
        return Root(elements, chart.factor, chart.jacobian, moving, _unit(elements))
    # All elements of a root with as many columns as the covariance has ranks. Rotations of its columns change
    # nothing: a generalised inverse leaves them out, where a triangular root would miss directions wherever a
    # coefficient depends on those before it.
    values, vectors = np.linalg.eigh(scale[:, None] * relative * scale)
    kept = values > SHORTEST**2
    scaled = vectors[:, kept] * np.sqrt(values[kept])
    r = int(kept.sum())
    basis = (np.eye(k * r) / np.repeat(scale, r)).reshape(k * r, k, r)
    return Root(
        scaled.ravel(),
        lambda elements: np.tensordot(elements, basis, 1),
        lambda _: basis,
        np.ones(k * r, bool),
        _unit(scaled.ravel()),
    )


def _unit(elements: Floats) -> float:
    return max(1.0, float(np.abs(elements).max(initial=0.0)))


def information(
    data: Sums, space: ParamSpace, sigma: float, terms: tuple[Root, ...], *, reml: bool
) -> Floats:
    """(m, m) observed information of all coordinates and log sigma, if that is estimated.

    Fixed effects are profiled or integrated out; T and sigma are taken as they are, so that log sigma scales
    all covariances. By central differences of the exact score, to the fourth order.
    """
    starts = np.cumsum([0, *(len(term.elements) for term in terms)])
    point = np.concatenate([*(term.elements for term in terms), [np.log(sigma)]])
    steps = STEP * np.concatenate(
        [*(np.full(len(term.elements), term.unit) for term in terms), [1.0]]
    )
    scales = data.column_scales()

    def score(at: Floats) -> Floats:
        parts = [at[a:b] for a, b in itertools.pairwise(starts)]
        return _score(data, terms, parts, scales, float(np.exp(at[-1])), reml)

    m = len(point) - 1 + space.own.size
    found = np.empty((m, m))
    for j, step in enumerate(np.diag(steps)[:m]):
        near = score(point + step) - score(point - step)
        far = score(point + 2.0 * step) - score(point - 2.0 * step)
        found[j] = -(8.0 * near - far)[:m] / (12.0 * steps[j])
    return 0.5 * (found + found.T)


def _score(
    data: Sums,
    terms: tuple[Root, ...],
    parts: list[Floats],
    scales: tuple[Floats, ...],
    sigma: float,
    reml: bool,
) -> Floats:
    relative = [
        root @ root.T for root in (term.root(part) for term, part in zip(terms, parts, strict=True))
    ]
    lambdas = tuple(_full(T, scale, data) for T, scale in zip(relative, scales, strict=True))
    found = solve_exactly_quickly(data, lambdas)
    variance, sums = sigma**2, found.factor.outer_sums()
    residuals, fixed = data.plan.split(found.w), data.plan.split(found.ZVQ)
    inverse = np.linalg.inv(found.information) if reml else np.zeros_like(found.information)
    pieces = []
    for j, (term, part) in enumerate(zip(terms, parts, strict=True)):
        # The derivative of the log-likelihood in T, times two.
        pull = residuals[j].T @ residuals[j] / variance
        pull += np.einsum("lap,pr,lbr->ab", fixed[j], inverse, fixed[j], optimize=True)
        pull -= sums[j]
        pieces.append(0.5 * np.einsum("tab,ab->t", term.changes(part), 0.5 * (pull + pull.T)))
    freedom = data.freedom(reml)
    return np.concatenate([*pieces, [found.rss / variance - freedom]])


def _full(relative: Floats, scale: Floats, data: Sums) -> Floats:
    """A triangular factor of T; of full rank where the large solver's derivatives need that."""
    factor = cholesky_semidefinite(relative)
    if data.dense is not None or (np.abs(np.diag(factor)) * scale).min() > FLOOR:
        return factor
    return cholesky_semidefinite(relative + np.diag((FLOOR / scale) ** 2))


def generalised_inverse(information: Floats, tolerance: float) -> Floats:
    """Inverse of an information matrix along the directions that have information; zero along the others.

    Args:
      information: (m, m) symmetric.
      tolerance: a direction counts as without where its information, with those of single parameters scaled
        to one, is less than this part of the largest.
    """
    if not information.size:
        return information
    diagonal = np.diag(information)
    root = np.sqrt(np.where(diagonal > 0.0, diagonal, np.inf))
    values, vectors = np.linalg.eigh(information / np.outer(root, root))
    has_some = values > tolerance * max(values.max(), 0.0)
    inverse = np.where(has_some, 1.0 / np.where(has_some, values, 1.0), 0.0)
    spread = (vectors * inverse) @ vectors.T
    return np.asarray(spread / np.outer(root, root))
