"""Parameters on their bounds: which they are, and finite stand-ins for them."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.model.params import ParamSpace

# A standard deviation at its boundary, relative to that of the rows, where its logarithm is needed.
BOUNDARY_SD = 1e-6


def off_bounds(
    space: ParamSpace,
    psi: Floats,
    sd: float = BOUNDARY_SD,
    scales: tuple[Floats, ...] | None = None,
) -> tuple[Floats, Mask]:
    """Move parameters off their bounds, where logarithms are infinite and derivatives vanish.

    Args:
      space: the parameter space.
      psi: (d,) unconstrained parameters; those on a bound may be infinite.
      sd: what stands for standard deviations of zero, of columns of size one.
      scales: (k,) root mean squares of each term's columns: of a column of thousands a
        small coefficient does much.
    Returns:
      psi: (d,) finite.
      inside: (d,) which parameters are inside their bounds and make a difference: not the correlations of
        what does not vary, nor those of a coefficient that others determine.
    """
    stand_in: Floats = np.array(psi)
    inside = np.isfinite(psi)
    for number, (term, place) in enumerate(zip(space.terms, space.theta_slices, strict=True)):
        structure, k, least = term.structure, len(term.columns), np.full(1, sd)
        if scales is not None:
            has_each = structure.num_sds(k) == k
            least = sd / (scales[number] if has_each else np.sqrt(np.mean(scales[number] ** 2)))
        stand_in[place], inside[place] = structure.off_bounds(psi[place], k, least)
    return stand_in, inside
