"""The observed information of a Laplace approximation: written out, but for what its determinant adds.

The approximation is the log joint density at the mode less log |M| / 2. Where rows say much the first part has
nearly all the information, in sums that cancel: its second derivative is written out. With d_j = (e_j, u_j')
the direction in which parameter j takes the mode along, it is the second derivative of the log joint density
along d_j and d_k, in which an error of u' counts by its square. The second part is of the size of the number of
effects whatever the rows say, and so is the rounding of its slopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.journal import done
from lmeformula.covariance.chart import bends
from lmeformula.design.shards import mean_squares
from lmeformula.likelihood.laplace.directions import Places, directions
from lmeformula.likelihood.laplace.likelihood import (
    Approximation,
    Beyond,
    Problem,
    find_mode,
    joint_slopes,
)
from lmeformula.likelihood.laplace.modes import gradient, place, slopes_in_psi
from lmeformula.likelihood.laplace.penalised import Penalised, unpenalised
from lmeformula.likelihood.ways import covariance_ways
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# Step of one-sided differences, in conditional standard errors or units of psi, of two-sided ones, and of those
# that are extrapolated.
ONE_SIDED, TWO_SIDED, LONG = 1e-6, 1e-5, 1e-3
# Of a one-sided one that checks what is written out of integrals.
SHORT = 3e-8
# Beyond so many rows differences are one-sided first.
MANY_ROWS = 20_000
# Differences with short steps are taken where they are good to this part of the information.
GOOD = 1e-5
# Differences are taken for what is written out where they agree so many times better with what checks both.
CLEARLY = 10.0
# Rounding of the information of the complete data, relative to its diagonal.
ROUNDING = 1e-13
# What a column of unit length may have of another one's information by rounding: its square, with room.
MIXED = 1e-28


class Observed(NamedTuple):
    """The observed information.

    Attributes:
      matrix: (d, d) negative second derivative of the approximation; zero for what is not free.
      ways: (d, m) directions of which the free parameters are made, those of coefficients and own parameters
        as long as their standard errors; fewer than the parameters where some have no curvature at all.
      along: (m, m) the same along them.
      noise: its error as two sets of differences disagree, relative to the roots of its diagonal.
      beyond: (d,) the share of each parameter in directions that have no curvature at all.
    """

    matrix: Floats
    ways: Floats
    along: Floats
    noise: float
    beyond: Floats


class Steps(NamedTuple):
    """Steps of differences of slopes that are rough.

    Attributes:
      to_both_sides: in log sds, or in conditional standard errors of coefficients.
      of_many_rows: to one side, in the latter: with rows the determinant bends by less in each of them, and
        short steps of a coefficient that effects can take up have fewer digits.
    """

    to_both_sides: float
    of_many_rows: float


def nothing_observed(free: Mask) -> Observed:
    """What there is where the density has no curvature: nothing."""
    d = len(free)
    none = np.zeros((free.sum(),) * 2)
    return Observed(np.zeros((d, d)), np.eye(d)[:, free], none, np.inf, np.zeros(d))


def along_ways(matrix: Floats, free: Mask, R: Floats, noise: float) -> Observed:
    """An information (d, d) that is there already, looked at for orthogonal columns: X = Q R."""
    ways = _basis(free, R)
    return Observed(matrix, ways, ways.T @ matrix @ ways, noise, np.zeros(len(matrix)))


def observed_information(
    model: Model,
    problem: Problem,
    psi: Floats,
    free: Mask,
    start: Floats,
    difference: Steps | None = None,
    *,
    is_metric: bool = False,
    known: Approximation | None = None,
) -> Observed:
    """The negative second derivative of the approximation.

    Args:
      model: the model.
      problem: its arrays, with X as it is in the model.
      psi: (d,) the maximum; boundary parameters hold a finite stand-in.
      free: (d,) parameters inside their boundary; the others get zero rows and columns.
      start: (q,) the mode there.
      difference: steps of the differences of the determinant's slopes, where these are rough; by default as
        rounding allows. Nothing checks them then but that they are symmetric.
      is_metric: whether it is for the lengths of steps alone. Of many rows, beside which the determinant says
        little of coefficients, only its second derivatives in covariances are worked out then, unchecked.
      known: the approximation at psi, if it is at hand.
    Raises:
      numpy.linalg.LinAlgError: if the density has no curvature at psi.
    """
    space = model.space
    mode = find_mode(problem, place(space, psi), start) if known is None else known.mode
    depths = problem.sums.depths(mode, mode.at.own) if known is None else known.depths
    moves = np.where(free[:, None], slopes_in_psi(space, problem, psi, mode, depths), 0.0)
    places = Places(space.own_slice, space.theta_slices)
    lambdas, changes = mode.at.lambdas, space.factor_changes(psi)
    here = None if isinstance(mode.factor, ProbedFactor) else problem.rows_here
    along = directions(here, problem.plan, lambdas, mode.u, changes, moves, places)
    joint = joint_slopes(problem, mode, depths, along)
    complete = _bent(space, psi, joint)
    # Priors, which may say more than the rows, are written out as well.
    marginal = unpenalised(problem.marginal)
    if isinstance(problem.marginal, Penalised):
        priors = problem.marginal.density(problem, mode.at, along)
        complete = complete + _bent(space, psi, priors)
    complete = np.where(np.outer(free, free), complete, 0.0)
    ways, flat, beyond = _ways(model, psi, complete, free)
    if not ways.shape[1]:
        return Observed(complete, ways, np.zeros((0, 0)), 0.0, beyond)
    back = np.linalg.pinv(np.column_stack([ways, flat]))[: ways.shape[1]]
    nothing = (complete == 0.0).all(axis=1)
    before = ways.T @ complete @ ways
    scale = np.sqrt(np.maximum(np.abs(np.diag(before)), 1e-300))

    def slopes(step: Floats) -> Floats:
        if marginal.is_exact:
            return slopes_there(step)
        return done("slopes", step, lambda: slopes_there(step))

    def slopes_there(step: Floats) -> Floats:
        there = psi + step
        found = marginal.near(problem, place(space, there), mode.u + step @ moves)
        return np.where(free, gradient(space, there, found), 0.0) @ ways

    def two_sided(step: Floats) -> Floats:
        return 0.5 * (slopes(step) - slopes(-step))

    num_covariances = int(free[space.num_fixed : space.own_slice.start].sum())

    def at_rest() -> Floats:
        if known is None or isinstance(problem.marginal, Penalised):
            return slopes(np.zeros_like(psi))
        beyond_it = gradient(space, psi, known) - gradient(space, psi, joint)
        return np.where(free, beyond_it, 0.0) @ ways

    if is_metric and model.design.n > MANY_ROWS:
        resting, bend = at_rest(), np.zeros_like(before)
        length = ONE_SIDED if difference is None else difference.to_both_sides
        for number, way in enumerate(ways.T[:num_covariances]):
            bend[number] = (slopes(length * way) - resting) / length
            bend[:, number] = bend[number]
        matrix = complete - back.T @ bend @ back
        matrix[nothing], matrix[:, nothing] = 0.0, 0.0
        return Observed(0.5 * (matrix + matrix.T), ways, before - bend, 0.0, beyond)

    # All parameters at once, in a direction that no set of differences has by itself.
    signs = np.where(np.arange(ways.shape[1]) % 2 == 0, 1.0, -1.0)
    across = ways @ signs

    def finish(found: Floats, check: Floats) -> Observed:
        bend = -0.5 * (found + found.T)
        error = np.abs(check - signs @ found) / scale / np.linalg.norm(scale)
        asymmetry = np.abs(found - found.T) / np.outer(scale, scale)
        noise = max(float(error.max()), float(asymmetry.max()))
        noise = noise if np.isfinite(noise) else np.inf
        matrix = complete + back.T @ bend @ back
        # Where the joint density has no curvature, the determinant has none: what is left is rounding.
        matrix[nothing], matrix[:, nothing] = 0.0, 0.0
        return Observed(matrix, ways, before + bend, noise, beyond)

    written = None
    beyond_it = marginal.beyond(problem, mode, depths, along)
    if beyond_it.information is not None:
        written = -ways.T @ _bent(space, psi, beyond_it) @ ways
        if marginal.is_exact:
            # Each further slope is an integral: one will do where it has the digits.
            resting = np.where(free, gradient(space, psi, beyond_it), 0.0) @ ways
            once = finish(written, (slopes(SHORT * across) - resting) / SHORT)
            if once.noise < GOOD:
                return once
        exact = finish(written, two_sided(TWO_SIDED * across) / TWO_SIDED)
        if exact.noise < GOOD or marginal.is_spent:
            return exact
    if difference is not None:
        step, far = difference.to_both_sides, difference.of_many_rows
        both = num_covariances if model.design.n > MANY_ROWS else ways.shape[1]
        each = [two_sided(step * way) / step for way in ways.T[:both]]
        if both < ways.shape[1]:
            resting = at_rest()
            each += [(slopes(far * way) - resting) / far for way in ways.T[both:]]
        found = np.array(each)
        return finish(found, signs @ found)
    check = _extrapolated(two_sided, across)
    others = () if written is None else (finish(written, check),)
    if others and others[0].noise < GOOD:
        return others[0]
    if model.design.n > MANY_ROWS:
        resting = at_rest()
        first = [(slopes(ONE_SIDED * way) - resting) / ONE_SIDED for way in ways.T]
    else:
        first = [two_sided(TWO_SIDED * way) / TWO_SIDED for way in ways.T]
    rough = finish(np.array(first), check)
    if rough.noise < GOOD:
        return rough
    fine = finish(np.array([_extrapolated(two_sided, way) for way in ways.T]), check)
    best = fine if fine.noise < rough.noise else rough
    # Of large terms the check has few digits, as all differences: what is written out has lost fewer.
    return next((one for one in others if one.noise < CLEARLY * best.noise), best)


def _bent(space: ParamSpace, psi: Floats, found: Beyond) -> Floats:
    """(d, d) an information in psi, with what the factors have by their own second derivatives."""
    assert found.information is not None
    information = found.information.copy()
    for j, (slope, where) in enumerate(zip(found.in_factors, space.theta_slices, strict=True)):
        information[where, where] -= _bends(space, psi, j, slope)
    return information


def _bends(space: ParamSpace, psi: Floats, term: int, slope: Floats) -> Floats:
    """(t, t) second derivative of a term's factor in its parameters, combined with a slope (k, k)."""
    shape = space.terms[term]
    k = len(shape.columns)
    return bends(
        lambda theta: shape.structure.cholesky_jacobian(theta, k),
        psi[space.theta_slices[term]],
        slope,
    )


