"""Exact maximum likelihood and REML for Gaussian models, profiled over the fixed effects and sigma."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.gaussian.information import profile_information
from lmeformula.gaussian.likelihood import (
    Solution,
    Sums,
    fit_gradient,
    fixed_gradient,
    log_det_gradient,
    solve,
)
from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.model.params import Params, ParamSpace

Floats = NDArray[np.float64]

# Diagonal elements are kept at least this far from zero, where the derivative of log |M| loses digits as
# the inverse square of it. Columns that end there are exactly zero in the result.
SMALLEST = 1e-5
# A column of a factor that is shorter than this is tried at zero.
SHORT = 1e-3
# Where the optimiser starts: the relative sd of every coefficient.
FIRST_SD = 0.4
# A step changes an element by at most this, plus its own size.
LONGEST_STEP = 0.5
MAX_STEPS = 200
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# A variance at zero is set free if the log-likelihood rises by this per row and unit of relative variance.
FREEING_SLOPE = 1e-6


class ExactFit(NamedTuple):
    """The optimum.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      solution: the penalised least squares problem at the optimum.
      loglik: maximised log-likelihood (or REML criterion), on R's constants.
      gain: rise of the log-likelihood that another step promises.
      converged: whether that is nil.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the likelihood was evaluated.
    """

    params: Params
    solution: Solution
    loglik: float
    gain: float
    converged: bool
    singular: bool
    num_evaluations: int


class _Space(NamedTuple):
    """The free elements of the relative factors, each on the scale of its column of the data.

    Elements have no bounds: a column of a factor may change its sign, which leaves the covariance as it is,
    so that the likelihood is smooth where an element crosses zero, and a variance of zero is an ordinary
    stationary point.

    Attributes:
      bases: (t, k, k) of each term: a factor is the combination of its basis matrices with its elements.
      is_diagonal: (t in all) which elements lie on the diagonal.
      columns: positions of the elements that make up one column of one factor, the diagonal one first.
      term: (t in all) the term that each element belongs to.
    """

    bases: tuple[Floats, ...]
    is_diagonal: NDArray[np.bool_]
    columns: tuple[NDArray[np.int64], ...]
    term: NDArray[np.int64]

    def factors(self, elements: Floats) -> tuple[Floats, ...]:
        """The relative factor of each term."""
        ends = np.cumsum([0, *(len(basis) for basis in self.bases)])
        return tuple(
            np.tensordot(elements[a:b], basis, 1)
            for a, b, basis in zip(ends[:-1], ends[1:], self.bases, strict=True)
        )

    def keep_off_zero(self, elements: Floats) -> Floats:
        """The elements, those on the diagonal at least SMALLEST in size."""
        held = np.where(
            elements < 0, np.minimum(elements, -SMALLEST), np.maximum(elements, SMALLEST)
        )
        return np.where(self.is_diagonal, held, elements)


class _Point(NamedTuple):
    """The likelihood at one vector of elements.

    Attributes:
      elements: the free elements of the factors.
      value: deviance.
      score: derivative of the log-likelihood in the elements.
      information: an approximation from above to the negative second derivative; positive semidefinite.
      pulls: (k, k) of each term: K with d log-likelihood / d Lambda = -K Lambda.
      solution: the penalised least squares problem.
    """

    elements: Floats
    value: float
    score: Floats
    information: Floats
    pulls: tuple[Floats, ...]
    solution: Solution


def fit_exact(data: Sums, space: ParamSpace, *, reml: bool = False) -> ExactFit:
    """Maximise the Gaussian likelihood over the relative covariance factors.

    Newton's method, each step shortened until the likelihood rises. The second derivative in Lambda has two
    parts, that in Lambda Lambda', for which the average information stands, and that of Lambda Lambda' in
    Lambda, which vanishes at a regular maximum and rules near a variance of zero; its negative definite
    part is taken. A column of a factor that ends near zero is taken there, and one that lies there is set
    free if the likelihood rises with its variance.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      reml: maximise the restricted likelihood instead.
    Returns:
      The optimum, whether or not the optimiser converged.
    References:
      Gilmour, Thompson, Cullis (1995), Biometrics 51, 1440-1450, for the average information.
    """
    free_space = _free_space(data, space)
    count = 0

    def evaluate(elements: Floats) -> _Point:
        nonlocal count
        count += 1
        return _evaluate(data, space, free_space, free_space.keep_off_zero(elements), reml)

    point = evaluate(np.where(free_space.is_diagonal, FIRST_SD, 0.0))
    frozen = np.zeros(len(point.elements), bool)
    gain = np.inf
    for _ in range(MAX_STEPS):
        step = _step(point, ~frozen)
        gain = float(point.score @ step)
        following = _line_search(evaluate, point, step, gain) if gain >= NEGLIGIBLE_GAIN else None
        if following is None:
            freed = _free_a_column(evaluate, free_space, point, frozen, data.n)
            if freed is None:
                break
            point, frozen = freed
            continue
        point, frozen = _freeze_columns(evaluate, free_space, following, frozen)
    elements = np.where(frozen, 0.0, point.elements)
    lambdas = free_space.factors(elements)
    solution = solve(data, lambdas) if frozen.any() else point.solution
    return ExactFit(
        params=natural(data, space, solution, reml),
        solution=solution,
        loglik=-0.5 * profile(data, solution, space.fixed_sigma, reml),
        gain=gain,
        converged=gain < 1e-6,
        singular=any_singular(data, lambdas),
        num_evaluations=count,
    )


def _free_space(data: Sums, space: ParamSpace) -> _Space:
    """Divide the structures' bases by the root mean squares of the columns that they multiply."""
    bases, columns, diagonal = [], [], []
    start = 0
    for term, scale in zip(space.terms, column_scales(data), strict=True):
        basis = term.structure.basis(len(term.columns))
        # One variance for all coefficients has one scale.
        shared = np.abs(np.trace(basis, axis1=1, axis2=2)) > 1
        rows = np.where(shared[:, None], np.sqrt(np.mean(scale**2)), scale)
        bases.append(basis / rows[:, :, None])
        on_diagonal = np.trace(basis, axis1=1, axis2=2) > 0
        diagonal.append(on_diagonal)
        support = [tuple(np.flatnonzero(matrix.any(axis=0))) for matrix in basis]
        for place in np.flatnonzero(on_diagonal):
            members = [
                place,
                *(t for t, s in enumerate(support) if s == support[place] and t != place),
            ]
            columns.append(start + np.array(members))
        start += len(basis)
    owner = np.repeat(np.arange(len(bases)), [len(basis) for basis in bases])
    return _Space(tuple(bases), np.concatenate(diagonal), tuple(columns), owner)


