"""Second stage: what formulaic does for us - coding factors, crossing columns, spline and polynomial bases.

The only importer of formulaic. It is never given text: terms are its own objects over the names c0, c1, ...,
whose values we computed, and the columns it returns are renamed after the user's variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from formulaic import SimpleFormula
from formulaic.materializers import PandasMaterializer
from formulaic.parser.types import Factor, Term
from formulaic.transforms import basis_spline, natural_cubic_spline
from formulaic.transforms import poly as orthogonal_poly
from formulaic.transforms.contrasts import (
    C,
    Contrasts,
    DiffContrasts,
    HelmertContrasts,
    PolyContrasts,
    SASContrasts,
    SumContrasts,
    TreatmentContrasts,
)

from lmeformula.arrays import Floats
from lmeformula.design.values import (
    Block,
    Categories,
    Coding,
    Column,
    Numbers,
    Variable,
    categories,
    listed,
)
from lmeformula.errors import FormulaDataError

# So many kinds of matrices, and of factors, are remembered: fits of one formula after the other have the same.
REMEMBERED = 64


class Coded(NamedTuple):
    """How a factor is coded, whatever its levels are called.

    Attributes:
      num_levels: l.
      kind: of its contrasts.
      base: place of the base level, where the kind has one.
      matrix: (l, c) rows of contrasts of the caller's own; None for those of the kind.
    """

    num_levels: int
    kind: str
    base: int = 0
    matrix: tuple[tuple[float, ...], ...] | None = None


class Product(NamedTuple):
    """A column as formulaic has it: its name, and the variables' columns that it is a product of, by name."""

    name: str
    parts: tuple[tuple[int, str], ...]


def coded_matrix(
    intercept: bool, terms: Sequence[tuple[int, ...]], variables: Sequence[Variable], num_rows: int
) -> Block:
    """Build a model matrix with factors in it; see `model_matrix`."""
    kinds = tuple(map(_kind, variables))
    columns: dict[tuple[int, str], Floats] = {}

    def column(i: int, part: str) -> Floats:
        if (i, part) not in columns:
            columns[i, part] = _column(variables[i].values, kinds[i], part.removeprefix(f"c{i}"))
        return columns[i, part]

    found = _products(intercept, tuple(terms), kinds)
    made = [
        np.prod([column(*part) for part in product.parts], axis=0)
        if product.parts
        else np.ones(num_rows)
        for product in found
    ]
    matrix = np.stack(made, axis=1) if made else np.zeros((num_rows, 0))
    return matrix, tuple(_display(product.name, variables) for product in found)


def _kind(variable: Variable) -> Coded | int:
    """How a factor is coded; of a matrix of numbers how many columns it has, of other numbers 0."""
    if isinstance(variable.values, Numbers):
        shape = variable.values.values.shape
        return int(shape[1]) if len(shape) > 1 else 0
    return _coded(variable.name, categories(variable.values))


def _column(values: Column, kind: Coded | int, name: str) -> Floats:
    """(n,) a variable's column by formulaic's name, such as "[T.1]"."""
    if isinstance(kind, Coded):
        return _by_level(kind)[name][categories(values).codes]
    assert isinstance(values, Numbers)
    numbers = np.asarray(values.values, np.float64)
    return numbers[:, int(name.strip("[]"))] if kind else numbers


@lru_cache(maxsize=REMEMBERED)
def _products(
    intercept: bool, terms: tuple[tuple[int, ...], ...], kinds: tuple[Coded | int, ...]
) -> tuple[Product, ...]:
    """The columns that formulaic makes of variables c0, c1, ...: factors, numbers (0), or columns of numbers.

    What it makes hangs on no value: a table of one row is enough.
    """
    context = {f"c{i}": _example(kind) for i, kind in enumerate(kinds)}
    one = [Term([Factor("1", eval_method="literal")])] if intercept else []
    products = [
        Term([Factor(f"c{i}", eval_method="lookup") for i in positions]) for positions in terms
    ]
    formula = SimpleFormula([*one, *products], _ordering="none")
    materializer = PandasMaterializer(pd.DataFrame(index=pd.RangeIndex(1)), context=context)
    built = materializer.get_model_matrix(formula, na_action="ignore", output="numpy")
    found = []
    for name in built.model_spec.column_names:
        parts = [] if name == "Intercept" else name.split(":")
        found.append(Product(name, tuple((_variable(part), part) for part in parts)))
    return tuple(found)


def _example(kind: Coded | int) -> Any:
    """A variable of a kind with one row."""
    if isinstance(kind, Coded):
        names = [str(i) for i in range(kind.num_levels)]
        series = pd.Series(pd.Categorical.from_codes([0], categories=names))
        return C(series, _contrasts(kind), levels=names)
    if kind:
        return pd.DataFrame(np.zeros((1, kind)), columns=[str(i) for i in range(kind)])
    return pd.Series([0.0])


@lru_cache(maxsize=REMEMBERED)
def _by_level(kind: Coded) -> dict[str, Floats]:
    """(l,) what a factor's columns hold at each level, by formulaic's names of them, such as "[T.1]"."""
    contrasts, levels = _contrasts(kind), [str(i) for i in range(kind.num_levels)]
    found: dict[str, Floats] = {}
    for is_reduced in (True, False):
        form = contrasts.get_factor_format(levels, reduced_rank=is_reduced)
        names = contrasts.get_coding_column_names(levels, reduced_rank=is_reduced)
        matrix = np.asarray(contrasts.get_coding_matrix(levels, reduced_rank=is_reduced), float)
        for name, own in zip(names, matrix.T, strict=True):
            found[form.format(name="", field=name)] = np.ascontiguousarray(own)
    return found


