"""The quadratic and the cubic control variates of the scores, worked out at a mode.

With e = Z Lambda (u - u_hat) the move of the rows' predictors and a = Z Lambda delta that of the Newton step,
whose mean is zero, Stein's identity gives for any row weights b and any linear functions w_i of u - u_hat

    E[sum b_i (e_i a_i + h_i)] = 0,          E[sum b_i (e_i^2 a_i + 2 h_i e_i)] = 0,
    E[sum b_i (e_i a_i w_i + h_i w_i + c_i e_i)] = 0,

h_i being the variance of e_i under N(u_hat, M^-1) and c_i its covariance with w_i. To first order a = -e, and
a score with its linear variate, s'e^2 + t'e^3 + ..., loses its quadratic and its cubic part to the sums with
b = s and b = t. The quadratic one leaves a cubic part of its own, since delta is not quite -(u - u_hat), and so
does the linear variate of a score that is itself quadratic in u. Both of these parts are sum g_i e_i^2 w_i / 2,
with g the third derivatives of the rows' log densities and w = Z Lambda M^-1 K (u - u_hat) for some symmetric
K. Here M^-1 K is replaced by the blocks of K over those of M, which the identity allows: only some variance
stays.

References: Stein (1981), Ann. Statist. 9, 1135-1151; Mira, Solgi, Imparato (2013), Stat. Comput. 23, 653-662,
for polynomials of higher order as control variates.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.inverse import loadings
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.probed import NearFactor
from lmeformula.arrays import Floats
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.likelihood import Mode, Problem
from lmeformula.likelihood.laplace.row_sums import spread_out
from lmeformula.model.params import ParamSpace
from lmeformula.sampling.whitened import Cubic

# Step of the difference for fourth derivatives, in conditional standard deviations of the predictor: any rough
# value is as right as another in a control variate.
STEP = 0.02


def bend_and_cubic(
    space: ParamSpace,
    arrays: Problem,
    mode: Mode,
    factor: Factor | NearFactor,
    depths: Depths,
    pull: Floats,
    changes: tuple[Floats, ...],
) -> tuple[Floats, Floats, Cubic | tuple[()]]:
    """The weights of the variates.

    The Newton step is bent: what the third derivative adds to the gradient it carries into all rows. Most of
    the bend of the fixed effects' scores goes with it where random effects could stand in for them, and all of
    the covariances' is of this kind.

    Args:
      space: the parameter space.
      arrays: the model's arrays.
      mode: the conditional mode.
      factor: of the sampler's coordinates, M or what stands for it.
      depths: the rows' further derivatives there.
      pull: (q, p + f) derivative in u of the scores of the fixed effects and of the family's own parameters.
      changes: (t, k, k) Lambda^-1 d Lambda / d theta of each term.
    Returns:
      bends: (d,) the sum of `bend` over the rows, each times the row's leverage.
      bend: (n, d) half the second derivative in each row's predictor of the scores with their linear variate.
      cubic: what makes the cubic variate; () with several linear predictors, where the third derivatives of a
        row are of all their combinations.
    """
    reach, own = _reach(space, arrays, mode, factor, pull, changes), space.own_slice
    if depths.third.shape[1] > 1:
        bend = spread_out(0.5 * depths.third, reach)
        bend[:, own] += 0.5 * depths.own_second.T
        return factor.leverages() @ bend, bend, ()
    third = depths.third[0, 0]
    half = 0.5 * third
    bend = half[:, None] * reach
    bend[:, own] += 0.5 * depths.own_second.T

    loads, shared = loadings(arrays.plan, mode.at.lambdas), factor.covariances()
    pairs = zip(loads, shared, strict=True)
    leverages = np.sum([(load * part).sum(axis=1) for load, part in pairs], axis=0)
    length = STEP * np.sqrt(leverages) + np.finfo(float).tiny
    ahead = arrays.rows.depths(mode.eta + length, mode.at.own)
    usable = length > np.sqrt(np.finfo(float).eps) * np.abs(mode.eta)
    per_length = np.where(usable, 1.0 / length, 0.0)
    twist = (per_length * (ahead.third[0, 0] - third) / 6.0)[:, None] * reach
    twist[:, own] += (per_length * (ahead.own_second - depths.own_second) / 6.0).T

    blocks = _blocks(space, arrays, mode, bend, loads, changes)
    return (
        leverages @ bend,
        bend,
        Cubic(
            half=half,
            twist=twist,
            blocks=tuple(blocks[j] for j in (arrays.plan.lead, *arrays.plan.rest)),
            linear=_linear(arrays, mode, half, leverages, twist, blocks, loads, shared),
        ),
    )


def _reach(
    space: ParamSpace,
    arrays: Problem,
    mode: Mode,
    factor: Factor | NearFactor,
    pull: Floats,
    changes: tuple[Floats, ...],
) -> Floats:
    """(n, d) what multiplies the rows' higher derivatives in the scores with their linear variate."""
    plan, p = arrays.plan, space.num_fixed
    by_theta = np.zeros((plan.num_effects, sum(len(each) for each in changes)))
    column = 0
    for j, (part, each) in enumerate(zip(plan.split(mode.u), changes, strict=True)):
        for change in each:
            by_theta[plan.place(j), column] = (part @ (change + change.T)).ravel()
            column += 1
    pulls = np.column_stack([pull[:, :p], by_theta, pull[:, p:]])
    moved = apply_lambda(plan, mode.at.lambdas, factor.solve(pulls))
    reach = plan.spread(moved)
    reach[:, :p] += arrays.X
    return reach


