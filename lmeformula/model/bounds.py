"""Parameters on their bounds: which they are, and finite stand-ins for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.params import ParamSpace

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def off_bounds(space: ParamSpace, psi: Floats, sd: float) -> tuple[Floats, Mask]:
    """Move parameters off their bounds, where logarithms are infinite and derivatives vanish.

    Args:
      space: the parameter space.
      psi: (d,) unconstrained parameters; those on a bound may be infinite.
      sd: what stands for standard deviations of zero.
    Returns:
      psi: (d,) finite.
      inside: (d,) which parameters are inside their bounds and make a difference: not the correlations of
        what does not vary, nor those of a coefficient that others determine.
    """
    stand_in: Floats = np.array(psi)
    inside = np.isfinite(psi)
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        stand_in[place], inside[place] = term.structure.off_bounds(
            psi[place], len(term.columns), sd
        )
    return stand_in, inside
