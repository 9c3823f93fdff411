"""Downloads against a server that fails in every way a server can."""

from __future__ import annotations

import gzip
import hashlib
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from lmeformula.datasets.download import Limits, download, store
from lmeformula.errors import DatasetError

from .server import Reply, seconds, serving

BODY = b"rownames,x,g\n" + b"".join(b"%d,%d,a\n" % (k, k * k) for k in range(1, 200))
QUICK = Limits(timeout=10.0, connect=2.0, read=2.0, attempts=3, backoff=0.01, max_bytes=10_000)
BROKEN = Reply(b"oops", status=500)


def problem_of(
    *replies: Reply, limits: Limits = QUICK, sha256: str | None = None
) -> tuple[str, int]:
    """The error's text, and how often the server was asked."""
    with serving(*replies) as server:
        with pytest.raises(DatasetError) as caught:
            download(f"{server.url}/x.csv", limits=limits, sha256=sha256)
        return str(caught.value), len(server.requests)


def test_a_whole_body_arrives() -> None:
    with serving(Reply(BODY, media_type="Text/CSV; charset=utf-8")) as server:
        body = download(f"{server.url}/x.csv", limits=QUICK)
    assert body.content == BODY
    assert body.media_type == "text/csv"


def test_a_chunked_body_arrives() -> None:
    with serving(Reply(BODY, chunked=True)) as server:
        assert download(f"{server.url}/x.csv", limits=QUICK).content == BODY


def test_a_compressed_body_arrives_even_unasked() -> None:
    reply = Reply(gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
    with serving(reply) as server:
        assert download(f"{server.url}/x.csv", limits=QUICK).content == BODY


def test_redirects_are_followed() -> None:
    away = Reply(status=302, headers={"Location": "/elsewhere.csv"})
    with serving(away, Reply(BODY)) as server:
        assert download(f"{server.url}/x.csv", limits=QUICK).content == BODY
        assert server.requests == ["/x.csv", "/elsewhere.csv"]


@pytest.mark.parametrize(
    "fault",
    [
        BROKEN,
        Reply(status=503),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(BODY, cut_to=100),
        Reply(BODY, cut_to=0),
        Reply(BODY, cut_to=100, chunked=True),
        Reply(b"not gzip", headers={"Content-Encoding": "gzip"}),
        Reply(gzip.compress(BODY), cut_to=60, headers={"Content-Encoding": "gzip"}),
    ],
    ids=["500", "503", "429", "cut", "cut-at-once", "cut-chunk", "not-gzip", "cut-gzip"],
)
def test_a_fault_that_passes_is_tried_again(fault: Reply) -> None:
    with serving(fault, Reply(BODY)) as server:
        assert download(f"{server.url}/x.csv", limits=QUICK).content == BODY
        assert len(server.requests) == 2


def test_a_server_that_stays_broken_is_given_up() -> None:
    text, asked = problem_of(BROKEN)
    assert "(3 tries): the server answered 500 Internal Server Error" in text
    assert asked == 3


def test_a_body_that_is_always_cut_off_is_given_up() -> None:
    text, asked = problem_of(Reply(BODY, cut_to=100))
    assert "IncompleteRead" in text
    assert asked == 3


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(status: int) -> None:
    text, asked = problem_of(Reply(b"no", status=status), Reply(BODY))
    assert f"the server answered {status}" in text
    assert asked == 1


def test_a_wait_asked_for_is_kept() -> None:
    start = time.monotonic()
    with serving(Reply(status=429, headers={"Retry-After": "1"}), Reply(BODY)) as server:
        download(f"{server.url}/x.csv", limits=QUICK)
    assert seconds(start) >= 1.0


def test_a_wait_beyond_the_time_limit_is_not_begun() -> None:
    start = time.monotonic()
    text, asked = problem_of(Reply(status=429, headers={"Retry-After": "3600"}))
    assert "(1 try): the server answered 429" in text
    assert asked == 1
    assert seconds(start) < QUICK.timeout


def test_waits_between_tries_grow() -> None:
    limits = QUICK._replace(attempts=3, backoff=0.2)
    start = time.monotonic()
    problem_of(BROKEN, limits=limits)
    assert seconds(start) >= 0.2 + 0.4


def test_a_silent_server_is_given_up() -> None:
    limits = QUICK._replace(read=0.2, attempts=2)
    start = time.monotonic()
    text, asked = problem_of(Reply(BODY, silence=30.0), limits=limits)
    assert "(2 tries): the server did not answer in time" in text
    assert asked == 2
    assert seconds(start) < 5.0


def test_a_drip_is_given_up_although_every_byte_comes_in_time() -> None:
    limits = QUICK._replace(timeout=0.6, read=0.5)
    start = time.monotonic()
    text, _ = problem_of(Reply(BODY, drip=0.05), limits=limits)
    assert "not finished after 0.6 seconds" in text
    assert seconds(start) < 5.0


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "undeclared"])
def test_a_body_beyond_the_limit_is_refused(chunked: bool) -> None:
    text, asked = problem_of(Reply(b"x" * 10_001, chunked=chunked))
    assert "larger than the limit of 10000 bytes" in text
    assert "max_bytes" in text
    assert asked == 1


def test_a_size_declared_beyond_the_limit_is_refused_before_it_is_read() -> None:
    text, _ = problem_of(Reply(b"", headers={"Content-Length": "10001"}))
    assert "larger than the limit of 10000 bytes" in text


def test_a_bomb_is_refused_by_its_unpacked_size() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    assert len(bomb) < QUICK.max_bytes
    text, _ = problem_of(Reply(bomb, headers={"Content-Encoding": "gzip"}))
    assert "larger than the limit" in text


def test_checksums_are_held() -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    with serving(Reply(BODY)) as server:
        url = f"{server.url}/x.csv"
        assert download(url, sha256=digest.upper(), limits=QUICK).content == BODY
    text, asked = problem_of(Reply(BODY), sha256="0" * 64)
    assert f"wrong checksum: sha256 {digest}, expected {'0' * 64}" in text
    assert asked == 1


def test_no_server_at_all() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DatasetError) as caught:
        download(f"http://127.0.0.1:{port}/x.csv", limits=QUICK)
    assert "(3 tries): the connection failed (ConnectionRefusedError" in str(caught.value)


def test_a_malformed_address() -> None:
    with pytest.raises(DatasetError, match="cannot make the request"):
        download("http://", limits=QUICK)


def test_no_attempts_are_an_error_not_an_empty_body() -> None:
    with pytest.raises(DatasetError, match="allow at least one"):
        download("http://127.0.0.1:9/x.csv", limits=QUICK._replace(attempts=0))


def _store_often(path: Path, letter: bytes) -> None:
    for _ in range(50):
        store(letter * 100_000, path)


def test_readers_see_a_whole_file_while_two_processes_write(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.csv"
    store(b"a" * 100_000, path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        writers = [pool.submit(_store_often, path, letter) for letter in (b"a", b"b")]
        while not all(writer.done() for writer in writers):
            content = path.read_bytes()
            assert content in (b"a" * 100_000, b"b" * 100_000)
        for writer in writers:
            writer.result()
    assert [entry.name for entry in path.parent.iterdir()] == ["file.csv"]


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(DatasetError, match=r"cannot write .*: No space left on device"):
        store(b"x", tmp_path / "file.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("a file")
    with pytest.raises(DatasetError, match="cache_dir="):
        store(b"x", tmp_path / "in_the_way" / "file.csv")
