"""The Design record: a formula met a data frame, and these are its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from lmeformula.arrays import Codes, Floats, Ints, Mask
from lmeformula.covariance.prior import NORMAL, Prior
from lmeformula.design.given import NOTHING, Given
from lmeformula.design.reading import added_by, effects_of_rows, square_shares
from lmeformula.design.recipe import Recipe
from lmeformula.design.relation import Relation
from lmeformula.design.values import listed
from lmeformula.errors import FormulaDataError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import FIRST
from lmeformula.formula.kinds import UNSTRUCTURED
from lmeformula.rows.parts import Shards

if TYPE_CHECKING:
    import pandas as pd

# Whether effects are those of some groups, which re_form leaves out, or the whole population has them.
Role = Literal["group", "population"]


@dataclass(frozen=True, slots=True, eq=False)
class TermBlock:
    """One term of effects with a prior, as arrays.

    Attributes:
      name: unique within the design: the group's label, then "g.1", "g.2" for further terms on the same group.
      columns: (k) names of the coefficients, as formulaic names columns.
      values: (n, k) float64, the term's own model matrix (a column of ones for an intercept).
      group: display name of the grouping factor, such as "students" or "cask:batch".
      factors: the grouping variables, such as ("cask", "batch").
      levels: (l) display names of the observed levels, such as "A:b".
      index: (n,) int32, each row's level; -1, -2, ... in new rows of levels that the data of the fit did not
        have. (n, s) where a row has several of them, its members.
      covariance: the kind of its covariance; see `formula.kinds.KINDS`.
      homogeneous: one variance for all its coefficients, where there is such a choice.
      block: the label of the linked terms (e |ID| g) that this is, or "".
      prior: of the coefficients of a level.
      role: whether predictions without random effects keep it.
      smooth: the smooth that it is a part of, in canonical text; "" of others.
      predictors: (k) which of the model's linear predictors each coefficient adds to; by default the first.
      parts: how many groups of columns, one after another, have a covariance of their own each: one for each
        level of a in gr(g, by = a).
      positions: (k, dimensions) of the coefficients of a structure over them; None of others.
      rank: how many factors the coefficients are made of; 0 where that is not said.
      known: the matrix that their covariance is, or is a multiple of, as it was given; None of others.
      between: (k, k) its elements that are theirs.
      part_of: (l,) int32 which of these a level of the factor has; None where there is one.
      relation: the known covariance between the levels; None where they are independent.
      shares: (n, s) what the effects of a row's members count for; None where a row has one level.
    """

    name: str
    columns: tuple[str, ...]
    values: Floats = field(repr=False)
    group: str
    factors: tuple[str, ...]
    levels: tuple[str, ...] = field(repr=False)
    index: Codes = field(repr=False)
    covariance: str = "us"
    homogeneous: bool = False
    block: str = ""
    prior: Prior = NORMAL
    role: Role = "group"
    smooth: str = ""
    predictors: tuple[int, ...] = ()
    parts: int = 1
    positions: Floats | None = field(default=None, repr=False)
    rank: int = 0
    known: Relation | None = None
    between: Floats | None = field(default=None, repr=False)
    part_of: Codes | None = field(default=None, repr=False)
    relation: Relation | None = None
    shares: Floats | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.predictors:
            object.__setattr__(self, "predictors", (0,) * len(self.columns))

    @property
    def is_related(self) -> bool:
        """Whether a covariance between its levels is known."""
        return self.relation is not None

    @property
    def meets(self) -> bool:
        """Whether its levels meet one another: they are not independent, or a row has several of them."""
        return self.relation is not None or self.shares is not None

    @property
    def why_meets(self) -> str:
        """What its levels meet for, in words, where they do."""
        return "are related" if self.shares is None else "share rows"

    @property
    def prior_scale(self) -> Floats:
        """(n,) what times the covariance of its coefficients is that of a row's effects."""
        if self.shares is not None:
            return square_shares(self.index, self.shares)
        if self.relation is None:
            return np.ones(len(self.index))
        return self.relation.variances[self.index]

    @property
    def has_unseen(self) -> Mask:
        """(n,) whether a row has a level that the data of the fit did not have."""
        unseen = self.index < 0
        return np.asarray(unseen.any(axis=1) if unseen.ndim > 1 else unseen)

    def of_rows(self, effects: Floats) -> Floats:
        """(..., n, k) what rows read of the effects (..., l, k) of their levels; of unseen ones zeros."""
        return effects_of_rows(self.index, self.shares, effects)

    def added(self, effects: Floats, num_predictors: int) -> Floats:
        """(..., K, n) what effects (..., n, k) of the rows' levels add to the K linear predictors."""
        return added_by(self.values, self.predictors, effects, num_predictors)


