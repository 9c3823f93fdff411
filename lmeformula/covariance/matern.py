"""mat: Matérn correlations, which fall with the distance between positions, more or less smoothly.

At x = distance / range and a smoothness nu the correlation is x^nu K_nu(x) 2^(1 - nu) / Gamma(nu). It is a
mixture of Gaussian ones,

    F(x) = int exp(nu s - exp(s)) / Gamma(nu) exp(-x^2 exp(-s) / 4) ds,

and the trapezoidal rule for that integral has rounding errors only, is a correlation by itself, and has its
derivatives. The two parameters are the correlation at the least distance and the smoothness: both have ends
where the others' derivatives are finite.

References: Matérn (1960), Spatial Variation, the correlation; Gradshteyn, Ryzhik 3.471.9, the integral;
Trefethen, Weideman (2014), SIAM Review 56, 385-458, the rule's error, exp(-2 pi d / step) for an integrand that
is analytic within d of the real line, here pi / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special
from scipy.spatial.distance import cdist

from lmeformula.arrays import Floats, Ints, Mask, Tensor
from lmeformula.covariance.decaying import FIRST, NEXT_TO, NUGGET, ROUNDING, smooth_factor
from lmeformula.covariance.one_correlation import LARGEST_LOGIT
from lmeformula.covariance.several_angles import SeveralAngles
from lmeformula.covariance.structure import Correlations
from lmeformula.formula.kinds import KINDS

# Ends of the smoothness: less is white noise with a share for all positions, and more is as smooth as gau.
ROUGHEST, SMOOTHEST = 0.1, 20.0
# Where it starts.
SMOOTHNESS = 1.0
# Steps of the rule, its upper end, and how far beyond the least distance it begins.
STEP, TOP, BEYOND = 0.125, 8.0, 8.0
# Steps of differences of first derivatives, in angles.
BEND = 1e-5
# A correlation that is none.
NOTHING = 1e-200
# Steps of Newton's method for a distance in a graph.
GRAPH_STEPS = 40
# Distances that are one.
ONE = 1e-9
# Angles so near to an end, with correlations as alike, are at it.
CLOSE, ALIKE = 1e-2, 1e-9
# Places whose factors are kept: a likelihood and its slopes ask for the same ones.
KEPT = 8
TIGHT = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)


class Matern(SeveralAngles):
    """Correlations that fall with distance, reported by their range and their smoothness.

    Args:
      positions: (k, dimensions) of the coefficients, distinct.
      homogeneous: one standard deviation for all.
    Example:
      >>> structure = Matern(np.array([[0.0], [1.0], [3.0]]), homogeneous=True)
      >>> theta = structure.to_free(np.exp(-np.array([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]) / 2.0))
      >>> np.round(structure.to_report(theta, 3), 6).tolist()  # a smoothness of a half: exp
      [1.0, 2.0, 0.5]
    """

    kind = "mat"
    correlations: Correlations = "two"
    angles: MaternAngles

    def __init__(self, positions: Floats, *, homogeneous: bool) -> None:
        super().__init__(MaternAngles(positions), homogeneous=homogeneous)

    def least_correlation(self, k: int) -> float:
        return 0.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        import tensorflow as tf
        import tensorflow_probability as tfp

        ends = [tf.constant(each, dtype) for each in ([0.0, ROUGHEST], [1.0, SMOOTHEST])]
        sine = np.sin(self.angles.of(start))
        return np.array([sine[0] ** 2, _smoothness(sine[1])]), tfp.bijectors.Sigmoid(*ends)

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        kept = float(np.finfo(value.dtype.as_numpy_dtype).eps) ** 0.75
        nugget = tf.constant(max(NUGGET, kept), value.dtype)
        found = tf.gather(_in_graph(self.angles.log_ratios, value), self.angles.which)
        found = tf.linalg.set_diag(found, tf.ones([k], value.dtype))
        return tf.linalg.cholesky((found + nugget * tf.eye(k, dtype=value.dtype)) / (1.0 + nugget))

    def matrix_text(self, part: str, k: int) -> str:
        least = self.angles.least
        return (
            f"R the {k} × {k} matrix of Matérn correlations: correlation_{part} has that at the least "
            f"distance, {least:g}, and the smoothness"
        )

    def matrix_latex(self, label: str, k: int) -> str:
        return rf"R_{{rs}} = {KINDS['mat'].correlation(label)}, \quad r, s = 1, \dots, {k}"

    def to_report(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        if k == 1:
            return np.exp(logs)
        smoothness = _smoothness(np.sqrt(scipy.special.expit(rest[1])))
        return np.append(np.exp(logs), [self._range(rest[0], smoothness), smoothness])

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        found = np.diag(np.append(np.exp(logs), np.zeros(len(rest))))
        if k > 1:
            share, left = scipy.special.expit(rest), scipy.special.expit(-rest)
            smoothness = _smoothness(np.sqrt(share[1]))
            log_x = log_distance(share[0], left[0], smoothness)
            _, by_log_x, by_nu = correlation(np.array([log_x]), smoothness)
            by = (SMOOTHEST - ROUGHEST) * share[1] * left[1]
            length = self.angles.least * np.exp(-log_x)
            found[-2, -2] = -length * share[0] * left[0] / by_log_x[0]
            if abs(rest[1]) < LARGEST_LOGIT:
                # At its end, where it rests, the smoothness has no part in the range's error.
                found[-2, -1] = length * by_nu[0] / by_log_x[0] * by
            found[-1, -1] = by
        return found

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        rest = [("range", ""), ("smoothness", "")] if len(columns) > 1 else []
        return self.labels_of_sds(columns) + rest

    def _range(self, free: float, smoothness: float) -> float:
        share, left = scipy.special.expit(free), scipy.special.expit(-free)
        if share < NOTHING or left == 0.0:
            return 0.0 if share < NOTHING else np.inf
        return float(self.angles.least * np.exp(-log_distance(share, left, smoothness)))


class MaternAngles:
    """Two angles: of the correlation sin^2 at the least distance, and of the smoothness between its ends."""

    lowest_angle = 0.0

    def __init__(self, positions: Floats) -> None:
        distances = cdist(positions, positions)
        apart = distances[distances > 0.0]
        self.least = float(apart.min()) if apart.size else 1.0
        ratios = np.maximum(distances / self.least, 1.0)
        np.fill_diagonal(ratios, 1.0)
        each = np.round(ratios / ONE) * ONE
        unique, which = np.unique(each, return_inverse=True)
        self.log_ratios, self.which = np.log(unique), which.reshape(ratios.shape)
        self._kept: dict[bytes, tuple[Floats, Floats, Floats]] = {}

    def uncorrelated(self, k: int) -> Floats:
        # Where nothing is known of them: without any correlation one would be on its bound.
        share = (SMOOTHNESS - ROUGHEST) / (SMOOTHEST - ROUGHEST)
        return np.array([FIRST, np.arcsin(np.sqrt(share))])

    def at(self, angles: Floats, k: int) -> tuple[Floats, Floats, Floats]:
        key = angles.tobytes()
        if key not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = self._at_ends_too(angles, k)
        return self._kept[key]

    def _at_ends_too(self, angles: Floats, k: int) -> tuple[Floats, Floats, Floats]:
        cosine = float(np.cos(angles[0]))
        if abs(cosine) >= NEXT_TO:
            return self._at(angles)
        # All are one, or all but: slopes keep their digits a little away.
        found = self._at(np.array([np.copysign(np.arccos(NEXT_TO), np.sin(angles[0])), angles[1]]))
        factor = np.eye(k)[:1] * np.ones((k, 1))
        return (factor if abs(cosine) < ROUNDING else found[0], *found[1:])

    def of(self, correlations: Floats) -> Floats:
        known = np.isfinite(correlations) & ~np.eye(len(correlations), dtype=bool)
        start = self.uncorrelated(len(correlations))
        if not known.any():
            return np.full(2, np.nan)
        count = np.bincount(self.which[known], minlength=len(self.log_ratios))
        total = np.bincount(self.which[known], correlations[known], len(self.log_ratios))
        has = np.flatnonzero(count)
        means = total[has] / count[has]
        if means.max() < NOTHING or means.min() >= 1.0:
            return np.array([0.0 if means.max() < NOTHING else 0.5 * np.pi, start[1]])
        return self._nearest(self.log_ratios[has], means, start)

    def idle(self, angles: Floats, active: Ints) -> Mask:
        share = np.sin(angles[0]) ** 2
        return np.array(
            [len(active) < 2, len(active) < 3 or not NOTHING < share < 1.0 - NEXT_TO**2]
        )

    def _nearest(self, log_ratios: Floats, means: Floats, start: Floats) -> Floats:
        """Angles whose correlations are nearest to those of some distances."""
        from scipy.optimize import least_squares

        def residuals(angles: Floats) -> Floats:
            return self._of_distances(angles, log_ratios)[0] - means

        def slopes(angles: Floats) -> Floats:
            return self._of_distances(angles, log_ratios)[1].T

        if len(means) == 1:
            # One distance says nothing of the smoothness.
            ends = [1e-9, 0.5 * np.pi - 1e-9]

            def miss(angle: float) -> float:
                return float(residuals(np.array([angle, start[1]]))[0])

            from scipy.optimize import brentq

            low, high = (miss(end) for end in ends)
            if low >= 0.0 or high <= 0.0:
                return np.array([ends[0] if low >= 0.0 else ends[1], start[1]])
            return np.array([brentq(miss, *ends, xtol=1e-15, rtol=1e-14), start[1]])
        grid = np.linspace(0.02, 0.98, 9) * 0.5 * np.pi
        tried = [np.array([first, second]) for first in grid for second in grid]
        best = min(tried, key=lambda angles: float((residuals(angles) ** 2).sum()))
        found = least_squares(
            residuals, best, slopes, bounds=([0.0] * 2, [0.5 * np.pi] * 2), **TIGHT
        )
        return self._at_end(np.asarray(found.x), residuals, slopes)

    def _at_end(
        self,
        angles: Floats,
        residuals: Callable[[Floats], Floats],
        slopes: Callable[[Floats], Floats],
    ) -> Floats:
        """Angles with the smoothness at its end, where that is as near: what is solved for stays off it."""
        from scipy.optimize import least_squares

        for end in (0.0, 0.5 * np.pi):
            if abs(angles[1] - end) < CLOSE:
                found = least_squares(
                    lambda first, end=end: residuals(np.array([first[0], end])),
                    angles[:1],
                    lambda first, end=end: slopes(np.array([first[0], end]))[:, :1],
                    bounds=(0.0, 0.5 * np.pi),
                    **TIGHT,
                )
                if np.abs(found.fun).max() < np.abs(residuals(angles)).max() + ALIKE:
                    return np.array([found.x[0], end])
        return angles

    def _at(self, angles: Floats) -> tuple[Floats, Floats, Floats]:
        """The factor and its derivatives, by those of the correlations, whose second are differences."""
        correlations, first = self._matrices(angles)
        second = np.empty((2, *first.shape))
        for place, step in enumerate(BEND * np.eye(2)):
            ends = [self._matrices(angles + side * step)[1] for side in (1.0, -1.0)]
            second[place] = (ends[0] - ends[1]) / (2.0 * BEND)
        second = 0.5 * (second + second.swapaxes(0, 1))
        return smooth_factor(correlations, first, second)

    def _matrices(self, angles: Floats) -> tuple[Floats, Floats]:
        """(k, k) correlations, and (2, k, k) their derivatives in the angles."""
        value, slopes = self._of_distances(angles, self.log_ratios)
        found, changes = value[self.which], slopes[:, self.which]
        places = np.arange(len(found))
        found[places, places], changes[:, places, places] = 1.0, 0.0
        return found, changes

    def _of_distances(self, angles: Floats, log_ratios: Floats) -> tuple[Floats, Floats]:
        """(u,) correlations at multiples of the least distance, and (2, u) their derivatives."""
        sine, cosine = np.sin(angles), np.cos(angles)
        share, left = float(sine[0] ** 2), float(cosine[0] ** 2)
        if share < NOTHING:
            return np.zeros(len(log_ratios)), np.zeros((2, len(log_ratios)))
        left = max(left, 1e-300)
        smoothness = _smoothness(sine[1])
        log_x = log_distance(share, left, smoothness)
        value, by_log_x, by_nu = correlation(np.append(log_x, log_x + log_ratios), smoothness)
        quotient = by_log_x[1:] / by_log_x[0]
        by_share, by_smoothness = quotient, by_nu[1:] - by_nu[0] * quotient
        turns = 2.0 * sine * cosine * np.array([1.0, SMOOTHEST - ROUGHEST])
        return value[1:], np.array([turns[0] * by_share, turns[1] * by_smoothness])


def correlation(log_x: Floats, smoothness: float) -> tuple[Floats, Floats, Floats]:
    """The correlation F at distances x (m,), relative to the range, with derivatives in log x and smoothness.

    Example:
      >>> value, _, _ = correlation(np.log([0.5, 2.0]), 0.5)
      >>> np.round(np.log(value), 12).tolist()
      [-0.5, -2.0]
    """
    weights, at = _rule(float(log_x.min()), smoothness)
    reach = np.exp(2.0 * log_x[:, None] - np.log(4.0) - at)
    each = weights * np.exp(-reach)
    value = each.sum(axis=1)
    by_log_x = -2.0 * (each * reach).sum(axis=1)
    return np.asarray(value), np.asarray(by_log_x), each @ (at - scipy.special.digamma(smoothness))


def log_distance(share: float, left: float, smoothness: float) -> float:
    """log x at which the correlation is `share` = 1 - `left`, by Newton's method on log(-log F).

    Example:
      >>> float(np.exp(log_distance(np.exp(-2.0), 1.0 - np.exp(-2.0), 0.5)).round(12))
      2.0
    """
    target = np.log(-np.log(share) if share < 0.5 else -np.log1p(-left))
    # Near to what it is: of small distances a power of x, of large ones x itself.
    log_x = target if target > 0.0 else target / (2.0 * min(smoothness, 1.0))
    for _ in range(200):
        value, missing, by_log_x = _value_and_rest(log_x, smoothness)
        minus_log = -np.log(value) if value < 0.5 else -np.log1p(-missing)
        slope = -by_log_x / (value * minus_log)
        step = (target - np.log(minus_log)) / slope
        log_x += float(np.clip(step, -5.0, 5.0))
        if abs(step) < 1e-13 * (1.0 + abs(log_x)):
            break
    return float(log_x)


def _value_and_rest(log_x: float, smoothness: float) -> tuple[float, float, float]:
    """F, 1 - F with its digits, and dF / dlog x."""
    weights, at = _rule(log_x, smoothness)
    reach = np.exp(2.0 * log_x - np.log(4.0) - at)
    each = weights * np.exp(-reach)
    # Before the rule begins the weights are exp(nu s), and nothing is left of the Gaussians.
    before = weights[0] / np.expm1(smoothness * STEP)
    missing = float((weights * -np.expm1(-reach)).sum() + before)
    return float(each.sum()), missing, float(-2.0 * (each * reach).sum())


def _rule(least: float, smoothness: float) -> tuple[Floats, Floats]:
    """Weights and places s of the trapezoidal rule, for distances from exp(`least`)."""
    low = min(2.0 * least - BEYOND, -45.0)
    at = TOP - STEP * np.arange(int(np.ceil((TOP - low) / STEP)) + 1)[::-1]
    logs = smoothness * at - np.exp(at) - scipy.special.gammaln(smoothness)
    return STEP * np.exp(logs), np.asarray(at, float)


def _smoothness(sine: float) -> float:
    return float(ROUGHEST + (SMOOTHEST - ROUGHEST) * sine**2)


def _in_graph(log_ratios: Floats, value: Tensor) -> Tensor:
    """(u,) correlations in TensorFlow, from that at the least distance and the smoothness.

    The distance is found without gradients; two more steps of Newton's method have those of the solution, first
    and second.
    """
    import tensorflow as tf

    share, smoothness = value[0], value[1]
    dtype = value.dtype
    rest = tf.constant(1e-12 if dtype == tf.float64 else 1e-6, dtype)
    share = tf.clip_by_value(share, tf.constant(1e-30, dtype), 1.0 - rest)
    target = tf.math.log(-tf.math.log(share))

    def terms(log_x: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
        low = tf.stop_gradient(tf.minimum(2.0 * tf.reduce_min(log_x) - BEYOND, -45.0))
        count = 640
        step = (TOP - low) / (count - 1.0)
        at = low + step * tf.range(count, dtype=dtype)
        weights = step * tf.exp(nu * at - tf.exp(at) - tf.math.lgamma(nu))
        reach = tf.exp(2.0 * log_x[:, tf.newaxis] - np.log(4.0) - at)
        each = weights * tf.exp(-reach)
        return tf.reduce_sum(each, axis=1), -2.0 * tf.reduce_sum(each * reach, axis=1)

    def newton(log_x: Tensor, nu: Tensor, wanted: Tensor) -> Tensor:
        total, by_log_x = (part[0] for part in terms(log_x[tf.newaxis], nu))
        total = tf.minimum(total, 1.0 - rest / 2.0)
        minus_log = -tf.math.log(total)
        slope = -by_log_x / (total * minus_log)
        return log_x + tf.clip_by_value((wanted - tf.math.log(minus_log)) / slope, -5.0, 5.0)

    nu, wanted = tf.stop_gradient(smoothness), tf.stop_gradient(target)
    log_x = tf.where(wanted > 0.0, wanted, wanted / (2.0 * tf.minimum(nu, 1.0)))
    log_x = tf.while_loop(
        lambda turn, _: turn < GRAPH_STEPS,
        lambda turn, at: (turn + 1, newton(at, nu, wanted)),
        (0, log_x),
        maximum_iterations=GRAPH_STEPS,
    )[1]
    log_x = tf.stop_gradient(log_x)
    for _ in range(2):
        log_x = newton(log_x, smoothness, target)
    return terms(log_x + tf.constant(log_ratios, dtype), smoothness)[0]
