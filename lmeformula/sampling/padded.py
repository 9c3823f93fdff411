"""A model's rows and whitenings among larger arrays, where nothing moves and nothing counts."""

from __future__ import annotations

from lmeformula.sampling.room import Room, placed, repeated
from lmeformula.sampling.roots import padded_root
from lmeformula.sampling.student_prior import StudentWhitening
from lmeformula.sampling.whitened import Cubic, Rows, Whitening


def padded_rows(rows: Rows, room: Room) -> Rows:
    """Rows in NumPy with rooms: those added are the first one's with no columns, and do not count."""
    return Rows(
        response=tuple(repeated(part, room.rows) for part in rows.response),
        X=placed(rows.X, room.stacked),
        codes=tuple(placed(part, room.stacked) for part in rows.codes),
        values=tuple(placed(part, room.stacked) for part in rows.values),
        counts=placed(rows.counts, room.rows),
        exists=tuple(map(placed, rows.exists, room.levels)),
    )


def padded_whitening(white: Whitening, room: Room) -> Whitening:
    """A whitening in NumPy with rooms: effects that are added do not move, nor anything else.

    The predictor of a row that is added is that of the first one at the mode, where its density is finite.
    """
    cubic = white.cubic
    if isinstance(cubic, Cubic):
        cubic = Cubic(
            half=placed(cubic.half, room.stacked),
            twist=placed(cubic.twist, room.stacked),
            blocks=tuple(map(placed, cubic.blocks, room.levels)),
            linear=placed(cubic.linear, room.effects),
        )
    return white._replace(
        eta=repeated(white.eta, room.stacked),
        modes=placed(white.modes, room.effects),
        weights=placed(white.weights, room.stacked),
        lead_inverse=placed(white.lead_inverse, room.levels[0]),
        rest_inverse=padded_root(white.rest_inverse, room),
        pull=placed(white.pull, room.effects),
        bend=placed(white.bend, room.stacked),
        cubic=cubic,
    )


def padded_student(white: StudentWhitening, room: Room) -> StudentWhitening:
    """The same of effects with heavy tails."""
    roots = tuple(map(repeated, white.roots, room.levels))
    return white._replace(base=padded_whitening(white.base, room), roots=roots)
