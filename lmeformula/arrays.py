"""The shapes' vocabulary: what arrays hold. Shapes themselves stand in docstrings."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
# True where something is so.
Mask: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
# Positions in another array.
Places: TypeAlias = NDArray[np.int64]
# Levels of a factor, negative for what is not among them.
Codes: TypeAlias = NDArray[np.int32]
# Of TensorFlow, which has no types.
Tensor: TypeAlias = Any


def as_rows(arrays: Floats) -> Floats:
    """(t, ...) arrays as rows (t, m); of none as well, of which numpy does not tell how long they are.

    Example:
      >>> as_rows(np.zeros((0, 2, 3))).shape
      (0, 6)
    """
    return arrays.reshape(len(arrays), math.prod(arrays.shape[1:]))
