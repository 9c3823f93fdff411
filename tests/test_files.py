"""Files that are whole or not there: many writers, killed writers, full disks, and what stands beside."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmeformula import files
from lmeformula.files import whole_file, write_whole


@pytest.fixture(params=["nameless", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: with a file that has no name yet, and as on systems that have none such."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


def test_a_file_is_replaced_whole(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert write_whole(path, "first") == path
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_goes_wrong_on_the_way_leaves_the_old_file(way: str, tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def fail() -> None:
        with whole_file(path) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_that_was_meant(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = write_whole(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_whole(path, "new")
    assert raised.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "error"),
    [("nowhere/a.txt", FileNotFoundError), ("folder", IsADirectoryError), ("x" * 300, OSError)],
)
def test_errors_are_those_of_the_path(way: str, name: str, error: type, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as raised:
        write_whole(tmp_path / name, "text")
    assert raised.value.filename == str(tmp_path / name)


def test_a_long_name_is_no_longer_beside(way: str, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    write_whole(path, "text")
    assert path.read_text() == "text"


def test_threads_write_one_path_at_once(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [f"{i}" * 10_000 for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write_whole, path, texts[i % 8]) for i in range(80)]:
            done.result()
    assert path.read_text() in texts
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_is_followed_and_a_device_written_as_it_is(tmp_path: Path) -> None:
    target = write_whole(tmp_path / "target", "old")
    link = tmp_path / "link"
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    write_whole(Path(os.devnull), "gone")


WRITER = """
import sys, time
from pathlib import Path
from lmeformula import files
if sys.argv[2] == "named":
    import os
    if hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
with files.whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_what_a_killed_process_left_is_removed_by_the_next(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), kind], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    # One that lives is left alone.
    write_whole(path, "whole")
    beside = [one for one in tmp_path.iterdir() if one != path]
    assert len(beside) == (0 if kind == "nameless" and hasattr(os, "O_TMPFILE") else 1)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    time.sleep(0.01)
    write_whole(path, "again")
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_keeps_its_target_s_name_short() -> None:
    assert len(files._name_beside(Path("x" * 200)).name) < 80


@pytest.mark.parametrize(
    ("written", "leads"),
    [
        ("~/a", "HOME/a"),
        ("~", "HOME"),
        ("a/~", "a/~"),
        ("a~", "a~"),
        ("~nobody-here/a", "~nobody-here/a"),
    ],
)
def test_a_path_may_begin_at_home(
    written: str, leads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.located(written) == Path(leads.replace("HOME", str(tmp_path)))
