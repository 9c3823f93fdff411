"""Fits in ArviZ's containers, and the draws of the effects that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import lmeformula as lf
from lmeformula.errors import MissingLibraryError, ModelError
from lmeformula.handing import arviz as ours
from lmeformula.prediction.posterior import posterior_draws
from lmeformula.prediction.posterior_draws import APART, JOINT
from tests.prediction.fakes import fake_fit, fake_mcem_fit
from tests.store.fits import CASES, data, fitted

az = pytest.importorskip("arviz")
xarray = pytest.importorskip("xarray")


def dense_posterior(fit: lf.Fit, precisions: np.ndarray) -> np.ndarray:
    """Covariance of all effects, term after term, from the textbook's formula."""
    design = fit.model.design
    blocks, priors = [], []
    for term, covariance in zip(design.terms, fit.params.covariances, strict=True):
        k, levels = len(term.columns), len(term.levels)
        Z = np.zeros((design.n, levels * k))
        for a in range(k):
            Z[np.arange(design.n), term.index * k + a] = term.values[:, a]
        blocks.append(Z)
        priors.append(np.kron(np.eye(levels), np.linalg.inv(covariance)))
    Z = np.hstack(blocks)
    prior = np.zeros((Z.shape[1],) * 2)
    start = 0
    for part in priors:
        stop = start + len(part)
        prior[start:stop, start:stop] = part
        start = stop
    return np.linalg.inv(Z.T @ (precisions[:, None] * Z) + prior)


def assert_covariance(fit: lf.Fit, precisions: np.ndarray, num_draws: int = 20_000) -> None:
    found = posterior_draws(fit, num_draws, seed=1)
    assert found.how == JOINT
    flat = np.hstack([effects.reshape(num_draws, -1) for effects in found.effects])
    means = np.concatenate([modes.ravel() for modes in fit.modes])
    expected = dense_posterior(fit, precisions)
    sds = np.sqrt(np.diag(expected))
    assert np.abs((flat.mean(axis=0) - means) / sds).max() < 5 / np.sqrt(num_draws)
    # The standard error of a covariance of normal draws, each in units of the sds, is at most sqrt(2 / m).
    error = (np.cov(flat.T) - expected) / np.outer(sds, sds)
    assert np.abs(error).max() < 5 * np.sqrt(2.0 / num_draws)


def test_draws_have_the_joint_posterior_of_a_gaussian_fit() -> None:
    fit = fake_fit()
    assert_covariance(fit, np.full(12, 1.0 / 0.5**2))
    assert_covariance(fitted("exact"), np.full(180, 1.0 / fitted("exact").sigma ** 2))


def test_draws_have_the_joint_posterior_of_a_laplace_fit() -> None:
    fit = fitted("bernoulli")
    chance = fit.fitted().to_numpy()
    assert_covariance(fit, chance * (1.0 - chance))


def test_levels_apart_have_their_own_covariances() -> None:
    fit = fake_fit()
    found = posterior_draws(fit, 20_000, 1, jointly=False)
    assert found.how == APART
    for level in range(3):
        cov = np.cov(found.effects[0][:, level].T)
        np.testing.assert_allclose(cov, np.diag([0.04, 0.01]), atol=5 * 0.04 * np.sqrt(2 / 20_000))


def test_what_arviz_gets_of_an_exact_fit() -> None:
    fit = fitted("exact")
    found = fit.to_arviz(num_draws=400, seed=2)
    assert isinstance(found, az.InferenceData)
    assert set(found.groups()) == {
        "posterior",
        "log_likelihood",
        "posterior_predictive",
        "observed_data",
        "constant_data",
    }
    posterior = found["posterior"]
    assert list(posterior) == ["Intercept|Subject", "Days|Subject"]
    assert posterior.attrs["draws"] == JOINT
    assert posterior.attrs["method"] == "exact"
    assert list(posterior["Subject_level"].values) == list(fit.model.design.terms[0].levels)
    days = posterior["Days|Subject"].mean(("chain", "draw")).sel(Subject_level="308")
    table = fit.ranef().query("level == '308' and term == 'Days'").iloc[0]
    assert abs(float(days) - table["value"]) < 5 * table["sd"] / np.sqrt(400)
    np.testing.assert_array_equal(found["observed_data"]["Reaction"], fit.model.design.y)
    np.testing.assert_allclose(found["constant_data"]["fitted"], fit.fitted())
    assert float(found["constant_data"]["fixef"].sel(coefficient="Days")) == fit.fixef["Days"]


