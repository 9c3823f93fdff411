"""Elements of structures with one correlation: standard deviations, and an angle that gives the correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.covariance.chart import SHORT, SMALLEST, Escape, off_zero
from lmeformula.covariance.pattern import Pattern

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Angles that are tried where the present one says nothing.
ANGLES = np.linspace(0.02, np.pi / 2 - 0.02, 33)


class AngleChart:
    """Factors diag(s / scale) C(t), C the Cholesky factor of a pattern at the angle t; k > 1.

    One standard deviation for all may change its sign, which leaves the covariance as it is. Of several the
    signs would change the signs of correlations: these are kept from falling below zero, and rest there
    where the likelihood would have them. The angle is mirrored at its ends, which changes signs of columns
    only, so that the likelihood is smooth and stationary there.

    Args:
      pattern: of the correlations.
      scale: (k,) root mean squares of the columns of the data.
      homogeneous: one standard deviation for all coefficients.
    """

    def __init__(self, pattern: Pattern, scale: Floats, *, homogeneous: bool) -> None:
        self.pattern = pattern
        self.homogeneous = homogeneous
        self.k = len(scale)
        self.scale = np.full(self.k, np.sqrt(np.mean(scale**2))) if homogeneous else scale
        self.num_sds = 1 if homogeneous else self.k
        self.faces = tuple(np.array([i]) for i in range(self.num_sds + 1))
        lowest = pattern.lowest(self.k)
        self.uncorrelated = float(np.arcsin(np.sqrt(-lowest / (1.0 - lowest))))

    @property
    def size(self) -> int:
        return self.num_sds + 1

    def start(self, sd: float) -> Floats:
        return np.append(np.full(self.num_sds, sd), self.uncorrelated)

    def near(self, factor: Floats) -> Floats:
        sds = np.linalg.norm(factor, axis=1)
        rows = factor / np.where(sds > 0.0, sds, np.nan)[:, None]
        rho, lowest = self.pattern.correlation_of(rows @ rows.T), self.pattern.lowest(self.k)
        share = np.clip(((0.0 if np.isnan(rho) else rho) - lowest) / (1.0 - lowest), 0.0, 1.0)
        scaled = sds * self.scale
        own = [np.sqrt(np.mean(scaled**2))] if self.homogeneous else scaled
        return np.append(own, np.arcsin(np.sqrt(share)))

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        # Which standard deviations rest at zero depends on the correlation, and the other way round.
        if self.homogeneous or self.k == 2:
            return ()
        angles = (0.5 * self.uncorrelated, 0.5 * (self.uncorrelated + np.pi / 2))
        return tuple(np.append(start[:-1], angle) for angle in angles)

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        sds = elements[:-1]
        sds = off_zero(sds, least) if self.homogeneous else np.maximum(sds, least)
        angle = abs((elements[-1] + np.pi / 2) % np.pi - np.pi / 2)
        angle = np.clip(angle, least, np.pi / 2 - least)
        return np.append(sds, self.uncorrelated if self._num_active(sds, least) == 0 else angle)

    def factor(self, elements: Floats) -> Floats:
        return np.asarray(self._rows(elements) * self._pattern(elements[-1])[0])

    def jacobian(self, elements: Floats) -> Floats:
        pattern, by_angle, _ = self._pattern(elements[-1])
        by_sd = self._by_sd(pattern)
        return np.concatenate([by_sd, (self._rows(elements) * by_angle)[None]])

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        # All of it: unlike that of free variances, it does not vanish at a regular maximum.
        return self._bending(elements, slope, pull)

    def idle(self, elements: Floats) -> Mask:
        idle = np.zeros(self.size, bool)
        idle[-1] = self._num_active(elements[:-1]) < min(2, self.num_sds)
        return idle

    def rest(self, face: int, elements: Floats) -> Floats:
        resting = elements.copy()
        if face < self.num_sds:
            resting[face] = 0.0
        else:
            resting[-1] = 0.0 if elements[-1] < np.pi / 4 else np.pi / 2
        return resting

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        moved = elements.copy()
        if face == self.num_sds:
            inwards = 1.0 if elements[-1] < np.pi / 4 else -1.0
            moved[-1] += inwards * 10 * SHORT
            return Escape(moved, -float(self._bending(elements, slope, pull)[-1, -1]))
        if not self.homogeneous and self._num_active(elements[:-1]) > 1:
            moved[face] = 10 * SHORT
            return Escape(moved, 2.0 * float(score[face]) / (10 * SHORT))
        return self._leave_with_any_angle(face, elements, pull)

    def _leave_with_any_angle(self, face: int, elements: Floats, pull: Floats) -> Escape:
        """The way off a variance of zero whose correlations nothing determines yet.

        The log-likelihood changes by -tr(K dSigma) / 2. With all standard deviations at zero, which leave
        together, that is a quadratic form in them.
        """
        sds = elements[:-1]
        active = np.abs(sds) > SMALLEST
        best = Escape(elements, -np.inf)
        for angle in ANGLES:
            pattern = self._pattern(angle)[0]
            weighted = pull * (pattern @ pattern.T) / np.outer(self.scale, self.scale)
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
                moved = np.append(np.where(away > 0, 10 * SHORT * away, sds), angle)
                best = Escape(moved, curvature)
        return best

    def _num_active(self, sds: Floats, least: float = SMALLEST) -> int:
        return int((np.abs(sds) > least).sum())

    def _rows(self, elements: Floats) -> Floats:
        return np.asarray((elements[:-1] / self.scale)[:, None])

    def _pattern(self, angle: float) -> Floats:
        return self.pattern.factor(float(np.sin(angle)), float(np.cos(angle)), self.k)

    def _by_sd(self, rows: Floats) -> Floats:
        """Derivatives in the standard deviations of diag(s / scale) times `rows`."""
        if self.homogeneous:
            return np.asarray(rows[None] / self.scale[0])
        by_sd = np.zeros((self.k, self.k, self.k))
        by_sd[range(self.k), range(self.k)] = rows / self.scale[:, None]
        return by_sd

    def _bending(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        """(t, t) tr(K dSigma^2) / 2: K J_s J_t' and, as the factor itself is curved, -slope . d^2 factor."""
        jacobian = self.jacobian(elements)
        bending = np.einsum("sab,ac,tcb->st", jacobian, pull, jacobian, optimize=True)
        _, by_angle, twice = self._pattern(elements[-1])
        mixed = np.einsum("sab,ab->s", self._by_sd(by_angle), slope)
        bending[-1, :-1] -= mixed
        bending[:-1, -1] -= mixed
        bending[-1, -1] -= float((self._rows(elements) * twice * slope).sum())
        return np.asarray(0.5 * (bending + bending.T))
