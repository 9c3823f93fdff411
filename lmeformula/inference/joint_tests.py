"""F tests of whole terms, about marginal means, so that no coding of factors matters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.design.evaluate import data_columns
from lmeformula.design.labels import label
from lmeformula.design.observed import ObservedColumn
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.inference.ddf import METHODS, freedom
from lmeformula.inference.grid import MAX_ROWS, cells, estimable
from lmeformula.inference.nesting import Nesting, find_nesting, term_columns
from lmeformula.prediction.freedom import Freedom, FTest
from lmeformula.prediction.named_predictor import NamedPredictor, named_predictors, predictor_named
from lmeformula.prediction.observed_together import observed_of
from lmeformula.prediction.predictor import refuse_curves

CONFOUNDED = "(confounded)"


class PredictorGroup(NamedTuple):
    """A predictor whose terms are tested, or several of the same terms, tested together.

    Attributes:
      predictors: one, or those of the same terms.
      before: what comes before its terms in their names.
    """

    predictors: tuple[NamedPredictor, ...]
    before: str


@kinds.takes(
    terms=kinds.optional(kinds.names),
    ddf=kinds.one_of(*METHODS),
    predictor=kinds.optional(kinds.names),
)
@not_of_draws("tests of terms")
def joint_tests(
    fit: FittedModel,
    terms: Sequence[str] | None = None,
    *,
    ddf: str = "auto",
    predictor: str | Sequence[str] | None = None,
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

    Of a model with several linear predictors the terms of each are tested, those of a further one under its
    name, such as "sigma: x"; a term of categories without an order is tested in the predictors of all of them
    together, whichever of them is the first.

    Args:
      fit: a fitted model.
      terms: which, as variables joined by ":", such as "a:b"; all by default. Those of further predictors are
        called as the frame has them, "sigma: a:b".
      ddf: degrees of freedom of the denominator: "auto" (Satterthwaite's for Gaussian fits, none for others),
        "satterthwaite", "kenward-roger", or "none" for chi-square tests.
      predictor: one or several linear predictors whose terms are tested, each by itself; of categories these
        are the categories but the first.
    Returns:
      frame: term, df1, df2 (infinite for chi-square tests), statistic (F, or chi-square / df1), p_value.
    Raises:
      ModelError: for a term that the fixed part does not have, or a predictor that the model does not have.
    References:
      Lenth, joint_tests() of the R package emmeans; Fox, Weisberg (2019), An R Companion to Applied
      Regression, 3rd ed., section 6.8, for tests of a term in all predictors of categories.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
      >>> joint_tests(fit).round(3).to_dict("records")
      [{'term': 'Machine', 'df1': 2, 'df2': 46.0, 'statistic': 87.798, 'p_value': 0.0}]
    """
    refuse_curves(fit, "joint tests", "Test curves by fit.smooths(), other terms by fit.drop1().")
    tested = predictor_groups(fit, predictor)
    method = freedom(fit, ddf)
    found: list[tuple[str, FTest]] = []
    for of, wanted in zip(tested, _asked(fit, tested, terms), strict=True):
        found += [(of.before + name, test) for name, test in _tests(fit, of, wanted, method)]
    return frame_of_tests(found)


def frame_of_tests(found: Sequence[tuple[str, FTest]]) -> pd.DataFrame:
    """The tests of terms, a row each: term, df1, df2, statistic, p_value."""
    rows = [(name, test.df1, test.df2, test.statistic, test.p_value) for name, test in found]
    return pd.DataFrame(rows, columns=["term", "df1", "df2", "statistic", "p_value"])


def predictor_groups(
    fit: FittedModel, asked: str | Sequence[str] | None = None
) -> tuple[PredictorGroup, ...]:
    """The predictors whose terms are listed; those of categories as one, unless they are asked for."""
    if asked is not None:
        names = [asked] if isinstance(asked, str) else list(asked)
        return tuple(
            PredictorGroup((one,), f"{one.name}: " if fit.model.family.is_unordered else one.before)
            for one in (predictor_named(fit, name) for name in names)
        )
    every = named_predictors(fit)
    if fit.model.family.is_unordered:
        return (PredictorGroup(every, ""),)
    return tuple(PredictorGroup((one,), one.before) for one in every)


def _asked(
    fit: FittedModel, tested: Sequence[PredictorGroup], terms: Sequence[str] | None
) -> list[list[frozenset[str]] | None]:
    """The terms of each that are asked for, as sets of variables; None for all."""
    if terms is None:
        return [None] * len(tested)
    found: list[list[frozenset[str]] | None] = [[] for _ in tested]
    listed = [_margins_of(of.predictors[0].design) for of in tested]
    for name in [terms] if isinstance(terms, str) else terms:
        place = max(
            (i for i, of in enumerate(tested) if name.startswith(of.before)),
            key=lambda i: len(tested[i].before),
            default=0,
        )
        margins = listed[place][1]
        key = frozenset(name.removeprefix(tested[place].before).split(":"))
        if key not in margins:
            known = ", ".join(
                of.before + ":".join(n for n in names if n in margin)
                for of, (names, each) in zip(tested, listed, strict=True)
                for margin in each
            )
            raise ModelError(f"the fixed part has no term {name!r}", hint=f"Terms: {known}.")
        wanted = found[place]
        assert wanted is not None
        wanted.append(key)
    return found


