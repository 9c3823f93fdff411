"""Second stage: the functions that a formula may call; there are no others but the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lmeformula.design import bases, factors
from lmeformula.design.arithmetic import aligned, apply_numeric, operate, rows_of, spread
from lmeformula.design.sizes import whole_number
from lmeformula.design.values import (
    Categories,
    Coding,
    Logicals,
    Numbers,
    Value,
    as_floats,
    categories,
    describe,
    missing,
    recode,
)
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError

Learned: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the table.

    Attributes:
      call: takes the values of the arguments; a stateful one takes first what it learned on the data
        of the fit (None while it learns) and returns (value, learned).
      is_stateful: whether it learns something, which prediction then uses again.
      is_of_other_rows: whether the value of a row hangs on the rows beside it.
    """

    call: Callable[..., Any]
    is_stateful: bool = False
    is_of_other_rows: bool = False


def _numeric(name: str, function: Callable[[Any], Any]) -> Function:
    def call(x: Value) -> Value:
        value, invalid = apply_numeric(name, function, x)
        if invalid:
            warn("", f"{name}() is not a number in {invalid} rows, which are left out")
        return value

    return Function(call)


def _log(x: Value, base: Value = None) -> Value:
    log = _numeric("log", np.log).call
    numerator: Value = log(x)
    return numerator if base is None else operate("/", (numerator, log(base)))


def _round(x: Value, digits: Value = 0) -> Value:
    # Beyond these there is nothing to round, or nothing left.
    places = max(-309, min(whole_number(digits, "round(digits=)"), 309))

    def rounded(numbers: Any) -> Any:
        found = np.round(numbers, places)
        return np.where(np.isfinite(found) | (places < 0), found, numbers)

    value: Value = _numeric("round", rounded).call(x)
    return value


def _identity(x: Value) -> Value:
    return x


# ---- conversions and choices --------------------------------------------------------------------------


def _as_numeric(x: Value) -> Value:
    if not isinstance(x, Categories):
        numbers = as_floats(x, "as.numeric()")
        return Numbers(numbers) if numbers.ndim else float(numbers)
    if not x.is_text:  # R: the positions of the levels, from 1
        codes = x.codes.astype(np.float64) + 1.0
        return Numbers(np.where(x.codes < 0, np.nan, codes))
    try:
        numbers = np.array([float(level) for level in x.levels] + [np.nan])
    except ValueError:
        shown = ", ".join(map(repr, x.levels[:4]))
        raise FormulaDataError(
            "as.numeric() needs text that spells numbers", hint=f"Its values are {shown}."
        ) from None
    return Numbers(numbers[x.codes])


def _as_integer(x: Value) -> Value:
    numbers = np.trunc(as_floats(_as_numeric(x), "as.integer()"))
    return Numbers(numbers) if numbers.ndim else float(numbers)


def _bool(x: Value) -> Value:
    if isinstance(x, Categories):
        raise FormulaDataError(f"bool() needs numbers or logical values, not {describe(x)}")
    return operate("|", (x, False))


def _is_na(x: Value) -> Value:
    if not isinstance(x, Numbers | Logicals | Categories):
        raise FormulaDataError("is.na() needs a column")
    return Logicals(missing(x).astype(np.float64))


def _xor(x: Value, y: Value) -> Value:
    a, b = operate("|", (x, False)), operate("|", (y, False))
    return operate("!=", (a, b))


def _ifelse(test: Value, yes: Value, no: Value) -> Value:
    num = rows_of([test, yes, no])
    is_true = operate("|", (test, False))
    if not num:
        return float("nan") if is_true is None else yes if is_true else no
    # A test that is missing as a whole, 0/0, is spread as numbers.
    chosen = as_floats(spread(is_true, num, "ifelse()"), "ifelse()")
    unknown = np.isnan(chosen)
    a, b = spread(yes, num, "ifelse()"), spread(no, num, "ifelse()")
    if isinstance(a, Categories) or isinstance(b, Categories):
        a, b = categories(a), categories(b)
        names = tuple(sorted({*a.levels, *b.levels}))
        codes = np.where(chosen == 1, recode(a, names)[0], recode(b, names)[0])
        return Categories(np.where(unknown, -1, codes), names, is_text=True)
    yes_values, no_values = aligned(as_floats(a, "ifelse()"), as_floats(b, "ifelse()"), "ifelse()")
    is_yes, _ = aligned(chosen == 1, yes_values, "ifelse()")
    values = np.where(is_yes, yes_values, no_values)
    values = np.where(aligned(unknown, values, "ifelse()")[0], np.nan, values)
    both_logical = isinstance(a, Logicals) and isinstance(b, Logicals)
    return Logicals(values) if both_logical else Numbers(values)


def _extreme(name: str, choose: Callable[[Any, Any], Any]) -> Function:
    def call(*values: Value) -> Value:
        if not values:
            raise FormulaDataError(f"{name}() needs columns")
        result = as_floats(values[0], f"{name}()")
        for value in values[1:]:
            result = choose(*aligned(result, as_floats(value, f"{name}()"), f"{name}()"))
        return Numbers(result) if result.ndim else float(result)

    return Function(call)


