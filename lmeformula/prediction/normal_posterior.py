"""The effects of a fit given the data and the estimates, as normal, and with them the errors of its predictors.

With H = Z'WZ + Psi^-1, whose inverse is Lambda M^-1 Lambda', the errors of x'beta + z'b have variance

    z'H^-1 z + t'C t,   t = x - X'WZ H^-1 z,

where C is the covariance of the fixed effects: Henderson's mixed-model equations. With thresholds the predictor
is measured from their mean, which is one more coefficient, of a column of -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout, model_matrix
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored, find_meetings
from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.design.reading import square_shares
from lmeformula.design.select import select_rows
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.freedom import combined_variances
from lmeformula.prediction.parameter_errors import (
    has_thresholds,
    location_covariance,
    own_is_apart,
)
from lmeformula.prediction.posterior_draws import JOINT, PosteriorDraws
from lmeformula.prediction.predictor import stacked_estimates

# Rows whose variances are worked out at a time: memory does not grow with their number.
CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class NormalPosterior:
    """A `Posterior` that is normal about the modes.

    For responses that are not Gaussian W holds the negative second derivatives of the rows' log density at the
    estimates and conditional modes: the errors' distribution is taken for normal there.

    Attributes:
      fit: a fitted model.
      weights: (v n,) W, of its stacked rows; see `lmeformula.model.stack`.
      factor: of M.
    References:
      Henderson (1975), Biometrics 31, 423-447; Bates et al. (2015), J. Stat. Softw. 67(1), section 5.
    """

    fit: FittedModel
    weights: Floats
    factor: Factored
    num_draws = 0
    effective = math.inf

    @property
    def plan(self) -> Layout:
        """Where the effects of each term are among the q."""
        return self.factor.plan

    @cached_property
    def fixed_vcov(self) -> Floats:
        """(p, p) C; p counts the location of thresholds, where there are some."""
        return location_covariance(self.fit) if has_thresholds(self.fit) else self.fit.fixed_vcov

    @cached_property
    def X(self) -> Floats:
        """(v n, p) fixed columns of the stacked rows."""
        stack = self.fit.model.stack
        if not has_thresholds(self.fit):
            return stack.X
        reads_first = np.repeat(stack.mixture.readers[:, 0], stack.mixture.num_rows)
        return np.column_stack([stack.X, -reads_first])

    @cached_property
    def crossed(self) -> Floats:
        """(q, p) H^-1 Z'WX."""
        return self.collected(self.X * self.weights[:, None])

    def collected(self, rows: Floats) -> Floats:
        """(q, c) H^-1 Z' rows, for columns (v n, c) of stacked rows."""
        plan, lambdas = self.plan, self.factor.lambdas
        right = plan.gather(rows)
        half = self.factor.solve(apply_lambda(plan, lambdas, right, transpose=True))
        return apply_lambda(plan, lambdas, half)

    @cached_property
    def moves(self) -> Floats:
        """(q, d) how the modes follow the parameters of `parameter_covariance`.

        At the modes b of the effects Z'g = Psi^-1 b, with g the derivative of the rows' log density in their
        predictors: modes move by -H^-1 Z'WX with the fixed effects, and by H^-1 Z' dg with the own parameters.
        """
        moves = -self.crossed[:, : self.fit.model.space.num_fixed]
        if own_is_apart(self.fit):
            return moves
        return np.column_stack([moves, self.collected(_slopes_in_own(self.fit))])

    def tells_of(self, rows: Design | NewRows) -> bool:
        """See `Posterior`; parameters and effects have common equations."""
        return True

    def spread(self, rows: Design | NewRows) -> Floats:
        """See `Posterior`."""
        return self.covariances(rows, parameters=False)

    def shifts(self, rows: Design | NewRows) -> Floats:
        """See `Posterior`."""
        return np.zeros((1, len(rows.offset)))

    def draws(self, num_draws: int, seed: int) -> PosteriorDraws:
        """See `Posterior`."""
        noise = np.random.default_rng(seed).standard_normal((self.plan.num_effects, num_draws))
        # M = L L' is the precision of the effects before they are scaled by lambda: L'^-1 z has its inverse.
        about = apply_lambda(self.plan, self.factor.lambdas, self.factor.solve_upper(noise))
        effects = tuple(
            modes + np.moveaxis(part, -1, 0)
            for modes, part in zip(
                self.fit.modes, self.plan.natural(self.plan.split(about)), strict=True
            )
        )
        return PosteriorDraws(effects, JOINT)

    def covariances(
        self, rows: Design | NewRows, *, parameters: bool = True, effects: bool = True
    ) -> Floats:
        """(n, K, K) covariances of the errors of linear predictors.

        Args:
          rows: fitted or new rows, with their terms; an unseen level adds nothing.
          parameters: whether fixed effects are uncertain.
          effects: whether random effects are, given the data. Only both together take account of how the
            errors of the two are related.
        """
        k = rows.num_predictors
        if parameters and has_thresholds(self.fit):
            rows = replace(
                rows.as_rows() if isinstance(rows, Design) else rows,
                X=np.column_stack([rows.X, np.full(len(rows.X), -1.0)]),
                column_predictors=(*rows.column_predictors, 0),
            )
        with one_blas_thread():
            parts = [
                _polarised(some, lambda read: self._variances(read, parameters, effects))
                for _, some in in_parts(rows, CHUNK)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, k, k))

    def _variances(self, rows: Design | NewRows, parameters: bool, effects: bool) -> Floats:
        """(n,) of the sum of the predictors."""
        found = np.zeros(len(rows.X))
        plan = self._plan(rows.terms) if effects and rows.terms else None
        if parameters:
            seen = rows.X
            if plan is not None:
                seen = seen - plan.spread(self.crossed)
            found += combined_variances(seen, self.fixed_vcov)
        if plan is not None:
            found += self.factor.row_variances(plan)
        # Rounding may leave a variance of zero below it.
        return np.maximum(found, 0.0)

    def _plan(self, terms: tuple[TermBlock, ...]) -> Layout:
        matrices = []
        for block in terms:
            known, values, shares = block.index >= 0, block.values, block.shares
            if shares is None:
                values = np.where(known[:, None], values, 0.0)
            else:
                shares = np.where(known, shares, 0.0)
            index = np.where(known, block.index, 0).astype(np.int32)
            matrices.append(model_matrix(replace(block, values=values, index=index, shares=shares)))
        return self.plan.with_matrices(tuple(matrices))


