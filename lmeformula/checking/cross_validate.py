"""K-fold and leave-one-group-out cross-validation, and the comparison of two."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.checking.asked_of_folds import FIT_METHODS, metrics_of, what_is_scored
from lmeformula.checking.fold_predictions import predict_fold, refit_student
from lmeformula.checking.folds import Folds, check_folds, make_folds
from lmeformula.checkpoint.journal import piece
from lmeformula.checkpoint.trees import Tree
from lmeformula.design.select import select_rows
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.continued import continued
from lmeformula.estimation.dispatch import estimate
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.inference.comparable import row_weights, same_measure
from lmeformula.inference.refit import start_from
from lmeformula.prediction.answers import Target, laid_out
from lmeformula.prediction.residuals import observed_mean
from lmeformula.prediction.scores import score
from lmeformula.text.render import to_html, to_text
from lmeformula.text.table import Column, Table
from lmeformula.watch import watched

# What is predicted for a metric, beside densities.
SCORED_BY = {"response": "rmse", "prob": "ranked"}


class Total(NamedTuple):
    """A number about all rows, and its standard error."""

    value: float
    std_error: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CrossValidation:
    """How well a model predicts rows that it was fitted without.

    Attributes:
      fit: of all rows.
      folds: which rows were held out together.
      method: by which the folds were fitted.
      metrics: those that were worked out, of "elpd", "rmse" and "ranked".
      log_densities: (n,) of each row, by the fit without its fold.
      error: of their sum, as far as the quadrature's: what half of its nodes change, or of more than three
        predictors the standard error of what was drawn.
      predicted: (n,) expected responses, by the fit without the row's fold; NaN of categories without an order.
      observed: (n,) the responses, on the scale of their means; numbers of categories without an order, from 0.
      ranked: (n,) ranked probability scores, or None where the categories have no order.
      outcomes: (K,) how the fits ended, "" for those that converged.
      seconds: for all of it.
    """

    fit: FittedModel
    folds: Folds
    method: str
    metrics: tuple[str, ...]
    log_densities: Floats
    error: float
    predicted: Floats
    observed: Floats
    ranked: Floats | None
    outcomes: tuple[str, ...] = ()
    seconds: float = field(default=0.0)

    @property
    def scores(self) -> dict[str, Floats]:
        """(n,) of each row, what each metric sums or averages: log densities, squared errors, ranked scores."""
        found = {"elpd": self.log_densities, "rmse": (self.observed - self.predicted) ** 2}
        return found if self.ranked is None else {**found, "ranked": self.ranked}

    @property
    def elpd(self) -> Total:
        """The sum of the log predictive densities; larger is better."""
        return Total(float(self.log_densities.sum()), _error_of_sum(self, self.log_densities))

    @property
    def rmse(self) -> Total:
        """The root mean squared error; smaller is better."""
        squares = self.scores["rmse"]
        root = float(np.sqrt(squares.mean()))
        error = _error_of_sum(self, squares) / len(squares)
        return Total(root, error / (2.0 * root) if root else 0.0)

    @property
    def mean_ranked(self) -> Total | None:
        """The mean ranked probability score of ordered categories; smaller is better."""
        if self.ranked is None:
            return None
        mean = float(self.ranked.mean())
        return Total(mean, _error_of_sum(self, self.ranked) / len(self.ranked))

    def totals(self) -> pd.DataFrame:
        """A row for each metric: metric, estimate, std_error."""
        found = {"elpd": self.elpd, "rmse": self.rmse, "ranked": self.mean_ranked}
        chosen = {name: found[name] for name in self.metrics}
        return pd.DataFrame(
            [(name, *total) for name, total in chosen.items() if total is not None],
            columns=["metric", "estimate", "std_error"],
        )

    def to_frame(self) -> pd.DataFrame:
        """A row for each fold: fold, rows, the metrics of its rows, outcome ("" for converged)."""
        index, count = self.folds.of_row, self.folds.number
        rows = np.bincount(index, minlength=count)
        frame = pd.DataFrame({"fold": list(self.folds.names), "rows": rows})
        for name in self.metrics:
            sums = np.bincount(index, self.scores[name], count)
            frame[name] = sums if name == "elpd" else sums / rows
        if "rmse" in frame:
            frame["rmse"] **= 0.5
        return frame.assign(outcome=list(self.outcomes))

    @kinds.takes(to=kinds.optional(kinds.path))
    def by_row(self, to: Target = None) -> Any:
        """A row for each row of the data: fold, observed, predicted, log_density and, if there, ranked.

        Args:
          to: a Parquet file that they are written to, whose path comes back.
        """
        columns = {
            "fold": np.array(self.folds.names, object)[self.folds.of_row],
            "observed": self.observed,
            "predicted": self.predicted,
            "log_density": self.log_densities,
        }
        ranked = {} if self.ranked is None else {"ranked": self.ranked}
        return laid_out(self.fit, columns | ranked, to)

    def compare(self, other: CrossValidation) -> pd.DataFrame:
        """Take the other model's scores from this one's, on the same rows in the same folds.

        Args:
          other: cross-validation of another model of the same responses, on the same folds.
        Returns:
          frame: metric, first, second, difference, std_error; a row for each metric that both have.
            Standard errors are of the differences, row by row or group by group. Where the families'
            densities are not of the same numbers, as of a Gaussian and an ordinal model, elpd is not
            compared.
        Raises:
          ModelError: if rows, responses or folds differ.
        """
        _check_same(self, other)
        is_same_measure = same_measure(self.fit, other.fit)
        parts = []
        mine, theirs = self.totals().set_index("metric"), other.totals().set_index("metric")
        for name in self.metrics:
            if name not in theirs.index or (name == "elpd" and not is_same_measure):
                continue
            first, second = (float(t.loc[name, "estimate"]) for t in (mine, theirs))
            error = _error_of_sum(self, self.scores[name] - other.scores[name])
            if name != "elpd":
                error /= len(self.observed)
            if name == "rmse":
                # Of a difference of mean squares that is so much larger than one of roots.
                error /= first + second
            parts.append((name, first, second, first - second, error))
        columns = ["metric", "first", "second", "difference", "std_error"]
        return pd.DataFrame(parts, columns=columns)

    def to_table(self) -> Table:
        """As printed: the totals with their standard errors."""
        totals = self.totals()
        folds = self.folds
        what = f"levels of {folds.by}" if folds.by else "rows"
        if folds.by and folds.number == len(np.unique(folds.units)):
            title = f"Leaving out each of the {folds.number:,} {what}"
        else:
            title = f"{folds.number:,}-fold cross-validation over {what}"
        columns = [Column("", ("estimate", "std. error"), "text")]
        columns += [
            Column(row.metric, (float(row.estimate), float(row.std_error)))
            for row in totals.itertuples()
        ]
        bad = [name for name, outcome in zip(folds.names, self.outcomes, strict=True) if outcome]
        notes = [
            f"{len(self.observed):,} rows, each predicted by a fit ({self.method}) without its fold. "
            "elpd is the sum of log predictive densities: larger is better; of the others, smaller."
        ]
        if bad:
            shown = ", ".join(bad[:6]) + (", ..." if len(bad) > 6 else "")
            notes.append(f"Not converged without {shown}: see to_frame().")
        return Table(title, tuple(columns), tuple(notes))

    def __repr__(self) -> str:
        return to_text(self.to_table())

    def _repr_html_(self) -> str:
        return to_html(self.to_table())


@kinds.takes(
    by=kinds.optional(kinds.text),
    metrics=kinds.optional(kinds.names),
    method=kinds.one_of(None, *FIT_METHODS),
    seed=kinds.seed,
    options=kinds.optional(kinds.instance(Options, "Give lf.em.Options(...).")),
    checkpoint=kinds.optional(kinds.path),
)
@not_of_draws(
    "refits without some rows",
    "arviz.loo(fit.to_arviz()) leaves each row out by importance, without a refit.",
)
def cross_validate(
    fit: FittedModel,
    folds: Any = None,
    *,
    by: str | None = None,
    metrics: Sequence[str] | str | None = None,
    method: str | None = None,
    seed: int = 0,
    options: Options | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> CrossValidation:
    """Fit a model without each fold of its rows, and score its predictions of that fold.

    A held-out row's linear predictor is taken as normal, or its several ones as jointly normal: fixed effects
    and effects of levels that other rows have about their estimates with their joint uncertainty, effects of
    levels without other rows about zero with their term's covariance. Densities and expected responses are
    averaged over it, by quadrature, row by row: rows of one unseen level do not learn from one another.
    Variances and other parameters are at their estimates, and so are predictors with a coefficient that has no
    finite estimate without a fold, which the printed scores name as not converged.

    Every fold is the design with fewer rows. Gaussian models are fitted exactly, from the estimates at
    hand; what other families compile is compiled once for folds of any size.

    Args:
      fit: a fitted model with its rows.
      folds: how many, dealt at random: 10 by default. Or a label for each row, or another CrossValidation's
        `folds`, for the same division.
      by: a grouping factor whose levels are held out together: one at a time by default, else `folds` of
        them.
      metrics: any of "elpd", the log predictive density; "rmse", the root mean squared error; "ranked", the
        ranked probability score of ordered categories. By default all that the family has; categories without
        an order have the first.
      method: of the fits without a fold: "exact" for Gaussian models, for others "quadrature", "laplace"
        or "mcem". By default exact ones where they are, quadrature for fits by it, and the Laplace
        approximation for all others: also for Monte Carlo fits, which take as many times as long as there are
        folds. Effects by Student's t are fitted by "mcem", or from the estimates by quadrature where they are
        in blocks of one or two.
      seed: of the division, and of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      checkpoint: a folder, which is made, for the folds that are done: killed at any moment, the call goes on
        after them when it is made again, and ends at the same bits. It is removed at the end.
    Returns:
      The scores.
    Raises:
      ModelError: for an option that is not one of these, folds without which the model could not be fitted,
        or a model of the iterative solver.
      CheckpointError: if the checkpoint is of another call, damaged, or in use by another process.
    References:
      Vehtari, Gelman, Gabry (2017), Practical Bayesian model evaluation using leave-one-out
      cross-validation and WAIC, Stat. Comput. 27, 1413-1432; Gneiting, Raftery (2007), JASA 102, 359-378.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> slopes = lf.fit("Reaction ~ Days + (Days | Subject)", data).cross_validate(seed=1)
      >>> slopes
      10-fold cross-validation over rows
                     elpd    rmse
      estimate    -865.15  29.054
      std. error    24.94   3.428
      180 rows, each predicted by a fit (exact) without its fold. elpd is the sum of
      log predictive densities: larger is better; of the others, smaller.
      >>> same = lf.fit("Reaction ~ Days + (1 | Subject)", data).cross_validate(slopes.folds)
      >>> bool(slopes.compare(same)["difference"][0] > 0)
      True
    """
    began = time.perf_counter()
    chosen, how = what_is_scored(fit, metrics, method)
    division = folds if isinstance(folds, Folds) else make_folds(fit, folds, by, seed)
    if len(division.of_row) != fit.nobs:
        raise ModelError(
            f"the folds are of {len(division.of_row):,} rows, and the fit of {fit.nobs:,}",
            hint="Rows with missing values in a formula are left out: fit both to the same rows.",
        )
    fit = fit.by_observation
    check_folds(fit, division)
    design, family = fit.model.design, fit.model.family
    response = family.response(design)
    n = fit.nobs
    possible = metrics_of(fit)
    kinds = [kind for kind, metric in SCORED_BY.items() if metric in possible]
    log_densities, predicted = np.empty(n), np.full(n, np.nan)
    ranked = np.empty(n) if "ranked" in possible else None
    error, outcomes = 0.0, []

    def scored(number: int) -> Tree:
        held = division.of_row == number
        found = _fit_rows(fit, np.flatnonzero(~held), how, seed, options)
        given = tuple(array[held] for array in response)
        said = predict_fold(found, select_rows(design, np.flatnonzero(held)), given, kinds, seed)
        outcome = "" if found.converged else found.outcome.name.lower()
        return outcome, said.densities, said.averages

    asked = (division.of_row, kinds, how, seed)
    with (
        continued(checkpoint, "cross-validation", fit, options, asked=asked),
        watched("cross-validation", division.number, "folds") as watch,
    ):
        for number in range(division.number):
            held = np.flatnonzero(division.of_row == number)
            outcome, densities, averages = piece("fold", number, partial(scored, number))
            watch.step()
            outcomes.append(outcome)
            log_densities[held] = densities.values
            error += densities.error
            if "response" in averages:
                predicted[held] = averages["response"][:, 0]
            if ranked is not None:
                actual = response[0][held].astype(np.int64)
                ranked[held] = score(averages["prob"], actual).each[:, 1]
    return CrossValidation(
        fit=fit,
        folds=division,
        method=how,
        metrics=chosen,
        log_densities=log_densities,
        error=error,
        predicted=predicted,
        observed=response[0] if family.is_unordered else observed_mean(family, design)[0],
        ranked=ranked,
        outcomes=tuple(outcomes),
        seconds=time.perf_counter() - began,
    )


def _fit_rows(
    fit: FittedModel, places: Ints, method: str, seed: int, options: Options | None
) -> FittedModel:
    """The model fitted to some of its rows, from its estimates."""
    model = replace(fit.model, design=select_rows(fit.model.design, places))
    if not model.space.has_normal_priors:
        return refit_student(fit, model, seed, options)
    return estimate(
        model,
        method=method,
        seed=seed,
        reml=fit.reml and method == fit.method,
        solver=fit.solver,
        options=options,
        start=start_from(fit, model),
        is_near=True,
    )


def _error_of_sum(of: CrossValidation, values: Floats) -> float:
    """The standard error of the sum of (n,) scores, whose independent units are rows or held-out groups."""
    sizes = np.bincount(of.folds.units)
    totals = np.bincount(of.folds.units, values)[sizes > 0]
    sizes = sizes[sizes > 0]
    away = totals - sizes * values.mean()
    m = len(totals)
    return float(np.sqrt(m / (m - 1.0) * (away**2).sum()))


def _check_same(one: CrossValidation, other: object) -> None:
    if not isinstance(other, CrossValidation):
        raise ModelError(
            f"compare() takes another cross-validation, not {type(other).__name__}",
            hint="Write first.compare(other_fit.cross_validate(first.folds)).",
        )
    if not np.array_equal(one.folds.of_row, other.folds.of_row):
        raise ModelError(
            "the two were not made on the same folds",
            hint="Give the first one's: other_fit.cross_validate(first.folds).",
        )
    if not np.array_equal(one.observed, other.observed):
        raise ModelError(
            "the two are of different responses",
            hint="Errors of a transformed response, or of other rows, are not of the same numbers.",
        )
    if not np.array_equal(row_weights(one.fit), row_weights(other.fit)):
        raise ModelError("the fits have different weights", hint="Fit both with the same weights.")
