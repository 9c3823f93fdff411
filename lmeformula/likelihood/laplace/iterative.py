"""The Laplace approximation where M is too large to factor: mode by conjugate gradients, gradient by probes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.probed import ProbedFactor, factor_iteratively
from lmeformula.algebra.probes import Signs, signs_of
from lmeformula.algebra.products import Products
from lmeformula.algebra.sparseproducts import find_meetings, sparse_products
from lmeformula.arrays import Floats
from lmeformula.likelihood import probing
from lmeformula.likelihood.laplace.determinant import pulls_together, slopes_of
from lmeformula.likelihood.laplace.fit import Care, LaplaceFit, fit_laplace
from lmeformula.likelihood.laplace.likelihood import (
    Approximation,
    Factorize,
    Problem,
    approximate,
)
from lmeformula.likelihood.laplace.modes import gradient, place
from lmeformula.likelihood.laplace.observed import Steps, observed_information
from lmeformula.likelihood.laplace.shared_rows import shared_rows
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# For the observed information: equations are good to eight digits.
DIFFERENCE = Steps(to_both_sides=3e-3, of_many_rows=3e-2)
IterativeLaplace = probing.ProbedFit[LaplaceFit]


def fit_iteratively(
    model: Model, *, seed: int, tolerance: float, max_probes: int, is_start: bool = False
) -> IterativeLaplace:
    """Maximise the Laplace approximation of a model.

    Args:
      model: the model.
      seed, tolerance, max_probes: see `fit_by_probes`.
      is_start: whether another method goes on from there, and the information is for the lengths of its steps.
    """
    products, draws = _equations(model)

    def roughly(signs: Floats) -> tuple[Floats, int]:
        start = fit_laplace(model, _probing(products, signs), care=Care(probing.ROUGH_GAIN))
        return _arrived(start), start.num_evaluations

    def fit(signs: Floats, here: Floats, earlier: IterativeLaplace | None) -> IterativeLaplace:
        return _fit_with(model, _probing(products, signs), here, earlier, is_start=is_start)

    return probing.fit_by_probes(
        draws,
        roughly,
        fit,
        seed=seed,
        tolerance=tolerance,
        max_probes=max_probes,
    )


def _equations(
    model: Model, known: ProbedFactor | None = None
) -> tuple[Callable[[Floats], Products], Signs]:
    """What makes Z'WZ of row weights, wherever the rows are, and what draws probes.

    Args:
      model: the model.
      known: an M of it, which knows where its terms meet.
    """
    terms = model.design.terms
    if model.design.shards is not None:
        rows = shared_rows(model, model.design.shards)
        return rows.products, signs_of(rows.plan, terms)
    meetings = find_meetings(layout(model.stack.terms)) if known is None else known.meetings
    return partial(sparse_products, meetings), signs_of(meetings.plan, terms)


def _probing(products: Callable[[Floats], Products], signs: Floats) -> Factorize:
    """A way to make M solvable, with these probes."""

    def factorize(weights: Floats, lambdas: tuple[Floats, ...]) -> ProbedFactor:
        return factor_iteratively(products(weights), lambdas, signs)

    return factorize


def fresh_probes(model: Model, factor: ProbedFactor, count: int, seed: int) -> Factorize:
    """A way to make a model's M solvable with other probes than its fit's.

    Args:
      model: the model.
      factor: M of its fit.
      count: number of probes.
      seed: of the probes.
    """
    products, draws = _equations(model, factor)
    return _probing(products, draws.draw(count, seed))


def _fit_with(
    model: Model,
    factorize: Factorize,
    start: Floats,
    earlier: IterativeLaplace | None,
    *,
    is_start: bool,
) -> IterativeLaplace:
    """The maximum by one set of probes."""
    space = model.space
    found = fit_laplace(model, factorize, start=start, care=Care(probing.NEGLIGIBLE_GAIN))
    psi, inside = off_bounds(space, space.to_free(found.params))
    mode = found.approximation.mode
    at = approximate(found.problem, place(space, psi), mode.u)
    scores = scores_by_probe(space, found.problem, psi, at)
    if earlier is None or (earlier.inside != inside).any():
        observed = observed_information(
            model, found.problem, psi, inside, mode.u, DIFFERENCE, is_metric=is_start, known=at
        )
        information = observed.matrix
    else:
        information = earlier.information
    psi, params = probing.last_step(
        space, psi, inside, information, scores.mean(axis=0), found.params
    )
    return probing.ProbedFit(
        found=found._replace(params=params, approximation=at),
        coordinates=_arrived(found),
        psi=psi,
        inside=inside,
        information=information,
        mc_covariance=probing.mc_covariance(scores, information, inside),
        factor=_factor(at),
        loglik=at.value,
        loglik_error=probing.loglik_error(_factor(at).probed.log_det_each),
        loglik_each=-0.5 * _factor(at).probed.log_det_each,
    )


def _arrived(found: LaplaceFit) -> Floats:
    """Coordinates where an ascent ended, at rest on the faces that it came to."""
    return np.append(found.coordinates[: -len(found.elements)], found.elements)


def scores_by_probe(
    space: ParamSpace, problem: Problem, psi: Floats, found: Approximation
) -> Floats:
    """(m, d) the gradient of the approximation in psi by each probe, whose mean is that of `found`."""
    factor, mode, depths = _factor(found), found.mode, found.depths
    scores = np.full((factor.num_probes, space.size), np.nan)
    held = [problem.sums.deeper(mode, depths, each) for each in factor.leverages_by_probe()]
    for number, pull in enumerate(pulls_together(problem, mode, depths, held)):
        traces = tuple(each[number] for each in factor.probed.each)
        scores[number] = gradient(space, psi, slopes_of(problem, mode, pull, traces))
    # What else the gradient has is no matter of probes, and all of it is linear in what they say.
    return np.asarray(scores + (gradient(space, psi, found) - scores.mean(axis=0)))


def _factor(found: Approximation) -> ProbedFactor:
    """M at an approximation that was made with probes."""
    assert isinstance(found.mode.factor, ProbedFactor)
    return found.mode.factor
