"""fetch: what it takes for a data set, what it keeps, and what it says when it cannot have it."""

from __future__ import annotations

import hashlib
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from lmeformula.datasets import describe, fetch, load
from lmeformula.datasets.rdatasets import RDATASETS
from lmeformula.datasets.shipped import read_cells
from lmeformula.errors import DatasetError

from .server import Reply, serving

TABLE = b'"rownames","x","g","when"\n"1",1.5,"a","NA"\n"2",NA,"b","2020-01-01"\n'
PAGE = b"<!DOCTYPE html><html><body>Not here</body></html>"


def sleepstudy() -> bytes:
    """The file of the collection, as R would write it."""
    cells = read_cells(describe("sleepstudy"))
    cells.insert(0, "rownames", [str(k) for k in range(1, len(cells) + 1)])
    return cells.to_csv(index=False).encode()


def error_of(*replies: Reply, cache_dir: Path, name: str = "lme4/mine", **options: object) -> str:
    package, item = name.split("/")
    with serving(*replies) as server, pytest.raises(DatasetError) as caught:
        fetch(package, item, cache_dir=cache_dir, base_url=server.url, attempts=1, **options)
    return str(caught.value)


def test_the_collection_is_asked_by_package_and_item(tmp_path: Path) -> None:
    with serving(Reply(TABLE)) as server:
        fetch("lme4", "gopherdat2", cache_dir=tmp_path, base_url=server.url)
        fetch("lme4", "gopher.dat-2", cache_dir=tmp_path, base_url=f"{server.url}/")
        assert server.requests == ["/csv/lme4/gopherdat2.csv", "/csv/lme4/gopher.dat-2.csv"]
    assert RDATASETS.startswith("https://")


def test_numbers_text_and_missing_values(tmp_path: Path) -> None:
    with serving(Reply(TABLE)) as server:
        frame = fetch("p", "d", cache_dir=tmp_path, base_url=server.url)
    assert list(frame.columns) == ["x", "g", "when"]
    assert frame["x"].iloc[0] == 1.5
    assert frame["x"].isna().tolist() == [False, True]
    assert frame["g"].tolist() == ["a", "b"]
    assert frame["when"].isna().tolist() == [True, False]


def test_a_shipped_set_gets_the_same_types(tmp_path: Path) -> None:
    with serving(Reply(sleepstudy())) as server:
        frame = fetch("lme4", "sleepstudy", cache_dir=tmp_path, base_url=server.url)
    pd.testing.assert_frame_equal(frame, load("sleepstudy"))


def test_a_second_call_needs_no_network(tmp_path: Path) -> None:
    with serving(Reply(sleepstudy())) as server:
        first = fetch("lme4", "sleepstudy", cache_dir=tmp_path, base_url=server.url)
        first["Days"] = 0
        again = fetch("lme4", "sleepstudy", cache_dir=tmp_path, base_url=server.url)
        assert len(server.requests) == 1
    offline = fetch("lme4", "sleepstudy", cache_dir=tmp_path, base_url=server.url)
    pd.testing.assert_frame_equal(again, load("sleepstudy"))
    pd.testing.assert_frame_equal(offline, again)


def test_a_damaged_file_in_the_cache_is_fetched_anew(tmp_path: Path) -> None:
    with serving(Reply(TABLE)) as server:
        frame = fetch("p", "d", cache_dir=tmp_path, base_url=server.url)
        (file,) = tmp_path.rglob("*.csv")
        assert file.stem == hashlib.sha256(TABLE).hexdigest()
        file.write_bytes(TABLE[:-5])
        again = fetch("p", "d", cache_dir=tmp_path, base_url=server.url)
        assert len(server.requests) == 2
    pd.testing.assert_frame_equal(again, frame)
    assert file.read_bytes() == TABLE


def test_another_checksum_than_the_cached_one_is_fetched(tmp_path: Path) -> None:
    newer = TABLE + b'"3",2.5,"a","NA"\n'
    digest = hashlib.sha256(newer).hexdigest()
    with serving(Reply(TABLE), Reply(newer)) as server:
        fetch("p", "d", cache_dir=tmp_path, base_url=server.url)
        frame = fetch("p", "d", cache_dir=tmp_path, base_url=server.url, sha256=digest)
        assert len(frame) == 3
        assert len(server.requests) == 2
        old = hashlib.sha256(TABLE).hexdigest()
        assert len(fetch("p", "d", cache_dir=tmp_path, base_url=server.url, sha256=old)) == 2
        assert len(server.requests) == 2


