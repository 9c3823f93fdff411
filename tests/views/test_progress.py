"""Progress displays: what they write, where, and when they keep quiet."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from lmeformula import watch
from lmeformula.api import display_of
from lmeformula.em import schedule
from lmeformula.em.types import Iteration
from lmeformula.views import live as module
from lmeformula.views.live import LiveProgress, progress_display
from lmeformula.views.progress import LineProgress, excess, share_covered

NAMES = ("Intercept", "service", "sd(students)", "sigma")


def iteration(
    number: int, error: float = 0.2, estimates=(3.28, -0.0926, 0.3255, 1.1775)
) -> Iteration:
    return Iteration(number, np.array(estimates), 0.5, error, 1000 * number, 0.8, 1.5)


@pytest.mark.parametrize(
    ("first", "current", "expected"),
    [
        (100.0, 100.0, 0.0),
        (100.0, 10.0, 0.5),
        (100.0, 1.0, 1.0),
        (100.0, 0.1, 1.0),
        (100.0, 200.0, 0.0),
        (0.5, 0.4, 1.0),
        (0.5, 2.0, 0.0),
        (float("inf"), 10.0, 0.0),
        (100.0, float("nan"), 0.0),
        (float("nan"), 50.0, 0.0),
    ],
)
def test_share_of_the_way_to_the_stop_rule(first, current, expected):
    assert share_covered(first, current) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "error", "stops"),
    [(0.5, 0.2, False), (0.5, 1e-12, False), (1e-4, 1e-12, True), (0.01, 0.009, True)],
)
def test_excess_falls_to_one_where_the_engine_stops(step, error, stops):
    record = iteration(1, error)._replace(largest_step=step)
    distance, mc_error, stderr = np.array([step]), np.array([error]), np.ones(1)
    engine = schedule.is_still(distance, mc_error, stderr, 0.01)
    engine = engine and schedule.is_sharp(mc_error, stderr, 0.01)
    assert (excess(record, 0.01) <= 1) == engine == stops


def live(width: int) -> tuple[LiveProgress, io.StringIO]:
    stream = io.StringIO()
    return LiveProgress(Console(file=stream, force_terminal=True, width=width), 0.01), stream


@pytest.mark.parametrize("width", [72, 80, 120])
def test_live_display_shows_every_estimate_and_closes(width, monkeypatch):
    shown, stream = live(width)
    shown.start(NAMES)
    shown.update(iteration(1, 0.3))
    assert stream.getvalue() == ""  # it may soon be at its end
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    shown.update(iteration(1, 0.2))
    shown.update(iteration(2, 0.02))
    shown.stop()
    shown.stop()
    text = stream.getvalue()
    for piece in (
        "iteration 2, 2,000 draws",
        "3.2800",
        "-0.0926",
        "sigma",
        "0.02 of 0.01 se",
    ):
        assert piece in text
    assert text.rstrip("\n").endswith("\x1b[?25h")  # the cursor is back


def test_live_display_keeps_the_variances_when_there_are_too_many_parameters(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    names = [f"x{i}" for i in range(20)] + ["sd(g)", "sigma"]
    shown, stream = live(80)
    shown.start(names)
    shown.update(iteration(1, estimates=np.linspace(0, 1, 22)))
    shown.stop()
    text = stream.getvalue()
    assert "sd(g)" in text
    assert "x0 " not in text
    assert "and 10 more parameters" in text


def test_choice_of_display():
    assert display_of(False, tolerance=0.01) is None
    assert isinstance(progress_display(tolerance=0.01, stream=io.StringIO()), LineProgress)
    own = LineProgress(0.5)
    assert display_of(own, tolerance=0.01) is own


def test_a_line_says_how_far_the_stop_rule_is(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    monkeypatch.setattr(watch, "EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    shown = LineProgress(0.01)
    shown.start(NAMES)
    shown.update(iteration(1, 0.2))
    shown.update(iteration(2, 0.02))
    assert stream.getvalue().rstrip().endswith(" left, step 0.5 se, MC error 0.02 of 0.01 se")
    shown.stop()
    assert stream.getvalue().endswith(" \r")


def test_nothing_is_written_where_nobody_looks(capsys):
    shown = display_of(True, tolerance=0.01)
    assert shown is not None
    shown.start(NAMES)
    shown.update(iteration(1))
    shown.stop()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_the_live_display():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = progress_display(tolerance=0.01, stream=Terminal())
    assert isinstance(shown, LiveProgress)
