"""The Design record: a formula met a data frame, and these are its arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeformula.formula.ir import Formula

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class TermBlock:
    """One random-effects term as arrays.

    Attributes:
      name: unique within the design: the group's label, then "g.1", "g.2" for further terms on the same group.
      columns: (k) names of the coefficients, as formulaic names columns.
      values: (n, k) float64, the term's own model matrix (a column of ones for an intercept).
      group: display name of the grouping factor, such as "students" or "cask:batch".
      factors: the grouping variables, such as ("cask", "batch").
      levels: (l) display names of the observed levels, such as "A:b".
      index: (n,) int32, each row's level.
      covariance: "us", "diag", "cs" or "ar1".
      homogeneous: one variance for all coefficients of a diag/cs/ar1 term.
      block: label shared by terms whose covariance is joint, or "".
    """

    name: str
    columns: tuple[str, ...]
    values: Floats
    group: str
    factors: tuple[str, ...]
    levels: tuple[str, ...]
    index: Codes
    covariance: str = "us"
    homogeneous: bool = False
    block: str = ""


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


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Everything about the data that a model needs; made by `lf.design`.

    Attributes:
      formula: the formula, with "." expanded.
      response: the response, or None for a one-sided formula.
      X: (n, p) float64 fixed-effects model matrix of full column rank.
      names: (p) its columns' names.
      terms: the random-effects terms, in formula order.
      offset: (n,) float64, sum of the offsets (zeros without).
      weights: (n,) float64 prior weights, or None.
      rows: (n,) positions in the data frame of the rows that are used (complete cases).
      num_missing: rows left out because a used column is missing there.
      dropped: names of fixed columns left out because others determine them.
    """

    formula: Formula
    response: ResponseBlock | None
    X: Floats
    names: tuple[str, ...]
    terms: tuple[TermBlock, ...]
    offset: Floats
    weights: Floats | None
    rows: NDArray[np.int64]
    num_missing: int = 0
    dropped: tuple[str, ...] = ()

    @property
    def y(self) -> Floats | None:
        """(n,) or (n, m) float64, the response's values; None for a one-sided formula."""
        return None if self.response is None else self.response.values

    @property
    def n(self) -> int:
        """Number of rows used."""
        return self.X.shape[0]
