"""What a seed may be."""

from __future__ import annotations

import numpy as np

from lmeformula.errors import ModelError

# The engine splits a seed into two numbers of 31 bits.
MOST = 2**31


def check_seed(seed: object) -> None:
    """Refuse what is no seed, before anything slow starts.

    Args:
      seed: of random numbers.
    Raises:
      ModelError: if it is not a whole number from 0 to 2**31 - 1.
    """
    is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not is_whole or not 0 <= int(seed) < MOST:  # type: ignore[call-overload]
        raise ModelError(f"seed is {seed!r}", hint="Give a whole number from 0 to 2147483647.")
