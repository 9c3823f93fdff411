"""The record of a test's power at one or several sizes, as a table and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from lmeformula.arguments import kinds
from lmeformula.axes import BLUE, finish, new_axes, one_axes
from lmeformula.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Coverage of the intervals of powers.
COVERAGE = 0.95


class Point(NamedTuple):
    """The power at one size of the effect and of the sample.

    Attributes:
      size: of the effect; NaN where several coefficients are as the model has them.
      num_groups: levels of the grouping factor.
      num_rows: rows in all.
      num_sims: responses that were drawn.
      num_significant: of how many the test found the effect.
      num_lost: of how many a fit did not converge; they count as not found.
    """

    size: float
    num_groups: int
    num_rows: int
    num_sims: int
    num_significant: int
    num_lost: int

    @property
    def power(self) -> float:
        """The share of the responses in which the test found the effect."""
        return self.num_significant / self.num_sims

    @property
    def interval(self) -> tuple[float, float]:
        """Its Monte Carlo interval, of 95 %: Clopper's and Pearson's exact one."""
        found = scipy.stats.binomtest(self.num_significant, self.num_sims)
        ends = found.proportion_ci(COVERAGE, method="exact")
        return float(ends.low), float(ends.high)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Power:
    """The power of a test, at one or several sizes of the effect and of the sample.

    Attributes:
      effect: the fixed effects that are tested.
      test: how.
      level: of the test.
      along: the grouping factor whose levels are counted.
      points: one for each size.
    """

    effect: tuple[str, ...]
    test: str
    level: float
    along: str
    points: tuple[Point, ...]

    @property
    def power(self) -> float:
        """The power, where there is one size.

        Raises:
          ModelError: if there are several.
        """
        if len(self.points) > 1:
            raise ModelError(
                "the power was found at several sizes", hint="See .to_frame(), or .points."
            )
        return self.points[0].power

    @property
    def interval(self) -> tuple[float, float]:
        """The Monte Carlo interval of the power, where there is one size."""
        self.power  # noqa: B018 - refuses several
        return self.points[0].interval

    def to_frame(self) -> pd.DataFrame:
        """A row for each size: size, num_groups, num_rows, power, lower, upper, num_sims, num_lost."""
        return pd.DataFrame(
            [
                {
                    "size": point.size,
                    "num_groups": point.num_groups,
                    "num_rows": point.num_rows,
                    "power": point.power,
                    "lower": point.interval[0],
                    "upper": point.interval[1],
                    "num_sims": point.num_sims,
                    "num_lost": point.num_lost,
                }
                for point in self.points
            ]
        )

    @kinds.takes(ax=kinds.optional(one_axes))
    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the power and its interval over what was varied, a line for each value of what else was.

        Args:
          ax: axes to draw on; a new figure by default.
        Returns:
          ax: the axes drawn on.
        """
        ax = new_axes() if ax is None else ax
        frame = self.to_frame()
        varied = [name for name in ("num_groups", "num_rows", "size") if frame[name].nunique() > 1]
        over = varied[0] if varied else "num_groups"
        # Rows in all go along with groups.
        others = [name for name in varied[1:] if not (over == "num_groups" and name == "num_rows")]
        lines = frame.groupby(others) if others else [("", frame)]
        for number, (value, part) in enumerate(lines):
            part = part.sort_values(over)
            ends = np.abs(part[["lower", "upper"]].to_numpy().T - part["power"].to_numpy())
            label = ", ".join(f"{name} {each:g}" for name, each in zip(others, value, strict=True))
            color = BLUE if number == 0 else None
            ax.errorbar(part[over], part["power"], ends, marker="o", color=color, label=label)
        ax.axhline(self.level, linestyle=":", linewidth=0.8, color="grey")
        ax.set_ylim(0.0, 1.02)
        if others:
            ax.legend(frameon=False)
        words = {"num_groups": self.along, "num_rows": "rows", "size": "size of the effect"}
        title = f"Power for {', '.join(self.effect)}"
        return finish(ax, title, "y", xlabel=words[over], ylabel="power")

    def __repr__(self) -> str:
        words = {"wald": "Wald's test", "lrt": "likelihood-ratio test"}
        test = words.get(self.test, "t test, Satterthwaite's degrees of freedom")
        lines = [f"Power for {', '.join(self.effect)} ({test}, level {self.level:g})"]
        for point in self.points[:10]:
            low, high = point.interval
            size = "" if math.isnan(point.size) else f"size {point.size:g}, "
            lost = f", {point.num_lost} did not converge" if point.num_lost else ""
            lines.append(
                f"  {size}{point.num_groups:,} {self.along}, {point.num_rows:,} rows: "
                f"{100 * point.power:.1f} % ({100 * low:.1f}, {100 * high:.1f}) "
                f"of {point.num_sims:,} simulations{lost}"
            )
        if len(self.points) > 10:
            lines.append(f"  ... and {len(self.points) - 10} more")
        return "\n".join(lines)
