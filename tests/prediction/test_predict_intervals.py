"""Intervals of predictions: against dense mixed-model equations, and their coverage by simulation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.stats

import lmeformula as lf
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.prediction import normal_posterior as posterior_module
from lmeformula.prediction.posterior import normal_posterior_of
from tests.prediction.after_fit import data, dense, fit_of, small_fit
from tests.prediction.test_scores import data as scored

Z = scipy.stats.norm.ppf(0.975)


def henderson(fit: lf.Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, Z, the inverse of the mixed-model equations, and that of their random part alone."""
    X, effects, _, _ = dense(fit)
    weights = fit.model.design.weights / fit.params.residual_sd**2
    prior = scipy.linalg.block_diag(
        *(
            np.linalg.inv(cov)
            for term, cov in zip(fit.model.design.terms, fit.params.covariances, strict=True)
            for _ in term.levels
        )
    )
    both = np.hstack([X, effects])
    system = both.T @ (weights[:, None] * both)
    p = X.shape[1]
    system[p:, p:] += prior
    return X, effects, np.linalg.inv(system), np.linalg.inv(system[p:, p:])


def test_variances_are_those_of_hendersons_equations():
    fit = small_fit()
    X, effects, joint, random = henderson(fit)
    both = np.hstack([X, effects])
    found = normal_posterior_of(fit)

    def variances(**parts):
        return found.covariances(fit.model.design, **parts)[:, 0, 0]

    expected = np.einsum("ni,ij,nj->n", both, joint, both)
    np.testing.assert_allclose(variances(parameters=True, effects=True), expected, rtol=1e-10)
    expected = np.einsum("ni,ij,nj->n", effects, random, effects)
    np.testing.assert_allclose(variances(parameters=False, effects=True), expected, rtol=1e-10)
    expected = np.einsum("ni,ij,nj->n", X, fit.fixed_vcov, X)
    np.testing.assert_allclose(variances(parameters=True, effects=False), expected, rtol=1e-10)
    # The equations' fixed part is the fixed effects' own covariance.
    np.testing.assert_allclose(joint[:2, :2], fit.fixed_vcov, rtol=1e-8)


def test_sources_add_up_to_the_intervals():
    fit = small_fit()
    X, effects, joint, _ = henderson(fit)
    both = np.hstack([X, effects])
    variance = np.einsum("ni,ij,nj->n", both, joint, both)
    frame = fit.predict(interval="confidence")
    np.testing.assert_allclose(frame["estimate"], fit.fitted())
    np.testing.assert_allclose(frame["upper"] - frame["estimate"], Z * np.sqrt(variance))
    variance = variance + fit.sigma**2 / fit.model.design.weights
    frame = fit.predict(interval="prediction")
    np.testing.assert_allclose(frame["estimate"] - frame["lower"], Z * np.sqrt(variance))
    residual = fit.predict(interval="prediction", include=("residual",), level=0.5)
    half = scipy.stats.norm.ppf(0.75) * fit.sigma / np.sqrt(fit.model.design.weights)
    np.testing.assert_allclose(residual["upper"] - residual["estimate"], half)
    nothing = fit.predict(interval="confidence", include=())
    np.testing.assert_allclose(nothing["lower"], nothing["upper"])


NEW = pd.DataFrame({"x": [0.5, 0.5, np.nan], "g": ["zz", "1", "1"], "h": ["0", "0", "0"], "w": 1.0})


def test_new_levels_are_drawn_from_their_distribution():
    fit = small_fit()
    typical = fit.predict(NEW, interval="confidence", new_levels="population")
    drawn = fit.predict(NEW, interval="confidence", new_levels="sample")
    np.testing.assert_allclose(drawn["estimate"], typical["estimate"])
    assert drawn.iloc[2].isna().all()
    pd.testing.assert_series_equal(drawn.iloc[1], typical.iloc[1])

    def variance(frame):
        return ((frame["upper"] - frame["estimate"]) / Z).iloc[0] ** 2

    column = np.array([1.0, 0.5])
    added = column @ fit.params.covariances[0] @ column
    assert variance(drawn) - variance(typical) == pytest.approx(added, rel=1e-10)
    with pytest.raises(FormulaDataError, match="'zz'"):
        fit.predict(NEW, interval="confidence")


def test_the_population_has_the_fixed_effects_uncertainty_only():
    fit = small_fit()
    frame = fit.predict(NEW[["x", "w"]], interval="confidence", re_form="NA")
    row = np.array([1.0, 0.5])
    half = Z * np.sqrt(row @ fit.fixed_vcov @ row)
    assert frame["upper"].iloc[0] - frame["estimate"].iloc[0] == pytest.approx(half)
    pd.testing.assert_frame_equal(
        fit.predict(interval="confidence", re_form="NA").reset_index(drop=True).iloc[:, :1],
        fit.predict(re_form="NA").reset_index(drop=True).to_frame("estimate"),
    )


