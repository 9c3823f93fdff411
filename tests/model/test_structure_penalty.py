"""Priors of what structures have of their own, against dense densities written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

import lmeformula as lf
from lmeformula.errors import ModelError

TIMES = np.array([0.0, 1.0, 2.5, 3.0, 4.5])
LEVELS, K = 24, len(TIMES)
DISTANCES = np.abs(TIMES[:, None] - TIMES)
STEPS = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))


def made() -> pd.DataFrame:
    """Two rows for each of five times of 24 levels, whose correlations fall with the time between."""
    random = np.random.default_rng(5)
    root = 2.0 * np.linalg.cholesky(np.exp(-DISTANCES / 2.0))
    y = np.array([root @ random.normal(size=K) for _ in range(LEVELS)])
    y = 10.0 + y[:, None, :] + random.normal(size=(LEVELS, 2, K))
    return pd.DataFrame(
        {
            "s": np.repeat(np.arange(LEVELS), 2 * K).astype(str),
            "arm": np.repeat(["p", "q"], LEVELS * K),
            "t": np.tile(TIMES, 2 * LEVELS),
            "v": np.tile(np.arange(K).astype(str), 2 * LEVELS),
            "y": y.ravel(),
        }
    )


ROWS = made()


def matern(distance: np.ndarray, length: float, smoothness: float) -> np.ndarray:
    x = np.where(distance > 0.0, distance / length, 1.0)
    found = 2.0 ** (1.0 - smoothness) / special.gamma(smoothness) * x**smoothness
    return np.where(distance > 0.0, found * special.kv(smoothness, x), 1.0)


def between(density, least):
    return lambda r: density.logpdf(r) - np.log(density.cdf(1.0) - density.cdf(least))


GAMMA = stats.gamma(20, scale=1.0 / 20)
# The term, priors, reported parameters besides the sd -> correlations, and the log density of their priors.
CASES = {
    "ar1": (
        "ar1(0 + v | s)",
        {"cor(s)": "normal(0.1, 0.1)"},
        lambda r: r[0] ** STEPS,
        lambda r: between(stats.norm(0.1, 0.1), -1.0)(r[0]),
    ),
    "cs": (
        "homcs(0 + v | s)",
        {"cor": "lkj(5)"},
        lambda r: np.where(STEPS == 0, 1.0, r[0]),
        lambda r: 4.0 * np.log1p(-(r[0] ** 2)) - np.log(LKJ_MASS),
    ),
    "ou": (
        "ou(0 + t | s)",
        {"range(s)": "gamma(20, 20)"},
        lambda r: np.exp(-DISTANCES / r[0]),
        lambda r: GAMMA.logpdf(r[0]),
    ),
    "toep": (
        "homtoep(0 + v | s)",
        {"cor(s:lag 1)": "normal(0.1, 0.1)", "cor(s:lag 4)": "student(4, 0.3, 0.1)"},
        lambda r: np.concatenate([[1.0], r])[STEPS],
        lambda r: (
            between(stats.norm(0.1, 0.1), -1.0)(r[0]) + between(stats.t(4, 0.3, 0.1), -1.0)(r[3])
        ),
    ),
    "mat": (
        "mat(0 + t | s)",
        {"range": "gamma(20, 20)", "smoothness(s)": "gamma(20, 20)"},
        lambda r: matern(DISTANCES, r[0], r[1]),
        lambda r: GAMMA.logpdf(r).sum(),
    ),
}
GRID = np.linspace(-0.25, 1.0, 20001)
LKJ_MASS = np.trapezoid((1.0 - GRID**2) ** 4, GRID)


@pytest.mark.parametrize("name", CASES)
def test_no_place_is_higher(name):
    term, priors, correlations, prior = CASES[name]
    fit = lf.fit(f"y ~ 1 + {term}", ROWS, priors=priors)
    assert fit.converged
    assert fit.certificate.holds
    y = ROWS["y"].to_numpy().reshape(LEVELS, 2 * K)

    def density(values):
        covariance = values[1] ** 2 * np.kron(np.ones((2, 2)), correlations(values[2:-1]))
        covariance += values[-1] ** 2 * np.eye(2 * K)
        rows = stats.multivariate_normal(np.full(2 * K, values[0]), covariance)
        return rows.logpdf(y).sum() + prior(values[2:-1])

    at, errors = fit.param_values, fit.param_stderr
    assert density(at) == pytest.approx(fit.log_posterior, abs=1e-5)

    # In units of standard errors the slope is none, and the information the identity on its diagonal's inverse.
    def scaled(z):
        return -density(at + errors * z)

    nowhere = np.zeros(len(at))
    slope = optimize.approx_fprime(nowhere, scaled, 1e-5)
    assert np.abs(slope).max() < 1e-3
    hessian = np.array(
        [
            (
                optimize.approx_fprime(1e-3 * one, scaled, 1e-5)
                - optimize.approx_fprime(-1e-3 * one, scaled, 1e-5)
            )
            / 2e-3
            for one in np.eye(len(at))
        ]
    )
    inverse = np.linalg.inv(0.5 * (hessian + hessian.T))
    np.testing.assert_allclose(np.sqrt(np.diag(inverse)), 1.0, rtol=0.02)


def test_what_blocks_have_of_their_own():
    """Nothing but priors tells sds and correlations of ten levels apart, and so near is each to its mode."""
    priors = {"cor": "normal(0.5, 0.001)", "sd": "lognormal(0.7, 0.001)"}
    fit = lf.fit("y ~ 1 + hetar1(0 + v | gr(s, by = arm))", ROWS, priors=priors)
    cors = [fit.param_values[i] for i, n in enumerate(fit.param_names) if n.startswith("cor(")]
    sds = [fit.param_values[i] for i, n in enumerate(fit.param_names) if n.startswith("sd(")]
    assert cors == pytest.approx([0.5] * 2, abs=1e-3)
    assert sds == pytest.approx([np.exp(0.7)] * len(sds), rel=1e-3)
    assert set(fit.priors["prior"]) == {"flat", *priors.values()}


@pytest.mark.parametrize("name", ["ar1", "ou", "toep"])
def test_what_is_drawn_from_has_the_same_density(name):
    """By nuts it is of the joint distribution's values, with the volume of what is reported in them."""
    from lmeformula.sampling.nuts.coordinates import Coordinates
    from lmeformula.sampling.nuts.log_prior import log_prior

    term, priors, _, prior = CASES[name]
    model = lf.compile(lf.design(f"y ~ 1 + {term}", ROWS), priors=priors)
    covariance = np.concatenate([[1.0], np.exp(-TIMES[1:] / 3.0)])[STEPS]
    covariance = np.exp(-DISTANCES / 3.0) if name == "ou" else covariance
    coordinates = Coordinates(model, model.start._replace(covariances=(covariance,)))
    random = np.random.default_rng(1)
    moved = coordinates.start + 0.2 * random.normal(size=len(coordinates.start))
    found, reported = [], []
    name_of = coordinates.terms[0].correlation
    free = next(block.place for block in coordinates.blocks if block.name == name_of)
    step = 1e-5 * np.eye(len(moved))[free]
    for at in (moved, *(moved + each for each in step), *(moved - each for each in step)):
        natural, _ = coordinates.natural(np.asarray(at)[:, None])
        found.append(float(log_prior(coordinates)(natural)[0]))
        values = model.space.to_report(coordinates.to_psi(at[None])[0])
        own = natural[name_of].numpy().ravel()
        reported.append((values[2:-1], own))
    count = len(step)
    changes = np.array([reported[1 + i][0] - reported[1 + count + i][0] for i in range(count)])
    in_own = np.array([reported[1 + i][1] - reported[1 + count + i][1] for i in range(count)])
    volume = np.linalg.slogdet(np.linalg.solve(in_own, changes))[1]
    assert found[0] == pytest.approx(prior(reported[0][0]) + volume, abs=1e-6)


