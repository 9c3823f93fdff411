"""The parameters of a model, their names, and the way to and from one unconstrained vector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.prior import EffectDistribution, Prior
from lmeformula.covariance.structure import Structure, names_of
from lmeformula.covariance.student import Student, free_of, freedom_of
from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.family.own import NO_OWN, Own


class Params(NamedTuple):
    """Parameters on their natural scale.

    Attributes:
      beta: (p) fixed effects, on the scale of the linear predictor.
      covariances: one (k, k) covariance matrix per random-effects term, in squared units of the predictor.
      own: (v) the family's own parameters, as its functions take them: a residual sd, thresholds, a dispersion.
      freedom: degrees of freedom of each term's effects, infinite where they are Gaussian; empty where all are.
        Covariances are scale matrices where they are finite.
    """

    beta: Floats
    covariances: tuple[Floats, ...]
    own: Floats = NO_OWN.start
    freedom: tuple[float, ...] = ()

    @property
    def residual_sd(self) -> float:
        """The residual standard deviation, for families that have one."""
        return float(self.own[0])

    @property
    def sigma(self) -> float:
        """What a fit has: `fit.sigma`; None there for families without a residual standard deviation.

        Raises:
          AttributeError: always, with these words.
        """
        raise AttributeError("parameters have the family's own in `own`; write fit.sigma")

    @property
    def distributions(self) -> tuple[EffectDistribution, ...]:
        """That of each term's effects."""
        freedom = self.freedom or (math.inf,) * len(self.covariances)
        return tuple(map(EffectDistribution, self.covariances, freedom))

    @property
    def has_normal_effects(self) -> bool:
        """Whether all of these are normal: by their prior, or at infinitely many degrees of freedom."""
        return all(math.isinf(df) for df in self.freedom)


class TermShape(NamedTuple):
    """What the parameter vector needs to know of one term: its name, columns, levels, prior and structure."""

    name: str
    columns: tuple[str, ...]
    num_levels: int
    prior: Prior
    structure: Structure


