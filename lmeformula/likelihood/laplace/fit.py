"""Maximise the Laplace approximation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.likelihood.ascent import NEGLIGIBLE_GAIN, NOTHING, NOTHING_ESTIMATED, ascend
from lmeformula.likelihood.evaluation import Evaluation, Summit, last_kept, nowhere
from lmeformula.likelihood.factors import FactorSpace, factor_space
from lmeformula.likelihood.integrated import integrated
from lmeformula.likelihood.laplace.determinant import Determinant
from lmeformula.likelihood.laplace.directions import Places, directions
from lmeformula.likelihood.laplace.ends import NO_CURVATURE, curvature_of, on_faces, own_ends
from lmeformula.likelihood.laplace.information import (
    average_information,
    coefficients_at,
    upright,
)
from lmeformula.likelihood.laplace.likelihood import (
    Approximation,
    Factorize,
    Marginal,
    Problem,
    approximate,
    assemble,
    find_mode,
    without_rows,
)
from lmeformula.likelihood.laplace.modes import (
    KnownMode,
    arrays_of,
    in_orthogonal,
    in_own_columns,
    layout_of,
    mode_slopes,
)
from lmeformula.likelihood.laplace.penalised import Penalised
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.laplace.secants import corrected, remember
from lmeformula.likelihood.laplace.trail import (
    SETTLED,
    SETTLED_EXACTLY,
    Trail,
    TrailMemory,
)
from lmeformula.likelihood.measured import with_measured
from lmeformula.likelihood.reached import followed
from lmeformula.likelihood.resumable import Resumable
from lmeformula.likelihood.singular import any_singular, column_roots
from lmeformula.model.compile import Model
from lmeformula.model.params import Params

# Where the optimiser starts: the sd of every coefficient, in units of the predictor.
FIRST_SD = 0.5
# Where rows' densities bend upwards, the approximation has several maxima, and grows without limit next to
# where the mode has no curvature: an ascent that came there has none, and others start from these.
OTHER_SDS = (0.1, 2.0)
# Where effects predict responses nearly perfectly, the approximation has a further maximum, or none, far out.
LARGE_SD = 5.0
# With no more effects than this, other maxima are looked for from where the first one is.
MOST_EFFECTS = 100
# A step that promises this share of what is negligible is taken where the information is known: it is the last.
FURTHER = 1e-4
# Steps from another start, before it is known to lead higher.
QUICK_STEPS = 40
# An ascent of the approximation, on the way to an exact maximum, need not go on for less than this.
ROUGHLY = 1e-2


class Care(NamedTuple):
    """How much care an ascent takes.

    Attributes:
      negligible: a further step that promises less than this is not taken.
      looks_far: whether small fits look for a maximum far out as well. The approximation may be higher there
        where the likelihood is not: it is no place for Monte Carlo EM to start from.
      marginal: how effects are integrated out.
      is_start: whether another method goes on from there, and the information is for the lengths of its steps.
      is_one_of_many: whether nobody asks of the fit by itself how near the approximation is to the likelihood.
    """

    negligible: float = NEGLIGIBLE_GAIN
    looks_far: bool = True
    marginal: type[Marginal] = Determinant
    is_start: bool = False
    is_one_of_many: bool = False


WHOLE = Care()


class LaplaceFit(NamedTuple):
    """The maximum of the approximation.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      coordinates: the same where the optimiser works, to start from again.
      approximation: the approximation there, in the columns of `problem`.
      problem: the model's arrays.
      gain: rise of the approximation that another step promises.
      converged: whether that is nil.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the approximation was evaluated.
      charts: of the factors.
      elements: (t,) of the charts; those that rest on a face do so exactly.
    """

    params: Params
    coordinates: Floats
    approximation: Approximation
    problem: Problem
    gain: float
    converged: bool
    singular: bool
    num_evaluations: int
    charts: FactorSpace
    elements: Floats


def fit_laplace(
    model: Model,
    factorize: Factorize | None = None,
    *,
    start: Floats | None = None,
    care: Care = WHOLE,
    alone: bool = False,
) -> LaplaceFit:
    """Maximise the Laplace approximation of a model.

    Args:
      model: the model; a gaussian one, too, whose approximation is its likelihood.
      factorize: how M is made solvable, if it is not to be factored. That gives estimates of the approximation
        and of its gradient, and the ascent follows the latter alone.
      start: coordinates of an earlier fit to start from.
      care: how much the ascent takes.
      alone: whether to climb from that start only; see `ascend`.
    Returns:
      The maximum, whether or not the optimiser converged.
    Raises:
      numpy.linalg.LinAlgError: if the density is not finite where the ascent starts.
    """
    design, space = model.design, model.space
    plan = layout_of(model)
    # Orthogonal columns: the scale and the correlation of the user's cost no digits.
    problem, R = in_orthogonal(arrays_of(model, plan, factorize, care.marginal), model)
    roots = column_roots(model)
    elements = factor_space(space, roots)
    p = space.num_fixed
    # The fixed effects, then the family's own parameters, then the elements of the factors.
    m = p + space.own.size
    first = space.to_free(model.start)
    memory = TrailMemory(problem.marginal)

    counts = np.cumsum([m, *(chart.size for chart in elements.charts)])
    places = Places(slice(p, m), tuple(map(slice, counts[:-1], counts[1:])))
    lowest, highest = own_ends(model)
    little = SETTLED_EXACTLY if care.marginal.is_exact else SETTLED
    has_information = factorize is None and problem.marginal.bends_along(m + elements.size)

    here = problem.rows_here

    def place_of(coordinates: Floats) -> At:
        return At(coordinates[:p], elements.factors(coordinates[m:]), coordinates[p:m])

    def score_of(coordinates: Floats, found: Approximation) -> Floats:
        in_elements = elements.pull_back(coordinates[m:], found.in_factors)
        return np.concatenate([found.in_beta, found.in_own, in_elements])

    def natural(coordinates: Floats) -> Params:
        return Params(
            sl.solve_triangular(R, coordinates[:p]) if p else coordinates[:p],
            tuple(factor @ factor.T for factor in elements.factors(coordinates[m:])),
            space.own.scale.to_natural(coordinates[p:m]),
        )

    def measure(point: Evaluation, free: Mask) -> Evaluation:
        def score(coordinates: Floats) -> Floats:
            begin = point.detail.mode.u
            found = approximate(problem, place_of(coordinates), begin)
            return score_of(coordinates, found)

        resumable.catch_up()
        # Written out, it is what differences would give.
        is_wanted = point.is_worked_out and memory.trail.written is None
        return with_measured(score, point, free) if is_wanted else point

    def evaluate(coordinates: Floats) -> Evaluation:
        at, trail = place_of(coordinates), memory.trail
        if problem.marginal.is_spent or ((at.own < lowest) | (at.own > highest)).any():
            return nowhere(coordinates)
        begin = trail.begin_at(plan, coordinates, at.lambdas)
        memory.trail = trail = trail._replace(begin=begin)
        changes = elements.changes(coordinates[m:])
        try:
            mode = find_mode(problem, at, begin)
            depths = problem.sums.depths(mode, at.own)
            coefficients = coefficients_at(problem, mode, depths)
            by_block = mode_slopes(problem, mode, coefficients, changes)
            in_coordinates = np.delete(by_block, np.s_[m : len(by_block) - elements.size], 0)
            along = None
            is_far = not care.marginal.is_exact and trail.leads_far(coordinates)
            if has_information and not (is_far or trail.is_settled(coordinates, little)):
                along = directions(here, plan, at.lambdas, mode.u, changes, in_coordinates, places)
                along = along._replace(is_rough=True)
            beyond = problem.marginal.beyond(problem, mode, depths, along)
            found = assemble(problem, mode, depths, beyond, along)
        except np.linalg.LinAlgError:
            # No curvature where the density overflows: to the ascent a step that went too far.
            return nowhere(coordinates)
        if not found.is_known:
            return nowhere(coordinates)
        if not care.marginal.is_exact and curvature_of(found.mode) < NO_CURVATURE:
            return nowhere(coordinates)
        slopes, score = found.in_factors, score_of(coordinates, found)
        if np.isfinite(found.value):
            last = KnownMode(coordinates, mode.u, in_coordinates), at.lambdas
            memory.trail = trail = trail._replace(last=last)
        written, moves = trail.written, trail.moves
        if found.information is not None:
            written, moves = found.information.copy(), ()
            written[m:, m:] -= elements.bends(coordinates[m:], slopes)
            written = written if _is_definite(written) else None
        elif not trail.is_settled(coordinates, little):
            written = None
        is_old = found.information is None
        memory.trail = trail = trail._replace(written=written, moves=moves, is_old=is_old)
        if written is not None:
            information = written.copy()
        else:
            # Where a likelihood bends upwards, as next to a variance of zero, its own steps are short.
            information = np.zeros((len(coordinates), len(coordinates)))
            try:
                information[:m, :m] = upright(coefficients.information)
            except np.linalg.LinAlgError:
                return nowhere(coordinates)
            information[m:, m:] = average_information(problem, found, changes)
            information[m:, m:] += elements.falling(coordinates[m:], slopes)
            if isinstance(problem.marginal, Penalised):
                information += problem.marginal.upright(problem, at, changes)
        # Own parameters are logarithms, but for a location: a step is held to about one.
        held = np.arange(p, m)
        information[held, held] = np.maximum(information[held, held], np.abs(score[held]))
        if factorize is not None:
            # Of very many rows, two places at a time would be twice the memory.
            found = without_rows(found)
        if not np.isfinite(found.value):
            return Evaluation(coordinates, -np.inf, score, information, slopes, found)
        follows = m > p if written is None else found.information is None
        if trail.latest is not None and follows:
            moves = remember(moves, coordinates - trail.latest[0], trail.latest[1] - score)
        memory.trail = trail._replace(latest=(coordinates, score), moves=moves)
        return Evaluation(
            coordinates, found.value, score, corrected(information, moves), slopes, found
        )

    # From a place that is known there is one way; the iterative solver's ascents look nowhere else.
    looks_around = start is None and factorize is None
    is_thorough = looks_around and plan.num_effects <= MOST_EFFECTS
    looks_far = is_thorough and care.looks_far and not alone
    before = np.concatenate([R @ first[:p], first[space.own_slice]])
    resumable = Resumable(evaluate, memory)
    climb = resumable if factorize is None else integrated(resumable)
    if care.marginal.is_exact:
        climb = last_kept(climb)
    climb = followed(climb, space, natural)

    def climb_from(where: Floats, *, quickly: bool = False, is_begun: bool = False) -> Summit:
        if not is_begun:
            resumable.catch_up()
            memory.trail = Trail()
        rise = partial(
            ascend,
            climb,
            elements,
            where,
            design.num_observations,
            care.negligible,
            nothing=NOTHING if factorize is None else NOTHING_ESTIMATED,
        )
        if quickly:
            return rise(max_steps=QUICK_STEPS)
        return rise(
            FURTHER * care.negligible if has_information else None,
            thorough=is_thorough and not alone,
            further=(elements.start(LARGE_SD),) if looks_far else (),
            # A likelihood that is integrated has its information itself.
            measure=None if care.marginal.is_exact else measure,
            alone=alone,
            costly=care.marginal.is_exact,
        )

    def is_known(where: Floats, begin: Floats | None) -> bool:
        resumable.catch_up()
        memory.trail = Trail(begin)
        settled = elements.settle(where[m:])
        return bool(np.isfinite(climb(np.append(where[:m], settled)).value))

    starts: list[tuple[Floats, Floats | None]] = [] if start is None else [(start, None)]
    if start is None and care.marginal.is_exact and model.known_start is None:
        starts += _near(model, care)
    if not starts or care.marginal.is_exact:
        starts.append((np.append(before, _first_elements(model, elements)), None))
    if care.marginal.is_exact:
        # Others may lie where the likelihood is not known: with small effects it is.
        starts.append((np.append(before, elements.start(OTHER_SDS[0])), None))
    last, _ = starts.pop()
    known = next((where for where, begin in starts if is_known(where, begin)), None)
    summit = climb_from(last) if known is None else climb_from(known, is_begun=True)
    is_doubtful = is_thorough or (looks_around and not summit.converged)
    if is_doubtful and _bends_upwards(summit):
        for sd in OTHER_SDS:
            other = climb_from(np.append(before, elements.start(sd)), quickly=True)
            if other.point.value > summit.point.value or other.converged > summit.converged:
                summit = max(summit, climb_from(other.point.coordinates), key=_rank)
    if summit.point.detail is None or not np.isfinite(summit.point.value):
        raise np.linalg.LinAlgError("the density is not finite wherever the ascent could start")
    coordinates, approximation = summit.point.coordinates, summit.point.detail
    lambdas = elements.limits(summit.elements)
    if (summit.on_face or elements.is_held) and factorize is None:
        at = place_of(coordinates)._replace(lambdas=lambdas)
        approximation = on_faces(problem, at, approximation)
    beta = sl.solve_triangular(R, coordinates[:p]) if p else coordinates[:p]
    covariances, mode = tuple(factor @ factor.T for factor in lambdas), approximation.mode
    return LaplaceFit(
        params=Params(beta, covariances, space.own.scale.to_natural(coordinates[p:m])),
        coordinates=coordinates,
        approximation=approximation._replace(
            in_beta=R.T @ approximation.in_beta,
            mode=mode._replace(at=mode.at._replace(beta=beta)),
        ),
        problem=in_own_columns(problem, model),
        gain=summit.gain,
        converged=summit.converged,
        singular=any_singular(space, lambdas, roots),
        num_evaluations=summit.num_evaluations,
        charts=elements,
        elements=summit.elements,
    )


def _first_elements(model: Model, elements: FactorSpace) -> Floats:
    """(t,) elements of the covariances that a fit is told to start from; rough ones where it is told none.

    A singular covariance has no direction to go.
    """
    if model.known_start is not None:
        factors = tuple(map(cholesky_semidefinite, model.known_start.covariances))
        known = elements.near(factors)
        if not elements.resting(known).any():
            return known
    return elements.start(FIRST_SD)


def _near(model: Model, care: Care) -> list[tuple[Floats, Floats | None]]:
    """The approximation's maximum, from where an exact one is near: coordinates, and the mode; none of none."""
    try:
        # The ascent of the likelihood itself looks where else there may be maxima.
        rough = care._replace(negligible=ROUGHLY, marginal=Determinant)
        found = fit_laplace(model, care=rough, alone=True)
    except np.linalg.LinAlgError:
        return []
    if not np.isfinite(found.coordinates).all():
        return []
    return [(found.coordinates, found.approximation.mode.u)]


def _is_definite(information: Floats) -> bool:
    """Whether a symmetric matrix is positive definite, and all numbers."""
    try:
        return bool(np.isfinite(np.linalg.cholesky(information)).all())
    except np.linalg.LinAlgError:
        return False


def _rank(summit: Summit) -> tuple[bool, float]:
    """What converged stands before what did not, then what is higher."""
    return summit.converged, summit.point.value


def _bends_upwards(summit: Summit) -> bool:
    """Whether some row's density is not concave where an ascent ended."""
    return summit.point.detail is None or bool((summit.point.detail.mode.weights < 0.0).any())
