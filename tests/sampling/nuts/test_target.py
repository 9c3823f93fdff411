"""The posterior density in the sampler's coordinates: the joint distribution's, with its Jacobians."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.model.params import Params
from lmeformula.startup import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from lmeformula.sampling.nuts.coordinates import Coordinates  # noqa: E402
from lmeformula.sampling.nuts.expansion import given_of  # noqa: E402
from lmeformula.sampling.nuts.log_prior import log_prior  # noqa: E402
from lmeformula.sampling.nuts.target import Metric, Target  # noqa: E402

RANDOM = np.random.default_rng(3)
N = 24
ROWS = pd.DataFrame(
    {
        "x": RANDOM.normal(size=N),
        "g": np.repeat(list("abcdef"), 4),
        "h": np.tile(list("pqr"), 8),
        "t": np.tile(list("1234"), 6),
        "y": RANDOM.normal(size=N),
        "count": RANDOM.poisson(2.0, size=N),
        "rating": RANDOM.integers(1, 4, size=N),
        "times": RANDOM.integers(1, 3, size=N),
    }
)
CASES = {
    "intercepts": ("y ~ x + (1 | g)", "gaussian", {}),
    "slopes": ("y ~ 1 + (x | g)", "gaussian", {}),
    "no correlation": ("y ~ 1 + (x || g)", "gaussian", {}),
    "crossed counts": ("count ~ x + (1 | g) + (1 | h)", "poisson", {}),
    "known sigma": ("y ~ 1 + (1 | g)", "gaussian", {"sigma": 0.7}),
    "frequency": ("count ~ x + (1 | g)", "poisson", {"frequency": "times"}),
    "thresholds": ("rating ~ x + (1 | g)", "cumulative", {}),
    "no order": ("rating ~ x + (1 | g)", "acat", {}),
    "equidistant": ("rating ~ x + (1 | g)", "cumulative(thresholds=equidistant)", {}),
    "dispersion": ("count ~ x + (1 | g)", "nbinom2", {}),
    "sigma's formula": ({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, "gaussian", {}),
    "cs": ("y ~ 1 + cs(0 + t | g)", "gaussian", {}),
    "ar1": ("y ~ 1 + ar1(0 + t | g)", "gaussian", {}),
    "toep": ("y ~ 1 + toep(0 + t | g)", "gaussian", {}),
    "many columns": ("y ~ 1 + us(0 + t | g)", "gaussian", {"sigma": 0.7}),
}


def target_of(name: str):
    formula, family, options = CASES[name]
    frequency = {"frequency": options["frequency"]} if "frequency" in options else {}
    design = lf.design(lf.parse(formula), ROWS, **frequency)
    model = lf.compile(design, family, sigma=options.get("sigma"))
    start = model.start
    params = Params(
        start.beta,
        tuple(0.4 * np.eye(len(one)) + 0.2 for one in start.covariances),
        start.own,
    )
    coordinates = Coordinates(model, params)
    random = np.random.default_rng(5)
    modes = tuple(
        0.3 * random.normal(size=(len(term.levels), len(term.columns)))
        for term in model.design.terms
    )
    target = Target(coordinates, lambda natural: 0.0)
    d = coordinates.size
    root = 0.3 * np.eye(d) + 0.05 * np.tril(np.ones((d, d)), -1)
    scales = np.linspace(0.7, 1.2, target.num_effects)
    metric = Metric(*(tf.constant(part) for part in (coordinates.start, root, scales)))
    return model, target, given_of(coordinates, modes), metric


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_the_joint_distributions_times_the_jacobian(name):
    model, target, given, metric = target_of(name)
    q, d = target.num_effects, target.coordinates.size
    w = np.random.default_rng(1).normal(size=d + q)
    # One column for the place, then two for the derivative in each of the effects' coordinates.
    step = 1e-5
    away = np.zeros((d + q, 2 * q))
    away[d:, :q], away[d:, q:] = step * np.eye(q), -step * np.eye(q)
    there = target.unwhitened(tf.constant(np.column_stack([w, w[:, None] + away])), metric, given)
    flat = np.concatenate([b.numpy().reshape(-1, 2 * q + 1) for b in there.effects])
    jacobian = (flat[:, 1 : q + 1] - flat[:, q + 1 :]) / (2.0 * step)
    determinant = np.linalg.slogdet(jacobian)[1] - np.log(metric.scales.numpy()).sum()
    joint = model.tfp_joint
    for variable, block in zip(joint.trainable_variables, target.coordinates.blocks, strict=True):
        variable.assign(there.x.numpy()[block.place, 0].reshape(block.event))
    parts = {
        part: b.numpy()[:, :, 0] if b.shape[1] > 1 else b.numpy()[:, 0, 0]
        for part, b in zip(joint.names.values(), there.effects, strict=True)
    }
    expected = joint.distribution.log_prob({**parts, joint.response: joint.observed}).numpy()
    _, of_natural = target.coordinates.natural(there.x[:, :1])
    expected += determinant + of_natural.numpy()[0] + 0.5 * q * np.log(2.0 * np.pi)
    found = target.log_prob(tf.constant(w[None]), metric, given).numpy()[0]
    assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    "name", ["slopes", "cs", "toep", "thresholds", "equidistant", "many columns"]
)
def test_coordinates_and_the_parameters_of_the_space_are_the_same(name):
    model, target, _, _ = target_of(name)
    x = target.coordinates.start + 0.1 * np.random.default_rng(2).normal(
        size=(3, target.coordinates.size)
    )
    psi = target.coordinates.to_psi(x)
    natural, _ = target.coordinates.natural(tf.constant(x.T))
    for place, each in enumerate(psi):
        for term, factor in zip(target.coordinates.terms, model.space.factors(each), strict=True):
            assert term.factor(natural)[place].numpy() == pytest.approx(factor, abs=1e-9)
        values = target.coordinates.own_values(tf.constant(x.T))
        # A parameter that is fixed has one value for all places.
        own = [np.broadcast_to(value.numpy(), len(psi))[place] for value in values]
        assert own == pytest.approx(model.space.family_values(each).tolist())


PRIORS = {
    "fixed": ({"b": "normal(0, 2.5)", "Intercept": "student(3, 0, 10)"}, "y ~ x + (1 | g)"),
    "sds": ({"sd": "half_student(3, 0, 2.5)", "sigma": "exponential(1)"}, "y ~ x + (x | g)"),
    "improper": ({"sd(g)": "gamma(2.5, 0)"}, "y ~ x + (1 | g)"),
    "correlations": ({"cor(g)": "lkj(2)"}, "y ~ x + (x | g)"),
    "covariance": ({"cov(g)": "inverse_wishart(5, 1)"}, "y ~ x + (x | g)"),
    "wishart": ({"cov(g)": "wishart(5, 2)"}, "y ~ x + (x | g)"),
    "relative": ({"sd(g)/sigma": "half_normal(1)"}, "y ~ x + (1 | g)"),
    "relative covariance": ({"cov(g)/sigma^2": "wishart(5, 2)"}, "y ~ x + (x | g)"),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors_are_those_of_the_posterior_mode_with_their_measure(name):
    """As functions of the parameters, by the record's own density and the Jacobian of the free correlations."""
    given, formula = PRIORS[name]
    model = lf.compile(lf.design(lf.parse(formula), ROWS), priors=given)
    start = model.start
    params = Params(
        start.beta, tuple(0.4 * np.eye(len(one)) + 0.1 for one in start.covariances), start.own
    )
    coordinates = Coordinates(model, params)
    x = coordinates.start + 0.3 * np.random.default_rng(4).normal(size=(5, coordinates.size))
    natural, jacobian = coordinates.natural(tf.constant(x.T))
    found = (log_prior(coordinates)(natural) + jacobian).numpy()
    space = model.space
    expected = []
    for psi in coordinates.to_psi(x):
        at = space.to_natural(psi)
        value = model.penalty.of(at)
        k = len(at.covariances[0])
        # From what the prior is of to what is free: sds by logarithms, a correlation by r / sqrt(1 - r^2).
        sds = np.sqrt(np.diag(at.covariances[0]))
        if "cov(g)" in given or "cov(g)/sigma^2" in given:
            value += k * np.log(2.0) + k * np.log(sds).sum()
        value += np.log(sds).sum() + np.log(at.own[0])
        if name == "relative":
            value -= np.log(at.own[0])
        if name == "relative covariance":
            value -= k * (k + 1) * np.log(at.own[0])
        if k == 2:
            r = at.covariances[0][0, 1] / sds.prod()
            value += 1.5 * np.log(1.0 - r**2)
        expected.append(value)
    gap = found - expected
    # Constants are of no consequence.
    assert gap == pytest.approx(np.full(5, gap[0]), abs=1e-8)
