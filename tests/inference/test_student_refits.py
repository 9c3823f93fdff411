"""Models with effects by Student's t fitted again, by quadrature and by Monte Carlo EM; profile likelihoods."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize

import lmeformula as lf
from lmeformula.estimation.dispatch import estimate
from lmeformula.inference import bootstrap as refits
from lmeformula.inference.bootstrap import Bootstrap, bootstrap, bootstrap_intervals
from lmeformula.inference.profile import profile_intervals
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from lmeformula.sampling.student_problem import StudentModel
from lmeformula.sampling.student_quadrature import student_likelihood
from tests.prediction.student_fits import at, best, log_likelihood

GROUPS = 40


@pytest.mark.parametrize(("response", "family"), [("y", "gaussian"), ("yes", "bernoulli")])
def test_the_likelihood_and_its_gradient_are_those_of_quadrature(response, family):
    fit = at(response, family, 2.5, 1.3)
    space = fit.model.space
    likelihood = student_likelihood(StudentModel(fit.model))
    psi = space.to_free(fit.params)
    found = likelihood.at(psi)
    assert found.value == pytest.approx(log_likelihood(fit, fit.param_values), abs=1e-7)
    h = 1e-4
    for place, step in enumerate(h * np.eye(space.size)):
        ends = [log_likelihood(fit, space.to_report(psi + sign * step)) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        assert found.gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_a_maximum_is_one():
    fit = best("y", "gaussian", GROUPS)
    values = fit.param_values
    assert np.isfinite(values).all()
    top = log_likelihood(fit, values)
    assert fit.loglik.value == pytest.approx(top, abs=1e-6)
    for place in range(len(values)):
        for factor in (0.97, 1.03):
            moved = values.copy()
            moved[place] = 1 + (moved[place] - 1) * factor if place == 3 else moved[place] * factor
            assert log_likelihood(fit, moved) < top


@cache
def drawn() -> Bootstrap:
    return bootstrap(best("y", "gaussian", GROUPS), 3, seed=2)


def test_refits_are_maxima_for_the_responses_that_were_drawn():
    fit, found = best("y", "gaussian", GROUPS), drawn()
    assert found.values.shape == (3, 5)
    assert not found.num_lost
    for values, response in zip(found.values, responses(sampler_of(fit), 3, 2), strict=True):
        model = replace(fit.model, design=with_drawn(fit, response))
        again = replace(fit, model=model)
        start = np.where(np.isfinite(values), values, 50.0)
        top = log_likelihood(again, values)
        search = minimize(
            lambda at, again=again: (
                -log_likelihood(again, at) if at[2] > 0 and at[3] > 1 and at[4] > 0 else 1e9
            ),
            start,
            method="Nelder-Mead",
            options={"maxfev": 80},
        )
        assert -search.fun < top + 1e-5


@pytest.mark.slow
def test_refits_are_those_of_monte_carlo_em():
    fit = best("y", "gaussian", GROUPS)
    (response,) = responses(sampler_of(fit), 1, 2)
    by_draws = estimate(replace(fit.model, design=with_drawn(fit, response)), method="mcem", seed=1)
    error = 4.5 * by_draws.param_mc_error + 1e-3 * by_draws.param_stderr
    assert (np.abs(by_draws.param_values - drawn().values[0]) < error).all()


@pytest.mark.slow
def test_crossed_effects_are_refitted_by_monte_carlo_em():
    fit = at("y", "gaussian", 4.0, 1.0, " + (1 | h)")
    found = bootstrap(fit, 1, seed=2)
    assert found.values.shape == (1, 6) or found.num_lost == 1


def test_intervals_may_end_at_infinite_degrees_of_freedom(monkeypatch):
    fit = best("y", "gaussian", GROUPS)
    values = np.tile(fit.param_values, (100, 1))
    values[:, 3] = np.linspace(2.0, 12.0, 100)
    values[90:, 3] = np.inf
    found = Bootstrap(fit.param_names, values, 0, False)
    monkeypatch.setattr(refits, "bootstrap", lambda fit, num_refits, seed, **more: found)
    frame = bootstrap_intervals(fit, level=0.9, num_refits=100).set_index("parameter")
    assert frame.loc["df(g)", "upper"] == np.inf
    assert frame.loc["df(g)", "lower"] == pytest.approx(np.quantile(values[:, 3], 0.05))
    assert frame.loc["x", "upper"] == fit.param_values[1]


def test_an_interrupt_ends_with_what_there_is(monkeypatch):
    fit = best("y", "gaussian", GROUPS)
    calls = []

    def climb(*given: object) -> object:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(given)
        return maximum(*given)

    maximum = refits.maximise
    monkeypatch.setattr(refits, "maximise", climb)
    found = bootstrap(fit, 50, seed=2)
    assert found.is_interrupted
    assert len(found.values) == 1


@pytest.mark.parametrize("name", ["x", "sd(g)", "df(g)"])
def test_profile_intervals_end_where_the_likelihood_has_fallen(name):
    fit = best("y", "gaussian", GROUPS)
    place = fit.param_names.index(name)
    frame = profile_intervals(fit, name, level=0.8)
    fall = 0.5 * 1.2815515655446004**2
    for end in ("lower", "upper"):
        held = float(frame[end][0])
        if np.isinf(held):
            # Far out the likelihood does not fall so far.
            assert name == "df(g)"
            assert profiled(fit, place, 1e6) > fit.loglik.value - fall
            continue
        assert profiled(fit, place, held) == pytest.approx(fit.loglik.value - fall, abs=2e-3)


def profiled(fit: lf.Fit, place: int, held: float) -> float:
    """The maximum over all other parameters, by a search without gradients."""
    start = np.delete(fit.param_values, place)

    def negative(at: np.ndarray) -> float:
        values = np.insert(at, place, held)
        inside = values[2] > 0 and values[3] > 1 and values[4] > 0
        return -log_likelihood(fit, values) if inside else 1e9

    found = minimize(
        negative,
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-4, "fatol": 1e-5, "maxfev": 600},
    )
    return -float(found.fun)


def test_profiles_without_quadrature_are_refused_in_words():
    with pytest.raises(lf.ModelError, match=r"(?s)more than two hang together.*wald"):
        profile_intervals(at("y", "gaussian", 4.0, 1.0, " + (1 | h)"), "x")
    with pytest.raises(lf.ModelError, match=r"(?s)ended at infinity.*without dist"):
        profile_intervals(at("y", "gaussian", np.inf), "x")