def test_log_likelihoods_and_predictions_are_at_the_draws() -> None:
    fit = fitted("exact")
    found = fit.to_arviz(num_draws=200, seed=3)
    draws = posterior_draws(fit, 200, 3).effects[0]
    term = fit.model.design.terms[0]
    eta = fit.predict(re_form="NA").to_numpy() + np.einsum(
        "nk,mnk->mn", term.values, draws[:, term.index]
    )
    expected = scipy.stats.norm.logpdf(fit.model.design.y, eta, fit.sigma)
    np.testing.assert_allclose(found["log_likelihood"]["Reaction"][0], expected)
    noise = (found["posterior_predictive"]["Reaction"][0].values - eta) / fit.sigma
    # 36,000 standard normal numbers
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.std() - 1.0) < 5 / np.sqrt(2 * noise.size)


def test_rows_of_yes_and_no() -> None:
    fit = fitted("bernoulli")
    found = fit.to_arviz(num_draws=50, seed=1)
    draws = posterior_draws(fit, 50, 1).effects[0]
    term = fit.model.design.terms[0]
    eta = fit.predict(re_form="NA", kind="link").to_numpy() + draws[:, term.index, 0]
    y = data()["y"].to_numpy()
    expected = np.where(y, scipy.special.log_expit(eta), scipy.special.log_expit(-eta))
    np.testing.assert_allclose(found["log_likelihood"]["y"][0], expected, atol=1e-12)
    assert set(np.unique(found["posterior_predictive"]["y"])) == {0.0, 1.0}


@pytest.mark.parametrize("name", [name for name in CASES if "mcem" not in name])
def test_every_family(name: str) -> None:
    fit = fitted(name)
    found = fit.to_arviz(num_draws=40)
    n = fit.nobs
    response = fit.model.design.response.name
    for group in ("log_likelihood", "posterior_predictive"):
        assert found[group][response].shape == (1, 40, n)
        assert np.isfinite(found[group][response]).all()
    observed = found["observed_data"][response].values
    simulated = found["posterior_predictive"][response].values
    assert simulated.min() >= 0 or observed.min() < 0 or name == "exact"
    # The mean of 40 * n simulated responses is near that of the n observed ones.
    assert abs(simulated.mean() - observed.mean()) < 5 * observed.std() / np.sqrt(n)


def test_kept_draws_of_a_monte_carlo_fit() -> None:
    fit = fake_mcem_fit()
    posterior = fit.to_arviz(rows=False)["posterior"]
    assert posterior.attrs["draws"] == ours.LAST_ESTEP
    np.testing.assert_array_equal(
        posterior["x|g"].sel(g_level="a").values[0], fit.watched.draws[:, 1]
    )
    assert list(posterior["g_level"].values) == ["a"]  # of b only the intercept was kept
    assert list(posterior["h_level"].values) == ["u", "v"]
    everything = fit.to_arviz(rows=False, watched=False, num_draws=30)["posterior"]
    assert everything.attrs["draws"] == JOINT
    assert everything["Intercept|g"].shape == (1, 30, 3)


def test_draws_of_a_monte_carlo_fit_agree_with_its_means() -> None:
    fit = fitted("bernoulli mcem")
    found = fit.to_arviz(num_draws=100)
    values = found["posterior"]["Intercept|g"]
    assert values.shape == (1, len(fit.watched.draws), 8)
    sd = fit.ranef()["sd"].to_numpy()
    error = values.mean(("chain", "draw")).values - fit.modes[0][:, 0]
    effective = az.ess(found["posterior"])["Intercept|g"].values
    assert np.abs(error / sd * np.sqrt(effective)).max() < 5
    assert found["log_likelihood"].attrs["draws"] == JOINT