def _blocks(
    space: ParamSpace,
    arrays: Problem,
    mode: Mode,
    bend: Floats,
    loads: list[Floats],
    changes: tuple[Floats, ...],
) -> list[Floats]:
    """(l, d, k, k) of each term: M's block of a level to the inverse, times that of each score's form."""
    plan = arrays.plan
    found: list[Floats] = []
    for j, load in enumerate(loads):
        levels, k = plan.sizes[j]
        square = np.einsum("na,nb->nab", load, load).reshape(len(load), k * k)
        weights = np.column_stack([mode.weights, bend])
        # One column of the rows' blocks at a time: memory is that of the rows' bends.
        sums = [_by_level(arrays, j, weights * column[:, None]) for column in square.T]
        total = np.stack(sums, axis=-1).reshape(levels, -1, k, k)
        forms = total[:, 1:]
        forms[:, space.theta_slices[j]] += changes[j]
        found.append(np.asarray(np.linalg.solve((total[:, 0] + np.eye(k))[:, None], forms), float))
    return found


def _linear(
    arrays: Problem,
    mode: Mode,
    half: Floats,
    leverages: Floats,
    twist: Floats,
    blocks: list[Floats],
    loads: list[Floats],
    shared: tuple[Floats, ...],
) -> Floats:
    """(q, d) the derivative in u of what makes up for the variate's mean."""
    plan, rows = arrays.plan, 2.0 * leverages[:, None] * twist
    direct = np.zeros((plan.num_effects, twist.shape[1]))
    for j, (load, part, block) in enumerate(zip(loads, shared, blocks, strict=True)):
        level = arrays.plan.level(j)
        # The covariance of a row's predictor with its linear functions of this term's effects.
        for a in range(load.shape[1]):
            for b in range(load.shape[1]):
                rows += (half * load[:, b] * part[:, a])[:, None] * block[:, :, b, a][level]
        pulled = _by_level(arrays, j, (half * leverages)[:, None] * load)
        direct[plan.place(j)] = np.einsum("lb,ldba->lad", pulled, block).reshape(-1, len(twist.T))
    crossed = plan.gather(rows)
    return direct + apply_lambda(plan, mode.at.lambdas, crossed, transpose=True)


def _by_level(arrays: Problem, term: int, values: Floats) -> Floats:
    """(l, m) sums over the rows (n, m) of each level."""
    n, levels = len(values), arrays.plan.sizes[term][0]
    onto = sp.csr_array((np.ones(n), arrays.plan.level(term), np.arange(n + 1)), (n, levels))
    return np.asarray(onto.T @ values)
