"""Second stage: the functions of a formula that make and change factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.design import bases
from lmeformula.design.sizes import MOST_LEVELS, check_room, whole_number
from lmeformula.design.values import (
    Categories,
    Coding,
    Logicals,
    Numbers,
    Value,
    as_floats,
    categories,
    describe,
    format_number,
    listed,
    merge_levels,
    recode,
)
from lmeformula.errors import FormulaDataError

CONTRASTS: Mapping[str, str] = {
    "contr.treatment": "treatment",
    "contr.sum": "sum",
    "contr.helmert": "helmert",
    "contr.poly": "poly",
    "contr.SAS": "sas",
    "contr.sdif": "diff",
    "Treatment": "treatment",
    "Sum": "sum",
    "Helmert": "helmert",
    "Poly": "poly",
    "Diff": "diff",
}
_KINDS = ("treatment", "sum", "helmert", "poly", "sas", "diff")


def coding_named(name: str) -> Coding:
    """Find contrasts by name: "sum", "contr.sum" or "Sum".

    Raises:
      FormulaDataError: if there are none of this name.
    """
    kind = CONTRASTS.get(name, name)
    if kind not in _KINDS:
        raise FormulaDataError(
            f"there are no contrasts called {name!r}",
            "E_UNSUPPORTED_ARG",
            hint=f"Choose one of {', '.join(_KINDS)}.",
        )
    return Coding(kind)


def flag(value: Value, name: str) -> bool:
    """Read an argument that is TRUE or FALSE."""
    if not isinstance(value, bool):
        raise FormulaDataError(
            f"{name} must be TRUE or FALSE, not {describe(value)}", "E_UNSUPPORTED_ARG"
        )
    return value


def factor(
    learned: Any,
    /,
    x: Value,
    levels: Value = None,
    labels: Value = None,
    ordered: Value = None,
) -> tuple[Value, Any]:
    """Make a factor; the levels are those of the data of the fit."""
    if not isinstance(x, Numbers | Logicals | Categories):
        raise FormulaDataError(f"factor() needs a column, not {describe(x)}")
    factor = categories(x)
    wanted = learned if learned is not None else factor.levels
    if levels is not None:
        wanted = tuple(spell(level) for level in constants(levels, "levels"))
    # Levels that are new at prediction go last: they are reported where the factor is used.
    known = set(wanted)
    extra = [] if levels is not None else [name for name in factor.levels if name not in known]
    names = [*wanted, *extra]
    codes, _ = recode(factor, names)
    if labels is not None:
        given = [spell(label) for label in constants(labels, "labels")]
        if len(given) != len(wanted):
            raise FormulaDataError(f"factor() has {len(wanted)} levels but {len(given)} labels")
        names = [*given, *extra]
    result = merge_levels(codes, names)
    is_ordered = factor.ordered if ordered is None else flag(ordered, "ordered")
    return replace(result, ordered=is_ordered, coding=factor.coding), wanted


def ordered(
    learned: Any, /, x: Value, levels: Value = None, labels: Value = None
) -> tuple[Value, Any]:
    """Make an ordered factor."""
    return factor(learned, x, levels, labels, True)


def constants(value: Value, name: str) -> tuple[Any, ...]:
    """Read an argument that is one constant, or several in c()."""
    values = value if isinstance(value, tuple) else (value,)
    if any(not isinstance(item, bool | int | float | str) for item in values):
        raise FormulaDataError(f"{name} must be constants, such as c(1, 2)", "E_UNSUPPORTED_ARG")
    return values


def spell(value: bool | float | str) -> str:
    """Write a constant as the name of a level."""
    if isinstance(value, bool | str):
        return str(value)
    return format_number(value)


def relevel(x: Value, ref: Value) -> Value:
    """Move one level, by name or by position from 1, to the front."""
    if not isinstance(x, Categories):
        raise FormulaDataError(f"relevel() needs a factor, not {describe(x)}")
    if isinstance(ref, float | int) and not isinstance(ref, bool):
        position = whole_number(ref, "relevel(ref=)") - 1
    else:
        position = x.levels.index(str(ref)) if str(ref) in x.levels else -1
    if not 0 <= position < len(x.levels):
        raise FormulaDataError(
            f"{ref!r} is not a level of the factor", hint=f"Its levels are {listed(x.levels)}."
        )
    levels = (x.levels[position], *x.levels[:position], *x.levels[position + 1 :])
    return replace(x, codes=recode(x, levels)[0], levels=levels, is_text=False)


def interaction(*factors: Value, sep: Value = ".") -> Value:
    """Cross factors; the first one varies fastest, as in R."""
    if not factors or not all(isinstance(f, Numbers | Logicals | Categories) for f in factors):
        raise FormulaDataError("interaction() needs columns")
    result, *others = [categories(factor) for factor in factors]  # type: ignore[arg-type]
    for other in others:
        num_combinations = len(result.levels) * len(other.levels)
        if num_combinations > MOST_LEVELS:
            raise FormulaDataError(
                f"interaction() has {num_combinations:,} combinations of levels, and {MOST_LEVELS:,} is "
                "the most that there can be",
                hint="As a grouping factor, (1 | g:h) has the combinations that occur.",
            )
        if other.codes.shape != result.codes.shape:
            raise FormulaDataError("interaction() needs columns of one length")
        # R: the first factor varies fastest; combinations that never occur are dropped later.
        codes = np.where(
            (result.codes < 0) | (other.codes < 0),
            -1,
            result.codes + len(result.levels) * other.codes.astype(np.int64),
        )
        names = [f"{a}{sep}{b}" for b in other.levels for a in result.levels]
        result = merge_levels(codes, names)
    return replace(result, is_text=False)


def dummy(x: Value, levelsToKeep: Value = None) -> Value:
    """Indicator columns of some levels, by default of all but the first: lme4's dummy()."""
    if not isinstance(x, Numbers | Logicals | Categories):
        raise FormulaDataError("dummy() needs a column")
    factor = categories(x)
    keep = factor.levels[1:] if levelsToKeep is None else constants(levelsToKeep, "levels")
    names = [spell(level) for level in keep]
    absent = [name for name in names if name not in factor.levels]
    if absent:
        raise FormulaDataError(
            f"{absent[0]!r} is not a level of the factor",
            hint=f"Its levels are {listed(factor.levels)}.",
        )
    if not names:
        raise FormulaDataError(
            "dummy() needs a factor of two levels or more",
            hint=f"It has {listed(factor.levels)}." if factor.levels else "It has no values.",
        )
    check_room("dummy()", factor.codes.size, len(names))
    wanted = np.array([factor.levels.index(name) for name in names])
    values = (factor.codes[:, None] == wanted).astype(np.float64)
    values[factor.codes < 0] = np.nan
    return Numbers(values, tuple(names)) if len(names) > 1 else Numbers(values[:, 0])


