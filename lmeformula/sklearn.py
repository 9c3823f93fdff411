"""Estimators for scikit-learn: a formula that fits and predicts in pipelines and cross-validation.

    from lmeformula.sklearn import MixedModelRegressor
    cross_val_score(MixedModelRegressor("Reaction ~ Days + (Days | Subject)"), data, data["Reaction"])

They take data frames, whose columns the formula names; the columns of a plain array are x0, x1, ....
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import narwhals
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.api import fit as fit_formula
from lmeformula.api import load
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.errors import FormulaDataError, MissingLibraryError, ModelError
from lmeformula.family.built_in import family as find_family
from lmeformula.formula import ir, parse

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise MissingLibraryError(
        f"lmeformula.sklearn needs scikit-learn 1.6 or later, which cannot be imported: {error}",
        hint="Install it: pip install lmeformula[sklearn].",
    ) from error

if TYPE_CHECKING:
    from lmeformula.face import Fit
    from lmeformula.model import Family

Y_NAME = "y"


class _MixedModel(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: the formula meets a table and, in fit, a response."""

    result_: Fit

    def __init__(
        self,
        formula: str = "y ~ 1 + (1 | x0)",
        *,
        family: str | Family = "gaussian",
        method: str = "auto",
        new_levels: str = "population",
        re_form: str | None = None,
        random_state: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.formula = formula
        self.family = family
        self.method = method
        self.new_levels = new_levels
        self.re_form = re_form
        self.random_state = random_state
        self.options = options

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model.

        Args:
          X: (n, columns) a data frame with the columns that the formula names, or an array.
          y: (n,) the response, numbers or classes; by default the column of X that the formula names.
          sample_weight: (n,) how many identical rows each row stands for, whole numbers: the `frequency=` of
            `lmeformula.fit`. With scikit-learn's metadata routing `set_fit_request(sample_weight=True)` asks
            for it. How precise a row is says `options={"weights": "column of X"}`.
        Returns:
          self.
        Raises:
          FormulaDataError: if a weight is no whole number, or negative.
        """
        kinds.text("formula", self.formula)
        find_family(self.family)
        kinds.optional(kinds.seed)("random_state", self.random_state)
        kinds.optional(kinds.mapping)("options", self.options)
        table, name = self._table(X, fitting=True), response_name(self.formula)
        if len(table) < 2:
            raise FormulaDataError(f"a mixed model cannot be fitted to n_samples = {len(table)}")
        if y is None and name not in table.columns:
            # The words are those that scikit-learn's own estimators have for this.
            raise FormulaDataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None",
                hint=f"Or give the response as the column {name!r} of X.",
            )
        y, counts = table[name] if y is None else y, None
        check_consistent_length(table, y)
        if sample_weight is not None:
            counts = _counts(sample_weight, table)
            if not counts.all():  # as if these rows were not there
                left = counts > 0
                table, counts = table[left], counts[left]
                y = y[left] if isinstance(y, pd.Series) else np.asarray(y)[left]
        y = self._response(y)
        table = table.assign(**{name: y})
        has_response = parse(self.formula).response is not None
        text = self.formula if has_response else f"{name} {self.formula}"
        options = {"progress": False, **(self.options or {})}
        if counts is not None:
            options["frequency"] = counts
        self.result_ = fit_formula(
            text, table, self.family, method=self.method, seed=self.random_state or 0, **options
        )
        return self

    def _response(self, y: Any) -> Any:
        raise NotImplementedError

    def _table(self, X: Any, *, fitting: bool = False) -> pd.DataFrame:
        """X as a data frame, its columns checked against those of fit."""
        table = as_table(X)
        if table is None:
            array = validate_data(self, X, reset=fitting)
            return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])
        validate_data(self, table, reset=fitting, skip_check_array=True)
        return table

    def _predict(self, X: Any, kind: str) -> Floats:
        check_is_fitted(self, "result_")
        found = self.result_.predict(
            self._table(X), kind=kind, re_form=self.re_form, new_levels=self.new_levels
        )
        return np.asarray(found, float)

    def __getstate__(self) -> dict[str, Any]:
        # A fit holds functions of its family, which no pickle can; its own format holds everything else.
        state = dict(super().__getstate__())
        if "result_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = state["result_"].save(Path(folder) / "fit", data=True)
                state["result_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state.get("result_")
        super().__setstate__({name: v for name, v in state.items() if name != "result_"})
        if content is not None:
            own = None if isinstance(self.family, str) else self.family
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "fit"
                path.write_bytes(content)
                functions = (self.options or {}).get("functions")
                self.result_ = load(path, functions=functions, family=own)


class MixedModelRegressor(RegressorMixin, _MixedModel):  # type: ignore[misc]
    """A mixed model of a number.

    Args:
      formula: in lme4's syntax. Its response is what `y` holds: write a plain name before the tilde, or
        nothing.
      family: of the response, as in `lmeformula.fit`.
      method: of estimation, as in `lmeformula.fit`.
      new_levels: how rows are predicted whose level of a grouping factor was not in the data of the fit:
        "population", with an effect of zero, or "error".
      re_form: "NA" predicts from the fixed effects alone.
      random_state: seed of Monte Carlo fits.
      options: further options of `lmeformula.fit`, such as {"reml": True}.
    Attributes:
      result_: the fit, with everything that `lmeformula.fit` returns.
      n_features_in_: number of columns of X.
      feature_names_in_: their names, if X was a data frame.
    Example:
      >>> import lmeformula as lf
      >>> from lmeformula.sklearn import MixedModelRegressor
      >>> data = lf.datasets.load("sleepstudy")
      >>> model = MixedModelRegressor("~ Days + (Days | Subject)")
      >>> fitted = model.fit(data, data["Reaction"])
      >>> round(fitted.score(data, data["Reaction"]), 2)
      0.82
    """

    def predict(self, X: Any) -> Floats:
        """Predict the mean of the response: (n,), nan for rows with a missing value."""
        return self._predict(X, "response")

    def _response(self, y: Any) -> Any:
        return np.asarray(column_or_1d(y, warn=True, dtype=np.float64), float)


class MixedModelClassifier(ClassifierMixin, _MixedModel):  # type: ignore[misc]
    """A mixed model of two classes, or of several that are ordered.

    Args:
      formula: in lme4's syntax. Its response is what `y` holds: write a plain name before the tilde, or
        nothing.
      family: "bernoulli" for two classes, "cumulative" for ordered ones, both with a link in parentheses where
        another than the logit is meant. The order is that of an ordered categorical, else that of sorting.
      method: of estimation; "laplace" by default, because cross-validation fits often. "mcem" goes beyond it.
      new_levels: how rows are predicted whose level of a grouping factor was not in the data of the fit:
        "population", with an effect of zero, or "error".
      re_form: "NA" predicts from the fixed effects alone.
      random_state: seed of Monte Carlo fits.
      options: further options of `lmeformula.fit`.
    Attributes:
      result_: the fit.
      classes_: the classes, sorted.
      n_features_in_: number of columns of X.
      feature_names_in_: their names, if X was a data frame.
    Example:
      >>> import lmeformula as lf
      >>> from lmeformula.sklearn import MixedModelClassifier
      >>> data = lf.datasets.load("wine")
      >>> model = MixedModelClassifier("~ temp + contact + (1 | judge)", family="cumulative")
      >>> model.fit(data, data["rating"]).predict_proba(data[:2]).shape
      (2, 5)
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        formula: str = "y ~ 1 + (1 | x0)",
        *,
        family: str | Family = "bernoulli",
        method: str = "laplace",
        new_levels: str = "population",
        re_form: str | None = None,
        random_state: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            formula,
            family=family,
            method=method,
            new_levels=new_levels,
            re_form=re_form,
            random_state=random_state,
            options=options,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self._is_ordered
        return tags

    @property
    def _is_ordered(self) -> bool:
        name = self.family if isinstance(self.family, str) else self.family.name
        return not name.strip().startswith("bernoulli")

    def predict_proba(self, X: Any) -> Floats:
        """Predict (n, classes) probabilities, in the order of `classes_`."""
        if not self._is_ordered:
            chance = self._predict(X, "response")
            return np.column_stack([1.0 - chance, chance])
        return np.asarray(self._predict(X, "prob")[:, self._places], float)

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict (n,) the most probable class of each row."""
        chances = self.predict_proba(X)
        if np.isnan(chances).any():
            raise FormulaDataError(
                f"{int(np.isnan(chances).any(axis=1).sum())} rows have a missing value, and so no most "
                "probable class",
                hint="Leave these rows out, or fill their values in.",
            )
        return np.asarray(self.classes_[chances.argmax(axis=1)])

    def _response(self, y: Any) -> Any:
        order = (
            y.cat.categories if isinstance(getattr(y, "dtype", None), pd.CategoricalDtype) else ()
        )
        values = np.asarray(column_or_1d(y, warn=True))
        check_classification_targets(values)
        self.classes_, codes = np.unique(values, return_inverse=True)
        if len(self.classes_) < 2:
            raise FormulaDataError("a classifier needs two classes, and y has only one class")
        if not self._is_ordered:
            if len(self.classes_) > 2:
                raise ModelError(
                    "Only binary classification is supported by the bernoulli family. The type of the target "
                    f"is multiclass: it has {len(self.classes_)} classes",
                    hint='For ordered classes use family="cumulative".',
                )
            return codes == 1
        names = [label for label in order if label in set(self.classes_)] or list(self.classes_)
        self._places = np.array([names.index(label) for label in self.classes_])
        place_of = self._places[codes]
        labels = [str(name) for name in names]
        return pd.Categorical.from_codes(place_of, labels, ordered=True)


def _counts(sample_weight: Any, table: pd.DataFrame) -> Floats:
    """Weights (n,) as scikit-learn means them: a row with two is the same as two rows."""
    counts = np.asarray(column_or_1d(sample_weight, dtype=np.float64), float)
    check_consistent_length(table, counts)
    wrong = ~((counts >= 0) & (counts == np.floor(counts)) & np.isfinite(counts))
    if wrong.any():
        first = int(wrong.argmax())
        raise FormulaDataError(
            f"sample_weight is not a whole number, 0 or more, in {int(wrong.sum()):,} rows: the first is row "
            f"{first}, with {counts[first]:g}",
            hint="It says how many identical rows each row stands for. How precise a row is says a column of "
            'X: options={"weights": "its name"}, for families that have such weights.',
        )
    if not counts.any():
        raise FormulaDataError("every sample_weight is zero: no row is left")
    return counts


def response_name(formula: str) -> str:
    """The column that y goes into.

    Args:
      formula: the formula's text.
    Returns:
      name: that before the tilde, or "y" if there is nothing.
    Raises:
      ModelError: if the response is more than a column.
    Example:
      >>> response_name("Reaction ~ Days + (1 | Subject)"), response_name("~ Days + (1 | Subject)")
      ('Reaction', 'y')
    """
    response = parse(formula).response
    if response is None:
        return Y_NAME
    if not isinstance(response.expression, ir.Column):
        raise ModelError(
            "y is the response itself here, and the formula makes something else of it",
            formula=formula,
            span=response.span,
            hint="Write a plain name before the tilde, or nothing, and transform y: "
            "sklearn.compose.TransformedTargetRegressor does it and takes it back.",
        )
    return response.expression.name


def as_table(X: Any) -> pd.DataFrame | None:
    """X as a data frame of pandas if it is one of any library; None for arrays and lists."""
    if isinstance(X, pd.DataFrame):
        return X
    table = narwhals.from_native(X, eager_only=True, pass_through=True)
    return table.to_pandas() if isinstance(table, narwhals.DataFrame) else None