@dataclass(frozen=True, slots=True, eq=False)
class ResponseBlock:
    """The response as arrays.

    Attributes:
      name: as the user wrote it, in canonical text.
      kind: "numeric", "logical", "categorical" (unordered factor or text), "ordered" or "matrix" (cbind).
      values: (n,) float64: the numbers, 0/1 for logical, level codes 0.. for categorical and ordered;
        (n, m) for a matrix response.
      levels: the categories for categorical and ordered responses, else ().
      trials: (n,) numbers of trials of `y | trials(n)`, or None.
    """

    name: str
    kind: str
    values: Floats
    levels: tuple[str, ...] = ()
    trials: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Design:
    """Everything about the data that a model needs; made by `lf.design`.

    Attributes:
      formula: the formula, with "." expanded.
      response: the response, or None for a one-sided formula.
      X: (n, p) float64 fixed-effects model matrix of full column rank.
      names: (p) its columns' names.
      terms: the random-effects terms, in formula order; linked ones, (e |ID| g), are one.
      offsets: of each linear predictor (n,) float64, the sum of its offsets (zeros without).
      weights: (n,) float64 prior weights, or None.
      rows: (n,) positions in the data frame of the rows that are used (complete cases).
      num_missing: rows left out because a used column is missing there, or because their frequency is 0.
      dropped: names of fixed columns left out because others determine them.
      reserved: parts of the formula, in its words, that are other packages' syntax: they parse, take no part
        in the arrays, and cannot be fitted.
      recipe: what `rebuild` needs; None for a design that was put together by hand.
      side_by_side: the linear predictors whose designs' arrays stand side by side above; () where these are of
        one. What reads a design asks for its `predictors`.
      given: labels of the rows, and arrays that were given beside the formula; not saved.
      frequency: (n,) float64 whole numbers, how many identical rows each one stands for, or None for one.
      shards: the rows with the workers of a cluster; None where they are in memory. Ask `shards_of`.
    """

    formula: Formula
    response: ResponseBlock | None
    X: Floats
    names: tuple[str, ...]
    terms: tuple[TermBlock, ...]
    offsets: tuple[Floats, ...]
    weights: Floats | None
    rows: Ints
    num_missing: int = 0
    dropped: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    recipe: Recipe | None = None
    side_by_side: tuple[LinearPredictor, ...] = ()
    given: Given = NOTHING
    frequency: Floats | None = None
    shards: Shards | None = None
    # The arrays of new rows: rebuild.py's, which stands above this file; bound by the folder's front.
    rebuild: ClassVar[Callable[..., NewRows]]

    @property
    def response_name(self) -> str:
        """What the response is called; "the response" where there is none."""
        return "the response" if self.response is None else self.response.name

    def __repr__(self) -> str:
        missing = (
            f", {self.num_missing} left out for {self.why_left_out}" if self.num_missing else ""
        )
        lines = [f"Design of {self.formula}", f"  rows      {self.n:,}{missing}"]
        # A saved fit may have left them out.
        if isinstance(self.frequency, np.ndarray):
            lines.append(f"  stand for {self.num_observations:,} observations")
        if self.response is not None:
            lines.append(f"  response  {self.response.name} ({self.response.kind})")
        lines.append(f"  fixed     {listed(self.names, 8) or 'none'}")
        if self.dropped:
            lines.append(f"  dropped   {listed(self.dropped, 8)}")
        lines += [
            f"  smooth    {term.name}: {len(term.columns):,} columns"
            if term.role == "population"
            else f"  random    {term.name}: {len(term.levels):,} levels of {listed(term.columns, 4)}"
            + (f", {term.covariance}" if term.covariance != UNSTRUCTURED else "")
            for term in self.terms[:6]
        ]
        if len(self.terms) > 6:
            lines.append(f"  ... and {len(self.terms) - 6} more terms")
        return "\n".join(lines)

    @property
    def y(self) -> Floats | None:
        """(n,) or (n, m) float64, the response's values; None for a one-sided formula."""
        return None if self.response is None else self.response.values

    @property
    def n(self) -> int:
        """Number of rows used: the length of arrays."""
        return int(self.X.shape[0])

    @property
    def num_observations(self) -> int:
        """How many observations the rows stand for: the sum of their frequencies."""
        return self.n if self.frequency is None else int(self.frequency.sum())

    @property
    def frequencies(self) -> Floats:
        """(n,) how many observations each row stands for: ones where no frequency was given."""
        return np.ones(self.n) if self.frequency is None else self.frequency

    def mean(self, values: Floats) -> Floats:
        """Means (...) of values (n, ...) over the observations."""
        if self.frequency is None:
            return np.asarray(values.mean(axis=0))
        return np.asarray(self.frequency @ values / self.frequency.sum())

    @property
    def total_weights(self) -> Floats | None:
        """(n,) prior weights times frequencies; None where both are one."""
        if self.weights is None or self.frequency is None:
            return self.frequency if self.weights is None else self.weights
        return self.weights * self.frequency

    @property
    def sum_log_weights(self) -> float:
        """Sum of the log prior weights of the observations."""
        if self.weights is None:
            return 0.0
        logs = np.log(self.weights)
        return float(logs.sum() if self.frequency is None else logs @ self.frequency)

    @property
    def why_left_out(self) -> str:
        """What rows are left out for."""
        return "missing values" if self.frequency is None else "missing values or a frequency of 0"

    @property
    def num_predictors(self) -> int:
        """K, the number of linear predictors."""
        return len(self.offsets)

    @property
    def predictors(self) -> tuple[LinearPredictor, ...]:
        """The K linear predictors, in order: of one, the design itself."""
        return self.side_by_side or (LinearPredictor(FIRST, "{}", self),)

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """What the linear predictors are called in the formulas: by aliases, where these were used."""
        return tuple(each.name for each in self.predictors)

    @property
    def column_predictors(self) -> tuple[int, ...]:
        """(p) which linear predictor each fixed column adds to."""
        return tuple(k for k, each in enumerate(self.predictors) for _ in each.design.names)

    @property
    def offset(self) -> Floats:
        """(n,) the offset of the first linear predictor."""
        return self.offsets[0]

    def as_rows(self) -> NewRows:
        """The rows of the data as new ones are."""
        return NewRows(
            self.X,
            self.names,
            self.terms,
            self.offsets,
            self.column_predictors,
            rows=self.rows,
            num_rows=self.n + self.num_missing,
            response=self.response,
            weights=self.weights,
        )

    @property
    def first(self) -> Design:
        """The design of the first linear predictor, with what rows of the whole have: response and weights."""
        return replace(
            self.predictors[0].design,
            response=self.response,
            weights=self.weights,
            frequency=self.frequency,
        )


