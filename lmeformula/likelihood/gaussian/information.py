"""Information matrices of Gaussian models, observed and average, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import covariance_directions, outer_changes
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.precision import Precision
from lmeformula.arrays import Floats, Mask, as_rows
from lmeformula.likelihood.gaussian.likelihood import Solved, solve_exactly
from lmeformula.likelihood.gaussian.posterior import fixed_information
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.params import ParamSpace, square

# Step of the differences that give the second derivatives of a structure's factor, in log sds.
DIFFERENCE = 1e-5


def observed_information(
    data: Sums,
    space: ParamSpace,
    psi: Floats,
    free: Mask,
    found: Solved | None = None,
    reml: bool = False,
    turned: Callable[[tuple[Floats, ...]], tuple[Floats, ...]] | None = None,
    ways: Floats | None = None,
) -> Floats:
    """(d, d) observed information of psi.

    Args:
      data: cross products.
      space: parameter space.
      psi: (d,) any parameters; boundary parameters hold a finite stand-in.
      free: (d,) which parameters are inside their boundary; the others get zero rows and columns.
      found: the least squares problem solved at psi, if it was, with factors of full rank.
      reml: that of the restricted likelihood, in which the fixed effects, whose own block is as ever, are no
        parameters: their rows and columns have nothing beside it. Then psi holds their best values.
      turned: factors, or their derivatives, of the columns of the cross products from those of the model's;
        None where they are the same.
      ways: (d, d) directions in psi, in columns, each term's covariance by itself: then it is that along them.
        What orthogonal columns have in digits psi loses, where standard deviations go along with one another.
    Returns:
      The information. With T = Lambda Lambda' the relative covariance, which has the first derivatives T_i and
      the second ones T_ij, that of theta and log sigma is

        -tr(Q T_i Q T_j) / 2 + w'T_i Q T_j w / sigma^2 - <G, T_ij>

      with Q = Z'V^-1 Z sigma^2, w = Z'V^-1 r sigma^2 and G the derivative of the log-likelihood in T, and
      what the explicit sigma^2 adds. For the restricted likelihood Q is Z'P Z sigma^2, P = V^-1 - V^-1 X
      (X'V^-1 X)^-1 X'V^-1.
    References:
      Searle, Casella, McCulloch (1992), Variance Components, section 6.6, for the second derivatives.
    """
    p, sigma = space.num_fixed, space.residual_sd(psi)
    variance = sigma**2
    blocks = _relative_blocks(space, psi)
    if turned is not None:
        parts = (turned(part) for part in zip(*blocks, strict=True))
        blocks = tuple(_Block(*block) for block in zip(*parts, strict=True))
    if ways is not None:
        each = (ways[place, place] for place in space.theta_slices)
        blocks = tuple(map(_turned, blocks, each))
    if found is None:
        found = solve_exactly(
            data, tuple(block.factor for block in blocks), data.R @ (psi[:p] - data.ols)
        )
    # Each term's own parameters, then the scale of its Lambda, which log sigma moves.
    changes = tuple(
        np.concatenate(
            [outer_changes(block.first, block.factor), -2.0 * square(block.factor)[None]]
        )
        for block in blocks
    )
    directions = covariance_directions(data.plan, found.w, changes)
    information = found.factor.outer_form(directions) / variance
    traces, sums = found.factor.outer_traces(changes)
    if reml and len(data.ols):
        less = _restriction(data, found, directions, changes)
        information -= less.quadratic / variance
        traces -= less.traces
        sums = tuple(total - part for total, part in zip(sums, less.sums, strict=True))
    information -= 0.5 * traces
    residuals = data.plan.split(found.w)
    start = 0
    for block, change, total, w in zip(blocks, changes, sums, residuals, strict=True):
        here = slice(start, start + len(change))
        pull = 0.5 * (w.T @ w / variance - total)
        information[here, here] -= _along(pull, block, change)
        start += len(change)
    gather = _gather(space, blocks)
    quadratic = gather.T @ information @ gather
    with_beta = data.R.T @ found.ZVQ.T @ directions @ gather / variance
    explicit = gather.T @ (directions.T @ found.w) / variance
    own = slice(space.own_slice.start - p, None)
    quadratic[own] += explicit
    quadratic[:, own] += explicit[:, None]
    quadratic[own, own] += 2.0 * found.rss / variance
    with_beta[:, own] += (2.0 * data.R.T @ found.score / variance)[:, None]
    whole = np.zeros((space.size, space.size))
    whole[:p, :p] = fixed_information(data, found, sigma)
    if not reml:
        whole[:p, p:], whole[p:, :p] = with_beta, with_beta.T
    whole[p:, p:] = 0.5 * (quadratic + quadratic.T)
    whole[~free] = 0.0
    whole[:, ~free] = 0.0
    return whole


class _Restriction(NamedTuple):
    """What Q has more than Z'P Z sigma^2: in w'T_i Q T_j w, in tr(Q T_i Q T_j), and in sums over levels."""

    quadratic: Floats
    traces: Floats
    sums: tuple[Floats, ...]


def _restriction(
    data: Sums, found: Solved, directions: Floats, changes: tuple[Floats, ...]
) -> _Restriction:
    """With Q - K K', K = Z'V^-1 Q (Q'V^-1 Q)^(-1/2) sigma, (q, p), instead of Q."""
    root = np.linalg.cholesky(found.information)
    K = np.linalg.solve(root, found.ZVQ.T).T
    crossed = K.T @ directions
    blocks = data.plan.split(K)
    total = sum(len(change) for change in changes)
    traces = np.zeros((total, total))
    inner = np.empty((total, K.shape[1], K.shape[1]))
    for c, column in enumerate(K.T):
        moved = covariance_directions(data.plan, column, changes)
        traces += 2.0 * found.factor.outer_form(moved)
        inner[:, c] = moved.T @ K
    flat = inner.reshape(total, -1)
    return _Restriction(
        crossed.T @ crossed,
        traces - flat @ flat.T,
        tuple(np.einsum("lap,lbp->ab", block, block) for block in blocks),
    )


class _Block(NamedTuple):
    """The relative factor (k, k) of a term, and its derivatives (t, k, k) and (t, t, k, k) in theta."""

    factor: Floats
    first: Floats
    second: Floats


def _relative_blocks(space: ParamSpace, psi: Floats) -> tuple[_Block, ...]:
    sigma = space.residual_sd(psi)
    blocks = []
    for term, place in zip(space.terms, space.theta_slices, strict=True):
        theta, k, structure = psi[place], len(term.columns), term.structure
        second = [
            (
                structure.cholesky_jacobian(theta + shift, k)
                - structure.cholesky_jacobian(theta - shift, k)
            )
            / (2.0 * DIFFERENCE)
            for shift in DIFFERENCE * np.eye(len(theta))
        ]
        blocks.append(
            _Block(
                structure.cholesky(theta, k) / sigma,
                structure.cholesky_jacobian(theta, k) / sigma,
                np.reshape(second, (len(theta), len(theta), k, k)) / sigma,
            )
        )
    return tuple(blocks)


def _turned(block: _Block, ways: Floats) -> _Block:
    """The derivatives of a term along directions (t, t) in its parameters."""
    first = (ways.T @ as_rows(block.first)).reshape(block.first.shape)
    half = np.tensordot(ways.T, block.second, 1)
    return block._replace(first=first, second=np.moveaxis(np.tensordot(ways.T, half, (1, 1)), 0, 1))


def _along(pull: Floats, block: _Block, change: Floats) -> Floats:
    """(t + 1, t + 1) <G, T_ij> of a term's own parameters and its scale, G = `pull`."""
    t = len(block.first)
    first = as_rows(pull @ block.first) @ as_rows(block.first).T
    second = np.tensordot(block.second, pull @ block.factor, 2)
    by_scale = -2.0 * change.reshape(t + 1, -1) @ pull.ravel()
    found = np.zeros((len(change), len(change)))
    found[:-1, :-1] = first + first.T + second + second.T
    found[-1], found[:, -1] = by_scale, by_scale
    return found


def _gather(space: ParamSpace, blocks: tuple[_Block, ...]) -> Floats:
    """From theta and log sigma to each term's theta and scale: log sigma moves all scales alike."""
    rows = sum(len(block.first) + 1 for block in blocks)
    gather = np.zeros((rows, space.size - space.num_fixed))
    row = column = 0
    for block in blocks:
        t = len(block.first)
        gather[row : row + t, column : column + t] = np.eye(t)
        gather[row + t, space.own_slice.start - space.num_fixed :] = 1.0
        row, column = row + t + 1, column + t
    return gather


def average_information(
    data: Sums, space: ParamSpace, psi: Floats, found: Solution[Precision]
) -> Floats:
    """(d, d) average of the observed and the expected information of psi; positive semidefinite.

    Args:
      data: cross products.
      space: parameter space.
      psi: (d,) any parameters.
      found: the least squares problem solved there.
    Returns:
      The information of beta is exact; that of theta and log sigma is r'V^-1 V_i V^-1 V_j V^-1 r / 2,
      with V_i the derivative of V: the derivatives act on the data only. Cross terms with beta, whose
      expectation is zero, are left out.
    References:
      Gilmour, Thompson, Cullis (1995), Biometrics 51, 1440-1450.
    """
    p = space.num_fixed
    sigma = space.residual_sd(psi)
    changes = tuple(
        outer_changes(slopes / sigma, factor)
        for slopes, factor in zip(space.factor_changes(psi), found.factor.lambdas, strict=True)
    )
    directions = covariance_directions(data.plan, found.w, changes)
    # V_i V^-1 r = Z a for theta; 2 r - Z a, a = 2 Lambda Lambda' Z'V^-1 r, for log sigma
    scale = np.append(np.zeros(directions.shape[1]), np.full(space.own.size, 2.0))
    modes = apply_lambda(data.plan, found.factor.lambdas, found.u)
    directions = np.column_stack([directions, *[-2.0 * modes] * space.own.size])
    quadratic = found.factor.outer_form(directions)
    along = directions.T @ found.w
    quadratic += np.outer(scale, along) + np.outer(along, scale)
    quadratic += found.rss * np.outer(scale, scale)
    information = np.zeros((space.size, space.size))
    information[:p, :p] = fixed_information(data, found, sigma)
    information[p:, p:] = 0.5 * quadratic / sigma**2
    return information


def profile_information(
    data: Sums,
    found: Solution[Precision],
    bases: tuple[Floats, ...],
    sigma: float | None,
    reml: bool,
) -> Floats:
    """(t, t) average information of the free elements of Lambda, fixed effects and sigma profiled out.

    Args:
      data: cross products.
      found: the least squares problem solved at its optimal fixed effects.
      bases: (t_j, k, k) directions in which each Lambda_j is free.
      sigma: the residual sd if it is fixed, else None.
      reml: of the restricted likelihood.
    """
    lambdas = found.factor.lambdas
    changes = tuple(
        outer_changes(basis, factor) for basis, factor in zip(bases, lambdas, strict=True)
    )
    directions = covariance_directions(data.plan, found.w, changes)
    information = found.factor.outer_form(directions)
    crossed = found.ZVQ.T @ directions
    if crossed.size:
        information -= crossed.T @ lapack.dposv(found.information, crossed)[1]
    freedom = data.freedom(reml)
    variance = found.rss / freedom if sigma is None else sigma**2
    information *= 0.5 / variance
    if sigma is None:
        with_scale = 0.5 * directions.T @ found.w / variance
        information -= np.outer(with_scale, with_scale) / (0.5 * freedom)
    return np.asarray(0.5 * (information + information.T))
