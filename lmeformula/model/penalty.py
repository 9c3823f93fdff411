"""The log density of a model's priors, with its derivatives in whatever a likelihood is a function of.

It is the density of coefficients, standard deviations, correlation and covariance matrices and own parameters,
each on its natural scale, and no Jacobian is added to it: where likelihood times density is highest, the
posterior mode as blme and penalised likelihood have it, is the same in any parametrisation.

Second derivatives are those of the slopes by complex steps, which lose no digits.

Reference: Squire, Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM Review
40, 110-112.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.model.params import Params, ParamSpace
from lmeformula.model.priors import Assigned, Priors, log_orders
from lmeformula.model.structure_penalty import OfStructure, structures_of
from lmeformula.priors.record import Matrix, Scalar, Values

# Of a complex step: its square is no number.
TINY = 1e-200
# Of a difference of gradients, in units of psi.
APART = 1e-5


class Natural(NamedTuple):
    """Parameters on their natural scale, or derivatives in them; complex ones where a slope is differentiated.

    Attributes:
      beta: (p,) fixed effects.
      covariances: (k, k) of each term; of derivatives symmetric, so that trace(G dSigma) is the change.
      own: (f,) the family's own parameters, as they are reported.
    """

    beta: Values
    covariances: tuple[Values, ...]
    own: Values


class Sloped(NamedTuple):
    """Derivatives in what likelihoods are functions of.

    Attributes:
      in_beta: (p,).
      in_factors: (k, k) in the factor Lambda of each term.
      in_own: (f,) in the unconstrained own parameters.
    """

    in_beta: Floats
    in_factors: tuple[Floats, ...]
    in_own: Floats


class Moves(NamedTuple):
    """Directions: how the fixed effects (p, m), each Lambda (m, k, k) and the own parameters (f, m) move."""

    beta: Floats
    factors: tuple[Floats, ...]
    own: Floats


@dataclass(frozen=True)
class Penalty:
    """The log density of priors.

    Attributes:
      priors: which parameters have which.
      space: the parameters.
    """

    priors: Priors
    space: ParamSpace

    def value(self, beta: Floats, covariances: Sequence[Floats], own: Floats) -> float:
        """The log density; of improper priors up to a constant.

        Args:
          beta: (p,) fixed effects.
          covariances: (k, k) of each term.
          own: (f,) own parameters, as they are reported.
        Returns:
          Minus infinity where it is none, as at a standard deviation of zero that a prior excludes.
        """
        at = Natural(beta, tuple(covariances), own)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = sum(_value(one, at, self._sigma) for one in self.priors)
            total += sum(one.value(at.covariances[j]) for j, one in self._structures.items())
        total += log_orders(self.priors, self.space)
        return -math.inf if math.isnan(total) else float(total)

    def of(self, params: Params) -> float:
        """The log density at parameters."""
        report = self.space.own.report
        own = params.own if report is None else report @ params.own
        if self.space.own.size != len(own):
            own = self.space.own.to_report(self.space.own.scale.to_free(params.own))
        return self.value(params.beta, params.covariances, own)

    def at(self, beta: Floats, factors: Sequence[Floats], free: Floats) -> tuple[float, Sloped]:
        """The log density and its derivatives.

        Args:
          beta: (p,) fixed effects.
          factors: (k, k) Lambda of each term, with covariance Lambda Lambda'.
          free: (f,) own parameters, unconstrained.
        """
        own = self.space.own
        at = Natural(beta, tuple(one @ one.T for one in factors), own.to_report(free))
        slopes = self._slopes(at)
        return self.value(*at), Sloped(
            slopes.beta,
            tuple(
                2.0 * slope @ factor
                for slope, factor in zip(slopes.covariances, factors, strict=True)
            ),
            own.report_jacobian(free).T @ slopes.own,
        )

    def information(
        self,
        beta: Floats,
        factors: Sequence[Floats],
        free: Floats,
        moves: Moves,
        *,
        is_rough: bool = False,
    ) -> Floats:
        """(m, m) the negative second derivative along directions, in which each Lambda moves in straight lines.

        Args:
          beta, factors, free: as of `at`.
          moves: the directions.
          is_rough: for steps of an ascent. A density that falls from zero at once has none across zero: in its
            place is that of the parabola in Lambda below it which touches it here, and leads to zero.
        """
        own = self.space.own
        at = Natural(beta, tuple(one @ one.T for one in factors), own.to_report(free))
        slopes, jacobian = self._slopes(at), own.report_jacobian(free)
        m = moves.beta.shape[1]
        in_covariances = []
        for factor, move in zip(factors, moves.factors, strict=True):
            half = move @ factor.T
            in_covariances.append(half + half.transpose(0, 2, 1))
        in_own = jacobian @ moves.own
        found = np.zeros((m, m))
        active = moves.beta.any(axis=0) | moves.own.any(axis=0)
        for move in moves.factors:
            active |= move.reshape(m, -1).any(axis=1)
        for place in np.flatnonzero(active):
            stepped = Natural(
                at.beta + 1j * TINY * moves.beta[:, place],
                tuple(
                    covariance + 1j * TINY * move[place]
                    for covariance, move in zip(at.covariances, in_covariances, strict=True)
                ),
                at.own + 1j * TINY * in_own[:, place],
            )
            bent = self._slopes(stepped, without_kinks=is_rough)
            found[place] = (
                np.imag(bent.beta) @ moves.beta / TINY + np.imag(bent.own) @ in_own / TINY
            )
            for j, one in self._structures.items():
                turned = one.bend(at.covariances[j], in_covariances[j][place])
                found[place] += np.einsum("ab,mab->m", turned, in_covariances[j])
            for slope, move in zip(bent.covariances, in_covariances, strict=True):
                found[place] += np.einsum("ab,mab->m", np.imag(slope) / TINY, move)
        for slope, move in zip(slopes.covariances, moves.factors, strict=True):
            found += 2.0 * np.einsum("mac,ab,nbc->mn", move, slope, move)
        in_natural = slopes.own if own.report is None else own.report.T @ slopes.own
        found += moves.own.T @ own.scale.bend(free, in_natural) @ moves.own
        return -0.5 * (found + found.T)

    def in_psi(self, psi: Floats) -> tuple[float, Floats]:
        """The log density at psi (d,), finite, and its gradient (d,)."""
        space = self.space
        fixed, own = psi[: space.num_fixed], psi[space.own_slice]
        value, slopes = self.at(fixed, space.factors(psi), own)
        gradient = space.pull_back(psi, slopes.in_factors)
        gradient[: space.num_fixed], gradient[space.own_slice] = slopes.in_beta, slopes.in_own
        return value, gradient

    def information_in_psi(self, psi: Floats) -> Floats:
        """(d, d) its negative second derivative in psi, by differences of the gradient."""
        found = np.empty((len(psi), len(psi)))
        for place in range(len(psi)):
            step = np.zeros(len(psi))
            step[place] = APART * max(1.0, abs(psi[place]))
            ends = self.in_psi(psi - step)[1] - self.in_psi(psi + step)[1]
            found[place] = ends / (2.0 * step[place])
        return 0.5 * (found + found.T)

    def covered(self) -> Mask:
        """(d,) which elements of psi a prior is of; of a covariance all."""
        found = np.zeros(self.space.size, bool)
        for one in self.priors:
            for index, term in zip(one.indices, one.terms, strict=True):
                if one.of == "fixed":
                    found[index] = True
                elif one.of == "own":
                    found[self.space.own_slice.start + index] = True
                else:
                    found[self.space.theta_slices[term]] = True
        return found

    @cached_property
    def _structures(self) -> dict[int, OfStructure]:
        """The priors of what structures have of their own, by the number of the term."""
        each = self.priors.of("structure")
        return structures_of(
            [(cast(Scalar, one.prior), one.indices, one.terms) for one in each], self.space.terms
        )

    @property
    def _sigma(self) -> int:
        """The place of the residual standard deviation among the own parameters; -1 of none."""
        names = self.space.own.names
        return names.index("sigma") if "sigma" in names else -1

    def _slopes(self, at: Natural, *, without_kinks: bool = False) -> Natural:
        kind = np.result_type(at.beta, at.own, *at.covariances, float)
        found = Natural(
            np.zeros(len(at.beta), kind),
            tuple(np.zeros(one.shape, kind) for one in at.covariances),
            np.zeros(len(at.own), kind),
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            for one in self.priors:
                if not (without_kinks and one.of == "sd" and one.prior.has_kink):
                    _add_slope(one, at, found, self._sigma)
        if not np.issubdtype(kind, np.complexfloating):
            # Of complex numbers nothing: their bends are by themselves.
            for j, of in self._structures.items():
                found.covariances[j][...] += of.slope(at.covariances[j])
        # At a standard deviation of exactly zero there is none.
        for slope in found.covariances:
            slope[~np.isfinite(slope)] = 0.0
        return found


def _value(one: Assigned, at: Natural, sigma: int) -> float:
    if one.of == "structure":
        return 0.0
    if one.of in ("fixed", "own"):
        values = (at.beta if one.of == "fixed" else at.own)[list(one.indices)]
        return float(cast(Scalar, one.prior).log_density(values).sum())
    unit = at.own[sigma] if one.is_relative else 1.0
    if one.of == "sd":
        sds = np.array([np.sqrt(at.covariances[j][i, i]) for i, j in _pairs(one)])
        return float(cast(Scalar, one.prior).log_density(sds / unit).sum())
    density = cast(Matrix, one.prior)
    if one.of == "cor":
        return sum(density.log_density(_correlation(at.covariances[j])) for j in one.terms)
    return sum(density.log_density(at.covariances[j] / unit**2) for j in one.terms)


def _add_slope(one: Assigned, at: Natural, into: Natural, sigma: int) -> None:
    if one.of == "structure":
        return
    if one.of in ("fixed", "own"):
        values, slopes = (at.beta, into.beta) if one.of == "fixed" else (at.own, into.own)
        places = list(one.indices)
        slopes[places] += cast(Scalar, one.prior).slope(values[places])
        return
    unit = at.own[sigma] if one.is_relative else 1.0
    if one.of == "sd":
        for i, j in _pairs(one):
            sd = np.sqrt(at.covariances[j][i, i] + 0.0)
            slope = cast(Scalar, one.prior).slope(sd / unit)
            into.covariances[j][i, i] += slope / (2.0 * sd * unit)
            if one.is_relative:
                into.own[sigma] -= slope * sd / unit**2
        return
    density = cast(Matrix, one.prior)
    for j in one.terms:
        covariance = at.covariances[j]
        if one.of == "cov":
            scaled = covariance / unit**2
            slope = _of_matrix(density, scaled)
            into.covariances[j][...] += slope / unit**2
            if one.is_relative:
                into.own[sigma] -= 2.0 * np.sum(slope * scaled) / unit
            continue
        # The correlations are D^-1 Sigma D^-1, and their diagonal moves nothing.
        inverse = 1.0 / np.sqrt(np.diag(covariance) + 0.0)
        slope = _of_matrix(density, _correlation(covariance))
        np.fill_diagonal(slope, 0.0)
        turned = slope * np.outer(inverse, inverse)
        np.fill_diagonal(turned, -np.sum(turned * covariance, axis=1) * inverse**2)
        into.covariances[j][...] += turned


def _of_matrix(density: Matrix, matrix: Values) -> Any:
    try:
        return density.slope(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def _correlation(covariance: Values) -> Values:
    inverse = 1.0 / np.sqrt(np.diag(covariance) + 0.0)
    found = covariance * np.outer(inverse, inverse)
    np.fill_diagonal(found, 1.0)
    return found


def _pairs(one: Assigned) -> zip[tuple[int, int]]:
    return zip(one.indices, one.terms, strict=True)
