"""Marginal means and tests of terms of several linear predictors: R's numbers, algebra, predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.prediction.parameter_errors import own_changes, parameter_covariance
from tests.inference.test_emmeans import stand_in
from tests.likelihood.laplace.test_several import simulated

PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "reference" / "several.json").read_text("utf-8")
)
# Estimates of both packages are good to some five digits.
CLOSE = 2e-4
SPOTTED = "mined + factor(sample) + cover"


@cache
def salamanders() -> pd.DataFrame:
    return lf.datasets.load("Salamanders")


@cache
def wine() -> pd.DataFrame:
    data = lf.datasets.load("wine")
    names = np.array(["low", "low", "mid", "high", "high"])[data["rating"].cat.codes]
    return data.assign(kind=pd.Categorical(names, ["low", "mid", "high"]))


@cache
def counts(family: str, part: str) -> lf.Fit:
    formulas = {"mu": f"count ~ {SPOTTED} + (1 | site)", part: f"~ {SPOTTED}"}
    return lf.fit(formulas, salamanders(), family, method="laplace")


@cache
def crossed() -> pd.DataFrame:
    """Two factors a and b, with an empty cell (a2, b3), besides the columns of `simulated`."""
    data, r = pd.DataFrame(simulated(3)), np.random.default_rng(8)
    data["a"] = np.array(["a1", "a2"])[r.integers(2, size=len(data))]
    data["b"] = np.array(["b1", "b2", "b3"])[r.integers(3, size=len(data))]
    return data[~((data["a"] == "a2") & (data["b"] == "b3"))].reset_index(drop=True)


@cache
def holed() -> lf.Fit:
    """The empty cell lacks a column of sigma only."""
    formulas = {"mu": "y ~ a + b + x + (1 | g)", "sigma": "~ a * b"}
    with pytest.warns(UserWarning, match="rank"):
        return lf.fit(formulas, crossed(), method="laplace")


@cache
def kinds(order: tuple[str, ...] = ("a", "b", "c")) -> lf.Fit:
    kind = pd.Categorical(crossed()["kind"], order)
    formula = "kind ~ a + x + (1 | g)"
    return lf.fit(formula, crossed().assign(kind=kind), "categorical", method="laplace")


# ---- R's numbers


def agree(ours: pd.DataFrame, theirs: dict, rtol: float = CLOSE) -> None:
    names = ("emmean", "estimate", "response", "rate", "ratio", "odds.ratio", "prob", "cover.trend")
    estimate = next(name for name in names if name in theirs)
    columns = {"estimate": estimate, "std_error": "SE", "conf_low": "asymp.LCL"}
    columns |= {"conf_high": "asymp.UCL"}
    for column, name in columns.items():
        published = np.atleast_1d(np.array(theirs[name], float))
        if estimate == "prob" and column.startswith("conf"):
            published = np.clip(published, 0.0, 1.0)
        # Near zero an estimate has the digits of its error.
        slack = rtol * np.atleast_1d(np.array(theirs["SE"], float))
        np.testing.assert_allclose(ours[column], published, rtol=rtol, atol=slack.max())


ASKED = {
    "link": lambda fit, part: fit.emmeans("mined", predictor=part),
    "response": lambda fit, part: fit.emmeans("mined", predictor=part, kind="response"),
    "pairs": lambda fit, part: fit.emmeans("mined", predictor=part).contrasts(),
    "ratios": lambda fit, part: fit.emmeans("mined", predictor=part, kind="response").contrasts(),
    "slope": lambda fit, part: fit.emmeans([], var="cover", predictor=part),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("family", "part", "name"),
    [
        ("zero_inflated_poisson", "zi", None),
        ("zero_inflated_poisson", "zi", "zi"),
        pytest.param("nbinom2", "dispersion", "mu", marks=pytest.mark.slow),
        pytest.param("nbinom2", "dispersion", "shape", marks=pytest.mark.slow),
    ],
)
def test_agrees_with_emmeans_of_a_component(family, part, name, asked):
    fit = counts(family, part)
    key = "mu" if name in (None, "mu") else part
    agree(ASKED[asked](fit, name).to_frame(), PUBLISHED[family][key][asked])


@pytest.mark.parametrize(
    ("family", "part"),
    [
        ("zero_inflated_poisson", "zi"),
        pytest.param("nbinom2", "dispersion", marks=pytest.mark.slow),
    ],
)
def test_joint_tests_are_those_of_the_components(family, part):
    fit = counts(family, part)
    found = fit.joint_tests().set_index("term")
    assert list(found.index) == [*(t := ["mined", "sample", "cover"]), *(f"{part}: {n}" for n in t)]
    for key, before in (("mu", ""), (part, f"{part}: ")):
        theirs = PUBLISHED[family][key]["joint"]
        ours = found.loc[[f"{before}mined", f"{before}sample"]]
        assert ours["df1"].tolist() == theirs["df1"]
        # Printed to three decimals.
        np.testing.assert_allclose(ours["statistic"], theirs["F.ratio"], rtol=5e-4, atol=6e-4)
        alone = fit.joint_tests(predictor=key).set_index("term")
        pd.testing.assert_frame_equal(alone, found.loc[alone.index])
        assert len(alone) == 3
    alone = fit.joint_tests([f"{part}: sample"])
    assert alone["term"].tolist() == [f"{part}: sample"]
    assert alone["statistic"][0] == found.loc[f"{part}: sample", "statistic"]


@cache
def multinomial() -> lf.Fit:
    """With R's coefficients and their covariance, of a model without random effects."""
    published = PUBLISHED["categorical"]
    fit = lf.fit("kind ~ temp + contact + (1 | judge)", wine(), "categorical", method="laplace")
    beta = np.array(published["coef"])
    params = fit.params._replace(beta=beta)
    return replace(fit, params=params, fixed_vcov=np.array(published["vcov"]))


