"""What each stateful function of formulas remembers, in a saved fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmeformula.store.archive import Json
from lmeformula.store.codec import Codec, Reader, Real, Writer
from lmeformula.store.containers import Each, Levels

_FINITE = Real(finite=True)
_NUMBERS = Each(_FINITE)


class _Shift:
    """scale() and center(): centre and divisor, each one number or one for each column."""

    def write(self, value: Any, out: Writer) -> Json:
        """As lists of numbers."""
        return [np.asarray(part, dtype=float).tolist() for part in value]

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if not isinstance(found, list) or len(found) != 2:
            source.refuse("it is not a centre and a divisor")
        centre, divisor = (self._part(part, source) for part in found)
        if not (divisor > 0).all():
            source.refuse("a divisor is not positive")
        return centre, divisor

    def _part(self, found: Json, source: Reader) -> Any:
        codec = _NUMBERS if isinstance(found, list) else _FINITE
        return np.asarray(codec.read(found, source), dtype=float)


class _Recurrences:
    """poly(): for each of its columns the coefficients of the recurrence, or none for raw powers."""

    def write(self, value: Any, out: Writer) -> Json:
        """As lists of numbers."""
        return [self._column(state) for state in value]

    def _column(self, state: dict[str, dict[int, float]]) -> Json:
        # Their keys are 0, 1, ..., in any order.
        return {
            name: [float(numbers[i]) for i in range(len(numbers))]
            for name, numbers in state.items()
        }

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if not isinstance(found, list) or not found:
            source.refuse("it is not a list of recurrences")
        return [self._state(state, source) for state in found]

    def _state(self, found: Json, source: Reader) -> dict[str, dict[int, float]]:
        if found == {}:
            return {}
        if not isinstance(found, dict) or set(found) != {"alpha", "norms2"}:
            source.refuse("it is not a recurrence")
        alpha, norms = (_NUMBERS.read(found[name], source) for name in ("alpha", "norms2"))
        if len(norms) != len(alpha) + 1 or not alpha or min(norms) <= 0:
            source.refuse("the numbers of the recurrence do not fit together")
        return {"alpha": dict(enumerate(alpha)), "norms2": dict(enumerate(norms))}


class _Knots:
    """bs() and ns(): inner knots and boundary knots."""

    def write(self, value: Any, out: Writer) -> Json:
        """As lists of numbers."""
        inner, bounds = value
        return {"inner": list(map(float, inner)), "bounds": list(map(float, bounds))}

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        if not isinstance(found, dict) or set(found) != {"inner", "bounds"}:
            source.refuse("it is not a set of knots")
        inner = _NUMBERS.read(found["inner"], source)
        bounds = _NUMBERS.read(found["bounds"], source)
        ends = (*bounds[:1], *inner, *bounds[1:])
        if len(bounds) != 2 or any(a >= b for a, b in itertools.pairwise(ends)):
            source.refuse("the knots are not in order")
        return inner, bounds


class _Breaks:
    """cut(): the ends of its intervals."""

    def write(self, value: Any, out: Writer) -> Json:
        """As lists of numbers."""
        return [Real().write(point, out) for point in np.asarray(value)]

    def read(self, found: Json, source: Reader) -> Any:
        """Checked."""
        points = np.array(Each(Real()).read(found, source), dtype=float)
        if len(points) < 2 or not (points[:-1] < points[1:]).all():
            source.refuse("the ends of the intervals are not in order")
        return points


# An entry for every stateful function of lmeformula/design/functions.py; a test holds this.
LEARNED: Mapping[str, Codec] = {
    **dict.fromkeys(("factor", "as.factor", "ordered", "as.ordered"), Levels()),
    "cut": _Breaks(),
    **dict.fromkeys(("mean", "median", "sd", "min", "max"), Real()),
    **dict.fromkeys(("scale", "standardize", "center"), _Shift()),
    "poly": _Recurrences(),
    **dict.fromkeys(("bs", "ns", "cr"), _Knots()),
}
