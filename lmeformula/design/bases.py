"""Second stage: centring, polynomials, splines and intervals, with what prediction must remember of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.arithmetic import as_value
from lmeformula.design.sizes import MOST_COLUMNS, MOST_LEVELS, check_room, whole_number
from lmeformula.design.values import Numbers, Value, as_floats, describe
from lmeformula.errors import FormulaDataError

# B-splines of higher degree are lost to rounding.
MOST_DEGREE = 50


def scale(
    learned: Any, /, x: Value, center: Value = True, scale: Value = True
) -> tuple[Value, Any]:
    """Centre a column and divide it by its standard deviation, both from the data of the fit.

    Args:
      learned: None, or (centre, divisor), each () or (m,).
      x: a column, or a matrix whose columns are treated one by one.
      center: TRUE for the mean, FALSE for 0, or the number to subtract.
      scale: TRUE for the standard deviation with n - 1 (the root mean square when not centred, as in R),
        FALSE for 1, or the divisor.
    Returns:
      The numbers, and (centre, divisor).
    Raises:
      FormulaDataError: if the column is constant, so that its standard deviation is zero.
    """
    numbers = as_floats(x, "scale()")
    if learned is None:
        if numbers.ndim == 0 or np.isnan(numbers).all(axis=0).any():
            raise FormulaDataError("scale() needs a column with values")
        if (np.sum(~np.isnan(numbers), axis=0) < 2).any() and scale is True:
            raise FormulaDataError("scale() of a single value has no standard deviation")
        centre = np.asarray(_choice(center, "center", 0.0, lambda: np.nanmean(numbers, axis=0)))
        moved = numbers - centre
        count = np.sum(~np.isnan(moved), axis=0)
        divisor = np.asarray(
            _choice(
                scale, "scale", 1.0, lambda: np.sqrt(np.nansum(moved**2, axis=0) / (count - 1.0))
            )
        )
        if not np.isfinite(centre).all() or not np.isfinite(divisor).all():
            raise FormulaDataError(
                "scale() needs a finite mean and standard deviation", hint="Are values infinite?"
            )
        if not np.all(divisor > 0):
            raise FormulaDataError(
                "scale() of a column that is constant", hint="Leave the column out."
            )
        learned = (centre, divisor)
    elif any(np.shape(part) not in {(), numbers.shape[1:]} for part in learned):
        raise FormulaDataError("scale() has other columns than in the data of the fit")
    centre, divisor = learned
    return as_value((numbers - centre) / divisor, (x,)), learned


def center(learned: Any, /, x: Value) -> tuple[Value, Any]:
    """Subtract a column's mean in the data of the fit."""
    return scale(learned, x, True, False)


def poly(learned: Any, /, *x: Value, degree: Value = None, raw: Value = False) -> tuple[Value, Any]:
    """Orthogonal (or raw) polynomials of one or several columns, as R's poly().

    Args:
      learned: None, or the recurrences of each column.
      *x: columns, and at most one constant, which is the degree.
      degree: the highest (total) degree; 1 without.
      raw: TRUE for plain powers.
    Returns:
      A matrix with a column for every product of powers up to the degree, and what was learned.
    Raises:
      FormulaDataError: if the degree does not fit the data, or values are missing while learning.
    """
    columns = [as_floats(value, "poly()") for value in x if isinstance(value, Numbers)]
    constants: list[Value] = [value for value in x if not isinstance(value, Numbers)]
    constants += [] if degree is None else [degree]
    if not columns or len(constants) > 1 or any(column.ndim != 1 for column in columns):
        raise FormulaDataError(
            "poly() needs columns of numbers and one degree", hint="For example poly(x, 2)."
        )
    is_raw = _is_true(raw, "raw")
    highest = whole_number(constants[0] if constants else 1, "degree", least=1, most=MOST_COLUMNS)
    states: list[dict[str, Any]] = learned if learned is not None else [{} for _ in columns]
    if learned is None:
        for column in columns:
            num_missing = int(np.isnan(column).sum())
            if num_missing and not is_raw:
                raise FormulaDataError(
                    f"poly() of a column that is missing in {num_missing} "
                    f"{'row' if num_missing == 1 else 'rows'}",
                    hint="As in R: leave these rows out of the data first.",
                )
            if not is_raw and np.isinf(column).any():
                raise FormulaDataError("poly() of a column that is infinite in some rows")
            distinct = np.unique(column[~np.isnan(column)]).size
            if highest >= distinct and not is_raw:
                raise FormulaDataError(
                    f"poly() of degree {highest} needs more than {highest} distinct values, "
                    f"and there are {distinct}",
                    hint="Lower the degree.",
                )
    if len({column.shape for column in columns}) > 1:
        raise FormulaDataError("poly() needs columns of one length")
    num_products = math.comb(highest + len(columns), highest) - 1
    check_room("poly()", columns[0].size, num_products)
    if (highest + 1) ** len(columns) > MOST_LEVELS:
        raise FormulaDataError(
            f"poly() of {len(columns)} columns and degree {highest} has {num_products:,} products",
            hint="Lower the degree.",
        )
    if len(columns) != len(states):
        raise FormulaDataError("poly() has other columns than in the data of the fit")
    if (
        learned is not None
        and not is_raw
        and {len(s.get("alpha", ())) for s in states} != {highest}
    ):
        raise FormulaDataError("poly() is of another degree than in the data of the fit")
    from lmeformula.design.coding import poly_basis

    with np.errstate(all="ignore"):  # powers that are not finite are refused where they are used
        powers = [
            column[:, None] ** np.arange(1, highest + 1)
            if is_raw
            else poly_basis(column, highest, state)
            for column, state in zip(columns, states, strict=True)
        ]
    if len(powers) == 1:
        return _basis(powers[0]), states
    products, names = [], []
    for exponents in itertools.product(range(highest + 1), repeat=len(powers)):
        exponents = exponents[::-1]  # R: the first column's power varies fastest
        if 0 < sum(exponents) <= highest:
            used = [basis[:, e - 1] for basis, e in zip(powers, exponents, strict=True) if e]
            products.append(np.prod(used, axis=0))
            names.append(".".join(map(str, exponents)))
    return Numbers(np.column_stack(products), tuple(names)), states