MEANS_OF_CATEGORIES = {
    "chances": lambda fit: fit.emmeans("kind", by="temp", kind="response"),
    "pairs": lambda fit: fit.emmeans("kind", by="temp", kind="response").contrasts(adjust="none"),
    "within": lambda fit: fit.emmeans("temp", kind="response").contrasts(),
}


@pytest.mark.parametrize("what", MEANS_OF_CATEGORIES)
def test_chances_are_those_of_emmeans_of_multinom(what):
    agree(MEANS_OF_CATEGORIES[what](multinomial()).to_frame(), PUBLISHED["categorical"][what], 1e-5)


# ---- each predictor by its own design


def test_means_are_averages_of_the_columns_of_the_predictor():
    fit = holed()
    beta, names = fit.fixef, list(fit.fixef.index)
    x = crossed()["x"].mean()
    rows = pd.DataFrame(0.0, index=range(2), columns=names)
    rows["Intercept"], rows["x"] = 1.0, x
    rows.loc[1, "a[T.a2]"] = 1.0
    rows[["b[T.b2]", "b[T.b3]"]] = 1.0 / 3.0
    found = fit.emmeans("a").to_frame()
    np.testing.assert_allclose(found["estimate"], rows @ beta, rtol=1e-12)
    errors = np.sqrt(np.diag(rows.to_numpy() @ fit.vcov.to_numpy() @ rows.to_numpy().T))
    np.testing.assert_allclose(found["std_error"], errors, rtol=1e-12)
    cell = fit.emmeans(["a", "b"], predictor="sigma", kind="response").to_frame().iloc[3]
    eta = beta[["sigma_Intercept", "sigma_a[T.a2]", "sigma_b[T.b2]", "sigma_a[T.a2]:b[T.b2]"]].sum()
    assert (cell["a"], cell["b"]) == ("a2", "b2")
    assert cell["estimate"] == pytest.approx(np.exp(eta), rel=1e-12)


