"""The loop of TensorFlow Probability's tutorial on mixed effects models, in our own words, and its error.

    python benchmarks/tutorial_loop.py

Monte Carlo EM with one chain: 1,000 transitions of Hamiltonian Monte Carlo to warm up, then 1,500 rounds of
five transitions and one step of Adam. The joint distribution is made once, before any gradient is recorded,
with the scales multiplied out to vectors as the tutorial does, so that its three standard deviations get no
gradient and stay where they start; the residual standard deviation is fixed at 1. Both are kept, for what they
cost.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

STEP_SIZE, LEAPFROG_STEPS = 0.015, 3
WARM_UP, ROUNDS, TRANSITIONS = 1_000, 1_500, 5
LEARNING_RATE = 0.01
FACTORS = ("s", "d", "dept")
# lme4's maximum-likelihood estimates: intercept, slope, sds of the three factors, residual sd.
RIGHT = {
    "intercept": 3.28258,
    "service": -0.092589,
    "sd(s)": 0.325528,
    "sd(d)": 0.514983,
    "sd(dept)": 0.078519,
    "sigma": 1.177493,
}


class Looped(NamedTuple):
    """Where the loop ends: estimates by the names of RIGHT, and the seconds it took."""

    estimates: dict[str, float]
    seconds: float


def tutorial_loop(data: Any) -> Looped:
    """Run the loop.

    Args:
      data: InstEval as a frame: y, service, and labels s, d, dept.
    Returns:
      Its estimates.
    """
    import tensorflow as tf
    import tensorflow_probability as tfp

    tfd = tfp.distributions
    began = time.perf_counter()
    codes = {name: data[name].astype("category").cat.codes.to_numpy("int32") for name in FACTORS}
    service = tf.constant(data["service"], tf.float32)
    ratings = tf.constant(data["y"], tf.float32)
    intercept, slope = tf.Variable(0.0), tf.Variable(0.0)
    log_sds = {name: tf.Variable(0.0) for name in FACTORS}

    def response(s: Any, d: Any, dept: Any) -> Any:
        effects = zip((s, d, dept), FACTORS, strict=True)
        loc = intercept + slope * service
        loc += sum(tf.gather(effect, codes[name], axis=-1) for effect, name in effects)
        return tfd.Independent(tfd.Normal(loc, 1.0), 1)

    parts = {
        name: tfd.MultivariateNormalDiag(
            # Worked out here and now: a number, no longer a function of the variable.
            scale_diag=tf.exp(log_sds[name]) * tf.ones(int(codes[name].max()) + 1)
        )
        for name in FACTORS
    }
    joint = tfd.JointDistributionNamed({**parts, "ratings": response})

    def log_density(*effects: Any) -> Any:
        return joint.log_prob(dict(zip(FACTORS, effects, strict=True)) | {"ratings": ratings})

    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_density, STEP_SIZE, LEAPFROG_STEPS)
    optimizer = tf.optimizers.Adam(LEARNING_RATE)
    variables = [intercept, slope, *log_sds.values()]

    @tf.function(autograph=False)
    def transition(state: Any, results: Any) -> Any:
        return kernel.one_step(state, results)

    @tf.function(autograph=False)
    def slopes(state: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = -log_density(*state)
        return tape.gradient(loss, variables)

    state = [tf.zeros(int(codes[name].max()) + 1) for name in FACTORS]
    results = kernel.bootstrap_results(state)
    for _ in range(WARM_UP):
        state, results = transition(state, results)
    for _ in range(ROUNDS):
        for _ in range(TRANSITIONS):
            state, results = transition(state, results)
        found = zip(slopes(state), variables, strict=True)
        optimizer.apply_gradients([(slope, v) for slope, v in found if slope is not None])
    estimates = {
        "intercept": float(intercept),
        "service": float(slope),
        **{f"sd({name})": float(tf.exp(value)) for name, value in log_sds.items()},
        "sigma": 1.0,
    }
    return Looped(estimates, time.perf_counter() - began)


def main() -> None:
    import pandas as pd

    path = Path(__file__).parents[1] / "lmeformula" / "data" / "InstEval.csv.gz"
    estimates, seconds = tutorial_loop(pd.read_csv(path))
    print(f"{seconds:.1f} s")
    print(f"{'':<12} {'the loop':>10} {'ML':>10} {'error':>10}")
    for name, right in RIGHT.items():
        found = estimates[name]
        print(f"{name:<12} {found:10.4f} {right:10.4f} {found - right:+10.4f}")


if __name__ == "__main__":
    main()
