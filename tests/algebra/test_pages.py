"""Memory of arrays is used again: its pages are not brought in anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Pages that are brought in while there are arrays of 800 kB, before and after, in a process of its own.
COUNTED = """
import resource
import numpy as np
from lmeformula.algebra.pages import keep_pages

def brought_in():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(30):
        first = np.ones(100_000)
        second = first + first
        third = second * second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

brought_in()
before = brought_in()
keep_pages()
brought_in()
print(before, brought_in())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is kept is glibc's")
def test_pages_are_kept():
    told = subprocess.run(
        [sys.executable, "-c", COUNTED], check=True, capture_output=True, text=True
    ).stdout
    before, after = map(int, told.split())
    assert before > 300
    assert after < before / 10