def test_what_the_data_do_not_determine_of_one_predictor_is_missing_there_only():
    fit = holed()
    assert fit.emmeans("a").to_frame()["estimate"].notna().all()
    sigma = fit.emmeans("a", predictor="sigma")
    assert sigma.to_frame()["estimate"].isna().tolist() == [False, True]
    assert "not determined" in repr(sigma)
    both = fit.emmeans(["a", "b"], predictor="sigma").to_frame()
    assert both[["a", "b"]][both["estimate"].isna()].to_numpy().tolist() == [["a2", "b3"]]
    tests = fit.joint_tests()
    assert tests["term"].tolist() == [
        *("a", "b", "x", "sigma: b", "sigma: a:b", "sigma: (confounded)")
    ]
    assert tests["df1"].tolist() == [1, 2, 1, 1, 1, 2]


def test_tests_are_walds_of_the_coefficients():
    fit = kinds()
    beta, vcov = fit.fixef, fit.vcov
    for term, column in (("a", "a[T.a2]"), ("x", "x")):
        names = [f"{column}[b]", f"{column}[c]"]
        b, V = beta[names].to_numpy(), vcov.loc[names, names].to_numpy()
        found = fit.joint_tests([term]).iloc[0]
        assert found["df1"] == 2
        assert 2.0 * found["statistic"] == pytest.approx(b @ np.linalg.solve(V, b), rel=1e-10)
        assert found["p_value"] == pytest.approx(scipy.stats.chi2.sf(2 * found["statistic"], 2))
    each = fit.joint_tests(predictor=["b", "c"]).set_index("term")["statistic"]
    z = (beta / fit.stderr) ** 2
    expected = {
        f"{k}: {t}": z[f"{n}[{k}]"] for k in "bc" for t, n in (("a", "a[T.a2]"), ("x", "x"))
    }
    np.testing.assert_allclose(each, pd.Series(expected)[each.index], rtol=1e-10)
    assert fit.drop1("F")["statistic"].tolist() == pytest.approx(fit.joint_tests()["statistic"])


# ---- what is of all predictors


FITS = {
    "one": lambda: lf.fit(
        "count ~ a + b + x + (1 | g)", crossed(), "zero_inflated_poisson", method="laplace"
    ),
    "zero_inflated": lambda: counts("zero_inflated_poisson", "zi"),
    "gaussian": holed,
    "hurdle_nbinom2": lambda: lf.fit(
        {"mu": "count ~ a + x + (1 | g)", "hu": "~ a"},
        crossed(),
        "hurdle_nbinom2",
        method="laplace",
    ),
    "lognormal": lambda: lf.fit(
        {"mu": "positive ~ a + x + (1 | g)", "sigma": "~ b"},
        crossed(),
        "lognormal",
        method="laplace",
    ),
    "cumulative": lambda: lf.fit(
        {"mu": "rating ~ a + x + (1 | g)", "disc": "~ b"}, crossed(), "cumulative", method="laplace"
    ),
}
fitted = cache(lambda name: FITS[name]())
# What one of these shows, the others do: they take a while to compile.
ALL = [
    "one",
    "zero_inflated",
    "gaussian",
    "lognormal",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("hurdle_nbinom2", "cumulative")),
]


def grid(name: str) -> tuple[pd.DataFrame, str]:
    """All combinations of levels, numbers at their means; and the variable that means are of."""
    if name == "zero_inflated":
        rows = pd.MultiIndex.from_product([["yes", "no"], [1, 2, 3, 4]], names=["mined", "sample"])
        return rows.to_frame(index=False).assign(cover=salamanders()["cover"].mean()), "mined"
    rows = pd.MultiIndex.from_product([["a1", "a2"], ["b1", "b2", "b3"]], names=["a", "b"])
    return rows.to_frame(index=False).assign(x=crossed()["x"].mean()), "a"


