"""Sds, correlations and sigma in coordinates without bounds, those that end at a boundary held there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from truth.covariances import Shape
from truth.held import by_term

# At a boundary: a standard deviation in units of the residual, and how far a correlation is from its bound.
SMALL_SD = 2e-3
NEAR_BOUND = 1e-3


class Working(NamedTuple):
    """The covariance parameters between reporting and working scale.

    Attributes:
      shapes: of the terms.
      values: (t,) on the reporting scale.
      free: (t,) which of them are not held.
    """

    shapes: tuple[Shape, ...]
    values: np.ndarray
    free: np.ndarray

    @property
    def start(self) -> np.ndarray:
        """Working coordinates of the free values."""
        found = []
        for each, mine, free in self._terms():
            if by_factor(each):
                L = np.linalg.cholesky(each.correlation(mine[each.num_sds :]))
                L[np.diag_indices(each.k)] = np.log(np.diag(L))
                found.append(L[np.tril_indices(each.k)])
                continue
            sds, cors = mine[: each.num_sds], mine[each.num_sds :]
            with np.errstate(divide="ignore", invalid="ignore"):
                each_free = np.concatenate(
                    [np.log(sds), np.log((cors - each.lowest) / (1.0 - cors))]
                )
            found.append(each_free[free])
        return np.concatenate(found)

    def report(self, at: np.ndarray) -> np.ndarray:
        """(t,) reported values at working coordinates; held ones as they are."""
        found, start = [], 0
        for each, mine, free in self._terms():
            size = each.size if by_factor(each) else int(free.sum())
            moved = at[start : start + size]
            start += size
            if by_factor(each):
                L = np.zeros((each.k, each.k))
                L[np.tril_indices(each.k)] = moved
                L[np.diag_indices(each.k)] = np.exp(np.diag(L))
                L *= mine[: each.num_sds, None]  # coordinates are relative to the sds reported
                found.append(each.report(L @ L.T))
                continue
            natural = np.array(mine)
            is_sd = np.arange(each.size) < each.num_sds
            all_moved = np.zeros(each.size)
            all_moved[free] = moved
            share = 1.0 / (1.0 + np.exp(-all_moved))
            inside = np.where(is_sd, np.exp(all_moved), each.lowest + (1.0 - each.lowest) * share)
            natural[free] = inside[free]
            found.append(natural)
        return np.concatenate(found)

    def matrices(self, at: np.ndarray) -> list[np.ndarray]:
        """The covariances at working coordinates."""
        parts = by_term(self.report(at), self.shapes)
        return [each.matrix(mine) for each, mine in zip(self.shapes, parts, strict=True)]

    def _terms(self):
        values, free = by_term(self.values, self.shapes), by_term(self.free, self.shapes)
        return zip(self.shapes, values, free, strict=True)

    @property
    def is_simple(self) -> bool:
        """Whether what is held can be held coordinate by coordinate."""
        return all(free.all() or not by_factor(each) for each, _, free in self._terms())


def by_factor(each: Shape) -> bool:
    """Three or more correlations have no bounds of their own: they are moved as a factor."""
    return each.kind == "us" and each.k > 2


def at_boundary(each: Shape, values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(size,) which parameters of a term lie where they have no standard error.

    Args:
      each: its structure.
      values: its reported parameters.
      units: (k,) what a standard deviation is small against: the residual over the size of the column.
    """
    sds = values[: each.num_sds]
    small = sds < SMALL_SD * (units if each.num_sds == each.k else units.min())
    if each.num_cors == 0:
        return np.asarray(small)
    cors = np.nan_to_num(values[each.num_sds :])
    if each.kind != "us":
        bound = min(1.0 - cors[0], cors[0] - each.lowest) < NEAR_BOUND
        # One standard deviation alone has no correlation to show.
        return np.append(small, bound or small.sum() >= len(small) - 1 * (len(small) > 1))
    rows, columns = np.tril_indices(each.k, -1)
    without = small[rows] | small[columns]
    singular = np.linalg.eigvalsh(each.correlation(np.where(without, 0.0, cors)))[0] < NEAR_BOUND
    return np.concatenate([small, without | singular])
