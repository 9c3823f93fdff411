"""Exact maximum likelihood and REML for Gaussian models, profiled over the fixed effects and sigma."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts
from lmeformula.algebra.general import Whole
from lmeformula.algebra.precision import Exact, Precision
from lmeformula.algebra.small import MOST_EFFECTS, dense_products
from lmeformula.algebra.sparse_factor import SparseWhole
from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.likelihood.ascent import FEW_ROWS, ascend
from lmeformula.likelihood.evaluation import Evaluation, last_kept, where_told
from lmeformula.likelihood.factors import FactorSpace, factor_space
from lmeformula.likelihood.gaussian.from_residuals import is_perfect
from lmeformula.likelihood.gaussian.information import profile_information
from lmeformula.likelihood.gaussian.likelihood import (
    MOST_DENSE,
    log_likelihood_of,
    solve_quickly,
    variance_of,
)
from lmeformula.likelihood.gaussian.moments import covariance_start, moment_start
from lmeformula.likelihood.gaussian.no_residual import may_lack_residual, without_limit
from lmeformula.likelihood.gaussian.orthogonal import Orthogonal, orthogonal
from lmeformula.likelihood.gaussian.restricted import restricted
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.measured import with_measured
from lmeformula.likelihood.resumable import Resumable
from lmeformula.likelihood.singular import any_singular
from lmeformula.model.params import Params, ParamSpace

# How often a start that cannot be evaluated is divided by ten.
MOST_RETREATS = 8
# Most effects that are done densely where blocks have no digits.
MOST_CLOSELY = 300
# Of few rows the likelihood may have a second maximum at large standard deviations, tried from these.
LARGE_SDS = (5.0, 50.0)
# Where the likelihood has no limit as sigma goes to zero, it is from here that it is seen to grow.
ENDLESS_SD = 1e4
P = TypeVar("P", bound=Precision, covariant=True)


class ExactFit(NamedTuple, Generic[P]):
    """The optimum.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      solution: the penalised least squares problem at the optimum, of the columns of `inner`.
      loglik: maximised log-likelihood (or REML criterion), on R's constants.
      gain: rise of the log-likelihood that another step promises.
      converged: whether that is nil.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the likelihood was evaluated.
      perfect: whether the model meets its responses exactly.
      charts: of the relative factors.
      elements: (t,) of the charts; those that rest on a face do so exactly.
      inner: the sums that it was found with.
    """

    params: Params
    solution: Solution[P]
    loglik: float
    gain: float
    converged: bool
    singular: bool
    num_evaluations: int
    perfect: bool
    charts: FactorSpace
    elements: Floats
    inner: Orthogonal


def fit_exact(
    data: Sums,
    space: ParamSpace,
    *,
    reml: bool = False,
    start: Params | None = None,
    thorough: bool = True,
    polished: bool = True,
    alone: bool = False,
) -> ExactFit[Exact]:
    """Maximise the Gaussian likelihood over the relative covariance factors, by Newton's method.

    The second derivative in Lambda has two parts, that in Lambda Lambda', for which the average information
    stands, and that of Lambda Lambda' in Lambda, which vanishes at a regular maximum and rules near a
    variance of zero; its negative definite part is taken.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      reml: maximise the restricted likelihood instead.
      start: parameters to start from, with covariances of full rank; moment estimates by default.
      thorough: where effects are few, look for other maxima from where this one is.
      polished: where effects are few, go on as far as numbers tell.
      alone: climb from that start only; see `ascend`.
    Returns:
      The optimum, whether or not the optimiser converged.
    References:
      Gilmour, Thompson, Cullis (1995), Biometrics 51, 1440-1450, for the average information.
    """
    roots = data.column_roots(space)
    elements = factor_space(space, roots, space.held_sd or 1.0)
    inner = orthogonal(data)
    contrasts = restricted(inner.data) if reml else None
    work, apart = (inner.data, reml) if contrasts is None else (contrasts, False)

    slope = sloper(work, space, elements, inner, apart)
    look = looker(work, space, elements, inner, apart)
    evaluate = last_kept(Resumable(where_told(look, elements.factors)))

    def measure(point: Evaluation, free: Mask) -> Evaluation:
        def score(coordinates: Floats) -> Floats:
            return slope(coordinates, elements.factors(coordinates)).score

        return with_measured(score, point, free) if point.is_worked_out else point

    first = _first_elements(data, space, elements, roots, start, reml)
    endless = () if reml or space.held_sd is not None else without_limit(data)
    if endless:
        # Wherever else there is a maximum, it is none of the likelihood's.
        first, thorough = _only(elements, endless), False
    for _ in range(MOST_RETREATS):
        if np.isfinite(evaluate(first).value):
            break
        first = elements.settle(0.1 * first)
    is_few = data.plan.num_effects <= MOST_EFFECTS or data.n <= FEW_ROWS
    is_far = thorough and (data.n <= FEW_ROWS or may_lack_residual(data))
    summit = ascend(
        evaluate,
        elements,
        first,
        data.n,
        thorough=thorough and is_few,
        further=tuple(map(elements.start, LARGE_SDS)) if is_far else (),
        measure=measure,
        polished=polished and is_few,
        alone=alone,
    )
    lambdas, solution = elements.limits(summit.elements), summit.point.detail
    if summit.on_face or solution is None or elements.is_held:
        try:
            solution = solve_quickly(work, inner.factors(lambdas))
        except np.linalg.LinAlgError:
            # On the face itself numbers of this precision do not reach; next to it they did.
            if solution is None:
                raise
            lambdas = elements.factors(elements.settle(summit.elements))
    variance = variance_of(work, solution, space.held_sd, apart)
    loglik = log_likelihood_of(work, solution, variance, apart)
    if contrasts is not None:
        solution = solve_quickly(inner.data, inner.factors(lambdas))
    params = natural(data, space, solution, reml)
    if not inner.is_same:
        variance = params.residual_sd**2
        params = params._replace(
            covariances=tuple(variance * (factor @ factor.T) for factor in lambdas)
        )
    return ExactFit(
        params=params,
        solution=solution,
        loglik=loglik,
        gain=summit.gain,
        converged=summit.converged,
        singular=any_singular(space, lambdas, roots),
        num_evaluations=summit.num_evaluations,
        perfect=bool(endless)
        or (space.held_sd is None and is_perfect(data.rows, solution.rss, solution.missed)),
        charts=elements,
        elements=summit.elements,
        inner=inner,
    )


def looker(
    data: Sums, space: ParamSpace, charts: FactorSpace, inner: Orthogonal, reml: bool
) -> Callable[[Floats, tuple[Floats, ...]], Evaluation]:
    """Coordinates of the charts, and the factors there -> what an ascent asks of the profiled likelihood.

    Args:
      data: cross products of the columns of `inner`, or contrasts of them.
      space: the model's parameter space.
      charts: of the relative factors.
      inner: the columns.
      reml: of the restricted likelihood.
    """

    slope = sloper(data, space, charts, inner, reml)

    def look(coordinates: Floats, lambdas: tuple[Floats, ...]) -> Evaluation:
        at = slope(coordinates, lambdas)
        changes = inner.factors(charts.changes(coordinates))
        information = profile_information(data, at.found, changes, space.held_sd, reml)
        information += charts.falling(coordinates, at.slopes)
        value = log_likelihood_of(data, at.found, at.variance, reml)
        return Evaluation(coordinates, value, at.score, information, at.slopes, at.found)

    return look


class _Sloped(NamedTuple):
    """The solved problem, its variance, and its derivatives in each Lambda (k, k) and in the elements (t,)."""

    found: Solution[Precision]
    variance: float
    slopes: tuple[Floats, ...]
    score: Floats


def sloper(
    data: Sums, space: ParamSpace, charts: FactorSpace, inner: Orthogonal, reml: bool
) -> Callable[[Floats, tuple[Floats, ...]], _Sloped]:
    """The same without an information; arguments as of `looker`."""

    def slope(coordinates: Floats, lambdas: tuple[Floats, ...]) -> _Sloped:
        found = solve_quickly(data, inner.factors(lambdas))
        variance = variance_of(data, found, space.held_sd, reml)
        slopes = inner.slopes(found.slopes(variance, reml))
        return _Sloped(found, variance, slopes, charts.pull_back(coordinates, slopes))

    return slope


def densely(data: Sums) -> Sums | None:
    """What a fit by blocks that came close to its responses, or to no maximum, is to be found with once more.

    Blocks divide by factors, and keep few digits of derivatives where sigma is a small share of the effects.

    Args:
      data: cross products of the design.
    Returns:
      The same with Z'WZ as one matrix; None where it was so, and with too many effects.
    """
    is_sparse = isinstance(data.products, SparseWhole)
    if is_sparse or data.dense is not None or data.n * data.plan.num_effects > MOST_DENSE:
        return None
    assert isinstance(data.products, CrossProducts | Whole)
    dense = dense_products(data.plan, data.products, MOST_CLOSELY)
    return None if dense is None else data._replace(dense=dense)


def _first_elements(
    data: Sums,
    space: ParamSpace,
    elements: FactorSpace,
    roots: tuple[Floats, ...],
    start: Params | None,
    reml: bool,
) -> Floats:
    if start is not None:
        return elements_at(elements, start)
    if elements.is_linear:
        factor = covariance_start(data, roots[0], space.held_sd, reml)
        if factor is not None:
            return elements.near((factor,))
    sds = moment_start(data, data.column_scales(), space.held_sd)
    return np.concatenate(
        [chart.start(float(sd)) for chart, sd in zip(elements.charts, sds, strict=True)]
    )


def elements_at(elements: FactorSpace, params: Params) -> Floats:
    """(t,) elements of the factors of these covariances, relative to sigma."""
    sd = params.residual_sd
    return elements.near(
        tuple(cholesky_semidefinite(covariance) / sd for covariance in params.covariances)
    )


def _only(elements: FactorSpace, terms: tuple[int, ...]) -> Floats:
    """(t,) elements of some terms alone, beside which a residual is next to nothing."""
    return np.concatenate(
        [chart.start(ENDLESS_SD if j in terms else 0.0) for j, chart in enumerate(elements.charts)]
    )


def natural(data: Sums, space: ParamSpace, found: Solution[Precision], reml: bool) -> Params:
    """Parameters on their natural scale from a solved problem."""
    sigma = space.held_sd or float(np.sqrt(found.rss / data.freedom(reml)))
    beta = data.ols + (np.linalg.solve(data.R, found.gamma) if data.R.size else found.gamma)
    covariances = tuple(sigma**2 * (factor @ factor.T) for factor in found.factor.lambdas)
    return Params(beta, covariances, np.array([sigma]))
