"""Maximum likelihood and REML for Gaussian models without a dense block, exact up to a Monte Carlo error.

The score is a mean over probes that stay the same for all parameters, so that Newton's method finds its root as
it would that of an exact score. How far that root is from the maximum follows from the scatter of the score
over the probes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.probes import random_signs
from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood import probing
from lmeformula.likelihood.ascent import ascend
from lmeformula.likelihood.evaluation import Summit, where_told
from lmeformula.likelihood.factors import FactorSpace, factor_space
from lmeformula.likelihood.gaussian.exact import elements_at, looker, natural
from lmeformula.likelihood.gaussian.from_residuals import is_perfect
from lmeformula.likelihood.gaussian.likelihood import (
    log_likelihood_of,
    pull_of_data,
    relative_factors,
    score,
    scores_of,
    solve,
)
from lmeformula.likelihood.gaussian.orthogonal import Orthogonal
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.integrated import integrated
from lmeformula.likelihood.singular import any_singular
from lmeformula.model.bounds import off_bounds
from lmeformula.model.params import Params, ParamSpace

# Where the optimiser starts: the relative sd of every coefficient.
FIRST_SD = 0.4
# Step of the differences for the observed information, in log sds. The probes are the same on both ends, and
# the equations good to eight digits.
DIFFERENCE = 1e-3
Ways = Callable[[Floats, Mask], Floats]
# A standard deviation at its boundary, relative to that of the rows, where its logarithm is needed.
BOUNDARY_SD = 1e-6


class IterativeFit(NamedTuple):
    """The optimum.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      psi: (d,) the same unconstrained; boundary parameters hold a finite stand-in.
      inside: (d,) which parameters are not at their boundary.
      information: (d, d) observed information of psi, by differences of the score; zero outside.
      mc_covariance: (d, d) Monte Carlo covariance of psi; zero outside.
      solution: the penalised least squares problem at the optimum.
      signs: (r, m) the probes.
      loglik: maximised log-likelihood (or REML criterion), on R's constants.
      loglik_error: its Monte Carlo standard error.
      gain: rise of the log-likelihood that another step promises.
      converged: whether that is nil and every equation was solved.
      is_sharp: whether every Monte Carlo error is as small as was asked.
      interrupted: whether the user stopped it before it was.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the likelihood was evaluated.
      perfect: whether the model meets its responses exactly; then there is no information.
      lost: whether derivatives at the end are beyond numbers of this precision; then neither.
    """

    params: Params
    psi: Floats
    inside: Mask
    information: Floats
    mc_covariance: Floats
    solution: Solution[ProbedFactor]
    signs: Floats
    loglik: float
    loglik_error: float
    gain: float
    converged: bool
    is_sharp: bool
    interrupted: bool
    singular: bool
    num_evaluations: int
    perfect: bool
    lost: bool


def fit_iterative(
    data: Sums,
    space: ParamSpace,
    *,
    reml: bool = False,
    seed: int = 0,
    tolerance: float = 0.01,
    max_probes: int = 512,
    ways: Ways | None = None,
    start: Params | None = None,
) -> IterativeFit:
    """Maximise the Gaussian likelihood over the relative covariance factors.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      reml: maximise the restricted likelihood instead.
      seed: of the probes.
      tolerance: probes are added until every Monte Carlo error is below this fraction of the parameter's
        standard error.
      max_probes: most probes.
      ways: (psi (d,), which are inside (d,)) -> (d, d) directions in psi, in columns, along which scores are
        differenced: of covariances those of orthogonal columns. By default each parameter by itself.
      start: parameters to start from; moderate deviations by default.
    Returns:
      The optimum, whether or not the optimiser converged. An interruption from the keyboard while probes are
      added returns what the last set of them gave.
    """
    elements = factor_space(space, data.column_roots(space))
    problem = _Problem(data, space, elements, reml, ways)
    size = data.plan.num_effects - data.plan.lead_size
    count = min(probing.FIRST_PROBES, max_probes)
    rough = random_signs(size, probing.ROUGH_PROBES, seed)
    at_first = elements.start(FIRST_SD) if start is None else elements_at(elements, start)
    first = _ascend(problem.probed(rough), at_first, probing.ROUGH_GAIN)
    here, num_evaluations = first.point.coordinates, first.num_evaluations
    found: IterativeFit | None = None
    while True:
        try:
            signs = random_signs(size, count, seed)
            found, here = _fit_with(problem.probed(signs), here, found)
            num_evaluations += found.num_evaluations
        except KeyboardInterrupt:
            if found is None:
                raise
            return found._replace(interrupted=True)
        if found.perfect or found.lost:
            return found._replace(num_evaluations=num_evaluations)
        excess = probing.excess(found.mc_covariance, found.information, found.inside, tolerance)
        found = found._replace(is_sharp=excess <= 1.0, num_evaluations=num_evaluations)
        if excess <= 1.0 or count >= max_probes or not found.converged:
            factor = found.solution.factor
            loglik, error, signs = probing.sharpened(factor, found.loglik, seed)
            return found._replace(signs=signs, loglik=loglik, loglik_error=error)
        count = probing.more_probes(count, excess, max_probes)


class _Problem(NamedTuple):
    """What is fitted; attributes as of `fit_iterative`, and the charts of the factors."""

    data: Sums
    space: ParamSpace
    elements: FactorSpace
    reml: bool
    ways: Ways | None

    def probed(self, signs: Floats) -> _Problem:
        """The same by one set of probes."""
        return self._replace(data=self.data._replace(signs=signs))


def _ascend(problem: _Problem, start: Floats, negligible: float) -> Summit:
    """Climb to the root of the score."""
    data, space, elements, reml, _ = problem
    look = looker(data, space, elements, Orthogonal(data, (), True), reml)
    evaluate = where_told(look, elements.factors)
    return ascend(integrated(evaluate), elements, start, data.n, negligible)


def _fit_with(
    problem: _Problem, start: Floats, earlier: IterativeFit | None
) -> tuple[IterativeFit, Floats]:
    """The optimum by one set of probes, and its coordinates."""
    data, space, elements, reml, _ = problem
    summit = _ascend(problem, start, probing.NEGLIGIBLE_GAIN)
    lambdas = elements.factors(summit.elements)
    found = solve(data, lambdas) if summit.on_face else summit.point.detail
    solution = cast(Solution[ProbedFactor], found)
    params = natural(data, space, solution, reml)
    sigma = params.residual_sd
    psi, inside = off_bounds(
        space, space.to_free(params), BOUNDARY_SD * sigma, data.column_scales()
    )
    perfect = space.held_sd is None and is_perfect(data.rows, solution.rss, solution.missed)
    d = space.size
    information, mc_covariance, lost = np.zeros((d, d)), np.zeros((d, d)), False
    if not perfect:
        try:
            scores, information = _derivatives(problem, psi, inside, solution, earlier)
        except np.linalg.LinAlgError:
            lost = True
        else:
            mean = scores.mean(axis=0)
            psi, params = probing.last_step(space, psi, inside, information, mean, params)
            mc_covariance = probing.mc_covariance(scores, information, inside)
    fit = IterativeFit(
        params=params,
        psi=psi,
        inside=inside,
        information=information,
        mc_covariance=mc_covariance,
        solution=solution,
        signs=solution.factor.signs,
        loglik=log_likelihood_of(data, solution, sigma**2, reml),
        loglik_error=probing.loglik_error(solution.factor.probed.log_det_each),
        gain=summit.gain,
        converged=summit.converged and solution.factor.converged,
        is_sharp=False,
        interrupted=False,
        singular=any_singular(lambdas, data.column_roots(space)),
        num_evaluations=summit.num_evaluations,
        perfect=perfect,
        lost=lost,
    )
    return fit, summit.point.coordinates


def _derivatives(
    problem: _Problem,
    psi: Floats,
    inside: Mask,
    solution: Solution[ProbedFactor],
    earlier: IterativeFit | None,
) -> tuple[Floats, Floats]:
    """The score (m, d) by each probe at psi, and the observed information there (d, d)."""
    data, space, _, reml, _ = problem
    at = solution
    settled = zip(solution.factor.lambdas, relative_factors(space, psi), strict=True)
    if not all(np.allclose(a, b, rtol=1e-9, atol=0.0) for a, b in settled):
        # On a face, or with the signs of some columns turned.
        at = cast(Solution[ProbedFactor], score(data, space, psi, reml)[1])
    scores = scores_of(data, space, psi, at, reml)
    if earlier is None or (earlier.inside != inside).any():
        return scores, _observed_information(problem, psi, inside, scores.mean(axis=0), at)
    return scores, earlier.information


def _observed_information(
    problem: _Problem, psi: Floats, inside: Mask, here: Floats, found: Solution[ProbedFactor]
) -> Floats:
    """(d, d) observed information of psi, where the score is `here` (d,).

    That of theta is by differences of the score with the same probes.

    They are taken along the ways of theta: where the columns of a term are nearly equal, a single sd or
    correlation that moves changes the likelihood out of all proportion.

    That of the restricted likelihood has nothing beside the fixed effects' own block; see information.py.
    The log-likelihood along which all sds grow together is known, -n log c - r'V^-1 r / 2 c^2: that gives the
    information of log sigma from the others'.
    """
    data, space, _, reml, ways = problem
    d, p = space.size, space.num_fixed
    information = np.zeros((d, d))
    variance = space.residual_sd(psi) ** 2
    information[:p, :p] = data.R.T @ found.information @ data.R / variance
    own = space.own_slice
    theta = np.flatnonzero(inside[p : own.start]) + p
    along = (np.eye(d) if ways is None else ways(psi, inside))[np.ix_(theta, theta)]
    falls = np.zeros((d, len(theta)))
    for j, way in enumerate(along.T):
        moved = psi.copy()
        moved[theta] += DIFFERENCE * way
        there = score(data, space, moved, reml)[0].mean(axis=0)
        falls[:, j] = (here - there) / DIFFERENCE
    if len(theta):
        back = np.linalg.inv(along)
        bends = along.T @ falls[theta]
        information[np.ix_(theta, theta)] = back.T @ (0.5 * (bends + bends.T)) @ back
        if not reml:
            mixed = falls[:p] @ back
            information[:p, theta], information[theta, :p] = mixed, mixed.T
    grows = np.zeros(d)
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        grows[place.start : place.start + term.structure.num_sds(len(term.columns))] = 1.0
    pull = pull_of_data(space, psi, found)
    column = 2.0 * pull - grows @ information
    column[:p] = 0.0 if reml else column[:p] + 2.0 * here[:p]
    column[own] = 2.0 * (found.rss / variance - grows @ pull) - grows @ column
    information[own], information[:, own] = column, column[:, None]
    information[~inside] = 0.0
    information[:, ~inside] = 0.0
    return information
