"""The reference grid, combinations of levels and typical values, as rows of the fixed part."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.design.fixed import Matrix
from lmeformula.design.observed import Observed, ObservedColumn
from lmeformula.design.rebuild import columns_on
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import TermSum
from lmeformula.inference.nesting import Nesting, find_nesting
from lmeformula.prediction.named_predictor import NamedPredictor, named_predictors
from lmeformula.prediction.observed_together import observed_of, observed_together, terms_together
from lmeformula.prediction.population import population_rows

Values = Mapping[str, object]

MAX_ROWS = 200_000
# A combination of cells is estimable where it misses no dropped column by more than this, relative to what
# the column is on the grid: differences in rounding are far below, and any real one is far above.
ESTIMABLE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Means over the reference grid, a row for each combination of the variables that are kept.

    Attributes:
      frame: the kept variables.
      rows: (r, p) combinations of the fixed effects; zeros for those of predictors that were not asked for.
      missed: (r, d) by how much dropped columns differ from what they were in the data, where they were
        combinations of others, relative to their size on the grid; the data determine a row, or a combination
        of rows, where it is zero.
      offset: (r,) mean offsets of the one predictor, the first of several.
      grid: (r, m, p) what was averaged.
      grid_offsets: (J, r, m) of each predictor that was asked for.
      grid_missed: (r, m, d).
      share: (r, m) how much of each combination's mean each row of the grid is; they add up to one.
    """

    frame: pd.DataFrame
    rows: Floats
    missed: Floats
    offset: Floats
    grid: Floats
    grid_offsets: Floats
    grid_missed: Floats
    share: Floats

    def predictors(self, beta: Floats) -> Floats:
        """(r,) mean linear predictors."""
        return self.rows @ beta + self.offset


def estimable(rows: Floats, missed: Floats) -> Floats:
    """Those combinations of rows that the data determine.

    Args:
      rows: (r, p) combinations of the fixed effects.
      missed: (r, d) by how much each misses dropped columns, as `Cells` has it.
    Returns:
      (s, p) that span them.
    """
    if not missed.shape[1] or not len(rows):
        return rows
    if len(rows) > rows.shape[1] + missed.shape[1]:
        # The same span, of no more rows than there are columns.
        both: Floats = np.asarray(np.linalg.qr(np.column_stack([rows, missed]), mode="r"))
        rows, missed = both[:, : rows.shape[1]], both[:, rows.shape[1] :]
    vectors, values, _ = np.linalg.svd(missed)
    rank = int((values > ESTIMABLE).sum())
    return np.asarray(vectors[:, rank:].T @ rows)


