"""Ranks of what parameters were among draws from their posterior: tests, a table and a picture."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.axes import BLUE, GREY, ORANGE, finish, new_axes, one_axes
from lmeformula.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sets of uniform ranks that p-values and bands are read off, and their seed.
NUM_NULL, NULL_SEED = 4000, 20
# Bins of the chi-square statistic: at most, and ranks that each should hold.
MOST_BINS, IN_A_BIN = 20, 5
# Coverage of the simultaneous band.
LEVEL = 0.95


class Null(NamedTuple):
    """What uniform ranks would give: the distribution of both statistics.

    Attributes:
      chi_square: (s,) sorted.
      depth: (s,) sorted: how far in its tails the outermost step of the empirical distribution lies.
    """

    chi_square: Floats
    depth: Floats


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calibration:
    """Simulation-based calibration: where what was simulated ranks among the draws of its posterior.

    Attributes:
      names: (k) of the quantities: parameters, effects, the log-likelihood.
      ranks: (m, k) how many of the draws are below what was simulated, of m simulations.
      num_draws: the draws among which they rank, L: ranks are 0, ..., L.
      simulated: (m, k) what was simulated.
      outcomes: (m) how each fit ended.
      num_redrawn: responses that no model would be fitted to, such as constant ones, drawn again.
      asked: how many simulations were asked for.
    """

    names: tuple[str, ...]
    ranks: Ints
    num_draws: int
    simulated: Floats
    outcomes: tuple[str, ...]
    num_redrawn: int
    asked: int

    @property
    def num_sims(self) -> int:
        """How many there are: fewer than asked for after an interrupt."""
        return len(self.ranks)

    @property
    def was_interrupted(self) -> bool:
        """Whether Ctrl-C has ended it early."""
        return self.num_sims < self.asked

    @property
    def p_value(self) -> float:
        """The smallest p-value of all quantities, as one of so many (Bonferroni); by both tests."""
        frame = self.to_frame()
        smallest = frame[["p_ecdf", "p_chi2"]].to_numpy().min()
        return float(min(1.0, 2.0 * len(self.names) * smallest))

    def to_frame(self) -> pd.DataFrame:
        """A row for each quantity.

        Returns:
          frame: mean_rank (between 0 and 1, one half where all is right), chi2 with its bins and its p-value,
            and p_ecdf, that of the largest deviation of the empirical distribution of the ranks. Both p-values
            are exact, by simulated uniform ranks, however few simulations there are.
        """
        null, bins = _null(self.num_sims, self.num_draws), _bins(self.num_sims, self.num_draws)
        chi_squares = _chi_squares(self.ranks.T, self.num_draws)
        depths = _depths(self.ranks.T, self.num_draws)
        # A statistic counts among those that chance gave.
        p_chi2 = 1.0 + len(null.chi_square) - np.searchsorted(null.chi_square, chi_squares - 1e-9)
        p_ecdf = 1.0 + np.searchsorted(null.depth, depths * (1.0 + 1e-9), side="right")
        whole = 1.0 + len(null.depth)
        return pd.DataFrame(
            {
                "mean_rank": self.ranks.mean(axis=0) / self.num_draws,
                "chi2": chi_squares,
                "bins": bins,
                "p_chi2": p_chi2 / whole,
                "p_ecdf": p_ecdf / whole,
            },
            index=pd.Index(self.names, name="quantity"),
        )

    def ranks_frame(self) -> pd.DataFrame:
        """The ranks: a row for each simulation, a column for each quantity."""
        return pd.DataFrame(self.ranks, columns=list(self.names))

    def band(self) -> tuple[Floats, Floats, Floats]:
        """The simultaneous band of the empirical distribution: steps (L), and its lower and upper end there."""
        steps = np.arange(1, self.num_draws + 1) / (self.num_draws + 1.0)
        depth = float(np.quantile(_null(self.num_sims, self.num_draws).depth, 1.0 - LEVEL))
        low = scipy.stats.binom.ppf(depth / 2.0, self.num_sims, steps) / self.num_sims
        high = scipy.stats.binom.isf(depth / 2.0, self.num_sims, steps) / self.num_sims
        return steps, np.asarray(low), np.asarray(high)

    @kinds.takes(ax=kinds.optional(one_axes), names=kinds.optional(kinds.names))
    def plot(self, ax: Axes | None = None, names: str | Sequence[str] | None = None) -> Axes:
        """Draw how far the ranks' empirical distributions are from the uniform one, with their band.

        A curve above zero: what was simulated is too often below the draws, which are too high; an S that
        rises and falls: draws that are too narrow; one that falls and rises: too wide.

        Args:
          ax: axes to draw on; a new figure by default.
          names: of the quantities that are drawn; all by default. Those that leave the band are in colour.
        Returns:
          ax: the axes drawn on.
        Raises:
          ModelError: for a quantity that is not there.
        References:
          Saeilynoja, Buerkner, Vehtari (2022), Statistics and Computing 32, 32.
        """
        given = (names,) if isinstance(names, str) else names
        shown = self.names if given is None else tuple(given)
        unknown = [name for name in shown if name not in self.names]
        if unknown:
            raise ModelError(
                f"there is no quantity {unknown[0]!r}", hint=f"There are: {', '.join(self.names)}."
            )
        ax = new_axes() if ax is None else ax
        steps, low, high = self.band()
        ax.fill_between(steps, low - steps, high - steps, color=GREY, alpha=0.25, step="mid")
        colours = iter([ORANGE, BLUE] * len(shown))
        for name in shown:
            shares = _shares(self.ranks[:, [self.names.index(name)]].T, self.num_draws)[0]
            is_out = bool(((shares < low - 1e-9) | (shares > high + 1e-9)).any())
            ax.plot(
                steps,
                shares - steps,
                color=next(colours) if is_out else GREY,
                linewidth=1.6 if is_out else 0.8,
                label=name if is_out else None,
            )
        if ax.get_legend_handles_labels()[1]:
            ax.legend(frameon=False)
        title = f"Ranks of {self.num_sims:,} simulations"
        words = {"xlabel": "rank among the draws", "ylabel": "difference from uniform"}
        return finish(ax, title, "y", **words)

    def __repr__(self) -> str:
        frame = self.to_frame()
        stopped = f", of {self.asked:,} asked for" if self.was_interrupted else ""
        lines = [
            f"Simulation-based calibration: {self.num_sims:,} simulations{stopped}, ranks among "
            f"{self.num_draws:,} draws"
        ]
        worst = frame[["p_ecdf", "p_chi2"]].min(axis=1).sort_values()
        lines.append(
            f"{'not calibrated' if self.p_value < 0.05 else 'no sign of a wrong posterior'}: smallest p-value "
            f"{worst.iloc[0]:.3g} ({worst.index[0]}), {self.p_value:.3g} as one of {2 * len(worst)}"
        )
        bad = len(self.outcomes) - self.outcomes.count("SAMPLED")
        if bad:
            lines.append(f"{bad:,} fits have draws that their own certificate does not vouch for")
        if self.num_redrawn:
            lines.append(f"{self.num_redrawn:,} responses that cannot be fitted were drawn again")
        shown = frame[["mean_rank", "p_ecdf", "p_chi2"]].to_string(
            float_format=lambda value: f"{value:.3f}", max_rows=20
        )
        return "\n".join([*lines, shown])


def _bins(num_sims: int, num_draws: int) -> int:
    """Bins of equally many ranks each, as many as there are simulations for."""
    most = max(2, min(MOST_BINS, num_sims // IN_A_BIN))
    divisors = [k for k in range(2, most + 1) if (num_draws + 1) % k == 0]
    return divisors[-1] if divisors else num_draws + 1


def _chi_squares(ranks: Ints, num_draws: int) -> Floats:
    """(s,) chi-square statistics of sets of ranks (s, m)."""
    count, bins = ranks.shape[1], _bins(ranks.shape[1], num_draws)
    of_each = ranks * bins // (num_draws + 1) + bins * np.arange(len(ranks))[:, None]
    held = np.bincount(of_each.ravel(), minlength=bins * len(ranks)).reshape(len(ranks), bins)
    return np.asarray(((held - count / bins) ** 2).sum(axis=1) * bins / count)


def _shares(ranks: Ints, num_draws: int) -> Floats:
    """(s, L) the share of each set of ranks (s, m) below 1, ..., L."""
    size = num_draws + 1
    flat = (ranks + size * np.arange(len(ranks))[:, None]).ravel()
    held = np.bincount(flat, minlength=size * len(ranks)).reshape(len(ranks), size)
    return np.asarray(np.cumsum(held, axis=1)[:, :-1] / ranks.shape[1])


def _depths(ranks: Ints, num_draws: int) -> Floats:
    """(s,) of sets of ranks (s, m): twice the smallest binomial tail that a step of theirs lies in."""
    m = ranks.shape[1]
    below = np.rint(_shares(ranks, num_draws) * m).astype(np.int64)
    steps = np.arange(1, num_draws + 1) / (num_draws + 1.0)
    counts = np.arange(m + 1)[:, None]
    lower = scipy.stats.binom.cdf(counts, m, steps)
    upper = scipy.stats.binom.sf(counts - 1, m, steps)
    tails = 2.0 * np.minimum(lower, upper)
    return np.asarray(tails[below, np.arange(num_draws)].min(axis=1))


@functools.lru_cache(maxsize=8)
def _null(num_sims: int, num_draws: int) -> Null:
    """Both statistics of uniform ranks, by simulation.

    References: Saeilynoja, Buerkner, Vehtari (2022), Statistics and Computing 32, 32, section 2.
    """
    random = np.random.default_rng(NULL_SEED)
    chi_squares, depths = [], []
    at_a_time = max(1, 2**21 // max(num_sims, num_draws))
    for start in range(0, NUM_NULL, at_a_time):
        size = (min(at_a_time, NUM_NULL - start), num_sims)
        ranks = random.integers(0, num_draws + 1, size)
        chi_squares.append(_chi_squares(ranks, num_draws))
        depths.append(_depths(ranks, num_draws))
    return Null(np.sort(np.concatenate(chi_squares)), np.sort(np.concatenate(depths)))
