"""Exact fits: published values, the definition, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import lmeformula as lf
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.information import average_information, observed_information
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.likelihood.singular import is_singular
from tests.reference.read import DEVIANCE, IN_STDERR, gaussian_references, model_of, ours
from tests.simulate import (
    FORMULAS,
    dense,
    dense_log_likelihood,
    differences,
    frame,
    make_design,
    marginal_covariance,
    random_psi,
)

REFERENCES = gaussian_references()
_FITS: dict[str, lf.Fit] = {}


def exact(id: str) -> lf.Fit:
    """The exact fit of a reference model, made once."""
    if id not in _FITS:
        _FITS[id] = lf.estimate(model_of(id), method="exact", reml=REFERENCES[id].reml)
    return _FITS[id]


# ---- published values


@pytest.mark.parametrize("id", REFERENCES)
def test_deviance_is_lme4s(id):
    fit, reference = exact(id), REFERENCES[id]
    assert fit.converged
    assert (fit.nobs, fit.loglik.df) == (reference.nobs, reference.df)
    # Never worse; better by no more than lme4's optimiser left.
    assert fit.deviance == pytest.approx(-2 * reference.loglik, abs=DEVIANCE)


@pytest.mark.parametrize("id", REFERENCES)
def test_fixed_effects_are_lme4s(id):
    fit, reference = exact(id), REFERENCES[id]
    for name, value in reference.fixed.items():
        assert abs(fit.fixef[name] - value) < IN_STDERR * reference.stderr[name]
        assert fit.stderr[name] == pytest.approx(reference.stderr[name], rel=1e-3)


@pytest.mark.parametrize("id", REFERENCES)
def test_standard_deviations_and_correlations_are_lme4s(id):
    fit, reference = exact(id), REFERENCES[id]
    names, values = list(fit.param_names), dict(zip(fit.param_names, fit.param_values, strict=True))
    stderr = dict(zip(names, fit.param_stderr, strict=True))
    terms = {
        term.name: covariance
        for term, covariance in zip(fit.model.design.terms, fit.params.covariances, strict=True)
    }
    assert set(terms) == {component.group for component in reference.components}
    for group, columns, sd, correlations in reference.components:
        bare = columns == ("Intercept",)
        for a, column in enumerate(columns):
            name = f"sd({group})" if bare else f"sd({group}:{column})"
            if sd[a] == 0.0:
                assert values[name] == 0.0
            else:
                assert abs(values[name] - sd[a]) < IN_STDERR * stderr[name]
                assert values[name] == pytest.approx(sd[a], rel=1e-3)
            assert np.sqrt(terms[group][a, a]) == pytest.approx(values[name], abs=1e-12)
        for value in correlations:
            name = f"cor({group}:{columns[0]},{columns[1]})"
            assert abs(values[name] - value) < IN_STDERR * stderr[name]
    assert fit.sigma == pytest.approx(reference.sigma, rel=1e-4)
    assert values["sigma"] == pytest.approx(fit.sigma, rel=1e-14)


@pytest.mark.parametrize("id", REFERENCES)
def test_conditional_modes_are_lme4s(id):
    fit, reference = exact(id), REFERENCES[id]
    found = fit.ranef().set_index(["group", "level", "term"])
    for group, levels, columns, values in reference.modes:
        expected = dict(
            zip([(group, level, c) for level in levels for c in columns], values, strict=True)
        )
        assert len(expected) >= 5
        for key, value in expected.items():
            row = found.loc[key]
            assert abs(row["value"] - value) <= IN_STDERR * row["sd"] + 1e-12


@pytest.mark.parametrize("id", REFERENCES)
def test_fitted_values_are_lme4s(id):
    fit, reference = exact(id), REFERENCES[id]
    head = fit.fitted().to_numpy()[: len(reference.fitted)]
    np.testing.assert_allclose(head, reference.fitted, atol=IN_STDERR * fit.sigma)


def test_all_estimators_and_shapes_are_among_the_references():
    assert {reference.reml for reference in REFERENCES.values()} == {True, False}
    assert {"insteval-ml", "dyestuff2-singular-ml"} <= set(REFERENCES)
    assert ours("(Intercept)") == "Intercept"


def test_a_variance_on_the_boundary_is_zero_and_flagged():
    fit = exact("dyestuff2-singular-ml")
    assert fit.singular
    assert fit.converged
    assert fit.params.covariances[0][0, 0] == 0.0
    assert not fit.modes[0].any()
    assert not fit.mode_cov[0].any()
    place = fit.param_names.index("sd(Batch)")
    assert np.isnan(fit.param_stderr[place])
    assert np.isfinite(np.delete(fit.param_stderr, place)).all()
    # Without the term this is the mean, with its usual standard error.
    y = fit.model.design.y
    assert fit.fixef["Intercept"] == pytest.approx(y.mean(), rel=1e-14)
    assert fit.stderr["Intercept"] == pytest.approx(y.std() / np.sqrt(len(y)), rel=1e-12)


@pytest.mark.parametrize("id", [i for i in REFERENCES if "singular" not in i])
def test_the_others_are_not_singular(id):
    assert not exact(id).singular


# ---- the definition

INSIDE = [name for name in FORMULAS if name not in ("three columns rest", "three columns lead")]


@pytest.mark.parametrize("sigma", [None, 0.7])
@pytest.mark.parametrize("name", FORMULAS)
def test_no_better_point_nearby_by_the_dense_likelihood(name, sigma):
    model = lf.compile(make_design(name), sigma=sigma)
    found = fit_exact(sums(model.design), model.space)
    assert found.converged
    assert found.loglik == pytest.approx(
        dense_log_likelihood(model.design, found.params), rel=1e-11
    )
    if found.singular:
        return  # log sds are not defined there; see the next test
    psi = model.space.to_free(found.params)
    slope = differences(
        lambda at: dense_log_likelihood(model.design, model.space.to_natural(at)), psi, 1e-4
    )
    # A slope s gains s^2 / information: below 1e-8 everywhere, with differences good to 1e-6.
    information = observed_information(sums(model.design), model.space, psi, np.isfinite(psi))
    assert slope @ np.linalg.solve(information, slope) < 1e-8


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", ["crossed", "two columns", "three columns rest", "weights"])
def test_maximum_is_that_of_a_derivative_free_search(name, reml):
    model = lf.compile(make_design(name))
    design, found = model.design, fit_exact(sums(model.design), model.space, reml=reml)
    matrices = dense(design)
    shapes = [len(term.columns) for term in design.terms]

    def deviance(flat):
        factors, start = [], 0
        for k in shapes:
            factor = np.zeros((k, k))
            size = k * (k + 1) // 2
            factor[np.tril_indices(k)] = flat[start : start + size]
            factors.append(factor)
            start += size
        scaled = matrices.Z @ matrices.spread(design, tuple(factors))
        V = scaled @ scaled.T + np.diag(1 / matrices.W)
        inverse = np.linalg.inv(V)
        XVX = design.X.T @ inverse @ design.X
        residual = design.y - design.X @ np.linalg.solve(XVX, design.X.T @ inverse @ design.y)
        freedom = design.n - len(XVX) if reml else design.n
        variance = residual @ inverse @ residual / freedom
        value = np.linalg.slogdet(V)[1] + freedom * (np.log(2 * np.pi * variance) + 1)
        return value + (np.linalg.slogdet(XVX)[1] if reml else 0.0)

    flat = np.concatenate(
        [
            np.linalg.cholesky(c + 1e-14 * np.eye(len(c)))[np.tril_indices(len(c))]
            for c in found.params.covariances
        ]
    )
    start = flat / found.params.residual_sd
    # lme4's REML constant differs from this by nothing: both keep log |X'V^-1 X|.
    assert -2 * found.loglik == pytest.approx(deviance(start), abs=1e-7)
    best = minimize(
        deviance,
        start * 1.1 + 0.05,
        method="Powell",
        options={"xtol": 1e-7, "ftol": 1e-13, "maxiter": 40},
    )
    assert -2 * found.loglik <= best.fun + 1e-7


@pytest.mark.parametrize("name", INSIDE)
def test_observed_information(name):
    model = lf.compile(make_design(name))
    data, space = sums(model.design), model.space
    psi = space.to_free(fit_exact(data, space).params)
    free = np.isfinite(psi)
    psi = np.where(free, psi, -12.0)
    found = observed_information(data, space, psi, free)
    expected = -differences(lambda at: log_likelihood(data, space, at)[1], psi)
    expected[~free] = expected[:, ~free] = 0.0
    # Central differences in steps of 1e-5 leave 1e-10 of the fourth derivatives, and 1e-8 of rounding.
    scale = max(1.0, np.diag(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-6 * scale, rtol=1e-6)
    at = [log_likelihood(data, space, psi)[2], None]
    ours, again = (observed_information(data, space, psi, free, solution) for solution in at)
    np.testing.assert_allclose(ours, again, rtol=1e-12)
    np.testing.assert_allclose(found, found.T, rtol=1e-14)


@pytest.mark.parametrize("name", ["crossed", "two columns rest", "diagonal", "weights"])
def test_average_information_is_between_observed_and_expected(name):
    """By the definition: r'V^-1 V_i V^-1 V_j V^-1 r / 2, with V_i by differences."""
    model = lf.compile(make_design(name))
    data, space = sums(model.design), model.space
    psi = random_psi(space, np.random.default_rng(8))
    _, _, solution = log_likelihood(data, space, psi)
    found = average_information(data, space, psi, solution)
    params, p = space.to_natural(psi), space.num_fixed
    inverse = np.linalg.inv(marginal_covariance(model.design, params))
    residual = model.design.y - model.design.X @ params.beta - model.design.offset
    changes = differences(lambda at: marginal_covariance(model.design, space.to_natural(at)), psi)[
        p:
    ]
    pulled = changes @ (inverse @ residual)
    np.testing.assert_allclose(
        found[p:, p:], 0.5 * pulled @ inverse @ pulled.T, rtol=1e-6, atol=1e-6
    )
    fixed = model.design.X.T @ inverse @ model.design.X
    np.testing.assert_allclose(found[:p, :p], fixed, rtol=1e-9, atol=1e-9)
    assert not found[:p, p:].any()


