"""What this machine's memory holds, asked before it is filled."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

GIB = 2.0**30


@cache
def machine_memory() -> float:
    """Bytes of memory of this machine, or of the container that this process may fill.

    All of it, not what is free at the moment: the same model is fitted the same way again.
    """
    found = 8.0 * GIB
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file():
        text = limit.read_text(encoding="ascii").strip()
        if text.isdigit():
            found = min(found, float(text))
    return found
