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
from lmeformula.likelihood.laplace.ends import NO_CURVATURE, own_ends
from lmeformula.likelihood.laplace.likelihood import (
    MAX_NEWTON_STEPS,
    MODE_GAIN,
    NEXT_TO,
    SMALL_GAIN,
    STALLED,
)
from lmeformula.likelihood.replicates.ascent import MOST_HALVINGS, Heights
from lmeformula.likelihood.replicates.rows import ManyDepths, ManyRows
from lmeformula.model.compile import Model

# So many rows at a time have their arrays in a processor's cache.
CHUNK = 32768
# No larger spherical effects are started from that no search has led to.
MOST_USUAL = 5.0
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

    def spread(self, effects: Floats) -> Floats:
        """(a, n) Z b of effects b (a, l, k)."""
        each = np.take(effects, self.level, axis=1) * self.Z
        return np.asarray(each[..., 0] if each.shape[2] == 1 else each.sum(axis=2))

    def gather(self, rows: Floats) -> Floats:
        """(a, l, k) sums of Z times rows (a, n) of each level."""
        return self._sums(rows[:, :, None] * self.Z)

    def squares(self, rows: Floats) -> Floats:
        """(a, l, k, k) sums of the products of Z times rows (a, n) of each level."""
        return self._sums(rows[:, :, None, None] * (self.Z[:, :, None] * self.Z[:, None]))

    def lengths(self, matrices: Floats) -> Floats:
        """(a, n) z'Az of each row, of matrices A (a, l, k, k)."""
        each = np.take(matrices, self.level, axis=1)
        if each.shape[2] == 1:
            return np.asarray(each[..., 0, 0] * self.Z[:, 0] ** 2)
        return np.asarray(np.einsum("nr,anrs,ns->an", self.Z, each, self.Z))

    def _sums(self, rows: Floats) -> Floats:
        return np.asarray(np.add.reduceat(rows, self.firsts, axis=1))


class Reached(NamedTuple):
    """Where searches for modes are.

    Attributes:
      u: (a, l, k) spherical effects.
      eta: (a, n) linear predictors.
      rows: (a, n) derivatives of the rows.
      values: (a,) log joint densities, without the constant of the effects' density.
    """

    u: Floats
    eta: Floats
    rows: Slopes
    values: Floats

    def of(self, some: Ints) -> Reached:
        """Those of some replicates; nothing is copied for all of them."""
        if len(some) == len(self.u):
            return self
        rows = Slopes(*(each[some] for each in self.rows))
        return Reached(self.u[some], self.eta[some], rows, self.values[some])

    def put(self, some: Ints, others: Reached) -> Reached:
        """With others in place of some replicates; changes these arrays."""
        if len(some) == len(self.u):
            return others
        self.u[some], self.eta[some], self.values[some] = others.u, others.eta, others.values
        for mine, each in zip(self.rows, others.rows, strict=True):
            mine[some] = each
        return self


