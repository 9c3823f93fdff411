"""The derivative of the likelihood in a covariance on its boundary, against differences of quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.modes import arrays_of, mode_at
from lmeformula.likelihood.quadrature.marginal import Quadrature
from lmeformula.sampling.edges import STAND_IN, noticeable
from lmeformula.sampling.laplace import laplace_problem

STRUCTURES = ["(x || g)", "(x | g)", "cs(x | g)", "diag(x | g)", "homdiag(x | g)", "homcs(x | g)"]


def model_of(term: str, slope_sd: float) -> lf.Model:
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(40), 5), rng.normal(size=200)
    eta = 0.4 + slope_sd * rng.normal(size=40)[g] * x + 0.6 * rng.normal(size=40)[g]
    y = (rng.random(200) < expit(eta)) * 1
    return lf.compile(lf.design(f"y ~ x + {term}", {"y": y, "g": g, "x": x}), "bernoulli")


def loglik(model: lf.Model, psi: np.ndarray) -> float:
    plan = layout(model.stack.terms)
    arrays = arrays_of(model, plan, marginal=Quadrature)
    mode = mode_at(model, arrays, psi, np.zeros(plan.num_effects))
    return arrays.marginal.integral(arrays, mode).value


@pytest.mark.parametrize("slope_sd", [0.0, 1.5])
@pytest.mark.parametrize("term", STRUCTURES)
def test_variances_of_zero(term, slope_sd):
    """Every covariance at zero: the rise is that of the likelihood, and has no noise."""
    model = model_of(term, slope_sd)
    space, plan = model.space, layout(model.stack.terms)
    arrays = arrays_of(model, plan)
    psi = np.zeros(space.size)
    psi[:2] = 0.4, 0.0
    mode = mode_at(model, arrays, psi, np.zeros(plan.num_effects))
    units = noticeable(model, arrays.rows.held(mode.weights))
    for place, shape, unit in zip(space.theta_slices, space.terms, units, strict=True):
        count = shape.structure.num_sds(len(shape.columns))
        sizes = unit if count == len(unit) else np.full(1, np.sqrt(np.mean(unit**2)))
        psi[place][:count] = np.log(STAND_IN * sizes)
    problem = laplace_problem(model, arrays, psi, np.eye(space.size))
    edges = tuple(edge for edge in problem.edges(psi) if edge.name.startswith("sd "))
    positions = np.random.default_rng(1).normal(size=(30, plan.num_effects, 2))
    seen = problem.look(psi, problem.geometry(psi), positions, edges)
    assert seen.names == tuple(edge.name for edge in edges)
    means, spread = seen.series.mean(axis=(0, 2)), seen.series.std(axis=(0, 2))
    for edge, mean, noise, given in zip(seen.edges, means, spread, edges, strict=True):
        assert noise < 0.01 * abs(mean) + 1e-3
        # A little variance, of the kind that the way inside has: the same sign.
        at = np.flatnonzero(given.directions[:, 0])[0]
        inside = edge.inside.copy()
        where = next(place for place in space.theta_slices if place.start <= at < place.stop)
        small = psi.copy()
        small[where] = inside[where]
        sds = [i for i in range(where.start, where.stop) if inside[i] != psi[i] and psi[i] < -3]
        small[sds] -= 3.0
        rise = loglik(model, small) - loglik(model, psi)
        assert np.sign(rise) == -np.sign(mean)


def test_the_size_of_the_rise():
    """Half the derivative in the variance, in units of what is noticeable, by differences of the likelihood."""
    model = model_of("(1 | g)", 0.0)
    plan = layout(model.stack.terms)
    arrays = arrays_of(model, plan)
    start = np.array([0.4, 0.0, -9.0])
    mode = mode_at(model, arrays, start, np.zeros(plan.num_effects))
    (unit,) = noticeable(model, arrays.rows.held(mode.weights))
    psi = np.array([0.4, 0.0, np.log(STAND_IN * unit[0])])
    problem = laplace_problem(model, arrays, psi, np.eye(3))
    seen = problem.look(psi, problem.geometry(psi), np.zeros((4, 40, 2)), problem.edges(psi))

    def at(variance: float) -> float:
        return loglik(model, np.array([0.4, 0.0, 0.5 * np.log(variance)]))

    h = 1e-4 * unit[0] ** 2
    slope = (-5 * at(h) + 8 * at(2 * h) - 3 * at(3 * h)) / (2 * h)
    assert seen.series.mean() == pytest.approx(-slope * unit[0] ** 2, rel=1e-3)
