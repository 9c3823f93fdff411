"""Model matrices written out from the rows: columns by their names, groups by their labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from truth.covariances import Shape, shape
from truth.spec import Random, Spec


class Effects(NamedTuple):
    """One random-effects term.

    Attributes:
      values: (n, k) its columns.
      index: (n,) level of each row.
      levels: how many there are.
      shape: its structure.
    """

    values: np.ndarray
    index: np.ndarray
    levels: int
    shape: Shape

    @property
    def dense(self) -> np.ndarray:
        """(n, levels k) with the coefficients of a level side by side."""
        n, k = self.values.shape
        found = np.zeros((n, self.levels, k))
        found[np.arange(n), self.index] = self.values
        return found.reshape(n, -1)


class Matrices(NamedTuple):
    """y (n,), X (n, p), the terms, weights (n,) and offset (n,) of the complete rows."""

    y: np.ndarray
    X: np.ndarray
    effects: tuple[Effects, ...]
    weights: np.ndarray
    offset: np.ndarray

    @property
    def n(self) -> int:
        return len(self.X)


def complete(data: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """The rows without gaps in the columns that the model uses."""
    wanted = (*responses(spec), *spec.variables)
    return data.dropna(subset=[name for name in wanted if name in data])


def responses(spec: Spec) -> tuple[str, ...]:
    """The columns of the response."""
    return ("y", "t") if "trials" in spec.response else ("y",)


def column(data: pd.DataFrame, name: str) -> np.ndarray:
    """(n,) a model matrix's column by its name: "Intercept", "x", "a[T.u]", "a[u]:x".

    Raises:
      ValueError: for a name that says something else.
    """
    found = np.ones(len(data))
    for factor in name.split(":"):
        level = re.fullmatch(r"(\w+)\[(?:T\.)?(.*)\]", factor)
        if level is not None:
            found = found * (data[level[1]].astype(str) == level[2]).to_numpy(float)
        elif factor in data:
            found = found * data[factor].to_numpy(float)
        elif factor != "Intercept":
            raise ValueError(f"no column is called {factor}")
    return found


def matrices(
    data: pd.DataFrame,
    spec: Spec,
    names: Sequence[str],
    random_names: Sequence[Sequence[str]],
) -> Matrices:
    """The matrices of a model.

    Args:
      data: its rows.
      spec: the model.
      names: of the fixed effects.
      random_names: of the coefficients of each term.
    """
    rows = complete(data, spec)
    ones = np.ones(len(rows))
    effects = tuple(
        _effects(rows, term, columns)
        for term, columns in zip(spec.terms, random_names, strict=True)
    )
    columns = [column(rows, name) for name in names]
    return Matrices(
        y=rows["y"].to_numpy(float) if is_number(rows["y"]) else ones,
        X=np.column_stack(columns) if columns else np.zeros((len(rows), 0)),
        effects=effects,
        weights=rows["w"].to_numpy(float) if spec.weights else ones,
        offset=rows["o"].to_numpy(float) if spec.offset else 0.0 * ones,
    )


def is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def _effects(rows: pd.DataFrame, term: Random, names: Sequence[str]) -> Effects:
    label = rows[term.group.split(":")].astype(str).agg("\x00".join, axis=1)
    index, levels = pd.factorize(label)
    values = np.column_stack([column(rows, name) for name in names])
    return Effects(values, index, len(levels), shape(term, len(names)))


def spanning(data: pd.DataFrame, spec: Spec) -> np.ndarray:
    """(n, m) columns that span the fixed part, as many as there are cells: no coding can say otherwise."""
    rows = complete(data, spec)
    found = [np.ones(len(rows))] if spec.intercept else []
    for term in spec.fixed:
        products = [np.ones(len(rows))]
        for name in term.split(":"):
            values = rows[name]
            if is_number(values):
                products = [product * values.to_numpy(float) for product in products]
            else:
                text = values.astype(str)
                cells = [(text == level).to_numpy(float) for level in sorted(set(text))]
                products = [product * cell for product in products for cell in cells]
        found += products
    return np.column_stack(found) if found else np.zeros((len(rows), 0))


def singular_values(columns: np.ndarray) -> np.ndarray:
    """Of columns scaled to length one, those of zeros left out."""
    length = np.linalg.norm(columns, axis=0)
    kept = columns[:, length > 0] / length[length > 0]
    return np.linalg.svd(kept, compute_uv=False) if kept.size else np.zeros(0)
