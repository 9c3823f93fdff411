"""Own parameters that are held: none is free, and the model is that of a family which has them inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family import family as find_family
from lmeformula.family.limits import hold
from lmeformula.family.own import Held, positive
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.model import Model
from lmeformula.model.params import param_space

# Of each family natural values that no single precision has.
HELD = {
    "gaussian": (1.0 / 3.0,),
    "nbinom2": (7.0 / 3.0,),
    "gamma": (5.0 / 3.0,),
    "student": (1.0 / 3.0, 16.0 / 3.0),
    "tweedie": (1.0 / 3.0, 4.0 / 3.0),
}


def held_model(name: str) -> Model:
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(6), 8), rng.normal(size=48)
    eta = 0.4 + 0.3 * x + rng.normal(0.0, 0.7, 6)[g]
    y = {"nbinom2": rng.poisson(np.exp(eta)), "gaussian": eta + 0.4 * rng.normal(size=48)}
    y |= {"student": y["gaussian"], "gamma": np.exp(y["gaussian"]), "tweedie": y["nbinom2"] / 2.0}
    model = lf.compile(lf.design("y ~ x + (1 | g)", {"y": y[name], "x": x, "g": g}), name)
    own = model.space.own.held_at(*HELD[name])
    return replace(model, space=param_space(model.design, own))


def test_none_is_free():
    own, free = positive("sigma", 1.0).held_at(1.5), np.zeros(0)
    assert own.is_held
    assert not positive("sigma", 1.0).is_held
    assert (own.size, own.names, own.values) == (0, (), ("sigma",))
    assert own.scale == Held((1.5,))
    assert own.scale.to_natural(free).tolist() == [1.5]
    assert own.scale.to_free(np.array([1.5])).shape == own.to_report(free).shape == (0,)
    assert own.scale.jacobian(free).shape == (1, 0)
    assert own.report_jacobian(free).shape == own.scale.bend(free, np.ones(1)).shape == (0, 0)


@pytest.mark.parametrize("name", HELD)
def test_they_take_no_place_among_the_parameters(name):
    space = held_model(name).space
    psi = np.linspace(-0.5, 0.5, space.size)
    params = space.to_natural(psi)
    assert params.own.tolist() == list(HELD[name])
    assert space.to_free(params) == pytest.approx(psi, abs=1e-12)
    assert len(space.names) == len(space.to_report(psi)) == space.size
    assert space.report_jacobian(psi).shape == (space.size, space.size)


@pytest.mark.parametrize("name", ["nbinom2", "gamma", "tweedie"])
def test_the_fit_is_that_of_the_family_with_them_inside(name):
    model = held_model(name)
    inside = hold(find_family(name), tuple(enumerate(HELD[name])))
    found, expected = fit_laplace(model), fit_laplace(lf.compile(model.design, inside))
    assert found.params.own.tolist() == list(HELD[name])
    assert found.approximation.value == pytest.approx(expected.approximation.value, rel=1e-10)
    np.testing.assert_allclose(found.params.beta, expected.params.beta, rtol=1e-5)


def test_a_gaussian_fit_is_the_exact_one():
    model = held_model("gaussian")
    found = lf.estimate(model)
    assert found.sigma == found.family_params["sigma"] == HELD["gaussian"][0]
    assert "sigma" not in found.param_names
    assert fit_laplace(model).approximation.value == pytest.approx(found.loglik.value, rel=1e-10)


@pytest.mark.parametrize("name", HELD)
def test_draws_are_of_the_same_density_in_double_precision(name):
    """The sampler's rows with own parameters that are held, and with the same values free."""
    import tensorflow as tf

    from lmeformula.sampling.rows import row_density

    model, family = held_model(name), find_family(name)
    response = tuple(tf.constant(array, tf.float64) for array in family.response(model.design))
    eta = tf.constant(np.full((model.design.n, 1), 0.3))
    free = family.own(model.design).scale
    found = [
        row_density(family, scale).slope(eta, response, tf.constant(extra))
        for scale, extra in (
            (model.space.own.scale, np.zeros(0)),
            (free, free.to_free(np.array(HELD[name]))),
        )
    ]
    for held, expected in zip(*found, strict=True):
        np.testing.assert_allclose(held, expected, rtol=1e-11)