@pytest.mark.parametrize("name", FORMULAS)
def test_conditional_distribution_and_fixed_covariance(name):
    model = lf.compile(make_design(name))
    data = sums(model.design)
    found = fit_exact(data, model.space)
    params, design = found.params, model.design
    modes, covariances = conditional(found.solution, params.residual_sd)
    V = marginal_covariance(design, params)
    matrices = dense(design)
    prior = matrices.spread(design, params.covariances)
    pull = prior @ matrices.Z.T @ np.linalg.inv(V)
    residual = design.y - design.offset - design.X @ params.beta
    spread = prior - pull @ matrices.Z @ prior
    flat = np.concatenate([part.ravel() for part in modes])
    np.testing.assert_allclose(flat, pull @ residual, atol=1e-9)
    start = 0
    for covariance in covariances:
        levels, k, _ = covariance.shape
        square = spread[start : start + levels * k, start : start + levels * k]
        blocks = square.reshape(levels, k, levels, k)[np.arange(levels), :, np.arange(levels), :]
        np.testing.assert_allclose(covariance, blocks, atol=1e-10)
        start += levels * k
    expected = np.linalg.inv(design.X.T @ np.linalg.inv(V) @ design.X)
    np.testing.assert_allclose(
        fixed_covariance(data, found.solution, params.residual_sd), expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("diagonal", "singular"),
    [((1.0,), False), ((0.0,), True), ((1.0, 1e-5), True), ((1e-3, 2.0), False)],
)
def test_is_singular(diagonal, singular):
    assert is_singular(np.diag(diagonal)) is singular


