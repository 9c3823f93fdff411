"""Known covariances between the levels of a grouping factor, up to their scale: gr(g, cov = A).

A is dense, or told by its sparse inverse Q, the precision, as the relationships of a pedigree are. Effects of
the levels are B u of independent ones u, with B B' = A: nothing else is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from lmeformula.arrays import Floats, Ints
from lmeformula.errors import FormulaDataError

# Relative to the largest one, a negative eigenvalue below this is no rounding, and elements that differ by more
# than this are not those of a symmetric matrix.
ROUNDING = 1e-9
# Most levels of a dense covariance.
MOST_LEVELS = 20_000


@dataclass(frozen=True, eq=False)
class Relation:
    """The covariance A of the levels of a grouping factor, but for its scale.

    Attributes:
      name: as the formula has it.
      levels: (l) names of its rows, in their order: the levels of the term, observed or not.
      root: (l, l) B with B B' = A, dense; None where the precision is known.
      triangle: (l, l) sparse triangular T with Q = P'T'T P, of the precision Q.
      order: (l,) P: places of the levels in the order of the triangle.
    """

    name: str
    levels: tuple[str, ...] = field(repr=False)
    root: Floats | None = field(default=None, repr=False)
    triangle: sp.csc_array | None = field(default=None, repr=False)
    order: Ints | None = field(default=None, repr=False)

    @property
    def is_sparse(self) -> bool:
        """Whether its precision is what is known."""
        return self.triangle is not None

    @cached_property
    def precision(self) -> sp.csc_array:
        """(l, l) Q, of a sparse one."""
        assert self.triangle is not None
        assert self.order is not None
        back = np.argsort(self.order)
        rows = sp.csc_array(self.triangle[:, back])
        return sp.csc_array(rows.T @ rows)

    @cached_property
    def log_det_precision(self) -> float:
        """log |Q|, of a sparse one."""
        assert self.triangle is not None
        return 2.0 * float(np.log(np.abs(self.triangle.diagonal())).sum())

    @cached_property
    def _solver(self) -> Any:
        return splu(
            sp.csc_array(self.triangle, dtype=float), permc_spec="NATURAL", diag_pivot_thresh=0.0
        )

    def __getstate__(self) -> dict[str, Any]:
        # What is worked out from the others is worked out again: a factor of SuperLU cannot be pickled.
        names = ("name", "levels", "root", "triangle", "order")
        return {name: self.__dict__[name] for name in names}

    def outward(self, effects: Floats) -> Floats:
        """B effects, for independent effects of the levels (l k,) or (l k, m), level by level."""
        return self._over_levels(effects, self._outward)

    def inward(self, effects: Floats) -> Floats:
        """B' effects."""
        return self._over_levels(effects, self._inward)

    def away(self, effects: Floats) -> Floats:
        """B^-1 effects, of a sparse one."""
        return self._over_levels(effects, lambda columns: self.triangle @ columns[self.order])  # type: ignore[operator]

    def away_back(self, effects: Floats) -> Floats:
        """B'^-1 effects, of a sparse one."""

        def turned(columns: Floats) -> Floats:
            found = np.empty_like(columns)
            found[self.order] = self.triangle.T @ columns  # type: ignore[union-attr]
            return found

        return self._over_levels(effects, turned)

    @cached_property
    def variances(self) -> Floats:
        """(l,) the diagonal of A."""
        if self.root is not None:
            return np.asarray(np.einsum("ij,ij->i", self.root, self.root))
        count, found = len(self.levels), np.zeros(len(self.levels))
        for start in range(0, count, 512):
            places = np.arange(start, min(count, start + 512))
            columns = np.zeros((count, len(places)))
            columns[places, np.arange(len(places))] = 1.0
            found[places] = np.square(self._inward(columns)).sum(axis=0)
        return found

    def among(self, places: Ints) -> Floats:
        """(k, k) the covariances between those levels."""
        chosen = np.zeros((len(self.levels), len(places)))
        chosen[places, np.arange(len(places))] = 1.0
        found = self.outward(self.inward(chosen))[places]
        return np.asarray(0.5 * (found + found.T))

    def dense_root(self) -> Floats:
        """(l, l) B as a matrix."""
        return self.root if self.root is not None else self._outward(np.eye(len(self.levels)))

    def _over_levels(self, effects: Floats, work: Callable[[Floats], Floats]) -> Floats:
        rows = effects.reshape(len(self.levels), -1)
        return np.asarray(work(rows)).reshape(effects.shape)

    def _outward(self, columns: Floats) -> Floats:
        if self.root is not None:
            return np.asarray(self.root @ columns)
        found = np.empty_like(columns)
        found[self.order] = self._solver.solve(np.ascontiguousarray(columns))
        return found

    def _inward(self, columns: Floats) -> Floats:
        if self.root is not None:
            return np.asarray(self.root.T @ columns)
        return np.asarray(self._solver.solve(np.ascontiguousarray(columns[self.order]), trans="T"))


