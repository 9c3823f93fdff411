"""One study: data sets of one design, fits to them, and what became of each parameter."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from scipy import stats

from simulation.cases import Case
from simulation.several import Several

GROUPS, ROWS = 60, 8
LEVEL = 0.95


class Tally(NamedTuple):
    """What became of a family's fits by one method.

    Attributes:
      family: its name in the table.
      method: "exact", "laplace" or "mcem".
      names: (d,) parameters.
      truth: (d,) what the data were drawn with.
      estimates: (sets, d) of the fits that converged.
      inside: (sets, d) whether the interval of each holds the truth; nan where there is no interval.
      num_failed: fits that did not converge.
      num_singular: fits whose standard deviation is zero; they count among the estimates.
      seconds: CPU time of a fit, on average.
    """

    family: str
    method: str
    names: tuple[str, ...]
    truth: np.ndarray
    estimates: np.ndarray
    inside: np.ndarray
    num_failed: int
    num_singular: int
    seconds: float

    @property
    def bias(self) -> np.ndarray:
        """(d,) mean of the estimates less the truth."""
        return self.estimates.mean(axis=0) - self.truth

    @property
    def bias_error(self) -> np.ndarray:
        """(d,) its Monte Carlo error."""
        return self.estimates.std(axis=0, ddof=1) / np.sqrt(len(self.estimates))

    @property
    def coverage(self) -> np.ndarray:
        """(d,) share of the intervals that hold the truth."""
        return np.nanmean(self.inside, axis=0)

    @property
    def num_intervals(self) -> np.ndarray:
        """(d,) how many intervals there are."""
        return np.isfinite(self.inside).sum(axis=0)

    @property
    def chance(self) -> np.ndarray:
        """(d,) of a coverage this far from what it should be, if it were that: two-sided, binomial."""
        held = np.nansum(self.inside, axis=0).astype(int)
        found = [
            stats.binomtest(int(k), int(n), LEVEL).pvalue
            for k, n in zip(held, self.num_intervals, strict=True)
        ]
        return np.array(found)


def data_sets(case: Case | Several, num_sets: int, seed: int = 1):
    """Yield data sets: predictors and groups are the same in all, effects and responses drawn anew."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(GROUPS), ROWS), rng.normal(size=GROUPS * ROWS)
    for number in range(num_sets):
        fresh = np.random.default_rng([seed, number])
        yield {"g": g, "x": x, "y": case.responses(fresh, x, g, GROUPS)}


def study(case: Case | Several, method: str, num_sets: int, seed: int = 1) -> Tally:
    """Fit the data sets of a case.

    Args:
      case: the family and its truth.
      method: "laplace" or "mcem"; of a Gaussian response the first one is exact.
      num_sets: how many.
      seed: of the data sets; fits by Monte Carlo EM take the number of the set.
    """
    import lmeformula as lf

    estimates, inside, names = [], [], ()
    num_failed = num_singular = 0
    began = time.process_time()
    for number, data in enumerate(data_sets(case, num_sets, seed)):
        fit = lf.fit(
            case.formula,
            data,
            case.family,
            method=method,
            seed=number,
            progress=False,
        )
        names = fit.param_names
        if not fit.converged:
            num_failed += 1
            continue
        num_singular += fit.singular
        ends = fit.confint("wald", LEVEL)
        lower, upper = ends["lower"].to_numpy(float), ends["upper"].to_numpy(float)
        holds = (lower <= case.truth) & (case.truth <= upper)
        inside.append(np.where(np.isfinite(lower) & np.isfinite(upper), holds, np.nan))
        estimates.append(fit.param_values)
    seconds = (time.process_time() - began) / num_sets
    return Tally(
        case.name,
        fit.method,
        names,
        case.truth,
        np.array(estimates),
        np.array(inside, float),
        num_failed,
        num_singular,
        seconds,
    )
