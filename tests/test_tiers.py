"""The list of slow cases names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTED = [
    line for line in (ROOT / "tests/slow.txt").read_text().splitlines() if line[:1] not in ("", "#")
]


@pytest.mark.parametrize("line", LISTED)
def test_a_slow_case_is_one_of_a_test(line: str) -> None:
    file, name = line.split("::", 1)
    function = name.partition("[")[0]
    assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), line
