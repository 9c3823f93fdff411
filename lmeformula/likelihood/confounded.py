"""Covariances that no data tell apart, and the one among them that stands for all.

Responses know covariances of effects only through V = sum_j Z_j (I x Sigma_j) Z_j'. Where groups are nested in
a factor, no group sees two of its levels, and their correlation changes nothing in V: a property of the design.
An ascent stops anywhere among covariances with the same V, and on a bound it does not show that the likelihood
is level there. The one that is furthest from all bounds stands for all of them.

References: Boyd, Vandenberghe (2004), Convex Optimization, sections 8.5 and 9.6, for analytic centers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats, Mask, as_rows
from lmeformula.covariance.chart import positive_part
from lmeformula.covariance.structure import Structure
from lmeformula.likelihood.singular import column_root
from lmeformula.model.params import ParamSpace, TermShape

# A change of the covariances that keeps less than this share of its size, squared, in V is none of V.
UNSEEN = 1e-12
# Numbers in columns, and in contrasts of rows, that are looked at, at most.
MOST_NUMBERS = 20_000_000
# From where nothing correlates to where something does, on the scale of a structure's parameters.
SOMEWHERE = 0.3
# Of the variance that effects make in a row: what is no variance, what one of zero counts as, and rounding.
NO_VARIANCE, LEAST, ROUNDING = 1e-6, 1e-11, 1e-9
# Parameters are compared after a step of this share of that variance.
STEP, TOLD = 1e-7, 1e-9
# Newton's steps, and the square of the decrement that ends them.
MOST_STEPS, NO_DECREMENT = 200, 1e-12


class Alike(NamedTuple):
    """Covariances with the same V, of which some others differ.

    Attributes:
      covariances: (k, k) of each term: those that are furthest from being singular.
      undetermined: (t,) parameters of all terms that differ among those with the same V.
    """

    covariances: tuple[Floats, ...]
    undetermined: Mask


def alike(
    plan: Layout, space: ParamSpace, covariances: tuple[Floats, ...], X: Floats | None = None
) -> Alike | None:
    """Look for covariances with the same V as some that are given.

    Unstructured and diagonal ones; of a structure with one correlation, or one for each number of steps, those
    correlations that no level shows whatever they are.

    Args:
      plan: layout of the effects, with the terms' model matrices.
      space: the parameter space.
      covariances: (k, k) of each term.
      X: (n, p) columns of the fixed effects, where only contrasts that they do not move are looked at (REML).
    Returns:
      The one that stands for all; None where there are no others, and where rows are too many to see.
    Example:
      >>> from lmeformula.algebra.crossproducts import layout
      >>> from lmeformula.design import design
      >>> from lmeformula.model.compile import compile
      >>> rows = {"y": [1, 2, 4, 3, 1, 2, 5, 4], "g": [1, 1, 2, 2, 3, 3, 4, 4], "a": list("uuuuvvvv")}
      >>> model = compile(design("y ~ 1 + (0 + a | g)", rows))
      >>> found = alike(layout(model.design.terms), model.space, (np.ones((2, 2)),))
      >>> found.covariances[0].round(6).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
      >>> found.undetermined
      array([False, False,  True])
    """
    if plan.is_general:
        return None
    values = [plan.values(term) for term in range(len(plan.sizes))]
    if sum(each.size for each in values) > MOST_NUMBERS:
        return None
    roots = [
        column_root(own.T @ own / len(own), term.structure.correlations == "each")
        for own, term in zip(values, space.terms, strict=True)
    ]
    back = [np.asarray(np.linalg.inv(root), float) for root in roots]
    pairs = zip(values, back, strict=True)
    Z = [plan.of_columns(j, own @ inverse) for j, (own, inverse) in enumerate(pairs)]
    columns = _Columns(plan, space, Z, roots, back, X)
    one = _unordered(columns, covariances)
    other = _linear(columns, covariances if one is None else one.covariances)
    if one is None or other is None:
        return one or other
    return Alike(other.covariances, one.undetermined | other.undetermined)


class _Columns(NamedTuple):
    """The terms' columns, scaled.

    Attributes:
      plan, space, X: as in `alike`.
      Z: model matrix of each term, of its columns times `back`.
      roots: (k, k) of each; see `column_root`.
      back: (k, k) their inverses.
    """

    plan: Layout
    space: ParamSpace
    Z: list[sp.csr_array]
    roots: list[Floats]
    back: list[Floats]
    X: Floats | None

    def unseen(self, moves: list[Floats]) -> Floats:
        """(u, m) combinations of moves (m, k, k) that change nothing; none of more than can be looked at."""
        if self.X is not None and self.X.size * sum(map(len, moves)) > MOST_NUMBERS:
            return np.zeros((0, sum(map(len, moves))))
        return _unseen(self, moves)


def _linear(columns: _Columns, covariances: tuple[Floats, ...]) -> Alike | None:
    """Among covariances that are linear in some of their elements: unstructured and diagonal ones."""
    terms, roots, back = columns.space.terms, columns.roots, columns.back
    moves = [_moves(term, root) for term, root in zip(terms, roots, strict=True)]
    own = [root @ sigma @ root.T for root, sigma in zip(roots, covariances, strict=True)]
    size = sum(float(np.trace(each)) for each in own)
    if not size > 0.0:
        return None
    unseen = columns.unseen(moves)
    if not len(unseen):
        return None
    ends = np.cumsum([len(each) for each in moves])[:-1]
    changes = [
        np.tensordot(part, each, 1)
        for part, each in zip(np.split(unseen, ends, axis=1), moves, strict=True)
    ]
    own = [positive_part(each / size, ROUNDING) for each in own]
    lengths = _furthest_inside(own, changes)
    here = [
        positive_part(each + np.tensordot(lengths, change, 1), ROUNDING)
        for each, change in zip(own, changes, strict=True)
    ]
    found = tuple(size * _turned(each, inverse) for inverse, each in zip(back, here, strict=True))
    ways = _ways_along(here, changes)
    if not len(ways):
        return None
    undetermined = []
    for term, sigma, inverse, each in zip(terms, found, back, changes, strict=True):
        along = size * inverse @ np.tensordot(ways, each, 1) @ inverse.T
        undetermined.append(_differ(term, sigma, along))
    return Alike(found, np.concatenate(undetermined))


def _unordered(columns: _Columns, covariances: tuple[Floats, ...]) -> Alike | None:
    """Among those of structures with a correlation or some: zero, where one changes nothing whatever it is."""
    found, undetermined = list(covariances), []
    for j, (term, sigma) in enumerate(zip(columns.space.terms, covariances, strict=True)):
        structure, k = term.structure, len(term.columns)
        mask = np.zeros(structure.num_params(k), bool)
        undetermined.append(mask)
        count = structure.num_sds(k)
        theta = structure.to_free(sigma)
        if (
            k < 2
            or structure.correlations not in ("one", "two", "lags")
            or not theta[:count].max() > -np.inf
        ):
            continue
        # Anywhere inside, with standard deviations of one in columns of one size.
        inside = structure.to_free(np.eye(k))
        # No correlation may be a bound.
        inside = np.where(np.isfinite(inside), inside, 0.0) + SOMEWHERE
        inside[:count] = 0.0
        root = structure.cholesky(inside, k)
        changes = structure.cholesky_jacobian(inside, k)[count:] @ root.T
        # No correlation changes a variance: but for rounding, which would be all that is seen of it.
        changes[:, range(k), range(k)] = 0.0
        moves = [np.zeros((0, k, k)) for _, k in columns.plan.sizes]
        moves[j] = changes + changes.transpose(0, 2, 1)
        unseen = np.linalg.qr(columns.unseen(moves).T)[0]
        mask[count:] = (unseen**2).sum(axis=1) > 1.0 - ROUNDING
        if mask.any():
            found[j] = _without_correlations(structure, sigma, mask)
    mask = np.concatenate(undetermined)
    return Alike(tuple(found), mask) if mask.any() else None


def _without_correlations(structure: Structure, covariance: Floats, those: Mask) -> Floats:
    """A covariance (k, k) with some of the parameters (t,) that give its correlations where there are none."""
    k = len(covariance)
    nothing = structure.to_free(np.eye(k))
    with np.errstate(divide="ignore"):
        theta, _ = structure.off_bounds(structure.to_free(covariance), k, 0.0)
    root = structure.cholesky(np.where(those, nothing, theta), k)
    return np.asarray(root @ root.T)


def _ways_along(covariances: list[Floats], changes: list[Floats]) -> Floats:
    """(v, u) orthogonal combinations of changes that lead to no negative variance, either way."""
    beyond = []
    for own, each in zip(covariances, changes, strict=True):
        sizes, vectors = np.linalg.eigh(own)
        beyond.append(as_rows(each @ vectors[:, sizes < NO_VARIANCE]))
    across = np.concatenate(beyond, axis=1)
    if not across.shape[1]:
        return np.eye(len(across))
    ways, sizes, _ = np.linalg.svd(across)
    kept = np.append(sizes, np.zeros(len(across) - len(sizes))) < NO_VARIANCE
    return np.asarray(ways[:, kept].T)


def _differ(term: TermShape, covariance: Floats, ways: Floats) -> Mask:
    """(t,) which parameters of a term, as they are reported, move along some way (v, k, k)."""
    structure, k = term.structure, len(term.columns)

    nothing = np.diag(covariance) <= 0.0

    def reported(matrix: Floats) -> Floats:
        # A variance of zero is one only up to rounding.
        matrix = _without(matrix, nothing)
        matrix = matrix - np.diag(np.minimum(np.diag(matrix), 0.0))
        return np.asarray(structure.to_report(structure.to_free(matrix), k))

    start = reported(covariance)
    found = np.zeros(len(start), bool)
    scale = np.where(np.arange(len(start)) < structure.num_sds(k), np.abs(start), 1.0)
    for way in ways:
        found |= np.abs(reported(covariance + STEP * way) - start) > TOLD * scale
    return found


def _moves(term: TermShape, root: Floats) -> Floats:
    """(m, k, k) a basis of how the covariance of a term, of scaled columns, can change."""
    k, correlations = len(root), term.structure.correlations
    if k > 1 and correlations in ("one", "two", "lags", "blocks", "factors"):
        return np.zeros((0, k, k))
    if correlations == "known":
        known = term.structure.elements(k)
        if known is None:
            return np.zeros((0, k, k))
        turned = root @ known @ root.T
        return np.asarray(turned / np.trace(turned[0]))
    if term.structure.num_params(k) == 1:
        return np.asarray((root @ root.T / np.trace(root @ root.T))[None])
    one = np.eye(k)
    if correlations == "none":
        return np.asarray(one[:, :, None] * one[:, None, :])
    rows, columns = np.tril_indices(k)
    half = one[rows][:, :, None] * one[columns][:, None, :]
    return np.asarray(0.5 * (half + half.transpose(0, 2, 1)))


def _unseen(columns: _Columns, moves: list[Floats]) -> Floats:
    """(u, m) combinations of the moves that change nothing in V, or in contrasts that X leaves alone."""
    plan, Z, X = columns.plan, columns.Z, columns.X
    ends = np.cumsum([0, *(len(each) for each in moves)])
    gram = np.zeros((ends[-1], ends[-1]))
    for i, first in enumerate(moves):
        for j, second in enumerate(moves[: i + 1]):
            if not len(first) or not len(second):
                continue
            shape = plan.sizes[i][1], plan.sizes[j][1]
            blocks = (Z[i].T @ Z[j]).tobsr(blocksize=shape).data.reshape(-1, shape[0] * shape[1])
            if blocks.shape[1] ** 2 > MOST_NUMBERS:
                # Of many coefficients level by level.
                each = blocks.reshape(-1, *shape)
                traces = sum(
                    (as_rows(first @ one) @ as_rows(one @ second).T for one in each),
                    np.zeros((len(first), len(second))),
                )
            else:
                squares = (blocks.T @ blocks).reshape(*shape, *shape)
                traces = np.einsum("arp,pqrs,bqs->ab", first, squares, second, optimize=True)
            here, there = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
            gram[here, there] = traces
            gram[there, here] = traces.T
    # What a move makes of V, before contrasts leave nothing of it.
    scale = np.sqrt(np.maximum(np.diag(gram), 0.0))
    scale = np.where(scale > UNSEEN * scale.max(initial=0.0), scale, 1.0)
    if X is not None and X.size:
        gram -= _in_fixed(plan, Z, moves, np.linalg.qr(X)[0])
    sizes, ways = np.linalg.eigh(gram / np.outer(scale, scale))
    found = (ways[:, sizes < UNSEEN * len(sizes)] / scale[:, None]).T
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _in_fixed(plan: Layout, Z: list[sp.csr_array], moves: list[Floats], Q: Floats) -> Floats:
    """(m, m) what traces of products of changes of V have of the columns Q (n, p), orthonormal."""
    on_columns = []
    for matrix, own, (levels, k) in zip(Z, moves, plan.sizes, strict=True):
        sums = (matrix.T @ Q).reshape(levels, k, -1)
        on_columns += [matrix @ (move @ sums).reshape(levels * k, -1) for move in own]
    outer = np.array([each.ravel() for each in on_columns])
    inner = np.array([(Q.T @ each).ravel() for each in on_columns])
    return np.asarray(2.0 * outer @ outer.T - inner @ inner.T)


def _turned(covariance: Floats, back: Floats) -> Floats:
    """A covariance of scaled columns as one of the columns themselves, what has no variance without any."""
    found = back @ covariance @ back.T
    most = np.trace(covariance) * (back**2).sum(axis=1)
    return _without(found, np.diag(found) <= ROUNDING * most)


def _without(covariance: Floats, nothing: Mask) -> Floats:
    """A covariance whose coefficients (k,) have no variance."""
    return np.where(nothing[:, None] | nothing, 0.0, covariance)


def _furthest_inside(covariances: list[Floats], changes: list[Floats]) -> Floats:
    """(u,) how far along changes (u, k, k) the determinants are largest, by damped Newton steps.

    A penalty on the traces holds back what could grow without limit.
    """
    moving = [j for j, each in enumerate(changes) if each.any()]
    lengths = np.zeros(len(changes[0]))
    penalty = float(sum(len(covariances[j]) for j in moving))
    for _ in range(MOST_STEPS):
        rows, left = [], []
        for j in moving:
            here = covariances[j] + np.tensordot(lengths, changes[j], 1)
            one = np.eye(len(here))
            root = np.linalg.cholesky(here + LEAST * one)
            back = sl.solve_triangular(root, one, lower=True)
            rows.append(as_rows(back @ changes[j] @ back.T))
            left.append((one - penalty * root.T @ root).ravel())
        across, wanted = np.concatenate(rows, axis=1).T, np.concatenate(left)
        step = np.linalg.lstsq(across, wanted, rcond=1e-14)[0]
        decrement = float(np.linalg.norm(across @ step))
        if decrement**2 < NO_DECREMENT:
            break
        lengths = lengths + step / (1.0 + decrement if decrement > 0.25 else 1.0)
    return lengths
