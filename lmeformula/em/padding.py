"""Where a problem's latents and arrays stand among larger ones: one program serves data of many sizes.

Random numbers are laid out by the problem's own latents, and what is added stays where it is: no draw depends
on how much that is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.types import Padding, Problem


def padding_of(problem: Problem) -> Padding:
    """The problem's padding; one that adds nothing where it has none."""
    if problem.padding is not None:
        return problem.padding
    num_latents = len(problem.latents)
    return Padding(np.arange(num_latents), num_latents, lambda data: data, lambda arrays: arrays)


def among_all(padding: Padding, positions: Floats) -> Floats:
    """Positions (..., q, c) among those of all places (..., Q, c): zero where no latent stands."""
    *front, _, chains = positions.shape
    found = np.zeros((*front, padding.num_latents, chains), positions.dtype)
    found[..., padding.latents, :] = positions
    return found


def own(padding: Padding, found: Any, axis: int = 0) -> Floats:
    """Of an array over all places, along an axis, what is of the problem's own latents; in double precision."""
    return np.asarray(np.take(np.asarray(found, float), padding.latents, axis))


def ranks(padding: Padding) -> Any:
    """(Q,) the number of each place's latent in the problem; -1 where there is none."""
    found = np.full(padding.num_latents, -1, np.int32)
    found[padding.latents] = np.arange(len(padding.latents))
    return found