def column_scales(data: Sums) -> tuple[Floats, ...]:
    """(k,) root mean squares of the columns of each random-effects term."""
    scales = []
    shift = data.plan.lead_size
    for j, (levels, k) in enumerate(data.plan.sizes):
        if j == data.plan.lead:
            squares = np.einsum("laa->a", data.products.lead)
        else:
            start = data.plan.starts[j] - shift
            diagonal = np.diag(data.products.rest)[start : start + levels * k]
            squares = diagonal.reshape(levels, k).sum(axis=0)
        root = np.sqrt(squares / data.n)
        scales.append(np.where(root > 0, root, 1.0))
    return tuple(scales)


def _evaluate(
    data: Sums, space: ParamSpace, free_space: _Space, elements: Floats, reml: bool
) -> _Point:
    lambdas = free_space.factors(elements)
    value, slopes, found = deviance(data, lambdas, space.fixed_sigma, reml)
    score, pulls = [], []
    information = profile_information(data, found, free_space.bases, space.fixed_sigma, reml)
    for j, (basis, slope, factor) in enumerate(zip(free_space.bases, slopes, lambdas, strict=True)):
        score.append(-0.5 * np.einsum("tab,ab->t", basis, slope))
        pull = 0.5 * sl.solve_triangular(factor, slope.T, lower=True, trans="T").T
        pull = 0.5 * (pull + pull.T)
        pulls.append(pull)
        values, vectors = np.linalg.eigh(pull)
        falling = (vectors * np.maximum(values, 0.0)) @ vectors.T
        here = np.flatnonzero(free_space.term == j)
        information[np.ix_(here, here)] += np.einsum("sab,ac,tcb->st", basis, falling, basis)
    return _Point(elements, value, np.concatenate(score), information, tuple(pulls), found)


def _step(point: _Point, free: NDArray[np.bool_]) -> Floats:
    """Newton's step in the free elements, each held to a trusted length."""
    step = np.zeros(len(free))
    information = point.information[np.ix_(free, free)]
    ridge = 1e-10 * np.trace(information) / max(len(information), 1) + 1e-12
    step[free] = np.linalg.solve(information + ridge * np.eye(len(information)), point.score[free])
    trusted = LONGEST_STEP + np.abs(point.elements)
    return step / max(1.0, float((np.abs(step) / trusted).max(initial=0.0)))


def _line_search(
    evaluate: Callable[[Floats], _Point], point: _Point, step: Floats, gain: float
) -> _Point | None:
    """The first of the step, its half, its quarter ... that raises the likelihood enough."""
    rounding = 1e-13 * abs(point.value)
    for halvings in range(20):
        share = 0.5**halvings
        following = evaluate(point.elements + share * step)
        if following.value <= point.value - 2e-4 * share * gain + rounding:
            return following
    return None


