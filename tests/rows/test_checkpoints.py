"""Fits over rows in parts that are killed and go on: the bits of one that was not, by whatever workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lmeformula as lf
from tests.checkpoint.resumable_fits import Killed, bits, killed_at
from tests.rows.cluster import cluster_of
from tests.rows.several import several
from tests.rows.test_shards_laplace import table

# Formula, family, and the entries of the journal after which they are killed.
CASES: dict[str, tuple[Any, str, tuple[int, ...]]] = {
    "gaussian": ("far ~ x + (1 + x | g) + (1 | h)", "gaussian", (1, 9)),
    "laplace": ("yes ~ x + (1 | g) + (1 | h)", "bernoulli", (1, 9, 14)),
    "own parameter": ("varied ~ x + (1 | g) + (1 | h)", "nbinom2", (12,)),
}


def fitted(name: str, count: int, **how: Any) -> lf.Fit:
    formula, family, _ = CASES[name]
    model = lf.compile(several(lf.design(formula, table(300)), count), family)
    return lf.estimate(model, method="laplace" if family != "gaussian" else "exact", **how)


@pytest.mark.parametrize("name", CASES)
def test_parts_go_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """At the first entry, in the middle and near the end: what parts held is asked for again."""
    with killed_at(-1) as entered:
        expected = bits(fitted(name, 3, checkpoint=tmp_path / "whole"))
    for place in CASES[name][2]:
        assert place <= len(entered)
        with killed_at(place), pytest.raises(Killed):
            fitted(name, 3, checkpoint=tmp_path / "folder")
        fit = fitted(name, 3, checkpoint=tmp_path / "folder")
        assert bits(fit) == expected
        assert fit.resumed is not None


def test_another_number_of_parts_is_refused_where_the_design_is_there(tmp_path: Path) -> None:
    with killed_at(2), pytest.raises(Killed):
        fitted("gaussian", 3, checkpoint=tmp_path / "folder")
    with pytest.raises(lf.CheckpointError, match="the number of parts of the rows was 3, and is 2"):
        fitted("gaussian", 2, checkpoint=tmp_path / "folder")


def over(workers: int, folder: Path | None, data: pd.DataFrame) -> lf.Fit:
    formula, family, _ = CASES["laplace"]
    with cluster_of(workers) as client:
        return lf.fit(formula, data, family, method="laplace", cluster=client, checkpoint=folder)


def test_another_number_of_workers_has_as_many_parts_as_there_were(tmp_path: Path) -> None:
    data, folder = table(300), tmp_path / "folder"
    with killed_at(9), pytest.raises(Killed):
        over(2, folder, data)
    fit = over(1, folder, data)
    assert fit.resumed is not None
    assert bits(fit) == bits(fitted("laplace", 2))
