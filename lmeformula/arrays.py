"""The shapes' vocabulary: what arrays hold. Shapes themselves stand in docstrings."""

from __future__ import annotations

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
