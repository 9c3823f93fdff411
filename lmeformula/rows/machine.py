"""What this machine's memory holds, asked before it is filled."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from lmeformula.errors import ModelError

GIB = 2.0**30
# The environment variable with the GiB that are to be enough, where others need the rest.
MEMORY = "LMEFORMULA_MEMORY_GIB"


@cache
def machine_memory() -> float:
    """Bytes of memory that this process may fill: of this machine, of its container, or as `MEMORY` says.

    All of it, not what is free at the moment: the same model is fitted the same way again.
    """
    found = 8.0 * GIB
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    if said := os.environ.get(MEMORY):
        found = min(found, _gib(said) * GIB)
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file():
        text = limit.read_text(encoding="ascii").strip()
        if text.isdigit():
            found = min(found, float(text))
    return found


def _gib(said: str) -> float:
    try:
        gib = float(said)
    except ValueError:
        gib = 0.0
    if gib > 0.0:
        return gib
    raise ModelError(
        f"the environment variable {MEMORY} is {said!r}", hint="Write a number of GiB, such as 6."
    )