def test_intervals_of_other_families_are_those_of_the_predictor_transformed():
    fit = fit_of("ticks")
    link = fit.predict(interval="confidence", kind="link")
    response = fit.predict(interval="confidence")
    np.testing.assert_allclose(response, np.exp(link))
    # One herd at a time the curvature is a number: the variance by hand, beta known.
    cbpp = fit_of("cbpp")
    found = cbpp.predict(interval="confidence", kind="link", include=("effects",))
    mean = cbpp.fitted().to_numpy()
    weights = data("cbpp")["size"].to_numpy() * mean * (1 - mean)
    herd = cbpp.model.design.terms[0].index
    precision = np.bincount(herd, weights) + 1 / cbpp.params.covariances[0][0, 0]
    half = Z / np.sqrt(precision[herd])
    np.testing.assert_allclose(found["upper"] - found["estimate"], half, rtol=1e-6)


def test_simulated_intervals_follow_the_seed_and_the_family():
    fit = fit_of("cbpp")
    first, again, other = (fit.predict(interval="prediction", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    # Without other sources they are quantiles of a binomial, whose steps two of 4,000 draws may straddle.
    known = fit.predict(interval="prediction", include=("residual",), num_draws=4000, level=0.8)
    size, mean = data("cbpp")["size"].to_numpy(), fit.fitted().to_numpy()
    for tail, column in ((0.1, "lower"), (0.9, "upper")):
        found = np.round(known[column].to_numpy() * size)
        error = 5 * np.sqrt(tail * (1 - tail) / 4000)
        assert (scipy.stats.binom.cdf(found, size, mean) >= tail - error).all()
        assert (scipy.stats.binom.cdf(found - 1, size, mean) <= tail + error).all()
    # The trials of new rows come from their columns.
    rows = data("cbpp").iloc[:5]
    assert fit.predict(rows, interval="prediction")["upper"].between(0, 1).all()


def test_some_terms_have_their_own_uncertainty_only():
    fit = small_fit()
    X, effects, joint, _ = henderson(fit)
    kept = np.hstack([X, effects])
    num_g = 2 * len(fit.model.design.terms[0].levels)
    kept[:, 2 + num_g :] = 0.0
    frame = fit.predict(interval="confidence", re_form="~ (x | g)")
    np.testing.assert_allclose(frame["estimate"], fit.predict(re_form="~ (x | g)"))
    half = Z * np.sqrt(np.einsum("ni,ij,nj->n", kept, joint, kept))
    np.testing.assert_allclose(frame["upper"] - frame["estimate"], half, rtol=1e-8)
    # An unseen level of a factor that is left out does not matter.
    new = pd.DataFrame({"x": [0.5], "g": ["1"], "h": ["unseen"], "w": 1.0})
    assert fit.predict(new, interval="confidence", re_form="~ (x | g)").notna().all(axis=None)


def test_rows_are_worked_out_some_at_a_time(monkeypatch):
    fit = small_fit()
    whole = fit.predict(interval="confidence")
    assert posterior_module.CHUNK > 120
    monkeypatch.setattr(posterior_module, "CHUNK", 50)
    pd.testing.assert_frame_equal(fit.predict(interval="confidence"), whole)


def test_memory_does_not_grow_with_the_rows_but_for_what_is_given_and_returned():
    fit = small_fit()
    found = normal_posterior_of(fit)

    def peak(num_rows):
        rows = fit.model.design.rebuild(
            {"x": np.zeros(num_rows), "g": np.full(num_rows, "1"), "h": np.full(num_rows, "0")}
        )
        found.covariances(rows)  # caches are filled
        tracemalloc.start()
        found.covariances(rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(posterior_module.CHUNK), peak(4 * posterior_module.CHUNK)
    # Four numbers a row more for each further row: the answer, its parts and what is added to it.
    assert many - few < 3 * posterior_module.CHUNK * 8 * 5


@pytest.mark.parametrize("kind", ["response", "prob"])
def test_averages_are_over_what_is_uncertain(kind):
    frame = scored().assign(g=lambda d: "g" + d["g"].astype(str))
    fit = lf.fit("y ~ x + (1 | g)", frame, "cumulative", method="laplace")
    new = pd.DataFrame({"x": [0.0, 1.0], "g": ["g1", "unseen"]})
    plain = fit.predict(new, kind=kind, new_levels="population")
    sampled = fit.predict(new, kind=kind, new_levels="sample")
    every = fit.predict(new, kind=kind, new_levels="sample", averaged=True)
    # A known level is uncertain only where that is asked for.
    np.testing.assert_allclose(sampled.iloc[0], plain.iloc[0], rtol=1e-14)
    link = fit.predict(new, kind="link", interval="confidence", new_levels="sample", level=0.5)
    sds = (link["upper"] - link["lower"]) / (2 * scipy.stats.norm.ppf(0.75))
    sd_g = np.sqrt(fit.params.covariances[0][0, 0])
    z = scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for found, sd in ((sampled, sd_g), (every, sds.iloc[1])):
        chances = fit.model.family.probabilities(link["estimate"].iloc[1] + sd * z, fit.params.own)
        expected = chances.mean(axis=0)
        expected = expected if kind == "prob" else expected @ [1, 2, 3, 4]
        np.testing.assert_allclose(np.ravel(found.iloc[1]), expected, atol=2e-4)
    link_only = fit.predict(new, kind="link", new_levels="sample", averaged=True)
    np.testing.assert_array_equal(link_only, link["estimate"])


@pytest.mark.slow
def test_intervals_of_positive_responses_cover_by_simulation():
    """Gamma responses, so that coverage is a number and no bound; levels known and new, a log link."""
    rng = np.random.default_rng(12)
    covered = {"mean": [], "known": [], "new": []}
    groups = np.repeat(np.arange(50), 8)
    for _ in range(150):
        effects = rng.normal(0, 0.6, 80)
        x = rng.normal(size=groups.size)
        y = rng.gamma(4.0, np.exp(0.5 + 0.4 * x + effects[groups]) / 4.0)
        frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in groups]})
        fit = lf.fit("y ~ x + (1 | g)", frame, "gamma", method="laplace")
        ahead = rng.integers(0, 80, 40)
        new = pd.DataFrame({"x": rng.normal(size=40), "g": [f"g{i}" for i in ahead]})
        mean = np.exp(0.5 + 0.4 * new["x"].to_numpy() + effects[ahead])
        response = rng.gamma(4.0, mean / 4.0)
        is_known = ahead < 50
        confidence = fit.predict(new, interval="confidence", new_levels="sample")
        prediction = fit.predict(new, interval="prediction", new_levels="sample", num_draws=2000)
        inside = (prediction["lower"] <= response) & (response <= prediction["upper"])
        covered["mean"].append(
            ((confidence["lower"] <= mean) & (mean <= confidence["upper"])).mean()
        )
        covered["known"].append(inside[is_known].mean())
        covered["new"].append(inside[~is_known].mean())
    for name, shares in covered.items():
        error = np.std(shares, ddof=1) / np.sqrt(len(shares))
        # That the variances are estimated is left out: about half a percent with 50 levels.
        assert abs(np.mean(shares) - 0.95) < 4 * error + 0.005, name