class Modes(NamedTuple):
    """The conditional modes of a replicates.

    Attributes:
      at: where they are.
      factors: (a, k, k) Lambda.
      pulls: (a, l, k) derivatives of the rows' log densities in the effects b.
      squares: (a, l, k, k) Z'WZ of each level.
      M: (a, l, k, k) curvatures of the log joint density in u.
      is_told: (a,) whether these are modes, with a curvature.
    """

    at: Reached
    factors: Floats
    pulls: Floats
    squares: Floats
    M: Floats
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
        # Searches for modes start from where the last ones and their derivatives put them.
        self.u = np.zeros((num, len(arrays.firsts), self.basis.shape[1]))
        self._x = np.zeros((num, self.p + self.f + len(self.basis)))
        self._slopes = np.zeros((*self.u.shape, self._x.shape[1]))

    def split(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Coefficients (a, p), own parameters (a, f) and factors (a, k, k) at coordinates (a, d)."""
        t, k, _ = self.basis.shape
        factors = (x[:, self.p + self.f :] @ self.basis.reshape(t, -1)).reshape(-1, k, k)
        return x[:, : self.p], x[:, self.p : self.p + self.f], factors

    def look(self, x: Floats, which: Ints) -> Heights:
        """See `Look`."""
        size, is_kept = max(1, CHUNK // len(self.arrays.level)), is_once(which)
        parts = [
            self._look(x[i : i + size], which[i : i + size], is_kept)
            for i in range(0, len(which), size)
        ]
        return Heights(*map(np.concatenate, zip(*parts, strict=True)))

    def _look(self, x: Floats, which: Ints, is_kept: bool) -> Heights:
        _, own, _ = self.split(x)
        with np.errstate(all="ignore"):
            modes = self.modes(x, which)
            depths = self.rows.depths(modes.at.eta, own, which)
            values, scores = self._by_determinant(modes, depths)
            if is_kept:
                self.remember(x, which, modes, depths.own_first)
        return self.heights(values, scores, modes, own)

    def own_information(self, x: Floats, which: Ints) -> Floats:
        """(a, f) information of each own parameter, the others held; see `information.coefficients_at`."""
        _, own, _ = self.split(x)
        with np.errstate(all="ignore"):
            modes = self.modes(x, which)
            depths = self.rows.depths(modes.at.eta, own, which)
            each = [self.arrays.gather(part) for part in depths.own_first.swapaxes(0, 1)]
            crossed = _turned(modes.factors)[:, None] @ np.stack(each, axis=-1)
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
        base = arrays.offset + coefficients @ arrays.X.T
        u = self._expected(x, which, factors)
        now = self._reach(u, base + arrays.spread(_times(factors[:, None], u)), own, which)
        pulls, squares = np.zeros_like(u), np.zeros((*u.shape, u.shape[2]))
        M = np.tile(np.eye(u.shape[2]), (*u.shape[:2], 1, 1))
        is_told, before = np.isfinite(now.values), np.full(len(x), np.inf)
        left = np.flatnonzero(is_told)
        for number in range(MAX_NEWTON_STEPS + 1):
            here, own_factors = now.of(left), factors[left][:, None]
            pulls[left] = arrays.gather(here.rows.first)
            squares[left] = arrays.squares(-here.rows.second)
            M[left] = _sandwich(own_factors, squares[left]) + np.eye(u.shape[2])
            is_solid = self._is_solid(M[left], here.rows.second)
            if not is_solid.all():
                lost = left[~is_solid]
                is_told[lost], M[lost] = False, np.eye(u.shape[2])
                left = left[is_solid]
                here, own_factors = now.of(left), factors[left][:, None]
            gradient = _times(_turned(own_factors), pulls[left]) - here.u
            step = _solve(M[left], gradient)
            gain = (gradient * step).sum(axis=(1, 2))
            is_rounding = (gain < SMALL_GAIN) & (gain > STALLED * before[left])
            goes_on = (gain > MODE_GAIN) & ~is_rounding
            before[left] = gain
            if number == MAX_NEWTON_STEPS:
                is_told[left[goes_on]] = False
                break
            left, step, gain = left[goes_on], step[goes_on], gain[goes_on]
            if not len(left):
                break
            move = arrays.spread(_times(factors[left][:, None], step))
            taken = self._taken(now.of(left), step, move, gain, own[left], which[left])
            now = now.put(left, taken)
        return Modes(now, factors, pulls, squares, M, is_told)

    def _reach(self, u: Floats, eta: Floats, own: Floats, which: Ints) -> Reached:
        """What is there at effects (a, l, k), which give predictors (a, n)."""
        rows = self.rows.slopes(eta, own, which)
        values = rows.values.sum(axis=1) - 0.5 * (u**2).sum(axis=(1, 2))
        return Reached(u, eta, rows, np.where(np.isfinite(values), values, -np.inf))

    def _taken(
        self, here: Reached, step: Floats, move: Floats, gain: Floats, own: Floats, which: Ints
    ) -> Reached:
        """Steps (a, l, k), which move predictors by (a, n), each as far as its log joint density rises."""
        trying, share, taken = np.arange(len(step)), 1.0, here
        for _ in range(MOST_HALVINGS):
            mine = here.of(trying)
            u, eta = mine.u + share * step[trying], mine.eta + share * move[trying]
            there = self._reach(u, eta, own[trying], which[trying])
            least = mine.values + 1e-4 * share * gain[trying] - 1e-13 * np.abs(mine.values)
            is_next = (gain[trying] < NEXT_TO) & np.isfinite(there.values)
            rises = np.flatnonzero((there.values >= least) | is_next)
            taken = taken.put(trying[rises], there.of(rises))
            if len(rises) == len(trying):
                break
            trying, share = np.delete(trying, rises), 0.5 * share
        return taken

    def _expected(self, x: Floats, which: Ints, factors: Floats) -> Floats:
        """(a, l, k) about the modes at coordinates (a, d), whose factors are (a, k, k).

        By a step from the last ones that can be trusted; else the same effects b, in units of these factors.
        """
        known, u = self._x[which], self.u[which]
        move = np.einsum("alkd,ad->alk", self._slopes[which], x - known)
        is_far = np.atleast_1d(~(np.abs(move) <= 1.0).all(axis=(1, 2)))
        found = u + np.where(is_far[:, None, None], 0.0, move)
        if is_far.any():
            _, _, before = self.split(known[is_far])
            change = np.linalg.pinv(factors[is_far]) @ before
            held = _times(change[:, None], u[is_far])
            is_usual = np.atleast_1d((np.abs(held) <= MOST_USUAL).all(axis=(1, 2)))
            found[is_far] = np.where(is_usual[:, None, None], held, u[is_far])
        return np.asarray(found)

    def remember(self, x: Floats, which: Ints, modes: Modes, own_first: Floats) -> None:
        """Keep the modes at coordinates (a, d), and how they move with these, for the next searches.

        Args:
          x, which, modes: of a replicates.
          own_first: (a, f, n) mixed derivatives of the rows; see `Depths`.
        """
        arrays, p, f, turned = self.arrays, self.p, self.f, _turned(modes.factors)[:, None]
        slopes = np.empty((*self.u[which].shape, x.shape[1]))
        for j, column in enumerate(arrays.X.T):
            slopes[..., j] = _times(turned, arrays.gather(modes.at.rows.second * column))
        for j in range(f):
            slopes[..., p + j] = _times(turned, arrays.gather(own_first[:, j]))
        for j, change in enumerate(self.basis):
            moved = _times(modes.squares, _times(change, modes.at.u))
            slopes[..., p + f + j] = _times(change.T, modes.pulls) - _times(turned, moved)
        slopes = np.linalg.solve(modes.M, slopes) if self.u.shape[2] > 1 else slopes / modes.M
        told = modes.is_told
        self.u[which[told]], self._x[which[told]] = modes.at.u[told], x[told]
        self._slopes[which[told]] = slopes[told]

    def _is_solid(self, M: Floats, seconds: Floats) -> Mask:
        """(a,) whether curvatures (a, l, k, k), by second derivatives (a, n), are those of a maximum."""
        # Beside so much information the prior's one has no digits left.
        found = np.atleast_1d((np.abs(M) < MOST_CURVATURE).all(axis=(1, 2, 3)))
        bends = found & (seconds > 0.0).any(axis=1)
        if bends.any():
            found[bends] = np.linalg.eigvalsh(M[bends]).min(axis=(1, 2)) > NO_CURVATURE
        return found

    def _by_determinant(self, modes: Modes, depths: ManyDepths) -> tuple[Floats, Floats]:
        """Values (a,) of the approximation and its derivatives (a, d) in the coordinates."""
        arrays, factors, rows = self.arrays, modes.factors[:, None], modes.at.rows
        inverse = _inverse(modes.M)
        reach = _product(factors, inverse)
        leverages = 0.5 * arrays.lengths(_product(reach, _turned(factors)))
        pull = depths.third * leverages
        adjoint = _times(_turned(reach), arrays.gather(pull))
        along = arrays.spread(_times(factors, adjoint))
        slope = rows.first + pull + rows.second * along
        in_factor = np.einsum("alr,als->ars", arrays.gather(slope), modes.at.u)
        in_factor += np.einsum("alr,als->ars", modes.pulls, adjoint)
        in_factor -= _product(modes.squares, reach).sum(axis=1)
        in_own = depths.own_each.sum(axis=2)
        in_own += np.einsum("afn,an->af", depths.own_second, leverages)
        in_own += np.einsum("afn,an->af", depths.own_first, along)
        values = modes.at.values - 0.5 * _log_dets(modes.M).sum(axis=1)
        return values, self.scores(slope, in_factor, in_own)

    def scores(self, slope: Floats, in_factor: Floats, in_own: Floats) -> Floats:
        """(a, d) derivatives in the coordinates.

        Args:
          slope: (a, n) in the rows' predictors.
          in_factor: (a, k, k) in Lambda.
          in_own: (a, f) in the own parameters.
        """
        in_elements = np.einsum("ars,trs->at", in_factor, self.basis)
        return np.hstack([slope @ self.arrays.X, in_own, in_elements])


def is_once(which: Ints) -> bool:
    """Whether each of some replicates is looked at once: not at several places, as differences are taken of."""
    return len(np.unique(which)) == len(which)


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


def _product(first: Floats, second: Floats) -> Floats:
    return first * second if first.shape[-1] == 1 else np.asarray(first @ second)


def _turned(matrices: Floats) -> Floats:
    return matrices.swapaxes(-1, -2)


def _sandwich(factors: Floats, matrices: Floats) -> Floats:
    """Lambda' A Lambda."""
    return _product(_turned(factors), _product(matrices, factors))


def _log_dets(matrices: Floats) -> Floats:
    if matrices.shape[-1] == 1:
        return np.log(matrices[..., 0, 0])
    return np.asarray(np.linalg.slogdet(matrices)[1])
