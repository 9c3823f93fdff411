"""TensorFlow Probability's tutorial on linear mixed effects models, section by section.

`python examples/insteval_tutorial.py [K]`: all 73,421 ratings, or those of every K-th student only.
"""

import os
import sys

import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

import lmeformula as lf
from lmeformula.checking.holdout import holdout, split_rows
from lmeformula.views import plots

tfb, tfd = tfp.bijectors, tfp.distributions
FORMULA = "ratings ~ service + (1|students) + (1|instructors) + (1|departments)"


def written_by_hand(design):
    """The same joint distribution without a formula; every parameter is a variable that trains."""
    intercept, slope = (tf.Variable(start, dtype=tf.float64) for start in (3.0, 0.0))
    *scales, sigma = (
        tfp.util.TransformedVariable(start, tfb.Exp(), dtype=tf.float64)
        for start in (0.5, 0.5, 0.5, 1.0)
    )

    def ratings(departments, instructors, students):
        eta = intercept + slope * design.X[:, 1]
        for effects, term in zip((students, instructors, departments), design.terms, strict=True):
            eta += tf.gather(effects, term.index)
        return tfd.Independent(tfd.Normal(eta, sigma), 1)

    # A scale must stay a variable: scale * tf.ones(n) is computed once, out of any gradient's reach.
    parts = {
        term.name: tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), scale), len(term.levels))
        for term, scale in zip(design.terms, scales, strict=True)
    }
    joint = tfd.JointDistributionNamed({**parts, "ratings": ratings})
    return joint.experimental_pin(ratings=design.y), [intercept, slope, *scales, sigma]


print("# Data")
every = int(sys.argv[1]) if sys.argv[1:] else 20 if os.environ.get("LMEFORMULA_QUICK") else 1
data = lf.datasets.load("insteval")
data = data[data["students"].cat.codes % every == 3 % every]
fit_rows, test_rows = split_rows(len(data), fraction=0.2, seed=0)
train, test = data.iloc[fit_rows], data.iloc[test_rows]
print(train.head(), f"\n{len(train):,} ratings to fit, {len(test):,} held out")

print("\n# Model")
model = lf.compile(lf.design(FORMULA, train))
print(model.equation(), model.graph(), model.joint.resolve_graph(), sep="\n\n")

print("\n# Experiment")
fit = lf.estimate(model, method="mcem", seed=0, num_draws=100)
print(fit.summary())

print("\n# The same model written by hand, for every 20th student")
some = lf.design(FORMULA, train[train["students"].cat.codes % 20 == 3])
by_hand = lf.em.run(lf.em.from_joint(*written_by_hand(some)), lf.em.Options(tolerance=0.1))
print(by_hand.outcome.value)
print("by hand", by_hand.trace[-1].estimates.round(3))
print("exact  ", lf.estimate(lf.compile(some), method="exact").param_values.round(3))

print("\n# Criticism")
held_out = holdout(fit, test)
print(f"RMSE {held_out.rmse:.3f}, of the mean alone {held_out.rmse_mean:.3f}")
figure = Figure(figsize=(12, 7), layout="constrained")
axes = figure.subplots(2, 3).ravel()
plots.trace(fit, "instructors", ax=axes[0])
plots.residual_histogram(held_out.residuals, fit.sigma, axes[1])
for ax, group in zip(axes[2:5], ("students", "instructors", "departments"), strict=True):
    plots.histogram(fit, group, ax=ax)
plots.effects(fit, "departments", ax=axes[5])
figure.savefig("insteval_tutorial.png")
