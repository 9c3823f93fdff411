"""The page's table of what works with what is true: every cell is tried."""

from __future__ import annotations

import pytest

from tests.what_works import FITS, STATISTICS, shown, tried

# Kinds of fit that are made and asked in a few seconds.
QUICK_KINDS = (
    "exact",
    "REML",
    "exact, iterative",
    "Laplace",
    "quadrature",
    "ordered",
    "formula for sigma",
    "frequency",
    "loaded",
)
# What takes a hundred refits, or TensorFlow's own saving.
LONG = ('`confint("boot")`', "`export()`")


def test_the_table_has_every_cell():
    assert set(shown()) == {(statistic, kind) for statistic in STATISTICS for kind in FITS}


@pytest.mark.parametrize("kind", QUICK_KINDS)
def test_what_is_said_to_work_does(kind):
    _is_true(kind, [statistic for statistic in STATISTICS if statistic not in LONG])


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUICK_KINDS)
def test_what_takes_long_does(kind):
    _is_true(kind, list(LONG))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FITS if kind not in QUICK_KINDS])
def test_what_is_said_to_work_on_slower_fits_does(kind):
    _is_true(kind, list(STATISTICS))


def _is_true(kind: str, statistics: list[str]) -> None:
    """All at once, as the fit is made once."""
    said = shown()
    wrong = {name: tried(name, kind) for name in statistics}
    wrong = {name: cell for name, cell in wrong.items() if cell.works != said[name, kind]}
    assert not wrong