@pytest.mark.slow
def test_intervals_cover_by_simulation():
    # Levels known and new; sd known up to estimation from 300 rows. 200 data sets of 30 rows ahead.
    rng = np.random.default_rng(11)
    covered = {"mean": [], "known": [], "new": []}
    groups = np.repeat(np.arange(40), 8)
    for _ in range(200):
        effects = rng.normal(0, 1.0, 60)
        x = rng.normal(size=groups.size)
        y = 1.0 + 0.5 * x + effects[groups] + rng.normal(size=groups.size)
        frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in groups]})
        fit = lf.fit("y ~ x + (1 | g)", frame, reml=True)
        ahead = rng.integers(0, 60, 30)
        new = pd.DataFrame({"x": rng.normal(size=30), "g": [f"g{i}" for i in ahead]})
        mean = 1.0 + 0.5 * new["x"].to_numpy() + effects[ahead]
        response = mean + rng.normal(size=30)
        is_known = ahead < 40
        confidence = fit.predict(new, interval="confidence", new_levels="sample")
        prediction = fit.predict(new, interval="prediction", new_levels="sample")
        inside = (prediction["lower"] <= response) & (response <= prediction["upper"])
        covered["mean"].append(
            ((confidence["lower"] <= mean) & (mean <= confidence["upper"])).mean()
        )
        covered["known"].append(inside[is_known].mean())
        covered["new"].append(inside[~is_known].mean())
    for name, shares in covered.items():
        # Rows of one data set share its estimates: the error is that of the means over data sets.
        error = np.std(shares, ddof=1) / np.sqrt(len(shares))
        assert abs(np.mean(shares) - 0.95) < 4 * error + 0.005, name


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("thin", {"interval": "credible"}, "interval is 'credible'"),
        ("thin", {"interval": "confidence", "include": ("noise",)}, "include is 'noise'"),
        ("thin", {"interval": "confidence", "level": 95}, "level is 95"),
        ("thin", {"interval": "confidence", "kind": "prob"}, "kind is 'prob'"),
        ("ticks", {"interval": "prediction", "kind": "link"}, "no value on the scale"),
    ],
)
def test_options_outside_the_list_are_refused(name, options, problem):
    with pytest.raises(ModelError, match=problem):
        fit_of(name).predict(**options)
