"""Where else the likelihood may have a higher maximum, as elements of the factors to climb from."""

from __future__ import annotations

import itertools

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.chart import SHORT, triangular
from lmeformula.covariance.structure import below_diagonal
from lmeformula.likelihood.factors import FactorSpace

# Angles between two axes of a covariance at which a maximum of rank one is looked for. Where a coefficient's
# column is constant in groups, each of these may have one, with an angle that leaves it no variance.
ANGLES = 36
# Of so many single standard deviations every set is tried.
MOST_TOGETHER = 4


def supports(space: FactorSpace, elements: Floats) -> list[tuple[Floats, Mask]]:
    """Elements (t,) with the variance of all single standard deviations at some, the others at rest.

    Each may account for what varies, alone or with others; of many each alone is tried.
    """
    places = space.alone()
    if len(places) < 2:
        return []
    found, total = [], float(np.linalg.norm(elements[places])) or 1.0
    sizes = range(1, len(places) + 1 if len(places) <= MOST_TOGETHER else 2)
    known = tuple(places[elements[places] != 0.0])
    for some in itertools.chain.from_iterable(
        itertools.combinations(places, size) for size in sizes
    ):
        if some == known:
            continue
        moved, resting = elements.copy(), np.zeros(space.size, bool)
        moved[places], resting[places] = 0.0, True
        moved[list(some)], resting[list(some)] = total / np.sqrt(len(some)), False
        found.append((moved, resting))
    return found


def turned(space: FactorSpace, elements: Floats) -> list[Floats]:
    """Elements (t,) with the correlations of one unstructured term after the other turned about.

    All of them, and of three coefficients or more those of one after the other with the rest.
    """
    found = []
    for chart, own, here in space.correlated(elements):
        if own[~chart.on_diagonal].any():
            k = int(chart.on_diagonal.sum())
            below = np.array(below_diagonal(k))
            every = np.ones(len(below), bool)
            each = [(below == i).any(axis=1) for i in range(k)] if k > 2 else []
            for turned in (every, *each):
                signs = np.ones(space.size)
                signs[here][~chart.on_diagonal] = np.where(turned, -1.0, 1.0)
                found.append(signs * elements)
    return found


def arcs(space: FactorSpace, elements: Floats) -> list[tuple[Floats, Mask]]:
    """Elements (a, t) with the principal axes of one unstructured term after the other turned.

    Half circles from its first axis by another one back to it, of orthogonal columns: other codings of the
    columns turn those, and the axes with them.

    Returns:
      For each half circle: elements at so many angles, and which of them (t,) rest at zero. First with all
      coefficients in step, with as much variance as they had, all columns of the factor but its first at
      rest; then as they were but for the turn.
    """
    found = []
    angles = np.arange(ANGLES)[:, None] * (np.pi / ANGLES)
    cosines, sines = np.cos(angles), np.sin(angles)
    for chart, own, here in space.correlated(elements):
        back = chart.back
        factor = np.asarray(np.linalg.solve(back, chart.factor(own)), float)
        axes, sizes, _ = np.linalg.svd(factor)
        if not sizes.any():
            continue
        aligned = np.zeros_like(sizes)
        aligned[0] = np.linalg.norm(sizes)
        for other in range(1, len(sizes)):
            for kept in (aligned, sizes) if sizes[other] > 0.0 else (aligned,):
                moved, turned = np.tile(elements, (ANGLES, 1)), np.tile(axes, (ANGLES, 1, 1))
                turned[:, :, 0] = cosines * axes[:, 0] + sines * axes[:, other]
                turned[:, :, other] = cosines * axes[:, other] - sines * axes[:, 0]
                moved[:, here] = chart.near(back @ triangular(turned * kept))
                resting = np.zeros(space.size, bool)
                if kept is aligned:
                    resting[here] = ~np.isin(np.arange(chart.size), chart.faces[0])
                    moved[:, resting] = 0.0
                found.append((moved, resting))
    return found


def emptied(space: FactorSpace, elements: Floats, resting: Mask) -> list[tuple[Floats, Mask]]:
    """Elements (t,) and those that rest, with a coefficient of next to no variance at none.

    Of a singular covariance that is no face of the factor's, whose other columns hold other variances.
    """
    found = []
    for chart, own, here in space.correlated(elements):
        back = chart.back
        held = chart.factor(np.where(resting[here], 0.0, own))
        factor = np.asarray(np.linalg.solve(back, held), float)
        sizes = np.linalg.norm(factor, axis=1)
        for row in np.flatnonzero((sizes > 0.0) & (sizes < SHORT)):
            rest = factor.copy()
            rest[row] = 0.0
            rest = triangular(rest)
            moved, at_rest = elements.copy(), resting.copy()
            moved[here] = chart.near(back @ rest)
            for column, places in enumerate(chart.faces):
                at_rest[here.start + places] = not rest[:, column].any()
            moved[here] = np.where(at_rest[here], 0.0, moved[here])
            found.append((moved, at_rest))
    return found
