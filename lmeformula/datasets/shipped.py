"""Shipped CSV files -> data frames with the right categoricals, offline."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from lmeformula.datasets.catalogue import Dataset, data_home, describe

if TYPE_CHECKING:
    from pandas import DataFrame


def load(name: str) -> DataFrame:
    """Read a shipped data set; needs no network.

    The lecture ratings are there twice: "insteval" has the column names of the TensorFlow
    Probability tutorial (students, instructors, departments, ratings), "InstEval" has lme4's own
    (s, d, dept, y). For any other name, and any other spelling of this one, case does not matter.

    Args:
      name: one of `names()`.
    Returns:
      A fresh data frame. Factors are categoricals of text with the levels in R's order, ordered
      factors are ordered categoricals, everything else is a number.
    Raises:
      DatasetError: there is no such data set in the package.
    Example:
      >>> load("sleepstudy").shape
      (180, 3)
      >>> list(load("insteval").columns)
      ['students', 'instructors', 'studage', 'lectage', 'service', 'departments', 'ratings']
    """
    dataset = describe(name)
    cells = read_cells(dataset)
    cells.columns = [column.name for column in dataset.columns]
    return typed(cells, dataset)


def read_cells(dataset: Dataset) -> DataFrame:
    """Read the file of a shipped data set as it is: every cell text, the file's own column names."""
    import pandas as pd

    with (data_home() / f"{dataset.item}.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip", dtype=str, keep_default_na=False)


def typed(cells: DataFrame, dataset: Dataset) -> DataFrame:
    """Turn text cells into the numbers and categoricals that `dataset` says they are."""
    import pandas as pd

    frame = {}
    for column in dataset.columns:
        values = cells[column.name]
        if column.kind == "numeric":
            frame[column.name] = pd.to_numeric(values)
        else:
            levels = column.levels or sorted(values.unique(), key=_natural)
            dtype = pd.CategoricalDtype(list(levels), ordered=column.kind == "ordered")
            frame[column.name] = values.astype(dtype)
    return pd.DataFrame(frame)


def content_digest(cells: DataFrame) -> str:
    """Return a checksum of a table's names and values that no way of writing a CSV file changes.

    Args:
      cells: a frame of text, each cell as it stands in the file.
    Returns:
      Hexadecimal SHA-256 over names and values; numbers count with 12 significant digits.
    """
    digest = hashlib.sha256()
    for name in cells.columns:
        canonical = {text: _canonical(text) for text in cells[name].unique()}
        digest.update(f"{name}\n".encode())
        digest.update("\n".join(cells[name].map(canonical)).encode() + b"\n\n")
    return digest.hexdigest()


def _canonical(text: str) -> str:
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts R-2 before R-10 and does not mind case, as R's collation does not."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p.casefold()) for p in pieces]
