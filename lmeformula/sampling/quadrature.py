"""The likelihood of a model whose blocks of effects are small, by quadrature: exact, with a numerical error.

Around its mode each block is integrated by the trapezoidal rule after a substitution by the hyperbolic sine
along the axes of its curvature: nodes lie densely at the mode and reach far, as the one-sided posterior of a
level whose responses are all alike needs. A block's nodes are doubled until nothing moves. The gradient is the
posterior mean of the complete-data score (Fisher's identity), at the same nodes.

Reference: Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Codes, Floats, Ints, Mask, Tensor
from lmeformula.model.compile import Model
from lmeformula.sampling.blocks import Blocks
from lmeformula.sampling.rows import row_density
from lmeformula.sampling.student_prior import log_prior
from lmeformula.sampling.whitened import RowDensity

# Blocks of more effects are not integrated here.
WIDEST = 2
# Prior standard deviations that nodes reach beyond mode and centre, the chance that a heavy tail may have out
# there, and how far they reach for it at most.
REACH, TAIL, FARTHEST = 9.0, 1e-10, 1e8
# Nodes along each axis to begin with and at most, for one and for two axes, and the change that is none.
FIRST_NODES, MOST_NODES = {1: 65, 2: 33}, {1: 8193, 2: 513}
SETTLED = 1e-8
# Numbers evaluated at a time.
CHUNK = 2_000_000


class Integral(NamedTuple):
    """The log-likelihood at one parameter vector.

    Attributes:
      value: the log-likelihood.
      error: what half the nodes change in it, far more than its error.
      gradient: (d,) in psi; of zeros where it was not asked for.
    """

    value: float
    error: float
    gradient: Floats


class Integrand(NamedTuple):
    """A model whose blocks have at most `WIDEST` effects.

    Attributes:
      model: the model.
      plan: layout of its effects.
      blocks: its blocks.
      width: k, most effects in a block; smaller ones have effects that no row reads.
      local: (q,) place of each effect in its block.
      order: (n,) rows of the data, block by block.
      ends: (l + 1,) where each block's rows start in `order`.
      of_rows: the rows' log density.
      response: the response arrays.
    """

    model: Model
    plan: Layout
    blocks: Blocks
    width: int
    local: Ints
    order: Ints
    ends: Ints
    of_rows: RowDensity
    response: tuple[Floats, ...]


def integrand(model: Model, plan: Layout, blocks: Blocks) -> Integrand | None:
    """What is to be integrated; None where some block is too wide."""
    width = blocks.widest
    if width > WIDEST:
        return None
    by_block = np.argsort(blocks.of_effects, kind="stable")
    firsts = np.searchsorted(blocks.of_effects[by_block], np.arange(blocks.size))
    local = np.empty(len(by_block), np.int64)
    local[by_block] = np.arange(len(by_block)) - firsts[blocks.of_effects[by_block]]
    order = np.argsort(blocks.of_rows, kind="stable")
    ends = np.searchsorted(blocks.of_rows[order], np.arange(blocks.size + 1))
    family = model.family
    scale = model.space.own.scale
    return Integrand(
        model=model,
        plan=plan,
        blocks=blocks,
        width=width,
        local=local,
        order=order,
        ends=ends,
        of_rows=row_density(family, scale),
        response=family.response(model.design),
    )


class _At(NamedTuple):
    """An integrand at one parameter vector: base predictor (v n,), columns of Z Lambda (v n, k), priors."""

    of: Integrand
    psi: Floats
    base: Floats
    loads: Floats
    extra: Tensor
    freedom: tuple[float, ...]


def integrate(
    of: Integrand,
    psi: Floats,
    modes: Floats,
    weights: Floats,
    precisions: Floats | None = None,
    *,
    with_gradient: bool = False,
    settled: float = SETTLED,
) -> Integral:
    """The log-likelihood at psi (d,), which is finite.

    Args:
      of: the integrand.
      psi: (d,) unconstrained parameters.
      modes: (q,) spherical effects around which nodes are laid, in the order of the layout.
      weights: (v n,) information of the rows on their predictors there, nowhere negative.
      precisions: (q,) of the effects' prior there; ones by default, as for Gaussian effects.
      with_gradient: whether to work out the gradient.
      settled: a block's nodes are doubled until half of them change its log-likelihood by less than this. What
        all of them leave is about the square of that: the rule converges geometrically.
    """
    space, stack, k = of.model.space, of.model.stack, of.width
    base = stack.offset + stack.X @ psi[: space.num_fixed]
    loads = np.zeros((len(base), k))
    for j, (term, factor) in enumerate(zip(stack.terms, space.factors(psi), strict=True)):
        columns = of.local[_effects_of_rows(of.plan, j, term.index)]
        np.put_along_axis(loads, columns, term.values @ factor, axis=1)
    at = _At(of, psi, base, loads, tf.constant(psi[space.own_slice]), space.freedom(psi))

    centre, prior = np.zeros((of.blocks.size, k)), np.ones((of.blocks.size, k))
    centre[of.blocks.of_effects, of.local] = modes
    if precisions is not None:
        prior[of.blocks.of_effects, of.local] = precisions
    curvature = np.einsum("la,ab->lab", prior, np.eye(k))
    squares = (weights[:, None, None] * loads[:, :, None] * loads[:, None, :]).reshape(
        -1, of.model.design.n, k, k
    )
    np.add.at(curvature, of.blocks.of_rows, squares.sum(axis=0))
    values, axes = np.linalg.eigh(curvature)
    frame = _Frame(centre, axes, 1.0 / np.sqrt(values), _reach(at))

    found, errors = np.full(of.blocks.size, np.nan), np.full(of.blocks.size, np.inf)
    left, num_nodes = np.arange(of.blocks.size), FIRST_NODES[k]
    gradient = np.zeros(space.size)
    while len(left):
        is_last = 2 * num_nodes - 1 > MOST_NODES[k]
        unsettled = []
        for levels in _chunks(at, left, num_nodes):
            nodes, logs = _nodes(frame, levels, num_nodes)
            joint, slope = _log_joint(at, levels, nodes)
            logs = logs + joint
            found[levels] = logsumexp(logs, axis=1)
            errors[levels] = np.abs(found[levels] - _coarse(logs, num_nodes, k))
            done = (errors[levels] <= settled) | is_last | ~np.isfinite(found[levels])
            unsettled.append(levels[~done])
            if with_gradient and done.any():
                shares = np.exp(logs[done] - found[levels[done]][:, None])
                known = slope if done.all() else None
                gradient += _gradient(at, levels[done], nodes[done], shares, known)
        left, num_nodes = np.concatenate(unsettled), 2 * num_nodes - 1
    return Integral(float(found.sum()), float(errors.sum()), gradient)


class _Frame(NamedTuple):
    """Where nodes lie: (l, k) centres, (l, k, k) axes, (l, k) widths along them, and the reach beyond."""

    centre: Floats
    axes: Floats
    widths: Floats
    reach: float


def _reach(at: _At) -> float:
    least = min(at.freedom, default=np.inf)
    return REACH if np.isinf(least) else min(FARTHEST, max(REACH, TAIL ** (-1.0 / least)))


def _effects_of_rows(plan: Layout, j: int, index: Codes) -> Ints:
    """(v n, k) which effects of a term each row reads."""
    k = plan.sizes[j][1]
    return np.asarray(plan.starts[j] + k * index.astype(np.int64)[:, None] + np.arange(k))


def _chunks(at: _At, levels: Ints, num_nodes: int) -> list[Ints]:
    """Levels whose rows times nodes are not too many numbers at a time."""
    of = at.of
    rows = (of.ends[levels + 1] - of.ends[levels]) * (len(at.base) // of.model.design.n)
    wide = max(1, of.response[-1][:1].size)
    numbers = np.cumsum(np.maximum(rows, 1)) * num_nodes**of.width * wide
    ends = np.flatnonzero(np.diff(numbers // CHUNK)) + 1
    return [part for part in np.split(levels, ends) if len(part)]


def _nodes(frame: _Frame, levels: Ints, num_nodes: int) -> tuple[Floats, Floats]:
    """Nodes (l, N, k) and their log weights (l, N), N being num_nodes to the power of k."""
    centre, axes, widths = frame.centre[levels], frame.axes[levels], frame.widths[levels]
    k = centre.shape[1]
    # The prior's centre, as seen from the mode along the axes.
    back = -np.einsum("lba,lb->la", axes, centre)
    low = np.arcsinh((np.minimum(back, 0.0) - frame.reach) / widths)
    high = np.arcsinh((np.maximum(back, 0.0) + frame.reach) / widths)
    # The mode is a node: where it is sharp the rule is best around it.
    spacing = (high - low) / (num_nodes - 1)
    inner = low[:, :, None] + spacing[:, :, None] * np.arange(num_nodes)
    along = widths[:, :, None] * np.sinh(inner)
    logs = np.log(widths * spacing)[:, :, None] + np.log(np.cosh(inner))
    places = np.indices((num_nodes,) * k).reshape(k, -1)
    away = np.stack([along[:, a, place] for a, place in enumerate(places)], axis=-1)
    total = np.sum([logs[:, a, place] for a, place in enumerate(places)], axis=0)
    return centre[:, None] + np.einsum("lba,lna->lnb", axes, away), total


def _coarse(logs: Floats, num_nodes: int, k: int) -> Floats:
    """(l,) the same by every other node along each axis, a rule of its own with twice the spacing."""
    every_other = (slice(None), *[slice(None, None, 2)] * k)
    thinned = logs.reshape(-1, *[num_nodes] * k)[every_other]
    return np.asarray(logsumexp(thinned, axis=tuple(range(1, k + 1))) + k * np.log(2.0))


class _Rows(NamedTuple):
    """The rows of some blocks: their places in the data and in the stack, and the block of each."""

    places: Ints
    stacked: Ints
    block: Ints


def _rows(at: _At, levels: Ints) -> _Rows:
    of, n = at.of, at.of.model.design.n
    counts = of.ends[levels + 1] - of.ends[levels]
    block = np.repeat(np.arange(len(levels)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = of.order[np.repeat(of.ends[levels], counts) + within]
    times = len(at.base) // n
    stacked = (np.arange(times)[:, None] * n + places).ravel()
    return _Rows(places, stacked, block)


def _predictors(at: _At, rows: _Rows, nodes: Floats) -> Floats:
    """(v m, N) predictors of rows at the nodes of their blocks."""
    times = len(rows.stacked) // max(1, len(rows.places))
    block = np.tile(rows.block, times)
    loads = at.loads[rows.stacked]
    found = at.base[rows.stacked][:, None]
    for a in range(at.of.width):
        found = found + loads[:, a, None] * nodes[block, :, a]
    return np.asarray(found)


def _density(at: _At, rows: _Rows, eta: Floats) -> tuple[Tensor, Tensor]:
    response = tuple(
        tf.constant(array[rows.places] if np.ndim(array) else array, tf.float64)
        for array in at.of.response
    )
    return at.of.of_rows.slope(tf.constant(eta), response, at.extra)


def _log_joint(at: _At, levels: Ints, nodes: Floats) -> tuple[Floats, Tensor | None]:
    """Log density of the rows of blocks and of their effects at nodes (l, N, k).

    Returns:
      (l, N), and its slope (v m, N) in the rows' predictors; None without rows.
    """
    rows = _rows(at, levels)
    found, slope = _log_priors(at, levels, nodes), None
    if len(rows.places):
        values, slope = _density(at, rows, _predictors(at, rows, nodes))
        # Far out a density may overflow: there it is nil.
        with np.errstate(over="ignore", invalid="ignore"):
            firsts = np.flatnonzero(np.diff(rows.block, prepend=-1))
            sums = np.add.reduceat(np.asarray(values, float), firsts, axis=0)
            found[rows.block[firsts]] += sums
    return np.asarray(np.nan_to_num(found, nan=-np.inf, neginf=-np.inf, posinf=np.inf)), slope


def _log_priors(at: _At, levels: Ints, nodes: Floats) -> Floats:
    k = nodes.shape[2]
    found = np.full(nodes.shape[:2], -0.5 * k * np.log(2.0 * np.pi))
    if all(np.isinf(df) for df in at.freedom):
        return np.asarray(found - 0.5 * (nodes**2).sum(axis=2))
    for j, df in enumerate(at.freedom):
        has, square = _squares(at, j, levels, nodes)
        if np.isinf(df):
            found[has] -= 0.5 * square
        else:
            free = tf.constant(np.log(df - 1.0), tf.float64)
            width = at.of.plan.sizes[j][1]
            found[has] += np.asarray(log_prior(tf.constant(square), free, width), float)
    return found


def _squares(at: _At, j: int, levels: Ints, nodes: Floats) -> tuple[Mask, Floats]:
    """Which blocks (l,) have effects of term j, and the squared lengths (h, N) of these at nodes."""
    of = at.of
    count, width = of.plan.sizes[j]
    effects = of.plan.starts[j] + np.arange(count * width).reshape(count, width)
    where = np.full((of.blocks.size, width), -1)
    where[of.blocks.of_effects[effects[:, 0]]] = of.local[effects]
    has = where[levels, 0] >= 0
    mine = np.take_along_axis(nodes[has], where[levels][has][:, None, :], axis=2)
    return has, (mine**2).sum(axis=2)


def _gradient(at: _At, levels: Ints, nodes: Floats, shares: Floats, slope: Tensor | None) -> Floats:
    """(d,) what blocks add to the gradient, with posterior probabilities (l, N) at their nodes.

    The density's slope in the predictors is worked out where it is not known.
    """
    of, space = at.of, at.of.model.space
    rows = _rows(at, levels)
    found = np.zeros(space.size)
    in_own = None
    if slope is None or space.own.size:
        weights = tf.constant(shares[rows.block])
        with tf.GradientTape() as tape:
            tape.watch(at.extra)
            value, slope = _density(at, rows, _predictors(at, rows, nodes))
            # Where a node has no mass its density may not be finite.
            total = tf.reduce_sum(tf.where(weights > 0, weights * value, 0.0))
        in_own = tape.gradient(total, at.extra)
    times = len(rows.stacked) // max(1, len(rows.places))
    block = np.tile(rows.block, times)
    mass = shares[block]
    slopes = np.where(mass > 0, mass * np.asarray(slope, float), 0.0)
    found[: space.num_fixed] = of.model.stack.X[rows.stacked].T @ slopes.sum(axis=1)
    changes = space.factor_changes(at.psi)
    for j, (term, change, place) in enumerate(
        zip(of.model.stack.terms, changes, space.theta_slices, strict=True)
    ):
        index, values = term.index[rows.stacked], term.values[rows.stacked]
        columns = of.local[_effects_of_rows(of.plan, j, index)]
        # The mean of slope times effect, for each row and coefficient.
        moments = np.stack(
            [
                (
                    slopes * np.take_along_axis(nodes[block], columns[:, None, a, None], 2)[:, :, 0]
                ).sum(1)
                for a in range(columns.shape[1])
            ],
            axis=1,
        )
        found[place][: len(change)] = np.einsum("na,tab,nb->t", values, change, moments)
        if at.freedom and np.isfinite(at.freedom[j]):
            found[place.stop - 1] = _freedom_slope(at, j, levels, nodes, shares)
    if space.own.size and in_own is not None:
        found[space.own_slice] = np.asarray(in_own, float)
    return found


def _freedom_slope(at: _At, j: int, levels: Ints, nodes: Floats, shares: Floats) -> float:
    """The derivative in log(df - 1) of term j, whose columns do not depend on it."""
    has, square = _squares(at, j, levels, nodes)
    free = tf.constant(np.log(at.freedom[j] - 1.0), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(free)
        prior = log_prior(tf.constant(square), free, at.of.plan.sizes[j][1])
        total = tf.reduce_sum(tf.constant(shares[has]) * prior)
    return float(tape.gradient(total, free))
