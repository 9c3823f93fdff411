"""The lines of README.md for rows in files and with a cluster do what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

import lmeformula as lf
from tests.rows.cluster import cluster_of

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def client() -> Iterator[Client]:
    # Not in this process, where two clients are one too many for actors.
    with cluster_of(2, processes=True) as found:
        yield found


def lines(word: str) -> str:
    """The block of code that has a word."""
    blocks = re.findall("```py\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if word in block)


def ratings(folder: Path) -> Path:
    """Some of them, in two files."""
    folder.mkdir()
    data = lf.datasets.load("insteval")
    data = data[data["instructors"].isin(data["instructors"].value_counts().index[:6])]
    data = data[data["students"].isin(data["students"].value_counts().index[:30])]
    data[:60].to_parquet(folder / "first.parquet")
    data[60:].to_parquet(folder / "second.parquet")
    return folder


def test_rows_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ratings(tmp_path / "ratings")
    ratings(tmp_path / "new")
    found: dict[str, object] = {"lf": lf}
    exec(lines("predictions.parquet"), found)
    assert isinstance(found["fit"], lf.Fit)
    assert lf.load("ratings.fit").loglik == found["fit"].loglik
    assert (tmp_path / "predictions.parquet").exists()


def test_rows_with_a_cluster(tmp_path: Path, client: Client) -> None:
    place = ratings(tmp_path / "ratings")
    said = lines("dask.distributed").replace("s3://bucket/ratings/", f"{place}/")
    said = said.replace("tcp://scheduler:8786", client.scheduler.address)
    found: dict[str, object] = {"lf": lf}
    exec(said, found)
    fit = found["fit"]
    assert isinstance(fit, lf.Fit)
    assert "with 2 workers" in str(fit.diagnostics)
    found["client"].close()  # type: ignore[attr-defined]
