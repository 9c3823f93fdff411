"""Maximum likelihood and REML for Gaussian models without a dense block, exact up to a Monte Carlo error.

The score is a mean over probes that stay the same for all parameters, so that Newton's method finds its root as
it would that of an exact score. How far that root is from the maximum follows from the scatter of the score
over the probes.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.probes import Signs
from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood import probing
from lmeformula.likelihood.ascent import NOTHING_ESTIMATED, ascend
from lmeformula.likelihood.evaluation import Evaluation, Summit, where_told
from lmeformula.likelihood.factors import FactorSpace, factor_space
from lmeformula.likelihood.gaussian.exact import ExactFit, elements_at, looker, natural
from lmeformula.likelihood.gaussian.from_residuals import is_perfect
from lmeformula.likelihood.gaussian.likelihood import (
    log_likelihood_of,
    relative_factors,
    score,
    scores_of,
    solve,
)
from lmeformula.likelihood.gaussian.orthogonal import Orthogonal
from lmeformula.likelihood.gaussian.probed_information import Ways, observed_by_probes
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.integrated import integrated
from lmeformula.likelihood.reached import Reached
from lmeformula.likelihood.resumable import Resumable
from lmeformula.likelihood.singular import any_singular
from lmeformula.likelihood.sureness import Sureness
from lmeformula.model.bounds import BOUNDARY_SD, off_bounds
from lmeformula.model.params import Params, ParamSpace

# Where the optimiser starts: the relative sd of every coefficient.
FIRST_SD = 0.4
IterativeFit = probing.ProbedFit[ExactFit[ProbedFactor]]


def fit_iterative(
    data: Sums,
    space: ParamSpace,
    draws: Signs,
    *,
    reml: bool = False,
    seed: int = 0,
    tolerance: float = 0.01,
    max_probes: int = 512,
    ways: Ways | None = None,
    start: Params | None = None,
    reached: Reached | None = None,
) -> IterativeFit:
    """Maximise the Gaussian likelihood over the relative covariance factors.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      draws: what draws the probes.
      reml: maximise the restricted likelihood instead.
      seed, tolerance, max_probes: see `fit_by_probes`.
      ways: (psi (d,), which are inside (d,)) -> (d, d) directions in psi, in columns, along which scores are
        differenced: of covariances those of orthogonal columns. By default each parameter by itself.
      start: parameters to start from; moderate deviations by default.
      reached: is told where the likelihood was looked at last.
    """
    elements = factor_space(space, data.column_roots(space))
    told = Reached(space) if reached is None else reached
    problem = _Problem(data, space, elements, reml, ways, told)
    at_first = elements.start(FIRST_SD) if start is None else elements_at(elements, start)

    def roughly(signs: Floats) -> tuple[Floats, int]:
        summit = _ascend(problem.probed(signs), at_first, probing.ROUGH_GAIN)
        return summit.elements, summit.num_evaluations

    def fit(signs: Floats, here: Floats, earlier: IterativeFit | None) -> IterativeFit:
        return _fit_with(problem.probed(signs), here, earlier)

    return probing.fit_by_probes(
        draws,
        roughly,
        fit,
        seed=seed,
        tolerance=tolerance,
        max_probes=max_probes,
    )


class _Problem(NamedTuple):
    """What is fitted; attributes as of `fit_iterative`, and the charts of the factors."""

    data: Sums
    space: ParamSpace
    elements: FactorSpace
    reml: bool
    ways: Ways | None
    reached: Reached

    def probed(self, signs: Floats) -> _Problem:
        """The same by one set of probes."""
        return self._replace(data=self.data._replace(signs=signs))


def _ascend(problem: _Problem, start: Floats, negligible: float) -> Summit:
    """Climb to the root of the score."""
    data, space, elements, reml, _, reached = problem
    told = looker(data, space, elements, Orthogonal(data), reml)

    def look(coordinates: Floats, lambdas: tuple[Floats, ...]) -> Evaluation:
        at = told(coordinates, lambdas)
        reached.params = natural(data, space, cast(Solution[ProbedFactor], at.detail), reml)
        return at

    evaluate = Resumable(where_told(look, elements.factors))
    return ascend(
        integrated(evaluate), elements, start, data.n, negligible, nothing=NOTHING_ESTIMATED
    )


def _fit_with(problem: _Problem, start: Floats, earlier: IterativeFit | None) -> IterativeFit:
    """The optimum by one set of probes."""
    data, space, elements, reml, *_ = problem
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
    d, follow, sure, unsure = space.size, None, None, None
    information, mc_covariance, lost = np.zeros((d, d)), np.zeros((d, d)), perfect
    if not perfect:
        try:
            scores, information, follow, sure = _derivatives(
                problem, psi, inside, solution, earlier
            )
        except np.linalg.LinAlgError:
            lost = True
        else:
            mean = scores.mean(axis=0)
            psi, params = probing.last_step(space, psi, inside, information, mean, params, follow)
            mc_covariance = probing.mc_covariance(scores, information, inside)
            mc_covariance = follow @ mc_covariance @ follow.T
            unsure = sure.errors(scores, probing.inverse_inside(information, inside)[0])
    loglik = log_likelihood_of(data, solution, sigma**2, reml)
    return probing.ProbedFit(
        found=ExactFit(
            params=params,
            solution=solution,
            loglik=loglik,
            gain=summit.gain,
            converged=summit.converged and solution.factor.converged,
            singular=any_singular(space, lambdas, data.column_roots(space)),
            num_evaluations=summit.num_evaluations,
            perfect=perfect,
            charts=elements,
            elements=summit.elements,
            inner=Orthogonal(data),
        ),
        coordinates=summit.elements,
        psi=psi,
        inside=inside,
        information=information,
        mc_covariance=mc_covariance,
        factor=solution.factor,
        loglik=loglik,
        loglik_error=probing.loglik_error(solution.factor.probed.log_det_each),
        loglik_each=-0.5 * solution.factor.probed.log_det_each,
        follow=follow,
        sureness=sure,
        stderr_share=unsure,
        lost=lost,
    )


def _derivatives(
    problem: _Problem,
    psi: Floats,
    inside: Mask,
    solution: Solution[ProbedFactor],
    earlier: IterativeFit | None,
) -> tuple[Floats, Floats, Floats, Sureness]:
    """The score (m, d) by each probe at psi, and the observed information (d, d) with what comes along."""
    data, space, _, reml, ways, _ = problem
    at = solution
    settled = zip(solution.factor.lambdas, relative_factors(space, psi), strict=True)
    if not all(np.allclose(a, b, rtol=1e-9, atol=0.0) for a, b in settled):
        # On a face, or with the signs of some columns turned.
        at = cast(Solution[ProbedFactor], score(data, space, psi, reml)[1])
    scores = scores_of(data, space, psi, at, reml)
    if earlier is None or (earlier.inside != inside).any():
        found = observed_by_probes(data, space, psi, inside, at, scores, reml, ways)
        return scores, found.informations.mean(axis=0), found.follow, found.sureness
    assert earlier.follow is not None
    assert earlier.sureness is not None
    return scores, earlier.information, earlier.follow, earlier.sureness