def _aggregate(name: str, function: Callable[[Any], Any]) -> Function:
    """One number from the data of the fit, used again for prediction."""

    def call(learned: Learned, /, x: Value, na_rm: Value = False) -> tuple[Value, Learned]:
        numbers = as_floats(x, f"{name}()")
        if learned is None:
            if factors.flag(na_rm, "na.rm"):
                numbers = numbers[~np.isnan(numbers)]
            learned = float(function(numbers)) if numbers.size else float("nan")
        return learned, learned

    return Function(call, is_stateful=True)


def _lag(x: Value, k: Value = 1) -> Value:
    numbers = as_floats(x, "lag()")
    if numbers.ndim != 1:
        raise FormulaDataError("lag() needs one column")
    shift = whole_number(k, "lag(k=)")
    result = np.full(numbers.shape, np.nan)
    if abs(shift) < numbers.size:
        if shift >= 0:
            result[shift:] = numbers[: numbers.size - shift]
        else:
            result[:shift] = numbers[-shift:]
    return Numbers(result)


def _cbind(*values: Value, names: tuple[str, ...] = ()) -> Value:
    num = rows_of(list(values))
    if not num:
        raise FormulaDataError("cbind() needs columns")
    blocks = [as_floats(spread(value, num, "cbind()"), "cbind()") for value in values]
    columns = [block if block.ndim == 2 else block[:, None] for block in blocks]
    labels = []
    for i, (block, value) in enumerate(zip(columns, values, strict=True)):
        own = value.columns if isinstance(value, Numbers) and value.columns else ()
        name = names[i] if i < len(names) else str(i + 1)
        labels += list(own) if own else [name] * block.shape[1]
    return Numbers(np.concatenate(columns, axis=1), tuple(labels))


def _contrast(kind: str) -> Function:
    return Function(factors.treatment if kind == "treatment" else lambda: Coding(kind))


def _concatenate(*values: Value) -> Value:
    flat: list[Any] = []
    for value in values:
        flat.extend(value if isinstance(value, tuple) else [value])
    if any(isinstance(value, Numbers | Logicals | Categories) for value in flat):
        raise FormulaDataError(
            "c() joins constants, not columns",
            "E_UNSUPPORTED_ARG",
            hint="Two columns of counts are a response as cbind(successes, failures).",
        )
    return factors.constants(tuple(flat), "c()")


# What R defines besides functions. A column of the same name hides it.
CONSTANTS: Mapping[str, Value] = {
    "pi": float(np.pi),
    "T": True,
    "F": False,
    "Inf": float("inf"),
    "NaN": float("nan"),
    "NA": None,
    **{name: Coding(kind) for name, kind in factors.CONTRASTS.items()},
}


# What NumPy has under R's names.
NUMPYS = (
    *("log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "floor", "ceil", "sign"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
)
FUNCTIONS: Mapping[str, Function] = {
    **{name: _numeric(name, getattr(np, name)) for name in NUMPYS},
    "ceiling": _numeric("ceiling", np.ceil),
    "log": Function(_log),
    "round": Function(_round),
    "I": Function(_identity),
    "identity": Function(_identity),
    "C": Function(factors.c_marker),
    **{name: _contrast(kind) for name, kind in factors.CONTRASTS.items()},
    "factor": Function(factors.factor, is_stateful=True),
    "as.factor": Function(lambda learned, /, x: factors.factor(learned, x), is_stateful=True),
    "ordered": Function(factors.ordered, is_stateful=True),
    "as.ordered": Function(lambda learned, /, x: factors.ordered(learned, x), is_stateful=True),
    "relevel": Function(factors.relevel),
    "interaction": Function(factors.interaction),
    "dummy": Function(factors.dummy),
    "cut": Function(factors.cut, is_stateful=True),
    "as.numeric": Function(_as_numeric),
    "as.double": Function(_as_numeric),
    "as.integer": Function(_as_integer),
    "as.logical": Function(_bool),
    "bool": Function(_bool),
    "is.na": Function(_is_na),
    "xor": Function(_xor),
    "ifelse": Function(_ifelse),
    "pmin": _extreme("pmin", np.minimum),
    "pmax": _extreme("pmax", np.maximum),
    "lag": Function(_lag, is_of_other_rows=True),
    "c": Function(_concatenate),
    "cbind": Function(_cbind),
    "mean": _aggregate("mean", np.mean),
    "median": _aggregate("median", np.median),
    "sd": _aggregate("sd", lambda v: np.std(v, ddof=1)),
    "min": _aggregate("min", np.min),
    "max": _aggregate("max", np.max),
    "scale": Function(bases.scale, is_stateful=True),
    "standardize": Function(bases.scale, is_stateful=True),
    "center": Function(bases.center, is_stateful=True),
    "poly": Function(bases.poly, is_stateful=True),
    "bs": Function(bases.bs, is_stateful=True),
    "ns": Function(bases.ns, is_stateful=True),
    "cr": Function(bases.ns, is_stateful=True),
}
