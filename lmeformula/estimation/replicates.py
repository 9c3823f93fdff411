"""Fits of one model to many responses at once, where its likelihood can be looked at for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.small import MOST_EFFECTS
from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design
from lmeformula.estimation.curves import Ended
from lmeformula.estimation.reported import reported
from lmeformula.estimation.separation import endless, is_perfect, predictors_at_zero
from lmeformula.family.runaway import met_exactly
from lmeformula.fit import FittedModel
from lmeformula.likelihood.ascent import FEW_ROWS
from lmeformula.likelihood.factors import factor_space
from lmeformula.likelihood.gaussian.exact import LARGE_SDS, elements_at
from lmeformula.likelihood.gaussian.moments import USUAL
from lmeformula.likelihood.gaussian.no_residual import may_lack_residual
from lmeformula.likelihood.gaussian.orthogonal import orthogonal
from lmeformula.likelihood.gaussian.sums import Carrier
from lmeformula.likelihood.laplace.fit import FIRST_SD, LARGE_SD, Care
from lmeformula.likelihood.laplace.fit import MOST_EFFECTS as FEW_EFFECTS
from lmeformula.likelihood.laplace.limits import (
    EQUAL,
    held_model,
    is_told,
    limits_left,
)
from lmeformula.likelihood.quadrature.integrand import integrand
from lmeformula.likelihood.replicates.ascent import Look, Tops, among
from lmeformula.likelihood.replicates.gaussian import GaussianReplicates, levels_of, one_factor
from lmeformula.likelihood.replicates.laplace import LaplaceReplicates, OneFactor
from lmeformula.likelihood.replicates.maxima import BESIDE, Highest, highest, measured_finely
from lmeformula.likelihood.replicates.quadrature import QuadratureReplicates
from lmeformula.likelihood.replicates.rows import ManyRows
from lmeformula.likelihood.singular import column_roots
from lmeformula.model.compile import Model
from lmeformula.model.orthogonal import orthogonal_model
from lmeformula.model.params import Params

# Numbers of an array that replicates are worked on at a time in.
MOST_NUMBERS = 2_000_000
# Fixed effects of less information, in units of orthogonal columns, may have no finite estimate.
TELLING = 1e-4


class Estimates(NamedTuple):
    """What fits of m responses found.

    Attributes:
      values: (m, d) estimates, on the reporting scale.
      fixed_vcov: (m, p, p) covariances of the fixed effects; NaN where they were not asked for.
      logliks: (m,) log-likelihoods.
      singular: (m,) whether a covariance of random effects is singular.
      found: (m,) whether a fit converged as any other does; the rest of such as did not tells nothing, and a
        single fit of theirs is needed.
      is_endless: (m,) those of the others of which it is known that coefficients have no finite estimate.
    """

    values: Floats
    fixed_vcov: Floats
    logliks: Floats
    singular: Mask
    found: Mask
    is_endless: Mask


class Together(Protocol):
    """Fits a model to several responses.

    Attributes:
      at_a_time: how many responses are best given at once.
    """

    at_a_time: int

    def __call__(self, designs: Sequence[Design], with_errors: bool = True) -> Estimates:
        """To designs that differ in their responses alone; standard errors may cost as much as estimates."""


class ExactTogether:
    """Of a Gaussian model with effects of one grouping factor; see `Together`.

    Args:
      fit: of the model.
      carrier: what the cross products of its design have without its response.
    """

    def __init__(self, fit: FittedModel, carrier: Carrier) -> None:
        self.space, self.reml, self.carrier = fit.model.space, fit.reml, carrier
        data = carrier.none
        self.roots = data.column_roots(self.space)
        self.charts = factor_space(self.space, self.roots)
        self.levels = levels_of(fit.model.design, carrier) if self.charts.is_linear else None
        start = self.charts.start(USUAL) if fit.singular else elements_at(self.charts, fit.params)
        self.start = start
        k, p = self.levels.ZQ.shape[1:] if self.levels is not None else (1, 1)
        each = len(data.Zy) * k * (k + p) + data.n
        self.at_a_time = max(1, MOST_NUMBERS // each)

    @property
    def serves(self) -> bool:
        """Whether all that a single fit looks at can be looked at here."""
        data = self.carrier.none
        has_residual = not (self.space.has_no_residual or may_lack_residual(data))
        return self.levels is not None and orthogonal(data).is_same and has_residual

    def __call__(self, designs: Sequence[Design], with_errors: bool = True) -> Estimates:
        """See `Together`."""
        assert self.levels is not None
        Y = np.array([design.y for design in designs], float)
        data, space, held = self.carrier.none, self.space, self.space.held_sd
        hill = GaussianReplicates(self.levels, self.carrier, self.charts, Y, self.reml, held)
        is_few = data.plan.num_effects <= MOST_EFFECTS or data.n <= FEW_ROWS
        tops, resting = highest(
            hill.look,
            self.charts,
            np.tile(self.start, (len(Y), 1)),
            data.n,
            data.plan.num_effects,
            thorough=is_few,
            further=tuple(map(self.charts.start, LARGE_SDS)) if data.n <= FEW_ROWS else (),
        )
        solved = hill.solve(tops.coordinates, np.arange(len(Y)))
        variances = hill.variances(solved)
        factors = hill.factors(tops.coordinates)
        inverse = np.linalg.inv(data.R) if data.R.size else data.R
        beta = hill.responses.ols + solved.gamma @ inverse.T
        spread = inverse @ np.linalg.inv(solved.information) @ inverse.T
        covariances = variances[:, None, None] * (factors @ factors.transpose(0, 2, 1))
        values = reported(space, beta, covariances, np.sqrt(variances)[:, None])
        return Estimates(
            values=values,
            fixed_vcov=variances[:, None, None] * spread,
            logliks=hill.values(solved),
            singular=np.atleast_1d(resting.any(axis=1)),
            found=tops.found & solved.has_digits,
            is_endless=np.zeros(len(Y), bool),
        )


def exactly_together(fit: FittedModel, carrier: Carrier) -> Together | None:
    """The fits of a Gaussian model to several responses; None where they have to be made one by one."""
    found = ExactTogether(fit, carrier)
    return found if found.serves else None


class Climbs(NamedTuple):
    """Where the ascents of m responses ended.

    Attributes:
      hill: their approximations.
      look: what was climbed: these, or the likelihoods themselves.
      highest: the maxima.
      is_regular: (m,) which of them are known to be what a single fit finds.
    """

    hill: LaplaceReplicates
    look: Look
    highest: Highest
    is_regular: Mask


class MarginalTogether:
    """Of a model whose effects are integrated out around their modes; see `Together`.

    Where that is by quadrature, ascents begin at the maxima of the Laplace approximations.

    Args:
      model: the model.
      care: how a single fit is made.
      start: parameters to start from, whose covariances have full rank; None for rough ones.
    """

    def __init__(self, model: Model, care: Care, start: Params | None) -> None:
        self.model, self.care = model, care
        self.charts = factor_space(model.space, column_roots(model))
        self.plan = layout(model.design.terms)
        self.term = one_factor(model.design.terms)
        self.start = start
        self.integrand = integrand(model, self.plan) if care.marginal.is_exact else None
        n, d = model.design.n, model.space.size
        nodes = 1 if self.integrand is None else self.integrand.densities() // n
        self.at_a_time = max(1, MOST_NUMBERS // (n * max(d, nodes)))

    @property
    def serves(self) -> bool:
        """Whether all that a single fit looks at can be looked at here."""
        model, charts = self.model, self.charts
        family = model.family
        return (
            self.term is not None
            and charts.is_linear
            and family.has_derivatives
            # Its rows are those of the data, none of pairs of predictors.
            and len(model.stack.offset) == model.design.n
            and orthogonal_model(model) is None
            and not (
                self.care.marginal.is_exact and (self.integrand is None or model.space.own.size)
            )
        )

    def __call__(self, designs: Sequence[Design], with_errors: bool = True) -> Estimates:
        """See `Together`."""
        found = self._climbed(designs, None)
        (tops, resting), space, hill = found.highest, self.model.space, found.hill
        coefficients, own, factors = hill.split(tops.coordinates)
        natural = np.array([space.own.scale.to_natural(one) for one in own])
        R = hill.arrays.R
        inverse = np.linalg.inv(R) if R.size else R
        beta = coefficients @ inverse.T
        covariances = factors @ factors.transpose(0, 2, 1)
        p, every, information = space.num_fixed, np.arange(len(beta)), tops.information
        if with_errors:
            information = measured_finely(found.look, tops.coordinates, every, resting)
        spread = np.linalg.pinv(information, rcond=1e-12, hermitian=True)[:, :p, :p]
        spread = inverse @ spread @ inverse.T
        is_found = found.is_regular & _has_ends(information[:, :p, :p])
        return Estimates(
            values=reported(space, beta, covariances, natural),
            fixed_vcov=np.asarray(spread if with_errors else np.full_like(spread, np.nan), float),
            logliks=tops.values,
            singular=np.atleast_1d(resting.any(axis=1)),
            found=is_found,
            is_endless=self._are_endless(found, beta, natural, is_found),
        )

    def _climbed(self, designs: Sequence[Design], start: Floats | None) -> Climbs:
        """Climb to the highest maxima, from (m, d) where that is given."""
        model, charts, m, term = self.model, self.charts, len(designs), self.term
        assert term is not None
        arrays = OneFactor.of(model, term)
        responses = [model.family.response(one) for one in designs]
        hill = LaplaceReplicates(model, arrays, charts, ManyRows(model, responses, arrays.order), m)
        if start is None:
            start = np.tile(self._coordinates(arrays.R), (m, 1))
        is_few = self.plan.num_effects <= FEW_EFFECTS
        look, n = hill.look, model.design.n
        found = highest(
            look,
            charts,
            start,
            n,
            self.plan.num_effects,
            thorough=is_few,
            further=(charts.start(LARGE_SD),) if is_few and self.care.looks_far else (),
        )
        if self.integrand is not None:
            look = QuadratureReplicates(model, self.integrand, hill, m).look
            found = self._onwards(look, found, n)
        climbs = Climbs(hill, look, found, self._is_regular(hill, found.tops, responses))
        return climbs._replace(is_regular=self._are_told(climbs, designs))

    def _coordinates(self, R: Floats) -> Floats:
        """(d,) where the ascents start."""
        params, charts = self.start or self.model.start, self.charts
        elements = charts.start(FIRST_SD)
        if self.start is not None:
            elements = charts.near(tuple(map(cholesky_semidefinite, params.covariances)))
        own = self.model.space.own.scale.to_free(params.own)
        return np.concatenate([R @ params.beta, own, elements])

    def _onwards(self, look: Look, found: Highest, num_rows: int) -> Highest:
        """From the maxima of the approximations to those of the likelihoods; off zero, where some rest."""
        tops, resting = found
        start, which = tops.coordinates.copy(), np.flatnonzero(tops.found)
        elements = start[:, start.shape[1] - self.charts.size :]
        elements[resting] = BESIDE
        is_near = np.atleast_1d(~resting.any(axis=1))
        best = tops._replace(found=np.zeros(len(start), bool), values=np.full(len(start), -np.inf))
        rests = np.zeros_like(resting)
        for some, information in (
            (which[is_near[which]], tops.information),
            (which[~is_near[which]], None),
        ):
            if not len(some):
                continue
            top = highest(
                among(look, some),
                self.charts,
                start[some],
                num_rows,
                self.plan.num_effects,
                thorough=False,
                information=None if information is None else information[some],
            )
            best = best.better(top.tops, some, 0.0)
            rests[some] = top.resting
        return Highest(best, rests)

    def _are_endless(self, climbs: Climbs, beta: Floats, own: Floats, is_found: Mask) -> Mask:
        """(m,) which ascents that found nothing ended on the way to coefficients without end."""
        model, hill, tops = self.model, climbs.hill, climbs.highest.tops
        lost = np.flatnonzero(~is_found & np.isfinite(tops.values))
        answer = np.zeros(len(beta), bool)
        if not len(lost):
            return answer
        rows, order = hill.modes(tops.coordinates[lost], lost).at.rows, hill.arrays.order
        zero = np.stack([predictors_at_zero(model, own[r])[order] for r in lost])
        _, free, _ = hill.split(tops.coordinates[lost])
        at_zero = hill.rows.slopes(zero, free, lost)
        back = np.argsort(order)
        for r, second, flat in zip(
            lost, rows.second[:, back], at_zero.second[:, back], strict=True
        ):
            ended = Ended(float(tops.values[r]), beta[r], own[r], -second, -flat)
            # Of likelihoods that bend downwards everywhere no other ascent finds an end.
            answer[r] = bool((second <= 0.0).all() and endless(model, ended).any())
        return answer

    def _is_regular(
        self, hill: LaplaceReplicates, tops: Tops, responses: list[tuple[Floats, ...]]
    ) -> Mask:
        """(m,) whether a maximum was found, no response is met exactly, and no standard deviation is far out.

        There effects predict responses nearly perfectly: an approximation may have several maxima, and the data
        say little.
        """
        model, base = self.model, self.model.family.base
        _, own, _ = hill.split(tops.coordinates)
        elements = tops.coordinates[:, tops.coordinates.shape[1] - self.charts.size :]
        found = tops.found & ~is_perfect(model.family, tops.values)
        found &= (np.abs(elements) < LARGE_SD).all(axis=1)
        if any(one.name in model.space.own.names for one in base.runaways):
            every = (base.runaways, model.space.own.natural_names)
            each = zip(responses, map(model.space.own.scale.to_natural, own), strict=True)
            found &= np.array([met_exactly(*every, *one) is None for one in each])
        return np.asarray(found)

    def _are_told(self, climbs: Climbs, designs: Sequence[Design]) -> Mask:
        """(m,) which regular maxima are above those with an own parameter at its limit, as `limits.climb` asks.

        A parameter that ends at its limit is for a single fit.
        """
        model, tops, told = self.model, climbs.highest.tops, climbs.is_regular.copy()
        if not (model.family.base.limits and model.space.own.size):
            return told
        limits = [limits_left(model.responding(design), ()) for design in designs]
        left = [{one.limit.name: one for one in each} for each in limits]
        information = climbs.hill.own_information(tops.coordinates, np.arange(len(left)))
        for place, name in enumerate(model.space.own.names):
            is_open = np.array([name in each for each in left])
            which = np.flatnonzero(told & is_open & ~is_told(information[:, place]))
            if not len(which):
                continue
            # The nearest to the limit serves all.
            ends = sorted((left[r][name] for r in which), key=lambda one: one.stand_in)
            near = ends[-1 if ends[0].limit.is_upwards else 0]
            simpler = MarginalTogether(held_model(model, (near,)), self.care, None)
            start = np.delete(tops.coordinates[which], model.space.num_fixed + place, axis=1)
            at_limit = simpler._climbed([designs[int(r)] for r in which], start)
            is_higher = tops.values[which] > at_limit.highest.tops.values + EQUAL
            told[which] = at_limit.is_regular & is_higher
        return told


def _has_ends(information: Floats) -> Mask:
    """(m,) whether no fixed effect, of informations (m, p, p), may be endless."""
    return np.asarray(np.linalg.eigvalsh(information).min(axis=1, initial=np.inf) > TELLING)


def marginally_together(model: Model, care: Care, start: Params | None) -> Together | None:
    """The fits of a model by Laplace or quadrature to several responses; None where they are made one by one.

    Args:
      model: the model.
      care: how a single fit is made.
      start: parameters to start from, whose covariances have full rank; None for rough ones.
    """
    found = MarginalTogether(model, care, start)
    return found if found.serves else None
