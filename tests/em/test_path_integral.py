"""The likelihood of many groups as an integral along the path, against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln

from lmeformula.em import Options, path_integral
from lmeformula.em.bridge import bridge
from lmeformula.em.draws import start_walkers, take
from lmeformula.em.path_integral import Node
from lmeformula.em.programs import engine_of
from tests.em.groups import groups, loglik, modes, problem

PSI = np.array([0.5, 0.0])


def test_it_is_the_likelihood_within_its_error_where_no_bridge_reaches(monkeypatch):
    monkeypatch.setattr(path_integral, "NUM_DRAWS", (40, 60))
    given = groups(1.0, is_poisson=True, count=8_000)
    made = problem(given, tuple(PSI))
    geometry, engine = made.geometry(PSI), engine_of(made, Options(), "float64", 1)
    walkers = start_walkers(engine, geometry)
    draws, _ = take(engine, PSI, geometry, walkers, num_warmup=20, num_draws=80)
    assert draws.excess.std() > 5.0
    given_draws = (PSI, geometry, draws.excess)
    assert np.isnan(bridge(engine._replace(seed=2), *given_draws).mc_error)
    _, curvature = modes(given, PSI)
    constant = 0.5 * np.log(curvature).sum() + gammaln(given.y + 1).sum()
    off = []
    for seed in range(8):
        found = path_integral.integral_along(engine._replace(seed=seed), *given_draws)
        assert 0.05 < found.mc_error < 2.0
        off.append((found.value - constant - loglik(given, PSI)) / found.mc_error)
    # A sum of eight squares: between .9 and 28 but once in a thousand.
    assert 0.9 < np.square(off).sum() < 28.0


def nodes(means, spreads) -> list[Node]:
    powers = [0.0, *path_integral.NODES, 1.0]
    return [Node(*each, 1e-4) for each in zip(powers, means, np.square(spreads), strict=True)]


def test_a_cubic_is_integrated_exactly():
    powers = np.array([0.0, *path_integral.NODES, 1.0])
    found = path_integral._integrate(nodes(2.0 + powers**3, np.full(5, 3.0)))
    assert found.value == pytest.approx(2.25, abs=1e-12)
    assert found.mc_error == pytest.approx(0.01 * np.sqrt((path_integral.WEIGHTS**2).sum()))


def test_an_integrand_that_is_no_line_leaves_the_error_unknown():
    """It falls to minus infinity at zero, where draws of the Gaussian hardly see it: its spread says so."""
    found = path_integral._integrate(nodes([-90.0, -5.0, -2.0, -1.0, -0.9], [50.0, 9.0, 2.0, 1, 1]))
    assert np.isnan(found.mc_error)
