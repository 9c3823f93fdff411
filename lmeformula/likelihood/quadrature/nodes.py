"""Nodes around the mode of each block of effects: the trapezoidal rule after a hyperbolic sine.

Nodes lie densely at the mode and reach far, as the one-sided posterior of a level whose responses are all alike
needs.

Reference: Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints

# Blocks of more effects are not integrated.
WIDEST = 2


def _ladder(first: int, most: int) -> tuple[int, ...]:
    """Odd numbers, each about half as many again as the one before."""
    found = [first]
    while found[-1] < most:
        found.append(2 * round(0.75 * (found[-1] - 1)) + 1)
    return tuple(found)


# Nodes along each axis that are tried, for one and for two axes.
NUMS_NODES = {1: (37, 45, *_ladder(55, 8000)), 2: _ladder(17, 180)}
# Standard deviations of the curvature about the mode within which nodes lie evenly, along one and along each of
# two axes. A normal density settles with fewest nodes where they do so over its bulk. Two axes have few nodes:
# they lie densely where responses that are told apart by effects have an edge.
EVEN = {1: 2.0, 2: 1.0}


class Frame(NamedTuple):
    """Where the nodes of l blocks of k effects lie.

    Attributes:
      centre: (l, k) modes.
      axes: (l, k, k) in whose columns nodes lie.
      widths: (l, k) along them.
      low, high: (l, k) their ends along these, where widths times the hyperbolic sine are the distances.
    """

    centre: Floats
    axes: Floats
    widths: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, centre: Floats, curvature: Floats, reach: float, shared: Floats | None) -> Frame:
        """Nodes along the axes of curvatures.

        Args:
          centre: (l, k) modes.
          curvature: (l, k, k) there.
          reach: prior standard deviations beyond the mode and the prior's centre.
          shared: (l,) curvature in the first of two effects, those of all blocks that share it moving along:
            nodes of the second lie around where it would move to. None where nothing is shared.
        """
        if shared is not None:
            values = np.stack([shared, curvature[:, 1, 1]], axis=1)
            axes = np.tile(np.eye(2), (len(centre), 1, 1))
            axes[:, 1, 0] = -curvature[:, 0, 1] / curvature[:, 1, 1]
        elif centre.shape[1] == 1:
            axes, values = np.ones_like(curvature), curvature[:, :, 0]
        else:
            values, axes = np.linalg.eigh(curvature)
        widths = EVEN[centre.shape[1]] / np.sqrt(values)
        # The prior's centre, as seen from the mode along the axes.
        back = -centre if shared is not None else -np.einsum("lba,lb->la", axes, centre)
        low = np.arcsinh((np.minimum(back, 0.0) - reach) / widths)
        high = np.arcsinh((np.maximum(back, 0.0) + reach) / widths)
        return cls(centre, axes, widths, low, high)

    def nodes(self, blocks: Ints, num_nodes: int) -> tuple[Floats, Floats]:
        """Nodes (l, N, k) of some blocks, N being num_nodes to the power of k.

        Returns:
          The nodes, and (l, k, num_nodes) log weights along each axis.
        """
        size, k = len(blocks), self.centre.shape[1]
        widths, low = self.widths[blocks], self.low[blocks]
        spacing = (self.high[blocks] - low) / (num_nodes - 1)
        inner = low[:, :, None] + spacing[:, :, None] * np.arange(num_nodes)
        along = widths[:, :, None] * np.sinh(inner)
        logs = np.log(widths * spacing)[:, :, None] + np.log(np.cosh(inner))
        if k == 1:
            return self.centre[blocks][:, None] + along.transpose(0, 2, 1), logs
        # The first axis by rows, the second by columns.
        steps = self.axes[blocks].transpose(0, 2, 1)
        first = along[:, 0, :, None, None] * steps[:, 0, None, None]
        second = along[:, 1, None, :, None] * steps[:, 1, None, None]
        nodes = (self.centre[blocks][:, None, None] + first + second).reshape(size, -1, k)
        return nodes, logs


def moments(nodes: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Means (l, k) of the effects and covariances (l, k, k), from nodes (l, N, k) and their shares (l, N)."""
    means = np.einsum("ln,lnk->lk", shares, nodes)
    away = nodes - means[:, None]
    return means, (shares[:, :, None] * away).transpose(0, 2, 1) @ away


def change(
    nodes: Floats, shares: Floats, num_nodes: int, means: Floats, covariances: Floats
) -> Floats:
    """(l,) what every other node along each axis, a rule of its own with twice the spacing, would change.

    That is of the logarithm of the integral, and of the means in standard deviations: where nodes lie as luck
    has it either may be right, but not both.

    Args:
      nodes: (l, N, k).
      shares: (l, N) of the integral.
      num_nodes: along each axis.
      means, covariances: by all nodes; see `moments`.
    """
    k = nodes.shape[2]
    half = shares.reshape(-1, *(num_nodes,) * k)[(slice(None),) + (slice(None, None, 2),) * k]
    there = nodes.reshape(-1, *(num_nodes,) * k, k)[(slice(None),) + (slice(None, None, 2),) * k]
    half, there = 2.0**k * half.reshape(len(half), -1), there.reshape(len(half), -1, k)
    total = half.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variances = covariances.diagonal(axis1=1, axis2=2)
        moved = np.einsum("ln,lnk->lk", half, there - means[:, None]) / np.sqrt(variances)
        found = np.maximum(np.abs(np.log(total)), np.abs(moved).max(axis=1))
    return np.asarray(np.where(np.isfinite(found), found, np.inf))
