"""Boundaries: what is held and let go, direction by direction, and a variance that runs to zero."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.em import Outcome, boundary, run
from lmeformula.em.boundary import Held, Try
from lmeformula.em.types import Edge
from tests.em.groups import groups, loglik, problem

OUTSIDE, INSIDE = np.array([0.0, -9.0]), np.array([0.0, -1.0])


def edge(nearness: float = 0.5, name: str = "sd") -> Edge:
    return Edge(name, np.array([[0.0], [-1.0]]), nearness, OUTSIDE, INSIDE)


@pytest.mark.parametrize(
    ("directions", "free"),
    [
        ([], np.eye(3)),
        ([[0, 0, -1]], np.eye(3)[:, :2]),
        ([[0, 1, 0], [0, 0, 1]], np.eye(3)[:, :1]),
        ([[0.6, 0.8, 0]], None),
        ([[0.6, 0.8, 0], [0.8, -0.6, 0]], None),
        ([[0.6, 0.8, 0], [0.6, 0.8, 0]], None),
    ],
)
def test_what_is_free_is_orthogonal_to_what_is_held(directions, free):
    edges = tuple(
        Edge(str(i), np.array(way, float)[:, None], 0.0, OUTSIDE, INSIDE)
        for i, way in enumerate(directions)
    )
    found = boundary.free_basis(edges, Held(tuple(e.name for e in edges)), 3)
    rank = np.linalg.matrix_rank(np.array(directions)) if directions else 0
    assert found.shape == (3, 3 - rank)
    np.testing.assert_allclose(found.T @ found, np.eye(3 - rank), atol=1e-12)
    for way in directions:
        np.testing.assert_allclose(way @ found, 0.0, atol=1e-12)
    if free is not None:
        np.testing.assert_array_equal(found, free)


def test_edges_that_are_not_held_are_free():
    np.testing.assert_array_equal(boundary.free_basis((edge(),), Held(), 2), np.eye(2))


def test_held_from_the_start_is_what_is_all_but_there():
    near, far = edge(1e-3, "near"), edge(0.1, "far")
    assert boundary.at_start((near, far)).names == ("near",)


def test_slopes_and_their_errors():
    way = np.array([[0.6], [-0.8]])
    _, rise, error = boundary.slopes(
        (Edge("a", way, 0.5, OUTSIDE, INSIDE),), np.array([2.0, 1.0]), np.diag([0.04, 0.09])
    )
    assert rise == pytest.approx([0.4])
    assert error == pytest.approx([np.sqrt(0.36 * 0.04 + 0.64 * 0.09)])


def slopes_of(given: Edge, rise: float) -> boundary.Slopes:
    return boundary.slopes((given,), np.array([0.0, -rise]), np.eye(2))


# whether held, nearness, score towards the edge (its error is one), near the maximum, step towards the edge,
# tried before -> whether held, and where the parameter goes
REVIEWS = {
    "it rises to an edge close by": (False, 0.5, 5.0, True, 0.1, (), True, OUTSIDE),
    "too noisy to say": (False, 0.5, 1.5, True, 0.1, (), False, None),
    "it falls towards the edge": (False, 0.5, -5.0, True, 0.1, (), False, None),
    "close by, with hardly a step": (False, 0.5, 5.0, True, 0.02, (), False, None),
    "far, with a short step": (False, 3.0, 5.0, True, 0.1, (), False, None),
    "far, with a long step": (False, 3.0, 5.0, True, 0.9, (), True, OUTSIDE),
    "too far for any step": (False, 5.0, 5.0, True, 0.9, (), False, None),
    "not to be tried": (False, np.inf, 5.0, True, 0.9, (), False, None),
    "tried as near just before": (False, 0.5, 5.0, True, 0.1, (0.5, 7, 1), False, None),
    "nearer than at the last try": (False, 0.1, 5.0, True, 0.1, (0.5, 7, 1), True, OUTSIDE),
    "tried long ago": (False, 0.5, 5.0, True, 0.1, (0.5, 4, 1), True, OUTSIDE),
    "tried often": (False, 0.5, 5.0, True, 0.1, (0.5, 4, 2), False, None),
    "held, and it rises there": (True, 1e-3, 5.0, True, 0.0, (), True, None),
    "held, and it falls there": (True, 1e-3, -5.0, True, 0.0, (), False, INSIDE),
    "held, falls, others on their way": (True, 1e-3, -5.0, False, 0.0, (), True, None),
    "held, falls, the others kept by it": (
        True,
        1e-3,
        -5.0,
        False,
        0.0,
        (0.5, 3, 1),
        False,
        INSIDE,
    ),
    "held, too noisy to say": (True, 1e-3, -1.5, True, 0.0, (), True, None),
}


@pytest.mark.parametrize("name", REVIEWS)
def test_review(name):
    is_held, nearness, rise, is_near, way, tried, expected, goes = REVIEWS[name]
    before = Held(
        ("sd",) if is_held else (), (("sd", Try(*tried)),) if tried else (), num_reviews=8
    )
    params, step = np.array([1.0, -2.0]), np.array([0.3, -way])
    moved, after = boundary.review(
        params, step, slopes_of(edge(nearness), rise), before, is_near=is_near
    )
    assert after.names == (("sd",) if expected else ())
    assert after.num_reviews == 9
    # What has nothing to do with the edge goes its way.
    ends = params + step
    assert moved[1] == (ends[1] if goes is None else goes[1])
    if expected and not is_held:
        count = tried[2] + 1 if tried else 1
        assert dict(after.tried)["sd"] == Try(nearness, 8, count)


@pytest.mark.parametrize(("rise", "is_sure"), [(5.0, True), (-5.0, True), (1.0, False)])
def test_sure_and_settled(rise, is_sure):
    given = (slopes_of(edge(1e-3), rise), Held(("sd",)))
    assert boundary.is_sure(*given) == is_sure
    settled = boundary.is_settled(*given, np.zeros(2))
    assert settled == (not is_sure or rise > 0)


@pytest.mark.parametrize(("is_poisson", "seed"), [(False, 3), (True, 3)])
def test_a_variance_that_runs_to_zero_is_held_there(is_poisson, seed):
    """Groups that do not differ: the maximum of the mean is that without them."""
    given = groups(0.0, is_poisson=is_poisson, seed=seed)
    mean = given.y.mean()
    psi = np.array([np.log(mean) if is_poisson else mean, 0.0])
    values = [loglik(given, np.array([psi[0], at])) for at in (-9.0, -2.0, -1.0, 0.0)]
    assert values == sorted(values, reverse=True)
    found = run(problem(given, (psi[0] + 0.1, np.log(0.6)), has_edge=True), seed=2)
    assert found.outcome is Outcome.CONVERGED
    assert found.held == ("sd",)
    assert len(found.trace) <= 15
    # At the stand-in a thousandth of what rows can see is left.
    assert found.params[0] == pytest.approx(psi[0], abs=1e-4 + 5 * found.mc_error[0])
    assert np.exp(found.params[1]) < 1e-3
    np.testing.assert_array_equal(found.basis, [[1.0], [0.0]])
    assert np.isinf(found.info.stderr[1])


def test_a_variance_that_starts_at_zero_by_mistake_is_let_go():
    given = groups(1.2, is_poisson=False)
    found = run(problem(given, (0.5, np.log(1e-3 / np.sqrt(3))), has_edge=True), seed=2)
    other = run(problem(given, (0.5, 0.0), has_edge=True), seed=2)
    assert found.outcome is Outcome.CONVERGED
    assert found.held == ()
    np.testing.assert_allclose(found.params, other.params, atol=1e-3)
