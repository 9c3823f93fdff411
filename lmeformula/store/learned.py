"""What each stateful function of formulas remembers, in a saved fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmeformula.store.archive import Json
from lmeformula.store.codec import Codec, Coded, Reader, Writer, real
from lmeformula.store.containers import Each, Levels

_FINITE = real(finite=True)
_NUMBERS = Each(_FINITE)


def _write_shift(value: Any, out: Writer) -> Json:
    return [np.asarray(part, dtype=float).tolist() for part in value]


def _read_shift(found: Json, source: Reader) -> Any:
    """scale() and center(): centre and divisor, each one number or one for each column."""
    if not isinstance(found, list) or len(found) != 2:
        source.refuse("it is not a centre and a divisor")
    codecs = (_NUMBERS if isinstance(part, list) else _FINITE for part in found)
    centre, divisor = (
        np.asarray(codec.read(part, source), dtype=float)
        for codec, part in zip(codecs, found, strict=True)
    )
    if not (divisor > 0).all():
        source.refuse("a divisor is not positive")
    return centre, divisor


def _write_recurrences(value: Any, out: Writer) -> Json:
    # Their keys are 0, 1, ..., in any order.
    return [
        {name: [float(numbers[i]) for i in range(len(numbers))] for name, numbers in state.items()}
        for state in value
    ]


def _read_recurrences(found: Json, source: Reader) -> Any:
    """poly(): for each of its columns the coefficients of the recurrence, or none for raw powers."""
    if not isinstance(found, list) or not found:
        source.refuse("it is not a list of recurrences")
    return [_recurrence(state, source) for state in found]


def _recurrence(found: Json, source: Reader) -> dict[str, dict[int, float]]:
    if found == {}:
        return {}
    if not isinstance(found, dict) or set(found) != {"alpha", "norms2"}:
        source.refuse("it is not a recurrence")
    alpha, norms = (_NUMBERS.read(found[name], source) for name in ("alpha", "norms2"))
    if len(norms) != len(alpha) + 1 or not alpha or min(norms) <= 0:
        source.refuse("the numbers of the recurrence do not fit together")
    return {"alpha": dict(enumerate(alpha)), "norms2": dict(enumerate(norms))}


def _write_knots(value: Any, out: Writer) -> Json:
    inner, bounds = value
    return {"inner": list(map(float, inner)), "bounds": list(map(float, bounds))}


def _read_knots(found: Json, source: Reader) -> Any:
    """bs() and ns(): inner knots and boundary knots."""
    if not isinstance(found, dict) or set(found) != {"inner", "bounds"}:
        source.refuse("it is not a set of knots")
    inner = _NUMBERS.read(found["inner"], source)
    bounds = _NUMBERS.read(found["bounds"], source)
    ends = (*bounds[:1], *inner, *bounds[1:])
    if len(bounds) != 2 or any(a >= b for a, b in itertools.pairwise(ends)):
        source.refuse("the knots are not in order")
    return inner, bounds


def _read_breaks(found: Json, source: Reader) -> Any:
    """cut(): the ends of its intervals."""
    points = np.array(Each(real()).read(found, source), dtype=float)
    if len(points) < 2 or not (points[:-1] < points[1:]).all():
        source.refuse("the ends of the intervals are not in order")
    return points


# An entry for every stateful function of lmeformula/design/functions.py; a test holds this.
LEARNED: Mapping[str, Codec] = {
    **dict.fromkeys(("factor", "as.factor", "ordered", "as.ordered"), Levels()),
    "cut": Coded(Each(real()).write, _read_breaks),
    **dict.fromkeys(("mean", "median", "sd", "min", "max"), real()),
    **dict.fromkeys(("scale", "standardize", "center"), Coded(_write_shift, _read_shift)),
    "poly": Coded(_write_recurrences, _read_recurrences),
    **dict.fromkeys(("bs", "ns", "cr"), Coded(_write_knots, _read_knots)),
}
