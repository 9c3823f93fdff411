"""How many examples a test by properties tries."""

from __future__ import annotations

import os

# Set by `tests/run.py --slow`.
ALL = "LMEFORMULA_ALL_EXAMPLES"
FEWER = 5


def examples(number: int) -> int:
    """All of them where the slow tests run too, one of FEWER otherwise."""
    return number if os.environ.get(ALL) else max(number // FEWER, 10)
