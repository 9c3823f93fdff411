"""Marginal means, slopes, contrasts and joint tests: against R's emmeans, lmerTest, and by hand."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.adjust import adjusted_p, critical_values
from lmeformula.inference.contrasts import contrast_matrix
from lmeformula.inference.grid import cells
from tests.prediction.after_fit import CLOSE, FORMULAS, REFERENCE, data, fit_of

EMMEANS = REFERENCE["emmeans"]
# R's names of the estimates.
ESTIMATE = ("emmean", "estimate", "prob", "rate", "odds.ratio", "ratio", "temp.trend", "Days.trend")


def oats(**options):
    return fit_of("oats").emmeans("nitro", **options)


def cake():
    return fit_of("cake").emmeans("recipe", by="temp", at={"temp": [180, 220]})


def periods(**options):
    return fit_of("cbpp").emmeans("period", **options)


def years():
    return fit_of("ticks").emmeans("YEAR", kind="response")


CASES = {
    "oats_variety": lambda: fit_of("oats").emmeans("Variety"),
    "oats_variety_kr": lambda: fit_of("oats").emmeans("Variety", ddf="kenward-roger"),
    "oats_proportional": lambda: fit_of("oats").emmeans("Variety", weights="proportional"),
    "oats_nitro": oats,
    "oats_pairs_tukey": lambda: oats().contrasts(),
    "oats_pairs_holm": lambda: oats().contrasts(adjust="holm"),
    "oats_pairs_sidak": lambda: oats().contrasts(adjust="sidak"),
    "oats_pairs_bonferroni": lambda: oats().contrasts(adjust="bonferroni"),
    "oats_ctrl_sidak": lambda: oats().contrasts("trt.vs.ctrl", adjust="sidak"),
    "oats_custom": lambda: oats().contrasts({"linear": [-3, -1, 1, 3], "ends": [-1, 0, 0, 1]}),
    "cake_by": cake,
    "cake_by_pairs": lambda: cake().contrasts(),
    "cake_trends": lambda: fit_of("cake").emmeans("recipe", var="temp"),
    "poly": lambda: fit_of("poly").emmeans("Days", at={"Days": [2, 5, 8]}),
    "cbpp_response": lambda: periods(kind="response"),
    "cbpp_link": periods,
    "cbpp_odds": lambda: periods(kind="response").contrasts(),
    "ticks_response": years,
    "ticks_ratio": lambda: years().contrasts(),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_emmeans(name):
    published = EMMEANS[name]
    frame = CASES[name]().to_frame()
    key = next(key for key in ESTIMATE if key in published)
    low = next(key for key in ("lower.CL", "asymp.LCL") if key in published)
    high = low.replace("lower", "upper").replace("LCL", "UCL")
    columns = {"estimate": key, "std_error": "SE", "conf_low": low, "conf_high": high}
    for ours, theirs in columns.items():
        # glmer's Hessian is by differences: three times the slack of an exact fit.
        np.testing.assert_allclose(frame[ours], published[theirs], rtol=3 * CLOSE, err_msg=ours)
    df = np.array([np.inf if value == "Inf" else value for value in published["df"]], float)
    np.testing.assert_allclose(frame["df"], df, rtol=CLOSE)
    if "p_value" in frame:
        # A tail's relative slope is about the statistic; R's studentised range stops at 1e-10 or so.
        slack = 3 * CLOSE * (1.0 + frame["statistic"] ** 2) * frame["p_value"] + 1e-8
        assert (np.abs(frame["p_value"] - published["p.value"]) < slack).all()


def test_published_means_of_the_emmeans_vignette():
    # "Sophisticated models in emmeans", section on lmer: Kenward-Roger means of nitro, three digits printed.
    # https://cran.r-project.org/web/packages/emmeans/vignettes/sophisticated.html
    formula = "yield ~ Variety + factor(nitro) + (1 | Block/Variety)"
    means = lf.fit(formula, data("oats"), reml=True).emmeans("nitro", ddf="kenward-roger")
    frame = means.to_frame()[["estimate", "std_error", "df", "conf_low", "conf_high"]]
    printed = [
        [78.9, 7.29, 7.78, 62.0, 95.8],
        [97.0, 7.14, 7.19, 80.3, 113.8],
        [114.2, 7.14, 7.19, 97.4, 131.0],
        [124.1, 7.07, 6.95, 107.3, 140.8],
    ]
    half_a_digit = np.array([0.05, 0.005, 0.005, 0.05, 0.05]) * 1.01
    assert (np.abs(frame - np.array(printed)) <= half_a_digit).to_numpy().all()


def test_slopes_of_a_polynomial_are_its_derivatives():
    # R's are differences in one direction, off by half their step times the second derivative.
    frame = fit_of("poly").emmeans("Days", var="Days", at={"Days": [2.0, 8.0]}).to_frame()
    days = np.asarray(data("poly")["Days"], float)
    quadratic = np.polyfit(days, fit_of("poly").model.design.X @ fit_of("poly").params.beta, 2)
    np.testing.assert_allclose(
        frame["estimate"], np.polyval(np.polyder(quadratic), [2, 8]), rtol=1e-8
    )
    np.testing.assert_allclose(frame["estimate"], EMMEANS["poly_trend"]["Days.trend"], rtol=1e-3)


@pytest.mark.parametrize("name", REFERENCE["anova"])
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_joint_tests_are_type_three_tests_with_sum_contrasts(name, ddf):
    published = REFERENCE["anova"][name][ddf.replace("-", "_")]
    theirs = pd.DataFrame({key: np.atleast_1d(value) for key, value in published.items()})
    ours = fit_of(name).joint_tests(ddf=ddf)
    rows = range(len(ours))
    if name == "cake":  # R's test of recipe is about a temperature of zero, ours about the mean
        assert ours["statistic"][0] == pytest.approx(EMMEANS["cake_joint"]["F.ratio"][0], abs=5e-4)
        rows = [1, 2]
    for i in rows:
        assert ours["df1"][i] == theirs["NumDF"][i]
        assert ours["df2"][i] == pytest.approx(theirs["DenDF"][i], rel=CLOSE)
        assert ours["statistic"][i] == pytest.approx(theirs["F value"][i], rel=CLOSE)
        assert ours["p_value"][i] == pytest.approx(theirs["Pr(>F)"][i], rel=1e-3)


def test_the_coding_of_factors_does_not_matter():
    coded = lf.fit(
        FORMULAS["oats"],
        data("oats"),
        reml=True,
        contrasts={"Variety": "helmert", "factor(nitro)": "poly"},
    )
    for method in ("emmeans", "joint_tests"):
        ours, theirs = (
            f.emmeans("Variety").to_frame() if method == "emmeans" else f.joint_tests()
            for f in (coded, fit_of("oats"))
        )
        # Fai and Cornelius's degrees of freedom are those of directions that depend on the coding, a little.
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3 if method == "joint_tests" else 1e-5)


def test_transforms_are_those_of_the_fit():
    frame = fit_of("ticks").emmeans("HEIGHT", at={"HEIGHT": [450.0, 480.0]}, var=None).to_frame()
    expected = fit_of("ticks").predict(
        pd.DataFrame({"HEIGHT": [450.0, 480.0] * 3, "YEAR": np.repeat(["95", "96", "97"], 2)}),
        re_form="NA",
        kind="link",
    )
    np.testing.assert_allclose(frame["estimate"], expected.to_numpy().reshape(3, 2).mean(axis=0))


@pytest.fixture(scope="module")
def holed() -> lf.Fit:
    frame = lf.datasets.load("cake")
    frame = frame[~((frame.recipe == "B") & (frame.temperature == "185"))]
    frame = frame.assign(temperature=frame.temperature.astype(str))
    with pytest.warns(UserWarning, match="rank"):
        return lf.fit("angle ~ recipe * temperature + (1 | recipe:replicate)", frame, reml=True)


def test_means_that_the_data_do_not_determine_are_missing(holed):
    assert holed.emmeans("recipe").to_frame()["estimate"].isna().tolist() == [False, True, False]
    frame = holed.emmeans(["recipe", "temperature"]).to_frame()
    lost = frame[frame["estimate"].isna()]
    assert lost[["recipe", "temperature"]].to_numpy().tolist() == [["B", "185"]]
    assert "not determined" in repr(holed.emmeans("recipe"))
    pairs = holed.emmeans("recipe", by="temperature").contrasts().to_frame()
    assert pairs["p_value"].isna().sum() == 2


def test_joint_tests_keep_what_is_determined(holed):
    # One of 18 cells is empty: one degree of freedom of each effect that needs it is lost.
    # What is left of the 17 between cells that are there is confounded.
    assert holed.joint_tests()["df1"].tolist() == [1, 4, 9, 2]


def test_terms_are_chosen_by_name():
    tests = fit_of("cake").joint_tests(["temp:recipe"])
    assert tests["term"].tolist() == ["recipe:temp"]
    with pytest.raises(ModelError, match="no term 'recipe:replicate'"):
        fit_of("cake").joint_tests(["recipe:replicate"])


def test_polynomials_are_tested_as_a_whole():
    fit = fit_of("poly")
    tests = fit.joint_tests(ddf="none")
    inner = np.linalg.inv(fit.fixed_vcov[1:, 1:])
    wald = fit.params.beta[1:] @ inner @ fit.params.beta[1:]
    assert tests["df1"][0] == 2
    assert tests["statistic"][0] * 2 == pytest.approx(wald, rel=1e-8)


def test_means_print_with_what_they_are():
    text = repr(periods(kind="response").contrasts())
    heading = ["contrast", "odds", "ratio", "std", "error", "2.5", "%", "97.5", "%", "z", "p"]
    assert text.splitlines()[0].split() == heading
    assert "tukey" in text
    assert "<table" in periods()._repr_html_()
    assert "linear predictor (logit)" in repr(periods())


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (lambda f: f.emmeans("Block"), "'Block' is not a column of the fixed effects"),
        (lambda f: f.emmeans("Variety", weights="cells"), "weights is 'cells'"),
        (lambda f: f.emmeans("Variety", kind="prob"), "kind is 'prob'"),
        (lambda f: f.emmeans("Variety", var="Variety"), "'Variety' is not a number"),
        (lambda f: f.emmeans("Variety", at={"nitro": []}), "at gives no value for 'nitro'"),
        (lambda f: f.emmeans("Variety", var="nitro", kind="response"), "slopes are on the scale"),
        (lambda f: f.emmeans("Variety").contrasts("all"), "no contrasts 'all'"),
        (lambda f: f.emmeans("Variety").contrasts("eff", adjust="tukey"), "for all pairs"),
        (lambda f: f.emmeans("Variety").contrasts(adjust="fdr"), "adjust is 'fdr'"),
        (lambda f: f.emmeans("Variety").contrasts({"c": [1, -1]}), "2 coefficients for 3 means"),
        (lambda f: f.emmeans("nitro", by="nitro").contrasts(), "one mean"),
        (lambda f: f.emmeans("Variety", at={"Variety": "Oslo"}), "did not have: Oslo"),
    ],
)
def test_bad_questions_are_refused(ask, problem):
    with pytest.raises(ValueError, match=problem):
        ask(fit_of("oats"))


def test_a_grid_that_is_too_large_is_refused():
    many = {"temp": list(np.linspace(175, 225, 200_001))}
    with pytest.raises(ModelError, match="reference grid would have 600,003 rows"):
        cells(fit_of("cake"), ["recipe"], at=many)


def test_weights_by_frequency_follow_the_cells():
    frame = data("oats")
    found = cells(fit_of("oats"), ["Variety"], weights="proportional").rows[0, 3:]
    share = frame["nitro"].value_counts(normalize=True).sort_index().to_numpy()[1:]
    np.testing.assert_allclose(found, share)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("consec", [[-1, 1, 0], [0, -1, 1]]),
        ("trt.vs.ctrl", [[-1, 1, 0], [-1, 0, 1]]),
        ("eff", [[2 / 3, -1 / 3, -1 / 3], [-1 / 3, 2 / 3, -1 / 3], [-1 / 3, -1 / 3, 2 / 3]]),
        ("poly", np.array([[-1, 0, 1] / np.sqrt(2), [1, -2, 1] / np.sqrt(6)])),
    ],
)
def test_contrast_coefficients(method, expected):
    np.testing.assert_allclose(
        contrast_matrix(method, list("abc")).coefficients, expected, atol=1e-12
    )


def test_adjustments_by_hand():
    t, df = np.array([2.5, 1.0, -3.0, np.nan]), np.array([10.0, 10.0, 10.0, np.nan])
    plain = adjusted_p(t, df, "none", 0)
    np.testing.assert_allclose(
        adjusted_p(t, df, "holm", 0)[:3], [2 * plain[0], plain[1], 3 * plain[2]]
    )
    # Holm's p-values never fall: 3 p of the smallest is more than 2 p of one hardly larger.
    near = adjusted_p(np.array([2.5, 2.49, 0.1]), df[:3], "holm", 0)
    assert near[1] == near[0] == pytest.approx(3 * plain[0])
    np.testing.assert_allclose(adjusted_p(t, df, "sidak", 0)[:3], 1 - (1 - plain[:3]) ** 3)
    # Tables of the studentised range: q(.05; 3, 10) = 3.877.
    assert critical_values(df[:1], 0.95, "tukey", 3, 3)[0] * 2**0.5 == pytest.approx(
        3.877, abs=5e-4
    )
    assert np.isnan(adjusted_p(t, df, "tukey", 3)[3])


def stand_in(monkeypatch):
    """What a model would inherit from and call of marginaleffects, which is optional; returns polars."""
    pl = pytest.importorskip("polars")

    class Base:
        def __init__(self, model, vault):
            self.model, self.vault = model, vault

    classes = types.ModuleType("marginaleffects.classes.model")
    classes.ModelAbstract = Base
    classes.ModelVault = lambda **fields: types.SimpleNamespace(**fields)
    for name in ("marginaleffects", "marginaleffects.classes"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "marginaleffects.classes.model", classes)
    return pl


def test_marginaleffects_gets_designs_and_predictions(monkeypatch):
    pl = stand_in(monkeypatch)
    fit = fit_of("ticks")
    model = fit.to_marginaleffects(data("ticks"))
    assert model.vault.modeldata["YEAR"].dtype == pl.Enum(["95", "96", "97"])
    found = model.get_predict(model.vault.coef, model.get_exog(model.vault.modeldata))
    expected = fit.predict(re_form="NA").to_numpy()
    np.testing.assert_allclose(found["estimate"].to_numpy(), expected, rtol=1e-12)
    oats_model = fit_of("oats").to_marginaleffects(data("oats"), kind="link")
    exog = oats_model.get_exog(oats_model.vault.modeldata)
    np.testing.assert_allclose(exog[:, :-1], fit_of("oats").model.design.X)
    with pytest.raises(ModelError, match="kind is 'odds'"):
        fit.to_marginaleffects(data("ticks"), kind="odds")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "marginaleffects.classes.model", None)
    with pytest.raises(ModelError, match="pip install marginaleffects"):
        fit_of("ticks").to_marginaleffects(data("ticks"))
