"""The parameter vector: layout, names, round trips, the reporting scale."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family import NO_OWN
from lmeformula.model.params import param_space
from tests.simulate import FORMULAS, SIGMA, differences, make_design, random_psi

CASES = [(name, sigma) for name in FORMULAS for sigma in (None, 0.7)]


def space_of(name, sigma):
    return param_space(make_design(name), SIGMA if sigma is None else SIGMA.held_at({0: sigma}))


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_round_trip(name, sigma):
    space = space_of(name, sigma)
    psi = random_psi(space, np.random.default_rng(1))
    params = space.to_natural(psi)
    np.testing.assert_allclose(space.to_free(params), psi, rtol=1e-10, atol=1e-12)
    assert params.residual_sd == pytest.approx(np.exp(psi[-1]) if sigma is None else sigma)
    assert space.residual_sd(psi) == params.residual_sd
    for covariance, term in zip(params.covariances, space.terms, strict=True):
        assert covariance.shape == (len(term.columns),) * 2
        assert np.linalg.eigvalsh(covariance)[0] > 0


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_layout(name, sigma):
    space = space_of(name, sigma)
    covered = [*range(space.num_fixed)]
    for place in space.theta_slices:
        covered += range(place.start, place.stop)
    covered += [] if space.own.is_held else [space.size - 1]
    assert covered == list(range(space.size))
    assert len(space.names) == len(set(space.names)) == space.size
    assert space.held_sd == sigma
    assert (sigma is None) == (space.names[-1] == "sigma")


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_report(name, sigma):
    space = space_of(name, sigma)
    psi = random_psi(space, np.random.default_rng(2))
    params, report = (
        space.to_natural(psi),
        dict(zip(space.names, space.to_report(psi), strict=True)),
    )
    for fixed, value in zip(space.fixed_names, params.beta, strict=True):
        assert report[fixed] == value
    for term, covariance in zip(space.terms, params.covariances, strict=True):
        sd = np.sqrt(np.diag(covariance))
        for a, column in enumerate(term.columns):
            for key in (f"sd({term.name}:{column})", f"sd({term.name})"):
                if key in report:
                    assert report[key] == pytest.approx(sd[a])
                    break
            else:
                pytest.fail(f"no sd of {term.name}:{column} in {report}")
            for b in range(a):
                found = report.get(f"cor({term.name}:{term.columns[b]},{column})", 0.0)
                if term.structure.kind in ("cs", "ar1"):
                    apart = a - b if term.structure.kind == "ar1" else 1
                    found = report[f"cor({term.name})"] ** apart
                assert found == pytest.approx(covariance[a, b] / sd[a] / sd[b], abs=1e-12)
    if sigma is None:
        assert report["sigma"] == pytest.approx(params.residual_sd)
    expected = differences(space.to_report, psi).T
    np.testing.assert_allclose(space.report_jacobian(psi), expected, rtol=1e-7, atol=1e-8)


NAMES = [
    ("crossed", ("Intercept", "x", "sd(g)", "sd(h)", "sigma")),
    ("nested", ("Intercept", "x", "sd(h)", "sd(c:h)", "sigma")),
    (
        "two columns",
        ("Intercept", "x", "sd(g:Intercept)", "sd(g:x)", "cor(g:Intercept,x)", "sigma"),
    ),
    ("slopes apart", ("Intercept", "x", "sd(g)", "sd(g.1:x)", "sd(h)", "sigma")),
    ("one variance", ("Intercept", "x", "sd(g)", "sigma")),
    (
        "one correlation",
        ("Intercept", "x", "sd(g:Intercept)", "sd(g:x)", "sd(g:z)", "cor(g)", "sigma"),
    ),
    ("autoregressive", ("Intercept", "x", "sd(h)", "sd(g)", "cor(g)", "sigma")),
    ("no fixed effects", ("sd(g)", "sd(h)", "sigma")),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names(name, expected):
    assert space_of(name, None).names == expected


def test_a_family_without_sigma_has_none():
    space = param_space(make_design("crossed"), NO_OWN)
    assert "sigma" not in space.names
    assert space.held_sd is None
    assert space.to_natural(np.zeros(space.size)).own.size == 0


def test_zero_sd_becomes_minus_infinity():
    space = space_of("crossed", None)
    params = lf.model.Params(np.zeros(2), (np.array([[0.0]]), np.array([[4.0]])), np.ones(1))
    psi = space.to_free(params)
    assert psi.tolist() == [0.0, 0.0, -np.inf, np.log(2.0), 0.0]
    assert space.to_natural(psi).covariances[0] == 0.0
    assert space.to_report(psi).tolist() == pytest.approx([0.0, 0.0, 0.0, 2.0, 1.0])
