"""Distributions of the families with a single predictor: densities, draws, and what is said of both."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.family import family, log_density
from tests.family.single import CASES, COUNTED, TRIALS, arrays, tensors

ETA = np.array([-1.5, 0.2, 1.4])
NUM_DRAWS = 40_000


@pytest.mark.parametrize("name", CASES)
def test_the_distribution_has_the_log_density(name):
    case, record = CASES[name], family(name)
    y = np.repeat(case.responses, len(ETA))
    eta = np.tile(ETA, len(case.responses))
    response = tuple(tf.constant(array) for array in arrays(name, y))
    density = log_density(record, tf.constant(eta[:, None]), response, tensors(case.own))
    rows = record.distribution(tf.constant(eta), response, tensors(case.own))
    assert rows.batch_shape == eta.shape
    np.testing.assert_allclose(rows.log_prob(y), density[:, 0], rtol=1e-10, atol=1e-12)
    # Several predictors for each row, each with own parameters of its own.
    own = tuple(value * tf.constant([1.0, 1.05], tf.float64) for value in tensors(case.own))
    several = log_density(record, np.column_stack([eta, eta + 0.1]), response, own)
    again = log_density(record, eta[:, None] + 0.1, response, tuple(value[1] for value in own))
    np.testing.assert_allclose(several[:, 1], again[:, 0], rtol=1e-10)


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("eta", [-4.0, 0.3, 2.5])
def test_chances_of_counts_add_up_to_one(name, eta):
    y = np.arange(3000.0)
    values = log_density(
        family(name), np.full((len(y), 1), eta), arrays(name, y), tensors(CASES[name].own)
    )
    chance = np.exp(np.ravel(values))
    assert chance.sum() == pytest.approx(1.0, abs=1e-12)
    own = np.array(CASES[name].own)
    mean = family(name).mean(np.array([eta]), own)
    assert (chance * y).sum() == pytest.approx(mean[0], rel=1e-10)
    variance = (chance * (y - mean) ** 2).sum()
    assert family(name).variance(mean, own)[0] == pytest.approx(variance, rel=1e-7)


@pytest.mark.parametrize("name", [name for name in COUNTED if family(name).cdf is not None])
@pytest.mark.parametrize("eta", [-40.0, -4.0, 0.3, 2.5, 5.0])
def test_chances_up_to_a_count_are_sums(name, eta):
    y, record, own = np.arange(3000.0), family(name), CASES[name].own
    at = np.full(len(y), eta)
    values = log_density(record, at[:, None], arrays(name, y), tensors(own))
    found = record.cdf(y, at, own)
    np.testing.assert_allclose(found, np.cumsum(np.exp(np.ravel(values))), rtol=1e-11)
    assert record.cdf(np.array([-1.0]), at[:1], own) == 0.0


@pytest.mark.parametrize("name", [name for name in COUNTED if family(name).cdf is not None])
def test_chances_up_to_a_count_at_means_beyond_all_numbers(name):
    """Next to none every count but a zero is a one; at infinity every one is beyond."""
    own, zero = CASES[name].own, CASES[name].own[-1]
    record = family(name)
    few = record.cdf(np.array([0.0, 1.0]), np.full(2, -800.0), own)
    of_zero = zero if name.startswith("hurdle") else 1.0
    # An exponential of 690 has this many digits.
    np.testing.assert_allclose(few, [of_zero, 1.0], rtol=1e-12)
    with np.errstate(over="ignore"):
        many = record.cdf(np.array([0.0, 1e6]), np.full(2, 800.0), own)
    np.testing.assert_allclose(many, zero, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_rows_are_drawn_with_own_parameters_of_each_draw(name):
    """As prediction intervals do; within 5 standard errors, which the draws themselves give."""
    case, record = CASES[name], family(name)
    scales = np.array([[1.0], [1.05]])
    response = tuple(
        tf.constant(array) for array in arrays(name, np.full(len(ETA), case.responses[0]))
    )
    own = tuple(value * tf.constant(scales) for value in tensors(case.own))
    rows = record.distribution(tf.constant(np.tile(ETA, (2, 1))), response, own)
    draws = np.asarray(rows.sample(4000, seed=[2, 9]))
    assert draws.shape == (4000, 2, len(ETA))
    for place, scale in enumerate(scales[:, 0]):
        alone = tuple(value * scale for value in tensors(case.own))
        expected = np.asarray(
            record.distribution(tf.constant(ETA), response, alone).sample(4000, seed=[4, 1])
        )
        both = draws[:, place], expected
        error = np.sqrt(sum(part.var(axis=0) for part in both) / 4000)
        away = np.abs(both[0].mean(axis=0) - both[1].mean(axis=0))
        assert (away <= 5.0 * error + 1e-12).all()


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_mean_and_the_variance(name):
    """Within 4.5 standard errors, which the draws themselves give."""
    case, record = CASES[name], family(name)
    own = np.array(case.own)
    response = arrays(name, np.full(len(ETA), case.responses[0]))
    rows = record.distribution(
        tf.constant(ETA), tuple(tf.constant(array) for array in response), tensors(case.own)
    )
    draws = np.asarray(rows.sample(NUM_DRAWS, seed=[3, 5]))
    assert draws.shape == (NUM_DRAWS, len(ETA))
    assert (draws == np.asarray(rows.sample(NUM_DRAWS, seed=[3, 5]))).all()
    trials = TRIALS if "binomial(" in name else 1.0
    draws = draws / trials
    mean = record.mean(ETA, own)
    error = draws.std(axis=0) / np.sqrt(NUM_DRAWS)
    assert (np.abs(draws.mean(axis=0) - mean) < 4.5 * error).all()
    more = 1.0
    if record.overdispersion is not None:
        more = record.overdispersion(np.full(len(ETA), trials), own)
    squares = (draws - mean) ** 2
    expected = record.variance(mean, own) * more / trials
    error = squares.std(axis=0) / np.sqrt(NUM_DRAWS)
    assert (np.abs(squares.mean(axis=0) - expected) < 4.5 * error).all()


@pytest.mark.parametrize("name", COUNTED)
def test_draws_have_the_chances(name):
    """Of each count up to 6, within 4.5 binomial standard errors: hurdle counts are drawn by a shortcut."""
    case, record = CASES[name], family(name)
    response = tuple(tf.constant(array) for array in arrays(name, np.zeros(1)))
    for eta in (-3.0, 0.8):
        rows = record.distribution(tf.constant([eta], tf.float64), response, tensors(case.own))
        draws = np.asarray(rows.sample(NUM_DRAWS, seed=[1, 2]))[:, 0]
        for count in range(7):
            chance = float(np.exp(rows.log_prob(np.array([float(count)])))[0])
            error = np.sqrt(chance * (1 - chance) / NUM_DRAWS) + 0.5 / NUM_DRAWS
            assert abs((draws == count).mean() - chance) < 4.5 * error


def data(seed: int = 3) -> dict[str, np.ndarray]:
    """A response for each family, with an effect of x and differences between 12 groups."""
    rng = np.random.default_rng(seed)
    n = 120
    g, x = np.arange(n) % 12, rng.normal(size=n)
    eta = 0.5 + 0.4 * x + 0.6 * rng.normal(size=12)[g]
    counts = rng.negative_binomial(2, 2 / (2 + np.exp(eta)))
    return {
        "g": g,
        "x": x,
        "number": eta + rng.standard_t(4, size=n),
        "size": np.exp(eta) * rng.gamma(3.0, 1 / 3.0, size=n),
        "count": np.where(rng.uniform(size=n) < 0.2, 0, counts),
        "wins": (wins := rng.binomial(7, 1 / (1 + np.exp(-eta)))),
        "losses": 7 - wins,
        "yes": (wins > 3).astype(float),
        "share": np.clip(1.4 * rng.beta(2.0, 2.0, n) - 0.2, 0.0, 1.0),
    }


def response_of(name: str) -> str:
    if name.startswith("bernoulli"):
        return "yes"
    if "binomial(" in name:
        return "cbind(wins, losses)"
    responses = {"student": "number", "ordered_beta": "share"}
    return {**responses, "lognormal": "size", "inverse_gaussian": "size"}.get(name, "count")


@pytest.mark.parametrize("name", [name for name in CASES if "(probit" not in name])
def test_the_joint_distribution_reaches_every_parameter(name):
    model = lf.compile(lf.design(f"{response_of(name)} ~ x + (1 | g)", data()), name)
    joint = model.tfp_joint
    sample = joint.distribution.sample(2, seed=[0, 1])
    assert sample[joint.response].shape == (2, 120)
    with tf.GradientTape() as tape:
        value = joint.distribution.log_prob({"g": sample["g"][0], joint.response: joint.observed})
    slopes = tape.gradient(value, joint.trainable_variables)
    assert np.isfinite(value)
    assert all(slope is not None and np.isfinite(slope).all() for slope in slopes)
    assert len(slopes) == 3 + bool(CASES[name].own)
    names = str(model.graph()) + str(model.equation())
    assert model.space.own.size == len(CASES[name].own)
    for own in model.space.own.names:
        assert own in names or model.space.own.variable in names


WRONG = {
    "lognormal": ([1.0, -2.0, 0.0, 3.0], "2 rows are not; the first of them is row 1 .* with -2.0"),
    "inverse_gaussian": ([1.0, 2.0, 0.0, 3.0], "1 row is not; the first of them is row 2"),
    "gamma": ([0.0, 2.0, 1.0, 3.0], "1 row is not; the first of them is row 0 .* with 0.0"),
    "hurdle_poisson": ([1.0, 0.5, -1.0, 3.0], "hurdle_poisson family needs counts"),
    "generalized_poisson": ([1.0, 0.5, 0.0, 3.0], "generalized_poisson family needs counts"),
    "zero_inflated_nbinom2": ([1.0, 2.0, 1.0, 3.0], "has no zeros"),
    "hurdle_nbinom2": ([0.0, 0.0, 0.0, 0.0], "has nothing but zeros|constant"),
    "beta_binomial": ([1.0, 2.0, 1.0, 3.0], "beta_binomial family needs successes out of trials"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_response_that_does_not_fit_is_refused_with_its_rows(name):
    values, message = WRONG[name]
    made = lf.design("y ~ 1 + (1 | g)", {"y": values, "g": [1, 1, 2, 2]})
    with pytest.raises((ModelError, lf.FormulaDataError), match=message):
        lf.compile(made, name)
