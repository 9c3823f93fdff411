"""Averages over effects: against dense integrals, draws from the posterior, and what was observed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats

import lmeformula as lf
from lmeformula.checking.calibration import calibration
from lmeformula.checking.leave_one_out import leave_one_out
from lmeformula.prediction.averaged import averaged_over
from tests.prediction.truth import RESPONSES, responses, true_data

GRID = np.linspace(-9.0, 9.0, 3001)


def rare(seed: int, levels: int, rows: int, mean: float = -2.2, sd: float = 0.9) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), rows)
    eta = mean + r.normal(0, sd, levels)[g]
    y = (r.random(len(g)) < scipy.special.expit(eta)).astype(int)
    return pd.DataFrame({"y": y, "g": [f"g{i}" for i in g]})


def test_averages_of_rare_events_are_integrals_over_the_posterior():
    """The parameters taken as known, each level's mean chance against the trapezoidal rule on a fine grid."""
    frame = rare(3, 80, 12, sd=1.6)
    fit = lf.fit("y ~ 1 + (1 | g)", frame, "bernoulli", method="laplace")
    known = _known(fit)
    sd, eta = fit.varcorr.terms[0].sd[0], fit.fixef.iloc[0] + fit.varcorr.terms[0].sd[0] * GRID
    ones = frame.groupby("g", sort=False)["y"].sum()
    logs = -0.5 * GRID**2 + ones.to_numpy()[:, None] * scipy.special.log_expit(eta)
    logs += (12 - ones.to_numpy())[:, None] * scipy.special.log_expit(-eta)
    mass = np.exp(logs - logs.max(axis=1, keepdims=True))
    right = (mass @ scipy.special.expit(eta)) / mass.sum(axis=1)
    found = known.predict(averaged=True).groupby(frame["g"], sort=False).first()
    np.testing.assert_allclose(found, right, rtol=1e-8)
    # Without each row in turn, as well.
    left = leave_one_out(known)
    y = frame["y"].to_numpy()
    for row in (0, 13, int(np.argmax(y)), 500):
        without = logs[row // 12] - scipy.special.log_expit(eta if y[row] else -eta)
        share = np.exp(without - without.max())
        share /= share.sum()
        chance = sum(w[row] * scipy.special.expit(at[0, row]) for at, w in left.points())
        assert chance == pytest.approx(share @ scipy.special.expit(eta), rel=1e-6)
        assert left.eta[0, row] == pytest.approx(share @ eta, rel=1e-6)
    assert sd > 1.0


def _known(fit: lf.Fit) -> lf.Fit:
    """The fit, its fixed effects and own parameters taken as known."""
    from dataclasses import replace

    size, p = len(fit.param_names), len(fit.fixef)
    return replace(fit, fixed_vcov=np.zeros((p, p)), param_vcov=np.zeros((size, size)))


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)"])
@pytest.mark.parametrize("family", ["bernoulli", "poisson", "cumulative"])
def test_averages_of_two_effects_are_integrals(formula, family):
    """Intercepts and slopes of five rows a level: a grid of 401 x 401 points of the two."""
    r = np.random.default_rng(8)
    g, x = np.repeat(np.arange(60), 5), r.normal(size=300)
    b = r.normal(size=(60, 2)) * [1.2, 0.8]
    eta = -0.7 + b[g, 0] + b[g, 1] * x
    y = responses(family, eta, np.ones(300), r)
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in g]})
    fit = lf.fit(formula, frame, family, method="laplace")
    known = _known(fit)
    kind = "prob" if family == "cumulative" else "response"
    found = np.asarray(known.predict(averaged=True, kind=kind), float).reshape(300, -1)
    blocks = fit.params.covariances
    covariance = blocks[0] if len(blocks) == 1 else np.diag([c[0, 0] for c in blocks])
    root = np.linalg.cholesky(covariance + 1e-14 * np.eye(2))
    z = np.linspace(-7.0, 7.0, 401)
    points = np.stack(np.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2)
    effects = points @ root.T
    base = fit.model.design.X @ fit.params.beta
    mean = fit.model.family.probabilities if kind == "prob" else fit.model.family.mean
    codes = np.asarray(y.codes) if family == "cumulative" else np.asarray(y)
    for level in (0, 7, 31):
        rows = np.flatnonzero(g == level)
        etas = base[rows, None] + effects[:, 0] + x[rows, None] * effects[:, 1]
        logs = -0.5 * (points**2).sum(axis=1)
        for row, at in zip(rows, etas, strict=True):
            if family == "bernoulli":
                logs = logs + scipy.special.log_expit(at if codes[row] else -at)
            elif family == "poisson":
                logs = logs + codes[row] * at - np.exp(at)
            else:
                logs = logs + np.log(mean(at, fit.params.own)[:, codes[row]] + 1e-300)
        mass = np.exp(logs - logs.max())
        mass /= mass.sum()
        for row, at in zip(rows, etas, strict=True):
            right = mass @ np.asarray(mean(at, fit.params.own)).reshape(len(mass), -1)
            np.testing.assert_allclose(found[row], right, rtol=1e-5)