def _tests(
    fit: FittedModel, of: PredictorGroup, wanted: Sequence[frozenset[str]] | None, method: Freedom
) -> list[tuple[str, FTest]]:
    """The tests of a predictor's terms, of all or of those that are wanted."""
    design, beta = of.predictors[0].design, fit.params.beta
    points = points_of(design)
    varying, margins = _margins_of(design)
    nesting = find_nesting(observed_of(design), design.formula.fixed.sum, varying)
    keys = margins if wanted is None else wanted
    found = []
    for key in keys:
        kept = [n for n in varying if n in key]
        rows = _differences(fit, of.predictors, kept, points, nesting)
        found.append((":".join(kept), rows, method.test(rows, rows @ beta)))
    if wanted is not None:
        return [(name, test) for name, _, test in found]
    # A term of whose differences the data determine none is not listed, but what it is mixed with is.
    found = [one for one in found if one[2].df1]
    further = _confounded(fit, of.predictors, points, [rows for _, rows, _ in found], method)
    tests = [(name, test) for name, _, test in found]
    return tests if further is None else [*tests, (CONFOUNDED, further)]


def _margins_of(design: Design) -> tuple[list[str], list[frozenset[str]]]:
    """The variables of a predictor that have several values, in its formula's order, and its terms of them."""
    names = [name for name, values in points_of(design).items() if len(values) > 1]
    varying = _as_written(design, names)
    nesting = find_nesting(observed_of(design), design.formula.fixed.sum, varying)
    return varying, _margins(design, varying, nesting)


def _as_written(design: Design, names: Sequence[str]) -> list[str]:
    """Columns in the order in which the formula names them, which that of its sorted terms need not be."""
    first = dict.fromkeys(names, float("inf"))
    for term in design.formula.fixed.sum.terms:
        for column in (c for variable in term.variables for c in data_columns(variable)):
            if column.name in first and column.span is not None:
                first[column.name] = min(first[column.name], column.span[0])
    return sorted(names, key=lambda name: first[name])


def _margins(design: Design, varying: Sequence[str], nesting: Nesting) -> list[frozenset[str]]:
    """Sets of variables to test: those of the terms and all parts of them, with what they are nested in."""
    sets = term_columns(design.formula.fixed.sum, set(varying))
    sets += [frozenset([name, *nests]) for name, nests in nesting.items()]
    # As emmeans lists them: by their number of variables, and in the variables' order.
    parts = {
        frozenset(part)
        for whole in sets
        for size in range(1, len(whole) + 1)
        for part in itertools.combinations(whole, size)
    }
    place = {name: i for i, name in enumerate(varying)}
    return [
        part
        for part in sorted(parts, key=lambda one: (len(one), sorted(place[n] for n in one)))
        if all(set(nests) <= part for name, nests in nesting.items() if name in part)
    ]


def points_of(design: Design) -> dict[str, list[object]]:
    """Values of each column of a predictor's fixed part at which all of its columns differ."""
    return {column.name: _points(design, column) for column in observed_of(design).columns}


def _points(design: Design, column: ObservedColumn) -> list[object]:
    """The levels of a factor; of a number as many values about its mean as its columns can tell apart."""
    if column.is_factor:
        return list(column.levels)
    half = min(column.mean - column.low, column.high - column.mean)
    parts = set()
    for term in design.formula.fixed.sum.terms:
        for variable in term.variables:
            if column.name in {c.name for c in data_columns(variable)}:
                name = label(variable)
                fields = re.compile(re.escape(name) + r"\[([^\]]*)\]")
                parts |= {(name, f) for n in design.names for f in fields.findall(n)} or {
                    (name, "")
                }
    count = 1 + len(parts)
    if not half > 0 or count < 2:
        return [column.mean]
    return list(column.mean + half * np.linspace(-1.0, 1.0, count))


def _differences(
    fit: FittedModel,
    predictors: Sequence[NamedPredictor],
    kept: list[str],
    points: dict[str, list[object]],
    nesting: Nesting,
) -> Floats:
    """(r, p) differences between neighbours, in all the kept variables, of marginal means of each predictor.

    Those of nested variables are within the values of what they are nested in.
    """
    at = {name: values for name, values in points.items() if name in kept}
    found = cells(fit, kept, at=at, among=predictors[:1])
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
    return of_each(estimable(made @ found.rows, made @ found.missed), predictors)


def of_each(rows: Floats, predictors: Sequence[NamedPredictor]) -> Floats:
    """(r K, p) combinations of the first predictor's coefficients, and the same of the others'."""
    found = np.zeros((len(predictors), *rows.shape))
    for place, predictor in enumerate(predictors):
        found[place][:, predictor.columns] = rows[:, predictors[0].columns]
    return found.reshape(-1, rows.shape[1])


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
    fit: FittedModel,
    predictors: Sequence[NamedPredictor],
    points: dict[str, list[object]],
    rows: Sequence[Floats],
    method: Freedom,
) -> FTest | None:
    """The test of the differences between all cells that none of the listed tests is of; None without any."""
    if not points or np.prod([float(len(values)) for values in points.values()]) > MAX_ROWS:
        return None
    beta = fit.params.beta
    found = cells(fit, list(points), at=points, among=predictors[:1])
    differences = found.rows[1:] - found.rows[:1]
    whole = of_each(estimable(differences, found.missed[1:] - found.missed[:1]), predictors)
    listed = np.concatenate([*rows, np.zeros((0, len(beta)))])
    every, known = method.test(whole, whole @ beta), method.test(listed, listed @ beta)
    df1 = every.df1 - known.df1
    if df1 <= 0:
        return None
    left = every.df1 * every.statistic - (known.df1 * known.statistic if known.df1 else 0.0)
    return FTest(left / df1, df1, every.df2)
