"""What this machine's memory holds, asked before a dense block is made that it might not."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from lmeformula.errors import ModelError

GIB = 2.0**30

# Dense blocks that a factorization holds at once: products, factor, inverse and a scaled copy.
COPIES = 4


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


def check_dense(order: int) -> None:
    """Refuse a dense block that this machine does not hold.

    Raises:
      ModelError: if a block of that order, with the copies that go with it, takes more than the memory.
    """
    needed, memory = 8.0 * COPIES * order**2, machine_memory()
    if needed > memory:
        raise ModelError(
            f"this takes a dense block of order {order:,}, all effects but those of the largest term: about "
            f"{needed / GIB:,.0f} GiB, and this machine has {memory / GIB:,.0f} GiB",
            hint='Models of this size can be fitted with solver="iterative"; what goes on to factor that block '
            "cannot be had of them.",
        )
