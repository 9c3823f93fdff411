"""Spline bases of one smooth: thin plate regression splines, cubic regression splines, cyclic ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from lmeformula.arrays import Floats
from lmeformula.errors import FormulaDataError

# Thin plate splines have a radial function for each point; of more points some stand for all, as in mgcv.
MOST_POINTS = 2000
# Of more points all eigenvectors cost more than the few that are wanted.
FEW_POINTS = 400
# Of s() the dimension is the null space's and this, by the number of variables; further ones have the last.
DEFAULT_SIZES = (8, 27, 100)
# Of each variable of t2().
PRODUCT_SIZE = 5
LEAST_SIZES = {"cr": 3, "cc": 4}
ROWS_AT_A_TIME = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Spline:
    """A basis of k functions of d variables.

    Attributes:
      basis: "tp", "cr" or "cc".
      knots: (u, d) the points of the radial functions, or the knots.
      shift: (d,) is taken from the variables before their powers are formed.
      weights: (u + M, k) of thin plate splines: the k functions as combinations of u radial functions and M
        polynomials; (0, 0) of others, whose functions are one at a knot each.
    """

    basis: str
    knots: Floats
    shift: Floats
    weights: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A spline and what is known while it is learned.

    Attributes:
      spline: the basis.
      penalty: (k, k) the integral of squared derivatives, as a quadratic form of the coefficients.
      null: (k, M) coefficients of the polynomials that it does not penalise, a constant first.
      names: of the others, by the positions of variables in them: (0,) for the first, (0, 1) for a product.
    """

    spline: Spline
    penalty: Floats
    null: Floats
    names: tuple[tuple[int, ...], ...]


def learn(
    basis: str, points: Floats, counts: Floats, size: int | None, name: str, in_product: bool
) -> Learned:
    """Choose a basis by the data.

    The likelihood, though not the restricted one, depends on which functions beside the polynomials count as
    penalised: they are those that mgcv takes, orthogonal to them as vectors of coefficients of functions of
    mean square one.

    Args:
      basis: "tp", "cr" or "cc".
      points: (u, d) the distinct points of the data, in order.
      counts: (u,) how many observations are at each.
      size: k; None for the default.
      name: of the smooth, for messages.
      in_product: whether it is one of a tensor product.
    Raises:
      FormulaDataError: if there are too few points, or the dimension is too small.
    References:
      Wood (2003), Thin plate regression splines, JRSS B 65(1), 95-114. Wood (2017), Generalized Additive
      Models, 2nd edition, sections 5.3.1, 5.3.2 and 5.5.1.
    """
    order = _order(points.shape[1])
    polynomials = num_polynomials(points.shape[1])
    least = polynomials + 1 if basis == "tp" else LEAST_SIZES[basis]
    if size is None:
        extra = DEFAULT_SIZES[min(points.shape[1], len(DEFAULT_SIZES)) - 1]
        size = (
            max(PRODUCT_SIZE, least)
            if in_product
            else (polynomials if basis == "tp" else 2) + extra
        )
    if size < least:
        raise FormulaDataError(
            f"the dimension of {name} is {size}, and that of a basis {basis} is at least {least}",
            hint=f"Write k = {least} or more.",
        )
    if len(points) < size:
        few = len(points)
        hint = (
            f"Write k = {few} or fewer."
            if few >= least
            else "Make it a factor, or a straight line."
        )
        raise FormulaDataError(
            f"{name} needs {size} distinct values for its dimension k = {size}, and there are {few}",
            hint=hint,
        )
    if basis == "tp":
        return _thin_plate(points, counts, size, order)
    return _cubic(basis, points[:, 0], size)


def rows(spline: Spline, points: Floats) -> Floats:
    """(n, k) the functions at points (n, d)."""
    if spline.basis != "tp":
        return _cubic_rows(spline, points[:, 0])
    order = _order(points.shape[1])
    found = np.empty((len(points), spline.weights.shape[1]))
    for start in range(0, len(points), ROWS_AT_A_TIME):
        part = points[start : start + ROWS_AT_A_TIME]
        found[start : start + len(part)] = _thin_plate_rows(spline, part, order)
    return found


def num_polynomials(d: int) -> int:
    """M, how many polynomials of d variables a thin plate spline does not penalise."""
    return math.comb(_order(d) + d - 1, d)


# ---- thin plate regression splines ----------------------------------------------------------------------


def _order(d: int) -> int:
    """The least order m of derivatives with 2m > d + 1, which gives curves without kinks."""
    return (d + 1) // 2 + 1


def _thin_plate(points: Floats, counts: Floats, size: int, order: int) -> Learned:
    shift = counts @ points / counts.sum()
    every = centred = points - shift
    if len(points) > MOST_POINTS:
        places = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
        if points.shape[1] > 1:
            places = np.sort(np.random.default_rng(0).permutation(len(points))[:MOST_POINTS])
        centred = centred[places]
    radial = _radial(centred, centred, order)
    values, vectors = _largest(radial, size)
    exponents = _exponents(points.shape[1], order)
    polynomials = _powers(centred, exponents)
    lengths = np.linalg.norm(polynomials, axis=0)
    free = scipy.linalg.qr(vectors.T @ (polynomials / lengths))[0][:, len(exponents) :]
    weights = scipy.linalg.block_diag(vectors @ free, np.eye(len(exponents)))
    spline = Spline("tp", centred + shift, shift, weights)
    sizes = np.sqrt(counts @ rows(spline, every + shift) ** 2 / counts.sum())
    weights /= sizes
    penalty = np.zeros((size, size))
    penalty[: free.shape[1], : free.shape[1]] = free.T @ (values[:, None] * free)
    penalty /= np.outer(sizes, sizes)
    null = np.diag(sizes)[:, free.shape[1] :]
    names = tuple(tuple(np.repeat(np.arange(len(each)), each).tolist()) for each in exponents[1:])
    return Learned(spline, penalty, null, names)


