"""gr(g, by = a, cov = A): one effect of each level, whose size goes by the level of another factor.

With a the effects of related levels, of variance one, those of a level in part p are s_p a: the coefficients of
the parts are multiples of one another, as in brms. Their covariance is s s'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.chart import SHORT, SMALLEST, Chart, Escape
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.covariance.loadings import HELD_UP, Loadings, LoadingsChart
from lmeformula.covariance.structure import log_sds


class Shared(Loadings):
    """Sigma = s s'; theta holds the logarithms of the standard deviations s.

    Example:
      >>> Shared().cholesky(np.log([1.0, 2.0]), 2).round(3).tolist()
      [[1.0, 0.0], [2.0, 0.0]]
    """

    kind = "us"

    def __init__(self) -> None:
        super().__init__(1)

    def matrix_text(self, part: str, k: int) -> str:
        return f"s s', s = stddev_{part}"

    def matrix_latex(self, label: str, k: int) -> str:
        return rf"\sigma_{{{label}}} \sigma_{{{label}}}'"

    def num_sds(self, k: int) -> int:
        return k

    def limit(self, theta: Floats, k: int) -> Floats:
        return super().limit(np.exp(theta), k)

    def cholesky(self, theta: Floats, k: int) -> Floats:
        found, sd = self.limit(theta, k), np.exp(theta)
        each = np.arange(k)
        found[each, each] = np.maximum(found[each, each], HELD_UP * np.sqrt(np.mean(sd**2)))
        return found

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        return super().cholesky_jacobian(theta, k) * np.exp(theta)[:, None, None]

    def to_free(self, covariance: Floats) -> Floats:
        return log_sds(np.diag(covariance))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        inside = np.isfinite(theta)
        return np.where(inside, theta, np.log(sd)), inside

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta)

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.diag(np.exp(theta))

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        return [("sd", column) for column in columns]

    def chart(self, scale: Floats) -> Chart:
        return _SharedChart(self.places(len(scale)), scale, 1)


class _SharedChart(LoadingsChart):
    """Loadings on one factor that are not negative; each is a face by itself."""

    def __init__(self, places: list[tuple[int, int]], scale: Floats, rank: int) -> None:
        super().__init__(places, scale, rank)
        self.faces = tuple(np.array([number]) for number in range(self.size))

    def start(self, sd: float) -> Floats:
        return np.full(self.size, sd)

    def near(self, factor: Floats) -> Floats:
        return np.abs(super().near(factor))

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        return ()

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return np.maximum(elements, least)

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        moved = elements.copy()
        if (elements > SMALLEST).any():
            moved[face] = 10 * SHORT
            return Escape(moved, 2.0 * float(score[face]) / (10 * SHORT))
        # All of them leave together, which is where a quadratic form in them rises most.
        form = -np.einsum("sab,ac,tcb->st", self.basis, pull, self.basis)
        vector = symmetric_eigen(form)[1][:, -1]
        away = np.maximum(vector if vector.sum() > 0.0 else -vector, 0.0)
        away /= np.linalg.norm(away)
        return Escape(10 * SHORT * away, float(away @ form @ away))
