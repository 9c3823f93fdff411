"""The estimators in scikit-learn's hands: its own checks, pipelines, cross-validation."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lmeformula as lf
from lmeformula.sklearn import MixedModelClassifier, MixedModelRegressor
from tests.store.fits import data

SLEEP = lf.datasets.load("sleepstudy")
FORMULA = "Reaction ~ Days + (Days | Subject)"


# ---- scikit-learn's own checks


class _Grouped:
    """Gives the checks' arrays, whose columns are all numbers, a grouping factor that follows from them.

    A formula names its columns; the checks do not know of names. Here every column is a fixed effect.
    """

    def _table(self, X: Any, *, fitting: bool = False) -> pd.DataFrame:
        table = super()._table(X, fitting=fitting)  # type: ignore[misc]
        first = table.iloc[:, 0].astype(float)
        return table.assign(g=np.floor(first * 7.0) % 4)


class GroupedRegressor(_Grouped, MixedModelRegressor):
    def __init__(self, formula: str = "y ~ . - g + (1 | g)", family: str = "gaussian") -> None:
        super().__init__(formula, family=family)


class GroupedClassifier(_Grouped, MixedModelClassifier):
    def __init__(self, formula: str = "y ~ . - g + (1 | g)", family: str = "bernoulli") -> None:
        super().__init__(formula, family=family)


# These fit arrays of random numbers, no two of them equal: a level for each row, which cannot be told from a
# residual. The regressor, which has nothing but its formula, refuses that. `_Grouped` passes them all.
NEED_A_GROUPING_FACTOR = (
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_regressors_no_decision_function",
    "check_regressors_train",
    "check_sample_weights_pandas_series",
    "check_supervised_y_2d",
)


def expected_failures(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, _Grouped):
        check = "check_sample_weight_equivalence_on_dense_data"
        return {check: "it has 30 columns for 15 samples; a test below is for a mixed model"}
    if isinstance(estimator, MixedModelClassifier):
        return dict.fromkeys(
            ("check_classifier_data_not_an_array", "check_sample_weights_pandas_series"),
            "the table's columns are named by numbers",
        )
    perfect = "its means of rows without scatter agree to 1.4e-9, and 1e-9 is asked"
    return dict.fromkeys(NEED_A_GROUPING_FACTOR, "no column of the check is a grouping factor") | {
        "check_sample_weight_equivalence_on_dense_data": perfect
    }


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [GroupedRegressor(), GroupedClassifier(), MixedModelRegressor(), MixedModelClassifier()],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# ---- what it fits and predicts


def test_it_is_the_fit_of_the_formula() -> None:
    direct = lf.fit(FORMULA, SLEEP, reml=True)
    model = MixedModelRegressor(FORMULA, options={"reml": True}).fit(SLEEP, SLEEP["Reaction"])
    pd.testing.assert_series_equal(model.result_.fixef, direct.fixef)
    assert model.result_.loglik == direct.loglik
    np.testing.assert_allclose(model.predict(SLEEP), direct.fitted())
    assert list(model.feature_names_in_) == list(SLEEP.columns)


@pytest.mark.parametrize("formula", [FORMULA, "~ Days + (Days | Subject)"])
@pytest.mark.parametrize("table", [SLEEP, SLEEP.drop(columns="Reaction"), pl.DataFrame(SLEEP)])
def test_y_takes_the_place_before_the_tilde(formula: str, table: Any) -> None:
    y = 2.0 * SLEEP["Reaction"].to_numpy()
    model = MixedModelRegressor(formula).fit(table, y)
    assert model.result_.fixef["Days"] == pytest.approx(2.0 * 10.46729)
    assert model.predict(table[:3]).shape == (3,)


def test_y_may_be_a_column_of_X() -> None:
    model = MixedModelRegressor(FORMULA).fit(SLEEP)
    assert model.result_.fixef["Days"] == pytest.approx(10.46729)


def test_arrays_have_columns_by_number() -> None:
    array = np.column_stack([SLEEP["Days"], SLEEP["Subject"].astype(int)])
    model = MixedModelRegressor("~ x0 + (x0 | x1)").fit(array, SLEEP["Reaction"])
    assert model.result_.fixef["x0"] == pytest.approx(10.46729)
    np.testing.assert_allclose(model.predict(array[:4]), model.result_.fitted()[:4])


def test_levels_that_are_new_are_predicted_at_the_population() -> None:
    known = MixedModelRegressor(FORMULA).fit(SLEEP)
    new = SLEEP.iloc[:2].assign(Subject="999")
    np.testing.assert_allclose(known.predict(new), known.result_.predict(new, re_form="NA"))
    with pytest.raises(lf.FormulaDataError, match="levels that the fit has not seen"):
        clone(known).set_params(new_levels="error").fit(SLEEP).predict(new)
    plain = clone(known).set_params(re_form="NA").fit(SLEEP)
    np.testing.assert_allclose(plain.predict(SLEEP), plain.result_.predict(re_form="NA"))


def test_two_classes() -> None:
    table = data()
    y = np.where(table["y"], "yes", "no")
    model = MixedModelClassifier("~ x + (1 | g)").fit(table, y)
    direct = lf.fit("y ~ x + (1 | g)", table, family="bernoulli", method="laplace")
    np.testing.assert_allclose(model.predict_proba(table)[:, 1], direct.fitted())
    assert list(model.classes_) == ["no", "yes"]
    assert set(model.predict(table)) <= {"no", "yes"}
    assert model.score(table, y) == np.mean(model.predict(table) == y)
    with pytest.raises(lf.ModelError, match=r"(?s)binary classification.*cumulative"):
        MixedModelClassifier("~ x + (1 | g)").fit(table, table["rating"])
    with pytest.raises(lf.FormulaDataError, match="only one class"):
        MixedModelClassifier("~ x + (1 | g)").fit(table, np.zeros(120))


def test_ordered_classes_keep_their_order_and_are_listed_sorted() -> None:
    table = data()
    model = MixedModelClassifier("rating ~ x + (1 | g)", family="cumulative")
    model.fit(table, table["rating"])
    assert list(model.classes_) == ["best", "fair", "good", "low"]
    direct = lf.fit("rating ~ x + (1 | g)", table, family="cumulative", method="laplace")
    expected = direct.predict(kind="prob")[["best", "fair", "good", "low"]]
    np.testing.assert_allclose(model.predict_proba(table), expected)
    labels = expected.idxmax(axis=1).to_numpy()
    np.testing.assert_array_equal(model.predict(table), labels)
    numbered = clone(model).fit(table, table["rating"].cat.codes)
    np.testing.assert_allclose(numbered.predict_proba(table), direct.predict(kind="prob"))


def test_rows_with_a_missing_value() -> None:
    table = data().head(3).assign(x=[0.0, np.nan, 1.0])
    model = MixedModelRegressor("k ~ x + (1 | g)", family="poisson", method="laplace").fit(data())
    assert list(np.isnan(model.predict(table))) == [False, True, False]
    classifier = MixedModelClassifier("y ~ x + (1 | g)").fit(data())
    assert np.isnan(classifier.predict_proba(table)[1]).all()
    with pytest.raises(lf.FormulaDataError, match="1 rows have a missing value"):
        classifier.predict(table)


# ---- in scikit-learn's tools


def test_cross_validation_and_grid_search() -> None:
    model = MixedModelRegressor(FORMULA)
    scores = cross_val_score(model, SLEEP, SLEEP["Reaction"], cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    apart = cross_val_score(
        model, SLEEP, SLEEP["Reaction"], groups=SLEEP["Subject"], cv=GroupKFold(3)
    )
    assert np.isfinite(apart).all()
    # Within known subjects prediction is better than for new ones.
    shuffled = SLEEP.sample(frac=1, random_state=1)
    mixed = cross_val_score(model, shuffled, shuffled["Reaction"], cv=3)
    assert mixed.mean() > apart.mean()
    search = GridSearchCV(model, {"formula": ["~ Days + (1 | Subject)", FORMULA]}, cv=3)
    assert search.fit(SLEEP, SLEEP["Reaction"]).best_params_["formula"] in (
        "~ Days + (1 | Subject)",
        FORMULA,
    )


def test_pipelines() -> None:
    halve = FunctionTransformer(lambda table: table.assign(Days=table["Days"] / 2))
    pipe = make_pipeline(halve, MixedModelRegressor(FORMULA))
    fitted = pipe.fit(SLEEP, SLEEP["Reaction"])
    assert fitted[-1].result_.fixef["Days"] == pytest.approx(2 * 10.46729)
    scale = ColumnTransformer(
        [("days", StandardScaler(), ["Days"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    scaled = make_pipeline(scale, MixedModelRegressor("~ Days + (Days | Subject)"))
    scaled.fit(SLEEP[["Days", "Subject"]], SLEEP["Reaction"])
    sd = SLEEP["Days"].std(ddof=0)
    assert scaled[-1].result_.fixef["Days"] == pytest.approx(10.46729 * sd, rel=1e-5)


def test_a_fitted_estimator_survives_a_process_pool() -> None:
    double = {"functions": {"double": np.square}}
    model = MixedModelRegressor("~ double(Days) + (1 | Subject)", options=double)
    model.fit(SLEEP, SLEEP["Reaction"])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(SLEEP), model.predict(SLEEP))
    pd.testing.assert_series_equal(again.result_.residuals(), model.result_.residuals())
    classifier = MixedModelClassifier("y ~ x + (1 | g)").fit(data())
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copy.predict_proba(data()), classifier.predict_proba(data()))


# ---- mistakes


def test_mistakes() -> None:
    with pytest.raises(NotFittedError):
        MixedModelRegressor(FORMULA).predict(SLEEP)
    with pytest.raises(lf.ModelError, match=r"(?s)log\(Reaction\).*\^.*TransformedTargetRegressor"):
        MixedModelRegressor("log(Reaction) ~ Days + (1 | Subject)").fit(SLEEP, SLEEP["Reaction"])
    with pytest.raises(lf.FormulaDataError, match=r"requires y.*\n.*column 'y' of X"):
        MixedModelRegressor("~ Days + (1 | Subject)").fit(SLEEP)
    with pytest.raises(lf.FormulaSyntaxError):
        MixedModelRegressor("~ Days + (1 |)").fit(SLEEP, SLEEP["Reaction"])
    fitted = MixedModelRegressor(FORMULA).fit(SLEEP)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(SLEEP.rename(columns={"Days": "days"}))


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import lmeformula as lf\n"
        "try:\n    lf.sklearn\n"
        "except lf.MissingLibraryError as error:\n"
        "    assert isinstance(error, ImportError)\n    print(error)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert "pip install lmeformula[sklearn]" in done.stdout, done.stderr


# ---- weights


def test_a_weight_of_two_is_the_row_twice() -> None:
    weight = np.arange(len(SLEEP)) % 3
    model = MixedModelRegressor(FORMULA)
    weighted = model.fit(SLEEP, SLEEP["Reaction"], sample_weight=pd.Series(weight)).result_
    repeated = SLEEP.loc[SLEEP.index.repeat(weight)]
    twice = MixedModelRegressor(FORMULA).fit(repeated, repeated["Reaction"]).result_
    pd.testing.assert_series_equal(weighted.fixef, twice.fixef, rtol=1e-6)
    assert float(weighted.loglik) == pytest.approx(float(twice.loglik), abs=1e-6)


def test_weights_are_routed_through_pipelines_and_cross_validation() -> None:
    weight = np.arange(len(SLEEP)) % 2 + 1
    with sklearn.config_context(enable_metadata_routing=True):
        model = MixedModelRegressor(FORMULA).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        pipe = make_pipeline(FunctionTransformer(), model)
        fitted = pipe.fit(SLEEP, SLEEP["Reaction"], sample_weight=weight)
        assert fitted[-1].result_.nobs == weight.sum()
        search = GridSearchCV(
            pipe, {"mixedmodelregressor__re_form": [None, "NA"]}, cv=GroupKFold(3)
        )
        search.fit(SLEEP, SLEEP["Reaction"], sample_weight=weight, groups=SLEEP["Subject"])
        assert search.best_estimator_[-1].result_.nobs == weight.sum()


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.full(180, 0.5), "not a whole number, 0 or more, in 180 rows"),
        (np.full(180, -1.0), "not a whole number"),
        (np.full(180, np.nan), "with nan"),
        (np.zeros(180), "every sample_weight is zero"),
    ],
)
def test_weights_that_are_no_counts_are_refused(weight: Any, words: str) -> None:
    with pytest.raises(lf.FormulaDataError, match=words):
        MixedModelRegressor(FORMULA).fit(SLEEP, SLEEP["Reaction"], sample_weight=weight)
