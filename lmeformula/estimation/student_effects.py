"""Models with heavy-tailed effects: Monte Carlo EM, from the fit with Gaussian effects in their place."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.prior import NORMAL
from lmeformula.covariance.student import free_of
from lmeformula.em.progress import Progress
from lmeformula.em.types import Geometry, Options, Solution
from lmeformula.errors import ModelError
from lmeformula.estimation.evidence.drawn import by_draws
from lmeformula.estimation.finish import Effects, Errors
from lmeformula.estimation.monte_carlo import (
    Before,
    Drawn,
    End,
    run_mcem,
    sampled_covariance,
    unit_roots,
)
from lmeformula.estimation.monte_carlo_loglik import Reference, log_likelihood
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.fit import Care, fit_laplace
from lmeformula.likelihood.laplace.information import upright
from lmeformula.likelihood.laplace.modes import conditional
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace, term_shape

if TYPE_CHECKING:
    from lmeformula.sampling.student_problem import StudentModel


# Degrees of freedom to begin with, and between which the start is looked for; the engine goes beyond.
FIRST, FEWEST, MOST = 6.0, 1.1, 60.0
# No standard deviation starts lower than this share of the largest, nor goes lower in search of a start.
LEAST_SHARE = 0.05


def refuse(method: str, solver: str, dtype: str) -> None:
    """Refuse what cannot fit heavy-tailed effects.

    Raises:
      ModelError: for any method but mcem, the iterative solver, and single precision.
    """
    if method != "mcem":
        raise ModelError(
            f'{method} does not fit effects by Student\'s t distribution, gr(..., dist = "student")',
            hint='Use method="mcem"; or leave out dist for a fit with Gaussian effects to compare with.',
        )
    if solver == "iterative":
        raise ModelError(
            "the iterative solver does not fit effects by Student's t distribution",
            hint='Use solver="direct".',
        )
    if dtype != "float64":
        raise ModelError(
            f"effects by Student's t distribution are not fitted in {dtype}", hint='Use "float64".'
        )


def estimate_student(
    model: Model, seed: int, options: Options, progress: Progress | None
) -> FittedModel:
    """Fit a model with heavy-tailed effects by Monte Carlo EM; its log-likelihood is bridged.

    Args:
      model: some of whose terms have a t distribution.
      seed: of all random numbers.
      options: of the engine.
      progress: shown its iterations.
    """
    from lmeformula.sampling.student_problem import StudentModel, student_problem
    from lmeformula.sampling.student_quadrature import student_likelihood

    began = time.perf_counter()
    of = StudentModel(model)
    start = _start(model, of)
    before = Before(began, time.perf_counter() - began)
    problem, likelihood = student_problem(of, start), student_likelihood(of)

    def reference(solution: Solution, geometry: Geometry) -> Reference:
        log_det = of.stand_in(solution.sampled_at).mode.factor.log_det
        return Reference(geometry, solution.excess, log_det)

    exactly = None if likelihood is None else likelihood.at

    def end(model: Model, psi: Floats) -> End:
        return End(
            Effects(*stand_in_modes(of, psi)),
            lambda solution, options: log_likelihood(
                model, problem, options, solution, seed, exactly, reference
            ),
            lambda solution, inside: _errors(of, model, solution, inside),
            model.triangle,
            lambda at, facts: by_draws(at, facts, problem, options.tolerance),
        )

    drawn = Drawn(of.plan, problem, unit_roots(of.plan), end)
    return run_mcem(drawn, model, seed, options, progress, before)


def stand_in_modes(of: StudentModel, psi: Floats) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Modes (l, k) of the effects of each term at psi (d,), and their covariances (l, k, k) by the stand-in."""
    found = of.stand_in(psi)
    modes, mode_cov = conditional(found.mode.factor, found.mode.u)
    # The stand-in's effects are d^(1/2) times the model's.
    return (
        tuple(part / np.sqrt(d)[:, None] for part, d in zip(modes, found.precisions, strict=True)),
        tuple(part / d[:, None, None] for part, d in zip(mode_cov, found.precisions, strict=True)),
    )


def _start(model: Model, of: StudentModel) -> Floats:
    """(d,) the maximum of the stand-in's log-likelihood, from the fit with Gaussian effects."""
    import scipy.optimize  # a tenth of a second, which other fits need not wait for

    from lmeformula.sampling.student_problem import freedom_edges

    first, bounds = _first(model)
    best = first

    def negative(psi: Floats) -> float:
        value = of.log_likelihood(psi)
        return 1e300 if value == -np.inf else -value

    found = scipy.optimize.minimize(
        negative, first, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60, "maxfun": 4000}
    )
    if np.isfinite(found.fun) and found.fun < negative(first):
        best = np.asarray(found.x)
    for edge in freedom_edges(model.space, best):
        place = int(np.flatnonzero(edge.directions[:, 0])[0])
        if best[place] in bounds[place]:
            # The search would have gone on: the engine sees whether it ends there.
            best = edge.outside if edge.nearness < 1 else best
    return best


def _first(model: Model) -> tuple[Floats, list[tuple[float | None, float | None]]]:
    """The fit with Gaussian effects, its standard deviations as scales, and bounds of the search."""
    design, space = model.design, model.space
    terms = tuple(replace(term, prior=NORMAL) for term in design.terms)
    plain = replace(
        model,
        design=replace(design, terms=terms),
        space=replace(space, terms=tuple(map(term_shape, terms))),
    )
    gaussian = fit_laplace(plain, care=Care(looks_far=False))
    psi, _ = off_bounds(plain.space, plain.space.to_free(gaussian.params))
    parts = [psi[: space.num_fixed]]
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * space.num_fixed
    places = zip(space.terms, plain.space.theta_slices, strict=True)
    counts = [term.structure.num_sds(len(term.columns)) for term in space.terms]
    for (term, place), count in zip(places, counts, strict=True):
        theta = psi[place].copy()
        least = float(theta[:count].max()) + np.log(LEAST_SHARE)
        theta[:count] = np.maximum(theta[:count], least)
        bounds += [(least - 2.0, None)] * count + [(None, None)] * (len(theta) - count)
        if term.prior.has_df:
            theta[:count] += 0.5 * np.log(1.0 - 2.0 / FIRST)
            theta = np.append(theta, free_of(FIRST))
            bounds.append((free_of(FEWEST), free_of(MOST)))
        parts.append(theta)
    own = psi[plain.space.own_slice]
    return np.concatenate([*parts, own]), bounds + [(None, None)] * len(own)


def _errors(of: StudentModel, model: Model, solution: Solution, inside: Mask) -> Errors:
    """The standard errors: from the draws, or else from the stand-in."""
    space, psi = model.space, solution.params
    sampled = sampled_covariance(model, solution)
    if sampled is not None:
        outside = np.where(np.outer(inside, inside), 0.0, np.nan)
        error = np.where(inside, sampled.stderr_error, np.nan)
        return Errors("monte carlo", sampled.covariance + outside, error)
    information = upright(of.second(psi)[np.ix_(inside, inside)])
    return Errors("laplace", inverted(space, psi, inside, information), None)


def inverted(space: ParamSpace, psi: Floats, inside: Mask, information: Floats) -> Floats:
    """(d, d) covariance on the reporting scale from the information of what is inside; nan of the rest."""
    free = np.ix_(inside, inside)
    found = np.full((space.size, space.size), np.nan)
    jacobian = space.report_jacobian(psi)[free]
    found[free] = jacobian @ np.linalg.inv(information) @ jacobian.T
    return found