def check_coding(name: str, factor: Categories) -> None:
    """Refuse contrasts that do not fit a factor's levels.

    Raises:
      FormulaDataError: that lists the levels.
    """
    _coded(name, factor)


def poly_basis(x: Floats, degree: int, state: dict[str, Any]) -> Floats:
    """Orthogonal polynomials of x, without the constant; `state` is filled, or used when filled."""
    return np.asarray(orthogonal_poly(x, degree, _state=state), dtype=np.float64)


def b_spline_basis(
    x: Floats, inner: Sequence[float], bounds: tuple[float, float], degree: int, intercept: bool
) -> Floats:
    """B-splines at x, their outer pieces continued beyond the bounds, as R's bs() does."""
    columns = basis_spline(
        x,
        knots=list(inner),
        degree=degree,
        include_intercept=intercept,
        lower_bound=bounds[0],
        upper_bound=bounds[1],
        extrapolation="extend",
        _state={},
    )
    return np.column_stack([columns[key] for key in columns])


def natural_spline_basis(x: Floats, inner: Sequence[float], bounds: tuple[float, float]) -> Floats:
    """Natural cubic splines at x, one for each knot: 1 there and 0 at the other knots."""
    if not inner:  # straight lines, which formulaic does not make
        share = (x - bounds[0]) / (bounds[1] - bounds[0])
        return np.column_stack([1.0 - share, share])
    columns = natural_cubic_spline(
        x,
        knots=list(inner),
        lower_bound=bounds[0],
        upper_bound=bounds[1],
        extrapolation="extend",
        _state={},
    )
    return np.column_stack([columns[key] for key in columns])


def _coded(name: str, factor: Categories) -> Coded:
    coding, num_levels = factor.coding or Coding(), len(factor.levels)
    if coding.matrix is not None:
        if coding.matrix.shape[0] != num_levels:
            raise FormulaDataError(
                f"the contrasts of '{name}' have {coding.matrix.shape[0]} rows, "
                f"but '{name}' has {num_levels} levels",
                "E_UNSUPPORTED_ARG",
                hint=f"Give one row for each of {listed(factor.levels)}.",
            )
        return Coded(num_levels, "matrix", matrix=tuple(map(tuple, coding.matrix.tolist())))
    if coding.kind in SIMPLE:
        return Coded(num_levels, coding.kind)
    return Coded(num_levels, "treatment", _base_position(name, factor, coding.base))


SIMPLE: dict[str, Callable[[], Contrasts]] = {
    "sum": SumContrasts,
    "helmert": lambda: HelmertContrasts(reverse=True, scale=False),
    "poly": PolyContrasts,
    "diff": DiffContrasts,
    "sas": SASContrasts,
}


def _contrasts(coded: Coded) -> Contrasts:
    if coded.matrix is not None:
        return _MatrixContrasts(np.array(coded.matrix, float))
    if coded.kind in SIMPLE:
        return SIMPLE[coded.kind]()
    return TreatmentContrasts(base=str(coded.base))


def _base_position(name: str, factor: Categories, base: str | int | None) -> int:
    if base is None:
        return 0
    position = base - 1 if isinstance(base, int) else -1
    if isinstance(base, str) and base in factor.levels:
        position = factor.levels.index(base)
    if not 0 <= position < len(factor.levels):
        raise FormulaDataError(
            f"the base level {base!r} is not a level of '{name}' in the rows used",
            "E_UNSUPPORTED_ARG",
            hint=f"Its levels are {listed(factor.levels)}.",
        )
    return position


class _MatrixContrasts(Contrasts):  # type: ignore[misc]
    """Columns that the caller chose; formulaic's own class would use them for full coding as well."""

    FACTOR_FORMAT_REDUCED = "{name}[k{field}]"

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    @Contrasts.override  # type: ignore[untyped-decorator]
    def _get_coding_matrix(
        self, levels: Sequence[Any], reduced_rank: bool = True, sparse: bool = False
    ) -> Any:
        return self.matrix if reduced_rank else np.eye(len(levels))

    @Contrasts.override  # type: ignore[untyped-decorator]
    def get_coding_column_names(self, levels: Sequence[Any], reduced_rank: bool = True) -> Any:
        return list(range(1, self.matrix.shape[1] + 1)) if reduced_rank else levels

    @Contrasts.override  # type: ignore[untyped-decorator]
    def get_coefficient_row_names(self, levels: Sequence[Any], reduced_rank: bool = True) -> Any:
        return self.get_coding_column_names(levels, reduced_rank)


# c3, c3[0] or c3[T.2] (levels and matrix columns by position), c3[.L], c3[^4] or c3[k1] (by name).
_PART = re.compile(
    r"c(?P<variable>\d+)(?:\[(?P<prefix>[A-Z]\.)?(?:(?P<position>\d+)|(?P<label>.*))\])?"
)


def _variable(part: str) -> int:
    match = _PART.fullmatch(part)
    assert match is not None, part
    return int(match["variable"])


def _display(name: str, variables: Sequence[Variable]) -> str:
    if name == "Intercept":
        return name
    return ":".join(_display_part(part, variables) for part in name.split(":"))


def _display_part(part: str, variables: Sequence[Variable]) -> str:
    match = _PART.fullmatch(part)
    assert match is not None, part
    name, values = variables[int(match["variable"])]
    if match["position"] is None:
        label = match["label"]
        return name if label is None else f"{name}[{label.removeprefix('k')}]"
    position = int(match["position"])
    if isinstance(values, Numbers):
        field = values.columns[position] if values.columns else str(position + 1)
    else:
        field = categories(values).levels[position]
    return f"{name}[{match['prefix'] or ''}{field}]"
