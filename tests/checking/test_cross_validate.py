"""Cross-validation: what is predicted without a row, its density, its error, and comparisons."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

import lmeformula as lf
from lmeformula.checking.cross_validate import _fit_rows
from lmeformula.checking.folds import make_folds
from lmeformula.errors import ModelError
from lmeformula.estimation.dispatch import estimate
from lmeformula.family.counts import count_arrays
from lmeformula.likelihood.laplace import automatic
from lmeformula.prediction import requested
from lmeformula.prediction.normal_points import normal_average
from lmeformula.prediction.predictive_density import log_predictive, row_log_density
from lmeformula.prediction.scores import category_chances, score
from tests.prediction.after_fit import dense, small_fit
from tests.prediction.families import true_fit
from tests.prediction.test_scores import data
from tests.what_works import own_family as own_counts


@cache
def ordinal(formula: str = "y ~ x + (1 | g)", family: str = "cumulative") -> lf.Fit:
    return lf.fit(formula, data(), family, method="laplace")


# ---- fits without a fold


@cache
def binary(levels: int, seed: int, sd: float) -> lf.Fit:
    """Yes and no with intercepts of that sd, of few levels, whose fits look around, or of many."""
    rng = np.random.default_rng(seed)
    n, g, x = 8 * levels, np.repeat(np.arange(levels), 8), rng.normal(size=8 * levels)
    eta = 0.4 * x - 0.3 + sd * rng.normal(size=levels)[g]
    table = pd.DataFrame({"y": rng.uniform(size=n) < expit(eta), "x": x, "g": g.astype(str)})
    return lf.fit("y ~ x + (1 | g)", table, "bernoulli", method="laplace")


@pytest.mark.parametrize(
    ("levels", "seed", "sd", "num_singular"),
    [(20, 10, 0.2, 2), (150, 0, 0.2, 2), (20, 1, 1.0, 0), (150, 1, 1.0, 0)],
)
def test_a_fold_has_the_maximum_that_it_has_from_the_models_own_start(
    levels, seed, sd, num_singular
):
    """Also where its variance is zero, and that of all rows is not."""
    fit, singular = binary(levels, seed, sd), 0
    assert not fit.singular
    for fold in range(4):
        places = np.flatnonzero(np.arange(fit.nobs) % 4 != fold)
        warm = _fit_rows(fit, places, "laplace", 0, None)
        cold = estimate(replace(warm.model, known_start=None), method="laplace")
        assert warm.loglik == pytest.approx(cold.loglik, abs=1e-7)
        np.testing.assert_allclose(
            warm.params.covariances[0], cold.params.covariances[0], atol=1e-4
        )
        singular += warm.singular
    assert singular == num_singular


def test_a_fold_starts_from_the_covariances_of_all_rows():
    """And so has little way to go."""
    fit = binary(150, 1, 1.0)
    warm = _fit_rows(fit, np.flatnonzero(np.arange(fit.nobs) % 10 > 0), "laplace", 0, None)
    cold = estimate(replace(warm.model, known_start=None), method="laplace")
    assert warm.ascent.num_evaluations < cold.ascent.num_evaluations


# ---- what is predicted


@pytest.mark.parametrize("by", [None, "g"])
def test_normal_densities_are_those_of_the_joint_normal_distribution(by):
    """The best linear unbiased prediction and its error, from the covariance of all rows written out."""
    fit = small_fit(reml=False)
    found = fit.cross_validate(4, by=by, seed=2)
    fold = found.folds.of_row
    design = fit.model.design
    for k in range(4):
        held, rest = fold == k, fold != k
        assert held.sum() == found.to_frame()["rows"][k]
        again = _fit_rows(fit, np.flatnonzero(rest), "exact", 0, None)
        X, _, V, _ = dense(replace(fit, params=again.params))
        y, W = design.y, np.linalg.inv(V[np.ix_(rest, rest)])
        cross = V[np.ix_(held, rest)] @ W
        C = np.linalg.inv(X[rest].T @ W @ X[rest])
        beta = C @ X[rest].T @ W @ y[rest]
        away = X[held] - cross @ X[rest]
        mean = X[held] @ beta + cross @ (y[rest] - X[rest] @ beta)
        variance = np.diag(
            V[np.ix_(held, held)] - cross @ V[np.ix_(rest, held)] + away @ C @ away.T
        )
        np.testing.assert_allclose(found.predicted[held], mean, rtol=1e-6)
        expected = stats.norm.logpdf(y[held], mean, np.sqrt(variance))
        np.testing.assert_allclose(found.log_densities[held], expected, rtol=1e-6)


def test_scores_of_categories_are_those_of_predicting_new_rows():
    """The fold's data left out, the model fitted by name, and the new rows predicted as a user would."""
    frame, fit = data(), ordinal()
    found = fit.cross_validate(by="g", seed=5)
    assert found.folds.number == 20
    assert list(found.to_frame()["fold"]) == [str(i) for i in range(20)]
    held = (frame["g"] == 7).to_numpy()
    there = lf.fit("y ~ x + (1 | g)", frame[~held], "cumulative", method="laplace")
    scores = score(category_chances(there, frame[held]), frame["y"][held].to_numpy() - 1).each
    np.testing.assert_allclose(found.ranked[held], scores[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found.log_densities[held], -scores[:, 0], rtol=1e-5)
    numbers = category_chances(there, frame[held]) @ [1, 2, 3, 4]
    np.testing.assert_allclose(found.predicted[held], numbers, rtol=1e-5)
    row = found.to_frame().iloc[7]
    assert row["elpd"] == pytest.approx(-scores[:, 0].sum(), rel=1e-5)
    assert row["ranked"] == pytest.approx(scores[:, 1].mean(), rel=1e-5)


@pytest.mark.parametrize("variance", [0.0, 0.02, 1.0, 9.0])
@pytest.mark.parametrize(
    "name", ["bernoulli", "poisson", "nbinom1", "student", "inverse_gaussian", "cumulative"]
)
def test_densities_are_the_integrals(name, variance):
    fit = true_fit(name)
    family, own = fit.model.family, fit.params.own
    response = tuple(array[:8] for array in family.response(fit.model.design))
    eta = np.linspace(-2.0, 1.5, 8)
    found = log_predictive(fit, response, eta[None], np.full((8, 1, 1), variance))
    for i in range(8):
        row = tuple(array[i : i + 1] for array in response)
        if variance == 0.0:
            expected = row_log_density(family, row, own, eta[None, i : i + 1, None])[0, 0]
        else:
            # By brute force: the trapezoidal rule on a grid much finer than any density here is narrow.
            z = np.linspace(-14.0, 14.0, 40_001)
            logs = row_log_density(family, row, own, eta[i] + np.sqrt(variance) * z[None, None])[0]
            logs = np.nan_to_num(logs, nan=-np.inf) + stats.norm.logpdf(z)
            expected = logs.max() + np.log(integrate.trapezoid(np.exp(logs - logs.max()), z))
        assert found.values[i] == pytest.approx(expected, abs=1e-7)
    assert found.error < 1e-3


def test_a_large_count_is_a_sharp_peak_far_out():
    fit = true_fit("poisson")
    counts = np.array([900.0, 30.0])
    eta, variance = np.array([0.0, 5.0]), np.array([1.0, 4.0])
    found = log_predictive(fit, count_arrays(counts), eta[None], variance[:, None, None])

    def density(x, i):
        return stats.poisson.pmf((900, 30)[i], np.exp(x)) * stats.norm.pdf(
            x, eta[i], np.sqrt(variance[i])
        )

    for i, peak in enumerate((6.8, 3.4)):
        value = integrate.quad(density, peak - 2, peak + 2, args=(i,), points=[peak], epsabs=0)[0]
        assert found.values[i] == pytest.approx(np.log(value), abs=1e-8)


def test_means_are_averages_over_the_predictor():
    fit = true_fit("poisson")
    found = normal_average(
        fit, "response", np.array([[0.3, -1.0]]), np.array([0.5, 2.0])[:, None, None]
    )[:, 0]
    np.testing.assert_allclose(found, np.exp([0.3 + 0.25, -1.0 + 1.0]), rtol=1e-10)


# ---- errors and comparisons


def test_standard_errors_are_of_rows_or_of_groups():
    fit = ordinal()
    by_row, by_group = fit.cross_validate(5, seed=1), fit.cross_validate(5, by="g", seed=1)
    n = fit.nobs
    assert by_row.elpd.std_error == pytest.approx(
        np.sqrt(n) * by_row.log_densities.std(ddof=1), rel=1e-12
    )
    squares = (by_row.observed - by_row.predicted) ** 2
    error = squares.std(ddof=1) / np.sqrt(n) / (2 * np.sqrt(squares.mean()))
    assert by_row.rmse.std_error == pytest.approx(error, rel=1e-12)
    g = data()["g"].to_numpy()
    sums = np.array(
        [(by_group.log_densities - by_group.log_densities.mean())[g == i].sum() for i in range(20)]
    )
    assert by_group.elpd.std_error == pytest.approx(np.sqrt(20 / 19 * (sums**2).sum()), rel=1e-12)
    assert all(len(set(by_group.folds.of_row[g == i])) == 1 for i in range(20))


def test_two_models_are_compared_row_by_row():
    fit = ordinal()
    one = fit.cross_validate(5, seed=3)
    other = ordinal("y ~ 1 + (1 | g)").cross_validate(one.folds)
    frame = one.compare(other).set_index("metric")
    assert list(frame.index) == ["elpd", "rmse", "ranked"]
    away = one.log_densities - other.log_densities
    assert frame.loc["elpd", "difference"] == pytest.approx(away.sum())
    assert frame.loc["elpd", "std_error"] == pytest.approx(np.sqrt(600) * away.std(ddof=1))
    # The data are from the model with x: it predicts better, by many standard errors.
    assert frame.loc["elpd", "difference"] > 4 * frame.loc["elpd", "std_error"]
    assert frame.loc["rmse", "difference"] < -4 * frame.loc["rmse", "std_error"]
    back = other.compare(one).set_index("metric")
    np.testing.assert_allclose(back["difference"], -frame["difference"])
    np.testing.assert_allclose(back["std_error"], frame["std_error"])


def test_densities_of_other_numbers_are_not_compared_but_errors_are():
    one = ordinal().cross_validate(5, seed=3)
    normal = lf.fit("y ~ x + (1 | g)", data()).cross_validate(5, seed=3)
    frame = one.compare(normal)
    assert list(frame["metric"]) == ["rmse"]
    assert abs(frame["difference"][0]) < 0.1
    sratio = ordinal(family="sratio").cross_validate(5, seed=3)
    assert "elpd" in set(one.compare(sratio)["metric"])


def test_what_cannot_be_compared_is_refused():
    one = ordinal().cross_validate(5, seed=3)
    with pytest.raises(ModelError, match="not made on the same folds"):
        one.compare(ordinal().cross_validate(5, seed=4))
    with pytest.raises(ModelError, match="another cross-validation"):
        one.compare(ordinal())
    logs = lf.fit("log(y) ~ x + (1 | g)", data()).cross_validate(5, seed=3)
    with pytest.raises(ModelError, match="different responses"):
        one.compare(logs)


# ---- folds


def test_folds_are_dealt_evenly_and_the_same_for_the_same_seed():
    fit = ordinal()
    folds = make_folds(fit, 7, seed=9)
    assert set(np.bincount(folds.of_row)) == {85, 86}
    np.testing.assert_array_equal(folds.of_row, make_folds(fit, 7, seed=9).of_row)
    assert (folds.of_row != make_folds(fit, 7, seed=10).of_row).any()
    grouped = make_folds(fit, 4, by="g")
    sizes = np.bincount(grouped.of_row)
    assert np.ptp(sizes) <= np.bincount(data()["g"]).max()


def test_labels_are_folds_for_used_rows_or_for_all():
    frame = data().copy()
    frame.loc[3, "x"] = np.nan
    fit = lf.fit("y ~ x + (1 | g)", frame)
    labels = np.where(np.arange(600) % 3 == 0, "a", "b")
    folds = make_folds(fit, labels)
    assert folds.names == ("a", "b")
    np.testing.assert_array_equal(folds.of_row, make_folds(fit, np.delete(labels, 3)).of_row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "between 2 and 600, the rows"),
        ({"folds": 21, "by": "g"}, "between 2 and 20, the levels of g"),
        ({"folds": True}, "folds is True"),
        ({"folds": "g"}, "write by='g'"),
        ({"by": "school"}, "no grouping factor 'school'"),
        ({"folds": np.zeros(5)}, r"folds is an array of shape \(5,\)"),
        ({"folds": np.zeros(600)}, "one label"),
        ({"folds": np.arange(600) % 2, "by": "g"}, "Give one"),
        ({"metrics": ["auc"]}, "Choose from elpd, rmse, ranked"),
        ({"method": "exact"}, "no exact likelihood"),
        ({"method": "loo"}, "'exact', 'quadrature', 'laplace', 'mcem'"),
    ],
)
def test_bad_requests_are_answered(options, message):
    with pytest.raises(ModelError, match=message):
        ordinal().cross_validate(**options)


