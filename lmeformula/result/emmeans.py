"""Result stage: estimated marginal means and slopes, and contrasts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.errors import ModelError
from lmeformula.result.adjust import adjusted_p, check_adjustment, critical_values
from lmeformula.result.contrasts import ContrastMethod, contrast_matrix
from lmeformula.result.freedom import Freedom, FTest, freedom
from lmeformula.result.grid import ESTIMABLE, cells, estimable, observed_of
from lmeformula.result.intervals import check_level
from lmeformula.result.marginal_table import marginal_table, shown
from lmeformula.result.predict import mean_response
from lmeformula.result.several import need_one_predictor

if TYPE_CHECKING:
    from lmeformula.fit import Fit
    from lmeformula.result.table import Table

Floats = NDArray[np.float64]

# Links whose differences are logarithms of something that has a name.
RATIOS = {"log": "ratio", "logit": "odds ratio"}
# Step of a slope's difference, relative to the range of the variable.
SLOPE_STEP = 1e-3
# Step of the derivative of the inverse link.
LINK_STEP = 1e-5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarginalMeans:
    """Linear combinations of the fixed effects: marginal means, slopes, or contrasts of either.

    Attributes:
      fit: what they are of.
      kind: "mean", "slope" or "contrast".
      frame: (r rows) what each is of: values of variables, or the contrast's name.
      rows: (r, p) combinations of the fixed effects.
      missed: (r, d) by how much dropped columns differ from what they were in the data; the data determine a
        row where that is zero, and contrasts of rows where they cancel.
      offset: (r,) added to them.
      by: the variables within whose values comparisons are made.
      is_response: whether estimates are shown on the scale of the response.
      freedom: covariance and degrees of freedom.
      adjust: adjustment for several comparisons.
      num_means: how many means contrasts are of, in each family.
    """

    fit: Fit
    kind: str
    frame: pd.DataFrame
    rows: Floats
    missed: Floats
    offset: Floats
    by: tuple[str, ...]
    is_response: bool
    freedom: Freedom
    adjust: str = "none"
    num_means: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def determined(self) -> NDArray[np.bool_]:
        """(r,) which rows the data determine."""
        return np.asarray(np.abs(self.missed).max(axis=1, initial=0.0) <= ESTIMABLE)

    @property
    def estimates(self) -> Floats:
        """(r,) on the scale of the linear predictor; nan where the data determine none."""
        found = self.rows @ self.fit.params.beta + self.offset
        return np.where(self.determined, found, np.nan)

    @property
    def vcov(self) -> Floats:
        """(r, r) covariance of `estimates`."""
        lost = np.where(self.determined, 0.0, np.nan)
        return np.asarray(self.rows @ self.freedom.vcov @ self.rows.T + lost[:, None] + lost)

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
          The contrasts. On the response scale those of log links are ratios, those of logit links odds ratios,
          and those of other links stay differences of the linear predictor.
        Raises:
          ModelError: for a method or an adjustment that is not listed, or coefficients that do not fit.
        """
        groups = self._groups()
        labels = self._labels()
        names, rows, missed, offsets, keys = [], [], [], [], []
        num_means = 0
        default = "none"
        for key, places in groups:
            made = contrast_matrix(method, [labels[i] for i in places])
            default, num_means = made.adjust, len(places)
            names += made.names
            rows.append(made.coefficients @ self.rows[places])
            missed.append(made.coefficients @ self.missed[places])
            offsets.append(made.coefficients @ self.offset[places])
            keys += [key] * len(made.names)
        chosen = default if adjust is None else adjust
        check_adjustment(chosen)
        if chosen == "tukey" and method != "pairwise":
            raise ModelError(
                "Tukey's adjustment is for all pairs of means",
                hint='Use adjust="holm", "bonferroni" or "sidak" for other contrasts.',
            )
        frame = pd.DataFrame({"contrast": names})
        for j, variable in enumerate(self.by):
            frame[variable] = [key[j] for key in keys]
        is_ratio = self.is_response and self.fit.model.family.link in RATIOS
        return replace(
            self,
            kind="contrast",
            frame=frame,
            rows=np.concatenate(rows),
            missed=np.concatenate(missed),
            offset=np.concatenate(offsets),
            is_response=is_ratio,
            adjust=chosen,
            num_means=num_means,
        )

    def test(self) -> FTest:
        """Test that all of them are zero on the scale of the linear predictor."""
        # Combinations of rows may be determined where the rows are not.
        both = estimable(
            np.column_stack([self.rows, self.rows @ self.fit.params.beta + self.offset]),
            self.missed,
        )
        return self.freedom.test(both[:, :-1], both[:, -1])

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Lay them out, one a row.

        Args:
          level: coverage of the intervals; of all those of a family together where they are adjusted.
        Returns:
          frame: what each is of, then estimate, std_error, df, conf_low, conf_high, and for slopes and
            contrasts statistic and p_value. On the response scale intervals are those of the linear predictor,
            transformed, standard errors are by the delta method, and tests are those of the linear predictor.
        Raises:
          ModelError: if the level is not between 0 and 1.
        """
        check_level(level)
        estimates = self.estimates
        known = self.determined
        errors = np.sqrt(np.einsum("ri,ij,rj->r", self.rows, self.freedom.vcov, self.rows))
        errors = np.where(known, errors, np.nan)
        df = np.where(known, self.freedom.df(self.rows), np.nan)
        width, p_values = np.empty(len(df)), np.empty(len(df))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = estimates / errors
        for _, places in self._groups():
            size = max(int(known[places].sum()), 1)
            width[places] = critical_values(df[places], level, self.adjust, self.num_means, size)
            p_values[places] = adjusted_p(
                statistics[places], df[places], self.adjust, self.num_means
            )
        low, high = estimates - width * errors, estimates + width * errors
        if self.is_response:
            errors = errors * np.abs(self._slope(estimates))
            estimates, low, high = (self._outward(part) for part in (estimates, low, high))
            low, high = np.minimum(low, high), np.maximum(low, high)
        numbers = {
            "estimate": estimates,
            "std_error": errors,
            "df": df,
            "conf_low": low,
            "conf_high": high,
        }
        if self.kind != "mean":
            numbers |= {"statistic": statistics, "p_value": p_values}
        return pd.concat([self.frame, pd.DataFrame(numbers)], axis=1)

    def _groups(self) -> list[tuple[tuple[object, ...], list[int]]]:
        """Positions of the rows of each combination of by-values, in order of appearance."""
        found: dict[tuple[object, ...], list[int]] = {}
        keys = zip(*(self.frame[name] for name in self.by), strict=True) if self.by else None
        for i in range(len(self.frame)):
            found.setdefault(() if keys is None else next(keys), []).append(i)
        return list(found.items())

    def _labels(self) -> list[str]:
        names = [n for n in self.frame.columns if n not in self.by] or list(self.by)
        return [
            " ".join(map(shown, row)) for row in zip(*(self.frame[n] for n in names), strict=True)
        ]

    def _outward(self, eta: Floats) -> Floats:
        if self.kind == "contrast":
            return np.exp(eta)
        return np.asarray(mean_response(self.fit, eta))

    def _slope(self, eta: Floats) -> Floats:
        ahead, behind = self._outward(eta + LINK_STEP), self._outward(eta - LINK_STEP)
        return np.asarray((ahead - behind) / (2.0 * LINK_STEP))

    @property
    def scale(self) -> str:
        """What the estimates are, in a word."""
        link = self.fit.model.family.link
        if self.kind == "contrast" and self.is_response:
            return RATIOS[link]
        names = {"mean": "mean", "slope": "slope", "contrast": "difference"}
        if link == "identity" or self.is_response:
            return names[self.kind]
        return f"{names[self.kind]} of the linear predictor ({link})"

    @property
    def table(self) -> Table:
        """The rows as a table of unrounded numbers."""
        return marginal_table(self)

    def __repr__(self) -> str:
        from lmeformula.views.table import to_text

        return to_text(self.table, width=100)

    def _repr_html_(self) -> str:
        from lmeformula.views.table import to_html

        return to_html(self.table)


def emmeans(
    fit: Fit,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    *,
    at: Mapping[str, object] | None = None,
    type: str = "link",
    weights: str = "equal",
    var: str | None = None,
    ddf: str = "auto",
) -> MarginalMeans:
    """Estimate marginal means: predictions of the population, averaged over a grid of the other variables.

    Factors that are not named are averaged over, numbers held at their mean; random effects are zero. On the
    response scale the inverse link is applied to the average, as R's emmeans does.

    Args:
      fit: a fitted model.
      specs: the variables, columns of the data, that means are told apart by.
      by: further ones, within whose values contrasts are made.
      at: values of variables, by name: one or several.
      type: "link" for the linear predictor, "response" for the scale of the response.
      weights: "equal" gives all combinations that are averaged over the same weight, "proportional" that of
        their frequency in the data.
      var: estimate the slope in this number instead of the mean; on the linear predictor's scale.
      ddf: degrees of freedom: "auto" (Satterthwaite's for Gaussian fits, none for others), "satterthwaite",
        "kenward-roger" or "none".
    Returns:
      The means, with `.contrasts(...)`, `.to_frame(level)` and `.test()`.
    Raises:
      ModelError: for a variable that is not in the fixed part, or an option that is not listed here.
    References:
      Searle, Speed, Milliken (1980), The American Statistician 34, 216-221; Lenth, the R package emmeans.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
      >>> emmeans(fit, "Machine").to_frame()["estimate"].round(3).tolist()
      [52.356, 60.322, 66.272]
    """
    need_one_predictor(
        fit,
        "marginal means",
        "Average predictions: fit.predict(newdata) at the values in question.",
    )
    if type not in ("link", "response"):
        raise ModelError(f"type is {type!r}", hint="Choose 'link' or 'response'.")
    means = [specs] if isinstance(specs, str) else list(specs)
    groups = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    kept = list(dict.fromkeys([*means, *groups]))
    if var is None:
        found = cells(fit, kept, at=at, weights=weights)
        rows, missed, offset = found.rows, found.missed, found.offset
    else:
        if type == "response":
            raise ModelError(
                "slopes are on the scale of the linear predictor", hint="Leave type='response' out."
            )
        step = _slope_step(fit, var)
        ends = [
            cells(fit, kept, at=at, weights=weights, shift={var: half})
            for half in (-0.5 * step, 0.5 * step)
        ]
        found = ends[0]
        rows = (ends[1].rows - found.rows) / step
        # Relative to what dropped columns are on the grid, over a step relative to the variable's range.
        missed = (ends[1].missed - found.missed) / SLOPE_STEP
        offset = (ends[1].offset - found.offset) / step
    return MarginalMeans(
        fit=fit,
        kind="mean" if var is None else "slope",
        frame=found.frame,
        rows=rows,
        missed=missed,
        offset=offset,
        by=groups,
        is_response=type == "response" and fit.model.family.link != "identity",
        freedom=freedom(fit, ddf),
    )


def _slope_step(fit: Fit, var: str) -> float:
    found = {column.name: column for column in observed_of(fit).columns}.get(var)
    if found is None or not found.high > found.low:
        numbers = [c.name for c in observed_of(fit).columns if c.high > c.low]
        raise ModelError(
            f"{var!r} is not a number among the fixed effects that a slope could be in",
            hint=f"Numbers: {', '.join(numbers) or 'none'}.",
        )
    return SLOPE_STEP * (found.high - found.low)