def test_a_fit_without_rows(tmp_path: Path) -> None:
    loaded = lf.load(fitted("exact").save(tmp_path / "fit.zip"))
    found = loaded.to_arviz(num_draws=20)
    assert set(found.groups()) == {"posterior", "constant_data"}
    assert found["posterior"].attrs["draws"] == APART


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_arviz_reads_it() -> None:
    found = fitted("exact").to_arviz(num_draws=200)
    summary = az.summary(found, var_names=["Days|Subject"])
    assert len(summary) == 18
    assert np.isfinite(az.loo(found).elpd_loo)


def test_later_versions_get_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(az, "__version__", "1.2.0")
    found = fitted("exact").to_arviz(num_draws=5, rows=False)
    assert isinstance(found, xarray.DataTree)
    assert found["posterior"]["Days|Subject"].shape == (1, 5, 18)


def test_same_seed_same_draws() -> None:
    first, second, other = (
        fitted("exact").to_arviz(num_draws=5, rows=False, seed=s)["posterior"] for s in (1, 1, 2)
    )
    assert first.equals(second)
    assert not first.equals(other)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fitted("exact")
    with pytest.raises(ModelError, match="num_draws is 1"):
        fit.to_arviz(num_draws=1)
    monkeypatch.setattr(ours, "MOST_NUMBERS", 1000)
    with pytest.raises(ModelError, match=r"180 rows times 6 draws.*\n.*num_draws=5"):
        fit.to_arviz(num_draws=6)

    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(MissingLibraryError, match=r"needs ArviZ.*\n.*lmeformula\[arviz\]"):
        fit.to_arviz()


def loo_gain(frame: Any, family: str, seed: int, parameters: str) -> float:
    """What eight columns of noise are said to gain in log density of rows left out, by importance weights."""
    noise = " + ".join(f"n{i}" for i in range(8))
    method = "exact" if family == "gaussian" else "laplace"
    found = []
    for right in ("x", f"x + {noise}"):
        fit = lf.fit(f"y ~ {right} + (1 | g)", frame, family, method=method)
        # The number of draws is large beside what one row weighs.
        data = fit.to_arviz(num_draws=1500, seed=seed, parameters=parameters)
        logs = data["log_likelihood"]["y"].values[0]
        found.append(-float((scipy.special.logsumexp(-logs, axis=0) - np.log(1500)).sum()))
    return found[1] - found[0]


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_columns_of_noise_are_not_preferred_where_parameters_are_drawn(family: str) -> None:
    gains: dict[str, list[float]] = {"estimates": [], "drawn": []}
    for seed in range(6):
        r = np.random.default_rng([seed, 31])
        g, x = np.repeat(np.arange(15), 6), r.normal(size=90)
        eta = 0.6 + 0.4 * x + r.normal(0, 0.5, 15)[g]
        y = r.poisson(np.exp(eta)) if family == "poisson" else eta + r.normal(size=90)
        frame = {"x": x, "g": g, "y": y, **{f"n{i}": r.normal(size=90) for i in range(8)}}
        for parameters, kept in gains.items():
            kept.append(loo_gain(frame, family, seed, parameters))
    # Eight columns gain about four where they cost nothing, and lose about four where they do.
    assert np.mean(gains["estimates"]) > 0
    error = np.std(gains["drawn"], ddof=1) / np.sqrt(6)
    assert np.mean(gains["drawn"]) < error


@pytest.mark.parametrize("name", ["cumulative", "nbinom2"])
def test_own_parameters_are_drawn_with_the_others(name: str) -> None:
    from tests.prediction.truth import true_data

    formula, frame = true_data(name, 4, levels=10, rows=6)
    fit = lf.fit(formula, frame, name, method="laplace")
    held, drawn = (
        fit.to_arviz(num_draws=60, parameters=each)["log_likelihood"]["y"].values
        for each in ours.PARAMETERS
    )
    assert np.isfinite(drawn).all()
    # Draws of more parameters fit the rows less well, and vary more.
    assert drawn.sum(axis=-1).mean() < held.sum(axis=-1).mean()


def test_groups_of_rows_say_what_their_parameters_are() -> None:
    fit = fitted("exact")
    for parameters in ours.PARAMETERS:
        found = fit.to_arviz(num_draws=20, parameters=parameters)
        said = found["log_likelihood"].attrs["parameters"]
        assert said == ours.PARAMETERS[parameters]
    with pytest.raises(ModelError, match="parameters is 'all'"):
        fit.to_arviz(parameters="all")