def test_ranked_scores_are_of_ordered_categories():
    with pytest.raises(ModelError, match="is of ordered categories"):
        small_fit().cross_validate(metrics="ranked")
    assert list(small_fit().cross_validate(3, metrics="rmse").totals()["metric"]) == ["rmse"]


def test_folds_that_leave_something_undetermined_are_refused_before_any_fit():
    frame = data().assign(z=(np.arange(600) < 5).astype(float))
    fit = lf.fit("y ~ x + z + (1 | g)", frame)
    with pytest.raises(ModelError, match="without fold 'held' the other rows do not determine"):
        fit.cross_validate(np.where(np.arange(600) < 5, "held", "rest"))
    with pytest.raises(ModelError, match="fewer than two levels of g"):
        ordinal().cross_validate(np.where(frame["g"] == 0, "one", "all others"))
    top = np.where(frame["y"] == 4, "a", np.where(np.arange(600) % 2 == 0, "b", "c"))
    with pytest.raises(ModelError, match="without fold 'a' no row has the category '4'"):
        ordinal().cross_validate(top)


def test_folds_of_many_sizes_compile_once():
    """Derivatives of a user's family: of one number of rows, and of any other."""
    fit = lf.fit("count ~ x + (1 | g)", _counts(), own_counts(), method="laplace")
    found = fit.cross_validate(_counts()["h"])
    assert len(set(found.to_frame()["rows"])) > 2
    response = fit.model.family.response(fit.model.design)
    shapes = tuple(array.shape[1:] for array in response)
    shallow, deep = automatic._programs(fit.model.family, 1, len(fit.params.own), shapes)
    assert shallow.experimental_get_tracing_count() <= 2
    assert deep.experimental_get_tracing_count() <= 2


