"""Fits over rows in parts that are killed and go on: the bits of one that was not, by whatever workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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


def over(workers: int, folder: Path, data: pd.DataFrame, name: str = "laplace") -> lf.Fit:
    formula, family, _ = CASES[name]
    method = "laplace" if family != "gaussian" else "exact"
    with cluster_of(workers) as client:
        return lf.fit(formula, data, family, method=method, cluster=client, checkpoint=folder)


def test_another_number_of_workers_has_as_many_parts_as_there_were(tmp_path: Path) -> None:
    data, folder = table(300), tmp_path / "folder"
    with killed_at(9), pytest.raises(Killed):
        over(2, folder, data)
    fit = over(1, folder, data)
    assert fit.resumed is not None
    assert bits(fit) == bits(fitted("laplace", 2))


SCRIPT = """
import sys
from pathlib import Path
from tests.checkpoint.resumable_fits import written_at_once
from tests.rows.test_checkpoints import over
from tests.rows.test_shards_laplace import table
with written_at_once():
    over(2, Path(sys.argv[1]), table(300), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "moments"), [("laplace", (1, 5, 9)), ("gaussian", (1, 4))])
def test_killed_in_earnest_with_workers(
    name: str, moments: tuple[int, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    for wanted in moments:
        with subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), name]) as process:
            while process.poll() is None and len([*folder.glob("*.npz")]) < wanted:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    fit = over(2, folder, table(300), name)
    assert fit.resumed is not None
    assert bits(fit) == bits(fitted(name, 2))