# ---- what must not change an answer

# The optimiser ends within 1e-9 of the maximum: parameters within the root of that, in standard errors.
SAME = {"rel": 1e-4, "abs": 1e-6}


def by_name(fit: lf.Fit) -> dict[str, float]:
    return dict(zip(fit.param_names, fit.param_values, strict=True))


def fitted(formula: str, data, **options) -> lf.Fit:
    return lf.fit(formula, data, method="exact", **options)


@pytest.mark.parametrize("name", ["crossed", "two columns rest", "weights", "offset"])
def test_order_of_rows(name):
    data, order = frame(), np.random.default_rng(9).permutation(72)
    plain = fitted(FORMULAS[name], data)
    moved = fitted(FORMULAS[name], {key: column[order] for key, column in data.items()})
    assert by_name(moved) == pytest.approx(by_name(plain), **SAME)
    assert moved.deviance == pytest.approx(plain.deviance, abs=1e-8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | h) + (1 | g)"),
        ("y ~ x + (z | g) + (x | h)", "y ~ x + (x | h) + (z | g)"),
        ("y ~ x + z + (1 | g)", "y ~ (1 | g) + z + x"),
    ],
)
def test_order_of_terms(one, other):
    first, second = fitted(one, frame()), fitted(other, frame())
    assert by_name(second) == pytest.approx(by_name(first), **SAME)
    assert second.deviance == pytest.approx(first.deviance, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e3, -1e9])
