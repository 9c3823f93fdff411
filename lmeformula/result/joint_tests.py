"""Result stage: F tests of whole terms, about marginal means, so that no coding of factors matters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.design.evaluate import data_columns
from lmeformula.design.labels import label
from lmeformula.design.observed import ObservedColumn
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.result.ddf import METHODS, freedom
from lmeformula.result.freedom import Freedom, FTest
from lmeformula.result.grid import MAX_ROWS, cells, estimable, observed_of
from lmeformula.result.nesting import Nesting, find_nesting, term_columns
from lmeformula.result.several_predictors import need_one_predictor

Floats = NDArray[np.float64]

CONFOUNDED = "(confounded)"


@kinds.takes(terms=kinds.optional(kinds.names), ddf=kinds.one_of(*METHODS))
def joint_tests(
    fit: FittedModel, terms: Sequence[str] | None = None, *, ddf: str = "auto"
) -> pd.DataFrame:
    """Test the terms of the fixed part, one by one: that the marginal means of its variables do not differ.

    A main effect is tested averaged over the levels of the factors that it interacts with, all weighing the
    same, and at the means of numbers; an interaction by the differences of differences. The tests depend on no
    contrasts. A variable nested in another, in the data or as b in a + a:b, is tested within its values. What
    the data determine of the cells beyond the listed tests is the line "(confounded)", as where cells are empty
    or columns were dropped.

    With factors only they are R's type III tests with sum contrasts; where a factor interacts with a number,
    those are about the number's zero, and these about its mean. Terms of the same variables, such as
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
    points = points_of(fit)
    several = _as_written(fit, [name for name, values in points.items() if len(values) > 1])
    nesting = find_nesting(observed_of(fit), fit.formula.fixed.sum, several)
    margins = _margins(fit, several, nesting)
    wanted = list(margins) if terms is None else [_wanted(name, margins, several) for name in terms]
    method, beta = freedom(fit, ddf), fit.params.beta
    rows = [_differences(fit, [n for n in several if n in key], points, nesting) for key in wanted]
    names = [":".join(n for n in several if n in key) for key in wanted]
    tests = [method.test(each, each @ beta) for each in rows]
    if terms is None:
        # A term of whose differences the data determine none is not listed, but what it is mixed with is.
        names = [name for name, test in zip(names, tests, strict=True) if test.df1]
        rows = [each for each, test in zip(rows, tests, strict=True) if test.df1]
        tests = [test for test in tests if test.df1]
        further = _confounded(fit, points, rows, method)
        if further is not None:
            names, tests = [*names, CONFOUNDED], [*tests, further]
    return pd.DataFrame(
        {
            "term": names,
            "df1": [test.df1 for test in tests],
            "df2": [test.df2 for test in tests],
            "statistic": [test.statistic for test in tests],
            "p_value": [test.p_value for test in tests],
        }
    )


def _as_written(fit: FittedModel, names: Sequence[str]) -> list[str]:
    """Columns in the order in which the formula names them, which that of its sorted terms need not be."""
    first = dict.fromkeys(names, float("inf"))
    for term in fit.formula.fixed.sum.terms:
        for column in (c for variable in term.variables for c in data_columns(variable)):
            if column.name in first and column.span is not None:
                first[column.name] = min(first[column.name], column.span[0])
    return sorted(names, key=lambda name: first[name])


def _margins(fit: FittedModel, several: Sequence[str], nesting: Nesting) -> list[frozenset[str]]:
    """Sets of variables to test: those of the terms and all parts of them, with what they are nested in."""
    sets = term_columns(fit.formula.fixed.sum, set(several))
    sets += [frozenset([name, *nests]) for name, nests in nesting.items()]
    # As emmeans lists them: by their number of variables, and in the variables' order.
    parts = {
        frozenset(part)
        for whole in sets
        for size in range(1, len(whole) + 1)
        for part in itertools.combinations(whole, size)
    }
    place = {name: i for i, name in enumerate(several)}
    return [
        part
        for part in sorted(parts, key=lambda one: (len(one), sorted(place[n] for n in one)))
        if all(set(nests) <= part for name, nests in nesting.items() if name in part)
    ]


def _wanted(name: str, margins: Sequence[frozenset[str]], several: Sequence[str]) -> frozenset[str]:
    key = frozenset(name.split(":"))
    if key not in margins:
        listed = ", ".join(":".join(n for n in several if n in margin) for margin in margins)
        raise ModelError(f"the fixed part has no term {name!r}", hint=f"Terms: {listed}.")
    return key


def points_of(fit: FittedModel) -> dict[str, list[object]]:
    """Values of each column of the fixed part at which all of the model's columns differ."""
    return {column.name: _points(fit, column) for column in observed_of(fit).columns}


def _points(fit: FittedModel, column: ObservedColumn) -> list[object]:
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


def _differences(
    fit: FittedModel, kept: list[str], points: dict[str, list[object]], nesting: Nesting
) -> Floats:
    """(r, p) differences between neighbours, in all the kept variables, of marginal means.

    Those of nested variables are within the values of what they are nested in.
    """
    at = {name: values for name, values in points.items() if name in kept}
    found = cells(fit, kept, at=at)
    outer = [n for n in kept if any(n in nesting.get(other, ()) for other in kept)]
    inner = [n for n in kept if n not in outer]
    groups: dict[tuple[object, ...], dict[tuple[object, ...], int]] = {}
    for i, row in found.frame.iterrows():
        within = groups.setdefault(tuple(row[n] for n in outer), {})
        within[tuple(row[n] for n in inner)] = i
    contrasts = [
        made for within in groups.values() for made in _neighbours(within, len(found.frame))
    ]
    made = np.array(contrasts).reshape(-1, len(found.frame))
    return estimable(made @ found.rows, made @ found.missed)


def _neighbours(within: Mapping[tuple[object, ...], int], size: int) -> list[Floats]:
    """(size,) differences of differences between neighbours of the cells that are there."""
    levels = [list(dict.fromkeys(values)) for values in zip(*within, strict=True)]
    made = []
    for corner in itertools.product(*(itertools.pairwise(values) for values in levels)):
        row = np.zeros(size)
        for ends in itertools.product((0, 1), repeat=len(corner)):
            place = within.get(tuple(pair[end] for pair, end in zip(corner, ends, strict=True)))
            if place is None:
                break
            row[place] += (-1.0) ** (len(ends) - sum(ends))
        else:
            made.append(row)
    return made


def _confounded(
    fit: FittedModel, points: dict[str, list[object]], rows: Sequence[Floats], method: Freedom
) -> FTest | None:
    """The test of the differences between all cells that none of the listed tests is of; None without any."""
    if not points or np.prod([float(len(values)) for values in points.values()]) > MAX_ROWS:
        return None
    beta = fit.params.beta
    found = cells(fit, list(points), at=points)
    whole = estimable(found.rows[1:] - found.rows[:1], found.missed[1:] - found.missed[:1])
    listed = np.concatenate([*rows, np.zeros((0, len(beta)))])
    every, known = method.test(whole, whole @ beta), method.test(listed, listed @ beta)
    df1 = every.df1 - known.df1
    if df1 <= 0:
        return None
    left = every.df1 * every.statistic - (known.df1 * known.statistic if known.df1 else 0.0)
    return FTest(left / df1, df1, every.df2)
