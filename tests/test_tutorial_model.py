"""The tutorial's model class, written by hand: it trains, agrees with the formula, and its slip is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.errors import ModelError

SCRIPT = Path(__file__).parents[1] / "examples" / "tutorial_model.py"


@pytest.fixture(scope="module")
def tutorial():
    spec = importlib.util.spec_from_file_location("tutorial_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exact(tutorial):
    """400 simulated ratings of 20 students, 16 instructors and 8 departments, fitted by formula."""
    rng = np.random.default_rng(5)
    n = 400
    groups = {"students": 20, "instructors": 16, "departments": 8}
    data = {name: np.arange(n) % size for name, size in groups.items()}
    data["instructors"] = rng.permutation(data["instructors"])
    data["departments"] = rng.permutation(data["departments"])
    data["service"] = rng.integers(0, 2, n)
    effects = [
        rng.normal(size=size) * sd
        for size, sd in zip(groups.values(), (0.5, 0.7, 0.6), strict=True)
    ]
    mean = 3.0 - 0.2 * data["service"]
    mean += sum(effect[data[name]] for name, effect in zip(groups, effects, strict=True))
    data["ratings"] = mean + rng.normal(size=n)
    return lf.fit(tutorial.FORMULA, data, sigma=1.0)


def test_every_variable_gets_a_gradient(tutorial, exact):
    model = tutorial.RatingModel(exact.model.design)
    joint = model.joint()
    assert dict(joint.resolve_graph())["ratings"] == ("students", "instructors", "departments")
    drawn = joint.sample(seed=(1, 2))
    with tf.GradientTape() as tape:
        value = joint.log_prob(drawn)
    slopes = tape.gradient(value, model.trainable_variables)
    assert len(slopes) == 5
    assert all(slope is not None and float(slope) != 0.0 for slope in slopes)


def test_agrees_with_the_formula(tutorial, exact):
    model = tutorial.RatingModel(exact.model.design)
    names, estimates, errors, outcome = tutorial.fit_by_hand(model, tolerance=0.1)
    assert outcome is lf.Outcome.CONVERGED
    expected = tutorial.by_formula(exact)
    assert set(names) == set(expected)
    for name, estimate, error in zip(names, estimates, errors, strict=True):
        value, stderr = expected[name]
        assert error < 0.12 * stderr
        assert abs(estimate - value) < 4.5 * error
    # The module's own variables are left at the estimates.
    found = dict(zip(names, estimates, strict=True))
    assert float(model.intercept) == pytest.approx(found["intercept"])
    assert float(model.stddev_students + 0.0) == pytest.approx(found["stddev_students"])


def test_the_tutorials_slip_is_refused(tutorial, exact):
    class Frozen(tutorial.RatingModel):
        """Multiplies the variable while the distribution is built, as the tutorial does."""

        def effects(self, stddev, num_levels):
            return tfp.distributions.MultivariateNormalDiag(
                scale_diag=stddev * tf.ones(num_levels, tf.float64)
            )

    model = Frozen(exact.model.design)
    pinned = model.joint().experimental_pin(ratings=exact.model.design.y)
    with pytest.raises(ModelError) as caught:
        lf.em.from_joint(pinned, model.trainable_variables)
    text = str(caught.value)
    assert text.startswith("the log density does not depend on the variable(s) stddev_departments")
    assert "`sd * tf.ones(n)`, was probably evaluated when the model was built" in text
