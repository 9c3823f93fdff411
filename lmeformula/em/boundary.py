"""Parameters that end at a boundary: held there, and let go where the likelihood rises inwards after all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.em.types import Edge

Floats = NDArray[np.float64]

# An edge that the score points to is tried where it is at most this near,
NEAR = 1.0
# or where the step towards it would be at least this long.
LONG_STEP = 0.5
# Held from the start below this, and tried again after a release only where it came nearer by this factor.
TINY = 1e-2
NEARER = 0.25
# How many Monte Carlo errors a slope must be away from zero to decide.
SURE = 2.0


class Held(NamedTuple):
    """The edges that are held.

    Attributes:
      names: of those held.
      tried: how near each edge was when it was last taken to its boundary, by name.
    """

    names: tuple[str, ...] = ()
    tried: tuple[tuple[str, float], ...] = ()


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


def slopes(edges: tuple[Edge, ...], score: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Rise of the log-likelihood towards each edge, and its Monte Carlo errors."""
    towards = np.array([edge.directions[:, 0] for edge in edges]).reshape(len(edges), len(score))
    return towards @ score, np.sqrt(np.einsum("ed,dc,ec->e", towards, covariance, towards))


def review(
    params: Floats,
    step: Floats,
    edges: tuple[Edge, ...],
    held: Held,
    score: Floats,
    covariance: Floats,
) -> tuple[Floats, Held]:
    """Decide what is held in the next iteration.

    Args:
      params: (d,) of this iteration.
      step: (d,) that the M-step wants, nothing being held that is not yet.
      edges: at `params`.
      held: what is held.
      score: (d,) estimated gradient of the log-likelihood.
      covariance: (d, d) its Monte Carlo covariance.
    Returns:
      params: (d,) after the step, newly held edges at their stand-in, released ones inside.
      held: from now on.
    """
    rise, error = slopes(edges, score, covariance)
    tried = dict(held.tried)
    names, moved = list(held.names), params + step
    for edge, slope, noise in zip(edges, rise, error, strict=True):
        sure = abs(slope) > SURE * noise
        if edge.name in names:
            if sure and slope < 0:
                names.remove(edge.name)
                moved = np.where(edge.inside != params, edge.inside, moved)
            continue
        if not np.isfinite(edge.nearness):
            continue
        wants = edge.nearness < NEAR or float(edge.directions[:, 0] @ step) > LONG_STEP
        before = tried.get(edge.name)
        again = before is None or edge.nearness < NEARER * before
        if sure and slope > 0 and wants and again:
            names.append(edge.name)
            tried[edge.name] = edge.nearness
            moved = np.where(edge.outside != params, edge.outside, moved)
    return moved, Held(tuple(names), tuple(tried.items()))


def is_settled(
    edges: tuple[Edge, ...], held: Held, step: Floats, score: Floats, covariance: Floats
) -> bool:
    """Whether the next iteration would hold what this one does."""
    size = len(score)
    return review(np.zeros(size), step, edges, held, score, covariance)[1].names == held.names