def cells(
    fit: FittedModel,
    kept: Sequence[str],
    *,
    at: Values | None = None,
    weights: str = "equal",
    shift: Mapping[str, float] | None = None,
    among: Sequence[NamedPredictor] | None = None,
) -> Cells:
    """Average the rows of the reference grid over the variables that are not kept.

    Factors take all their levels; numbers their mean, unless `at` says otherwise. A number counts as a factor
    where the formula makes one of it, and where it has two values.

    Args:
      fit: a fitted model.
      kept: the variables whose combinations are told apart.
      at: values of variables, by name: one or several.
      weights: "equal", or "proportional" to how often the combinations averaged over occur in the data.
      shift: added to variables after the grid is made, for differences.
      among: the linear predictors whose columns the grid is of; the first by default.
    Returns:
      A row for each combination, the first variable varying fastest. What the kept variables are nested in is
      kept too, only combinations of such variables that occur count, and nested ones are averaged over first.
    Raises:
      ModelError: for a variable that the fixed part does not have, a grid that is too large, or frequencies
        that are not known.
      FormulaDataError: for values that the formula does not take.
    References:
      Searle, Speed, Milliken (1980), The American Statistician 34, 216-221.
    """
    predictors = named_predictors(fit)[:1] if among is None else tuple(among)
    designs = list({id(each.design): each.design for each in predictors}.values())
    observed = observed_together(designs, needs_counts=weights == "proportional")
    known = {column.name: column for column in observed.columns}
    for name in [*kept, *(at or {})]:
        if name not in known:
            is_one_of = len(predictors) < fit.model.design.num_predictors
            of = f" of {predictors[0].name}" if is_one_of else ""
            raise ModelError(
                f"{name!r} is not a column of the fixed effects{of}",
                hint=f"Columns: {', '.join(known)}." if known else "The fixed part has no columns.",
            )
    weights = str(kinds.one_of("equal", "proportional")("weights", weights))
    rest = [name for name in known if name not in kept]
    values = {name: _values(known[name], (at or {}).get(name)) for name in (*kept, *rest)}
    varying = [name for name in known if len(values[name]) > 1]
    nesting = find_nesting(observed, terms_together(designs), varying)
    kept = list(dict.fromkeys([*kept, *(o for name in kept for o in nesting.get(name, ()))]))
    rest = [name for name in known if name not in kept]
    values = {name: values[name] for name in (*kept, *rest)}
    sizes = {name: len(values[name]) for name in values}
    total = _num_rows(
        values, "the reference grid", "Give one value of some variables with at={...}."
    )
    # The rest vary fastest, in which the rows of one kept combination are next to each other.
    order = [*reversed(kept), *rest]
    places = np.indices([sizes[name] for name in order]).reshape(len(order), total)
    table = {name: [values[name][i] for i in row] for name, row in zip(order, places, strict=True)}
    data = {name: _column(known[name], table[name]) for name in values}
    for name, step in (shift or {}).items():
        data[name] = np.asarray(data[name], float) + step
    X, offset, missed = _rebuild_all(predictors, len(fit.params.beta), data, total)
    num_inner = math.prod(sizes[name] for name in rest)
    shape = (total // num_inner, num_inner)
    share = np.tile(_shares(observed, rest, table, num_inner, weights), (shape[0], 1))
    share *= _occurring(observed, nesting, table, rest, weights).reshape(shape)
    occurs = share.sum(axis=1) > 0.0
    share = share[occurs] / share[occurs].sum(axis=1, keepdims=True)
    grid, beyond = (part.reshape(*shape, part.shape[1])[occurs] for part in (X, missed))
    offsets = offset.reshape(len(predictors), *shape)[:, occurs]
    rows, missed = (np.einsum("orc,or->oc", part, share) for part in (grid, beyond))
    firsts = np.flatnonzero(occurs) * num_inner
    frame = pd.DataFrame(
        {name: [table[name][i] for i in firsts] for name in kept}, index=range(len(firsts))
    )
    middle = (offsets[0] * share).sum(axis=1)
    return Cells(frame, rows, missed, middle, grid, offsets, beyond, share)


def grid_rows(design: Design, points: Mapping[str, list[object]]) -> Callable[[TermSum], Matrix]:
    """A function that builds the columns of sums of terms on the grid of all combinations of values.

    Args:
      design: of one linear predictor of a fit.
      points: the values of each column of the fixed part.
    Returns:
      function: terms -> their columns on the grid, with names, by the recipe of the design.
    Raises:
      ModelError: for a grid that is too large.
    """
    observed = {column.name: column for column in observed_of(design).columns}
    cure = "Fit the smaller model with fit.update(..., data=...), and compare with anova."
    total = _num_rows(points, "the grid of the fixed part", cure)
    columns = zip(points, zip(*itertools.product(*points.values()), strict=True), strict=False)
    data = {name: _column(observed[name], list(values)) for name, values in columns} or {
        "": np.zeros(total)
    }

    def build(terms: TermSum) -> Matrix:
        return columns_on(design, data, terms)

    return build


def _num_rows(points: Mapping[str, list[object]], what: str, cure: str) -> int:
    total = math.prod(map(len, points.values()))
    if total > MAX_ROWS:
        raise ModelError(f"{what} would have {total:,} rows", hint=cure)
    return total


def _values(column: ObservedColumn, given: object) -> list[object]:
    if given is None:
        return list(column.levels) if column.is_factor else [column.mean]
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray | pd.Series):
        return [given]
    if not len(given):
        raise ModelError(f"at gives no value for {column.name!r}", hint="Give one or several.")
    return list(given)


def _column(column: ObservedColumn, values: list[object]) -> object:
    if isinstance(column.levels[0] if column.levels else 0.0, str):
        return np.array([str(value) for value in values], dtype=object)
    return np.array(values)


