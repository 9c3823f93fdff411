"""Result stage: F tests of whole terms, about marginal means, so that no coding of factors matters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.linalg
from numpy.typing import NDArray

from lmeformula.design.evaluate import data_columns
from lmeformula.design.labels import label
from lmeformula.design.observed import ObservedColumn
from lmeformula.errors import ModelError
from lmeformula.result.freedom import freedom
from lmeformula.result.grid import ESTIMABLE, cells, observed_of
from lmeformula.result.several import need_one_predictor

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]


def joint_tests(fit: Fit, terms: Sequence[str] | None = None, *, ddf: str = "auto") -> pd.DataFrame:
    """Test the terms of the fixed part, one by one: that the marginal means of its variables do not differ.

    A main effect is tested averaged over the levels of the factors that it interacts with, all weighing the
    same, and at the means of numbers; an interaction by the differences of differences. The tests depend on no
    contrasts. With factors only they are R's type III tests with sum contrasts; where a factor interacts with
    a number, those are about the number's zero, and these about its mean. Terms of the same variables, such as
    x + I(x^2), are tested together.

    Args:
      fit: a fitted model.
      terms: which, as variables joined by ":", such as "a:b"; all by default.
      ddf: degrees of freedom of the denominator: "auto" (Satterthwaite's for Gaussian fits, none for others),
        "satterthwaite", "kenward-roger", or "none" for chi-square tests.
    Returns:
      frame: term, df1, df2 (infinite for chi-square tests), statistic (F, or chi-square / df1), p_value.
    Raises:
      ModelError: for a term that the fixed part does not have.
    References:
      Lenth, joint_tests() of the R package emmeans.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
      >>> joint_tests(fit).round(3).to_dict("records")
      [{'term': 'Machine', 'df1': 2, 'df2': 46.0, 'statistic': 87.798, 'p_value': 0.0}]
    """
    need_one_predictor(
        fit,
        "tests of whole terms",
        "Fit the model without the term, and compare: fit.anova(other).",
    )
    known = {column.name: column for column in observed_of(fit).columns}
    found: dict[frozenset[str], str] = {}
    for term in fit.formula.fixed.sum.terms:
        names = dict.fromkeys(c.name for v in term.variables for c in data_columns(v))
        names = {name: None for name in names if name in known}
        found.setdefault(frozenset(names), ":".join(names))
    chosen = {key: name for key, name in found.items() if key}
    if terms is not None:
        wanted = [frozenset(name.split(":")) for name in terms]
        for name, key in zip(terms, wanted, strict=True):
            if key not in chosen:
                listed = ", ".join(chosen.values())
                raise ModelError(f"the fixed part has no term {name!r}", hint=f"Terms: {listed}.")
        chosen = {key: chosen[key] for key in wanted}
    method = freedom(fit, ddf)
    points = points_of(fit)
    tests = []
    for key in chosen:
        rows = _differences(fit, [name for name in known if name in key], points)
        tests.append(method.test(rows, rows @ fit.params.beta))
    return pd.DataFrame(
        {
            "term": list(chosen.values()),
            "df1": [test.df1 for test in tests],
            "df2": [test.df2 for test in tests],
            "statistic": [test.statistic for test in tests],
            "p_value": [test.p_value for test in tests],
        }
    )


def points_of(fit: Fit) -> dict[str, list[object]]:
    """Values of each column of the fixed part at which all of the model's columns differ."""
    return {column.name: _points(fit, column) for column in observed_of(fit).columns}


def _points(fit: Fit, column: ObservedColumn) -> list[object]:
    """The levels of a factor; of a number as many values about its mean as its columns can tell apart."""
    if column.is_factor:
        return list(column.levels)
    half = min(column.mean - column.low, column.high - column.mean)
    parts = set()
    for term in fit.formula.fixed.sum.terms:
        for variable in term.variables:
            if column.name in {c.name for c in data_columns(variable)}:
                name = label(variable)
                fields = re.compile(re.escape(name) + r"\[([^\]]*)\]")
                parts |= {(name, f) for n in fit.model.design.names for f in fields.findall(n)} or {
                    (name, "")
                }
    count = 1 + len(parts)
    if not half > 0 or count < 2:
        return [column.mean]
    return list(column.mean + half * np.linspace(-1.0, 1.0, count))


def _differences(fit: Fit, kept: list[str], points: dict[str, list[object]]) -> Floats:
    """(r, p) differences between neighbours, in all the kept variables, of marginal means."""
    at = {name: values for name, values in points.items() if name in kept}
    found = cells(fit, kept, at=at)
    # The first variable varies fastest: it is the last axis before the coefficients.
    shape = [len(at[name]) for name in reversed(kept)]
    rows, missed = (
        _neighbours(part.reshape(*shape, part.shape[1]), len(kept))
        for part in (found.rows, found.missed)
    )
    if not missed.shape[1]:
        return rows
    # Of the differences, those combinations that the data determine.
    return np.asarray(scipy.linalg.null_space(missed.T, rcond=ESTIMABLE).T @ rows)


def _neighbours(grid: Floats, num_axes: int) -> Floats:
    for axis in range(num_axes):
        grid = np.diff(grid, axis=axis)
    count = int(np.prod(grid.shape[:-1]))
    return np.asarray(grid.reshape(count, grid.shape[-1]))
