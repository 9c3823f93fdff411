"""Ascents side by side, of functions whose maxima are known."""

from __future__ import annotations

import numpy as np

from lmeformula.likelihood.replicates.ascent import Heights, climb_all


def test_maxima_of_tops_that_differ():
    """-log cosh of each coordinate about a centre of the replicate's own, and of one turned."""
    r = np.random.default_rng(1)
    centres = r.normal(size=(7, 3))
    turn = np.linalg.qr(r.normal(size=(3, 3)))[0] * np.array([1.0, 5.0, 0.2])

    def look(x, which):
        along = (x - centres[which]) @ turn
        return Heights(-np.log(np.cosh(along)).sum(axis=1), -np.tanh(along) @ turn.T)

    found = climb_all(look, np.zeros((7, 3)), np.arange(7), 3)
    assert found.found.all()
    np.testing.assert_allclose(found.coordinates, centres, atol=1e-9)
    # Measured on the way, a tenth of a standard error off or nearer, where a top's is by the square of that.
    expected = np.broadcast_to(turn @ turn.T, (7, 3, 3))
    np.testing.assert_allclose(found.information, expected, atol=0.01 * expected.max())


def test_an_ascent_goes_uphill_where_the_function_bends_upwards():
    """x^2 - x^4 from next to its minimum: to one of the maxima, at 1 / sqrt(2) to either side."""

    def look(x, which):
        return Heights((x**2 - x**4).sum(axis=1), 2 * x - 4 * x**3)

    found = climb_all(look, np.array([[0.01], [-0.3]]), np.arange(2), 1)
    np.testing.assert_allclose(found.coordinates[:, 0], [0.5**0.5, -(0.5**0.5)], atol=1e-10)


def test_where_there_is_no_maximum_none_is_found():
    def look(x, which):
        is_endless = which == 1
        values = np.where(is_endless, x[:, 0], -(x[:, 0] ** 2))
        return Heights(values, np.where(is_endless, 1.0, -2 * x[:, 0])[:, None])

    found = climb_all(look, np.full((3, 1), 0.5), np.array([0, 1, 2]), 1)
    assert found.found.tolist() == [True, False, True]


def test_a_start_without_a_likelihood_is_none():
    def look(x, which):
        return Heights(np.where(which == 0, np.nan, -(x[:, 0] ** 2)), -2 * x)

    assert climb_all(look, np.ones((2, 1)), np.arange(2), 1).found.tolist() == [False, True]