def _largest(matrix: Floats, count: int) -> tuple[Floats, Floats]:
    """The eigenvalues of largest size in ascending order, and their vectors."""
    n = len(matrix)
    if n <= FEW_POINTS or count > n // 4:
        values, vectors = scipy.linalg.eigh(matrix)
        kept = np.sort(np.argsort(-np.abs(values), kind="stable")[:count])
        return values[kept], vectors[:, kept]
    from scipy.sparse.linalg import eigsh  # which few models need

    start = np.random.default_rng(0).standard_normal(n)
    values, vectors = eigsh(matrix, count, which="LM", v0=start, tol=0.0)
    ascending = np.argsort(values)
    return values[ascending], vectors[:, ascending]


def _thin_plate_rows(spline: Spline, points: Floats, order: int) -> Floats:
    knots, centred = spline.knots - spline.shift, points - spline.shift
    exponents = _exponents(points.shape[1], order)
    every = np.hstack([_radial(centred, knots, order), _powers(centred, exponents)])
    return np.asarray(every @ spline.weights)


def _radial(points: Floats, knots: Floats, order: int) -> Floats:
    """(n, u) the radial functions of thin plate splines; Wood (2003), section 2."""
    d = points.shape[1]
    squares = np.zeros((len(points), len(knots)))
    for j in range(d):
        squares += np.subtract.outer(points[:, j], knots[:, j]) ** 2
    power = 2 * order - d
    if d % 2:
        constant = math.gamma(d / 2 - order) / (
            2 ** (2 * order) * math.pi ** (d / 2) * math.factorial(order - 1)
        )
        return np.asarray(constant * squares ** (power / 2))
    constant = (-1.0) ** (order + 1 + d // 2) / (
        2 ** (2 * order - 1)
        * math.pi ** (d / 2)
        * math.factorial(order - 1)
        * math.factorial(order - d // 2)
    )
    logs = 0.5 * np.log(np.where(squares > 0, squares, 1.0))
    return np.asarray(constant * squares ** (power // 2) * logs)


def _exponents(d: int, order: int) -> Sequence[tuple[int, ...]]:
    """Of the polynomials of degree below the order: the constant first, then by degree."""
    every = itertools.product(range(order), repeat=d)
    return sorted((each for each in every if sum(each) < order), key=lambda e: (sum(e), e[::-1]))


def _powers(points: Floats, exponents: Sequence[tuple[int, ...]]) -> Floats:
    return np.stack([np.prod(points ** np.array(each), axis=1) for each in exponents], axis=1)


# ---- cubic regression splines ---------------------------------------------------------------------------


def _cubic(basis: str, points: Floats, size: int) -> Learned:
    """By the values at knots, which are evenly spaced among the distinct values; Wood (2017), section 5.3.1."""
    places = np.linspace(0.0, len(points) - 1.0, size)
    knots = np.interp(places, np.arange(len(points)), points)
    shift = points.mean()
    spline = Spline(basis, knots[:, None], np.array([shift]), np.zeros((0, 0)))
    bends = _curves(spline)(knots, 2)
    widths = np.diff(knots)
    # The second derivative is straight between knots.
    mass = np.zeros((size, size))
    inner = np.arange(size - 1)
    mass[inner, inner] += widths / 3
    mass[inner + 1, inner + 1] += widths / 3
    mass[inner, inner + 1] += widths / 6
    mass[inner + 1, inner] += widths / 6
    penalty = bends.T @ mass @ bends
    penalty = (penalty + penalty.T) / 2
    if basis == "cc":
        return Learned(spline, penalty, np.ones((size - 1, 1)), ())
    return Learned(spline, penalty, np.column_stack([np.ones(size), knots - shift]), ((0,),))


def _curves(spline: Spline) -> Any:
    from scipy.interpolate import CubicSpline  # which fits without curves do without

    knots = spline.knots[:, 0]
    if spline.basis == "cr":
        return CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    values = np.eye(len(knots) - 1)
    return CubicSpline(knots, np.vstack([values, values[:1]]), bc_type="periodic")


def _cubic_rows(spline: Spline, points: Floats) -> Floats:
    low, high = spline.knots[0, 0], spline.knots[-1, 0]
    curves = _curves(spline)
    if spline.basis == "cc":
        inside = (points >= low) & (points <= high)
        return np.asarray(curves(np.where(inside, points, low + (points - low) % (high - low))))
    # Beyond the ends a natural spline is straight.
    near = np.clip(points, low, high)
    return np.asarray(curves(near) + (points - near)[:, None] * curves(near, 1))
