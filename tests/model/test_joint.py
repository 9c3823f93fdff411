"""The TFP joint distribution against NumPy and SciPy, its gradients, its names and its refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from lmeformula.covariance.table import STRUCTURES
from lmeformula.errors import ModelError
from lmeformula.family import FAMILIES
from lmeformula.model.joint import build_joint
from lmeformula.model.params import Params

GAUSSIAN = (
    "crossed",
    "nested",
    "slope",
    "slope only",
    "three columns",
    "diagonal",
    "one variance",
    "cs, three variances",
    "cs, one variance",
    "ar1, three variances",
    "ar1, one variance",
    "offset",
    "weights",
    "no fixed effects",
    "no random effects",
)
OTHERS = (
    ("logical", "bernoulli"),
    ("counts", "poisson"),
    ("trials", "binomial"),
    ("cbind", "binomial"),
    ("proportions", "binomial"),
)
MODELS = (*((name, "gaussian") for name in GAUSSIAN), *OTHERS)


def generic_params(design) -> Params:
    """Parameters at which no derivative is zero by symmetry."""
    rng = np.random.default_rng(7)
    covariances = []
    for term in design.terms:
        k = len(term.columns)
        factor = np.tril(rng.uniform(0.3, 0.9, (k, k))) + 0.4 * np.eye(k)
        if term.covariance in ("cs", "ar1"):
            structure = STRUCTURES[term.covariance, term.homogeneous]
            factor = structure.cholesky(rng.uniform(-0.8, -0.2, structure.num_params(k)), k)
            covariances.append(factor @ factor.T)
            continue
        covariance = factor @ factor.T
        if term.covariance == "diag":
            covariance = np.diag(np.diag(covariance))
        if term.homogeneous:
            covariance = covariance[0, 0] * np.eye(k)
        covariances.append(covariance)
    return Params(rng.normal(size=len(design.names)), tuple(covariances), np.array([0.8]))


def generic_effects(joint) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    shapes = joint.distribution.event_shape
    return {part: rng.normal(size=tuple(shapes[part])) for part in joint.names.values()}


def log_density(design, family: str, params: Params, effects: list[np.ndarray]) -> float:
    """log p(y, b) from its textbook definition."""
    eta, total = design.X @ params.beta + design.offset, 0.0
    for term, covariance, b in zip(design.terms, params.covariances, effects, strict=True):
        b = b.reshape(len(term.levels), -1)
        total += stats.multivariate_normal(cov=covariance).logpdf(b).sum()
        eta = eta + (term.values * b[term.index]).sum(axis=1)
    y, trials = design.y, design.response.trials
    if family == "gaussian":
        weights = np.ones(design.n) if design.weights is None else design.weights
        return total + stats.norm(eta, params.residual_sd / np.sqrt(weights)).logpdf(y).sum()
    if family == "poisson":
        return total + stats.poisson(np.exp(eta)).logpmf(y).sum()
    if y.ndim == 2:
        y, trials = y[:, 0], y.sum(axis=1)
    elif design.weights is not None:
        y, trials = y * design.weights, design.weights
    trials = np.ones(design.n) if trials is None else trials
    return total + stats.binom(trials, 1 / (1 + np.exp(-eta))).logpmf(y).sum()


@pytest.mark.parametrize(("name", "family"), MODELS)
def test_log_prob_is_the_textbook_density(designs, name, family):
    design = designs[name]
    params = generic_params(design)
    joint = build_joint(design, params, family=family)
    effects = generic_effects(joint)
    found = joint.distribution.log_prob({**effects, joint.response: joint.observed})
    expected = log_density(design, family, params, list(effects.values()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if effects:
        np.testing.assert_allclose(joint.pin().log_prob(effects), expected, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize(("name", "family"), MODELS)
def test_the_gradient_reaches_every_variable(designs, name, family, jit_compile):
    """Also of each element of a vector of standard deviations, eagerly, in graphs and in XLA."""
    joint = build_joint(designs[name], generic_params(designs[name]), family=family)
    value = {**generic_effects(joint), joint.response: joint.observed}

    def gradients():
        with tf.GradientTape() as tape:
            log_prob = joint.distribution.log_prob(value)
        return tape.gradient(log_prob, joint.distribution.trainable_variables)

    compiled = gradients if jit_compile is None else tf.function(gradients, jit_compile=jit_compile)
    found = compiled()
    assert len(found) == len(joint.variables)
    for variable, gradient in zip(joint.distribution.trainable_variables, found, strict=True):
        assert gradient is not None, variable.name
        assert np.all(np.isfinite(gradient)), variable.name
        assert np.all(np.abs(gradient) > 1e-6), variable.name


def test_gradient_of_a_log_sd_is_its_finite_difference(designs):
    """The variables are unconstrained: a step in the variable is a relative step in the sd."""
    params = generic_params(designs["slope"])
    joint = build_joint(designs["slope"], params)
    effects = generic_effects(joint)
    stddev = joint.variables["stddev_g"].trainable_variables[0]
    with tf.GradientTape() as tape:
        log_prob = joint.pin().log_prob(effects)
    gradient = tape.gradient(log_prob, stddev)

    def moved(step):
        scale = np.exp([step, 0.0])
        covariance = params.covariances[0] * np.outer(scale, scale)
        there = params._replace(covariances=(covariance,))
        return log_density(designs["slope"], "gaussian", there, list(effects.values()))

    np.testing.assert_allclose(gradient[0], (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-8)


def test_variables_move_the_density(designs):
    """Assigning to the variables gives the density at those parameters, without a new joint."""
    design = designs["slope"]
    joint = build_joint(design, generic_params(design))
    covariance = np.array([[4.0, -0.6], [-0.6, 0.25]])
    other = Params(np.array([0.5, -2.0]), (covariance,), np.array([1.7]))
    sd = np.sqrt(np.diag(covariance))
    joint.variables["intercept"].assign(0.5)
    joint.variables["effect_x"].assign(-2.0)
    joint.variables["stddev_g"].assign(sd)
    joint.variables["correlation_g"].assign(np.linalg.cholesky(covariance / np.outer(sd, sd)))
    joint.variables["sigma"].assign(np.float64(1.7))
    effects = generic_effects(joint)
    expected = log_density(design, "gaussian", other, list(effects.values()))
    np.testing.assert_allclose(joint.pin().log_prob(effects), expected, rtol=1e-12)


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.7])
@pytest.mark.parametrize("kind", ["cs", "ar1"])
def test_one_correlation_moves_over_its_whole_interval(designs, kind, rho):
    """Zero, where the variables start, included: the gradient is that of the definition."""
    design = designs[f"{kind}, three variances"]
    joint = build_joint(design, generic_params(design))
    correlation = joint.variables["correlation_g"]
    correlation.assign(np.float64(rho))
    effects = generic_effects(joint)
    with tf.GradientTape() as tape:
        log_prob = joint.pin().log_prob(effects)
    gradient = tape.gradient(log_prob, correlation.trainable_variables[0])
    structure = STRUCTURES[kind, False]
    theta = structure.to_free(generic_params(design).covariances[0])
    lowest = -0.5 if kind == "cs" else -1.0

    def at(step):
        there = theta.copy()
        there[-1] = np.log((rho - lowest) / (1.0 - rho)) + step
        factor = structure.cholesky(there, 3)
        params = generic_params(design)._replace(covariances=(factor @ factor.T,))
        return log_density(design, "gaussian", params, list(effects.values()))

    np.testing.assert_allclose(log_prob, at(0.0), rtol=1e-12)
    np.testing.assert_allclose(gradient, (at(1e-5) - at(-1e-5)) / 2e-5, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "family", "variables"),
    [
        ("crossed", "gaussian", "intercept effect_x stddev_g stddev_h sigma"),
        ("nested", "gaussian", "intercept effect_x stddev_batch stddev_batch_cask sigma"),
        ("slope", "gaussian", "intercept effect_x stddev_g correlation_g sigma"),
        ("slope only", "gaussian", "intercept effect_x stddev_g stddev_g_1 sigma"),
        ("diagonal", "gaussian", "intercept effect_x stddev_g sigma"),
        ("no fixed effects", "gaussian", "stddev_g stddev_h sigma"),
        ("no random effects", "gaussian", "intercept effect_x sigma"),
        ("counts", "poisson", "intercept effect_x stddev_g stddev_h"),
    ],
)
def test_variables_are_named_and_listed_pinned_or_not(designs, name, family, variables):
    joint = build_joint(designs[name], generic_params(designs[name]), family=family)
    assert " ".join(joint.variables) == variables
    listed = {variable.name for variable in joint.distribution.trainable_variables}
    assert listed == {f"{variable}:0" for variable in variables.split()}
    assert [variable.name[:-2] for variable in joint.trainable_variables] == variables.split()
    pinned = joint.distribution.experimental_pin(**{joint.response: joint.observed})
    assert {variable.name for variable in pinned.trainable_variables} == listed


def test_shapes_and_graph(designs):
    joint = build_joint(designs["three columns"], generic_params(designs["three columns"]))
    assert joint.distribution.event_shape == {"g": (5, 3), "y": (24,)}
    assert joint.distribution.batch_shape == ()
    nested = build_joint(designs["nested"], generic_params(designs["nested"]))
    assert nested.distribution.resolve_graph() == (
        ("batch", ()),
        ("batch_cask", ()),
        ("y", ("batch", "batch_cask")),
    )
    assert nested.names == {"batch": "batch", "batch:cask": "batch_cask"}
    assert repr(nested) == (
        "Joint(parts: batch (3,), batch_cask (6,), y (24,); "
        "variables: intercept, effect_x, stddev_batch, stddev_batch_cask, sigma)"
    )


@pytest.mark.parametrize(("name", "family"), [("slope", "gaussian"), *OTHERS])
def test_samples_follow_the_seed_and_have_a_density(designs, name, family):
    joint = build_joint(designs[name], generic_params(designs[name]), family=family)
    once = joint.distribution.sample(3, seed=[1, 2])
    again = joint.distribution.sample(3, seed=[1, 2])
    other = joint.distribution.sample(3, seed=[1, 3])
    for part, shape in joint.distribution.event_shape.items():
        assert once[part].shape == (3, *shape)
        np.testing.assert_array_equal(once[part], again[part])
        assert np.any(once[part] != other[part])
    each = [
        joint.distribution.log_prob({part: value[i] for part, value in once.items()})
        for i in range(3)
    ]
    np.testing.assert_allclose(joint.distribution.log_prob(once), each, rtol=1e-12)
    assert joint.distribution.sample(seed=[1, 2])[joint.response].shape == (24,)


def test_samples_have_the_moments_of_the_model(designs):
    """Response variances over 4,000 draws within 6 standard errors of Z Sigma Z' + sigma^2 / w."""
    design = replace(designs["slope"], weights=designs["weights"].weights)
    params = generic_params(design)
    joint = build_joint(design, params)
    num_draws = 4000
    drawn = joint.distribution.sample(num_draws, seed=[3, 4])[joint.response].numpy()
    Z = design.terms[0].values
    variances = np.einsum("nj,jk,nk->n", Z, params.covariances[0], Z)
    variances += params.residual_sd**2 / design.weights
    error = variances * np.sqrt(2 / num_draws)
    assert np.all(np.abs(drawn.var(axis=0) - variances) < 6 * error)
    mean_error = np.sqrt(variances / num_draws)
    assert np.all(np.abs(drawn.mean(axis=0) - design.X @ params.beta) < 6 * mean_error)


