"""A folder is one fit's and one process's, can be written to, and is gone when the fit is done."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from lmeformula.checkpoint import journal
from lmeformula.checkpoint.folder import Folder, opened
from lmeformula.errors import CheckpointError, LmeFormulaWarning

FIT = {"seed": "1", "the data": "0" * 32}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY", 0.0)


def left(folder: Path) -> None:
    """Leave a checkpoint of one entry."""
    with opened(folder) as found:
        assert found is not None
        with found.journal_of(FIT) as kept:
            kept.keep("a", 0, 1)


def test_nothing_is_opened_for_none() -> None:
    with opened(None) as found:
        assert found is None


def test_one_that_is_left_is_gone_on_with(tmp_path: Path) -> None:
    left(tmp_path / "new" / "folder")
    with opened(str(tmp_path / "new" / "folder")) as found:
        assert found is not None
        with found.journal_of(FIT) as kept:
            assert kept.recall("a", 0) == 1
            kept.is_finished = True
    assert not (tmp_path / "new" / "folder").exists()


def test_one_that_is_empty_is_removed(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as found, found.journal_of(FIT):
        pass
    assert not (tmp_path / "a").exists()


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    left(tmp_path)
    with opened(tmp_path) as found, found.journal_of(FIT) as kept:
        kept.is_finished = True
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": "2"}, "of another fit: seed was 1, and is 2\nRemove the folder, or name another"),
        ({"the data": "1" * 32}, "of another fit: the data is another"),
        ({"new": "x"}, "of another fit: new is another"),
        ({"seed": "2", "the data": "1" * 32}, "seed was 1, and is 2; the data is another"),
    ],
)
def test_another_fit_is_refused(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    left(tmp_path)
    with (
        opened(tmp_path) as found,
        pytest.raises(CheckpointError, match=words),
        found.journal_of(FIT | changes),
    ):
        pass
    with opened(tmp_path) as found, found.journal_of(FIT) as kept:
        assert kept.recall("a", 0) == 1


def test_pages_without_a_manifest_are_nobodys(tmp_path: Path) -> None:
    left(tmp_path)
    (tmp_path / "checkpoint.json").unlink()
    with opened(tmp_path) as found, found.journal_of(FIT) as kept:
        assert kept.recall("a", 0) is None


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    left(tmp_path)
    manifest = tmp_path / "checkpoint.json"
    whole = manifest.read_text()
    for changed in ("", whole[:40], whole.replace('"1"', '"2"'), "[]", "[" * 100_000, '{"sum": 1}'):
        manifest.write_text(changed)
        with (
            opened(tmp_path) as found,
            pytest.raises(CheckpointError, match=r"checkpoint\.json is damaged"),
            found.journal_of(FIT),
        ):
            pass


def test_the_manifest_can_be_read(tmp_path: Path) -> None:
    left(tmp_path)
    found = json.loads((tmp_path / "checkpoint.json").read_text())
    assert found["fingerprint"] == FIT


def test_two_processes_do_not_share_one(tmp_path: Path) -> None:
    code = (
        "import sys; from lmeformula.checkpoint.folder import opened\n"
        "with opened(sys.argv[1]):\n    print('has it', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(CheckpointError, match=f"another fit, of process {other.pid}, has"):
            opened(tmp_path).__enter__()
        other.kill()
    # Whoever is killed has nothing any more.
    left(tmp_path)


def test_it_is_said_where_files_cannot_be_locked(tmp_path: Path) -> None:
    without = OSError(errno.ENOLCK, "No locks available")
    with (
        mock.patch("fcntl.flock", side_effect=without),
        pytest.warns(LmeFormulaWarning, match="cannot be locked: see that no other fit is there"),
    ):
        left(tmp_path)
    left(tmp_path)


def test_who_has_it_has_it_still(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        with opened(tmp_path) as second:
            assert second == first == Folder(tmp_path)
        with opened(tmp_path / "another") as third:
            assert third == Folder(tmp_path / "another")
        assert (tmp_path / "checkpoint.lock").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_disk_that_is_full_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _fill)
    with pytest.raises(OSError, match="No space left on device"):
        opened(tmp_path / "a").__enter__()
    assert not (tmp_path / "a").exists()


def _fill(number: int) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_is_no_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    with pytest.raises(CheckpointError, match="is no folder"), opened(tmp_path / "mine" / below):
        pass
    assert (tmp_path / "mine").read_text() == "text"
