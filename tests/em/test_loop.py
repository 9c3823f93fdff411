"""The loop over a whole fit: known answers, one trace, seeds, honest errors, and every way to end."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lmeformula.em.iteration as place
from lmeformula.em import Geometry, Options, Outcome, Problem, from_log_joint, run, schedule
from lmeformula.em.types import Scores
from tests.em.conftest import GROUPED, Y, grouped_maximum


class Recorder:
    """A Progress that remembers its calls, and may interrupt after an iteration."""

    def __init__(self, interrupt_at: int = 0) -> None:
        self.calls: list[object] = []
        self.interrupt_at = interrupt_at

    def start(self, names):
        self.calls.append(names)

    def update(self, iteration):
        self.calls.append(iteration.number)
        if iteration.number == self.interrupt_at:
            raise KeyboardInterrupt

    def stop(self):
        self.calls.append("stop")


def test_a_known_maximum(mean_problem):
    found = run(mean_problem)
    assert found.outcome is Outcome.CONVERGED
    # Information of y_i ~ N(mean, 2): n / 2. Louis's estimate of it is good to its draws.
    stderr = np.sqrt(2 / len(Y))
    assert found.mc_error[0] <= 0.0101 * stderr * 1.1
    assert abs(found.params[0] - Y.mean()) < 4 * found.mc_error[0]
    assert np.sqrt(1 / found.information[0, 0]) == pytest.approx(stderr, rel=0.1)


def test_the_trace(mean_problem):
    show = Recorder()
    found = run(mean_problem, seed=1, progress=show)
    numbers = [line.number for line in found.trace]
    assert numbers == list(range(1, len(numbers) + 1))
    assert show.calls == [("mean",), *numbers, "stop"]
    assert all(line.seconds > 0 and 0 < line.acceptance <= 1 for line in found.trace)
    draws = [line.num_draws for line in found.trace]
    assert draws == sorted(draws)
    assert draws[0] == 20 < draws[-1]
    # The errors fall with the root of the draws, to the tolerance.
    assert found.trace[-1].largest_error <= 0.01 < found.trace[0].largest_error
    assert found.info.latent_mean.shape == (len(Y),)


def test_posterior_of_the_latents(mean_problem):
    found = run(mean_problem, Options(watched=(0, 5)), seed=2)
    # u_i | y ~ N((y_i - mean) / 2, 1 / 2). The variance comes from the draws, some 2 % off with thousands.
    expected = (Y - found.params[0]) / 2
    np.testing.assert_allclose(found.info.latent_mean, expected, atol=0.02)
    np.testing.assert_allclose(found.info.latent_variance, 0.5, rtol=0.15)
    assert found.draws.shape == (min(1000, found.trace[-1].num_draws), 2)
    deviations = found.draws - expected[[0, 5]]
    # 1,000 draws, at worst one in twenty of them independent: 4 sqrt(0.5 / 50)
    assert (np.abs(deviations.mean(axis=0)) < 0.4).all()
    assert found.draws.std(axis=0) == pytest.approx(np.sqrt(0.5), rel=0.3)


def test_whole_fit_is_traced_once(grouped_problem):
    found = run(grouped_problem, Options(tolerance=0.05), seed=3)
    assert len(found.trace) > 3
    assert found.num_traces == 1


def test_same_seed_same_bits_other_seed_other_bits(grouped_problem):
    first, again, other = (run(grouped_problem, Options(tolerance=0.05), seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.params, again.params)
    np.testing.assert_array_equal(first.mc_covariance, again.mc_covariance)
    assert [line.estimates.tolist() for line in first.trace] == [
        line.estimates.tolist() for line in again.trace
    ]
    assert (first.params != other.params).all()
    assert again.num_traces == 1


def test_estimates_scatter_as_the_reported_error_says(grouped_problem):
    """Over seeds, the squared distance to the maximum in units of the reported covariance is chi-square."""
    maximum, information = grouped_maximum()
    order = [grouped_problem.names.index(name) for name in ("mean", "log_sd")]
    squared, errors = [], []
    for seed in range(20):
        found = run(grouped_problem, Options(tolerance=0.05), seed=100 + seed)
        assert found.outcome is Outcome.CONVERGED
        distance = found.params[order] - maximum
        covariance = found.mc_covariance[np.ix_(order, order)]
        squared.append(distance @ np.linalg.solve(covariance, distance))
        errors.append(np.sqrt(np.diag(covariance) * np.diag(information)))
    # The covariance is estimated from 20 batch means: Hotelling's T^2 with 2 and 19 degrees of freedom, whose
    # mean is 2 * 19 / 16. The sum of 20 is compared with chi-square(40) widened by that.
    total = sum(squared) / (19 / 16)
    low, high = stats.chi2(40).ppf([1e-4, 1 - 1e-4])
    assert low < total < high
    # and the errors are as small as was asked for
    assert np.max(errors) < 0.06


def test_standard_errors_are_those_of_the_marginal_likelihood(grouped_problem):
    maximum, information = grouped_maximum()
    order = [grouped_problem.names.index(name) for name in ("mean", "log_sd")]
    found = run(grouped_problem, Options(tolerance=0.01), seed=5)
    assert np.abs(found.params[order] - maximum) @ np.sqrt(np.diag(information)) < 0.1
    # Louis's difference of matrices from at least 10,000 effective draws: seen to be 1 % off, at most 3 %.
    np.testing.assert_allclose(np.diag(found.information)[order], np.diag(information), rtol=0.05)


@pytest.mark.parametrize("num_chains", [1, 4])
def test_number_of_chains(mean_problem, num_chains):
    found = run(mean_problem, Options(num_chains=num_chains, tolerance=0.03))
    assert found.outcome is Outcome.CONVERGED
    assert abs(found.params[0] - Y.mean()) < 4 * found.mc_error[0]


def test_float32(mean_problem):
    found = run(mean_problem, Options(tolerance=0.03), dtype="float32")
    assert found.outcome is Outcome.CONVERGED
    # Beyond the Monte Carlo error, seven digits.
    assert abs(found.params[0] - Y.mean()) < 4 * found.mc_error[0] + 1e-5


def test_adam(grouped_problem):
    maximum, information = grouped_maximum()
    order = [grouped_problem.names.index(name) for name in ("mean", "log_sd")]
    options = Options(mstep="adam", learning_rate=0.1, tolerance=0.05, max_iterations=400)
    found = run(grouped_problem, options, seed=6)
    assert found.outcome is Outcome.CONVERGED
    distance = (found.params[order] - maximum) * np.sqrt(np.diag(information))
    assert (np.abs(distance) < 0.25).all()  # five times the tolerated error


# ---- ways to end


def test_iterations_exhausted(mean_problem):
    found = run(mean_problem, Options(max_iterations=2))
    assert found.outcome is Outcome.ITERATIONS_EXHAUSTED
    assert len(found.trace) == 2
    np.testing.assert_array_equal(found.params, found.trace[-1].estimates)


def test_draws_exhausted(mean_problem):
    found = run(mean_problem, Options(tolerance=1e-4, max_draws=100))
    assert found.outcome is Outcome.DRAWS_EXHAUSTED
    assert max(line.num_draws for line in found.trace) == 100
    assert abs(found.params[0] - Y.mean()) < 4 * found.mc_error[0]


def test_interrupted_after_an_iteration(grouped_problem):
    show = Recorder(interrupt_at=2)
    found = run(grouped_problem, Options(tolerance=0.05), seed=3, progress=show)
    whole = run(grouped_problem, Options(tolerance=0.05), seed=3)
    assert found.outcome is Outcome.INTERRUPTED
    assert show.calls[1:] == [1, 2, "stop"]
    np.testing.assert_array_equal(found.params, whole.trace[1].estimates)
    assert np.isfinite(found.mc_error).all()


def test_interrupted_before_any(mean_problem, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "take", interrupt)
    show = Recorder()
    found = run(mean_problem, progress=show)
    assert found.outcome is Outcome.INTERRUPTED
    assert (found.trace, found.info) == ((), None)
    np.testing.assert_array_equal(found.params, mean_problem.params)
    assert np.isnan(found.mc_error).all()
    assert show.calls[-1] == "stop"


def test_nonfinite_density():
    y = tf.constant(Y)

    def log_joint(params, u):  # NaN beyond 1, on the way to the maximum
        wall = tf.where(
            params[0] < 1.0, tf.constant(0.0, tf.float64), tf.constant(np.nan, tf.float64)
        )
        return wall - 0.5 * tf.reduce_sum(u**2 + (y - params[0] - u) ** 2)

    show = Recorder()
    found = run(from_log_joint(log_joint, [0.0], np.zeros(len(Y))), progress=show)
    assert found.outcome is Outcome.NONFINITE
    assert len(found.trace) >= 1  # up to the last finite iteration
    np.testing.assert_array_equal(found.params, found.trace[-1].estimates)
    assert show.calls[-1] == "stop"


def test_a_geometry_that_loses_its_rank_ends_as_nonfinite():
    calls = []

    def geometry(psi):
        calls.append(psi)
        if len(calls) > 1:
            raise np.linalg.LinAlgError("not positive definite")
        return Geometry((np.ones(len(Y)),), np.eye(1), np.eye(1))

    problem = from_log_joint(
        lambda p, u: -0.5 * tf.reduce_sum(u**2 + (tf.constant(Y) - p[0] - u) ** 2),
        [0.0],
        np.zeros(len(Y)),
    )
    found = run(problem._replace(geometry=geometry, solver=None))
    assert found.outcome is Outcome.NONFINITE
    assert len(calls) == 2


def test_progress_is_stopped_when_something_breaks(mean_problem):
    class Broken(Recorder):
        def update(self, iteration):
            raise RuntimeError("display")

    show = Broken()
    with pytest.raises(RuntimeError, match="display"):
        run(mean_problem, progress=show)
    assert show.calls[-1] == "stop"


# ---- the data are arguments


def problem_with_data(y: np.ndarray) -> Problem:
    """As mean_problem, with the data as an argument, known whitening and exact control variates."""

    def density(params, position, arrays, data):
        (scale,) = arrays
        u = scale * position
        residual = data[:, None] - params[0] - u
        value = -0.5 * tf.reduce_sum(u**2 + residual**2, axis=0)
        return value, scale * (residual - u)

    def score(params, position, gradient, arrays, data):
        (scale,) = arrays
        raw = tf.reduce_sum(data[:, None] - params[0] - scale * position, axis=0, keepdims=True)
        # The posterior is N(., 1/2) and scale its root: the gradient times scale is -(u - its mean).
        control = tf.reduce_sum(gradient * scale, axis=0, keepdims=True)
        return Scores(raw, raw - control)

    n = len(y)
    return Problem(
        params=np.zeros(1),
        names=("mean",),
        latents=np.zeros(n),
        data=y,
        density=density,
        score=score,
        to_latents=lambda position, arrays, data: arrays[0] * position,
        to_position=lambda latents, arrays: latents / arrays[0],
        report=lambda psi: (psi, np.eye(1)),
        geometry=lambda psi: Geometry(
            (np.float64(np.sqrt(0.5)),), n * np.eye(1), n / 2 * np.eye(1)
        ),
        program="mean with data",
    )


def test_other_data_of_the_same_shape_run_the_same_program():
    problem = problem_with_data(Y)
    found = run(problem)
    moved = run(problem_with_data(Y + 10.0)._replace(params=np.array([3.0])), seed=1)
    assert moved.num_traces == 1  # counted over both
    for solution, expected in ((found, Y.mean()), (moved, Y.mean() + 10.0)):
        assert solution.outcome is Outcome.CONVERGED
        assert abs(solution.params[0] - expected) < 4 * solution.mc_error[0] + 1e-9


def test_control_variates_take_all_of_the_error_of_a_gaussian_posterior():
    problem = problem_with_data(Y)
    with_them = run(problem)
    without = run(problem, Options(control_variates=False, tolerance=0.05))
    assert with_them.mc_error[0] < 1e-12
    assert with_them.params[0] == pytest.approx(Y.mean(), abs=1e-12)
    assert (with_them.info.reduction > 1e20).all()
    assert 1e-4 < without.mc_error[0] < 0.05 * 0.5 * 1.01
    assert abs(without.params[0] - Y.mean()) < 4 * without.mc_error[0]
    assert without.info.reduction == pytest.approx([1.0])


def test_the_closed_form_is_the_maximum():
    """`grouped_maximum` by the definition: the marginal density of each group."""
    maximum, information = grouped_maximum()

    def loglik(psi):
        V = np.eye(3) + np.exp(2 * psi[1]) * np.ones((3, 3))
        return stats.multivariate_normal(np.full(3, psi[0]), V).logpdf(GROUPED).sum()

    from tests.simulate import differences

    np.testing.assert_allclose(differences(loglik, maximum), 0.0, atol=1e-6)
    second = differences(lambda at: differences(loglik, at, 1e-4), maximum, 1e-4)
    np.testing.assert_allclose(-second, information, rtol=1e-4, atol=1e-3)


def test_parameters_that_run_away_end_as_diverged(mean_problem):
    """The maximum is 195 of its longest steps away: a run that goes on in one direction stops, and says so."""
    found = run(mean_problem._replace(max_step=np.array([0.01])))
    assert found.outcome is Outcome.DIVERGED
    assert len(found.trace) == schedule.MOST_CUT_STEPS
    # Of all its places the nearest to the maximum, on the way there.
    assert 0.0 < found.params[0] < 0.11
