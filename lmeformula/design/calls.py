"""Second stage: how a formula's calls reach functions - matching arguments, the caller's own functions."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lmeformula.design.factors import CONTRASTS
from lmeformula.design.functions import FUNCTIONS
from lmeformula.design.values import Categories, Logicals, Numbers, Value, merge_levels
from lmeformula.errors import FormulaDataError


def match_arguments(
    name: str,
    function: Callable[..., Any],
    num_learned: int,
    positional: list[Value],
    named: dict[str, Any],
) -> tuple[list[Value], dict[str, Any]]:
    """Match arguments as R does: first by name, then the others in order to what is left."""
    parameters = list(inspect.signature(function).parameters.values())[num_learned:]
    takes_any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    left = [] if takes_any_number else [name for name in names if name not in named]
    matched = {**named, **dict(zip(left, positional, strict=False))}
    required = [p.name for p in parameters if p.default is p.empty and p.name in names]
    problem = ""
    if unknown := [name for name in named if name not in names]:
        problem = f"has no argument '{_in_r(unknown[0])}' here"
    elif len(positional) > len(left) and not takes_any_number:
        problem = f"takes at most {len(names)} arguments, not {len(positional) + len(named)}"
    elif absent := [name for name in required if name not in matched]:
        problem = f"needs the argument '{_in_r(absent[0])}'"
    if problem:
        shown = ", ".join(map(_in_r, ["..."] * takes_any_number + names))
        raise FormulaDataError(
            f"{name}() {problem}",
            "E_UNSUPPORTED_ARG",
            hint=f"Its arguments are {shown}." if shown else "It has no arguments.",
        )
    return (positional, named) if takes_any_number else ([], matched)


def _in_r(name: str) -> str:
    return name if name == "..." else name.replace("_", ".")


def suggest_function(name: str, functions: Iterable[str]) -> str:
    """Say which functions there are, for the message about one that is not among them."""
    known = sorted(sorted({*FUNCTIONS, *functions}), key=str.casefold)
    by_case = {entry.casefold(): entry for entry in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=0.7)
    guess = f"Did you mean {by_case[near[0]]}()? " if near else ""
    listed = ", ".join(entry for entry in known if entry not in CONTRASTS)
    return (
        f"{guess}There are {listed}. Compute a column beforehand, "
        f'or pass the function: functions={{"{name}": ...}}.'
    )


def call_users(
    name: str,
    function: Callable[..., Any],
    positional: list[Value],
    named: dict[str, Value],
    num_rows: int,
) -> Value:
    """Call a function of the caller's with arrays, and read what it returns.

    Raises:
      FormulaDataError: if it raises anything, or returns something else than a value for each row.
    """
    arguments = [_to_user(value) for value in positional]
    keywords = {key: _to_user(value) for key, value in named.items()}
    try:
        result = function(*arguments, **keywords)
    except Exception as error:
        raise FormulaDataError(
            f"your function '{name}' raised {type(error).__name__}: {error}"
        ) from error
    return _from_user(name, result, num_rows)


def _to_user(value: Value) -> Any:
    if isinstance(value, Categories):
        return np.array([*value.levels, None], dtype=object)[value.codes]
    if isinstance(value, Logicals) and not np.isnan(value.values).any():
        return value.values.astype(bool)
    if isinstance(value, Numbers | Logicals):
        return np.array(value.values)  # a copy: the function may write into it
    return value


def _from_user(name: str, result: Any, num_rows: int) -> Value:
    if isinstance(result, bool | int | float | str):
        return result
    array = np.asarray(result)
    if array.ndim in (1, 2) and array.shape[0] == num_rows:
        if array.dtype == bool:
            return Logicals(array.astype(np.float64))
        if array.dtype.kind in "iuf":
            columns = tuple(str(i + 1) for i in range(array.shape[1])) if array.ndim == 2 else ()
            return Numbers(array.astype(np.float64), columns)
        if array.ndim == 1:
            texts = [None if v is None or v != v else str(v) for v in array.tolist()]
            names = sorted({text for text in texts if text is not None})
            place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
            codes = np.array([place.get(text, -1) for text in texts], dtype=np.int64)
            return merge_levels(codes, names, is_text=True)
    raise FormulaDataError(
        f"your function '{name}' returned an array of shape {array.shape} "
        f"and type {array.dtype} for {num_rows} rows",
        hint="Return one number, truth value or string for each row, or a matrix of numbers.",
    )