@pytest.mark.parametrize("name", ALL)
def test_means_of_the_response_are_averages_of_predictions(name):
    fit, (rows, variable) = fitted(name), grid(name)
    predicted = fit.predict(rows, re_form="NA")
    expected = predicted.groupby(rows[variable], sort=False).mean()
    found = fit.emmeans(variable, kind="mean").to_frame().set_index(variable)["estimate"]
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-9)
    if name in ("lognormal", "cumulative"):
        again = fit.emmeans(variable, kind="response").to_frame().set_index(variable)["estimate"]
        np.testing.assert_allclose(again[expected.index], expected, rtol=1e-9)


@cache
def moved_by_its_scale() -> lf.Fit:
    """A family whose mean, mu + log(scale), is mu only where the scale's predictor is zero."""

    def made(mu, scale):
        return tfp.distributions.Normal(mu + tf.math.log(scale), scale)

    family = lf.Family(
        "moved", made, link="identity", parameters={"scale": tfp.bijectors.Exp()}, support="real"
    )
    return lf.fit({"mu": "y ~ x + (1 | g)", "scale": "~ x"}, crossed(), family, method="laplace")


def test_a_mean_that_is_the_first_predictor_at_zero_only_is_taken_as_it_is():
    fit, rows = moved_by_its_scale(), pd.DataFrame({"x": [-1.0, 0.0, 2.0]})
    eta = fit.predict(rows, kind="link", re_form="NA")
    found = fit.emmeans("x", at={"x": rows["x"].tolist()}, kind="mean").to_frame()
    np.testing.assert_allclose(found["estimate"], eta["mu"] + eta["scale"], rtol=1e-12)


def test_means_at_numbers_need_no_factor():
    fit, rows = numbers_only(), pd.DataFrame({"x": [-1.0, 0.0, 2.0]})
    expected = fit.predict(rows.assign(h=crossed()["h"].mean()), re_form="NA")
    found = fit.emmeans("x", at={"x": rows["x"].tolist()}, kind="mean").to_frame()
    np.testing.assert_allclose(found["estimate"], expected, rtol=1e-9)


@cache
def numbers_only() -> lf.Fit:
    formulas = {"mu": "positive ~ x + (1 | g)", "sigma": "~ x + h"}
    return lf.fit(formulas, crossed(), "lognormal", method="laplace")


def dense(fit: lf.Fit, work) -> np.ndarray:
    """Standard errors of (r,) numbers by differences in all parameters: fixed effects and own ones."""
    beta, own, step = fit.params.beta, fit.params.own, 1e-5
    columns = [
        (work(beta + step * unit, own) - work(beta - step * unit, own)) / (2.0 * step)
        for unit in np.eye(len(beta))
    ]
    columns += [
        (work(beta, up) - work(beta, down)) / (2.0 * step) for up, down in own_changes(fit, step)
    ]
    jacobian = np.column_stack(columns)
    return np.sqrt(np.einsum("ri,ij,rj->r", jacobian, parameter_covariance(fit), jacobian))


@pytest.mark.parametrize("name", ALL)
def test_errors_of_means_are_by_the_delta_method_over_all_parameters(name):
    fit, (rows, variable) = fitted(name), grid(name)
    built, family = fit.model.design.rebuild(rows, groups=False), fit.model.family
    of = np.array(built.column_predictors)
    group = pd.factorize(rows[variable])[0] == np.arange(2)[:, None]

    def work(beta, own):
        eta = np.array([built.X[:, of == k] @ beta[of == k] for k in range(of.max() + 1)])
        return group @ family.mean(eta if len(eta) > 1 else eta[0], own) / group.sum(axis=1)

    found = fit.emmeans(variable, kind="mean").to_frame()
    np.testing.assert_allclose(found["std_error"], dense(fit, work), rtol=1e-4)


