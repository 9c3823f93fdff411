"""Spline bases against what they are: interpolation, integrals of squared bends, straight continuation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.interpolate

from lmeformula.design import splines
from lmeformula.errors import FormulaDataError

X = np.sort(np.random.default_rng(4).uniform(-2.0, 5.0, 30))


def learned(basis: str, size: int, x: np.ndarray = X) -> splines.Learned:
    return splines.learn(basis, x[:, None], np.ones(len(x)), size, "s(x)", False)


def bend(basis: splines.Learned, b: np.ndarray, low: float, high: float) -> float:
    """The integral of the squared second derivative, by differences of the curve on a fine grid."""
    grid = np.linspace(low, high, 40_001)
    curve = splines.rows(basis.spline, grid[:, None]) @ b
    second = np.diff(curve, 2) / (grid[1] - grid[0]) ** 2
    return float(np.sum(second**2) * (grid[1] - grid[0]))


@pytest.mark.parametrize(("basis", "size"), [("tp", 30), ("tp", 8), ("cr", 9), ("cc", 9)])
def test_the_penalty_is_the_integral_of_the_squared_second_derivative(basis, size):
    found = learned(basis, size)
    b = np.random.default_rng(1).normal(size=len(found.penalty))
    expected = b @ found.penalty @ b
    assert bend(found, b, X[0], X[-1]) == pytest.approx(expected, rel=2e-3)


def test_a_full_thin_plate_basis_has_the_natural_spline_through_the_points():
    found = learned("tp", 30)
    y = np.sin(X)
    b = np.linalg.solve(splines.rows(found.spline, X[:, None]), y)
    new = np.linspace(X[0], X[-1], 99)
    natural = scipy.interpolate.CubicSpline(X, y, bc_type="natural")
    np.testing.assert_allclose(
        splines.rows(found.spline, new[:, None]) @ b, natural(new), atol=1e-8
    )


@pytest.mark.parametrize("basis", ["tp", "cr"])
def test_curves_go_on_straight_beyond_the_data(basis):
    found = learned(basis, 8)
    outside = np.array([[-9.0], [-6.0], [-3.0]])
    left = splines.rows(found.spline, outside)
    np.testing.assert_allclose(left[0] - left[1], left[1] - left[2], atol=1e-6 * np.abs(left).max())


def test_cyclic_curves_meet_with_their_derivatives():
    found = learned("cc", 9)
    step, period = 1e-6, X[-1] - X[0]
    near = X[0] + np.array([[0.0], [step], [2 * step]])
    np.testing.assert_allclose(
        splines.rows(found.spline, near), splines.rows(found.spline, near + period), atol=1e-10
    )
    ends = splines.rows(found.spline, np.array([[X[-1] - step], [X[-1]], [X[0] + step]]))
    np.testing.assert_allclose(ends[1] - ends[0], ends[2] - ends[1], atol=1e-10)


@pytest.mark.parametrize(("d", "null"), [(1, 2), (2, 3), (3, 10)])
def test_polynomials_are_not_penalised(d, null):
    points = np.unique(np.random.default_rng(2).normal(size=(60, d)), axis=0)
    found = splines.learn("tp", points, np.ones(60), null + 8, "s(x)", False)
    values = np.linalg.eigvalsh(found.penalty)
    assert found.null.shape[1] == null == splines.num_polynomials(d)
    np.testing.assert_allclose(values[:null], 0.0, atol=1e-10 * values[-1])
    assert values[null] > 0
    table = splines.rows(found.spline, points) @ found.null
    np.testing.assert_allclose(table[:, 0], 1.0, atol=1e-9)
    np.testing.assert_allclose(table[:, 1], points[:, 0] - points[:, 0].mean(), atol=1e-9)


def test_functions_have_mean_square_one_over_the_observations():
    counts = np.random.default_rng(3).integers(1, 5, 30).astype(float)
    found = splines.learn("tp", X[:, None], counts, 9, "s(x)", False)
    squares = splines.rows(found.spline, X[:, None]) ** 2
    np.testing.assert_allclose(counts @ squares / counts.sum(), 1.0, rtol=1e-10)


def test_a_few_eigenvectors_of_many_points_are_those_of_all():
    x = np.sort(np.random.default_rng(5).normal(size=(600, 2)), axis=0)
    matrix = splines._radial(x, x, 2)
    values, vectors = splines._largest(matrix, 12)
    every = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(values, np.sort(every[np.argsort(-np.abs(every))[:12]]), rtol=1e-9)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-9 * np.abs(values).max())


@pytest.mark.parametrize(
    ("basis", "size", "count", "words"),
    [
        ("tp", 2, 30, "at least 3"),
        ("cr", 2, 30, "at least 3"),
        ("cc", 3, 30, "at least 4"),
        ("tp", 10, 7, "there are 7"),
        ("cr", None, 9, "there are 9"),
    ],
)
def test_refuses_what_has_no_basis(basis, size, count, words):
    with pytest.raises(FormulaDataError, match=words):
        learned(basis, size, X[:count])


def test_many_points_are_stood_for_by_some():
    x = np.linspace(0.0, 1.0, 5000)
    found = learned("tp", 6, x)
    assert len(found.spline.knots) == splines.MOST_POINTS
    assert found.spline.knots[0] == 0.0
    assert found.spline.knots[-1] == pytest.approx(1.0)
