"""Result stage: marginal means and joint tests as tables that `views` renders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmeformula.text.table import Column, Kind, Table

if TYPE_CHECKING:
    from lmeformula.result.emmeans import MarginalMeans

HEADINGS = {
    "std_error": "std error",
    "conf_low": "2.5 %",
    "conf_high": "97.5 %",
    "p_value": "p",
}
KINDS: dict[str, Kind] = {"statistic": "statistic", "df": "statistic", "std_error": "error"}


def marginal_table(means: MarginalMeans) -> Table:
    """Lay marginal means, slopes or contrasts out for reading.

    Args:
      means: what `fit.emmeans` gave.
    Returns:
      table: their names, estimates and 95 % intervals; notes say what they are and how they were adjusted.
    """
    frame = means.to_frame()
    if np.isinf(frame["df"]).all():
        frame = frame.drop(columns="df")
    statistic = "z" if "df" not in frame else "t"
    columns = []
    for name in frame.columns:
        heading = {
            "estimate": means.scale.split(" of ")[0].split(",")[0],
            "statistic": statistic,
        }.get(str(name), HEADINGS.get(str(name), str(name)))
        is_key = name in means.frame.columns
        columns.append(
            Column(heading, tuple(map(shown, frame[name])), "text")
            if is_key
            else _column(heading, frame[name], str(name))
        )
    return Table("", tuple(columns), _notes(means))


def _column(heading: str, values: pd.Series, name: str) -> Column:
    if name == "p_value":
        return Column(heading, tuple(map(p_text, values)), "text")
    return Column(heading, tuple(map(float, values)), KINDS.get(name, "number"))


def shown(value: object) -> str:
    """A level or a value of a variable for reading: numbers to six digits.

    Example:
      >>> shown(180.0), shown("A")
      ('180', 'A')
    """
    is_number = isinstance(value, float | np.floating)
    return f"{value:g}" if is_number else str(value)


def p_text(value: float) -> str:
    """A p-value for reading, to four decimals.

    Example:
      >>> p_text(0.01234), p_text(1e-9)
      ('0.0123', '< 0.0001')
    """
    if np.isnan(value):
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _notes(means: MarginalMeans) -> tuple[str, ...]:
    notes = []
    if means.scale not in ("mean", "slope", "difference"):
        notes.append(f"Estimates: {means.scale}.")
    elif means.is_response:
        notes.append(f"Estimates: {means.scale} on the scale of the response.")
    if means.freedom.name != "none":
        notes.append(f"Degrees of freedom: {means.freedom.name.title()}.")
    if means.adjust != "none" and len(means.frame) > 1:
        intervals = " (intervals: Bonferroni)" if means.adjust == "holm" else ""
        within = f", within {', '.join(means.by)}" if means.by else ""
        notes.append(f"Adjusted for several comparisons: {means.adjust}{intervals}{within}.")
    if not means.determined.all():
        notes.append("Rows without an estimate are not determined by the data.")
    return tuple(notes)
