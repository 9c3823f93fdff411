"""The Laplace approximations of many responses of one design, all of whose effects are of one grouping factor.

The formulas are those of `likelihood.laplace.likelihood`; M falls into a block for each level.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import TermBlock
from lmeformula.family import Slopes
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.laplace.fit import NO_CURVATURE, own_ends
from lmeformula.likelihood.laplace.likelihood import (
    EXACT_GAIN,
    MAX_NEWTON_STEPS,
    NEXT_TO,
    SMALL_GAIN,
    STALLED,
)
from lmeformula.likelihood.replicates.ascent import MOST_HALVINGS, Heights
from lmeformula.likelihood.replicates.rows import ManyRows
from lmeformula.model.compile import Model

# Of more curvature in one direction the others have no digits.
MOST_CURVATURE = 1e13


class OneFactor(NamedTuple):
    """The arrays of a design whose effects are of one grouping factor, its rows level by level.

    Attributes:
      order: (n,) which row each is.
      X: (n, p) orthogonal columns of the fixed effects.
      R: (p, p) what takes fixed effects to their coefficients.
      offset: (n,).
      Z: (n, k) columns of a level's effects.
      level: (n,).
      firsts: (l,) where levels begin.
    """

    order: Ints
    X: Floats
    R: Floats
    offset: Floats
    Z: Floats
    level: Ints
    firsts: Ints

    @classmethod
    def of(cls, model: Model, term: TermBlock) -> OneFactor:
        """Those of a model with the effects of one term."""
        Q, R = model.stack.orthogonal()
        order = np.argsort(term.index, kind="stable")
        level = np.asarray(term.index[order], np.int64)
        firsts = np.searchsorted(level, np.arange(len(term.levels)))
        return cls(order, Q[order], R, model.stack.offset[order], term.values[order], level, firsts)

    def sums(self, rows: Floats) -> Floats:
        """(a, l, ...) sums over the rows (a, n, ...) of each level."""
        return np.asarray(np.add.reduceat(rows, self.firsts, axis=1))


class Modes(NamedTuple):
    """The conditional modes of a replicates.

    Attributes:
      u: (a, l, k) spherical effects.
      eta: (a, n) linear predictors.
      rows: (a, n) derivatives of the rows.
      loads: (a, n, k) Z Lambda.
      M: (a, l, k, k) their curvatures.
      values: (a,) log joint densities, without the constant of the effects' density.
      is_told: (a,) whether these are modes, with a curvature.
    """

    u: Floats
    eta: Floats
    rows: Slopes
    loads: Floats
    M: Floats
    values: Floats
    is_told: Mask


class LaplaceReplicates:
    """The approximations of m responses, in fixed effects, own parameters and the elements of factors.

    Args:
      model: of any response.
      arrays: of its design.
      charts: of the covariance factors, linear in their elements.
      rows: of the responses.
      num: m.
    """

    def __init__(
        self, model: Model, arrays: OneFactor, charts: FactorSpace, rows: ManyRows, num: int
    ) -> None:
        self.arrays, self.rows, self.basis = arrays, rows, charts.basis()
        self.p, self.f = model.space.num_fixed, model.space.own.size
        self.lowest, self.highest = own_ends(model)
        # Searches for modes start from where the last ones ended.
        self.u = np.zeros((num, len(arrays.firsts), self.basis.shape[1]))

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Coefficients (a, p), own parameters (a, f) and factors (a, k, k) at coordinates (a, d)."""
        t, k, _ = self.basis.shape
        factors = (x[:, self.p + self.f :] @ self.basis.reshape(t, -1)).reshape(-1, k, k)
        return x[:, : self.p], x[:, self.p : self.p + self.f], factors

    def look(self, x: Floats, which: Ints) -> Heights:
        """See `Look`."""
        _, own, _ = self.split(x)
        with np.errstate(all="ignore"):
            modes = self.modes(x, which)
            values, scores = self._by_determinant(modes, own, which)
        return self.heights(values, scores, modes, own)

    def own_information(self, x: Floats, which: Ints) -> Floats:
        """(a, f) information of each own parameter, the others held; see `information.coefficients_at`."""
        _, own, _ = self.split(x)
        with np.errstate(all="ignore"):
            modes = self.modes(x, which)
            depths = self.rows.depths(modes.eta, own, which)
            each = np.einsum("ank,afn->ankf", modes.loads, depths.own_first)
            crossed = self.arrays.sums(each)
            known = (crossed * np.linalg.solve(modes.M, crossed)).sum(axis=(1, 2))
        return np.asarray(-np.einsum("aff->af", depths.own_own) - known)

    def heights(self, values: Floats, scores: Floats, modes: Modes, own: Floats) -> Heights:
        """The likelihoods where there are some."""
        is_within = ((own >= self.lowest) & (own <= self.highest)).all(axis=1)
        is_told = modes.is_told & is_within & np.isfinite(values)
        return Heights(np.where(is_told, values, -np.inf), scores)

    def modes(self, x: Floats, which: Ints) -> Modes:
        """Newton's method for all modes, each replicate's step halved until its density rises."""
        arrays = self.arrays
        coefficients, own, factors = self.split(x)
        loads = arrays.Z @ factors
        base = arrays.offset + coefficients @ arrays.X.T
        u = self.u[which]
        eta = base + self._spread(loads, u)
        rows = self.rows.slopes(eta, own, which)
        values = rows.values.sum(axis=1) - 0.5 * (u**2).sum(axis=(1, 2))
        values = np.where(np.isfinite(values), values, -np.inf)
        M = np.tile(np.eye(u.shape[2]), (*u.shape[:2], 1, 1))
        is_told, before = np.isfinite(values), np.full(len(x), np.inf)
        left = np.flatnonzero(is_told)
        for number in range(MAX_NEWTON_STEPS + 1):
            own_loads = loads[left]
            weights = -rows.second[left]
            M[left] = self._curvature(own_loads, weights)
            is_solid = self._is_solid(M[left], weights)
            if not is_solid.all():
                lost = left[~is_solid]
                is_told[lost], M[lost] = False, np.eye(M.shape[-1])
                left, own_loads = left[is_solid], own_loads[is_solid]
            gradient = arrays.sums(own_loads * rows.first[left][:, :, None]) - u[left]
            step = _solve(M[left], gradient)
            gain = (gradient * step).sum(axis=(1, 2))
            is_rounding = (gain < SMALL_GAIN) & (gain > STALLED * before[left])
            goes_on = (gain > EXACT_GAIN) & ~is_rounding
            before[left] = gain
            if number == MAX_NEWTON_STEPS:
                is_told[left[goes_on]] = False
                break
            left, step, gain = left[goes_on], step[goes_on], gain[goes_on]
            if not len(left):
                break
            self._take(left, step, gain, u, eta, rows, values, loads, own, which)
        self.u[which[is_told]] = u[is_told]
        return Modes(u, eta, rows, loads, M, values, is_told)

    def _take(
        self,
        left: Ints,
        step: Floats,
        gain: Floats,
        u: Floats,
        eta: Floats,
        rows: Slopes,
        values: Floats,
        loads: Floats,
        own: Floats,
        which: Ints,
    ) -> None:
        """Take the steps of some replicates, in place, each as far as its log joint density rises."""
        move = self._spread(loads[left], step)
        trying, share = np.arange(len(left)), 1.0
        for _ in range(MOST_HALVINGS):
            mine = left[trying]
            moved, there = u[mine] + share * step[trying], eta[mine] + share * move[trying]
            found = self.rows.slopes(there, own[mine], which[mine])
            reached = found.values.sum(axis=1) - 0.5 * (moved**2).sum(axis=(1, 2))
            least = values[mine] + 1e-4 * share * gain[trying] - 1e-13 * np.abs(values[mine])
            is_next = (gain[trying] < NEXT_TO) & np.isfinite(reached)
            rises = (reached >= least) | is_next
            good = mine[rises]
            u[good], eta[good], values[good] = moved[rises], there[rises], reached[rises]
            for old, new in zip(rows, found, strict=True):
                old[good] = new[rises]
            trying, share = trying[~rises], 0.5 * share
            if not len(trying):
                break

    def _spread(self, loads: Floats, effects: Floats) -> Floats:
        """(a, n) Z Lambda effects, of effects (a, l, k)."""
        return np.asarray((loads * effects[:, self.arrays.level]).sum(axis=2))

    def _curvature(self, loads: Floats, weights: Floats) -> Floats:
        """(a, l, k, k) of the log joint density in the effects of each level."""
        k = loads.shape[2]
        each = (loads * weights[:, :, None])[:, :, :, None] * loads[:, :, None]
        return np.eye(k) + self.arrays.sums(each)

    def _is_solid(self, M: Floats, weights: Floats) -> Mask:
        """(a,) whether curvatures (a, l, k, k), by weights (a, n) of the rows, are those of a maximum."""
        # Beside so much information the prior's one has no digits left.
        found = np.atleast_1d((np.abs(M) < MOST_CURVATURE).all(axis=(1, 2, 3)))
        bends = found & (weights < 0.0).any(axis=1)
        if bends.any():
            found[bends] = np.linalg.eigvalsh(M[bends]).min(axis=(1, 2)) > NO_CURVATURE
        return found

    def _by_determinant(self, modes: Modes, own: Floats, which: Ints) -> tuple[Floats, Floats]:
        """Values (a,) of the approximation and its derivatives (a, d) in the coordinates."""
        level, loads, weights = self.arrays.level, modes.loads, -modes.rows.second
        depths = self.rows.depths(modes.eta, own, which)
        inverse = _inverse(modes.M)
        ways = _times(inverse[:, level], loads)
        leverages = 0.5 * (loads * ways).sum(axis=2)
        pull = depths.third * leverages
        adjoint = _times(inverse, self.arrays.sums(loads * pull[:, :, None]))
        along = self._spread(loads, adjoint)
        slope = modes.rows.first + pull - weights * along
        by_effects = slope[:, :, None] * modes.u[:, level]
        by_effects += modes.rows.first[:, :, None] * adjoint[:, level]
        by_effects -= weights[:, :, None] * ways
        in_own = depths.own_each.sum(axis=2)
        in_own += np.einsum("afn,an->af", depths.own_second, leverages)
        in_own += np.einsum("afn,an->af", depths.own_first, along)
        values = modes.values - 0.5 * _log_dets(modes.M).sum(axis=1)
        return values, self.scores(slope, by_effects, in_own)

    def scores(self, slope: Floats, by_effects: Floats, in_own: Floats) -> Floats:
        """(a, d) derivatives in the coordinates.

        Args:
          slope: (a, n) in the rows' predictors.
          by_effects: (a, n, k) in Z Lambda of each row.
          in_own: (a, f) in the own parameters.
        """
        in_factor = self.arrays.Z.T @ by_effects
        in_elements = np.einsum("ars,trs->at", in_factor, self.basis)
        return np.hstack([slope @ self.arrays.X, in_own, in_elements])


def _solve(matrices: Floats, right: Floats) -> Floats:
    """Solutions (a, l, k) of small systems (a, l, k, k)."""
    if matrices.shape[-1] == 1:
        return right / matrices[..., 0]
    return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0])


def _inverse(matrices: Floats) -> Floats:
    return 1.0 / matrices if matrices.shape[-1] == 1 else np.asarray(np.linalg.inv(matrices))


def _times(matrices: Floats, columns: Floats) -> Floats:
    if matrices.shape[-1] == 1:
        return matrices[..., 0] * columns
    return np.asarray((matrices @ columns[..., None])[..., 0])


def _log_dets(matrices: Floats) -> Floats:
    if matrices.shape[-1] == 1:
        return np.log(matrices[..., 0, 0])
    return np.asarray(np.linalg.slogdet(matrices)[1])