class Precision(NamedTuple):
    """The inverse of a covariance between levels; made by `lf.precision` and `lf.pedigree`.

    Attributes:
      matrix: (l, l) sparse, symmetric and positive definite.
      levels: (l) names of its rows and columns.
      triangle, order: a triangular root of it: matrix = P'T'T P.
      inbreeding: (l,) of a pedigree; None of others.
    """

    matrix: sp.csc_array
    levels: tuple[str, ...]
    triangle: sp.csc_array | None = None
    order: Ints | None = None
    inbreeding: Floats | None = None

    def __repr__(self) -> str:
        return f"Precision of {len(self.levels):,} levels, {self.matrix.nnz:,} elements"


def precision(matrix: Any, levels: Any = None) -> Precision:
    """Tell a covariance between levels by its inverse, for `covariances=` of `lf.fit`.

    Args:
      matrix: (l, l) the inverse of the covariance: a sparse matrix of scipy, an array, or a data frame with the
        levels as its index.
      levels: (l) names of its rows; those of the index of a data frame by default.
    Returns:
      What `covariances={"A": ...}` takes.
    Raises:
      FormulaDataError: if it is not square, symmetric or positive definite, or the names do not fit.
    Example:
      >>> import numpy as np
      >>> precision(np.array([[2.0, -1.0], [-1.0, 2.0]]), ["a", "b"])
      Precision of 2 levels, 4 elements
    """
    if levels is None:
        levels, matrix = _labels_of(matrix, "the precision")
    if sp.issparse(matrix):
        found = sp.csc_array(matrix, dtype=float)
    else:
        found = sp.csc_array(_numbers(matrix, "the precision"))
    names = _names(levels, found.shape, "the precision")
    found.sum_duplicates()
    found.eliminate_zeros()
    if not np.isfinite(found.data).all():
        raise FormulaDataError("the precision has elements that are not finite")
    unlike = abs(found - found.T)
    if unlike.nnz and unlike.max() > ROUNDING * abs(found).max():
        raise FormulaDataError("the precision is not symmetric")
    triangle, order = _factored(found, "the precision")
    return Precision(found, names, triangle, order)


def _factored(matrix: sp.csc_array, what: str) -> tuple[sp.csc_array, Ints]:
    """T and P with matrix = P'T'T P."""
    refused = FormulaDataError(
        f"{what} is not positive definite",
        hint="A covariance has an inverse where no level is determined by others. Of a covariance matrix that "
        "has none give the matrix itself.",
    )
    found = symmetric_factor(matrix, "MMD_AT_PLUS_A")
    if found is None:
        raise refused
    triangle = sp.csc_array(sp.diags_array(1.0 / np.sqrt(found.U.diagonal())) @ found.U)
    return triangle, np.argsort(found.perm_c)


