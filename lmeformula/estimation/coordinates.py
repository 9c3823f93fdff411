"""Coordinates in which it shows what data determine: neither the origin nor the unit of a column matters there.

Fixed effects become coefficients of orthogonal columns. A covariance that is unstructured for all
columns of the same span, becomes that of orthogonal columns: its logarithms and correlations are
ill conditioned where, say, a slope column is far from zero, though the data determine the covariance well.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.likelihood.ways import covariance_ways
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# A direction has no information where less than this share of its coordinates' own is left, for each of them.
NO_INFORMATION = 1e-8
# A logarithm, or a correlation's free form, that has less information than this has none: it is known to a
# factor of e to the thousands.
LEAST_KNOWN = 1e-7
# A parameter takes part in a direction that moves it by at least this much of the one that moves most, in units
# of what each is known to by itself.
TOUCHED = 1e-3


class Arrival(NamedTuple):
    """Where a fit ended, and what it reports from there.

    Attributes:
      model: what was fitted.
      psi: (d,) the estimates, unconstrained; what is at a bound has a stand-in.
      inside: (d,) which are off their bounds.
      information: (d, d) observed information there; of what is not inside nothing is read.
      ways: (d, d) directions in psi, in columns, along which that is; None where it is that of psi.
      R: (p, p) upper triangular, with coefficients R beta of orthogonal columns, or such as are known alike,
        and apart.
      value: the reported log-likelihood.
      stderr: (d,) the reported standard errors.
      undetermined: (t,) parameters of covariances that the design does not tell apart, or None; see
        `confounded.alike`.
      mc_covariance: (d, d) Monte Carlo covariance of psi; None where it has no error.
      frame: (d, d) `covariance_ways` of what is inside, where they were worked out.
    """

    model: Model
    psi: Floats
    inside: Mask
    information: Floats
    R: Floats
    value: float = math.nan
    stderr: Floats | None = None
    undetermined: Mask | None = None
    mc_covariance: Floats | None = None
    ways: Floats | None = None
    frame: Floats | None = None

    def coordinates(self, known: Mask) -> Floats:
        """(d, d) those of parameters that the data tell of; see `coordinates`."""
        frame = self.frame if np.array_equal(known, self.inside) else None
        return coordinates(self.model, self.psi, known, self.R, frame)

    @property
    def in_psi(self) -> Floats:
        """(d, d) the information of psi, which may have fewer digits than that along other ways."""
        return self.information if self.ways is None else self.along(np.eye(len(self.psi)))

    def along(self, directions: Floats) -> Floats:
        """(m, m) the information along directions (d, m) in psi."""
        moves = directions if self.ways is None else np.linalg.solve(self.ways, directions)
        return np.asarray(moves.T @ self.information @ moves)

    @property
    def scatter(self) -> Floats:
        """(d, d) Monte Carlo covariance of the gradient here, as the place has one."""
        assert self.mc_covariance is not None
        information = self.in_psi
        return np.asarray(information @ self.mc_covariance @ information)


def coordinates(
    model: Model, psi: Floats, inside: Mask, R: Floats, frame: Floats | None = None
) -> Floats:
    """The derivative (d, d) of psi in coordinates of orthogonal columns.

    Args:
      model: the model.
      psi: (d,) finite parameters.
      inside: (d,) which are off their bounds, and told of by the data; see `told`.
      R: (p, p) upper triangular, with coefficients R beta of orthogonal columns.
      frame: (d, d) `covariance_ways` there, if they were worked out.
    """
    space = model.space
    back = covariance_ways(model, psi, inside) if frame is None else frame.copy()
    p = space.num_fixed
    if p and inside[:p].all() and len(R) == p and (np.diag(R) != 0.0).all():
        back[:p, :p] = lapack.dtrtri(R)[0]
    # Each coordinate in a unit in which its largest share is one: squares of it stay numbers in any unit.
    return np.asarray(back / np.abs(back).max(axis=0, initial=0.0))


class Determined(NamedTuple):
    """A covariance of what is determined, and what is not.

    Attributes:
      covariance: (d, d) inverse of the information; nan for parameters that are not inside or not determined.
      loose: (d,) which parameters inside their bounds are not determined.
    """

    covariance: Floats
    loose: Mask


def least_known(space: ParamSpace, psi: Floats) -> Floats:
    """(d,) information below which a parameter has none: of fixed effects, which have units, none at all.

    The free form of a correlation near its bound is large, and grows with the origin of a column: what is
    known of it counts as a share of it.
    """
    least = np.full(space.size, LEAST_KNOWN)
    least[: space.num_fixed] = 0.0
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        if term.structure.correlations == "each":
            free = slice(place.start + term.structure.num_sds(len(term.columns)), place.stop)
            least[free] /= 1.0 + psi[free] ** 2
    return least


def told(information: Floats, inside: Mask, least: Floats, expected: Floats | None = None) -> Mask:
    """(d,) which parameters the data say something of: of the others there are no coordinates.

    Args:
      information: (d, d).
      inside: (d,) which parameters are off their bounds.
      least: (d,) information that is none; see `least_known`.
      expected: (d,) what the information of each would be by itself; nan where that is not known.
    """
    diagonal = np.diag(information)
    if expected is not None:
        least = np.maximum(NO_INFORMATION * np.nan_to_num(expected), least)
    return np.asarray(inside & np.isfinite(diagonal) & (np.abs(diagonal) > least))


def determined_inverse(at: Arrival, least: Floats) -> Determined:
    """Invert the information where a fit ended in the directions that it has.

    Args:
      at: where.
      least: (d,) information that is none; see `least_known`.
    Returns:
      The inverse, and what takes part in a direction without information.
    """
    information, inside = at.in_psi, at.inside
    d = len(inside)
    covariance, loose = np.full((d, d), np.nan), np.zeros(d, bool)
    diagonal, usable = np.diag(information), told(information, inside, least)
    loose[inside & ~usable] = True
    use = np.ix_(usable, usable)
    if not usable.any():
        return Determined(covariance, loose)
    back = at.coordinates(usable)
    inner, turned = back[use], at.along(back)[use]
    scale = np.sqrt(np.abs(np.diag(turned)))
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = turned / np.outer(scale, scale)
    if not np.isfinite(scaled).all():
        loose[usable] = True
        return Determined(covariance, loose)
    values, vectors = symmetric_eigen(scaled)
    has_some = values > NO_INFORMATION * len(values)
    moves = inner @ (vectors / scale[:, None])
    good = moves[:, has_some]
    covariance[use] = (good / values[has_some]) @ good.T
    places = np.flatnonzero(usable)
    for column in moves[:, ~has_some].T:
        sizes = np.abs(column) * np.sqrt(np.abs(diagonal[places]))
        loose[places[sizes > TOUCHED * sizes.max(initial=0.0)]] = True
    covariance[loose] = np.nan
    covariance[:, loose] = np.nan
    return Determined(covariance, loose)
