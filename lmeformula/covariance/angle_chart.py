"""Elements of structures with fewer correlations than pairs: standard deviations, and angles that give them."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.angles import Angles
from lmeformula.covariance.chart import SHORT, SMALLEST, Escape, off_zero

# Angles that are tried where the present one says nothing, as shares of the way from end to end.
ANGLES = np.linspace(0.02, np.pi / 2 - 0.02, 33) / (np.pi / 2)


class AngleChart:
    """Factors diag(s / scale) C(t), C the Cholesky factor of correlations at the angles t; k > 1.

    One standard deviation for all may change its sign, which leaves the covariance as it is. Of several the
    signs would change the signs of correlations: these are kept from falling below zero, and rest there
    where the likelihood would have them. Angles are mirrored at their ends, which changes signs of columns
    only, so that the likelihood is smooth and stationary there.

    Args:
      angles: what gives the correlations.
      scale: (k,) root mean squares of the columns of the data.
      homogeneous: one standard deviation for all coefficients.
    """

    def __init__(self, angles: Angles, scale: Floats, *, homogeneous: bool) -> None:
        self.angles = angles
        self.homogeneous = homogeneous
        self.k = len(scale)
        self.scale = np.full(self.k, np.sqrt(np.mean(scale**2))) if homogeneous else scale
        self.num_sds = 1 if homogeneous else self.k
        self.uncorrelated = angles.uncorrelated(self.k)
        self.faces = tuple(np.array([i]) for i in range(self.size))

    @property
    def size(self) -> int:
        return self.num_sds + len(self.uncorrelated)

    def start(self, sd: float) -> Floats:
        return np.append(np.full(self.num_sds, sd), self.uncorrelated)

    def near(self, factor: Floats) -> Floats:
        sds = np.linalg.norm(factor, axis=1)
        rows = factor / np.where(sds > 0.0, sds, np.nan)[:, None]
        found = self.angles.of(rows @ rows.T)
        scaled = sds * self.scale
        own = [np.sqrt(np.mean(scaled**2))] if self.homogeneous else scaled
        return np.append(own, np.where(np.isnan(found), self.uncorrelated, found))

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        # Which standard deviations rest at zero depends on the correlation, and the other way round.
        if self.homogeneous or self.k == 2:
            return ()
        sds, first = start[: self.num_sds], self.uncorrelated[0]
        found = []
        for end in (self.angles.lowest_angle, np.pi / 2):
            moved = self.uncorrelated.copy()
            moved[0] = 0.5 * (first + end)
            found.append(np.append(sds, moved))
        return tuple(found)

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        sds, angles = self._parts(elements)
        sds = off_zero(sds, least) if self.homogeneous else np.maximum(sds, least)
        low = self.angles.lowest_angle
        angles = np.clip(folded(angles, low), low + least, np.pi / 2 - least)
        return np.append(sds, angles if self._num_active(sds, least) else self.uncorrelated)

    def factor(self, elements: Floats) -> Floats:
        return np.asarray(self._rows(elements) * self._at(elements)[0])

    def jacobian(self, elements: Floats) -> Floats:
        factor, by_angle, _ = self._at(elements)
        return np.concatenate([self._by_sd(factor), self._rows(elements) * by_angle])

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        # All of it: unlike that of free variances, it does not vanish at a regular maximum.
        return self._bending(elements, slope, pull)

    def idle(self, elements: Floats) -> Mask:
        sds, angles = self._parts(elements)
        active = np.broadcast_to(np.abs(sds) > SMALLEST, (self.k,))
        idle = self.angles.idle(angles, np.flatnonzero(active))
        return np.append(np.zeros(self.num_sds, bool), idle)

    def rest(self, face: int, elements: Floats) -> Floats:
        resting = elements.copy()
        if face < self.num_sds:
            resting[face] = 0.0
        else:
            resting[face] = self._nearest_end(float(elements[face]))
        return resting

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        moved = elements.copy()
        if face >= self.num_sds:
            is_low = self._nearest_end(float(elements[face])) < np.pi / 2
            moved[face] += (1.0 if is_low else -1.0) * 10 * SHORT
            return Escape(moved, -float(self._bending(elements, slope, pull)[face, face]))
        if not self.homogeneous and self._num_active(self._parts(elements)[0]) > 1:
            moved[face] = 10 * SHORT
            return Escape(moved, 2.0 * float(score[face]) / (10 * SHORT))
        return self._leave_with_any_angle(face, elements, pull)

    def _leave_with_any_angle(self, face: int, elements: Floats, pull: Floats) -> Escape:
        """The way off a variance of zero whose correlations nothing determines yet.

        The log-likelihood changes by -tr(K dSigma) / 2. With all standard deviations at zero, which leave
        together, that is a quadratic form in them. Of several angles the first one is tried.
        """
        sds, _ = self._parts(elements)
        active = np.abs(sds) > SMALLEST
        best = Escape(elements, -np.inf)
        low = self.angles.lowest_angle
        for share in ANGLES:
            angles = self.uncorrelated.copy()
            angles[0] = low + share * (np.pi / 2 - low)
            factor = self.angles.at(angles, self.k)[0]
            weighted = pull * (factor @ factor.T) / np.outer(self.scale, self.scale)
            if self.homogeneous:
                away, curvature = np.ones(1), -float(weighted.sum())
            elif not active.any():
                vector = np.linalg.eigh(weighted)[1][:, 0]
                # Of a direction of mixed signs the larger part is taken.
                away = np.maximum(vector if vector.sum() > 0 else -vector, 0.0)
                away /= np.linalg.norm(away)
                curvature = -float(away @ weighted @ away)
            else:
                away = np.zeros(len(sds))
                away[face] = 1.0
                linear = -float(weighted[face, active] @ sds[active])
                curvature = 2.0 * linear / (10 * SHORT) - float(weighted[face, face])
            if curvature > best.curvature:
                moved = np.append(np.where(away > 0, 10 * SHORT * away, sds), angles)
                best = Escape(moved, curvature)
        return best

    def _num_active(self, sds: Floats, least: float = SMALLEST) -> int:
        return int((np.abs(sds) > least).sum())

    def _parts(self, elements: Floats) -> tuple[Floats, Floats]:
        return elements[: self.num_sds], elements[self.num_sds :]

    def _nearest_end(self, angle: float) -> float:
        low = self.angles.lowest_angle
        return low if angle < 0.5 * (low + np.pi / 2) else np.pi / 2

    def _rows(self, elements: Floats) -> Floats:
        return np.asarray((self._parts(elements)[0] / self.scale)[:, None])

    def _at(self, elements: Floats) -> tuple[Floats, Floats, Floats]:
        return self.angles.at(self._parts(elements)[1], self.k)

    def _by_sd(self, rows: Floats) -> Floats:
        """Derivatives in the standard deviations of diag(s / scale) times `rows`."""
        if self.homogeneous:
            return np.asarray(rows[None] / self.scale[0])
        by_sd = np.zeros((self.k, self.k, self.k))
        by_sd[range(self.k), range(self.k)] = rows / self.scale[:, None]
        return by_sd

    def _bending(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        """(t, t) tr(K dSigma^2) / 2: K J_s J_t' and, as the factor itself is curved, -slope . d^2 factor."""
        jacobian, m = self.jacobian(elements), self.num_sds
        bending = np.einsum("sab,ac,tcb->st", jacobian, pull, jacobian, optimize=True)
        _, by_angle, twice = self._at(elements)
        for place, change in enumerate(by_angle):
            mixed = np.einsum("sab,ab->s", self._by_sd(change), slope)
            bending[m + place, :m] -= mixed
            bending[:m, m + place] -= mixed
        bending[m:, m:] -= np.einsum("stab,ab->st", self._rows(elements) * twice, slope)
        return np.asarray(0.5 * (bending + bending.T))


def folded(angles: Floats, low: float) -> Floats:
    """Angles mirrored at both ends of their interval, until they lie in it.

    Example:
      >>> folded(np.array([0.3, -0.3, np.pi - 0.3]), 0.0).round(6).tolist()
      [0.3, 0.3, 0.3]
    """
    width = np.pi / 2 - low
    return np.asarray(low + np.abs((angles - low + width) % (2.0 * width) - width))
