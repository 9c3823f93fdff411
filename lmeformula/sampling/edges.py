"""Where the covariances of random effects end: variances of zero, coefficients that others determine.

Near such a boundary the log-likelihood is linear in the square of the distance t, because the posterior of a
coefficient that hardly varies is its prior. A stand-in close by, where t is a thousandth of what the data would
notice, tells the sign of that slope, and is as good as the boundary itself for all other parameters.

Reference: Self, Liang (1987), JASA 82, 605-610, for estimates on the boundary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import below_diagonal
from lmeformula.em.boundary import TINY
from lmeformula.em.types import Edge
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace, TermShape

# Distances in units of the noticeable: what stands for the boundary, and where a parameter that does not belong
# there starts again.
STAND_IN = 1e-3
RESTART = 0.5
# Correlated coefficients are tried at zero, all of them, where the largest of their sds is below this.
VANISHING = 0.1
# What names of edges begin with.
SD, DETERMINED, BOUND = "sd ", "L ", "cor "


def noticeable(model: Model, weights: Floats) -> tuple[Floats, ...]:
    """(k,) of each term: the sd at which the rows of a level know its coefficient as well as its prior does.

    Args:
      model: the model.
      weights: (n,) information of each row on its predictor.
    """
    found = []
    for term in model.stack.terms:
        total = np.einsum("n,nk->k", weights, term.values**2) / len(term.levels)
        found.append(1.0 / np.sqrt(np.where(total > 0, total, 1.0)))
    return tuple(found)


def edge_finder(
    space: ParamSpace, units: Callable[[Floats], tuple[Floats, ...]]
) -> Callable[[Floats], tuple[Edge, ...]]:
    """The edges of a model, as a function of its parameters.

    Args:
      space: the parameter space.
      units: psi (d,) -> `noticeable` sds there.
    """

    def edges(psi: Floats) -> tuple[Edge, ...]:
        found: list[Edge] = []
        for term, place, unit in zip(space.terms, space.theta_slices, units(psi), strict=True):
            found += _sd_edges(psi, term, place.start, unit)
            if term.structure.correlations == "each":
                found += _determined_edges(psi, term, place.start, unit)
            elif term.structure.correlations in ("one", "two", "lags") and len(term.columns) > 1:
                found += _bound_edges(psi, term, place, unit)
        return tuple(found)

    return edges


def moved_to_edges(psi: Floats, edges: Callable[[Floats], tuple[Edge, ...]]) -> Floats:
    """Parameters (d,) of which those that are all but on an edge are at its stand-in."""
    for edge in edges(psi):
        if edge.nearness < TINY:
            psi = np.where(edge.outside != psi, edge.outside, psi)
    return psi


def on_edges(
    space: ParamSpace, psi: Floats, edges: tuple[Edge, ...], held: tuple[str, ...]
) -> tuple[Floats, Mask]:
    """Parameters with what is held on its boundary: -inf for the logarithm of an sd of zero.

    Returns:
      psi: (d,).
      inside: (d,) which parameters are not held.
    """
    limit, inside = psi.copy(), np.ones(len(psi), bool)
    for edge in edges:
        if edge.name not in held:
            continue
        inside &= ~edge.directions.any(axis=1)
        first = edge.directions[:, 0]
        if edge.name.startswith(SD):
            limit = np.where(first < 0, -np.inf, limit)
        else:
            # Far enough that a correlation is one in floating point.
            limit = np.where(first != 0, psi * 1e6, limit)
    return limit, inside


def _sd_edges(psi: Floats, term: TermShape, start: int, unit: Floats) -> list[Edge]:
    k, count = len(term.columns), term.structure.num_sds(len(term.columns))
    size = term.structure.num_params(k)
    scale = unit if count == k else np.full(1, np.sqrt(np.mean(unit**2)))
    sd = np.exp(psi[start : start + count])
    correlated = size > count
    found = []
    for j in range(count):
        moved = {start + j: np.log(STAND_IN * scale[j])}
        others: list[int] = []
        nearness = sd[j] / scale[j]
        if correlated:
            # Of correlated coefficients one alone ends at zero only by accident, or where no level has several
            # of them: they do together, but for one that is all but there.
            near = float((sd / scale).max())
            if nearness >= TINY:
                nearness = near if near < VANISHING else np.inf
            others = list(range(start + count, start + size))
            moved |= dict.fromkeys(others, 0.0)
        found.append(
            Edge(
                name=f"{SD}{term.name} {j}",
                directions=_directions(len(psi), {start + j: -1.0}, others),
                nearness=float(nearness),
                outside=_with(psi, moved),
                inside=_with(psi, {start + j: np.log(RESTART * scale[j])}),
                of_covariance=True,
            )
        )
    return found


def _determined_edges(psi: Floats, term: TermShape, start: int, unit: Floats) -> list[Edge]:
    """Rows of the factor whose diagonal elements go to zero: their correlations grow together."""
    k = len(term.columns)
    sd = np.exp(psi[start : start + k])
    places: dict[int, list[int]] = {}
    for number, (i, _) in enumerate(below_diagonal(k)):
        places.setdefault(i, []).append(start + k + number)
    found = []
    for i, row in places.items():
        free = psi[row]
        length = float(np.sqrt(free @ free))
        # Where nothing correlates there is no direction yet, and no need for one.
        way = free / length if length > 0 else np.eye(len(row))[0]
        ratio = sd[i] / unit[i]
        depth = ratio / np.sqrt(1.0 + length**2)
        far = np.sqrt(max((ratio / STAND_IN) ** 2 - 1.0, 1.0))
        near = np.sqrt(max((ratio / RESTART) ** 2 - 1.0, 1.0))
        found.append(
            Edge(
                name=f"{DETERMINED}{term.name} {i}",
                directions=_directions(len(psi), dict(zip(row, way, strict=True)), []),
                # An sd that is small itself does not make a coefficient determined.
                nearness=float(depth) if ratio > 2 * STAND_IN and length > 1.0 else np.inf,
                outside=_with(psi, dict(zip(row, way * far, strict=True))),
                inside=_with(psi, dict(zip(row, way * near, strict=True))),
                of_covariance=True,
            )
        )
    return found


def _bound_edges(psi: Floats, term: TermShape, place: slice, unit: Floats) -> list[Edge]:
    """Both ends of the interval of the one correlation, or of each partial one, whose logits end theta.

    At either end a combination of the coefficients has no variance; next to it the variance is proportional to
    the share of the interval that is left, by which the likelihood rises linearly.
    """
    count = term.structure.num_sds(len(term.columns))
    ratio = float((np.exp(psi[place.start : place.start + count]) / unit).max())
    found = []
    for last in range(place.start + count, place.stop):
        which = (
            f" lag {last - place.start - count + 1}" if place.stop - place.start > count + 1 else ""
        )
        # Beyond a bound of one, those of more steps make no difference.
        others = list(range(last + 1, place.stop))
        for side, sign in (("highest", 1.0), ("lowest", -1.0)):
            logit = sign * psi[last]
            nearness = ratio * np.sqrt(scipy.special.expit(-logit))
            stand_in, restart = (
                -scipy.special.logit(min((distance / ratio) ** 2, 0.25))
                for distance in (STAND_IN, RESTART)
            )
            found.append(
                Edge(
                    name=f"{BOUND}{term.name}{which} {side}",
                    directions=_directions(len(psi), {last: sign}, others),
                    # Correlations of coefficients that are small themselves say nothing, nor does the farther
                    # end.
                    nearness=nearness if ratio > VANISHING and logit > 0 else np.inf,
                    outside=_with(psi, {last: sign * stand_in} | dict.fromkeys(others, 0.0)),
                    inside=_with(psi, {last: sign * restart}),
                    of_covariance=True,
                )
            )
    return found


def _directions(size: int, first: dict[int, float], others: list[int]) -> Floats:
    found = np.zeros((size, 1 + len(others)))
    for place, value in first.items():
        found[place, 0] = value
    for column, place in enumerate(others, start=1):
        found[place, column] = 1.0
    return found


def _with(psi: Floats, values: dict[int, float]) -> Floats:
    moved = psi.copy()
    for place, value in values.items():
        moved[place] = value
    return moved