def _extrapolated(two_sided: Callable[[Floats], Floats], step: Floats) -> Floats:
    """Richardson's extrapolation of two-sided differences along a step of length one."""
    whole, half = two_sided(LONG * step) / LONG, two_sided(0.5 * LONG * step) / (0.5 * LONG)
    return np.asarray((4.0 * half - whole) / 3.0)


def _ways(
    model: Model, psi: Floats, information: Floats, free: Mask
) -> tuple[Floats, Floats, Floats]:
    """Directions in psi of which the free parameters are made.

    Those of coefficients and own parameters are those in which the information is diagonal, each as long as its
    standard error: nearly equal columns, and thresholds far from where the rows are, cost no digits. None is so
    long that it moves a predictor or an own parameter by more than its unit. Those of covariances are of
    orthogonal columns where they can be, and move no parameter by more than one.

    Returns:
      ways: (d, m).
      flat: (d, l) directions of coefficients and own parameters without curvature.
      beyond: (d,) the share of each parameter in these.
    """
    space, design = model.space, model.design
    p, own = space.num_fixed, space.own_slice
    theta = slice(p, own.start)
    basis = _basis(free, model.triangle)
    is_theta = (basis[theta] != 0.0).any(axis=0)
    others = basis[:, ~is_theta]
    block = others.T @ information @ others
    diagonal = np.abs(np.diag(block))
    # Of rows that say nothing a column that is made orthogonal has what it got of the others by rounding.
    has_some = diagonal > MIXED * diagonal.max(initial=0.0)
    block = np.where(np.outer(has_some, has_some), block, 0.0)
    scale = 1.0 / np.sqrt(np.where(has_some, diagonal, 1.0))
    values, vectors = np.linalg.eigh(block * np.outer(scale, scale))
    kept = np.abs(values) > ROUNDING * len(values)
    every = others @ (scale[:, None] * vectors)
    size, flat = np.linalg.norm(every, axis=1), every[:, ~kept]
    beyond = np.linalg.norm(flat, axis=1) / np.where(size > 0.0, size, 1.0)
    found = every[:, kept] / np.sqrt(np.abs(values[kept]))
    units = model.units[list(design.column_predictors)]
    reach = np.sqrt(mean_squares(design)) / units
    moved = np.abs(reach @ found[:p]) if len(reach) else np.zeros(found.shape[1])
    moved = np.maximum(moved, np.abs(found[own]).max(axis=0, initial=0.0))
    turned = covariance_ways(model, psi, free)[:, theta][:, free[theta]]
    turned = turned / np.abs(turned).max(axis=0, initial=0.0)
    ways = np.column_stack([turned, found / np.maximum(moved, 1.0)])
    return ways, flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-300), beyond


def _basis(free: Mask, R: Floats) -> Floats:
    """(d, m) the free parameters, the coefficients' columns made orthogonal on the rows."""
    basis = np.diag(free.astype(float))
    kept = np.flatnonzero(free[: len(R)])
    if len(kept):
        basis[np.ix_(kept, kept)] = np.linalg.inv(np.linalg.qr(R[:, kept], mode="r"))
    return basis[:, free]
