"""Small problems with known answers, and programs compiled once for all tests that can share them."""

from __future__ import annotations

import numpy as np
import pytest

# One observation a group: y_i = mean + u_i + e_i, all variances known. The maximum is the mean of y, its
# standard error sqrt(2 / n).
Y = np.array([2.1, 1.7, 2.6, 1.4, 2.2, 0.3, 3.1, 2.9])


@pytest.fixture(scope="session")
def mean_problem():
    """A problem from a log joint density, whose maximum is known: the mean of Y."""
    import tensorflow as tf

    from lmeformula.em import from_log_joint

    y = tf.constant(Y)

    def log_joint(params, u):
        return -0.5 * tf.reduce_sum(u**2 + (tf.cast(y, u.dtype) - params - u) ** 2)

    problem = from_log_joint(log_joint, params=[0.0], latents=np.zeros(len(Y)), names=["mean"])
    # By the loop alone, which learns a diagonal whitening.
    return problem._replace(program="mean", solver=None)


# Groups of three rows: y_ij = mean + sd u_i + e_ij, the mean and log sd unknown, e of variance one.
GROUPS = 12
_RNG = np.random.default_rng(7)
GROUPED = 1.0 + 1.5 * _RNG.normal(size=(GROUPS, 1)) + _RNG.normal(size=(GROUPS, 3))


def grouped_maximum() -> tuple[np.ndarray, np.ndarray]:
    """(mean, log sd) at the maximum of the marginal likelihood in closed form, and its information."""
    means = GROUPED.mean(axis=1)
    # The group means are independent N(mean, sd^2 + 1/3), and sufficient.
    total = means.var()
    sd = np.sqrt(total - 1 / 3)
    information = np.diag([GROUPS / total, 2 * GROUPS * (sd**2 / total) ** 2])
    return np.array([means.mean(), np.log(sd)]), information


@pytest.fixture(scope="session")
def grouped_problem():
    """A problem of two parameters, one of them a log sd, whose maximum is known in closed form."""
    import tensorflow as tf

    from lmeformula.em import from_log_joint

    y = tf.constant(GROUPED)

    def log_joint(params, u):
        eta = params["mean"] + tf.exp(params["log_sd"]) * u
        residual = tf.cast(y, u.dtype) - eta[:, None]
        return -0.5 * (tf.reduce_sum(u**2) + tf.reduce_sum(residual**2))

    # Nested structures are flattened in the order of their keys.
    start = {"log_sd": 0.0, "mean": 0.0}
    problem = from_log_joint(
        log_joint, params=start, latents=np.zeros(GROUPS), names=["log_sd", "mean"]
    )
    return problem._replace(program="grouped", solver=None)
