"""The observed information from draws: by quadrature, its errors over seeds, and none where none is left."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from lmeformula.em import Options, Outcome, information, run
from lmeformula.em.observed import Information, reported
from tests.em.groups import groups, loglik, problem
from tests.simulate import differences

NORMAL = groups(1.2, is_poisson=False)
COUNTS = groups(0.9, is_poisson=True)


@cache
def maximum(is_poisson: bool) -> tuple[np.ndarray, np.ndarray]:
    """By quadrature: where it is, and the information there."""
    given, psi = (COUNTS, np.array([0.5, -0.1])) if is_poisson else (NORMAL, np.array([0.5, 0.2]))

    def slope(at):
        return differences(lambda x: loglik(given, x), at, 1e-4)

    for _ in range(8):
        information = -differences(slope, psi, 1e-3)
        psi = psi + np.linalg.solve(information, slope(psi))
    return psi, information


def found_by(given, seed: int, tolerance: float = 0.01):
    psi, _ = maximum(given.is_poisson)
    return run(
        problem(given, (psi[0] + 0.2, psi[1] - 0.2)), Options(tolerance=tolerance), seed=seed
    )


def test_no_error_is_left_of_a_normal_posterior():
    solution = found_by(NORMAL, 0)
    psi, information = maximum(False)
    assert solution.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(solution.params, psi, atol=1e-5)
    assert (solution.mc_error < 1e-6).all()
    found = solution.monte_carlo
    # Central differences of 0.02 standard errors are good to some 1e-4.
    np.testing.assert_allclose(found.matrix, information, rtol=1e-3, atol=0.02)
    assert (found.noise(np.eye(2)) < 1e-6).all()


def test_next_to_the_maximum_differences_of_many_rows_are_to_one_side(monkeypatch):
    monkeypatch.setattr(information, "FEW_ROWS", 0)
    found = found_by(NORMAL, 0).monte_carlo
    assert not found.change.any()
    # Half a step of 0.002 standard errors, times a relative third derivative of about one.
    np.testing.assert_allclose(found.matrix, maximum(False)[1], rtol=3e-3, atol=0.02)


def test_of_a_skew_posterior_it_is_that_of_quadrature_within_its_error():
    """Estimates and standard errors of ten seeds."""
    psi, information = maximum(True)
    stderr = np.sqrt(np.diag(np.linalg.inv(information)))
    ratios = []
    for seed in range(10):
        solution = found_by(COUNTS, seed, 0.03)
        assert solution.outcome is Outcome.CONVERGED
        said = reported(
            solution.monte_carlo, lambda _: np.eye(2), solution.params, solution.mc_covariance
        )
        assert (said.stderr_error < 0.03 * stderr).all()
        ratios.append(
            [
                *(solution.params - psi) / solution.mc_error,
                *(np.sqrt(np.diag(said.covariance)) - stderr) / said.stderr_error,
            ]
        )
    squares = np.mean(np.square(ratios), axis=0)
    # Squares of t with 15 degrees of freedom or more: their mean over ten falls outside with a chance of 1e-4.
    low, high = np.quantile(
        np.square(stats.t(15).rvs((200_000, 10), random_state=1)).mean(axis=1), [1e-4, 1 - 1e-4]
    )
    assert (squares < high).all(), squares
    assert (squares > low).all(), squares


def test_its_change_is_the_third_derivative():
    solution = found_by(NORMAL, 1)
    at = solution.monte_carlo.params

    def information(psi):
        slope = lambda x: differences(lambda v: loglik(NORMAL, v), x, 1e-4)  # noqa: E731
        return -differences(slope, psi, 1e-3)

    for direction in range(2):
        step = np.zeros(2)
        step[direction] = 0.05
        change = (information(at + step) - information(at - step)) / 0.1
        found = solution.monte_carlo.change[:, :, direction]
        np.testing.assert_allclose(found, change, rtol=0.02, atol=0.02 * np.abs(change).max())


# ---- as a record


def record(matrix, series, scores, basis=None, change=None, share=1.0) -> Information:
    f = len(matrix)
    basis = np.eye(f) if basis is None else basis
    return Information(
        params=np.zeros(len(basis)),
        basis=basis,
        matrix=np.array(matrix),
        series=series,
        change=np.zeros((f, f, f)) if change is None else change,
        scores=scores,
        share=share,
        score=np.zeros(f),
    )


def noisy(rng, size: int, num_draws: int = 400):
    noise = rng.normal(size=(num_draws, size, size, 2))
    return noise + noise.transpose(0, 2, 1, 3)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_noise_is_the_delta_method(size):
    rng = np.random.default_rng(size)
    matrix = 5 * np.eye(size) + 1
    series = matrix[:, :, None] + 0.3 * noisy(rng, size)
    jacobian = rng.normal(size=(2, size))
    found = record(matrix, series, np.zeros((400, size, 2)))

    def stderr(at):
        return np.sqrt(np.diag(jacobian @ np.linalg.inv(at) @ jacobian.T))

    # Each half-run of chains as a replicate: their standard errors' spread is the noise, within chi-square.
    parts = np.array([part.mean(axis=(0, 3)) for part in np.array_split(series, 100)])
    spread = np.std([stderr(part) for part in parts], axis=0, ddof=1) / 10
    # 32 batches against 100 parts: ratios of roots of chi-square, 0.15 their standard deviation.
    np.testing.assert_allclose(found.noise(jacobian), spread, rtol=0.6)
    np.testing.assert_allclose(found.covariance_at(np.zeros(size)), np.linalg.inv(matrix))


@pytest.mark.parametrize(("sign", "share"), [(1.0, 1.0), (-1.0, 1.0), (1.0, 0.25)])
def test_noise_and_estimates_from_the_same_draws_are_correlated(sign, share):
    """One parameter, whose draws of the information are those of the score: all of the correlation."""
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(400, 1, 2))
    series = 4 + sign * scores[:, :, None]
    found = record([[4.0]], series, scores, share=share)
    # More information is a smaller standard error.
    expected = -sign * np.sqrt(share)
    np.testing.assert_allclose(found.correlation(np.eye(1), np.eye(1)), expected)
    np.testing.assert_allclose(found.correlation(np.eye(1), np.zeros((1, 1))), 0.0)


def test_errors_of_the_estimates_reach_the_standard_errors():
    """No noise of its own: information 4 + 2 psi, and its root's inverse moves with psi."""
    series = np.full((400, 1, 1, 2), 4.0)
    found = record([[4.0]], series, np.zeros((400, 1, 2)), change=np.full((1, 1, 1), 2.0))
    said = reported(found, lambda _: np.eye(1), np.zeros(1), np.array([[1e-4]]))
    # d (4 + 2 psi)^-1/2 / d psi = -1/8
    np.testing.assert_allclose(said.stderr_error, [0.01 / 8], rtol=1e-4)
    np.testing.assert_allclose(said.covariance, [[0.25]])