def _polarised(rows: Design | NewRows, variances: Callable[[Design | NewRows], Floats]) -> Floats:
    """(n, K, K) covariances of K predictors, from variances (n,) of the sums that columns add to."""
    count = rows.num_predictors
    found = np.zeros((len(rows.offset), count, count))
    for a in range(count):
        found[:, a, a] = variances(_only(rows, (a,)))
    for a in range(count):
        for b in range(a):
            both = variances(_only(rows, (a, b))) - found[:, a, a] - found[:, b, b]
            found[:, a, b] = found[:, b, a] = 0.5 * both
    return found


def _only(rows: Design | NewRows, predictors: tuple[int, ...]) -> Design | NewRows:
    """Rows whose columns are those of some predictors, with zeros in place of the others'."""
    if len(predictors) == rows.num_predictors:
        return rows
    return replace(
        rows,
        X=rows.X * np.isin(rows.column_predictors, predictors),
        terms=tuple(
            replace(term, values=term.values * np.isin(term.predictors, predictors))
            for term in rows.terms
        ),
    )


def unseen_covariances(fit: FittedModel, rows: Design | NewRows) -> Floats:
    """(n, K, K) covariances of predictors by the normal effects of levels that the fit has not seen."""
    count = rows.num_predictors
    found = np.zeros((len(rows.offset), count, count))
    for block, prior in zip(rows.terms, fit.params.distributions, strict=True):
        if prior.is_normal:
            found += of_unseen(block, prior.scale, count)
    return found


def of_unseen(block: TermBlock, covariance: Floats, num_predictors: int) -> Floats:
    """(n, K, K) covariances of predictors by one term's effects (k, k) of unseen levels."""
    found = np.zeros((len(block.index), num_predictors, num_predictors))
    is_unseen = block.has_unseen
    reads = np.equal.outer(np.arange(num_predictors), block.predictors)
    each = block.values[is_unseen, None] * reads
    if block.shares is not None:
        index = block.index[is_unseen]
        scale = square_shares(index, np.where(index < 0, block.shares[is_unseen], 0.0))
        each = each * np.sqrt(scale)[:, None, None]
    found[is_unseen] = np.einsum("nka,ab,nlb->nkl", each, covariance, each, optimize=True)
    return found


def in_parts(rows: Design | NewRows, size: int) -> Iterator[tuple[slice, Design | NewRows]]:
    """Some rows at a time, `size` of them: where they are, and these."""
    for start in range(0, len(rows.offset), size):
        part = slice(start, start + size)
        yield part, select_rows(rows, part)


def factored(fit: FittedModel, weights: Floats | None = None) -> NormalPosterior:
    """The posterior at the estimates.

    Args:
      fit: a fitted model.
      weights: (v n,) W of the stacked rows; by default their `row_precisions`.
    Raises:
      ModelError: if the equations have no minimum.
    """
    weights = row_precisions(fit) if weights is None else weights
    plan = layout(fit.model.stack.terms)
    lambdas = tuple(cholesky_semidefinite(covariance) for covariance in fit.params.covariances)
    try:
        return NormalPosterior(fit, weights, find_meetings(plan).factorize(weights, lambdas))
    except np.linalg.LinAlgError:
        raise ModelError(
            "the log density is not concave at the estimates, so that predictions have no intervals",
            hint="Predict without `interval`, or simulate from the model.",
        ) from None


def row_precisions(fit: FittedModel) -> Floats:
    """(n,) negative second derivatives of the rows' log density in the linear predictor, times frequencies.

    With several predictors they are those of stacked rows; see `lmeformula.model.stack`.
    """
    design = fit.model.design
    if fit.model.family.is_normal:
        weights = np.ones(design.n) if design.weights is None else design.weights
        times = 1.0 if design.frequency is None else design.frequency
        return np.asarray(times * weights / fit.params.residual_sd**2)
    from lmeformula.likelihood.laplace.rows import row_derivatives  # may start TensorFlow

    second = row_derivatives(fit.model).slopes(*stacked_estimates(fit)).second
    return np.asarray(-second, float)


def _slopes_in_own(fit: FittedModel) -> Floats:
    """(v n, f) derivatives in the unconstrained own parameters of the rows' first ones in their predictors."""
    from lmeformula.likelihood.laplace.rows import row_derivatives  # may start TensorFlow

    eta, free = stacked_estimates(fit)
    found = row_derivatives(fit.model).depths(eta, free).own_first.T
    return np.asarray(np.where(np.isfinite(free), found, 0.0))
