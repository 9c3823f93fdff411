"""What each term of the fixed part adds, by leaving it out."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.stats

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, recipe_of
from lmeformula.design.fixed import independent_columns
from lmeformula.design.labels import label
from lmeformula.design.side_by_side import joined_again
from lmeformula.em.types import Options
from lmeformula.errors import ModelError
from lmeformula.estimation.dispatch import estimate
from lmeformula.family.predicted import predicted_of
from lmeformula.fit import FittedModel, check_maximum, not_of_draws
from lmeformula.formula.ir import Term, TermSum
from lmeformula.formula.smooths import is_smooth
from lmeformula.history import error_of_difference
from lmeformula.inference.ddf import METHODS, freedom
from lmeformula.inference.grid import grid_rows
from lmeformula.inference.joint_tests import (
    PredictorGroup,
    frame_of_tests,
    of_each,
    points_of,
    predictor_groups,
)
from lmeformula.model.compile import compile
from lmeformula.prediction.named_predictor import NamedPredictor
from lmeformula.prediction.observed_together import observed_of

# Columns of the smaller model are combinations of the larger one's up to this, relative to their length.
WITHIN = 1e-6


class Reduced(NamedTuple):
    """The fixed part without one term.

    Attributes:
      predictors: which lose the term: one, or all those of categories.
      term: what was left out, in canonical text, after the name of a further predictor.
      names: (r) of the columns that it has then.
      within: (p + c, r) those columns as combinations of the columns of the fit and, with c = 1, of a constant
        that thresholds stand for.
    """

    predictors: tuple[NamedPredictor, ...]
    term: str
    names: tuple[str, ...]
    within: Floats


@kinds.takes(
    test=kinds.one_of("lrt", "F"),
    ddf=kinds.one_of(*METHODS),
    seed=kinds.seed,
    options=kinds.optional(kinds.instance(Options, "Give lf.em.Options(...).")),
)
@not_of_draws("likelihood-ratio tests")
def drop1(
    fit: FittedModel,
    test: str = "lrt",
    *,
    ddf: str = "auto",
    seed: int = 0,
    options: Options | None = None,
) -> pd.DataFrame:
    """Leave out each term of the fixed part that no other term contains, one at a time.

    Of a model with several linear predictors the terms of each are left out, those of a further one under its
    name, such as "sigma: x"; a term of unordered categories is left out of the predictors of all of them.

    Args:
      fit: a fitted model.
      test: "lrt" fits each smaller model by maximum likelihood, and this one again if it is a REML fit; "F"
        tests the coefficients of this fit that the smaller model lacks, without another fit.
      ddf: degrees of freedom of F tests: "auto" (Satterthwaite's for Gaussian fits), "satterthwaite",
        "kenward-roger" or "none".
      seed: of Monte Carlo refits.
      options: of the Monte Carlo EM engine, for them.
    Returns:
      frame: for "lrt" term ("<none>" first), df (how many coefficients less), loglik, aic, statistic (twice the
        difference of log-likelihoods), p_value (chi-square), mc_error (of the statistic); for "F" term, df1,
        df2, statistic, p_value.
    Raises:
      ModelError: if the test is neither, or the design does not know how its columns were made.
    References:
      Venables, Ripley (2002), Modern Applied Statistics with S, section 6.8, for which terms may be left out.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"))
      >>> drop1(fit)[["term", "df", "statistic"]].round(2).to_dict("records")[1]
      {'term': 'Machine', 'df': 2.0, 'statistic': 75.47}
    """
    smaller = [
        _reduce(fit, group, term)
        for group in predictor_groups(fit)
        for term in droppable(group.predictors[0].design.formula.fixed.sum)
    ]
    if test == "F":
        method = freedom(fit, ddf)
        # The coefficients are those of the smaller model where these combinations are zero.
        lost = [(model.term, _lost(fit, model)) for model in smaller]
        beta = fit.params.beta
        return frame_of_tests([(term, method.test(rows, rows @ beta)) for term, rows in lost])
    check_maximum(fit, "a likelihood-ratio test")
    full = _estimate(fit, fit.model.design, seed, options) if fit.reml else fit  # of one predictor
    fits = [full, *(_estimate(fit, _narrow(fit, model), seed, options) for model in smaller)]
    df = np.array([full.loglik.df - other.loglik.df for other in fits], float)
    statistics = np.array([2.0 * (full.loglik.value - other.loglik.value) for other in fits])
    errors = [2.0 * error_of_difference(full.loglik, found.loglik) for found in fits]
    p_values = scipy.stats.chi2.sf(np.maximum(statistics, 0.0), np.maximum(df, 1.0))
    frame = pd.DataFrame(
        {
            "term": ["<none>", *(model.term for model in smaller)],
            "df": df,
            "loglik": [found.loglik.value for found in fits],
            "aic": [found.aic for found in fits],
            "statistic": statistics,
            "p_value": p_values,
            "mc_error": errors,
        }
    )
    frame.loc[0, ["df", "statistic", "p_value", "mc_error"]] = np.nan
    return frame


def droppable(terms: TermSum) -> tuple[Term, ...]:
    """The terms that are not contained in another one, a and b are not where there is a:b; and no smooths.

    A smooth is not its fixed columns alone: compare with the fit of `update("~ . - s(x)")`.

    Example:
      >>> import lmeformula as lf
      >>> [len(t.variables) for t in droppable(lf.parse("y ~ a * b + z + (1 | g)").fixed.sum)]
      [1, 2]
    """
    sets = [frozenset(term.variables) for term in terms.terms]
    return tuple(
        term
        for term, own in zip(terms.terms, sets, strict=True)
        if not any(own < other for other in sets) and not any(map(is_smooth, term.variables))
    )


def _alone(fit: FittedModel, predictor: NamedPredictor) -> FittedModel:
    """The fit with one predictor alone."""
    family = fit.model.family
    if predictor.number:
        rule = predicted_of(family.base, predictor.name)
        family = family._replace(has_intercept=rule.has_intercept)
    return replace(fit, model=replace(fit.model, design=predictor.design, family=family))


def _reduce(fit: FittedModel, group: PredictorGroup, term: Term) -> Reduced:
    """The fixed part without a term; found on a grid that tells all columns apart."""
    fit = _alone(fit, group.predictors[0])
    total = fit.model.design.formula.fixed.sum
    rest = TermSum(total.intercept, tuple(other for other in total.terms if other != term))
    name = ":".join(label(variable) for variable in term.variables)
    grid = grid_rows(fit.model.design, points_of(fit.model.design))
    X, smaller = grid(total), grid(rest)
    solved: Floats = np.asarray(np.linalg.lstsq(X.values, smaller.values)[0], float)
    missed = np.abs(X.values @ solved - smaller.values).max(initial=0.0)
    if missed > WITHIN * (1.0 + np.abs(smaller.values).max(initial=0.0)):
        raise ModelError(
            f"the columns without {name} cannot be told from the summary of the data",
            hint="Fit the smaller model with fit.update(..., data=...), and compare with anova.",
        )
    within: Floats = np.asarray(_by_columns_of_fit(fit, X.values) @ solved)
    # A factor's full coding may leave more columns than the span has dimensions.
    chosen = independent_columns(within)
    names = tuple(smaller.names[i] for i in chosen)
    return Reduced(group.predictors, group.before + name, names, within[:, chosen])


def _by_columns_of_fit(fit: FittedModel, grid: Floats) -> Floats:
    """(p + c, k) all k columns of the formula, in the data, as combinations of the p of the fit.

    Those that the fit left out follow from the others as they did in the data, not as they do on the grid.
    With c = 1 a constant is added to the fit's, where thresholds stand for it.
    """
    design = fit.model.design
    recipe, k = recipe_of(design), grid.shape[1]
    aliases = observed_of(design).aliases
    kept = list(range(k)) if aliases is None else list(aliases.kept)
    whole: Floats = np.zeros((len(kept), k))
    whole[:, kept] = np.eye(len(kept))
    if aliases is not None:
        whole[:, list(aliases.dropped)] = aliases.relation
    if fit.model.family.has_intercept:
        return whole
    # What was taken for the constant is one on the grid, too: the intercept, or one less other levels.
    base: Floats = np.column_stack([grid[:, list(recipe.kept)], np.ones(len(grid))])
    rows: Floats = np.zeros((base.shape[1], len(kept)))
    for place, column in enumerate(kept):
        if column in recipe.kept:
            rows[recipe.kept.index(column), place] = 1.0
        else:
            rows[:, place] = np.linalg.lstsq(base, grid[:, column])[0]
    return np.asarray(rows @ whole)


def _narrow(fit: FittedModel, model: Reduced) -> Design:
    """The design without a term; where all predictors lack it, that from which they are made."""
    design = fit.model.design
    if fit.model.family.is_unordered:
        return _narrowed(design.first, model)
    (reduced,) = model.predictors
    predictors = tuple(
        replace(each, design=_narrowed(each.design, model)) if k == reduced.number else each
        for k, each in enumerate(design.predictors)
    )
    return joined_again(design, predictors)


def _narrowed(design: Design, model: Reduced) -> Design:
    constant = np.ones((design.n, len(model.within) - design.X.shape[1]))
    return replace(
        design,
        X=np.ascontiguousarray(np.column_stack([design.X, constant]) @ model.within),
        names=model.names,
        recipe=None,
    )


def _lost(fit: FittedModel, model: Reduced) -> Floats:
    """(r, p) combinations of the coefficients that are zero in the smaller model."""
    columns, within = model.predictors[0].columns, model.within
    if len(within) > len(columns):
        within = np.column_stack([within, np.eye(len(within))[:, -1]])
    lost = scipy.linalg.null_space(within.T, rcond=WITHIN).T[:, : len(columns)]
    rows: Floats = np.zeros((len(lost), len(fit.params.beta)))
    rows[:, columns] = lost
    return of_each(rows, model.predictors)


def _estimate(fit: FittedModel, design: Design, seed: int, options: Options | None) -> FittedModel:
    family = fit.model.family.base
    model = compile(design, family, sigma=fit.model.sigma, dtype=fit.model.dtype)
    return estimate(model, method=fit.method, seed=seed, options=options)
