"""The sizes that models' arrays are padded to: data of many sizes share a few, and so compiled programs."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats, Ints

# The least rooms for rows, for levels of the lead term, and of the others, whose joint matrix is dense.
LEAST_ROWS, LEAST_LEAD, LEAST_REST = 256, 256, 32
# Levels of the lead term have room for so many rows each: beside these they cost nothing.
ROWS_A_LEVEL = 16
# Beyond these sizes rooms are closer, as padding costs time: (size, rooms for each factor of two).
CLOSER = ((0, 1), (16_384, 2), (65_536, 4), (262_144, 8))
CLOSER_REST = ((0, 1), (256, 2), (512, 8))


def room_for(size: int, least: int, closer: tuple[tuple[int, int], ...] = CLOSER) -> int:
    """The room that a number of rows or levels gets.

    Example:
      >>> [room_for(n, 256) for n in (3, 256, 257, 7584, 20_000)]
      [256, 256, 512, 8192, 24576]
    """
    if size <= least:
        return least
    parts = max(number for beyond, number in closer if size > beyond)
    step = max(1, (1 << (size - 1).bit_length() - 1) // parts)
    return -(-size // step) * step


class Axis(NamedTuple):
    """One axis of an array: parts of it one after the other, each with room behind it.

    Attributes:
      lengths: of the parts.
      rooms: what each gets, at least its length.
    """

    lengths: tuple[int, ...]
    rooms: tuple[int, ...]

    @property
    def size(self) -> int:
        """With all rooms."""
        return sum(self.rooms)

    @property
    def parts(self) -> list[tuple[slice, slice]]:
        """Of each part where it is, and where it is to be."""
        here, there = (
            list(itertools.accumulate(each, initial=0)) for each in (self.lengths, self.rooms)
        )
        return [
            (slice(a, a + length), slice(b, b + length))
            for a, b, length in zip(here[:-1], there[:-1], self.lengths, strict=True)
        ]

    @property
    def places(self) -> Ints:
        """Where each element is to be."""
        return np.concatenate(
            [np.arange(there.start, there.stop) for _, there in self.parts] or [np.zeros(0, int)]
        )


def placed(array: Floats, *axes: Axis) -> Floats:
    """An array with rooms along its first axes, which are zero."""
    array = np.asarray(array)
    size = tuple(axis.size for axis in axes)
    found = np.zeros((*size, *array.shape[len(axes) :]), array.dtype)
    for parts in itertools.product(*(axis.parts for axis in axes)):
        found[tuple(there for _, there in parts)] = array[tuple(here for here, _ in parts)]
    return found


def repeated(array: Floats, axis: Axis) -> Floats:
    """An array with rooms along its first axis, in which the first element of each part is again."""
    found = placed(array, axis)
    start = 0
    for (here, there), room in zip(axis.parts, axis.rooms, strict=True):
        found[there.stop : start + room] = array[here.start : here.start + 1]
        start += room
    return found


class Room(NamedTuple):
    """The axes of a model's arrays; terms in the order of the effects.

    Attributes:
      rows: of the data.
      stacked: of the stacked rows, a part for each of the stack's.
      levels: of each term.
      effects: of all effects, a part for each term.
    """

    rows: Axis
    stacked: Axis
    levels: tuple[Axis, ...]
    effects: Axis

    @property
    def rest(self) -> Axis:
        """Of the effects of all terms but the lead."""
        return Axis(self.effects.lengths[1:], self.effects.rooms[1:])


def room_of(plan: Layout, num_rows: int, num_stacked: int) -> Room:
    """The room of a model's arrays.

    Args:
      plan: layout of its effects.
      num_rows: n of the data.
      num_stacked: of its stack, a multiple of that.
    """
    sizes = [plan.sizes[j] for j in (plan.lead, *plan.rest)]
    (lead, _), rest = sizes[0], sizes[1:]
    rows, copies = room_for(num_rows, LEAST_ROWS), num_stacked // num_rows
    rooms = [room_for(lead, max(LEAST_LEAD, rows // ROWS_A_LEVEL))]
    rooms += [room_for(levels, LEAST_REST, CLOSER_REST) for levels, _ in rest]
    return Room(
        rows=Axis((num_rows,), (rows,)),
        stacked=Axis((num_rows,) * copies, (rows,) * copies),
        levels=tuple(
            Axis((levels,), (room,)) for (levels, _), room in zip(sizes, rooms, strict=True)
        ),
        effects=Axis(
            tuple(levels * k for levels, k in sizes),
            tuple(room * k for room, (_, k) in zip(rooms, sizes, strict=True)),
        ),
    )