def _rebuild_all(
    predictors: Sequence[NamedPredictor], num_fixed: int, data: Mapping[str, object], num_rows: int
) -> tuple[Floats, Floats, Floats]:
    """X (n, p), the offset of each predictor (J, n), and what dropped columns miss in all of them (n, d)."""
    X, offsets = np.zeros((num_rows, num_fixed)), np.zeros((len(predictors), num_rows))
    # The predictors of a response's categories have one design.
    made: dict[int, tuple[Floats, Floats, Floats]] = {}
    for place, each in enumerate(predictors):
        if id(each.design) not in made:
            made[id(each.design)] = _rebuild(each.design, data, num_rows)
        X[:, each.columns], offsets[place], _ = made[id(each.design)]
    return X, offsets, np.hstack([missed for _, _, missed in made.values()])


def _rebuild(
    design: Design, data: Mapping[str, object], num_rows: int
) -> tuple[Floats, Floats, Floats]:
    """X (n, p_k), offset (n,), and by how much dropped columns miss what they were in the data (n, d)."""
    observed, recipe = observed_of(design), design.recipe
    assert recipe is not None
    given = None if recipe.offset == "" else np.full(num_rows, observed.offset)
    table = dict(data) or {"": np.zeros(num_rows)}
    rows = population_rows(design, table, given)
    offset = rows.offset if given is None else given
    aliases = observed.aliases
    if aliases is None:
        return rows.X, offset, np.zeros((num_rows, 0))
    penalised = recipe.penalised or design
    X = columns_on(penalised, table, design.formula.fixed.sum).values
    dropped, followed = X[:, list(aliases.dropped)], X[:, list(aliases.kept)] @ aliases.relation
    size = np.maximum(np.abs(dropped), np.abs(followed)).max(axis=0, initial=0.0)
    return rows.X, offset, (dropped - followed) / np.where(size > 0.0, size, 1.0)


def _occurring(
    observed: Observed,
    nesting: Nesting,
    table: Mapping[str, list[object]],
    rest: Sequence[str],
    weights: str,
) -> Floats:
    """(n,) zero for rows of the grid whose nested levels do not occur; else what nested ones weigh more."""
    factors = [column.name for column in observed.factors]
    found = np.ones(max(map(len, table.values()), default=1))
    for name, nests in nesting.items():
        together = [n for n in (name, *nests) if n in factors]
        if len(together) < 2 or name not in factors:
            continue
        seen = set(_observed_levels(observed, together))
        here = list(zip(*(table[n] for n in together), strict=True))
        occurs = np.array([levels in seen for levels in here], float)
        if name in rest and weights == "equal":
            # Averaged over first: each of the levels that occur within those it is nested in weighs the same.
            count = Counter(levels[1:] for levels in seen.intersection(here))
            occurs /= np.array([max(count[levels[1:]], 1) for levels in here])
        found *= occurs
    return found


def _shares(
    observed: Observed,
    rest: Sequence[str],
    table: Mapping[str, list[object]],
    num_inner: int,
    weights: str,
) -> Floats:
    """(m,) weights of the combinations that are averaged over; they add up to one."""
    if weights == "equal":
        return np.full(num_inner, 1.0 / num_inner)
    factors = {column.name for column in observed.factors}
    used = [name for name in rest if name in factors]
    counts: Counter[tuple[object, ...]] = Counter()
    for levels, count in zip(_observed_levels(observed, used), observed.counts, strict=True):
        counts[levels] += int(count)
    here = (tuple(table[name][i] for name in used) for i in range(num_inner))
    share = np.array([counts[levels] for levels in here], float)
    if not share.any():
        raise ModelError(
            "none of the combinations that are averaged over occurs in the data",
            hint="Use weights='equal'.",
        )
    return np.asarray(share / share.sum())


def _observed_levels(observed: Observed, names: Sequence[str]) -> list[tuple[object, ...]]:
    """The levels of some factors in each combination that occurs."""
    places = {column.name: place for place, column in enumerate(observed.factors)}
    columns = [(places[name], observed.factors[places[name]].levels) for name in names]
    return [tuple(levels[cell[place]] for place, levels in columns) for cell in observed.cells]