def test_errors_of_chances_are_by_the_delta_method():
    fit = kinds()
    rows = pd.DataFrame({"a": ["a1", "a2"], "x": crossed()["x"].mean()})
    X = fit.model.design.predictors[0].design.rebuild(rows, groups=False).X

    def work(beta, own):
        odds = np.exp(np.column_stack([np.zeros(2), *(X @ b for b in beta.reshape(2, -1))]))
        return (odds / odds.sum(axis=1, keepdims=True)).T.reshape(-1)

    found = fit.emmeans("a", kind="response")
    assert list(found.to_frame().columns[:2]) == ["a", "kind"]
    assert found.by == ("kind",)
    frame = found.to_frame()
    np.testing.assert_allclose(frame["estimate"], work(fit.params.beta, None), rtol=1e-12)
    np.testing.assert_allclose(frame["std_error"], dense(fit, work), rtol=1e-5)
    assert (frame["conf_low"] >= 0.0).all()
    np.testing.assert_allclose(frame.groupby("a")["estimate"].sum(), 1.0)
    # One test of two independent differences of chances, whatever rows were compared.
    assert found.contrasts().test().df1 == 2


def test_the_first_category_makes_no_difference_to_chances_and_tests():
    ours = kinds()
    # The log odds of a and b against c, from those of b and c against a.
    turn = np.kron([[0.0, -1.0], [1.0, -1.0]], np.eye(3))
    others = kinds(("c", "a", "b"))
    others = replace(
        others,
        params=others.params._replace(beta=turn @ ours.params.beta),
        fixed_vcov=turn @ ours.fixed_vcov @ turn.T,
    )
    each = [
        fit.emmeans("kind", by="a", kind="response").to_frame().sort_values(["a", "kind"])
        for fit in (ours, others)
    ]
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(each[0][column], each[1][column], rtol=1e-6)
    np.testing.assert_allclose(
        ours.joint_tests()["statistic"], others.joint_tests()["statistic"], rtol=1e-6
    )
    odds = others.emmeans("a", predictor="b", kind="response").contrasts().to_frame()
    low, high = (ours.emmeans("a", predictor=k).contrasts().to_frame() for k in ("b", "c"))
    apart = low["estimate"][0] - high["estimate"][0]
    assert odds["estimate"][0] == pytest.approx(np.exp(apart), rel=1e-9)


def test_log_odds_are_of_each_category_against_the_first():
    fit = kinds()
    whole = fit.emmeans("a").to_frame()
    assert whole["kind"].tolist() == ["b", "b", "c", "c"]
    for k in "bc":
        alone = fit.emmeans("a", predictor=k)
        assert f"log odds of {k} against a" in repr(alone)
        part = whole[whole["kind"] == k].drop(columns="kind").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone.to_frame(), rtol=1e-12)
    slopes = fit.emmeans("kind", var="x").to_frame()
    np.testing.assert_allclose(slopes["estimate"], fit.fixef[["x[b]", "x[c]"]], rtol=1e-8)


def test_one_number_for_all_rows_is_a_formula_with_an_intercept():
    data = crossed()
    one = lf.fit("count ~ a + (1 | g)", data, "zero_inflated_poisson", method="laplace")
    formulas = {"mu": "count ~ a + (1 | g)", "zi": "~ 1"}
    two = lf.fit(formulas, data, "zero_inflated_poisson", method="laplace")
    means = [one.emmeans("a", kind="response"), two.emmeans("a", kind="mean")]
    apart = [one.emmeans("a", predictor="mu", kind="response"), two.emmeans("a", kind="response")]
    for ours, theirs in (means, apart):
        for column in ("estimate", "std_error", "conf_low"):
            np.testing.assert_allclose(
                ours.to_frame()[column], theirs.to_frame()[column], rtol=2e-3
            )
    assert (means[1].to_frame()["estimate"] < apart[1].to_frame()["estimate"]).all()