@dataclass(frozen=True, slots=True, eq=False)
class LinearPredictor:
    """One of the K >= 1 linear predictors of a design, eta = X beta + Z b + offset.

    Attributes:
      name: such as "sigma"; "mu" for the first.
      pattern: how its columns are called in the whole, with {} for the column: "{}", "sigma_{}", "{}[b]".
      design: its own arrays; the response is in the first one's.
    """

    name: str
    pattern: str
    design: Design

    def named(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Columns as the whole calls them."""
        return tuple(self.pattern.replace("{}", column) for column in columns)

    def bare(self, name: str) -> str:
        """A column as its own formula calls it, from what the whole calls it."""
        before, after = self.pattern.split("{}")
        return name.removeprefix(before).removesuffix(after)


def recipe_of(design: Design) -> Recipe:
    """How a design was made.

    Raises:
      FormulaDataError: if it was put together by hand.
    """
    if design.recipe is None:
        raise FormulaDataError(
            "this design was put together by hand, and does not know how its columns were made",
            hint="Make it with lf.design(formula, data).",
        )
    return design.recipe


def row_labels(design: Design) -> pd.Index:
    """The labels of the rows that a design uses: those of its data frame, or else their places.

    Args:
      design: of a fit.
    """
    import pandas as pd

    if design.given.labels is None:
        return pd.Index(design.rows)
    return design.given.labels[design.rows]


@dataclass(frozen=True, slots=True, eq=False)
class NewRows:
    """A design's arrays for rows that were not in the data of the fit; made by `Design.rebuild`.

    Attributes:
      X: (n, p) float64, the columns of the design's X.
      names: (p) their names.
      terms: the random-effects terms with the design's levels; index is -1, -2, ... for the first, second, ...
        level that is not among them, in the order of `unseen`.
      offsets: of each linear predictor (n,) float64.
      column_predictors: (p) which linear predictor each fixed column adds to.
      unseen: the levels that are not among the design's, by the group's display name.
      rows: (n,) positions in the new data of its complete rows.
      num_rows: how many rows the new data has, incomplete ones included.
      response: the response, if it was asked for.
      weights: (n,) prior weights, if the response was asked for and there are any.
    """

    X: Floats
    names: tuple[str, ...]
    terms: tuple[TermBlock, ...]
    offsets: tuple[Floats, ...]
    column_predictors: tuple[int, ...]
    unseen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    num_rows: int = 0
    response: ResponseBlock | None = None
    weights: Floats | None = None

    def in_place_of(self, design: Design) -> Design:
        """A design with these rows, each one observation, and with the response as it was."""
        names = ("X", "terms", "offsets", "weights", "rows")
        return replace(design, frequency=None, **{name: getattr(self, name) for name in names})

    @property
    def num_predictors(self) -> int:
        """K, the number of linear predictors."""
        return len(self.offsets)

    @property
    def offset(self) -> Floats:
        """(n,) the offset of the first linear predictor."""
        return self.offsets[0]
