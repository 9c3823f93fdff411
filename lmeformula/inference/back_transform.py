"""From the scale of a transformed response, such as log(y), back to that of its column.

What a normal model of h(y) says of y itself is by the inverse of h: it brings the mean of h(y) to the median of
y where h is monotone, and to the mean of y where h is linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.formula import ir
from lmeformula.formula.show import expression_text

Function = Callable[[Floats], Floats]

# Beyond what a function takes as values its inverse stays at the end, so that it is monotone everywhere.
INVERSES: dict[str, Function] = {
    "log1p": np.expm1,
    "log2": np.exp2,
    "log10": lambda t: np.power(10.0, t),
    "exp": lambda t: np.log(np.maximum(t, 0.0)),
    "expm1": lambda t: np.log1p(np.maximum(t, -1.0)),
    "sqrt": lambda t: np.square(np.maximum(t, 0.0)),
    "sinh": np.arcsinh,
    "tanh": lambda t: np.arctanh(np.clip(t, -1.0, 1.0)),
    "atan": lambda t: np.tan(np.clip(t, -0.5 * np.pi, 0.5 * np.pi)),
}
# Functions that leave numbers as they are.
WRAPPERS = ("I", "identity", "as.numeric", "as.double")
# At how many values an inverse is tried for being linear or exponential, and how nearly.
TRIED, NEARLY = 5, 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BackTransform:
    """A response as it is written, and the way back from it.

    Attributes:
      text: the transformed response.
      column: what is transformed.
      inverse: values of the response -> values of the column.
      is_linear: whether means are brought to means.
      log_unit: of responses that are logarithms, what a difference is times to be a natural one; else None.
    """

    text: str
    column: str
    inverse: Function
    is_linear: bool
    log_unit: float | None


def back_transform(expression: ir.Expression, values: Floats) -> BackTransform | None:
    """Find the way back from a response that is a chain of functions with inverses around one column.

    Args:
      expression: the response.
      values: (n,) of it; () of a fit without its rows: what must be of one sign then counts as positive.
    Returns:
      The way back; None where there is none, or none that is known here.
    Example:
      >>> import lmeformula as lf
      >>> back = back_transform(lf.parse("log(2 * y) ~ x").response.expression, np.log([2.0, 4.0]))
      >>> back.column, back.inverse(np.log([6.0])).round(12).tolist(), back.log_unit
      ('y', [3.0], 1.0)
    """
    steps: list[Function] = []
    node, here = expression, values
    with np.errstate(all="ignore"):
        while not isinstance(node, ir.Column):
            found = _outermost(node, here)
            if found is None:
                return None
            step, node = found
            here = step(here)
            steps.append(step)
        if not np.isfinite(here).all():
            return None

    def inverse(values: Floats) -> Floats:
        with np.errstate(all="ignore"):
            for step in steps:
                values = step(values)
        return np.asarray(values, float)

    ends = (float(values.min()), float(values.max())) if len(values) else (0.2, 0.8)
    tried = inverse(np.linspace(*ends, TRIED))
    with np.errstate(all="ignore"):
        logs = np.log(tried)
        unit = (logs[-1] - logs[0]) / (ends[1] - ends[0])
    return BackTransform(
        expression_text(expression),
        node.name,
        inverse,
        is_linear=_is_straight(tried),
        log_unit=float(np.round(unit, 12)) if _is_straight(logs) and unit != 0.0 else None,
    )


def _is_straight(values: Floats) -> bool:
    """Whether values at equal distances are those of a line."""
    if not np.isfinite(values).all() or not np.ptp(values) > 0.0:
        return False
    bends = np.abs(np.diff(values, 2))
    return bool((bends <= NEARLY * np.abs(values).max()).all())


def _outermost(node: ir.Expression, values: Floats) -> tuple[Function, ir.Expression] | None:
    """The inverse of the outermost function, and what it is of; None where it has none."""
    match node:
        case ir.Call(function=name, arguments=(ir.Argument(value=inner),)):
            if name in WRAPPERS:
                return _same, inner
            if name == "log":
                return np.exp, inner
            return (INVERSES[name], inner) if name in INVERSES else None
        case ir.Call(
            function="log", arguments=(ir.Argument(value=inner, name=""), ir.Argument(value=base))
        ):
            number = _number(base)
            return None if number is None or number <= 0.0 else (_powers(number), inner)
        case ir.Operation(operator="(" | "+", operands=(inner,)):
            return _same, inner
        case ir.Operation(operator="-", operands=(inner,)):
            return np.negative, inner
        case ir.Operation(operands=(left, right)):
            return _of_two(node.operator, left, right, values)
    return None


def _of_two(
    operator: str, left: ir.Expression, right: ir.Expression, values: Floats
) -> tuple[Function, ir.Expression] | None:
    """The inverse of an operation with one number."""
    a, b = _number(left), _number(right)
    if (a is None) == (b is None):
        return None
    if b is None:
        assert a is not None
        is_one_sided = bool((values > 0.0).all() or (values < 0.0).all())
        return {
            "+": (lambda t: t - a, right),
            "-": (lambda t: a - t, right),
            "*": (lambda t: t / a, right) if a else None,
            "/": (_reciprocal(a, -1.0 if (values < 0.0).any() else 1.0), right)
            if a and is_one_sided
            else None,
            "^": (lambda t: np.log(np.maximum(t, 0.0)) / np.log(a), right)
            if a > 0.0 and a != 1.0
            else None,
        }.get(operator)
    return {
        "+": (lambda t: t - b, left),
        "-": (lambda t: t + b, left),
        "*": (lambda t: t / b, left) if b else None,
        "/": (lambda t: t * b, left) if b else None,
        "^": (_root(b), left) if b and b % 2.0 and (b > 0.0 or (values > 0.0).all()) else None,
    }.get(operator)


def _same(values: Floats) -> Floats:
    return values


def _powers(base: float) -> Function:
    return lambda t: np.power(base, t)


def _reciprocal(numerator: float, sign: float) -> Function:
    """The inverse of numerator / y, for values of one sign; at infinity beyond zero."""
    return lambda t: numerator / (sign * np.maximum(sign * t, 0.0))


def _root(power: float) -> Function:
    """The inverse of a power that is not even: of odd whole ones everywhere, of others from zero on."""
    if power % 2.0 == 1.0 and power > 0.0:
        return lambda t: np.sign(t) * np.abs(t) ** (1.0 / power)
    return lambda t: np.maximum(t, 0.0) ** (1.0 / power)


def _number(node: ir.Expression) -> float | None:
    match node:
        case ir.Number():
            return node.value
        case ir.Operation(operator="(" | "+", operands=(inner,)):
            return _number(inner)
        case ir.Operation(operator="-", operands=(inner,)):
            found = _number(inner)
            return None if found is None else -found
    return None