@dataclass(frozen=True, slots=True, eq=False)
class ParamSpace:
    """The layout of the unconstrained vector psi = (beta, theta of each term, the family's own).

    theta is a term's log standard deviations, then the unconstrained form of its correlations
    (see `covariance/`). The family's own parameters are log sigma, the free form of thresholds, or the log of a
    dispersion; those that are held take no place in psi.

    Attributes:
      fixed_names: (p) names of the fixed effects.
      terms: the random-effects terms.
      own: the family's own parameters, the last elements of psi.
      has_no_residual: whether effects account for each row by themselves: the residual sd that is held is what
        stands for zero, where a number is needed.
    """

    fixed_names: tuple[str, ...]
    terms: tuple[TermShape, ...]
    own: Own
    has_no_residual: bool = False

    @property
    def num_fixed(self) -> int:
        """Number of fixed effects, p."""
        return len(self.fixed_names)

    @property
    def has_normal_priors(self) -> bool:
        """Whether those of all terms are normal."""
        return not any(term.prior.has_df for term in self.terms)

    @property
    def has_known_scale(self) -> bool:
        """Whether a covariance is known, and does not go along with a residual sd that is estimated."""
        sizes = [term.structure.num_params(len(term.columns)) for term in self.terms]
        return not self.own.is_held and 0 in sizes

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
    def own_slice(self) -> slice:
        """Where the family's own parameters lie in psi: at its end."""
        last = self.theta_slices[-1].stop if self.terms else self.num_fixed
        return slice(last, last + self.own.size)

    @property
    def size(self) -> int:
        """Length of psi."""
        return int(self.own_slice.stop)

    @property
    def names(self) -> tuple[str, ...]:
        """Names on the reporting scale, one for each of psi: fixed effects, sd(...), cor(...), own."""
        names = list(self.fixed_names)
        for term in self.terms:
            names += names_of(term.structure.labels(term.columns), term.name, term.columns)
        return (*names, *self.own.names)

    @property
    def held_sd(self) -> float | None:
        """The residual standard deviation where it is held; None where it is estimated."""
        return float(self.own.start[0]) if self.own.is_held else None

    def holding(self, sd: float) -> ParamSpace:
        """The same with the residual standard deviation held."""
        return replace(self, own=self.own.held_at({0: sd}))

    def residual_sd(self, psi: Floats) -> float:
        """The residual standard deviation, from psi or as held; for families that have one."""
        return float(self.family_values(psi)[0])

    def family_values(self, psi: Floats) -> Floats:
        """(v,) all parameters of the family on their natural scale, held or not."""
        return self.own.scale.to_natural(psi[self.own_slice])

    def factors(self, psi: Floats) -> tuple[Floats, ...]:
        """The Cholesky factor (k, k) of each term's covariance."""
        return tuple(
            term.structure.cholesky(psi[place], len(term.columns))
            for term, place in zip(self.terms, self.theta_slices, strict=True)
        )

    def factor_changes(self, psi: Floats) -> tuple[Floats, ...]:
        """(t, k, k) derivatives of each term's factor in its theta."""
        return tuple(
            term.structure.cholesky_jacobian(psi[place], len(term.columns))
            for term, place in zip(self.terms, self.theta_slices, strict=True)
        )

    def pull_back(self, psi: Floats, slopes: tuple[Floats, ...], unit: float = 1.0) -> Floats:
        """(d,) derivatives in psi, of all but theta zero, from those (k, k) in each factor over that unit."""
        found = np.zeros(self.size)
        parts = zip(self.theta_slices, self.factor_changes(psi), slopes, strict=True)
        for place, changes, slope in parts:
            found[place] = np.einsum("tab,ab->t", changes / unit, slope)
        return found

    def to_natural(self, psi: Floats) -> Params:
        """Parameters on their natural scale from the unconstrained vector psi (d)."""
        covariances = tuple(square(factor) for factor in self.factors(psi))
        beta = np.array(psi[: self.num_fixed])
        return Params(beta, covariances, self.family_values(psi), self.freedom(psi))

    def freedom(self, psi: Floats) -> tuple[float, ...]:
        """Degrees of freedom of each term's effects; empty where all are Gaussian."""
        if self.has_normal_priors:
            return ()
        return tuple(
            freedom_of(float(psi[place.stop - 1])) if term.prior.has_df else math.inf
            for term, place in zip(self.terms, self.theta_slices, strict=True)
        )

    def to_free(self, params: Params) -> Floats:
        """The unconstrained vector psi (d) of `params`; the inverse of `to_natural`.

        A standard deviation of zero becomes -inf, as its logarithm.
        """
        parts = [np.asarray(params.beta, float)]
        for j, (term, covariance) in enumerate(zip(self.terms, params.covariances, strict=True)):
            parts.append(term.structure.to_free(covariance))
            if term.prior.has_df and params.freedom:
                parts[-1][-1] = free_of(params.freedom[j])
        parts.append(self.own.scale.to_free(params.own))
        return np.concatenate(parts)

    def to_report(self, psi: Floats) -> Floats:
        """Estimates on the reporting scale (d): fixed effects, sds, correlations, the family's own."""
        parts = [psi[: self.num_fixed]]
        for term, place in zip(self.terms, self.theta_slices, strict=True):
            parts.append(term.structure.to_report(psi[place], len(term.columns)))
        parts.append(self.own.to_report(psi[self.own_slice]))
        return np.concatenate(parts)

    def report_jacobian(self, psi: Floats) -> Floats:
        """(d, d) derivative of `to_report`, for the delta method."""
        jacobian = np.eye(self.size)
        for term, place in zip(self.terms, self.theta_slices, strict=True):
            jacobian[place, place] = term.structure.report_jacobian(psi[place], len(term.columns))
        own = self.own_slice
        jacobian[own, own] = self.own.report_jacobian(psi[own])
        return jacobian


def square(factor: Floats) -> Floats:
    """L L' of a lower-triangular factor L."""
    return factor @ factor.T


def param_space(design: Design, own: Own) -> ParamSpace:
    """The parameter space of a design with the own parameters of its family."""
    return ParamSpace(design.names, tuple(term_shape(term) for term in design.terms), own)


def term_shape(term: TermBlock) -> TermShape:
    """The part of a term that its parameters depend on."""
    structure = Student() if term.prior.has_df else structure_of(term)
    return TermShape(term.name, term.columns, len(term.levels), term.prior, structure)
