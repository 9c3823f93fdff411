"""Certificates of fits: they hold at maxima by every solver, and do not a little away from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.algebra.probes import signs_of
from lmeformula.estimation.claims import certify
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.evidence import exact, laplace, probed
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.iterative import fit_iterative
from lmeformula.likelihood.gaussian.shared_sums import shared_sums
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.iterative import fit_iteratively
from lmeformula.likelihood.laplace.observed import observed_information


def data(n: int = 900) -> pd.DataFrame:
    r = np.random.default_rng(4)
    g, h = r.integers(0, 60, n), r.integers(0, 50, n)
    eta = 0.7 * r.normal(size=60)[g] + 0.5 * r.normal(size=50)[h]
    return pd.DataFrame(
        {
            "y": eta + r.normal(size=n),
            "count": r.poisson(np.exp(0.5 + eta)),
            "x": r.normal(size=n),
            "g": g,
            "h": h,
            "flat": np.arange(n) % 40,
        }
    )


FORMULA = "{} ~ x + (1 | g) + (1 | h)"


def moved(fit, step: float):
    """The optimum with its largest standard deviation off by a factor."""
    covariances = (fit.params.covariances[0] * np.exp(2 * step), *fit.params.covariances[1:])
    return fit._replace(params=fit.params._replace(covariances=covariances))


def arrival(model, last, R) -> Arrival:
    """Where a fit by probes ended."""
    return Arrival(
        model,
        last.psi.copy(),
        last.inside,
        last.information,
        R,
        last.loglik,
        np.ones(model.space.size),
        mc_covariance=last.mc_covariance,
    )


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_iterative_solver_is_certified_by_fresh_probes(family):
    response = "y" if family == "gaussian" else "count"
    fit = lf.fit(FORMULA.format(response), data(), family, method="laplace", solver="iterative")
    assert fit.converged
    assert fit.certificate.holds
    assert fit.certificate["second opinion"].words.startswith("the log-likelihood by fresh probes")


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
def test_fresh_probes_notice_an_end_that_is_none(reml):
    model = lf.compile(lf.design(FORMULA.format("y"), data()))
    prepared, space = shared_sums(model.design), model.space
    draws = signs_of(prepared.plan, model.design.terms)
    found = fit_iterative(prepared, space, draws, reml=reml)

    def witness(at):
        return probed.exact(at, prepared, found, 0, reml)

    at = arrival(model, found, prepared.R)
    assert certify(at, witness).holds
    at.psi[2] += 0.1
    wrong = certify(at, witness)
    assert "stationarity" in [claim.name for claim in wrong.failing]
    assert "sd(g)" in wrong["stationarity"].names


def test_fresh_probes_notice_an_end_of_a_laplace_fit_that_is_none():
    model = lf.compile(lf.design(FORMULA.format("count"), data()), "poisson")
    last = fit_iteratively(model, seed=0, tolerance=0.01, max_probes=64)

    def witness(at):
        return probed.approximated(at, last, 0)

    at = arrival(model, last, model.triangle)
    assert certify(at, witness).holds
    at.psi[2] += 0.1
    wrong = certify(at, witness)
    assert "stationarity" in [claim.name for claim in wrong.failing]


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
def test_an_exact_end_that_is_none_is_noticed(reml):
    model = lf.compile(lf.design(FORMULA.format("y"), data()))
    prepared, space = sums(model.design), model.space
    found = fit_exact(prepared, space, reml=reml)
    fit = lf.estimate(model, reml=reml)
    information = np.linalg.pinv(fit.param_vcov / np.outer(*2 * [_jacobian(fit)]))
    inside = np.ones(space.size, bool)

    def certificate(elements, params):
        ended = found._replace(elements=elements, params=params)
        psi, stderr = space.to_free(params), fit.param_stderr
        at = Arrival(model, psi, inside, information, prepared.R, found.loglik, stderr)
        return certify(at, lambda at: exact.at_summit(at, prepared, ended, reml))

    assert certificate(found.elements, found.params).holds
    far = found.elements * np.array([1.1, 1.0])
    lambdas = found.charts.factors(far)
    covariances = tuple(found.params.residual_sd**2 * factor @ factor.T for factor in lambdas)
    wrong = certificate(far, found.params._replace(covariances=covariances))
    assert {claim.name for claim in wrong.failing} == {"stationarity", "second opinion"}


def _jacobian(fit) -> np.ndarray:
    psi = fit.model.space.to_free(fit.params)
    return np.diag(fit.model.space.report_jacobian(psi))


def test_a_laplace_end_that_is_none_is_noticed():
    model = lf.compile(lf.design(FORMULA.format("count"), data()), "poisson")
    space, found = model.space, fit_laplace(model)
    psi, inside = space.to_free(found.params), np.ones(model.space.size, bool)
    mode = found.approximation.mode.u
    information = observed_information(model, found.problem, psi, inside, mode).matrix
    value, stderr = found.approximation.value, np.ones(space.size)
    at = Arrival(model, psi, inside, information, model.triangle, value, stderr)
    assert certify(at, lambda at: laplace.approximated(at, found, 1e-6)).holds
    far = found._replace(elements=found.elements * np.array([1.1, 1.0]))
    psi[2] += np.log(1.1)
    wrong = certify(at, lambda at: laplace.approximated(at, far, 1e-6))
    assert "stationarity" in [claim.name for claim in wrong.failing]


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | flat)", "y ~ x + (x | flat) + (1 | g)"])
def test_a_bound_is_certified_by_the_sign_of_the_derivative(formula, reml):
    d = data()
    # Levels whose means are all alike vary less than chance would let them.
    d["y"] -= d.groupby("flat")["y"].transform("mean")
    fit = lf.fit(formula, d, reml=reml)
    assert fit.singular
    assert fit.certificate.holds
    assert "flat" in fit.certificate["boundaries"].words
    assert repr(fit).startswith("Converged, singular (at a boundary: ")
    assert "singular" in str(fit.summary()).splitlines()[0]


def test_a_bound_that_the_likelihood_rises_from_is_noticed():
    model = lf.compile(lf.design("y ~ x + (1 | g)", data()))
    prepared, space = sums(model.design), model.space
    found = fit_exact(prepared, space)
    params = found.params._replace(covariances=(np.zeros((1, 1)),))
    psi, ended = space.to_free(params), found._replace(elements=np.zeros(1), params=params)
    at = Arrival(
        model,
        np.where(np.isfinite(psi), psi, -13.0),
        np.isfinite(psi),
        np.eye(space.size) * 1e3,
        prepared.R,
        found.loglik,
        np.ones(space.size),
    )
    wrong = certify(at, lambda at: exact.at_summit(at, prepared, ended, False))
    assert "boundaries" in [claim.name for claim in wrong.failing]
    assert wrong["boundaries"].names == ("sd(g)",)


def test_what_is_not_determined_is_named():
    d = data(300).assign(again=lambda frame: frame["g"])
    with pytest.warns(lf.LmeFormulaWarning, match="W_ALIASED_GROUP"):
        fit = lf.fit("y ~ x + (1 | g) + (1 | again)", d)
    assert fit.outcome is lf.Outcome.UNIDENTIFIED
    assert set(fit.certificate["curvature"].names) == {"sd(g)", "sd(again)"}
    assert "Concerned: " in str(fit.summary())
    assert "certificate  curvature fails" in str(fit.diagnostics)


@pytest.mark.parametrize("method", ["laplace", "quadrature"])
def test_a_fit_that_came_nowhere_says_so(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere(*given: object) -> None:
        raise np.linalg.LinAlgError

    monkeypatch.setattr("lmeformula.estimation.laplace.start_of", nowhere)
    formula = "incidence | trials(size) ~ period + (1 | herd)"
    fit = lf.fit(formula, lf.datasets.load("cbpp"), "binomial", method=method)
    assert fit.outcome is lf.Outcome.NONFINITE
    assert not fit.certificate.holds
    for found in (fit, lf.load(fit.save(tmp_path / "fit"))):
        assert "nothing was estimated" in found.certificate["density"].words
        assert "became NaN or infinite" in repr(found.summary())