def test_a_transformed_response_is_brought_back_beside_a_formula_for_its_scale():
    formulas = {"mu": "log(positive) ~ a + x + (1 | g)", "sigma": "~ x"}
    fit = lf.fit(formulas, crossed(), method="laplace")
    link, back = fit.emmeans("a"), fit.emmeans("a", kind="response")
    assert "mean of log(positive)" in repr(link)
    np.testing.assert_allclose(back.estimates, link.estimates)
    np.testing.assert_allclose(back.to_frame()["estimate"], np.exp(link.estimates))
    assert "median of positive" in repr(back)


def test_files_without_rows_hold_what_means_are_made_of(tmp_path):
    for fit, options in ((holed(), {"predictor": "sigma"}), (kinds(), {"kind": "response"})):
        again = lf.load(fit.save(tmp_path / "several.fit", data=False))
        pd.testing.assert_frame_equal(
            again.emmeans("a", **options).to_frame(), fit.emmeans("a", **options).to_frame()
        )
        pd.testing.assert_frame_equal(again.joint_tests(), fit.joint_tests())


def test_marginaleffects_gets_the_columns_of_all_predictors(monkeypatch):
    stand_in(monkeypatch)
    for name in ("zero_inflated", "gaussian"):
        fit = fitted(name)
        data = salamanders() if name == "zero_inflated" else crossed()
        for kind, predictor in (("response", None), ("link", None), ("link", "zi")):
            if name == "gaussian" and predictor:
                predictor = "sigma"
            model = fit.to_marginaleffects(data, kind=kind, predictor=predictor)
            found = model.get_predict(model.vault.coef, model.get_exog(model.vault.modeldata))
            expected = fit.predict(re_form="NA", kind=kind)
            if kind == "link":
                expected = expected[predictor or "mu"]
            np.testing.assert_allclose(found["estimate"].to_numpy(), expected, rtol=1e-12)
    with pytest.raises(ModelError, match="predicted by all linear predictors"):
        fit.to_marginaleffects(crossed(), predictor="sigma")


def test_marginaleffects_gets_chances_in_groups(monkeypatch):
    stand_in(monkeypatch)
    fit = kinds()
    for kind, options in (("prob", {}), ("link", {"kind": "link"})):
        model = fit.to_marginaleffects(crossed(), **options)
        found = model.get_predict(model.vault.coef, model.get_exog(model.vault.modeldata))
        wide = found.to_pandas().pivot(index="rowid", columns="group", values="estimate")
        expected = fit.predict(re_form="NA", kind=kind)
        np.testing.assert_allclose(wide[list(expected)], expected, rtol=1e-10)


REFUSED = {
    "no linear predictor 'tau'(.|\n)*mu, sigma": lambda: holed().emmeans("a", predictor="tau"),
    "no linear predictor 'a'(.|\n)*b, c": lambda: kinds().emmeans("a", predictor="a"),
    "'x' is not a column of the fixed effects of sigma": lambda: holed().emmeans(
        "x", predictor="sigma"
    ),
    "have no mean": lambda: kinds().emmeans("a", kind="mean"),
    "of no predictor by itself": lambda: holed().emmeans("a", kind="mean", predictor="sigma"),
    "slopes are on the scale": lambda: kinds().emmeans("a", var="x", kind="response"),
    "no term 'sigma: x'(.|\n)*sigma: a:b": lambda: holed().joint_tests(["sigma: x"]),
    "no satterthwaite degrees of freedom": lambda: holed().emmeans("a", ddf="satterthwaite"),
    "how often their combinations occur": lambda: fitted("lognormal").emmeans(
        "x", kind="mean", weights="proportional"
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_questions_are_refused(message):
    with pytest.raises(ModelError, match=message):
        REFUSED[message]()


def test_a_number_of_the_family_is_no_predictor():
    fit = lf.fit("y ~ a + (1 | g)", crossed())
    with pytest.raises(ModelError, match="'sigma' is one number in this model"):
        fit.emmeans("a", predictor="sigma")
