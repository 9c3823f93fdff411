"""Nested structures of arrays as vectors and back, and the parts of them that somebody names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.errors import ModelError


def flatten(structure: Any) -> tuple[Floats, Callable[[Tensor], Any]]:
    """A nested structure of arrays as one float64 vector, and the way back inside TensorFlow.

    A plain list of numbers is an array, not a structure.
    """
    if isinstance(structure, list) and all(np.ndim(leaf) == 0 for leaf in structure):
        structure = np.asarray(structure)
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(structure)]
    sizes = [leaf.size for leaf in leaves]
    flat = np.concatenate([leaf.ravel() for leaf in leaves] or [np.zeros(0)]).astype(float)

    def unflatten(vector: Tensor) -> Any:
        parts = tf.split(vector, sizes)
        shaped = [tf.reshape(part, leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return tf.nest.pack_sequence_as(structure, shaped)

    return flat, unflatten


def blocks_of(
    scales: str | Mapping[str, Any], names: tuple[str, ...], latents: Any, size: int
) -> dict[int, Mask] | None:
    """The latents of each parameter that is said to be a scale, by its place; None where none is said to be.

    Raises:
      ModelError: for a name or a block that there is not.
    """
    if isinstance(scales, str):
        if scales == "auto":
            return None
        raise ModelError(
            f"there are no scales {scales!r}",
            hint='Write "auto", or a mapping from names of parameters to the latents that they scale.',
        )
    found = {}
    for name, block in scales.items():
        if name not in names:
            raise ModelError(
                f"there is no parameter {name!r} that could be a scale",
                hint=f"Parameters: {', '.join(names)}.",
            )
        mask = np.zeros(size, bool)
        if isinstance(block, str):
            if not isinstance(latents, Mapping) or block not in latents:
                raise ModelError(f"there are no latents {block!r}, which {name} is to scale")
            flags = {key: np.full(np.shape(leaf), key == block) for key, leaf in latents.items()}
            mask = flatten(flags)[0] > 0
        else:
            places = np.asarray(block)
            outside = places.dtype.kind not in "iub" or (
                places.dtype.kind != "b"
                and (places.min(initial=0) < 0 or places.max(initial=0) >= size)
            )
            if outside or (places.dtype.kind == "b" and places.shape != mask.shape):
                raise ModelError(
                    f"the latents that {name} is to scale are not positions among {size}"
                )
            mask[places] = True
        found[names.index(name)] = mask
    return found
