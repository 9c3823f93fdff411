"""Marginal means, slopes, or contrasts of either, as a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.axes import one_axes
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, check_not_drawn
from lmeformula.inference.adjust import ADJUSTMENTS, adjusted_p, critical_values
from lmeformula.inference.contrasts import ContrastMethod, contrast_matrix
from lmeformula.inference.drawn_means import QUANTILES, DrawnMeans
from lmeformula.inference.grid import ESTIMABLE, estimable
from lmeformula.inference.mean_plots import rows_of_means
from lmeformula.inference.mean_scales import Scale
from lmeformula.prediction.freedom import Freedom, FTest, combined, combined_variances
from lmeformula.text.numbers import p_text
from lmeformula.text.render import to_html, to_text
from lmeformula.text.table import Column, Kind, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Steps of the derivative of what is shown: relative to the standard error, and at least to the estimate.
OUTWARD_STEP, LEAST_STEP = 1e-4, 1e-7
HEADINGS = {
    "std_error": "std error",
    "conf_low": "2.5 %",
    "conf_high": "97.5 %",
    "p_value": "p",
}
KINDS: dict[str, Kind] = {"statistic": "statistic", "df": "statistic", "std_error": "error"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarginalMeans:
    """Marginal means, slopes, or contrasts of either, as linear combinations of the parameters.

    Attributes:
      fit: what they are of.
      kind: "mean", "slope" or "contrast".
      frame: (r rows) what each is of: values of variables, or the contrast's name.
      rows: (r, d) their derivatives in the parameters, on the working scale: the fixed effects, and what
        follows them in the covariance of `freedom`.
      values: (r,) on the working scale, whether the data determine them or not.
      missed: (r, c) by how much dropped columns differ from what they were in the data; the data determine a
        row where that is zero, and contrasts of rows where they cancel.
      by: the variables within whose values comparisons are made.
      is_response: whether estimates are shown on the scale of the response.
      working: what the working scale is, and how it is shown.
      freedom: covariance and degrees of freedom.
      adjust: adjustment for several comparisons.
      num_means: how many means contrasts are of, in each family.
      drawn: the same at draws from a posterior distribution; None of single estimates.
    """

    fit: FittedModel
    kind: str
    frame: pd.DataFrame
    rows: Floats
    values: Floats
    missed: Floats
    by: tuple[str, ...]
    is_response: bool
    working: Scale
    freedom: Freedom
    adjust: str = "none"
    num_means: int = 0
    notes: tuple[str, ...] = field(default=())
    drawn: DrawnMeans | None = None

    @property
    def determined(self) -> Mask:
        """(r,) which rows the data determine."""
        return np.asarray(np.abs(self.missed).max(axis=1, initial=0.0) <= ESTIMABLE)

    @property
    def estimates(self) -> Floats:
        """(r,) on the working scale, `link` or another; nan where the data determine none."""
        return np.where(self.determined, self.values, np.nan)

    @property
    def vcov(self) -> Floats:
        """(r, r) covariance of `estimates`."""
        lost = np.where(self.determined, 0.0, np.nan)
        if self.drawn is not None:
            found = np.cov(self.drawn.working, rowvar=False, ddof=1)
            return np.atleast_2d(found) + lost[:, None] + lost
        return combined(self.rows, self.freedom.vcov) + lost[:, None] + lost

    @kinds.takes(adjust=kinds.optional(kinds.text))
    def contrasts(
        self, method: ContrastMethod = "pairwise", *, adjust: str | None = None
    ) -> MarginalMeans:
        """Compare the means with each other, within the values of the by-variables.

        Args:
          method: "pairwise", "trt.vs.ctrl" (each with the first), "consec" (each with the one before),
            "eff" (each with their mean), "poly" (orthogonal polynomials), or names and coefficients.
          adjust: for several comparisons: "tukey" (for pairs only, their default), "holm" (default of
            "trt.vs.ctrl", "consec" and "eff"), "bonferroni", "sidak", "none" (default of the others).
        Returns:
          The contrasts. On the response scale they are ratios of means where those are positive and the link is
          the logarithm, or own parameters enter them; ratios of medians for logarithms of responses; odds
          ratios for logit links; differences of mean categories for ordered ones; and for the others they stay
          differences of the linear predictor, or of the transformed response.
        Raises:
          ModelError: for a method or an adjustment that is not listed, or coefficients that do not fit.
        """
        if self.drawn is not None and adjust not in (None, "none"):
            raise ModelError(
                f"adjust is {adjust!r}, and intervals of draws from a posterior distribution are quantiles",
                hint="Leave adjust out.",
            )
        labels = self._labels()
        groups = self._groups()
        made = [contrast_matrix(method, [labels[i] for i in places]) for places in groups]
        default, num_means = made[-1].adjust, len(groups[-1])

        def of(values: Floats) -> Floats:
            parts = [m.coefficients @ values[i] for m, i in zip(made, groups, strict=True)]
            return np.concatenate(parts)

        default = default if self.drawn is None else "none"
        asked = default if adjust is None else adjust
        chosen = str(kinds.one_of(*ADJUSTMENTS)("adjust", asked))
        if chosen == "tukey" and method != "pairwise":
            raise ModelError(
                "Tukey's adjustment is for all pairs of means",
                hint='Use adjust="holm", "bonferroni" or "sidak" for other contrasts.',
            )
        first = np.repeat([places[0] for places in groups], [len(one.names) for one in made])
        frame = pd.DataFrame({"contrast": [name for one in made for name in one.names]})
        for variable in self.by:
            frame[variable] = self.frame[variable].iloc[first].to_list()
        is_ratio = self.is_response and bool(self.working.ratio)
        drawn = self.drawn
        if drawn is not None:
            drawn = drawn.combined(of, self._ratio if is_ratio else None)
        return replace(
            self,
            kind="contrast",
            frame=frame,
            rows=of(self.rows),
            missed=of(self.missed),
            values=of(self.values),
            is_response=is_ratio,
            adjust=chosen,
            num_means=num_means,
            drawn=drawn,
        )

    def test(self) -> FTest:
        """Test that all of them are zero on the working scale: of the linear predictor, or of logs of means."""
        check_not_drawn(self.fit, "tests of means")
        # Combinations of rows may be determined where the rows are not.
        both = estimable(np.column_stack([self.rows, self.values]), self.missed)
        return self.freedom.test(both[:, :-1], both[:, -1])

    @kinds.takes(level=kinds.coverage)
    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Lay them out, one a row.

        Args:
          level: coverage of the intervals; of all those of a family together where they are adjusted.
        Returns:
          frame: what each is of, then estimate, std_error, df, conf_low, conf_high, and for slopes and
            contrasts statistic and p_value. On the response scale intervals are those of the working scale,
            transformed, standard errors are by the delta method, and tests are those of the working scale: the
            linear predictor, or logarithms of means where own parameters of the family enter them. Of draws
            estimate, median, std_error, conf_low, conf_high: mean, median, standard deviation and quantiles of
            what is shown.
        Raises:
          ModelError: if the level is not between 0 and 1.
        """
        if self.drawn is not None:
            return pd.concat([self.frame, self.drawn.to_frame(self.determined, level)], axis=1)
        estimates = self.estimates
        known = self.determined
        errors = np.sqrt(combined_variances(self.rows, self.freedom.vcov))
        errors = np.where(known, errors, np.nan)
        df = np.where(known, self.freedom.df(self.rows), np.nan)
        width, p_values = np.empty(len(df)), np.empty(len(df))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = estimates / errors
        for places in self._groups():
            size = max(int(known[places].sum()), 1)
            width[places] = critical_values(df[places], level, self.adjust, self.num_means, size)
            p_values[places] = adjusted_p(
                statistics[places], df[places], self.adjust, self.num_means
            )
        low, high = estimates - width * errors, estimates + width * errors
        outward = self._outward
        if outward is not None:
            step = np.maximum(OUTWARD_STEP * errors, LEAST_STEP * np.abs(estimates))
            step = np.where(step > 0.0, step, LEAST_STEP)
            errors = (
                errors * np.abs(outward(estimates + step) - outward(estimates - step)) / step / 2.0
            )
            estimates, low, high = (outward(part) for part in (estimates, low, high))
            low, high = np.minimum(low, high), np.maximum(low, high)
        if self.kind == "mean":
            low, high = (np.clip(end, *self.working.ends) for end in (low, high))
        numbers = {"estimate": estimates, "std_error": errors, "df": df}
        numbers |= {"conf_low": low, "conf_high": high}
        if self.kind != "mean":
            numbers |= {"statistic": statistics, "p_value": p_values}
        return pd.concat([self.frame, pd.DataFrame(numbers)], axis=1)

    @kinds.takes(level=kinds.coverage, ax=kinds.optional(one_axes))
    def plot(self, level: float = 0.95, ax: Axes | None = None) -> Axes:
        """Draw each of them in a line of its own, with its interval.

        Args:
          level: coverage of the intervals, as of `to_frame`.
          ax: axes to draw on; a new figure by default.
        Returns:
          ax: the axes drawn on.
        """
        what = f"{self.scale}, with {100 * level:g} % intervals"
        names = [str(name) for name in self.frame.columns]
        return rows_of_means(self.to_frame(level), names, self.by, what, ax)

    def _groups(self) -> list[Ints]:
        """Positions of the rows of each combination of by-values, in order of appearance."""
        if not self.by:
            return [np.arange(len(self.frame))]
        codes = self.frame.groupby(list(self.by), sort=False, dropna=False).ngroup().to_numpy()
        return [np.flatnonzero(codes == code) for code in range(codes.max(initial=-1) + 1)]

    def _labels(self) -> list[str]:
        names = [n for n in self.frame.columns if n not in self.by] or list(self.by)
        return [" ".join(map(shown, row)) for row in self.frame[names].itertuples(index=False)]

    @property
    def _outward(self) -> Callable[[Floats], Floats] | None:
        """From the working scale to what is shown; None where they are the same."""
        if not self.is_response:
            return None
        return self.working.outward if self.kind == "mean" else self._ratio

    def _ratio(self, values: Floats) -> Floats:
        """What differences on the working scale are as ratios."""
        return np.asarray(np.exp(self.working.log_unit * values))

    @property
    def scale(self) -> str:
        """What the estimates are, in words."""
        if self.kind == "contrast":
            return self.working.ratio if self.is_response else self.working.difference
        return self.working.mean

    @property
    def table(self) -> Table:
        """Names, estimates and 95 % intervals; notes say what they are and how they were adjusted."""
        frame = self.to_frame()
        if "df" in frame and np.isinf(frame["df"]).all():
            frame = frame.drop(columns="df")
        headings = HEADINGS | ({} if self.drawn is None else {"std_error": "sd"})
        headings |= {
            "estimate": self.scale.split(" of ")[0].split(",")[0],
            "statistic": "t" if "df" in frame else "z",
        }
        texts = {*self.frame.columns, "p_value"}
        if "p_value" in frame:
            frame["p_value"] = frame["p_value"].map(p_text)
        columns = (
            Column(headings.get(name, name), tuple(map(shown, frame[name])), "text")
            if name in texts
            else Column(headings.get(name, name), tuple(frame[name]), KINDS.get(name, "number"))
            for name in map(str, frame.columns)
        )
        return Table("", tuple(columns), _notes(self))

    def __repr__(self) -> str:
        return to_text(self.table, width=100)

    def _repr_html_(self) -> str:
        return to_html(self.table)


def shown(value: object) -> str:
    """A level or a value of a variable for reading: numbers to six digits.

    Example:
      >>> shown(180.0), shown("A")
      ('180', 'A')
    """
    is_number = isinstance(value, float | np.floating)
    return f"{value:g}" if is_number else str(value)


def _notes(means: MarginalMeans) -> tuple[str, ...]:
    notes = []
    if means.scale not in ("mean", "slope", "difference"):
        notes.append(f"Estimates: {means.scale}.")
    elif means.is_response:
        notes.append(f"Estimates: {means.scale} on the scale of the response.")
    if means.drawn is not None:
        notes.append(QUANTILES)
    elif means.freedom.name != "none":
        notes.append(f"Degrees of freedom: {means.freedom.name.title()}.")
    if means.adjust != "none" and len(means.frame) > 1:
        intervals = " (intervals: Bonferroni)" if means.adjust == "holm" else ""
        within = f", within {', '.join(means.by)}" if means.by else ""
        notes.append(f"Adjusted for several comparisons: {means.adjust}{intervals}{within}.")
    if not means.determined.all():
        notes.append("Rows without an estimate are not determined by the data.")
    return tuple(notes)
