"""Over seeds, Monte Carlo fits scatter about the truth by the errors that they report: no more, no less."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.em.series import mean_covariance
from tests.estimation import crossed, quadrature, wide
from tests.shifted import years

# A model whose standard deviation the data hardly know.
HARDLY = "binary sd 0.1"
# Of a right error the chance to fall outside the bounds below, at each end.
LEVEL = 1e-4


class Sample(NamedTuple):
    """Fits of one model with as many seeds: what they report, a row each, and its errors.

    Attributes:
      reports: (seeds, v) estimates, then their standard errors, then the log-likelihood.
      errors: (seeds, v) the Monte Carlo errors that came with them.
    """

    reports: np.ndarray
    errors: np.ndarray


def sample(model: lf.Model, num_seeds: int, solver: str = "direct") -> Sample:
    reports, errors = [], []
    for seed in range(num_seeds):
        fit = lf.estimate(model, method="mcem", seed=100 + seed, solver=solver, progress=False)
        assert fit.converged
        assert fit.solver == solver
        reports.append([*fit.param_values, *fit.param_stderr, fit.loglik.value])
        errors.append([*fit.param_mc_error, *fit.param_stderr_error, fit.loglik.mc_error])
    return Sample(np.array(reports), np.array(errors))


@cache
def of_batches() -> np.ndarray:
    """Means of white noise in units of the error that its batches give: some thousands, in two chains."""
    rng = np.random.default_rng(1)
    series = (rng.normal(size=(320, 1, 2)) for _ in range(8000))
    return np.array([part.mean() / np.sqrt(mean_covariance(part)[0, 0]) for part in series])


def bounds(ratios: np.ndarray, num_seeds: int) -> tuple[float, float]:
    """What the mean square of as many ratios falls between, all but surely: each is drawn from `ratios`."""
    rng = np.random.default_rng(2)
    means = rng.choice(ratios**2, size=(50_000, num_seeds)).mean(axis=1)
    low, high = np.quantile(means, [LEVEL, 1 - LEVEL])
    return float(low), float(high)


def check_mean_squares(squares: np.ndarray, num_seeds: int) -> None:
    """(v,) mean squares of ratios: of all means over draws, the bridge's two sides included."""
    low, high = bounds(of_batches(), num_seeds)
    assert (squares > low).all(), squares
    assert (squares < high).all(), squares


def check_against_quadrature(name: str, num_seeds: int, source=quadrature) -> None:
    found, known = sample(source.model(name), num_seeds), source.truth(name)
    right = np.array([*known.values, *known.stderr, known.loglik])
    squares = (((found.reports - right) / found.errors) ** 2).mean(axis=0)
    check_mean_squares(squares[:-1], num_seeds)
    # The likelihood is exact: what it lacks is what the estimates' errors cost, half a sum of squares.
    assert (found.reports[:, -1] < known.loglik + 1e-6).all()
    z = np.random.default_rng(3).normal(size=10_000)
    low, high = bounds(z**2 / np.sqrt(3.0), num_seeds)
    assert low < squares[-1] < high

    def loglik(values: np.ndarray) -> float:
        if source is quadrature:
            return quadrature.loglik(quadrature.CASES[name], values, 60)
        return source.loglik(name, values)

    for values, value in zip(
        found.reports[:, : len(known.values)], found.reports.T[-1], strict=True
    ):
        exact = loglik(values)
        assert value == pytest.approx(exact, abs=1e-6)


def test_white_noise_is_judged_as_it_is():
    """Errors of batches are a little noisy and not biased; the bounds notice errors off by a factor of 1.7."""
    square = (of_batches() ** 2).mean()
    # 8,000 squares of t with some 20 degrees of freedom, 1.8 their standard deviation: 0.02 of error.
    assert 1.02 < square < 1.2
    low, high = bounds(of_batches(), 40)
    assert low > square / 1.7**2
    assert high < square * 1.7**2


@pytest.mark.parametrize("name", wide.CASES)
def test_the_grid_is_fine_enough(name):
    values = np.array(wide.CASES[name].start)
    found, finer = wide.loglik(name, values), wide.loglik(name, values, finer=2)
    assert found == pytest.approx(finer, abs=1e-9)


def test_reported_errors_are_calibrated():
    check_against_quadrature("counts", 12)


def test_standard_errors_of_a_sd_that_is_hardly_known():
    """On the log scale its error is some units, over which no difference may be taken."""
    found, known = sample(wide.model(HARDLY), 1), wide.truth(HARDLY)
    assert known.stderr[2] > 10 * known.values[2]
    off = np.abs(found.reports[0] - np.array([*known.values, *known.stderr, known.loglik]))
    assert (off < 5.0 * found.errors[0]).all(), off / found.errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", quadrature.CASES)
def test_reported_errors_are_calibrated_over_many_seeds(name):
    check_against_quadrature(name, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", wide.CASES)
def test_reported_errors_are_calibrated_where_effects_are_large(name):
    check_against_quadrature(name, 40, wide)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["direct", "iterative"])
def test_reported_errors_of_a_crossed_model_are_calibrated(solver):
    """The truth has an error of its own, common to all seeds: so spread and centre are judged apart."""
    num_seeds = 40
    found, (known, error) = sample(crossed.model(), num_seeds, solver), crossed.truth()
    centre = found.reports.mean(axis=0)
    spread = ((found.reports - centre) / found.errors) ** 2
    check_mean_squares(spread.sum(axis=0) / (num_seeds - 1), num_seeds - 1)
    right = np.array([*known.values, *known.stderr, known.loglik])
    of_right = np.array([*error.values, *error.stderr, error.loglik])
    of_centre = found.reports.std(axis=0, ddof=1) / np.sqrt(num_seeds)
    # Eight scrambles leave the error of the truth seven degrees of freedom. All of nine are held at once.
    widest = stats.t(crossed.SCRAMBLES - 1).isf(LEVEL / 2 / len(right))
    off = np.abs(centre - right)
    assert (off < 4.5 * of_centre + widest * of_right).all(), off / np.hypot(of_centre, of_right)
    # and the truth is sharp enough to notice a fiftieth of a standard error.
    stderr = np.array([*known.stderr, *known.stderr])
    assert (4.5 * of_centre[:-1] + of_right[:-1] < 0.02 * stderr).all()


@pytest.mark.slow
def test_both_solvers_scatter_about_the_same_place_where_the_approximation_is_far_off():
    """Of a correlation that rows hardly know: Laplace's standard error of it is half as large again.

    By that metric fits ended where their steps did, up to eight of their stated errors off.
    """
    num_seeds = 24
    model = lf.compile(lf.design("yes ~ x + (x | g) + (1 | h)", years()), "bernoulli")
    means, variances = [], []
    for solver in ("direct", "iterative"):
        found = sample(model, num_seeds, solver)
        centre = found.reports.mean(axis=0)
        spread = ((found.reports - centre) / found.errors) ** 2
        check_mean_squares(spread.sum(axis=0) / (num_seeds - 1), num_seeds - 1)
        means.append(centre)
        variances.append(found.reports.var(axis=0, ddof=1) / num_seeds)
    widest = stats.t(num_seeds - 1).isf(LEVEL / 2 / len(means[0]))
    gap = np.abs(means[1] - means[0]) / np.sqrt(sum(variances))
    assert (gap < widest).all(), gap