def _counts() -> pd.DataFrame:
    frame = true_fit("poisson").model.design
    index = np.arange(240)
    return pd.DataFrame(
        {
            "count": frame.y[:240],
            "x": frame.X[:240, 1],
            "g": index % 25,
            "h": np.minimum(np.sqrt(index).astype(int) // 3, 4),
        }
    )


def test_monte_carlo_fits_take_the_approximation():
    fit = replace(ordinal(), method="mcem")
    found = fit.cross_validate(2)
    assert found.method == "laplace"
    np.testing.assert_array_equal(found.log_densities, ordinal().cross_validate(2).log_densities)


@pytest.mark.slow
def test_folds_can_be_fitted_by_monte_carlo():
    close, sharp = (ordinal().cross_validate(2, method=how) for how in ("laplace", "mcem"))
    assert sharp.method == "mcem"
    frame = sharp.compare(close).set_index("metric")
    # The approximation is good here: what it costs is far below the error of either.
    assert 0 < abs(frame.loc["elpd", "difference"]) < 0.1 * close.elpd.std_error


# ---- as shown


def test_it_is_shown_in_under_a_dozen_lines():
    found = ordinal().cross_validate(5, seed=3)
    text = repr(found)
    assert len(text.splitlines()) < 12
    assert text.startswith("5-fold cross-validation over rows")
    totals = found.totals()
    assert list(totals["metric"]) == ["elpd", "rmse", "ranked"]
    assert f"{totals['estimate'][0]:.2f}" in text
    assert "Leaving out each of the 20 levels of g" in repr(ordinal().cross_validate(by="g"))
    assert "<table" in found._repr_html_()


def test_rows_are_laid_out_and_written(tmp_path, monkeypatch):
    table = lf.datasets.load("sleepstudy")
    table.loc[[3, 50], "Days"] = np.nan
    table.index = pd.Index([f"r{i}" for i in range(180)])
    fit = lf.fit("Reaction ~ Days + (1 | Subject)", table)
    found = fit.cross_validate(3, seed=1)
    rows = found.by_row()
    assert list(rows.index) == list(fit.residuals().index)
    assert rows.groupby("fold").size().tolist() == found.to_frame()["rows"].tolist()
    np.testing.assert_allclose(rows["log_density"].sum(), found.elpd.value)
    np.testing.assert_allclose(
        np.sqrt(((rows["observed"] - rows["predicted"]) ** 2).mean()), found.rmse.value
    )
    monkeypatch.setattr(requested, "BLOCK", 50)
    path = found.by_row(to=tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), rows, check_dtype=False)
