"""What is shown of long work, to whom, and that nobody else sees anything."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest

from lmeformula import watch
from lmeformula.watch import EVALUATIONS, ascending, shown, spoken, step_of, watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(watch.time, "monotonic", lambda: found.now)
    return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    # Between set-up and call pytest has a standard error of its own.
    monkeypatch.setattr(watch, "sys", SimpleNamespace(stderr=found))
    monkeypatch.setenv("COLUMNS", "80")
    return found


def test_nothing_is_shown_of_what_is_soon_done(clock: SimpleNamespace, terminal: Terminal) -> None:
    with watched("reading", 10, "rows") as work:
        for _ in range(10):
            clock.now += 0.19
            work.step()
    assert terminal.getvalue() == ""


def test_a_line_has_the_time_that_is_left_and_goes_away(
    clock: SimpleNamespace, terminal: Terminal
) -> None:
    with watched("reading", 4_000, "rows") as work:
        clock.now += 5.0
        work.step(1_000)
        line = "reading: 1,000 of 4,000 rows, 5 s, 15 s left"
        assert terminal.getvalue() == f"\r{line}"
        clock.now += 0.1
        work.step(10)
        assert terminal.getvalue() == f"\r{line}"
    assert terminal.getvalue() == f"\r{line}\r{' ' * len(line)}\r"


def test_an_ascent_has_about_the_time_that_its_promises_take_to_fall(
    clock: SimpleNamespace, terminal: Terminal
) -> None:
    with watched("exact fit", of=EVALUATIONS), ascending() as ascent:
        for gain in (float("inf"), float("nan"), 100.0, 1.0):
            clock.now += 5.0
            ascent.sees(gain, 1e-4)
            step_of(EVALUATIONS)
        said = "exact fit: 4 evaluations of the likelihood, 20 s, about 40 s left"
        assert said in terminal.getvalue()
        # It is at its end, and what comes then is not known.
        clock.now += 5.0
        ascent.sees(1e-5, 1e-4)
        step_of(EVALUATIONS)
        last = terminal.getvalue().split("\r")[-1]
        assert last.rstrip() == "exact fit: 5 evaluations of the likelihood, 25 s"


def test_work_within_other_work_brings_its_line_up_to_date(
    clock: SimpleNamespace, terminal: Terminal
) -> None:
    with watched("cross-validation", 2, "folds") as folds:
        with watched("exact fit", of="evaluations"):
            clock.now += 3.0
            step_of("evaluations")
        folds.step()
    assert terminal.getvalue().startswith("\rcross-validation: 0 of 2 folds, 3 s")
    assert "exact fit" not in terminal.getvalue()


def test_steps_of_an_ascent_are_counted(clock: SimpleNamespace, terminal: Terminal) -> None:
    with watched("Laplace fit", of="evaluations"):
        step_of("evaluations")
        step_of("something else")
        clock.now += 3.0
        step_of("evaluations")
    assert terminal.getvalue().startswith("\rLaplace fit: 2 evaluations, 3 s\r")


@pytest.mark.parametrize("how", ["no terminal", "not wanted", "switched off", "closed"])
def test_who_does_not_look_sees_nothing(
    how: str, clock: SimpleNamespace, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = terminal
    if how == "no terminal":
        monkeypatch.setattr(watch.sys, "stderr", stream := io.StringIO())
    if how == "switched off":
        monkeypatch.setenv(watch.SWITCH, "0")
    if how == "closed":
        terminal.close()
    with shown(how != "not wanted"), watched("reading", 2, "rows") as work:
        clock.now += 5.0
        work.step()
    assert how == "closed" or stream.getvalue() == ""


def test_a_line_fits_the_terminal(
    clock: SimpleNamespace, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with watched("reading a file with a long name", 4, "rows") as work:
        clock.now += 5.0
        work.step()
    assert max(map(len, terminal.getvalue().split("\r"))) == 19


def test_a_notebook_is_written_to(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    monkeypatch.setattr(watch, "sys", SimpleNamespace(stderr=(stream := kind())))
    with watched("reading", 4, "rows") as work:
        clock.now += 5.0
        work.step()
        clock.now += 0.5
        work.step()
        assert stream.getvalue() == "\rreading: 1 of 4 rows, 5 s, 15 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600.0, "1 h 0 min")]
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_terminal_that_goes_away_ends_nothing(clock: SimpleNamespace, terminal: Terminal) -> None:
    with watched("reading", 4, "rows") as work:
        clock.now += 5.0
        with mock.patch.object(terminal, "write", side_effect=OSError):
            work.step()
        work.step()
    assert terminal.getvalue() == ""


FITS = """
import lmeformula as lf
ticks = lf.datasets.load("grouseticks")
lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
lf.fit("TICKS ~ 1 + (1 | BROOD)", ticks, "poisson")
lf.fit("TICKS ~ 1 + (1 | BROOD) + (1 | LOCATION)", ticks, "poisson", method={method!r})
"""


@pytest.mark.parametrize("method", ["laplace", "mcem"])
def test_a_fresh_process_writes_nothing_to_standard_error(method: str) -> None:
    command = [sys.executable, "-c", FITS.format(method=method)]
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    assert (found.stdout, found.stderr) == ("", "")