@pytest.mark.parametrize("sigma", [1, 1.5])
def test_a_fixed_sigma_is_no_variable(designs, sigma):
    design = designs["weights"]
    params = generic_params(design)
    joint = build_joint(design, params, sigma=sigma)
    assert "sigma" not in joint.variables
    effects = generic_effects(joint)
    expected = log_density(
        design, "gaussian", params._replace(own=np.array([sigma])), list(effects.values())
    )
    np.testing.assert_allclose(joint.pin().log_prob(effects), expected, rtol=1e-12)
    assert build_joint(design, params._replace(own=np.zeros(0)), sigma=sigma).variables


def test_single_precision(designs):
    design = designs["slope"]
    params = generic_params(design)
    joint = build_joint(design, params, dtype="float32")
    effects = generic_effects(joint)
    found = joint.pin().log_prob({part: b.astype(np.float32) for part, b in effects.items()})
    assert found.dtype == tf.float32
    expected = log_density(design, "gaussian", params, list(effects.values()))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_awkward_names_make_a_working_joint(designs, make_term, make_design):
    """Reserved words, punctuation and the response's own name as grouping factors."""
    index = designs["crossed"].terms[0].index
    labels = ("name", "self", "seed", "a b:c", "a_b_c", "y", "straße")
    design = make_design(
        [make_term(label, index) for label in labels], names=("Intercept", "a[T.x]:b", "lambda")
    )
    joint = build_joint(design, generic_params(design))
    assert joint.names == {
        "name": "name_",
        "self": "self_",
        "seed": "seed_",
        "a b:c": "a_b_c",
        "a_b_c": "a_b_c_2",
        "y": "y",
        "straße": "straße",
    }
    assert joint.response == "y_2"
    assert list(joint.variables)[:3] == ["intercept", "effect_a_T_x_b", "effect_lambda"]
    drawn = joint.distribution.sample(2, seed=[0, 1])
    assert joint.distribution.log_prob(**drawn).shape == (2,)


