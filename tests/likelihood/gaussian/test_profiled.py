"""The likelihood with the fixed effects at their best, against that of all parameters and by differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.profiled import concentrated
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.params import param_space
from tests.simulate import FORMULAS, SIGMA, differences, make_design, random_psi

NAMES = [name for name in FORMULAS if name != "no fixed effects"]


def setting(name: str):
    design = make_design(name)
    space = param_space(design, SIGMA)
    return sums(design), space, random_psi(space, np.random.default_rng(5))


@pytest.mark.parametrize("name", NAMES)
def test_no_other_fixed_effects_do_better(name):
    data, space, psi = setting(name)
    p = space.num_fixed

    def of_beta(beta):
        value, gradient, _ = log_likelihood(data, space, np.concatenate([beta, psi[p:]]))
        return -value, -gradient[:p]

    best = minimize(of_beta, psi[:p], jac=True, options={"gtol": 1e-8})
    assert concentrated(data, space, psi)[0] == pytest.approx(-best.fun, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_held_fixed_effect_is_where_it_is_held(name):
    data, space, psi = setting(name)
    p = space.num_fixed
    place, value = p - 1, 0.7

    def of_others(others):
        beta = np.insert(others, place, value)
        found, gradient, _ = log_likelihood(data, space, np.concatenate([beta, psi[p:]]))
        return -found, np.delete(-gradient[:p], place)

    psi[place] = value
    here, _ = concentrated(data, space, psi, held=place)
    if p > 1:
        best = -minimize(of_others, np.zeros(p - 1), jac=True, options={"gtol": 1e-8}).fun
    else:
        best = -of_others(np.zeros(0))[0]
    assert here == pytest.approx(best, abs=1e-8)
    assert here < concentrated(data, space, psi)[0]


@pytest.mark.parametrize("kind", ["ml", "reml", "held"])
@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name, kind):
    data, space, psi = setting(name)
    held, reml = 0 if kind == "held" else None, kind == "reml"

    def value(at):
        return concentrated(data, space, at, reml=reml, held=held)[0]

    _, gradient = concentrated(data, space, psi, reml=reml, held=held)
    assert gradient == pytest.approx(differences(value, psi), rel=1e-6, abs=1e-6)
    assert (gradient[: space.num_fixed] != 0.0).sum() == (kind == "held")


@pytest.mark.parametrize("reml", [False, True])
def test_its_maximum_is_that_of_the_exact_fit(reml):
    design = make_design("two columns")
    space = param_space(design, SIGMA)
    data = sums(design)
    best = fit_exact(data, space, reml=reml)
    value, gradient = concentrated(data, space, space.to_free(best.params), reml=reml)
    assert value == pytest.approx(best.loglik, abs=1e-9)
    assert np.abs(gradient).max() < 1e-3