def treatment(base: Value = None) -> Value:
    """contr.treatment(base = 2): each level against a reference, the first one without `base`."""
    if base is not None and not isinstance(base, str):
        return Coding("treatment", whole_number(base, "base"))
    return Coding("treatment", base)


def c_marker(x: Value, contr: Value = None, base: Value = None) -> Value:
    """C(a, contr.sum): a factor with its contrasts."""
    if not isinstance(x, Numbers | Logicals | Categories):
        raise FormulaDataError(f"C() needs a column, not {describe(x)}")
    factor = categories(x)
    if contr is None and base is None:
        return replace(factor, is_text=False)
    coding = Coding() if contr is None else contr
    if isinstance(coding, str):
        coding = coding_named(coding)
    if not isinstance(coding, Coding):
        raise FormulaDataError(
            f"C() needs contrasts, not {describe(contr)}",
            "E_UNSUPPORTED_ARG",
            hint="For example C(a, contr.sum); there are " + ", ".join(sorted(CONTRASTS)) + ".",
        )
    if base is not None:
        coding = replace(coding, base=base if isinstance(base, str) else whole_number(base, "base"))
    return replace(factor, coding=coding, is_text=False)


def cut(
    learned: Any,
    /,
    x: Value,
    breaks: Value,
    labels: Value = None,
    right: Value = True,
    include_lowest: Value = False,
    ordered_result: Value = False,
) -> tuple[Value, Any]:
    """Cut numbers into intervals, open on the left unless right = FALSE; outside is missing."""
    numbers = as_floats(x, "cut()")
    if numbers.ndim != 1:
        raise FormulaDataError("cut() needs one column")
    if learned is None:
        learned = bases.cut_points(numbers, breaks if isinstance(breaks, tuple) else (breaks,))
    points = np.asarray(learned)
    closed_right, lowest = flag(right, "right"), flag(include_lowest, "include.lowest")
    codes = np.searchsorted(points, numbers, side="left" if closed_right else "right") - 1
    if lowest:
        codes = np.where(
            numbers == points[0 if closed_right else -1],
            0 if closed_right else points.size - 2,
            codes,
        )
    outside = np.isnan(numbers) | (codes < 0) | (codes > points.size - 2)
    if labels is False:
        return Numbers(np.where(outside, np.nan, codes + 1.0)), learned
    names = bases.interval_names(points, closed_right, lowest)
    if labels is not None and labels is not True:
        names = [spell(label) for label in constants(labels, "labels")]
        if len(names) != points.size - 1:
            raise FormulaDataError(
                f"cut() makes {points.size - 1} intervals but has {len(names)} labels"
            )
    factor = merge_levels(np.where(outside, -1, codes), names)
    return replace(factor, ordered=flag(ordered_result, "ordered_result")), learned