def change_term(design, **changes):
    return replace(design, terms=(replace(design.terms[0], **changes), *design.terms[1:]))


@pytest.mark.parametrize(
    ("name", "change", "options", "message"),
    [
        ("crossed", lambda d: replace(d, response=None), {}, "one-sided formula has no response"),
        ("crossed", None, {"family": "weibull"}, "there is no family 'weibull'"),
        ("logical", None, {"family": "bernoulli(log)"}, "bernoulli family has no link 'log'"),
        ("counts", None, {"family": "poisson", "sigma": 1.0}, "no residual standard deviation"),
        ("crossed", None, {"sigma": 0.0}, "must be positive, not 0.0"),
        ("cbind", None, {"family": "poisson"}, r"the poisson family needs counts.*'cbind\(s, f\)'"),
        ("trials", None, {"family": "bernoulli"}, "the bernoulli family needs"),
        (
            "counts",
            lambda d: replace(d, weights=np.ones(24)),
            {"family": "poisson"},
            "poisson family does not take prior weights",
        ),
        (
            "slope",
            lambda d: change_term(d, covariance="car"),
            {},
            "covariance structure 'car' of term 'g'",
        ),
        (
            "slope only",
            lambda d: replace(d, terms=tuple(replace(t, block="p") for t in d.terms)),
            {},
            "share a covariance",
        ),
    ],
)
def test_what_has_no_joint_distribution_is_refused(designs, name, change, options, message):
    design = designs[name] if change is None else change(designs[name])
    with pytest.raises(ModelError, match=message):
        build_joint(design, generic_params(design), **options)


def test_three_column_matrix_is_no_binomial_response(designs):
    response = replace(designs["cbind"].response, values=np.ones((24, 3)))
    design = replace(designs["cbind"], response=response)
    with pytest.raises(ModelError, match="needs successes out of trials"):
        build_joint(design, generic_params(design), family="binomial")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Params(np.zeros(3), (np.eye(2),), np.ones(1)), "3 fixed effects, and the design 2"),
        (Params(np.zeros(2), (), np.ones(1)), "0 covariance matrices"),
        (Params(np.zeros(2), (np.eye(1),), 1.0), r"shape \(1, 1\), not \(2, 2\)"),
        (Params(np.zeros(2), (-np.eye(2),), np.ones(1)), "covariance of term 'g' is not one"),
        (Params(np.zeros(2), (np.eye(2),)), "must be positive, not None"),
    ],
)
def test_start_values_that_do_not_fit_are_refused(designs, start, message):
    with pytest.raises(ModelError, match=message):
        build_joint(designs["slope"], start)


def test_a_family_record_is_taken_as_it_is(designs):
    family = FAMILIES["poisson"]._replace(name="ours")
    joint = build_joint(designs["counts"], generic_params(designs["counts"]), family=family)
    assert "sigma" not in joint.variables
