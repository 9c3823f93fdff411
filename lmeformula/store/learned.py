"""What each stateful function of formulas remembers, in a saved fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmeformula.design.curves import Curve
from lmeformula.design.splines import Spline, num_polynomials
from lmeformula.formula.smooths import FUNCTIONS as SMOOTHS
from lmeformula.store.archive import Json
from lmeformula.store.codec import Codec, Coded, Reader, Writer, choice, real, whole
from lmeformula.store.containers import Array, Each, Levels, Record

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


def _write_curve(value: Any, out: Writer) -> Json:
    return CURVE.write(value, out)


def _read_curve(found: Json, source: Reader) -> Any:
    """s() and t2(): bases, and combinations of their functions."""
    curve: Curve = CURVE.read(found, source)
    count = 1
    for spline in curve.splines:
        u, d = spline.knots.shape
        k = u - (spline.basis == "cc") if spline.basis != "tp" else spline.weights.shape[1]
        if u < 2 or spline.shift.shape != (d,) or (spline.basis != "tp" and d > 1):
            source.refuse("the knots do not go with the basis")
        if spline.basis == "tp":
            if spline.weights.shape[0] != u + num_polynomials(d):
                source.refuse("the basis does not go with its points")
        elif not (np.diff(spline.knots[:, 0]) > 0).all():
            source.refuse("the knots are not in order")
        count *= k
    arrays = (curve.null, *curve.pieces)
    if not curve.splines or any(array.shape[0] != count for array in arrays):
        source.refuse("the curve is not of its bases")
    numbers = (*arrays, *(a for s in curve.splines for a in (s.knots, s.shift, s.weights)))
    if not all(np.isfinite(array).all() for array in (*numbers, curve.low, curve.high)):
        source.refuse("the curve has a number that is none")
    if len(curve.names) != curve.null.shape[1]:
        source.refuse("the columns of the curve have other names")
    return curve


SPLINE = Record(
    Spline,
    {
        "basis": choice(("tp", "cr", "cc")),
        "knots": Array(("", "")),
        "shift": Array(("",)),
        "weights": Array(("", "")),
    },
)
CURVE = Record(
    Curve,
    {
        "splines": Each(SPLINE),
        "null": Array(("", "")),
        "pieces": Each(Array(("", ""))),
        "names": Each(Each(whole())),
        "levels": Levels(),
        "low": Array(("",)),
        "high": Array(("",)),
    },
)

# An entry for every stateful function of lmeformula/design/functions.py, and smooths; a test holds this.
LEARNED: Mapping[str, Codec] = {
    **dict.fromkeys(("factor", "as.factor", "ordered", "as.ordered"), Levels()),
    "cut": Coded(Each(real()).write, _read_breaks),
    **dict.fromkeys(("mean", "median", "sd", "min", "max"), real()),
    **dict.fromkeys(("scale", "standardize", "center"), Coded(_write_shift, _read_shift)),
    "poly": Coded(_write_recurrences, _read_recurrences),
    **dict.fromkeys(("bs", "ns", "cr"), Coded(_write_knots, _read_knots)),
    **dict.fromkeys(SMOOTHS, Coded(_write_curve, _read_curve)),
}