def test_the_user_cache_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    with serving(Reply(TABLE)) as server:
        fetch("p", "d", base_url=server.url)
    (file,) = tmp_path.rglob("*.csv")
    assert file.parent == tmp_path / "lmeformula" / "rdatasets" / "p" / "d"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            Reply(PAGE, media_type="text/html; charset=utf-8"),
            "not a CSV file: the server sent text/html",
        ),
        (Reply(PAGE), "not a CSV file of the collection: starts '<!DOCTYPE html>"),
        (
            Reply(b'{"message": "no"}', media_type="application/json"),
            "the server sent application/json",
        ),
        (Reply(b"PK\x03\x04\xff\xfe\x00"), "not a CSV file: 'utf-8' codec"),
        (Reply(b""), "not a CSV file of the collection: starts ''"),
        (Reply(b"a,b\n1,2\n"), "not a CSV file of the collection: starts 'a,b"),
        (Reply(b"rownames,a\n1,2\n1,2,3\n"), "not a CSV file: Error tokenizing"),
        (Reply(b"rownames,a\n1,\x00\n"), "not a CSV file of the collection"),
        (Reply(b"no", status=404), "the server answered 404"),
        (Reply(b"no", status=500), "(1 try): the server answered 500"),
        (Reply(TABLE, cut_to=30), "IncompleteRead"),
    ],
    ids=[
        "html",
        "html-as-csv",
        "json",
        "zip",
        "empty",
        "table",
        "ragged",
        "nul",
        "404",
        "500",
        "cut",
    ],
)
def test_what_is_not_a_data_set_is_not_kept(reply: Reply, says: str, tmp_path: Path) -> None:
    text = error_of(reply, cache_dir=tmp_path)
    assert says in text
    assert "Shipped with the package, to read without a network: Arabidopsis, cake," in text
    assert list(tmp_path.rglob("*")) == []


def test_altered_values_of_a_shipped_set_are_refused(tmp_path: Path) -> None:
    altered = Reply(sleepstudy().replace(b"249.56", b"249.65"))
    text = error_of(altered, cache_dir=tmp_path, name="lme4/sleepstudy")
    assert "wrong checksum: its values are not those shipped" in text
    assert 'sha256="any"' in text
    assert list(tmp_path.rglob("*")) == []
    with serving(altered) as server:
        frame = fetch("lme4", "sleepstudy", cache_dir=tmp_path, base_url=server.url, sha256="any")
    assert frame["Reaction"].iloc[0] == 249.65


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    text = error_of(Reply(TABLE), cache_dir=tmp_path, sha256="0" * 64)
    assert "wrong checksum: sha256" in text
    assert list(tmp_path.rglob("*")) == []


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    assert "larger than the limit" in error_of(Reply(TABLE), cache_dir=tmp_path, max_bytes=20)


def test_a_slow_server_is_given_up(tmp_path: Path) -> None:
    start = time.monotonic()
    text = error_of(Reply(TABLE, drip=0.05), cache_dir=tmp_path, timeout=0.5)
    assert "not finished after 0.5 seconds" in text
    assert time.monotonic() - start < 5.0


def test_offline_names_the_command_that_needs_no_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DatasetError) as caught:
        fetch("lme4", "InstEval", cache_dir=tmp_path, base_url=url, attempts=1)
    assert f"could not download {url}/csv/lme4/InstEval.csv (1 try)" in str(caught.value)
    assert 'shipped with the package: lmeformula.datasets.load("InstEval")' in str(caught.value)


@pytest.mark.parametrize(
    ("package", "item"),
    [("lme4", "../../etc/passwd"), ("..", "x"), ("", "x"), ("lme4", "a b"), ("lme4", "a?b=c")],
)
def test_names_that_would_leave_the_collection_are_refused(package: str, item: str) -> None:
    with pytest.raises(DatasetError, match="cannot be the name"):
        fetch(package, item)


def test_only_http_addresses_are_asked() -> None:
    with pytest.raises(DatasetError, match="must start with http"):
        fetch("lme4", "InstEval", base_url="file:///tmp")


def _fetch_rows(url: str, folder: Path) -> int:
    return len(fetch("lme4", "sleepstudy", cache_dir=folder, base_url=url))


def test_two_processes_may_fetch_at_once(tmp_path: Path) -> None:
    with (
        serving(Reply(sleepstudy())) as server,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        rows = [pool.submit(_fetch_rows, server.url, tmp_path) for _ in range(4)]
        assert [r.result() for r in rows] == [180] * 4
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.suffix == ".csv"
