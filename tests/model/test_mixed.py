"""The joint distribution of a model as TFP and TensorFlow use it: copies, files, types of numbers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.simulate import make_design


@pytest.fixture(scope="module")
def model():
    return lf.compile(make_design("two columns rest"))


@pytest.fixture(scope="module")
def drawn(model):
    return model.joint.sample(seed=1)


def test_a_deep_copy_has_the_same_density_and_variables_of_its_own(model, drawn):
    joint = model.joint
    joint.trainable_variables[0].assign_add(tf.ones_like(joint.trainable_variables[0]))
    try:
        other = copy.deepcopy(joint)
        before = float(joint.log_prob(drawn))
        assert float(other.log_prob(drawn)) == pytest.approx(before, rel=1e-12)
        for variable in other.trainable_variables:
            variable.assign_add(0.1 * tf.ones_like(variable))
        assert float(joint.log_prob(drawn)) == before
        assert float(other.log_prob(drawn)) != before
        assert copy.deepcopy([joint, joint])[0] is not joint
    finally:
        joint.trainable_variables[0].assign_sub(tf.ones_like(joint.trainable_variables[0]))


def test_a_checkpoint_restores_the_variables(model, drawn, tmp_path):
    path = tf.train.Checkpoint(model.joint).save(str(tmp_path / "at"))
    other = copy.deepcopy(model.joint)
    for variable in other.trainable_variables:
        variable.assign_add(0.5 * tf.ones_like(variable))
    tf.train.Checkpoint(other).restore(path).assert_consumed()
    assert float(other.log_prob(drawn)) == pytest.approx(float(model.joint.log_prob(drawn)))


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own, while it saves
def test_a_module_that_holds_it_is_saved(model, drawn, tmp_path):
    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.joint = model.joint

        @tf.function(
            input_signature=[{n: tf.TensorSpec(v.shape, v.dtype) for n, v in drawn.items()}]
        )
        def log_prob(self, values):
            return self.joint.log_prob(values)

    tf.saved_model.save(Module(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.log_prob(dict(drawn))
    assert float(found) == pytest.approx(float(model.joint.log_prob(drawn)), rel=1e-12)


def test_it_has_no_parameters_besides_its_variables(model):
    assert model.joint.parameter_properties() == {}


@pytest.mark.parametrize("how", ["log_prob", "keywords", "prob", "log_prob_parts", "pin", "sample"])
def test_a_tensor_of_another_type_is_answered_in_words(model, drawn, how):
    joint, name = model.joint, model.tfp_joint.response
    values = {**drawn, name: tf.cast(drawn[name], tf.float32)}
    calls = {
        "log_prob": lambda: joint.log_prob(values),
        "keywords": lambda: joint.log_prob(**values),
        "prob": lambda: joint.prob(values),
        "log_prob_parts": lambda: joint.log_prob_parts(values),
        "pin": lambda: joint.experimental_pin(**{name: values[name]}),
        "sample": lambda: joint.sample_distributions(value=values, seed=1),
    }
    with pytest.raises(
        ModelError, match="is of float64 numbers, and the value given for it of float32"
    ):
        calls[how]()


def test_an_array_of_another_type_becomes_a_tensor_of_the_right_one(model, drawn):
    name = model.tfp_joint.response
    response = np.float32(drawn[name])
    found = model.joint.log_prob({**drawn, name: response})
    assert float(found) == pytest.approx(float(model.joint.log_prob(drawn)), rel=1e-4)