def _freeze_columns(
    evaluate: Callable[[Floats], _Point],
    free_space: _Space,
    point: _Point,
    frozen: NDArray[np.bool_],
) -> tuple[_Point, NDArray[np.bool_]]:
    """Take short columns to zero where that does not lower the likelihood."""
    for column in free_space.columns:
        is_short = float(np.linalg.norm(point.elements[column])) < SHORT
        if frozen[column].all() or not is_short:
            continue
        elements = point.elements.copy()
        elements[column] = 0.0
        at_zero = evaluate(elements)
        if at_zero.value <= point.value:
            point, frozen = at_zero, frozen.copy()
            frozen[column] = True
    return point, frozen


def _free_a_column(
    evaluate: Callable[[Floats], _Point],
    free_space: _Space,
    point: _Point,
    frozen: NDArray[np.bool_],
    num_rows: int,
) -> tuple[_Point, NDArray[np.bool_]] | None:
    """Set a column free in which the likelihood rises from zero, if there is one.

    For a short column x the log-likelihood is quadratic, -x'Kx / 2: it rises along the eigenvector of K's
    least eigenvalue, restricted to the elements that the column has, if that is negative.
    """
    flat = [matrix for basis in free_space.bases for matrix in basis]
    for column in free_space.columns:
        if not frozen[column].all():
            continue
        pull = point.pulls[free_space.term[column[0]]]
        rows = [flat[element] for element in column]
        curvature = np.array([[-np.einsum("ab,ac,cb->", r, pull, s) for s in rows] for r in rows])
        values, vectors = np.linalg.eigh(curvature)
        if values[-1] > FREEING_SLOPE * num_rows:
            elements, freed = point.elements.copy(), frozen.copy()
            elements[column] = 10 * SHORT * vectors[:, -1]
            freed[column] = False
            away = evaluate(elements)
            if away.value < point.value:
                return away, freed
    return None


def profile(data: Sums, found: Solution, sigma: float | None, reml: bool) -> float:
    """Deviance (-2 log-likelihood) at the optimal fixed effects and, unless given, sigma."""
    freedom = data.n - len(data.ols) if reml else data.n
    variance = found.rss / freedom if sigma is None else sigma**2
    value = found.factor.log_det - data.log_weights
    value += freedom * np.log(2 * np.pi * variance) + found.rss / variance
    if reml:
        value += np.linalg.slogdet(found.information)[1] + 2 * np.log(np.abs(np.diag(data.R))).sum()
    return float(value)


def deviance(
    data: Sums, lambdas: tuple[Floats, ...], sigma: float | None, reml: bool
) -> tuple[float, tuple[Floats, ...], Solution]:
    """The profiled deviance, its (k, k) derivatives in the elements of each Lambda, and the solution."""
    found = solve(data, lambdas)
    freedom = data.n - len(data.ols) if reml else data.n
    variance = found.rss / freedom if sigma is None else sigma**2
    pulls = []
    further = (
        fixed_gradient(data, found) if reml else tuple(np.zeros_like(factor) for factor in lambdas)
    )
    for spread, fit, fixed in zip(
        log_det_gradient(data, found), fit_gradient(data, found), further, strict=True
    ):
        pulls.append(2.0 * (spread - fit / variance - fixed))
    return profile(data, found, sigma, reml), tuple(pulls), found


def natural(data: Sums, space: ParamSpace, found: Solution, reml: bool) -> Params:
    """Parameters on their natural scale from a solved problem."""
    freedom = data.n - len(data.ols) if reml else data.n
    sigma = space.fixed_sigma or float(np.sqrt(found.rss / freedom))
    beta = data.ols + (sl.solve_triangular(data.R, found.gamma) if data.R.size else found.gamma)
    covariances = tuple(sigma**2 * (factor @ factor.T) for factor in found.factor.lambdas)
    return Params(beta, covariances, sigma)


def any_singular(data: Sums, lambdas: tuple[Floats, ...]) -> bool:
    """Whether the covariance of some term is singular, judged on the scale of its columns of the data."""
    for factor, scale in zip(lambdas, column_scales(data), strict=True):
        scaled = factor * scale[:, None]
        if is_singular(cholesky_semidefinite(scaled @ scaled.T)):
            return True
    return False


def is_singular(factor: Floats, tolerance: float = 1e-4) -> bool:
    """Whether a relative covariance factor is singular, to lme4's tolerance for its diagonal."""
    return bool((np.abs(np.diag(factor)) < tolerance).any())
