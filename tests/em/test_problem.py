"""Problems made of a log joint density or of a JointDistribution: structures, gradients, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.em import assign, from_joint, from_log_joint
from lmeformula.errors import ModelError
from tests.simulate import differences, make_design, random_psi

tfb, tfd = tfp.bijectors, tfp.distributions

SCALE = (np.array([0.5, 1.0, 2.0]),)  # the diagonal whitening that the engine learns


def nested(params, latents):
    """A density of nested structures, each part of which matters in its own way."""
    mean = params["mean"] + tf.reduce_sum(
        params["slopes"] * tf.constant([1.0, -2.0], latents["u"].dtype)
    )
    u, v = latents["u"], latents["v"]
    return -0.5 * tf.reduce_sum(u**2) - 0.5 * (v - mean * u[0] + tf.sin(u[1])) ** 2


PARAMS = {"mean": 0.3, "slopes": np.array([0.1, -0.4])}
LATENTS = {"u": np.zeros(2), "v": 0.0}


def test_nested_structures_are_one_vector_each():
    problem = from_log_joint(nested, PARAMS, LATENTS)
    assert problem.params.tolist() == [0.3, 0.1, -0.4]
    assert problem.latents.tolist() == [0.0, 0.0, 0.0]
    assert problem.names == ("p[0]", "p[1]", "p[2]")
    assert problem.geometry is None


@pytest.mark.parametrize(
    ("params", "size"), [(1.0, 1), ([1.0, 2.0], 2), (np.ones((2, 2)), 4), ((1.0, np.ones(2)), 3)]
)
def test_starts_of_any_structure(params, size):
    def log_joint(p, u):
        tf.nest.assert_same_structure(p, params if not isinstance(params, list) else 0.0)
        flat = tf.concat([tf.reshape(part, [-1]) for part in tf.nest.flatten(p)], axis=0)
        return -tf.reduce_sum((flat - u) ** 2)

    assert len(from_log_joint(log_joint, params, 0.5).params) == size


def test_density_gradient_score_and_information_by_differences():
    problem = from_log_joint(nested, PARAMS, LATENTS)
    rng = np.random.default_rng(1)
    psi, position = problem.params, rng.normal(size=(3, 2))
    (scale,) = SCALE

    def value(psi, flat):
        found = nested(
            {"mean": psi[0], "slopes": tf.constant(psi[1:])},
            {"u": tf.constant(flat[:2]), "v": tf.constant(flat[2])},
        )
        return float(found)

    values, slopes = problem.density(tf.constant(psi), tf.constant(position), SCALE, ())
    raw, controlled = problem.score(tf.constant(psi), tf.constant(position), None, SCALE, ())
    np.testing.assert_array_equal(raw, controlled)
    information = np.zeros((3, 3))
    for c in range(2):
        z = position[:, c]
        assert float(values[c]) == pytest.approx(value(psi, scale * z), rel=1e-12)
        expected = differences(lambda at: value(psi, scale * at), z)
        np.testing.assert_allclose(slopes[:, c], expected, rtol=1e-7, atol=1e-9)
        expected = differences(lambda at, z=z: value(at, scale * z), psi)
        np.testing.assert_allclose(raw[:, c], expected, rtol=1e-7, atol=1e-9)
        information -= differences(
            lambda at, z=z: differences(lambda p: value(p, scale * z), at, 1e-4), psi, 1e-4
        )
    found = problem.information(tf.constant(psi), tf.constant(position), SCALE, ())
    np.testing.assert_allclose(found, information / 2, rtol=1e-5, atol=1e-5)
    latents = problem.to_latents(tf.constant(position), SCALE, ())
    np.testing.assert_allclose(latents, scale[:, None] * position)
    np.testing.assert_allclose(problem.to_position(scale * position[:, 0], SCALE), position[:, 0])


REFUSED = {
    "vector": (
        lambda p, u: -((u - p) ** 2),
        {},
        "the log density is array([-1., -1.]) at the start\nIt must be one finite number: sum over "
        "rows and latents, and start where the density is positive.",
    ),
    "infinite": (
        lambda p, u: tf.math.log(p[0] - 1.0) - tf.reduce_sum(u**2),
        {},
        "the log density is array(-inf) at the start\nIt must be one finite number: sum over rows and "
        "latents, and start where the density is positive.",
    ),
    "lost parameter": (
        lambda p, u: -tf.reduce_sum((u - p[0]) ** 2),
        {"params": [1.0, 2.0, 3.0], "names": ["a", "b", "c"]},
        "the log density does not depend on the parameter(s) b, c\nThey would never move from their "
        "start: use them in the density, or leave them out.",
    ),
    "names": (
        lambda p, u: -tf.reduce_sum((u - p) ** 2),
        {"names": ["a", "b"]},
        "there are 2 names for 1 parameters\nGive one for each element, in the order of tf.nest.flatten.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_log_joint_refused(case):
    log_joint, options, text = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        from_log_joint(log_joint, **{"params": [1.0], "latents": [0.0, 0.0], **options})
    assert str(caught.value) == text


def test_a_gradient_that_vanishes_at_the_start_by_symmetry_is_accepted():
    def log_joint(p, u):
        return -tf.reduce_sum(u**2 + (1.0 - tf.exp(p[0]) * u) ** 2)

    assert from_log_joint(log_joint, [0.0], [0.0, 0.0]).names == ("p[0]",)


def test_float32_densities_are_checked_in_float32():
    y = tf.constant([1.0, 2.0])
    problem = from_log_joint(
        lambda p, u: -tf.reduce_sum(u**2 + (y - p - u) ** 2),
        np.float32(0.0),
        np.zeros(2, np.float32),
    )
    assert problem.params.dtype == np.float64  # the engine's own


# ---- JointDistributions


def model_joint():
    """The joint distribution of a compiled formula, which is one written by somebody else to `from_joint`."""
    return lf.compile(make_design("two columns rest"))


def test_from_joint_reports_transformed_variables_on_their_own_scale():
    model = model_joint()
    variables = model.tfp_joint.variables
    problem = from_joint(model.tfp_joint.pin(), list(variables.values()))
    names = dict(zip(problem.names, problem.params, strict=True))
    assert names["intercept"] == pytest.approx(model.start.beta[0])
    assert names["sigma"] == pytest.approx(np.log(model.start.residual_sd))  # unconstrained
    values, jacobian = problem.report(problem.params)
    reported = dict(zip(problem.names, values, strict=True))
    assert reported["sigma"] == pytest.approx(model.start.residual_sd)
    expected = differences(lambda at: problem.report(at)[0], problem.params).T
    np.testing.assert_allclose(jacobian, expected, rtol=1e-7, atol=1e-8)


def test_from_joint_density_is_the_joint_log_prob():
    model = model_joint()
    problem = from_joint(model.tfp_joint.pin(), model.trainable_variables)
    rng = np.random.default_rng(2)
    psi = problem.params + 0.1 * rng.normal(size=len(problem.params))
    position = rng.normal(size=(len(problem.latents), 2))
    ones = (np.ones(len(position)),)
    values, slopes = problem.density(tf.constant(psi), tf.constant(position), ones, ())
    raw, _ = problem.score(tf.constant(psi), tf.constant(position), None, ones, ())
    assign(model.trainable_variables, psi)
    shapes = model.tfp_joint.pin().event_shape
    for c in range(2):
        flat, start, latents = position[:, c], 0, {}
        for name in sorted(shapes):
            size = int(np.prod(shapes[name]))
            latents[name] = tf.reshape(flat[start : start + size], shapes[name])
            start += size
        with tf.GradientTape() as tape:
            expected = model.tfp_joint.pin().log_prob(latents)
        by_variable = tape.gradient(expected, model.trainable_variables)
        assert float(values[c]) == pytest.approx(float(expected), rel=1e-12)
        flat_gradient = np.concatenate([np.ravel(part) for part in by_variable])
        np.testing.assert_allclose(raw[:, c], flat_gradient, rtol=1e-9, atol=1e-9)
    assert slopes.shape == position.shape


def test_assign_sets_variables():
    model = model_joint()
    psi = np.random.default_rng(3).normal(
        size=sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    )
    assign(model.trainable_variables, psi)
    found = np.concatenate([np.ravel(v.numpy()) for v in model.trainable_variables])
    np.testing.assert_allclose(found, psi)


def joint_with(scale, response_event=True):
    def response(u):
        rows = tfd.Normal(u, 1.0)
        return tfd.Independent(rows, 1) if response_event else rows

    return tfd.JointDistributionNamed({"u": tfd.Sample(tfd.Normal(0.0, scale), 3), "y": response})


def test_an_operation_on_a_variable_taken_while_building_is_refused():
    sd = tfp.util.TransformedVariable(1.0, tfb.Exp(), name="stddev_u")
    frozen = joint_with(sd * tf.ones([]))
    with pytest.raises(ModelError) as caught:
        from_joint(frozen.experimental_pin(y=np.ones(3, np.float32)), [sd])
    assert str(caught.value).startswith(
        "the log density does not depend on the variable(s) stddev_u"
    )
    assert "An operation on the variable, such as `sd * tf.ones(n)`" in str(caught.value)
    # The variable itself trains.
    trains = joint_with(sd).experimental_pin(y=np.ones(3, np.float32))
    assert from_joint(trains, [sd]).names == ("stddev_u",)


def test_a_joint_without_variables_is_refused():
    with pytest.raises(ModelError, match="has no trainable variables") as caught:
        from_joint(joint_with(1.0).experimental_pin(y=np.ones(3, np.float32)))
    assert "tf.Variable" in caught.value.hint


def test_rows_that_are_not_one_event_are_refused():
    sd = tf.Variable(1.0, name="sd")
    loose = joint_with(sd, response_event=False)
    with pytest.raises(ModelError, match="It must be one finite number"):
        from_joint(loose.experimental_pin(y=np.ones(3, np.float32)), [sd])


def test_random_psi_is_reproducible():
    space = lf.compile(make_design("crossed")).space
    one, other = (random_psi(space, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