@pytest.mark.parametrize(("start", "expected"), [(1.0, 5.0), (0.0, 4.0), (-3.0, 1.0), (-9.0, 4.0)])
def test_halfway_is_the_mean_of_both_ends_where_that_is_positive(start, expected):
    change = np.full((1, 1, 1), 2.0)
    found = record([[4.0]], np.full((40, 1, 1, 2), 4.0), np.zeros((40, 1, 2)), change=change)
    np.testing.assert_allclose(found.halfway(np.array([start])), [[expected]])


def test_held_directions_have_no_covariance():
    basis = np.array([[1.0], [0.0]])
    found = record([[4.0]], np.full((40, 1, 1, 2), 4.0), np.zeros((40, 1, 2)), basis)
    np.testing.assert_allclose(found.halfway(np.zeros(2)), [[4.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(found.covariance_at(np.zeros(2)), [[0.25, 0.0], [0.0, 0.0]])
    assert found.is_usable


@pytest.mark.parametrize("matrix", [[[-1.0]], [[np.nan]], [[1.0, 2.0], [2.0, 1.0]]])
def test_what_is_not_positive_definite_is_not_usable(matrix):
    size = len(matrix)
    assert not record(matrix, np.ones((4, size, size, 2)), np.zeros((4, size, 2))).is_usable


def test_what_is_left_and_what_that_changes():
    """One parameter in one of two directions: information 4 that grows by 2 a unit."""
    basis = np.array([[0.6], [0.8]])
    found = record(
        [[4.0]], np.ones((4, 1, 1, 2)), np.zeros((4, 1, 2)), basis, np.full((1, 1, 1), 2.0)
    )._replace(score=np.array([2.0]))
    np.testing.assert_allclose(found.left, 0.5 * basis[:, 0])
    assert found.change_to(found.left) == pytest.approx(1 - np.sqrt(4 / 5))
    # Where nothing is left of the information it is no small change.
    assert found.change_to(-2.5 * basis[:, 0]) == np.inf
