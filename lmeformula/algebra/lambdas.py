"""Lambda at every level: applied to columns of effects, and to both sides of the rest's block."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.arrays import Floats


def scaled_schur(
    plan: Layout, products: CrossProducts, lambdas: tuple[Floats, ...], middles: Floats
) -> Floats:
    """(r, r) S - I on and below the diagonal: Lambda_2' (the rest less the gram of `middles`) Lambda_2."""
    pairs, scales = products.pairs, scalar_factors(plan, lambdas)
    if pairs is None or scales is None:
        return scale_both(plan, lambdas, products.rest - products.gram(middles))
    values = pairs.rest - pairs.gram(middles)
    return pairs.fill(values * scales[pairs.rows] * scales[pairs.columns], both=False)


def scalar_factors(plan: Layout, factors: tuple[Floats, ...]) -> Floats | None:
    """(..., r) diagonal of Lambda_2, of factors (..., k, k), where the rest's terms have one coefficient."""
    if any(plan.sizes[j][1] > 1 for j in plan.rest):
        return None
    parts = [np.repeat(factors[j][..., 0], plan.sizes[j][0], axis=-1) for j in plan.rest]
    return np.concatenate(parts, axis=-1)


def scale_both(plan: Layout, lambdas: tuple[Floats, ...], matrix: Floats) -> Floats:
    """Lambda_2' matrix Lambda_2 for an (r, r) matrix of the rest; may overwrite it."""
    scales = scalar_factors(plan, lambdas)
    if scales is not None:
        matrix *= scales[:, None]
        matrix *= scales
        return matrix
    matrix = apply_lambda(plan, lambdas, matrix, transpose=True, rest_only=True)
    return apply_lambda(plan, lambdas, matrix.T.copy(), transpose=True, rest_only=True)


def apply_lambda(
    plan: Layout,
    lambdas: tuple[Floats, ...],
    columns: Floats,
    *,
    transpose: bool = False,
    rest_only: bool = False,
) -> Floats:
    """Lambda columns (or Lambda' columns) for effects (q,) or (q, m); (r, m) with `rest_only`."""
    result = np.empty_like(columns)
    for j in plan.rest if rest_only else range(len(plan.sizes)):
        place = plan.in_rest(j) if rest_only else plan.place(j)
        result[place] = times_lambda(lambdas[j].T if transpose else lambdas[j], columns[place])
    return result


def times_rest(plan: Layout, columns: Floats, factors: tuple[Floats, ...]) -> Floats:
    """Columns (..., r) times the rest's factors (k, k) at every level."""
    found = np.empty_like(columns)
    for j in plan.rest:
        factor, place = factors[j], plan.in_rest(j)
        if len(factor) == 1:
            np.multiply(columns[..., place], factor[0, 0], out=found[..., place])
        else:
            part = columns[..., place]
            found[..., place] = (part.reshape(-1, len(factor)) @ factor).reshape(part.shape)
    return found


def without_lambda(plan: Layout, lambdas: tuple[Floats, ...], effects: Floats) -> Floats:
    """Lambda^-1 effects (q,), of factors with a diagonal other than zero."""
    found = np.empty_like(effects)
    for j, (factor, (_, k)) in enumerate(zip(lambdas, plan.sizes, strict=True)):
        parts = effects[plan.place(j)].reshape(-1, k).T
        found[plan.place(j)] = sl.solve_triangular(factor, parts, lower=True).T.ravel()
    return found


def triangular_solved(lower: Floats, right: Floats, *, transpose: bool = False) -> Floats:
    """L^-1 right or L'^-1 right, for lower triangular L (r, r) by rows and right (r, m).

    LAPACK reads L by columns as its transpose, without a copy, and without what `solve_triangular` looks for.

    Raises:
      numpy.linalg.LinAlgError: if there is a zero on the diagonal.
    """
    solved, status = lapack.dtrtrs(lower.T, right, lower=0, trans=0 if transpose else 1)
    if status != 0:
        raise np.linalg.LinAlgError("a triangular factor is singular")
    return np.asarray(solved)


def times_lambda(factor: Floats, columns: Floats) -> Floats:
    """One factor (k, k) at every level, times columns (l k,) or (l k, m)."""
    k = len(factor)
    if k == 1:
        return np.asarray(factor[0, 0] * columns)
    parts = columns.reshape(len(columns) // k, k, -1)
    return np.asarray((factor @ parts).reshape(columns.shape))


def slopes_of_traces(
    plan: Layout, lambdas: tuple[Floats, ...], traces: tuple[Floats, ...]
) -> tuple[Floats, ...]:
    """d log |M| / 2 d Lambda (k, k) of each term, from the traces (k, k) of M^-1 over its levels.

    It is Lambda^-T (l I - sum of the diagonal blocks of M^-1), which loses digits only where Lambda is nearly
    singular; the optimiser keeps its diagonal away from zero by more than that.
    """
    return tuple(
        triangular_solved(factor, levels * np.eye(k) - own, transpose=True)
        for (levels, k), factor, own in zip(plan.sizes, lambdas, traces, strict=True)
    )
