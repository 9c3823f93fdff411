"""Second stage: what formulaic does for us - coding factors, crossing columns, spline and polynomial bases.

The only importer of formulaic. It is never given text: terms are its own objects over the names c0, c1, ...,
whose values we computed, and the columns it returns are renamed after the user's variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

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
    Numbers,
    Variable,
    categories,
    listed,
)
from lmeformula.errors import FormulaDataError


def coded_matrix(
    intercept: bool, terms: Sequence[tuple[int, ...]], variables: Sequence[Variable], num_rows: int
) -> Block:
    """Build a model matrix with factors in it; see `model_matrix`."""
    context = {f"c{i}": _prepare(variable) for i, variable in enumerate(variables)}
    one = [Term([Factor("1", eval_method="literal")])] if intercept else []
    products = [
        Term([Factor(f"c{i}", eval_method="lookup") for i in positions]) for positions in terms
    ]
    formula = SimpleFormula([*one, *products], _ordering="none")
    empty = pd.DataFrame(index=pd.RangeIndex(num_rows))
    materializer = PandasMaterializer(empty, context=context)
    built = materializer.get_model_matrix(formula, na_action="ignore", output="numpy")
    names = [_display(name, variables) for name in built.model_spec.column_names]
    return np.ascontiguousarray(built, dtype=np.float64), tuple(names)


def check_coding(name: str, factor: Categories) -> None:
    """Refuse contrasts that do not fit a factor's levels.

    Raises:
      FormulaDataError: that lists the levels.
    """
    _contrasts(name, factor)


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


def _prepare(variable: Variable) -> Any:
    if isinstance(variable.values, Numbers):
        values = np.asarray(variable.values.values, dtype=np.float64)
        if values.ndim == 1:
            return pd.Series(values)
        return pd.DataFrame(values, columns=[str(i) for i in range(values.shape[1])])
    factor = categories(variable.values)
    names = [str(i) for i in range(len(factor.levels))]
    series = pd.Series(pd.Categorical.from_codes(factor.codes, categories=names))
    return C(series, _contrasts(variable.name, factor), levels=names)


def _contrasts(name: str, factor: Categories) -> Contrasts:
    coding, num_levels = factor.coding or Coding(), len(factor.levels)
    if coding.matrix is not None:
        if coding.matrix.shape[0] != num_levels:
            raise FormulaDataError(
                f"the contrasts of '{name}' have {coding.matrix.shape[0]} rows, "
                f"but '{name}' has {num_levels} levels",
                "E_UNSUPPORTED_ARG",
                hint=f"Give one row for each of {listed(factor.levels)}.",
            )
        return _MatrixContrasts(coding.matrix)
    simple: dict[str, Callable[[], Contrasts]] = {
        "sum": SumContrasts,
        "helmert": lambda: HelmertContrasts(reverse=True, scale=False),
        "poly": PolyContrasts,
        "diff": DiffContrasts,
        "sas": SASContrasts,
    }
    if coding.kind in simple:
        return simple[coding.kind]()
    return TreatmentContrasts(base=str(_base_position(name, factor, coding.base)))


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
