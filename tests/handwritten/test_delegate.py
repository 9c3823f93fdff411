"""Recognised joint distributions are fitted as their formulas are, in their own variables."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.em import Options, Outcome, assign, from_joint, run

tfb, tfd = tfp.bijectors, tfp.distributions

RNG = np.random.default_rng(6)
N = 200
G, H = RNG.permutation(np.arange(N) % 12), RNG.permutation(np.arange(N) % 7)
X = RNG.normal(size=N)
ETA = 0.5 + 0.8 * X + 0.9 * RNG.normal(size=12)[G] + 0.6 * RNG.normal(size=7)[H]
ZERO = tf.zeros([], tf.float64)
DATA = {"x": X, "g": G.astype(str), "h": H.astype(str)}
RESPONSES = {
    "gaussian": ETA + 0.7 * RNG.normal(size=N),
    "bernoulli": (RNG.random(N) < 1 / (1 + np.exp(-ETA))).astype(float),
    "poisson": RNG.poisson(np.exp(0.5 * ETA)).astype(float),
}


def written(family, bijector):
    """The joint distribution and its variables, in another order than the model's."""
    positive = {
        name: tfp.util.TransformedVariable(start, bijector, dtype=tf.float64, name=name)
        for name, start in (("sigma", 1.0), ("of_h", 0.3), ("of_g", 2.0))
    }
    slope = tf.Variable(0.0, dtype=tf.float64, name="slope")
    mean = tf.Variable(0.0, dtype=tf.float64, name="mean")

    def y(a_h, b_g):
        eta = mean + slope * X + tf.gather(a_h, H, axis=-1) + tf.gather(b_g, G, axis=-1)
        rows = {
            "gaussian": lambda: tfd.Normal(eta, positive["sigma"]),
            "bernoulli": lambda: tfd.Bernoulli(logits=eta, dtype=tf.float64),
            "poisson": lambda: tfd.Poisson(log_rate=eta),
        }[family]()
        return tfd.Independent(rows, 1)

    joint = tfd.JointDistributionNamed(
        {
            "a_h": tfd.Sample(tfd.Normal(ZERO, positive["of_h"]), 7),
            # Two more levels than any row reads.
            "b_g": tfd.Sample(tfd.Normal(ZERO, positive["of_g"]), 14),
            "y": y,
        }
    )
    variables = [*positive.values(), slope, mean]
    if family != "gaussian":
        variables = variables[1:]
    return joint.experimental_pin(y=RESPONSES[family]), variables


NAMES = {"Intercept": "mean", "x": "slope", "sd(g)": "of_g", "sd(h)": "of_h", "sigma": "sigma"}


@pytest.mark.parametrize(
    ("family", "bijector"),
    [
        ("gaussian", tfb.Softplus()),
        pytest.param("gaussian", tfb.Exp(), marks=pytest.mark.slow),
        pytest.param("bernoulli", tfb.Exp(), marks=pytest.mark.slow),
        pytest.param("poisson", tfb.Softplus(), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_it_is_the_formulas_fit(family, bijector):
    pinned, variables = written(family, bijector)
    problem = from_joint(pinned, variables)
    assert problem.names == tuple(variable.name.split(":")[0] for variable in variables)
    found = run(problem, Options(watched=(0, 7)))
    assert (found.outcome, found.method) == (Outcome.CONVERGED, "recognised")
    method = "exact" if family == "gaussian" else "mcem"
    fit = lf.fit(
        "y ~ x + (1 | g) + (1 | h)",
        {**DATA, "y": RESPONSES[family]},
        family,
        method=method,
        progress=False,
    )
    right = {
        NAMES[n]: (v, s)
        for n, v, s in zip(fit.param_names, fit.param_values, fit.param_stderr, strict=True)
    }
    values, jacobian = problem.report(found.params)
    errors = np.sqrt(np.diag(jacobian @ found.mc_covariance @ jacobian.T))
    stderrs = np.sqrt(np.diag(jacobian @ np.linalg.inv(found.information) @ jacobian.T))
    theirs = dict(zip(fit.param_names, fit.param_mc_error, strict=True))
    for name, value, error, stderr in zip(problem.names, values, errors, stderrs, strict=True):
        estimate, known = right[name]
        other = theirs[{v: k for k, v in NAMES.items()}[name]]
        assert abs(value - estimate) < 5 * np.hypot(error, other)
        assert 0 < error < 0.011 * known
        assert stderr == pytest.approx(known, rel=0.05)
    # The latents are in the order of the joint distribution, with those that no row reads at their prior.
    modes = dict(zip("gh", fit.modes, strict=True))
    mean, variance = found.info.latent_mean, found.info.latent_variance
    at = dict(zip(problem.names, values, strict=True))
    tolerance = 1e-3 if family == "gaussian" else 0.2
    np.testing.assert_allclose(mean[:7], modes["h"][:, 0], atol=tolerance)
    order = np.argsort(np.arange(12).astype(str))
    np.testing.assert_allclose(mean[7:19][order], modes["g"][:, 0], atol=tolerance)
    np.testing.assert_array_equal(mean[19:], 0.0)
    np.testing.assert_allclose(variance[19:], at["of_g"] ** 2, rtol=1e-6)
    assert found.draws.shape[1] == 2
    assign([getattr(v, "pretransformed_input", v) for v in variables], found.params)
    np.testing.assert_allclose([float(v + 0.0) for v in variables], values)


def test_a_standard_deviation_of_zero_is_at_a_boundary():
    rng = np.random.default_rng(1)
    y = 1.0 + rng.normal(size=N)
    y = y - np.array([y[level == G].mean() for level in range(12)])[G]  # nothing between groups
    sd = tfp.util.TransformedVariable(1.0, tfb.Exp(), dtype=tf.float64, name="sd")
    mean = tf.Variable(0.5, dtype=tf.float64, name="mean")
    joint = tfd.JointDistributionNamed(
        {
            "b": tfd.Sample(tfd.Normal(ZERO, sd), 12),
            "y": lambda b: tfd.Independent(
                tfd.Normal(mean + tf.gather(b, G, axis=-1), ZERO + 1), 1
            ),
        }
    )
    problem = from_joint(joint.experimental_pin(y=y), [sd, mean])
    found = run(problem)
    assert (found.outcome, found.method) == (Outcome.BOUNDARY, "recognised")
    assert found.held == ("sd sd",)
    values, jacobian = problem.report(found.params)
    errors = np.sqrt(np.diag(jacobian @ found.mc_covariance @ jacobian.T))
    assert 0 <= values[0] < min(0.05, 1.5 * errors[0])
    assert values[1] == pytest.approx(0.0, abs=1e-4)


def test_structure_none_leaves_the_density_as_it_is():
    pinned, variables = written("gaussian", tfb.Exp())
    known = from_joint(pinned, variables).solver
    plain = from_joint(pinned, variables, structure="none").solver
    assert type(known) is not type(plain)
    with pytest.raises(lf.ModelError, match="structure is 'some'"):
        from_joint(pinned, variables, structure="some")