@cache
def crossed() -> tuple[lf.Fit, pd.DataFrame]:
    r = np.random.default_rng(5)
    g, h = r.integers(0, 12, 150), r.integers(0, 8, 150)
    eta = -1.6 + r.normal(0, 1.0, 12)[g] + r.normal(0, 0.7, 8)[h]
    y = (r.random(150) < scipy.special.expit(eta)).astype(int)
    frame = pd.DataFrame({"y": y, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h]})
    return lf.fit("y ~ 1 + (1 | g) + (1 | h)", frame, "bernoulli", method="laplace"), frame


def test_averages_of_crossed_effects_are_near_those_of_the_posterior():
    """Against 200,000 draws, weighted: a normal distribution about the mode is five times as far off."""
    fit, _ = crossed()
    known = _known(fit)
    found = known.predict(averaged=True).to_numpy()
    from lmeformula.prediction.posterior import posterior_draws

    drawn = posterior_draws(fit, 200_000, seed=1).effects
    design = fit.model.design
    y = design.y
    eta = np.full((200_000, design.n), fit.fixef.iloc[0])
    logs = np.zeros(200_000)
    for block, effects, covariance, modes in zip(
        design.terms, drawn, fit.params.covariances, fit.modes, strict=True
    ):
        eta += effects[:, block.index, 0]
        logs -= 0.5 * (effects[..., 0] ** 2).sum(axis=1) / covariance[0, 0]
        assert len(modes) == effects.shape[1]
    logs += (y * eta - np.logaddexp(0.0, eta)).sum(axis=1)
    # The density of the draws: normal about the modes, with the precision there.
    away = np.hstack([d[..., 0] - m[:, 0] for d, m in zip(drawn, fit.modes, strict=True)])
    precision = np.linalg.inv(np.cov(away.T))
    logs += 0.5 * np.einsum("mi,ij,mj->m", away, precision, away)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    effective = 1.0 / (weights**2).sum()
    chance = scipy.special.expit(eta)
    right = weights @ chance
    assert effective > 20_000
    noise = np.sqrt((weights**2) @ (chance - right) ** 2)
    off = np.abs(found - right) / right
    plain = known.predict(kind="link").to_numpy()
    link = known.predict(kind="link", interval="confidence")
    sds = (link["upper"] - link["estimate"]).to_numpy() / 1.959964
    z, w = np.polynomial.hermite_e.hermegauss(41)
    about_mode = scipy.special.expit(plain + z[:, None] * sds).T @ (w / w.sum())
    worse = np.abs(about_mode - right) / right
    assert (5 * noise / right).max() < 0.02
    assert off.max() < 0.03
    assert off.mean() < 0.2 * worse.mean()


@pytest.mark.parametrize("family", RESPONSES)
def test_averages_over_new_levels_are_integrals_whatever_the_link_is_called(family):
    """Means and chances of a level that was not seen, against the trapezoidal rule over its effect."""
    from lmeformula.family import family as find_family
    from lmeformula.model.params import Params
    from tests.prediction.fakes import fake_fit

    formula, frame = true_data(family, 1, levels=20, rows=10)
    model = lf.compile(lf.design(formula, frame), find_family(family))
    own = model.space.own.start
    beta = np.array([0.2, 0.5])[-len(model.design.names) :]
    params = Params(beta, (np.array([[1.44]]),), own)
    fit = fake_fit(
        model=model,
        params=params,
        modes=(np.zeros((20, 1)),),
        mode_cov=(np.full((20, 1, 1), 0.1),),
        method="exact" if model.family.is_normal else "laplace",
        param_names=model.space.names,
        fixed_vcov=np.zeros((len(beta), len(beta))),
    )
    new = pd.DataFrame({"x": [-1.0, 0.0, 2.0], "g": "new", "size": 5})
    eta = model.design.rebuild(new).X @ beta
    weights = np.exp(-0.5 * GRID**2) / np.exp(-0.5 * GRID**2).sum()
    for kind in ("response", *(["prob"] if model.family.categories is not None else [])):
        work = model.family.mean if kind == "response" else model.family.probabilities
        at = (eta[:, None] + 1.2 * GRID).reshape(-1)
        each = np.asarray(work(at, own)).reshape(3, len(GRID), -1)
        right = np.einsum("ngc,g->nc", each, weights)
        found = np.asarray(fit.predict(new, kind=kind, new_levels="sample"), float)
        np.testing.assert_allclose(found.reshape(3, -1), right, rtol=2e-7)


