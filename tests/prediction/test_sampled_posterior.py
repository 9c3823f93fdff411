"""Effects by Student's t distribution given the data: draws, intervals, averages, against quadrature."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.special
from scipy import stats

import lmeformula as lf
from lmeformula.prediction.posterior import normal_posterior_of, posterior_draws
from lmeformula.prediction.posterior_draws import SAMPLED
from lmeformula.prediction.sampled_posterior import SampledPosterior, kernel_quantiles
from tests.prediction.student_fits import EFFECTS, at, known, t_shares

FREEDOM, DRAWS, SEED = 2.5, 4000, 3
RESPONSES = {"gaussian": "y", "bernoulli": "yes"}
# Independent draws that those of a family are worth at least: where all answers are yes the tail is a t's, in
# which the sampler is slow. What they miss by is within so many errors.
WORTH, WITHIN = {"gaussian": 2000.0, "bernoulli": 350.0, "poisson": 1000.0}, 4.5


@cache
def fitted(family: str) -> lf.Fit:
    return known(at(RESPONSES[family], family, FREEDOM))


@cache
def sample(family: str) -> SampledPosterior:
    return SampledPosterior(fitted(family), DRAWS, SEED)


def shares(fit: lf.Fit, beta: np.ndarray | None = None) -> np.ndarray:
    """(l, N) chances of `EFFECTS` for each level, given its rows."""
    design = fit.model.design
    eta = (design.X @ (fit.params.beta if beta is None else beta))[:, None] + EFFECTS
    if fit.model.family.is_normal:
        logs = -0.5 * ((design.y[:, None] - eta) / fit.sigma) ** 2
    else:
        logs = scipy.special.log_expit(np.where(design.y[:, None] == 1.0, eta, -eta))
    whole = np.zeros((12, len(EFFECTS)))
    np.add.at(whole, design.terms[0].index, logs)
    found = np.exp(whole - whole.max(axis=1, keepdims=True)) * t_shares(FREEDOM)
    return found / found.sum(axis=1, keepdims=True)


def within(chance: float, family: str) -> float:
    return WITHIN * float(np.sqrt(chance * (1 - chance) / WORTH[family])) + 1e-9


@pytest.mark.parametrize("family", list(RESPONSES))
def test_draws_have_the_distribution_of_quadrature(family):
    fit, drawn = fitted(family), sample(family)
    assert drawn.effective > WORTH[family]
    assert drawn.sample.effects[0].shape == (DRAWS, 12, 1)
    by_level = shares(fit)
    for level in range(12):
        below = np.cumsum(by_level[level])
        for chance in (0.05, 0.3, 0.5, 0.8, 0.99):
            end = np.interp(chance, below, EFFECTS)
            seen = (drawn.sample.effects[0][:, level, 0] <= end).mean()
            assert abs(seen - chance) < within(chance, family)


@pytest.mark.parametrize("family", list(RESPONSES))
def test_means_move_with_the_parameters(family):
    fit, drawn, h = fitted(family), sample(family), 1e-4
    for column in range(2):
        step = h * np.eye(2)[column]
        ahead, behind = (shares(fit, fit.params.beta + s) @ EFFECTS for s in (step, -step))
        right = (ahead - behind) / (2 * h)
        # The covariance with a score that is the sum over levels.
        scores = drawn.sample.effects[0][:, :, 0] - drawn.sample.effects[0][:, :, 0].mean(axis=0)
        slope = np.abs(np.diff(drawn.moves[:, column])).max() + 1.0
        error = scores.std(axis=0) * slope * np.sqrt(12 * 4 / fit_sigma(fit) ** 2) / np.sqrt(DRAWS)
        assert (np.abs(drawn.moves[:, column] - right) < WITHIN * error).all()


def fit_sigma(fit: lf.Fit) -> float:
    return fit.sigma if fit.model.family.is_normal else 2.0


@pytest.mark.parametrize("interval", ["confidence", "prediction"])
def test_intervals_of_normal_rows_have_their_chance(interval):
    fit = fitted("gaussian")
    found = fit.predict(interval=interval, level=0.9, seed=SEED)
    eta = fit.model.design.X @ fit.params.beta
    by_level, sd = shares(fit), fit.sigma if interval == "prediction" else 1e-3
    for row in range(0, fit.nobs, 5):
        middle = eta[row] + EFFECTS
        for end, chance in (("lower", 0.05), ("upper", 0.95)):
            below = stats.norm.cdf((found[end][row] - middle) / sd)
            level = fit.model.design.terms[0].index[row]
            assert abs(by_level[level] @ below - chance) < within(chance, "gaussian")


def test_intervals_of_chances_are_skewed_as_their_effects():
    fit = fitted("bernoulli")
    found = fit.predict(interval="confidence", level=0.9, seed=SEED)
    eta, by_level = fit.model.design.X @ fit.params.beta, shares(fit)
    for row in range(0, fit.nobs, 5):
        level = fit.model.design.terms[0].index[row]
        for end, chance in (("lower", 0.05), ("upper", 0.95)):
            effect = scipy.special.logit(found[end][row]) - eta[row]
            assert abs(by_level[level][effect >= EFFECTS].sum() - chance) < within(
                chance, "bernoulli"
            )


def test_errors_of_the_parameters_add_to_those_of_the_effects():
    """By the exact moves: x and the derivative of the mean effect, at the covariance of the estimates."""
    fit, h = at("y", "gaussian", FREEDOM), 1e-4
    found = fit.predict(interval="confidence", level=0.9, seed=SEED)
    steps = h * np.eye(2)
    means = [shares(fit, fit.params.beta + s) @ EFFECTS for s in (*steps, *-steps)]
    moves = np.column_stack([(means[j] - means[2 + j]) / (2 * h) for j in range(2)])
    design = fit.model.design
    level = design.terms[0].index
    loads = design.X + moves[level]
    sds = np.sqrt(np.einsum("ni,ij,nj->n", loads, fit.fixed_vcov, loads))
    by_level, eta = shares(fit), design.X @ fit.params.beta
    for row in range(0, fit.nobs, 5):
        # The width is off by the error of the moves, which are means over the draws.
        for end, chance in (("lower", 0.05), ("upper", 0.95)):
            below = stats.norm.cdf((found[end][row] - eta[row] - EFFECTS) / sds[row])
            assert abs(by_level[level[row]] @ below - chance) < within(chance, "gaussian") + 0.003


def test_averages_are_those_of_quadrature():
    fit = fitted("bernoulli")
    found = np.asarray(fit.predict(averaged=True))
    by_level, eta = shares(fit), fit.model.design.X @ fit.params.beta
    level = fit.model.design.terms[0].index
    values = scipy.special.expit(eta[:, None] + EFFECTS)
    right = np.einsum("nm,nm->n", by_level[level], values)
    spread = np.sqrt(np.einsum("nm,nm->n", by_level[level], (values - right[:, None]) ** 2))
    assert (np.abs(found - right) < WITHIN * spread / np.sqrt(WORTH["bernoulli"])).all()


def test_known_and_new_levels_stand_beside_each_other():
    fit = at("y", "gaussian", FREEDOM)
    new = {"g": [3, 99], "x": [0.2, 0.2]}
    options = {"interval": "prediction", "new_levels": "sample", "seed": 5}
    both = fit.predict(new, **options)
    alone = fit.predict({"g": [99], "x": [0.2]}, **options)
    seen = fit.predict({"g": [3], "x": [0.2]}, **options)
    np.testing.assert_allclose(both.iloc[0], seen.iloc[0], rtol=1e-10)
    # By draws of t, rather than by its mixture.
    tails = np.abs(both.iloc[1] - alone.iloc[0])
    assert (tails < 0.15 * (alone["upper"] - alone["lower"])[0]).all()


def test_simulated_responses_have_the_spread_of_the_effects():
    fit = known(at("count", "poisson", FREEDOM, 0.7))
    found = fit.predict(interval="prediction", level=0.8, num_draws=DRAWS, seed=SEED)
    design = fit.model.design
    drawn = SampledPosterior(fit, DRAWS, SEED).sample.effects[0][:, design.terms[0].index, 0]
    rates = np.exp(design.X @ fit.params.beta + drawn)
    upper = np.asarray(found["upper"])
    assert (stats.poisson.cdf(upper, rates).mean(axis=0) > 0.9 - within(0.9, "poisson")).all()
    assert (stats.poisson.cdf(upper - 1, rates).mean(axis=0) < 0.9 + within(0.9, "poisson")).all()


def test_categories_have_intervals_and_joint_draws():
    fit = at("grade", "cumulative", FREEDOM)
    found = fit.predict(kind="prob", interval="confidence", seed=SEED)
    wide = fit.predict(kind="prob", interval="confidence", seed=SEED, level=0.99)
    for name in dict.fromkeys(found.columns.get_level_values(0)):
        assert (found[name]["lower"] <= found[name]["upper"]).all()
        assert (wide[name]["upper"] >= found[name]["upper"] - 1e-9).all()
    link = fit.predict(kind="link", interval="confidence", seed=SEED)
    assert np.isfinite(link).all().all()
    draws = posterior_draws(fit, 50, 1)
    assert draws.how == SAMPLED
    assert draws.effects[0].shape == (50, 12, 1)


def test_effects_that_ended_as_gaussian_ones_have_their_equations():
    fit = at("y", "gaussian", np.inf)
    from tests.prediction.student_fits import plain

    right = plain("y ~ x + (1 | g)", "gaussian")
    same = at("y", "gaussian", np.inf, float(np.sqrt(right.params.covariances[0][0, 0])))
    np.testing.assert_allclose(
        same.predict(interval="prediction"), right.predict(interval="prediction"), rtol=1e-9
    )
    assert fit.params.freedom == (np.inf,)


def test_crossed_effects_near_the_normal_are_those_of_the_equations():
    """Of 100,000 degrees of freedom: joint moments, moves with the parameters and intervals are Henderson's."""
    covariances = (np.array([[1.1]]), np.array([[0.4]]))
    crossed = at("y", "gaussian", 1e5, 1.0, " + (1 | h)")
    heavy = replace(crossed, params=crossed.params._replace(covariances=covariances))
    normal = replace(heavy, params=heavy.params._replace(freedom=(np.inf, np.inf)))
    solved = normal_posterior_of(normal)
    drawn = SampledPosterior(heavy, DRAWS, SEED)
    right = drawn.plan.split(-solved.crossed)
    found = drawn.plan.split(drawn.moves[:, :2])
    # The means of the effects, by dense algebra.
    design, sigma = normal.model.design, normal.sigma
    sizes = (12, 5)
    Z = np.hstack([np.eye(n)[t.index] for n, t in zip(sizes, design.terms, strict=True)])
    psi = np.diag(np.repeat([1.1, 0.4], sizes))
    posterior = np.linalg.inv(Z.T @ Z / sigma**2 + np.linalg.inv(psi))
    means = posterior @ Z.T @ (design.y - design.X @ normal.params.beta) / sigma**2
    middles = np.split(means[:, None], [12])
    for j, levels in enumerate(sizes):
        assert drawn.sample.effects[j].shape == (DRAWS, levels, 1)
        sds = drawn.sample.effects[j].std(axis=0)
        error = WITHIN * sds / np.sqrt(WORTH["gaussian"])
        assert (np.abs(drawn.sample.effects[j].mean(axis=0) - middles[j]) < error).all()
        # Given the effects' means, scores of fixed effects vary by about the square root of X'Z Psi Z'X.
        scores = np.sqrt(np.diag(design.X.T @ Z @ posterior @ Z.T @ design.X)) / sigma**2
        assert (np.abs(found[j] - right[j]) < error * scores).all()
    both = np.concatenate([part[:, :, 0] for part in drawn.sample.effects], axis=1)
    spread = np.sqrt(np.outer(np.diag(posterior), np.diag(posterior)))
    apart = np.abs(np.cov(both.T) - posterior) / spread
    assert apart.max() < WITHIN * np.sqrt(2.0 / WORTH["gaussian"])
    # Ends of intervals are about the modes of the fit: those of the equations, about the means.
    middle = replace(heavy, modes=tuple(middles))
    ends = [
        fit.predict(interval="prediction", seed=SEED)
        for fit in (middle, replace(middle, params=normal.params))
    ]
    width = ends[1]["upper"] - ends[1]["estimate"]
    for end in ("lower", "upper"):
        # A quantile's standard error, in half widths of the interval.
        error = np.sqrt(0.025 * 0.975 / WORTH["gaussian"]) / stats.norm.pdf(1.96) / 1.96
        assert (np.abs(ends[0][end] - ends[1][end]) < WITHIN * error * width).all()


@pytest.mark.parametrize("sd", [0.0, 0.3, 4.0])
def test_kernel_quantiles(sd):
    rng = np.random.default_rng(1)
    draws = rng.standard_t(3, (6000, 3)) * [1.0, 0.2, 3.0]
    low, high = kernel_quantiles(draws, np.full(3, sd), 0.9)
    for column in range(3):
        kernel = max(sd, 0.02 * draws[:, column].std())
        for end, chance in ((low, 0.05), (high, 0.95)):
            below = stats.norm.cdf((end[column] - draws[:, column]) / kernel).mean()
            assert below == pytest.approx(chance, abs=1e-6)
    assert (kernel_quantiles(np.full((10, 1), 2.0), np.zeros(1), 0.9) == 2.0).all()
