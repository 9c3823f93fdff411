"""Which parameters are the standard deviation of a block of latents, read off the log density alone.

A block B of q_B latents with the prior N(c, s(psi_k)^2) has

    d2 log p / dpsi_k du_j = m (u_j - c_j),  m = 2 s' / s^3,  the same for all j in B, and zero elsewhere,

and at u_B = c the derivative in psi_k is -q_B s' / s. Both are seen at random latents, and give s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.optimize as so

from lmeformula.arrays import Floats, Mask
from lmeformula.em.density import Density
from lmeformula.em.types import Edge
from lmeformula.errors import ModelError

# How exactly derivatives must agree, relative to themselves.
ALIKE = {"float64": 1e-7, "float32": 1e-3}
# Where a sd at zero is stood in for, and where one that is let go starts, in units of what the data can tell.
STAND_IN, INSIDE = 1e-3, 0.5


class Scale(NamedTuple):
    """A parameter that is the scale of a block of latents.

    Attributes:
      place: of the parameter.
      block: (q,) which latents.
      sd: their standard deviation where it was looked for.
      rate: derivative of log sd in the parameter there.
      unit: a sd from which on the data tell as much of a latent as the prior does.
    """

    place: int
    block: Mask
    sd: float
    rate: float
    unit: float


def find_scales(
    density: Density,
    psi: Floats,
    latents: Floats,
    wanted: Mapping[int, Mask] | None = None,
    names: tuple[str, ...] = (),
) -> tuple[Scale, ...]:
    """Find the scales among the parameters.

    Args:
      density: the log joint density.
      psi: (d,) where.
      latents: (q,) near where.
      wanted: blocks of parameters that are said to be scales; None to look for them.
      names: of the parameters, for the message.
    Raises:
      ModelError: if the density contradicts `wanted`.
    """
    rng = np.random.default_rng(0)
    points = [latents + rng.normal(size=density.q) for _ in range(3)]
    mixed = [density.mixed(psi, point)[0] for point in points]
    found = []
    for k in range(density.d):
        if wanted is not None and k not in wanted:
            continue
        scale = _scale(density, psi, k, points, [each[k] for each in mixed])
        if wanted is not None and (scale is None or not np.array_equal(scale.block, wanted[k])):
            raise ModelError(
                f"{names[k]} is not the standard deviation of these latents alone",
                hint="Each needs the prior Normal(c, sd), with the same sd. Leave it out, or use "
                'scales="auto".',
            )
        if scale is not None:
            found.append(scale)
    return tuple(found)


def _scale(
    density: Density, psi: Floats, k: int, points: list[Floats], rows: list[Floats]
) -> Scale | None:
    alike = ALIKE[density.dtype]
    size = max(float(np.abs(row).max(initial=0.0)) for row in rows)
    if not np.isfinite(size) or size == 0.0:
        return None
    (first, second, third), (one, two, three) = points, rows
    slope = (two - one) / (second - first)
    block = np.maximum(np.abs(one), np.abs(two)) > alike * size
    if not block.any() or np.abs(three[~block]).max(initial=0.0) > alike * size:
        return None
    m = float(np.median(slope[block]))
    if m == 0.0 or np.abs(slope[block] - m).max() > 1e2 * alike * abs(m):
        return None
    centre = first - one / m
    if np.abs(three - m * (third - centre))[block].max() > 1e2 * alike * size:
        return None
    settled = np.where(block, centre, first)
    rate = -density.slopes(psi, settled)[1][k] / block.sum()
    if rate * m <= 0.0:
        return None
    sd = float(np.sqrt(2.0 * rate / m))
    return Scale(k, block, sd, float(rate), sd)


def sd_of(density: Density, scale: Scale, psi: Floats, latents: Floats) -> tuple[float, float]:
    """The standard deviation at other parameters, and the rate at which its logarithm changes; nan if none."""
    shift = np.where(scale.block, 1.0, 0.0)
    one, two = (density.mixed(psi, latents + side * shift)[0][scale.place] for side in (-1.0, 1.0))
    j = int(np.flatnonzero(scale.block)[0])
    m = float(two[j] - one[j]) / 2.0
    if m == 0.0 or not np.isfinite(m):
        return float("nan"), float("nan")
    centre = latents - shift - one / m
    settled = np.where(scale.block, centre, latents)
    rate = float(-density.slopes(psi, settled)[1][scale.place] / scale.block.sum())
    return (float(np.sqrt(2.0 * rate / m)), rate) if rate * m > 0.0 else (float("nan"), rate)


def with_unit(scale: Scale, diagonal: Floats, sd: float) -> Scale:
    """The scale with its unit, from the diagonal of the negative Hessian at a mode where the sd is `sd`."""
    of_data = float(np.mean(diagonal[scale.block])) - sd**-2
    # Far above the prior's the difference is exact; far below it is rounding.
    if of_data <= 1e-9 * sd**-2:
        return scale._replace(unit=sd)
    return scale._replace(unit=of_data**-0.5)


def parameter_at(
    density: Density, scale: Scale, psi: Floats, latents: Floats, sd: float
) -> float | None:
    """The value of the parameter that makes the standard deviation `sd`, or None if there is none in reach."""
    k = scale.place

    def found_at(value: float) -> tuple[float, float]:
        """The logarithm of the sd over the one that is wanted, and its rate; nan beyond a sd of zero."""
        at = psi.copy()
        at[k] = value
        found, rate = sd_of(density, scale, at, latents)
        # A parameter that is the sd itself has the same density on the other side, where it is negative.
        is_there = found > 0 and rate * scale.rate > 0
        return (float(np.log(found / sd)), rate) if is_there else (float("nan"), float("nan"))

    now = psi[k]
    here, rate = found_at(now)
    if not np.isfinite(here):
        return None
    # Where the log of the sd is what moves, the first step is there already.
    far, length = now, -here / rate
    for _ in range(60):
        there, rate = found_at(far + length)
        if not np.isfinite(there):
            length = 0.5 * length
            continue
        far = far + length
        if abs(there) < 1e-9:
            return float(far)
        if there * here < 0.0:
            return float(so.brentq(lambda value: found_at(value)[0], now, far, rtol=1e-10))
        length = -1.5 * there / rate
    return None


class Edges:
    """The boundaries at which scales vanish, for the engine: parameters (d,) -> edges."""

    def __init__(
        self, density: Density, scales: tuple[Scale, ...], names: tuple[str, ...], latents: Floats
    ):
        self.density, self.scales, self.names = density, scales, names
        self.latents = latents

    def __call__(self, psi: Floats) -> tuple[Edge, ...]:
        """The edges at these parameters."""
        return tuple(self._edge(scale, psi) for scale in self.scales)

    def _edge(self, scale: Scale, psi: Floats) -> Edge:
        name, latents = f"sd {self.names[scale.place]}", self.latents
        sd, rate = sd_of(self.density, scale, psi, latents)
        direction = np.zeros((len(psi), 1))
        direction[scale.place, 0] = -np.sign(rate) if rate != 0.0 else -1.0
        here, ends = scale._replace(rate=rate), []
        for part in (STAND_IN, INSIDE):
            end = parameter_at(self.density, here, psi, latents, part * scale.unit)
            if end is None:
                # Not in reach from here: the edge is there, and not to be tried.
                return Edge(name, direction, float("inf"), psi.copy(), psi.copy())
            ends.append(np.where(np.arange(len(psi)) == scale.place, end, psi))
        return Edge(name, direction, sd / scale.unit, ends[0], ends[1])