def bs(
    learned: Any,
    /,
    x: Value,
    df: Value = None,
    knots: Value = None,
    degree: Value = 3,
    intercept: Value = False,
    Boundary_knots: Value = None,
) -> tuple[Value, Any]:
    """B-splines of a column; inner knots at its quantiles in the data of the fit unless given."""
    numbers = _vector(x, "bs()")
    power = whole_number(degree, "degree", least=1, most=MOST_DEGREE)
    with_constant = _is_true(intercept, "intercept")
    if learned is None:
        learned = _knots("bs()", numbers, df, power + int(with_constant), knots, Boundary_knots)
    inner, bounds = learned
    from lmeformula.design.coding import b_spline_basis

    return _on_present(
        numbers, lambda v: b_spline_basis(v, inner, bounds, power, with_constant)
    ), learned


def ns(
    learned: Any,
    /,
    x: Value,
    df: Value = None,
    knots: Value = None,
    intercept: Value = False,
    Boundary_knots: Value = None,
) -> tuple[Value, Any]:
    """Natural cubic splines of a column, linear beyond the boundary knots; the space of R's ns().

    Without the intercept these are the splines that vanish at the lower boundary knot, as in R.
    """
    numbers = _vector(x, "ns()")
    with_constant = _is_true(intercept, "intercept")
    if learned is None:
        learned = _knots("ns()", numbers, df, 1 + int(with_constant), knots, Boundary_knots)
    inner, bounds = learned
    from lmeformula.design.coding import natural_spline_basis

    first = 0 if with_constant else 1
    return _on_present(
        numbers, lambda v: natural_spline_basis(v, inner, bounds)[:, first:]
    ), learned


def cut_points(numbers: Floats, breaks: tuple[Any, ...]) -> Floats:
    """Find the ends of the intervals of cut(): as given, or so many of equal width.

    Raises:
      FormulaDataError: if the breaks are not numbers, or fewer than two.
    """
    if any(isinstance(b, bool) or not isinstance(b, int | float) for b in breaks):
        raise FormulaDataError(
            "cut() needs constant breaks", "E_UNSUPPORTED_ARG", hint="For example c(0, 10, 20)."
        )
    if len(breaks) > 1:
        points = np.unique(np.asarray(breaks, dtype=np.float64))
        if np.isnan(points).any():
            raise FormulaDataError("the breaks of cut() must be numbers, not NaN")
        if len(breaks) > MOST_LEVELS:
            raise FormulaDataError(
                f"cut() has {len(breaks):,} breaks, and {MOST_LEVELS:,} is the most that there can be"
            )
        if points.size < len(breaks):
            raise FormulaDataError("the breaks of cut() must be distinct")
        return points
    number = whole_number(breaks[0], "breaks", most=MOST_LEVELS)
    if number < 2:
        raise FormulaDataError("cut() needs at least two intervals")
    if not np.isfinite(numbers[~np.isnan(numbers)]).all() or np.isnan(numbers).all():
        raise FormulaDataError(
            "cut() into intervals of equal width needs finite numbers",
            hint="Give the ends of the intervals: cut(x, c(0, 10, Inf)).",
        )
    lowest, highest = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    width = (highest - lowest) or abs(lowest) or 1.0
    points = np.linspace(lowest, highest, number + 1)
    points[0], points[-1] = lowest - width / 1000, highest + width / 1000  # R's margin
    return points


