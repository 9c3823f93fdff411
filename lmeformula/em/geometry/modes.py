"""The posterior mode of the latents at given parameters, by damped Newton steps with a dense Hessian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats
from lmeformula.em.density import Density

MOST_STEPS = 100
# Half of what a Newton step would still gain, at the mode, relative to the rounding of the log density.
ROUNDINGS = 10.0
# Damping relative to the Hessian's diagonal: the first of it, and where all hope is lost.
FIRST_DAMPING, LAST_DAMPING = 1e-3, 1e9
SHORTEST = 1e-7


class Mode(NamedTuple):
    """A posterior mode.

    Attributes:
      latents: (q,) where.
      value: () log joint density there.
      is_maximum: whether the search ended, at a place where the Hessian is positive definite.
    """

    latents: Floats
    value: float
    is_maximum: bool


def find_mode(density: Density, psi: Floats, start: Floats) -> Mode:
    """Climb to a mode from `start`.

    Raises:
      FloatingPointError: if the density is not finite at the start.
    """
    value, _, slope = density.slopes(psi, start)
    if not (np.isfinite(value) and np.isfinite(slope).all()):
        raise FloatingPointError("the log density is not finite where the latents start")
    latents, damping = start, 0.0
    rounding = ROUNDINGS * float(np.finfo(density.dtype).eps)
    for _ in range(MOST_STEPS):
        hessian = density.hessian(psi, latents)
        if not np.isfinite(hessian).all():
            break
        step, damping = _damped(hessian, slope, damping)
        gain = float(slope @ step)
        if gain <= rounding * (1.0 + abs(value)):
            # One more step costs nothing, and squares what is left of the distance.
            last = density.slopes(psi, latents + step)[0]
            if np.isfinite(last) and last >= value:
                latents, value = latents + step, last
            return Mode(latents, value, damping == 0.0)
        length = 1.0
        while length > SHORTEST:
            at = latents + length * step
            new, _, new_slope = density.slopes(psi, at)
            enough = value + 1e-4 * length * gain - rounding * abs(value)
            if np.isfinite(new) and np.isfinite(new_slope).all() and new >= enough:
                break
            length *= 0.5
        else:
            if damping > 1.0:
                break
            damping = max(10.0 * damping, FIRST_DAMPING)
            continue
        latents, value, slope = at, new, new_slope
        damping = damping / 10.0 if damping > FIRST_DAMPING else 0.0
    return Mode(latents, value, False)


def _damped(hessian: Floats, slope: Floats, damping: float) -> tuple[Floats, float]:
    """Newton's step with as much damping as a positive definite Hessian takes."""
    size = np.abs(np.diag(hessian))
    size = np.maximum(size, 1e-8 * size.max(initial=1e-300))
    while True:
        try:
            factor = sl.cho_factor(hessian + damping * np.diag(size), lower=True)
        except sl.LinAlgError:
            damping = max(4.0 * damping, FIRST_DAMPING)
            if damping > LAST_DAMPING:
                raise FloatingPointError("the log density has no curvature") from None
        else:
            return np.asarray(sl.cho_solve(factor, slope)), damping
