"""Dense blocks that this machine's memory might not hold, asked before they are made."""

from __future__ import annotations

from lmeformula.errors import ModelError
from lmeformula.rows.machine import GIB, machine_memory

# Dense blocks that a factorization holds at once: products, factor, inverse and a scaled copy.
COPIES = 4


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
