"""The root that whitens the effects of all terms but the lead: a dense triangle, or blocks and directions."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.sampling.room import Axis, Room, placed, room_for


class BlockRoot(NamedTuple):
    """G (I + V stretch V')^-1 as a root of the Schur complement, where that is too large to factor.

    Attributes:
      blocks: (l, k, k) G^-1 of each term but the lead, inverse Cholesky factors of its diagonal blocks.
      directions: (r, s) V, orthonormal.
      stretch: (s, s) symmetric.
    """

    blocks: tuple[Tensor, ...]
    directions: Tensor
    stretch: Tensor


# Rooms for directions.
LEAST_DIRECTIONS = 16


def padded_root(root: Tensor | BlockRoot, room: Room) -> Tensor | BlockRoot:
    """The root with rooms, as an array in NumPy."""
    if not isinstance(root, BlockRoot):
        return placed(root, room.rest, room.rest)
    count = root.directions.shape[1]
    ways = Axis((count,), (room_for(count, LEAST_DIRECTIONS),))
    blocks = zip(root.blocks, room.levels[1:], strict=True)
    return BlockRoot(
        tuple(placed(part, levels) for part, levels in blocks),
        placed(root.directions, room.rest, ways),
        placed(root.stretch, ways, ways),
    )


def inverse_up(root: Tensor | BlockRoot, z: Tensor) -> Tensor:
    """The root's inverse transpose times z (r, c); `root` is that inverse (r, r), or a BlockRoot."""
    if not isinstance(root, BlockRoot):
        return tf.matmul(root, z, transpose_a=True)
    return _blocks(root, _stretched(root, z), transpose=True)


def inverse_down(root: Tensor | BlockRoot, columns: Tensor) -> Tensor:
    """The root's inverse times columns (r, c)."""
    if not isinstance(root, BlockRoot):
        return tf.matmul(root, columns)
    return _stretched(root, _blocks(root, columns, transpose=False))


def _stretched(root: BlockRoot, z: Tensor) -> Tensor:
    inside = tf.matmul(root.directions, z, transpose_a=True)
    return z + tf.matmul(root.directions, tf.matmul(root.stretch, inside))


def _blocks(root: BlockRoot, columns: Tensor, *, transpose: bool) -> Tensor:
    found, start = [], 0
    for blocks in root.blocks:
        levels, k = int(blocks.shape[0]), int(blocks.shape[1])
        part = tf.reshape(columns[start : start + levels * k], [levels, k, -1])
        product = (
            tf.matmul(blocks, part, transpose_a=transpose) if k > 1 else blocks[:, 0] * part[:, 0]
        )
        found.append(tf.reshape(product, [levels * k, -1]))
        start += levels * k
    return tf.concat(found, axis=0)
