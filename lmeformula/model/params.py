"""The parameters of a model, their names, and the way to and from one unconstrained vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design, TermBlock
from lmeformula.model.covariance import STRUCTURES, Structure

Floats = NDArray[np.float64]


class Params(NamedTuple):
    """Parameters on their natural scale.

    Attributes:
      beta: (p) fixed effects, on the scale of the linear predictor.
      covariances: one (k, k) covariance matrix per random-effects term, in squared units of the predictor.
      sigma: residual standard deviation, or None for families without one.
    """

    beta: Floats
    covariances: tuple[Floats, ...]
    sigma: float | None = None


class TermShape(NamedTuple):
    """What the parameter vector needs to know of one term: its name, columns, levels and structure."""

    name: str
    columns: tuple[str, ...]
    num_levels: int
    structure: Structure


@dataclass(frozen=True, slots=True, eq=False)
class ParamSpace:
    """The layout of the unconstrained vector psi = (beta, theta of each term, log sigma).

    theta is a term's log standard deviations, then the unconstrained form of its correlations
    (see covariance.py). sigma takes no place in psi where it is fixed or the family has none.

    Attributes:
      fixed_names: (p) names of the fixed effects.
      terms: the random-effects terms.
      fixed_sigma: the residual sd where the user fixed it.
      has_sigma: whether the family has a residual sd at all.
    """

    fixed_names: tuple[str, ...]
    terms: tuple[TermShape, ...]
    fixed_sigma: float | None
    has_sigma: bool

    @property
    def estimates_sigma(self) -> bool:
        """Whether log sigma is the last element of psi."""
        return self.has_sigma and self.fixed_sigma is None

    @property
    def num_fixed(self) -> int:
        """Number of fixed effects, p."""
        return len(self.fixed_names)

    @property
    def theta_slices(self) -> tuple[slice, ...]:
        """Where each term's theta lies in psi."""
        found, start = [], self.num_fixed
        for term in self.terms:
            stop = start + term.structure.num_params(len(term.columns))
            found.append(slice(start, stop))
            start = stop
        return tuple(found)

    @property
    def size(self) -> int:
        """Length of psi."""
        last = self.theta_slices[-1].stop if self.terms else self.num_fixed
        return int(last) + int(self.estimates_sigma)

    @property
    def names(self) -> tuple[str, ...]:
        """Names on the reporting scale: fixed effects, sd(...), cor(...), sigma; one for each of psi."""
        names = list(self.fixed_names)
        for term in self.terms:
            names += term.structure.param_names(term.name, term.columns)
        return (*names, "sigma") if self.estimates_sigma else tuple(names)

    def residual_sd(self, psi: Floats) -> float:
        """The residual standard deviation, from psi or as fixed; for families that have one."""
        if self.estimates_sigma:
            return float(np.exp(psi[-1]))
        assert self.fixed_sigma is not None
        return self.fixed_sigma

    def to_natural(self, psi: Floats) -> Params:
        """Parameters on their natural scale from the unconstrained vector psi (d)."""
        covariances = tuple(
            square(term.structure.cholesky(psi[place], len(term.columns)))
            for term, place in zip(self.terms, self.theta_slices, strict=True)
        )
        sigma = self.fixed_sigma if not self.estimates_sigma else float(np.exp(psi[-1]))
        return Params(np.array(psi[: self.num_fixed]), covariances, sigma)

    def to_free(self, params: Params) -> Floats:
        """The unconstrained vector psi (d) of `params`; the inverse of `to_natural`.

        A standard deviation of zero becomes -inf, as its logarithm.
        """
        parts = [np.asarray(params.beta, float)]
        for term, covariance in zip(self.terms, params.covariances, strict=True):
            parts.append(term.structure.to_free(covariance))
        if self.estimates_sigma:
            assert params.sigma is not None
            parts.append(np.array([np.log(params.sigma)]))
        return np.concatenate(parts)

    def to_report(self, psi: Floats) -> Floats:
        """Estimates on the reporting scale (d): fixed effects, sds, correlations, sigma."""
        parts = [psi[: self.num_fixed]]
        for term, place in zip(self.terms, self.theta_slices, strict=True):
            parts.append(term.structure.to_report(psi[place], len(term.columns)))
        if self.estimates_sigma:
            parts.append(np.exp(psi[-1:]))
        return np.concatenate(parts)

    def report_jacobian(self, psi: Floats) -> Floats:
        """(d, d) derivative of `to_report`, for the delta method."""
        jacobian = np.eye(self.size)
        for term, place in zip(self.terms, self.theta_slices, strict=True):
            jacobian[place, place] = term.structure.report_jacobian(psi[place], len(term.columns))
        if self.estimates_sigma:
            jacobian[-1, -1] = np.exp(psi[-1])
        return jacobian


def square(factor: Floats) -> Floats:
    """L L' of a lower-triangular factor L."""
    return factor @ factor.T


def param_space(design: Design, *, has_sigma: bool, fixed_sigma: float | None) -> ParamSpace:
    """The parameter space of a design."""
    return ParamSpace(
        fixed_names=design.names,
        terms=tuple(term_shape(term) for term in design.terms),
        fixed_sigma=fixed_sigma,
        has_sigma=has_sigma,
    )


def term_shape(term: TermBlock) -> TermShape:
    """The part of a term that its parameters depend on."""
    structure = STRUCTURES[(term.covariance, term.homogeneous)]
    return TermShape(term.name, term.columns, len(term.levels), structure)