@pytest.mark.parametrize("sd", [3.0, 6.0])
def test_averages_over_effects_that_vary_much_are_integrals(sd):
    frame = rare(1, 100, 8, mean=0.5, sd=sd)
    fit = lf.fit("y ~ 1 + (1 | g)", frame, "bernoulli", method="laplace")
    at = fit.fixef.iloc[0] + fit.varcorr.terms[0].sd[0] * GRID
    weights = np.exp(-0.5 * GRID**2) / np.exp(-0.5 * GRID**2).sum()
    new = fit.predict(pd.DataFrame({"g": ["new"]}), new_levels="sample").iloc[0]
    assert new == pytest.approx(weights @ scipy.special.expit(at), rel=1e-9)


def test_an_average_without_effects_is_over_the_parameters_alone():
    formula, frame = true_data("poisson", 2)
    fit = lf.fit(formula, frame, "poisson", method="laplace")
    found = fit.predict(re_form="NA", averaged=True)
    X, C = fit.model.design.X, fit.fixed_vcov
    right = np.exp(X @ fit.params.beta + 0.5 * np.einsum("ni,ij,nj->n", X, C, X))
    np.testing.assert_allclose(found, right, rtol=1e-9)


def test_known_and_new_levels_side_by_side():
    formula, frame = true_data("poisson", 3)
    fit = lf.fit(formula, frame, "poisson", method="laplace")
    new = pd.DataFrame({"x": [0.0, 0.0, 0.0], "g": ["g3", "unseen", "g4"]})
    both = fit.predict(new, averaged=True, new_levels="sample")
    apart = [fit.predict(new.iloc[[i]], averaged=True, new_levels="sample") for i in range(3)]
    np.testing.assert_allclose(both, np.concatenate(apart), rtol=1e-12)
    assert averaged_over(
        fit, "response", fit.model.design.rebuild(new), (True,), known=None, new_levels=False
    ).shape == (3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [5, 40])
def test_averages_come_true_in_the_mean(rows):
    """Rare events of 1,500 levels: averages over all rows against what was observed, in binomial errors."""
    z = []
    for seed in range(12):
        frame = rare(seed, 1500, rows)
        fit = lf.fit("y ~ 1 + (1 | g)", frame, "bernoulli", method="laplace")
        mean = frame["y"].mean()
        error = np.sqrt(mean * (1 - mean) / len(frame))
        z.append((fit.predict(averaged=True).mean() - mean) / error)
    # At the maximum of the likelihood averages and observations are equal; Laplace's is a little off.
    assert np.abs(z).max() < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("family", RESPONSES)
def test_calibration_of_true_models_raises_no_more_alarms_than_its_level(family):
    """200 data sets a family: histograms that leave their band, or bins of curves outside their limits.

    Predictions of rows from the others are a little less variable than independent ones: rates are at most
    the level, 5 %, within its binomial error; bins of one data set are taken together, by their scatter.
    """
    alarms = []
    for seed in range(200):
        formula, frame = true_data(family, seed)
        method = "exact" if family == "gaussian" else "laplace"
        found = calibration(lf.fit(formula, frame, family, method=method), seed=seed)
        if found.curves:
            outside = [(c.observed < c.lower) | (c.observed > c.upper) for c in found.curves]
            alarms.append(np.concatenate(outside).mean())
        else:
            outside = (found.heights < found.lower) | (found.heights > found.upper)
            alarms.append(float(outside.any()))
    error = max(np.std(alarms, ddof=1), np.sqrt(0.05 * 0.95) / 3) / np.sqrt(200)
    assert np.mean(alarms) < 0.05 + 4 * error


@pytest.mark.slow
def test_calibration_of_rare_events_is_true():
    """The bins of 1,500 levels of 40 rows: a Laplace fit of a true model."""
    outside = []
    for seed in range(20):
        fit = lf.fit("y ~ 1 + (1 | g)", rare(seed, 600, 40), "bernoulli", method="laplace")
        (curve,) = calibration(fit, seed=seed).curves
        outside.append(((curve.observed < curve.lower) | (curve.observed > curve.upper)).mean())
    assert np.mean(outside) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
