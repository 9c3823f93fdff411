"""Parameters that end at a boundary: held there, and let go where the likelihood rises inwards after all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.series import mean_covariance
from lmeformula.em.types import Edge, Look

# An edge that the score points to is tried where it is at most this near and the step leads there, or where the
# step is long and it is not far. Towards a variance of zero Newton's step is a half in its logarithm anywhere.
NEAR, STEP = 1.0, 0.1
LONG_STEP, FAR = 0.5, 4.0
# Held from the start below this.
TINY = 1e-2
# Tried again after a release once it came nearer by this factor, or after this many reviews for each try.
NEARER = 0.25
PATIENCE = 4
# How many Monte Carlo errors a slope must be away from zero to decide.
SURE = 2.0
# Digits that are lost in sums over rows.
ROUNDING = 1e-12


class Try(NamedTuple):
    """When an edge was last taken to its boundary: how near, after how many reviews, how often so far."""

    nearness: float
    review: int
    count_so_far: int


class Held(NamedTuple):
    """The edges that are held.

    Attributes:
      names: of those held.
      tried: the last try of each edge that was ever taken to its boundary, by name.
      num_reviews: how often this was reviewed.
    """

    names: tuple[str, ...] = ()
    tried: tuple[tuple[str, Try], ...] = ()
    num_reviews: int = 0


def at_start(edges: tuple[Edge, ...]) -> Held:
    """What is at its boundary before the first iteration."""
    return Held(tuple(edge.name for edge in edges if edge.nearness < TINY))


def free_basis(edges: tuple[Edge, ...], held: Held, size: int) -> Floats:
    """(d, f) orthonormal basis of the directions that may move."""
    fixed = [edge.directions for edge in edges if edge.name in held.names]
    if not fixed:
        return np.eye(size)
    blocked = np.column_stack(fixed)
    if (np.count_nonzero(blocked, axis=0) == 1).all():
        # Single parameters: the others stay themselves, one column each.
        return np.eye(size)[:, ~blocked.any(axis=1)]
    left, lengths, _ = np.linalg.svd(blocked, full_matrices=True)
    rank = int((lengths > 1e-8).sum())
    return np.asarray(left[:, rank:])


class Slopes(NamedTuple):
    """How the log-likelihood goes at the edges.

    Attributes:
      edges: the edges.
      rise: (e,) of the log-likelihood towards each, up to a positive factor.
      error: (e,) Monte Carlo errors.
    """

    edges: tuple[Edge, ...]
    rise: Floats
    error: Floats

    def of(self, names: tuple[str, ...]) -> tuple[tuple[str, float, float], ...]:
        """Name, rise and error of some edges."""
        return tuple(
            (edge.name, float(rise), float(error))
            for edge, rise, error in zip(self.edges, self.rise, self.error, strict=True)
            if edge.name in names
        )


def slopes(edges: tuple[Edge, ...], score: Floats, covariance: Floats) -> Slopes:
    """Slopes from the score (d,) and its Monte Carlo covariance (d, d)."""
    towards = np.array([edge.directions[:, 0] for edge in edges]).reshape(len(edges), len(score))
    variance = np.einsum("ed,dc,ec->e", towards, covariance, towards)
    return Slopes(edges, towards @ score, np.sqrt(np.maximum(variance, 0.0)))


def looked_at(known: Slopes, look: Look) -> Slopes:
    """The slopes with those in place that were looked at closely."""
    given = {edge.name: edge for edge in look.edges}
    edges = tuple(given.get(edge.name, edge) for edge in known.edges)
    rise, error = known.rise.copy(), known.error.copy()
    if look.names:
        means = look.series.mean(axis=(0, 2))
        errors = np.sqrt(np.maximum(np.diag(mean_covariance(look.series)), 0.0))
        for name, mean, noise in zip(look.names, means, errors, strict=True):
            place = [edge.name for edge in edges].index(name)
            # A sum over rows of what nearly cancels is rounding below this.
            rounding = ROUNDING * float(np.abs(look.series).max(initial=0.0))
            rise[place], error[place] = mean, noise + rounding
    return Slopes(edges, rise, error)


def review(
    params: Floats, step: Floats, known: Slopes, held: Held, *, is_near: bool
) -> tuple[Floats, Held]:
    """Decide what is held in the next iteration.

    Args:
      params: (d,) of this iteration.
      step: (d,) that the M-step wants, nothing being held that is not yet.
      known: how the likelihood goes at the edges at `params`.
      held: what is held.
      is_near: whether what is not held is near its maximum: only there the slope at an edge that is held says
        whether to let go.
    Returns:
      params: (d,) after the step, newly held edges at their stand-in, released ones inside.
      held: from now on.
    """
    tried = dict(held.tried)
    names, moved = list(held.names), params + step
    for edge, slope, noise in zip(known.edges, known.rise, known.error, strict=True):
        sure = abs(slope) > SURE * noise
        if edge.name in names:
            # Where the others do not come near their maximum with it, it may be what keeps them.
            last = tried.get(edge.name)
            waited = last is not None and held.num_reviews - last.review > PATIENCE
            if sure and slope < 0 and (is_near or waited):
                names.remove(edge.name)
                moved = np.where(edge.inside != params, edge.inside, moved)
            continue
        if not np.isfinite(edge.nearness):
            continue
        along = float(edge.directions[:, 0] @ step)
        # All but there the information of its logarithm is next to none: the shortest step tells.
        wants = (
            (along > LONG_STEP and edge.nearness < FAR)
            or (along >= STEP and edge.nearness < NEAR)
            or (along > 0.0 and edge.nearness < TINY)
        )
        before = tried.get(edge.name)
        again = (
            before is None
            or edge.nearness < NEARER * before.nearness
            or held.num_reviews - before.review >= PATIENCE * before.count_so_far
        )
        if sure and slope > 0 and wants and again:
            names.append(edge.name)
            so_far = 1 if before is None else 1 + before.count_so_far
            tried[edge.name] = Try(edge.nearness, held.num_reviews, so_far)
            moved = np.where(edge.outside != params, edge.outside, moved)
    return moved, Held(tuple(names), tuple(tried.items()), held.num_reviews + 1)


def is_sure(known: Slopes, held: Held) -> bool:
    """Whether the slope at every edge that is held is away from zero by more than its noise."""
    return all(abs(slope) > SURE * noise for _, slope, noise in known.of(held.names))


def is_settled(known: Slopes, held: Held, step: Floats) -> bool:
    """Whether the next iteration would hold what this one does."""
    _, after = review(np.zeros(len(step)), step, known, held, is_near=True)
    return after.names == held.names