def symmetric_factor(matrix: sp.csc_array, order: str) -> Any:
    """SuperLU's factor of a symmetric matrix with the pivots on its diagonal.

    Args:
      matrix: sparse.
      order: as SuperLU's `permc_spec`.
    Returns:
      The factor; None of a matrix that is not positive definite.
    """
    try:
        found = splu(
            matrix, permc_spec=order, diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
    except RuntimeError:
        return None
    is_definite = (found.U.diagonal() > 0.0).all()
    return found if is_definite and np.array_equal(found.perm_r, found.perm_c) else None


def relation(name: str, given: Any) -> Relation:
    """Read one of the `covariances`."""
    if isinstance(given, Relation):
        return Relation(name, given.levels, given.root, given.triangle, given.order)
    if isinstance(given, Precision):
        assert given.triangle is not None
        return Relation(name, given.levels, None, given.triangle, given.order)
    what = f"the covariance '{name}'"
    if sp.issparse(given):
        raise FormulaDataError(
            f"{what} is a sparse matrix, which has no names of levels",
            hint=f'Give (matrix, levels), or lf.precision(Q, levels) of its inverse: {{"{name}": ...}}.',
        )
    if isinstance(given, tuple) and len(given) == 2:
        matrix, levels = given
        matrix = matrix.toarray() if sp.issparse(matrix) else matrix
        if hasattr(matrix, "to_numpy"):
            matrix = matrix.to_numpy()
    else:
        levels, matrix = _labels_of(given, what)
    numbers = _numbers(matrix, what)
    names = _names(levels, numbers.shape, what)
    return Relation(name, names, root_of(numbers, what))


def root_of(matrix: Floats, what: str) -> Floats:
    """(l, l) B with B B' = matrix, which may be singular.

    Raises:
      FormulaDataError: if it is no covariance.
    """
    if len(matrix) > MOST_LEVELS:
        raise FormulaDataError(
            f"{what} is a dense matrix of {len(matrix):,} levels",
            hint="Give its sparse inverse: lf.precision(Q, levels).",
        )
    scale = float(np.abs(np.diag(matrix)).max(initial=0.0))
    if not np.isfinite(matrix).all():
        raise FormulaDataError(f"{what} has elements that are not finite")
    if not (np.abs(matrix - matrix.T) <= ROUNDING * scale).all():
        i, j = np.unravel_index(int(np.abs(matrix - matrix.T).argmax()), matrix.shape)
        both = f"{matrix[i, j]:.6g} against {matrix[j, i]:.6g}"
        raise FormulaDataError(f"{what} is not symmetric: {both} in rows {i + 1} and {j + 1}")
    matrix = 0.5 * (matrix + matrix.T)
    try:
        root = np.linalg.cholesky(matrix)
        if (np.diag(root) ** 2 > ROUNDING * scale).all():
            return np.asarray(root)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -ROUNDING * len(matrix) * scale or values[-1] <= 0.0:
        raise FormulaDataError(
            f"{what} is no covariance: its least eigenvalue is {values[0]:.3g}",
            hint="A covariance has no negative one. Of marks, or distances, work out a covariance first; the "
            "nearest one has zeros in place of negative eigenvalues.",
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _labels_of(given: Any, what: str) -> tuple[Any, Any]:
    """The labels of a data frame, and its numbers."""
    index, columns = getattr(given, "index", None), getattr(given, "columns", None)
    if index is None or columns is None or not hasattr(given, "to_numpy"):
        raise FormulaDataError(
            f"{what} has no names of levels: it is a {type(given).__name__}",
            hint="Give a data frame with the levels as its index and columns, or (matrix, levels).",
        )
    rows, across = [str(each) for each in index], [str(each) for each in columns]
    if rows != across:
        if sorted(rows) != sorted(across):
            raise FormulaDataError(
                f"{what} is a data frame whose rows and columns have other names",
                hint="Its index and its columns are the levels, the same ones.",
            )
        if len(set(rows)) == len(rows):
            places = {name: place for place, name in enumerate(across)}
            given = given.iloc[:, [places[name] for name in rows]]
    return list(index), given.to_numpy()


def _numbers(matrix: Any, what: str) -> Floats:
    try:
        return np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise FormulaDataError(f"{what} is not a matrix of numbers") from None


def level_name(level: Any) -> str:
    """How a level is called, as the levels of columns are: 3 and 3.0 are "3"."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)


def _names(levels: Any, shape: tuple[int, ...], what: str) -> tuple[str, ...]:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise FormulaDataError(f"{what} is not a square matrix: its shape is {shape}")
    try:
        names = tuple(level_name(level) for level in levels)
    except TypeError:
        raise FormulaDataError(
            f"the levels of {what} are a {type(levels).__name__}",
            hint="Give a list of their names.",
        ) from None
    if len(names) != shape[0]:
        raise FormulaDataError(f"{what} has {shape[0]:,} rows, and {len(names):,} names of levels")
    if len(set(names)) < len(names):
        repeated = next(name for place, name in enumerate(names) if name in names[:place])
        raise FormulaDataError(f"{what} has the level {repeated!r} more than once")
    return names
