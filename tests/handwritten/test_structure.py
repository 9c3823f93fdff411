"""Joint distributions by hand: what structure is read in them, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.handwritten.structure import NotRecognised, recognise

tfb, tfd = tfp.bijectors, tfp.distributions

RNG = np.random.default_rng(2)
N = 40
G, H = RNG.permutation(np.arange(N) % 6), RNG.permutation(np.arange(N) % 4)
X, Z = RNG.normal(size=N), RNG.normal(size=N)
Y = RNG.normal(size=N)
ZERO, ONE = tf.zeros([], tf.float64), tf.ones([], tf.float64)


class Written:
    """Variables, and joint distributions of them."""

    def __init__(self) -> None:
        self.mean = tf.Variable(0.4, dtype=tf.float64, name="mean")
        self.slopes = tf.Variable([0.2, -0.3], dtype=tf.float64, name="slopes")
        self.of_g = self.positive(0.5, tfb.Exp(), "of_g")
        self.of_h = self.positive(0.7, tfb.Softplus(), "of_h")
        self.sigma = self.positive(1.2, tfb.Exp(), "sigma")
        self.variables = [self.mean, self.slopes, self.of_g, self.of_h, self.sigma]

    @staticmethod
    def positive(start, bijector, name):
        return tfp.util.TransformedVariable(start, bijector, dtype=tf.float64, name=name)

    def eta(self, g, h):
        fixed = self.mean + self.slopes[0] * X + self.slopes[1] * X**2 + 0.1 * Z
        return fixed + tf.gather(g, G, axis=-1) + Z * tf.gather(h, H, axis=-1)

    def pinned(self, rows=None, **parts):
        rows = rows or (lambda g, h: tfd.Normal(self.eta(g, h), self.sigma))
        return tfd.JointDistributionNamed(
            {
                "g": tfd.Sample(tfd.Normal(ZERO, self.of_g), 6),
                "h": tfd.Sample(tfd.Normal(ZERO, self.of_h), 4),
                "y": lambda g, h: tfd.Independent(rows(g, h), 1),
                **parts,
            }
        ).experimental_pin(y=Y)

    def read(self, pinned, variables=None):
        variables = self.variables if variables is None else variables
        raw = [getattr(v, "pretransformed_input", v) for v in variables]
        return recognise(pinned, raw, [getattr(v, "bijector", None) for v in variables])


def test_everything_is_read_and_the_variables_stay():
    written = Written()
    before = [np.asarray(v + 0.0) for v in written.variables]
    found = written.read(written.pinned())
    assert (found.distribution, found.parameter, found.residual) == ("Normal", "loc", 4)
    np.testing.assert_allclose(found.X, np.stack([np.ones(N), X, X**2], axis=1), atol=1e-12)
    assert found.coefficients == ((0, 0), (1, 0), (1, 1))
    np.testing.assert_allclose(found.offset, 0.1 * Z, atol=1e-12)
    np.testing.assert_array_equal(found.response, Y)
    g, h = sorted(found.effects, key=lambda part: part.name)
    assert (g.name, g.size, g.scale, h.name, h.size, h.scale) == ("g", 6, 2, "h", 4, 3)
    np.testing.assert_array_equal(g.reads, G)
    np.testing.assert_array_equal(h.reads, H)
    np.testing.assert_allclose(g.weights, 1.0)
    np.testing.assert_allclose(h.weights, Z)
    for value, variable in zip(before, written.variables, strict=True):
        np.testing.assert_array_equal(value, variable + 0.0)


def test_other_responses():
    written = Written()
    some = written.variables[:4]
    rows = {
        "Bernoulli": lambda g, h: tfd.Bernoulli(logits=written.eta(g, h), dtype=tf.float64),
        "Poisson": lambda g, h: tfd.Poisson(log_rate=written.eta(g, h)),
        "Binomial": lambda g, h: tfd.Binomial(np.full(N, 5.0), logits=written.eta(g, h)),
    }
    for name, make in rows.items():
        found = written.read(written.pinned(make), some)
        assert (found.distribution, found.residual, found.X.shape[1]) == (name, None, 3)
        if name == "Binomial":
            np.testing.assert_allclose(found.others["total_count"], 5.0)


def refused(written: Written):
    eta, normal = written.eta, tfd.Normal
    part = tfd.Sample
    return {
        "quadratic": {"rows": lambda g, h: normal(eta(g, h) ** 2, written.sigma)},
        "two predictors": {"rows": lambda g, h: normal(eta(g, h), tf.exp(eta(g, h)))},
        "interaction": {
            "rows": lambda g, h: normal(
                eta(g, h) + tf.gather(g, G) * tf.gather(h, H), written.sigma
            )
        },
        "two of a part": {
            "rows": lambda g, h: normal(eta(g, h) + tf.gather(g, (G + 1) % 6), written.sigma)
        },
        "not normal": {
            "g": part(tfd.StudentT(tf.constant(5.0, tf.float64), ZERO, written.of_g), 6)
        },
        "not centred": {"g": part(normal(written.mean, written.of_g), 6)},
        "shared sd": {"h": part(normal(ZERO, written.of_g), 4)},
        "known sd": {"h": part(normal(ZERO, ONE), 4)},
        "scale of residuals": {"rows": lambda g, h: normal(eta(g, h), 2.0 * written.sigma)},
        "product of coefficients": {
            "rows": lambda g, h: normal(eta(g, h) + written.mean * written.slopes[0], written.sigma)
        },
        "curved coefficient": {
            "rows": lambda g, h: normal(eta(g, h) + tf.exp(written.mean), written.sigma)
        },
        "repeated column": {
            "rows": lambda g, h: normal(
                tf.gather(g, G) + tf.gather(h, H) + X * tf.reduce_sum(written.slopes), written.sigma
            )
        },
        "effects that depend on effects": {
            "h": lambda g: tfd.Independent(normal(g[:4], written.of_h), 1)
        },
    }


@pytest.mark.parametrize("case", refused(Written()))
def test_what_a_formula_could_not_say_is_left_alone(case):
    written = Written()
    before = [np.asarray(v + 0.0) for v in written.variables]
    with pytest.raises((NotRecognised, ValueError)):
        written.read(written.pinned(**refused(written)[case]))
    for value, variable in zip(before, written.variables, strict=True):
        np.testing.assert_array_equal(value, variable + 0.0)
