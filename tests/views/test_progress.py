"""Progress displays: what they write, where, and when they keep quiet."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from lmeformula.api import display_of
from lmeformula.em import schedule
from lmeformula.em.types import Iteration
from lmeformula.views import progress as module
from lmeformula.views.live import LiveProgress, progress_display
from lmeformula.views.progress import (
    PlainProgress,
    excess,
    share_covered,
)

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


def test_plain_lines_for_the_first_and_the_last_iteration(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    stream = io.StringIO()
    shown = PlainProgress(stream, 0.01)
    shown.start(NAMES)
    for number in (1, 2, 3):
        clock.now += 1.5
        shown.update(iteration(number))
    shown.stop()
    assert stream.getvalue().splitlines() == [
        "Monte Carlo EM: 4 parameters",
        "iteration 1: 1,000 draws a chain, step 0.5 se, MC error 0.2 of 0.01 se, 1.5 s",
        "iteration 3: 3,000 draws a chain, step 0.5 se, MC error 0.2 of 0.01 se, 4.5 s",
    ]


def test_stopping_twice_or_before_any_iteration_writes_nothing_more():
    stream = io.StringIO()
    shown = PlainProgress(stream, 0.01)
    shown.start(NAMES)
    shown.stop()
    shown.stop()
    assert stream.getvalue() == "Monte Carlo EM: 4 parameters\n"


def live(width: int) -> tuple[LiveProgress, io.StringIO]:
    stream = io.StringIO()
    return LiveProgress(Console(file=stream, force_terminal=True, width=width), 0.01), stream


@pytest.mark.parametrize("width", [72, 80, 120])
def test_live_display_shows_every_estimate_and_closes(width):
    shown, stream = live(width)
    shown.start(NAMES)
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


def test_live_display_keeps_the_variances_when_there_are_too_many_parameters():
    names = [f"x{i}" for i in range(20)] + ["sd(g)", "sigma"]
    shown, stream = live(80)
    shown.start(names)
    shown.update(iteration(1, estimates=np.linspace(0, 1, 22)))
    shown.stop()
    text = stream.getvalue()
    assert "sd(g)" in text
    assert "x0 " not in text
    assert "and 10 more parameters" in text


def test_choice_of_display(capsys):
    assert display_of(False, tolerance=0.01) is None
    assert isinstance(progress_display(tolerance=0.01, stream=io.StringIO()), PlainProgress)
    own = PlainProgress(io.StringIO(), 0.5)
    assert display_of(own, tolerance=0.01) is own


def test_progress_goes_to_standard_error(capsys):
    shown = display_of(True, tolerance=0.01)
    assert shown is not None
    shown.start(NAMES)
    shown.update(iteration(1))
    shown.stop()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "iteration 1" in captured.err


def test_a_terminal_gets_the_live_display():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = progress_display(tolerance=0.01, stream=Terminal())
    assert isinstance(shown, LiveProgress)
