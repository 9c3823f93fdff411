"""What a design remembers about its data, in a saved fit: memory of functions, factors, grouping factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lmeformula.design.evaluate import Memory
from lmeformula.design.functions import FUNCTIONS
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.recipe import Recipe
from lmeformula.design.values import Categories, Coding, Column, Logicals, Numbers
from lmeformula.errors import FormulaDataError, SavedFitError
from lmeformula.formula import ir
from lmeformula.formula.formula import Formula
from lmeformula.formula.parts import expressions, predictors
from lmeformula.formula.show import expression_text
from lmeformula.formula.smooths import effect_groups, smooths_of
from lmeformula.store.archive import Json
from lmeformula.store.codec import FLAG, TEXT, Codec, Coded, Reader, Writer, choice, maybe, whole
from lmeformula.store.containers import Array, Each, Levels, Pairs, Record
from lmeformula.store.formulas import calls
from lmeformula.store.learned import LEARNED
from lmeformula.store.observed import OBSERVED

Functions = Mapping[str, Callable[..., Any]]

_KINDS = ("treatment", "sum", "helmert", "poly", "sas", "diff", "custom")


# The reference level of treatment contrasts: a name, or a position from 1.
_BASE = Coded(
    lambda value, out: value if isinstance(value, str) else int(value),
    lambda found, source: found if isinstance(found, str) else whole(1).read(found, source),
)

CODING = Record(
    Coding,
    {"kind": choice(_KINDS), "base": maybe(_BASE), "matrix": maybe(Array(("levels", "")))},
)

# The settled levels of a factor, without rows.
FACTOR = Record(
    lambda **fields: Categories(codes=np.zeros(0, dtype=np.int64), **fields),
    {
        "levels": Levels("levels"),
        "ordered": FLAG,
        "coding": maybe(CODING),
        "is_text": FLAG,
        "is_time": FLAG,
    },
    own=("levels",),
)

GROUPING = Record(
    Grouping, {"parts": Each(Levels()), "pairs": Each(Array(("",), "<i8")), "levels": Levels()}
)


def _write_column(value: Column, out: Writer) -> Json:
    match value:
        case Categories():
            return {"factor": FACTOR.write(value, out)}
        case Logicals():
            return "logical"
    return "numbers"


def _read_column(found: Json, source: Reader) -> Any:
    """A column of the data without its rows: its kind, and the levels of a factor."""
    if isinstance(found, dict) and set(found) == {"factor"}:
        return FACTOR.read(found["factor"], source)
    kind = choice(("numbers", "logical")).read(found, source)
    return Numbers(np.zeros(0)) if kind == "numbers" else Logicals(np.zeros(0))


_COLUMN = Coded(_write_column, _read_column)


def _given(used: frozenset[str], again: Functions) -> Codec:
    """The caller's functions that a formula calls: only their names can be kept.

    Args:
      used: names of all functions that the formula calls.
      again: the functions that the caller gave for reading.
    """

    def read(found: Json, source: Reader) -> Functions:
        names = Each(TEXT).read(found, source)
        absent = [name for name in names if not callable(again.get(name))]
        if absent:
            written = ", ".join(f'"{name}": ...' for name in absent)
            raise SavedFitError(
                f"the formula of {source.archive.path} calls functions that a file cannot hold: "
                f"{', '.join(absent)}",
                hint=f"Give them again: lf.load(path, functions={{{written}}}).",
            )
        return {name: again[name] for name in names}

    return Coded(lambda value, out: [name for name in value if name in used], read)


def recipe_codec(formula: Formula, functions: Functions) -> Record:
    """The fields of the recipe of a design with this formula.

    Calls and variables are stored by their text and found again in the formula, so that a file cannot bring in
    what the formula does not have.

    Args:
      formula: of the design.
      functions: those that the caller gave for reading.
    """
    all_calls = {expression_text(c): c for e in expressions(formula) for c in calls(e)}
    variables = {label(v): v for v in predictors(formula)}
    factors = tuple(effect_groups(formula))
    groups = {":".join(group.key): group.key for group in factors}
    groups |= {group.by: (group.by,) for group in factors if group.by}
    memory = Record(
        Memory,
        {
            "calls": Pairs(expression_text, _found_in(all_calls), _learned, _check_learned),
            "columns": Pairs(str, TEXT.read, lambda name: _COLUMN),
        },
    )
    used = frozenset(call.function for call in all_calls.values())
    fields: dict[str, Codec] = {
        "functions": _given(used, functions),
        "memory": memory,
        "factors": Pairs(label, _found_in(variables), lambda variable: FACTOR, _check_factor),
        "groupings": Pairs(":".join, _found_in(groups), lambda names: GROUPING, _check_grouping),
        "kept": Each(whole(), "p"),
        "offset": maybe(TEXT),
        "weights": maybe(TEXT),
        "observed": maybe(OBSERVED),
        "frequency": maybe(TEXT),
    }
    return Record(Recipe, fields, later={"frequency": ""})


def check_recipe(recipe: Recipe, formula: Formula, source: Reader) -> None:
    """Refuse a recipe that has forgotten something that predictions for new rows would then learn from them."""
    for expression in expressions(formula):
        for call in calls(expression):
            function = FUNCTIONS.get(call.function)
            if call.function in recipe.functions or function is None or not function.is_stateful:
                continue
            if call not in recipe.memory.calls:
                source.refuse(f"what {expression_text(call)} learned is missing")
    for smooth in smooths_of(formula):
        if smooth.bases != ("re",) and smooth.call not in recipe.memory.calls:
            source.refuse(f"what {expression_text(smooth.call)} learned is missing")
    for group in effect_groups(formula):
        by = ((group.by,),) if group.by else ()
        if any(names not in recipe.groupings for names in (group.key, *by)):
            source.refuse(f"the levels of {group.label} are missing")
    for variable in predictors(formula):
        column = recipe.memory.columns.get(getattr(variable, "name", ""))
        if isinstance(column, Categories | Logicals) and variable not in recipe.factors:
            source.refuse(f"the levels of {label(variable)} are missing")


def _found_in(known: Mapping[str, Any]) -> Callable[[Json, Reader], Any]:
    def find(key: Json, source: Reader) -> Any:
        if not isinstance(key, str) or key not in known:
            source.refuse(f"the formula has no {key!r}")
        return known[key]

    return find


def _learned(call: ir.Call) -> Codec:
    name = call.function
    return LEARNED.get(name) or Coded(
        lambda value, out: LEARNED[name],
        lambda found, source: source.refuse(f"{name}() remembers nothing"),
    )


def _check_learned(call: ir.Call, learned: Any, source: Reader) -> None:
    if call.function != "poly" or not any(learned):
        return
    numbers = [a.value.value for a in call.arguments if isinstance(a.value, ir.Number)]
    if len(numbers) == 1 and any(len(state["alpha"]) != numbers[0] for state in learned):
        source.refuse("the recurrence is not of this degree")


def _check_factor(variable: ir.Expression, factor: Categories, source: Reader) -> None:
    if len(set(factor.levels)) < max(2, len(factor.levels)):
        source.refuse("a factor needs at least two levels, all different")
    from lmeformula.design.coding import check_coding

    try:
        check_coding(label(variable), factor)
    except FormulaDataError as error:
        source.refuse(error.problem)


def _check_grouping(names: tuple[str, ...], grouping: Grouping, source: Reader) -> None:
    sizes = [len(part) for part in grouping.parts[:1]] + [len(keys) for keys in grouping.pairs]
    is_ordered = all(bool((np.diff(keys) > 0).all()) for keys in grouping.pairs)
    fits = len(grouping.parts) == len(grouping.pairs) + 1
    if not (fits and all(sizes) and sizes[-1] == len(grouping.levels) and is_ordered):
        source.refuse("the levels of its columns do not fit together")
