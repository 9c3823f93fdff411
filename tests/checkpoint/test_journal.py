"""A journal answers what it was asked before, in the same order, and nothing else."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lmeformula.checkpoint import journal
from lmeformula.checkpoint.journal import Journal, done, kept_in, remove_pages, stop
from lmeformula.errors import CheckpointError, LmeFormulaWarning


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setattr(journal, "SHARE", 1e9)


def written(folder: Path, *entries: tuple[str, object, object]) -> None:
    one = Journal(folder)
    for name, given, found in entries:
        one.keep(name, given, found)


def recalled(folder: Path, count: int) -> tuple[Journal, list[object]]:
    again = Journal(folder)
    return again, [again.recall("a", place) for place in range(count)]


def pages(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.npz"))


def test_entries_are_recalled_in_order(tmp_path: Path) -> None:
    written(tmp_path, ("a", 1, "x"), ("a", 2, "y"), ("b", np.zeros(3), np.ones(2)))
    again = Journal(tmp_path)
    assert again.recall("a", 1) == "x"
    assert again.recall("a", 2) == "y"
    assert again.recall("b", np.zeros(3)).tolist() == [1.0, 1.0]
    assert again.recall("b", np.zeros(3)) is None
    assert again.recalled == {"a": 2, "b": 1}
    again.keep("c", 0, "z")
    assert [Journal(tmp_path).recall("a", 1), len(pages(tmp_path))] == ["x", 4]


@pytest.mark.parametrize(("name", "given"), [("b", 1), ("a", 1.0), ("a", 2)])
def test_an_answer_to_another_question_is_not_given(
    name: str, given: object, tmp_path: Path
) -> None:
    written(tmp_path, ("a", 1, "x"))
    with pytest.raises(CheckpointError, match="not come to the same numbers"):
        Journal(tmp_path).recall(name, given)


def test_an_entry_anew_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    one.keep("a", 0, "x")
    for number in range(5):
        one.keep("loop", 0, number, anew=True)
    assert len(pages(tmp_path)) == 2
    again = Journal(tmp_path)
    assert [again.recall("a", 0), again.recall("loop", 0)] == ["x", 4]
    again.keep("loop", 0, 5, anew=True)
    again.keep("after", 0, "y")
    last = Journal(tmp_path)
    assert [last.recall("a", 0), last.recall("loop", 0), last.recall("after", 0)] == ["x", 5, "y"]
    assert len(pages(tmp_path)) == 3


def test_what_came_after_a_loop_goes_when_the_loop_goes_on(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    one.keep("loop", 0, 1, anew=True)
    one.keep("after", 0, "y")
    again = Journal(tmp_path)
    assert again.recall("loop", 0) == 1
    again.keep("loop", 0, 2, anew=True)
    last = Journal(tmp_path)
    assert last.recall("loop", 0) == 2
    assert last.recall("after", 0) is None


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_what_stands_before_a_damaged_file_is_used(damaged: int, tmp_path: Path) -> None:
    written(tmp_path, ("a", 0, "x"), ("a", 1, "y"), ("a", 2, "z"))
    path = tmp_path / pages(tmp_path)[damaged]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(LmeFormulaWarning, match=f"{path} is damaged. The fit goes on from"):
        again, found = recalled(tmp_path, damaged + 1)
    assert found == [*["x", "y", "z"][:damaged], None]
    assert len(pages(tmp_path)) == damaged
    again.keep("a", damaged, "new")
    assert len(pages(tmp_path)) == damaged + 1


def test_a_file_that_is_missing_ends_it(tmp_path: Path) -> None:
    written(tmp_path, ("a", 0, "x"), ("a", 1, "y"), ("a", 2, "z"))
    (tmp_path / pages(tmp_path)[1]).unlink()
    with pytest.warns(LmeFormulaWarning, match="does not follow the one before"):
        _, found = recalled(tmp_path, 2)
    assert found == ["x", None]


def test_a_full_disk_is_warned_of_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Journal(tmp_path)
    full = OSError(errno.ENOSPC, "No space left on device", "a")
    with mock.patch.object(journal, "write_tree", side_effect=full) as writes:
        with pytest.warns(LmeFormulaWarning, match="No space left on device.*The fit goes on"):
            one.keep("a", 0, "x")
        one.keep("a", 1, "y")
        assert writes.call_count == 1
        one.flush()
    assert not pages(tmp_path)
    monkeypatch.setattr(journal, "AGAIN", 0.0)
    one.flush()
    again = Journal(tmp_path)
    assert [again.recall("a", 0), again.recall("a", 1)] == ["x", "y"]


def test_files_are_seconds_apart_and_writing_takes_a_small_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "EVERY", 5.0)
    monkeypatch.setattr(journal, "SHARE", 0.02)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def slow(*_: object) -> None:
        nonlocal now
        now += 1.0

    one = Journal(tmp_path)
    with mock.patch.object(journal, "write_tree", side_effect=slow) as writes:
        for number in range(1000):
            now += 1.0
            one.keep("a", number, "x")
    # The first after five seconds; then, as each takes one, after fifty.
    assert 18 <= writes.call_count <= 21


def test_work_is_done_once(tmp_path: Path) -> None:
    calls = []

    def work() -> int:
        calls.append(1)
        return 7

    assert done("a", 0, work) == 7
    for _ in range(2):
        with kept_in(Journal(tmp_path)):
            assert done("a", 0, work) == 7
    assert len(calls) == 2


def test_work_that_failed_fails_again(tmp_path: Path) -> None:
    work = mock.Mock(side_effect=np.linalg.LinAlgError("singular"))
    for _ in range(2):
        with kept_in(Journal(tmp_path)), pytest.raises(np.linalg.LinAlgError, match="singular"):
            done("a", 0, work)
    assert work.call_count == 1


def test_nothing_is_kept_of_what_follows_a_stop(tmp_path: Path) -> None:
    with kept_in(Journal(tmp_path)):
        done("a", 0, lambda: 1)
        stop()
        done("b", 0, lambda: 2)
    again = Journal(tmp_path)
    assert [again.recall("a", 0), again.recall("b", 0)] == [1, None]


def test_seconds_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for number in range(3):
        one = Journal(tmp_path)
        for place in range(number):
            one.recall("a", place)
        assert one.seconds_before == 10.0 * number
        now += 10.0
        one.keep("a", number, "x")


def test_removes_its_files_and_no_others(tmp_path: Path) -> None:
    written(tmp_path, ("a", 0, "x"))
    (tmp_path / "checkpoint-notes.npz").write_text("mine")
    (tmp_path / "other").write_text("mine")
    remove_pages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-notes.npz", "other"}
