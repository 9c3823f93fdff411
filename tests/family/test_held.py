"""Own parameters that are held: they are not free, and the rest is fitted beside known values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.family import family as find_family
from lmeformula.family.own import Held, positive
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
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
    own = model.space.own.held_at(dict(enumerate(HELD[name])))
    return replace(model, space=param_space(model.design, own))


def test_none_is_free():
    own, free = positive("sigma", 1.0).held_at({0: 1.5}), np.zeros(0)
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


def test_some_are_held_and_the_others_free():
    whole = find_family("student").own(held_model("student").design)
    own, free = whole.held_at({1: 16.0 / 3.0}), np.array([0.3])
    assert not own.is_held
    assert (own.names, own.natural_names) == (whole.names[:1], whole.names)
    natural = whole.scale.to_natural(whole.scale.to_free(np.array([1.7, 16.0 / 3.0])))
    there = own.scale.to_free(natural)
    np.testing.assert_allclose(own.scale.to_natural(there), [1.7, 16.0 / 3.0], rtol=1e-14)
    assert own.to_report(there) == pytest.approx([1.7])
    ends = [own.scale.to_natural(free + step) for step in (1e-6, -1e-6)]
    expected = (ends[0] - ends[1])[:, None] / 2e-6
    np.testing.assert_allclose(own.scale.jacobian(free), expected, rtol=1e-8)
    # Held one after the other is held at once.
    assert own.held_at({0: 1.7}).scale == Held((1.7, 16.0 / 3.0))


@pytest.mark.parametrize("name", ["nbinom2", "gamma", "tweedie"])
def test_the_fit_is_the_maximum_beside_these_values(name):
    """There the whole family's approximation has no slope left in what is not held."""
    model = held_model(name)
    found = fit_laplace(model)
    assert found.params.own.tolist() == list(HELD[name])
    family = find_family(name)
    whole = replace(model, space=param_space(model.design, family.own(model.design)))
    psi = whole.space.to_free(found.params)
    there = approximate(
        arrays_of(whole, found.problem.plan), place(whole.space, psi), found.approximation.mode.u
    )
    assert found.approximation.value == pytest.approx(there.value, rel=1e-10)
    slopes = gradient(whole.space, psi, there)
    assert np.abs(slopes[: model.space.size]).max() < 1e-3
    assert np.abs(slopes[model.space.size :]).max() > 1.0


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

    from lmeformula.em.programs import tensors_of
    from lmeformula.sampling.problem import rows_of
    from lmeformula.sampling.rows import row_density

    model, family = held_model(name), find_family(name)
    rows = tensors_of(rows_of(model, layout(model.stack.terms)), "float64")
    eta = tf.constant(np.full((model.design.n, 1), 0.3))
    free = family.own(model.design).scale
    found = [
        row_density(family, scale).slope(eta, rows, tf.constant(extra))
        for scale, extra in (
            (model.space.own.scale, np.zeros(0)),
            (free, free.to_free(np.array(HELD[name]))),
        )
    ]
    for held, expected in zip(*found, strict=True):
        np.testing.assert_allclose(held, expected, rtol=1e-11)
