"""TFP's samplers and surrogate posteriors on a fit's joint distribution find the fit's own posterior."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import lmeformula as lf

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # TFP's own warnings

RNG = np.random.default_rng(3)
GROUP = np.repeat(np.arange(6), 10)
ROWS = {
    "x": RNG.normal(size=60),
    "g": GROUP.astype(str),
    "y": RNG.normal(size=6)[GROUP] + 0.5 * RNG.normal(size=60),
}


@pytest.fixture(scope="module")
def fit():
    return lf.fit("y ~ x + (1 | g)", ROWS, progress=False)


@pytest.fixture(scope="module")
def pinned(fit):
    return fit.joint.experimental_pin(y=fit.model.tfp_joint.observed)


def check(fit, draws, error):
    """Means and standard deviations of draws (m, 6) of the effects, to some posterior sds."""
    sd = np.sqrt(fit.mode_cov[0][:, 0, 0])
    assert (np.abs(draws.mean(axis=0) - fit.joint_effects["g"]) < error * sd).all()
    np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.3)


def test_no_u_turn_sampler(fit, pinned):
    kernel = tfp.mcmc.NoUTurnSampler(
        lambda g: pinned.log_prob(g=g), step_size=np.float64(0.1), max_tree_depth=6
    )

    @tf.function(jit_compile=True, autograph=False)
    def sample():
        start = tf.zeros([4, 6], tf.float64)
        return tfp.mcmc.sample_chain(
            200, start, kernel=kernel, num_burnin_steps=100, trace_fn=None, seed=[1, 2]
        )

    # 800 draws, a fifth of them independent at worst: five errors of the mean are 0.4 sds.
    check(fit, np.asarray(sample()).reshape(-1, 6), 0.4)


@pytest.mark.parametrize("kind", ["factored", "asvi"])
def test_surrogate_posteriors(fit, pinned, kind):
    if kind == "factored":
        surrogate = tfp.experimental.vi.build_factored_surrogate_posterior(
            pinned.event_shape,
            bijector=pinned.experimental_default_event_space_bijector(),
            dtype=tf.float64,
            seed=[0, 1],
        )
    else:
        surrogate = tfp.experimental.vi.build_asvi_surrogate_posterior(pinned, seed=[0, 1])
    tfp.vi.fit_surrogate_posterior(
        lambda *args, **kwargs: pinned.log_prob(*args, **kwargs),
        surrogate,
        optimizer=tf_keras.optimizers.Adam(0.05),
        num_steps=600,
        sample_size=16,
        jit_compile=True,
        seed=[3, 4],
    )
    drawn = surrogate.sample(500, seed=[5, 6])
    values = tf.nest.flatten(drawn)[0]
    # The mean of a normal posterior is found by normal factors too; Adam's last steps are a tenth of an sd.
    check(fit, np.asarray(values), 0.4)
