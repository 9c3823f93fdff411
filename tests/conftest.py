"""Options and settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Quiet and without a display, set before anything imports TensorFlow or matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# What tests compile is nothing to keep in the user's cache.
os.environ.setdefault("LMEFORMULA_XLA_CACHE", "off")

# The first example of a test may compile a TensorFlow function, so no example has a deadline; the same
# examples every time, so that a run that passed passes again.
settings.register_profile("lmeformula", deadline=None, derandomize=True)
settings.load_profile("lmeformula")


# Cases that are slow for what they add, by name.
SLOW = Path(__file__).with_name("slow.txt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark those that are listed as slow; a name in the list that no case has is a mistake."""
    listed = {line for line in SLOW.read_text().splitlines() if not line.startswith("#")}
    names = {item.nodeid for item in items}
    for item in items:
        if item.nodeid in listed:
            item.add_marker("slow")
    if not any("::" in argument for argument in config.args):
        files = {name.partition("::")[0] for name in names}
        gone = sorted(name for name in listed - names if name.partition("::")[0] in files)
        if gone:
            raise pytest.UsageError(f"tests/slow.txt names cases that are not there: {gone}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the right-hand sides of the golden case files in place",
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True where golden files are to be rewritten rather than compared."""
    return bool(request.config.getoption("--update-golden"))