REFUSED = [
    ({"cor(s)": "gamma(2, 1)"}, "which is a correlation"),
    ({"cor(s)": "wishart()"}, "which is a correlation"),
    ({"cov(s)": "wishart()"}, "covariance matrix"),
    ({"range(s)": "gamma(2, 1)"}, "no parameter"),
]


@pytest.mark.parametrize(("priors", "words"), REFUSED)
def test_other_priors_are_refused(priors, words):
    with pytest.raises(ModelError, match=words):
        lf.fit("y ~ 1 + ar1(0 + v | s)", ROWS, priors=priors)


def test_draws_do_not_know_every_structure():
    with pytest.raises(ModelError, match="Matern"):
        lf.fit("y ~ 1 + mat(0 + t | s)", ROWS, priors={"range": "gamma(2, 1)"}, method="nuts")


def test_priors_of_structures_are_kept(tmp_path):
    priors = {"cor(s)": "lkj(2)"}
    fit = lf.fit("y ~ 1 + ar1(0 + v | s)", ROWS, priors=priors)
    again = lf.load(fit.save(tmp_path / "fit"))
    assert again.model.priors == fit.model.priors
    assert again.log_posterior == fit.log_posterior
    assert "LKJ(2)" in str(fit.model.equation())
    longer = fit.update(". ~ . + t")
    assert longer.model.priors.given == priors