@pytest.mark.parametrize("name", ["crossed", "two columns"])
def test_scale_of_the_response(name, scale):
    data = frame()
    plain = fitted(FORMULAS[name], data)
    scaled = fitted(FORMULAS[name], {**data, "y": scale * data["y"]})
    for parameter, value in by_name(plain).items():
        factor = 1.0 if "cor(" in parameter else scale
        if "sd(" in parameter or parameter == "sigma":
            factor = abs(scale)
        assert by_name(scaled)[parameter] == pytest.approx(factor * value, rel=1e-4)
    assert scaled.loglik.value == pytest.approx(
        plain.loglik.value - 72 * np.log(abs(scale)), abs=1e-6
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_a_slopes_column(scale):
    data = frame()
    plain = fitted("y ~ x + (x | g)", data)
    scaled = fitted("y ~ x + (x | g)", {**data, "x": scale * data["x"]})
    assert scaled.deviance == pytest.approx(plain.deviance, abs=1e-6)
    assert by_name(scaled)["sd(g:x)"] == pytest.approx(by_name(plain)["sd(g:x)"] / scale, rel=1e-4)
    assert by_name(scaled)["cor(g:Intercept,x)"] == pytest.approx(
        by_name(plain)["cor(g:Intercept,x)"], abs=1e-4
    )


def test_an_offset_is_subtracted():
    data = frame()
    with_offset = fitted("y ~ x + offset(o) + (1 | g)", data)
    by_hand = fitted("y ~ x + (1 | g)", {**data, "y": data["y"] - data["o"]})
    assert by_name(with_offset) == pytest.approx(by_name(by_hand), rel=1e-10)
    as_argument = fitted("y ~ x + (1 | g)", data, offset="o")
    assert by_name(as_argument) == pytest.approx(by_name(with_offset), rel=1e-12)


def test_equal_weights_scale_sigma_alone():
    data = frame()
    plain = fitted("y ~ x + (1 | g)", data)
    weighted = fitted("y ~ x + (1 | g)", data, weights=np.full(72, 4.0))
    expected = {**by_name(plain), "sigma": 2.0 * plain.sigma}
    assert by_name(weighted) == pytest.approx(expected, **SAME)
    assert weighted.deviance == pytest.approx(plain.deviance, abs=1e-8)


def test_sigma_can_be_fixed():
    data = frame()
    free = fitted("y ~ x + (1 | g) + (1 | h)", data)
    at_estimate = fitted("y ~ x + (1 | g) + (1 | h)", data, sigma=free.sigma)
    expected = {name: value for name, value in by_name(free).items() if name != "sigma"}
    assert by_name(at_estimate) == pytest.approx(expected, **SAME)
    assert at_estimate.loglik.df == free.loglik.df - 1
    elsewhere = fitted("y ~ x + (1 | g) + (1 | h)", data, sigma=2.0)
    assert elsewhere.sigma == 2.0
    assert elsewhere.deviance > free.deviance