def interval_names(points: Floats, closed_right: bool, lowest: bool) -> list[str]:
    """Name intervals as R does: (0,10], with as many digits as tell the ends apart."""
    for digits in range(3, 18):
        ends = [f"{point:.{digits}g}" for point in points]
        if len(set(ends)) == len(ends):
            break
    left, right = ("(", "]") if closed_right else ("[", ")")
    names = [f"{left}{a},{b}{right}" for a, b in itertools.pairwise(ends)]
    if lowest and closed_right:
        names[0] = "[" + names[0][1:]
    elif lowest:
        names[-1] = names[-1][:-1] + "]"
    return names


def _choice(value: Value, name: str, off: float, on: Any) -> Any:
    if isinstance(value, bool):
        return on() if value else off
    if isinstance(value, int | float):
        return float(value)
    raise FormulaDataError(
        f"{name} must be TRUE, FALSE or a number, not {describe(value)}", "E_UNSUPPORTED_ARG"
    )


def _is_true(value: Value, name: str) -> bool:
    if not isinstance(value, bool):
        raise FormulaDataError(f"{name} must be TRUE or FALSE", "E_UNSUPPORTED_ARG")
    return value


def _vector(x: Value, name: str) -> Floats:
    numbers = as_floats(x, name)
    if numbers.ndim != 1:
        raise FormulaDataError(f"{name} needs one column")
    return numbers


def _knots(
    name: str, numbers: Floats, df: Value, fewest: int, knots: Value, boundary: Value
) -> tuple[tuple[float, ...], tuple[float, float]]:
    number = fewest if df is None else whole_number(df, "df", least=1, most=MOST_COLUMNS)
    if number < fewest:
        raise FormulaDataError(
            f"{name} needs a df of at least {fewest}, not {number}", "E_UNSUPPORTED_ARG"
        )
    present = numbers[~np.isnan(numbers)]
    if present.size == 0:
        raise FormulaDataError(f"{name} of a column without values")
    if df is not None and knots is not None:
        raise FormulaDataError(f"{name} takes df or knots, not both", "E_UNSUPPORTED_ARG")
    bounds = (float(present.min()), float(present.max()))
    if boundary is not None:
        ends = _numbers(boundary, "Boundary.knots")
        if len(ends) != 2:
            raise FormulaDataError(
                f"Boundary.knots are two numbers, and there are {len(ends)}",
                "E_UNSUPPORTED_ARG",
                hint="For example Boundary.knots = c(0, 10).",
            )
        bounds = (ends[0], ends[1])
    if not (np.isfinite(bounds).all() and np.isfinite(present).all()):
        raise FormulaDataError(f"{name} needs a column and boundary knots that are finite")
    if bounds[0] >= bounds[1]:
        raise FormulaDataError(f"{name} of a column that is constant")
    if knots is not None:
        inner = _numbers(knots, "knots")
    else:
        inside = present[(present >= bounds[0]) & (present <= bounds[1])]
        if inside.size == 0:
            raise FormulaDataError(
                f"no value of the column is between the boundary knots of {name}"
            )
        places = np.linspace(0, 1, number - fewest + 2)[1:-1]
        inner = tuple(np.quantile(inside, places).tolist())
    if len(set(inner)) < len(inner) or any(not bounds[0] < k < bounds[1] for k in inner):
        raise FormulaDataError(
            f"the inner knots of {name} must be distinct and inside the boundary knots",
            hint="Use fewer degrees of freedom, or give knots = c(...).",
        )
    return tuple(sorted(inner)), bounds


def _numbers(value: Value, name: str) -> tuple[float, ...]:
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise FormulaDataError(f"{name} must be constants such as c(1, 2)", "E_UNSUPPORTED_ARG")
    if len(values) > MOST_COLUMNS:
        raise FormulaDataError(
            f"{name} are {len(values):,}, and {MOST_COLUMNS:,} is the most that there can be",
            "E_UNSUPPORTED_ARG",
        )
    return tuple(float(v) for v in values)  # type: ignore[arg-type]


def _on_present(numbers: Floats, basis: Any) -> Numbers:
    present = ~np.isnan(numbers)
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        columns = basis(numbers[present])
    values = np.full((numbers.size, columns.shape[1]), np.nan)
    values[present] = columns
    return _basis(values)


def _basis(values: Floats) -> Numbers:
    if values.shape[1] == 1:  # R: poly(x, 1) is one column without a number
        return Numbers(values[:, 0])
    return Numbers(values, tuple(str(i + 1) for i in range(values.shape[1])))
