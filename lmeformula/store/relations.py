"""A known covariance between levels in a saved fit: its dense root, or a sparse one of its inverse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.arrays import Codes, Floats, Ints
from lmeformula.design.relation import Relation
from lmeformula.store.archive import Json
from lmeformula.store.codec import TEXT, Coded, Reader, Writer, maybe
from lmeformula.store.containers import Array, Levels, record


class Kept(NamedTuple):
    """A `Relation` as a file has it: of a sparse triangle its elements by columns."""

    name: str
    levels: tuple[str, ...]
    root: Floats | None
    elements: Floats | None
    places: Codes | None
    starts: Ints | None
    order: Ints | None

    @classmethod
    def of(cls, known: Relation) -> Kept:
        """That of a relation."""
        if known.triangle is None:
            return cls(known.name, known.levels, known.root, None, None, None, None)
        found = sp.csc_array(known.triangle)
        arrays = (found.data, found.indices, found.indptr, known.order)
        return cls(known.name, known.levels, None, *arrays)

    def relation(self, source: Reader) -> Relation:
        """The relation, of numbers that fit."""
        size = len(self.levels)
        if self.root is not None:
            if self.root.shape != (size, size) or not np.isfinite(self.root).all():
                source.refuse("the covariance of its levels is not one of these levels")
            return Relation(self.name, self.levels, self.root)
        sparse = (self.elements, self.places, self.starts, self.order)
        if any(each is None for each in sparse):
            source.refuse("the covariance of its levels is missing")
        elements, places, starts, order = (np.asarray(each) for each in sparse)
        fits = (
            len(starts) == size + 1
            and starts[0] == 0
            and starts[-1] == len(places) == len(elements)
            and (np.diff(starts) >= 0).all()
            and ((places >= 0) & (places < size)).all()
            and np.array_equal(np.sort(order), np.arange(size))
            and np.isfinite(elements).all()
        )
        if not fits:
            source.refuse("the covariance of its levels is damaged")
        triangle = sp.csc_array((elements, places, starts), shape=(size, size))
        if not (triangle.diagonal() > 0.0).all():
            source.refuse("the covariance of its levels has no inverse")
        return Relation(self.name, self.levels, None, triangle, order)


_KEPT = record(
    Kept,
    name=TEXT,
    levels=Levels(),
    root=maybe(Array(("", ""))),
    elements=maybe(Array(("",))),
    places=maybe(Array(("",), "<i4")),
    starts=maybe(Array(("",), "<i8")),
    order=maybe(Array(("",), "<i8")),
)


def _write(value: Relation, out: Writer) -> Json:
    return _KEPT.write(Kept.of(value), out)


def _read(found: Json, source: Reader) -> Relation:
    # Its levels are those of the term, whose number is settled.
    kept: Kept = _KEPT.read(found, source)
    return kept.relation(source)


RELATION = Coded(_write, _read)
